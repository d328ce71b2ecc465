"""Texts of too many digits are refused, by a limit that can be set."""

# requires: 3.11
import sys

print(sys.get_int_max_str_digits())
try:
    int("1" * 5000)
except ValueError as error:
    print(str(error).split(":")[0])
kept = sys.get_int_max_str_digits()
sys.set_int_max_str_digits(6000)
print(len(str(int("1" * 5000))))
sys.set_int_max_str_digits(kept)
