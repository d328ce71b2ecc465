"""A name at the top hides a built-in one until it is deleted."""

len = lambda x: "mine"
print(len([1]))
del len
print(len([1]))
