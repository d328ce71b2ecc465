"""Encodings that are used where none is named."""

import locale
import sys

print(
    sys.getdefaultencoding(),
    sys.getfilesystemencoding(),
    locale.getpreferredencoding(False).lower(),
)
print(sys.stdout.encoding.lower(), sys.stderr.encoding.lower(), sys.stderr.errors)
