"""Names of the program are patched by mock."""

from unittest import mock


def fetch():
    return "real"


def report():
    return fetch().upper()


with mock.patch("__main__.fetch", return_value="fake") as fake:
    print(report(), fake.call_count)
print(report())
with mock.patch.dict("os.environ", {"PARITY": "1"}):
    import os

    print(os.environ["PARITY"])
