"""runpy runs a module under another name."""

import runpy

result = runpy.run_module("this_is_not_here", {}) if False else runpy.run_module("keyword")
print(result["__name__"], result["iskeyword"]("for"))
