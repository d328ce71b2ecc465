"""An exception that nobody catches ends the program, after what it has printed."""

print("before")
1 / 0
