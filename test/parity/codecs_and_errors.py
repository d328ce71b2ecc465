"""Codecs are looked up, and errors are handled by name."""

import codecs

print(
    codecs.lookup("latin1").name,
    codecs.encode("abc", "rot13"),
    b"a\xff".decode("utf-8", "surrogateescape").encode("utf-8", "surrogateescape"),
)
codecs.register_error("parity.star", lambda error: ("*", error.end))
print("aé".encode("ascii", "parity.star"), "é".encode("ascii", "xmlcharrefreplace"))
try:
    "x".encode("no such codec")
except LookupError as error:
    print(error)
