"""A name put into builtins by gettext.install is found at once."""

import builtins
import gettext

gettext.install("app")
try:
    print(_("hi"))
finally:
    del builtins._
