"""An exception class of the program ends it."""


class Refused(Exception):
    def __str__(self):
        return "refused: " + ", ".join(map(str, self.args))


raise Refused("a", 2)
