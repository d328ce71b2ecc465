"""File descriptor 1 is opened anew as a file."""

print("printed", flush=True)
with open(1, "w", closefd=False) as file:
    file.write("by another file\n")
