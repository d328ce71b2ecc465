"""Digests, compression, base64, and archives in memory."""

import base64
import bz2
import hashlib
import hmac
import io
import lzma
import zipfile
import zlib

print(
    hashlib.sha256(b"a").hexdigest()[:8],
    hashlib.blake2b(b"a", digest_size=4).hexdigest(),
    hmac.new(b"k", b"m", "md5").hexdigest()[:6],
)
print(
    [module.decompress(module.compress(b"abc" * 9)) == b"abc" * 9 for module in (zlib, bz2, lzma)]
)
data = io.BytesIO()
with zipfile.ZipFile(data, "w") as archive:
    archive.writestr("a.txt", "text")
print(zipfile.ZipFile(data).namelist(), base64.b64encode(b"\xff\xfe"), zlib.crc32(b"a"))
