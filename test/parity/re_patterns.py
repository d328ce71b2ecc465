"""Regular expressions: groups, substitution, splitting, errors."""

import re

match = re.search(r"(?P<year>\d{4})-(?P<month>\d\d)", "on 2024-05-06")
print(match.groupdict(), match.span(), re.sub(r"(\w)(\w)", r"\2\1", "abcd"))
print(
    re.split(r"[,;]\s*", "a, b;c"), re.findall(r"\b\w", "two words"), re.compile("a", re.I | re.M)
)
print(re.sub(r"\d", lambda m: str(int(m[0]) + 1), "a1b2"), re.fullmatch("é+", "éé"))
try:
    re.compile("(")
except re.error as error:
    print(error)
