"""An exception while another is handled ends the program."""

try:
    {}["missing"]
except KeyError:
    [][1]
