"""unittest.mock replaces the built-in open for the program."""

from unittest import mock

with mock.patch("builtins.open", mock.mock_open(read_data="mocked")) as opened:
    print(open("nowhere").read())
print(opened.call_args)
