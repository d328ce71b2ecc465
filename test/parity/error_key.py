"""The text of a KeyError is the representation of its key."""

{}["some key"]
