"""Templates of the module string, and textwrap."""

import string
import textwrap

print(string.Template("$who owes ${what}").substitute(who="A", what="10"))
try:
    string.Template("$x").substitute()
except KeyError as error:
    print(error)
print(
    textwrap.fill("one two three four", 9).splitlines(),
    textwrap.dedent("  a\n   b\n"),
    textwrap.shorten("a b c d", 5, placeholder="~"),
)
