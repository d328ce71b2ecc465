"""An OSError tells number, text and file."""

open("/nowhere/at/all")
