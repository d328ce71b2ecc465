"""JSON is written and read, with own encoders and hooks."""

import json


class Encoder(json.JSONEncoder):
    def default(self, value):
        return sorted(value) if isinstance(value, set) else super().default(value)


print(json.dumps({"b": [1, 2.5, None, True], "a": "é\u2028"}, sort_keys=True))
print(json.dumps({"s": {2, 1}}, cls=Encoder), json.dumps([1, {"a": 2}], indent=1).splitlines())
print(json.loads('{"a": 1}', object_pairs_hook=list), json.loads("[NaN, 1e3, -0]"))
try:
    json.dumps(object)
except TypeError as error:
    print(error)
try:
    json.loads('{"a" 1}')
except json.JSONDecodeError as error:
    print(error, error.pos)
