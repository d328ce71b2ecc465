"""What sys says of this Python."""

import sys

print(sys.version_info[:2], sys.implementation.name, sys.byteorder, sys.maxsize, sys.maxunicode)
print(sys.platform, sys.prefix == sys.base_prefix, sys.executable != "", sys.hexversion >> 24)
print(sys.float_info.dig, sys.hash_info.width, sys.thread_info.name, sys.getdefaultencoding())
