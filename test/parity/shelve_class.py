"""A shelf in a temporary folder keeps instances of a class of the program."""

import os
import shelve
import tempfile


class Box:
    def __init__(self, content):
        self.content = content


with tempfile.TemporaryDirectory() as folder:
    with shelve.open(os.path.join(folder, "shelf")) as shelf:
        shelf["box"] = Box([1, 2])
    with shelve.open(os.path.join(folder, "shelf")) as shelf:
        print(shelf["box"].content, type(shelf["box"]) is Box)
