"""An exception class of a library's module."""

import json

json.loads("[1,")
