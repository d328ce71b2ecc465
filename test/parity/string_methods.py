"""Methods of text and bytes, and Unicode."""

import unicodedata

print("straße".upper(), "ÀB".casefold(), "a,b".partition(","), "x".zfill(3))
print(
    "abc".translate(str.maketrans("ab", "xy")),
    "é".encode(),
    b"\xc3\xa9".decode(),
    "\N{SNOWMAN}",
    len("👍"),
)
print(
    unicodedata.name("é"),
    unicodedata.normalize("NFD", "é").encode("ascii", "replace"),
    "٣".isdigit(),
)
print(
    "a\x00b".isprintable(),
    ascii("é"),
    repr("\ud800"),
    "  x ".strip(),
    "prefix-x".removeprefix("prefix-"),
)
