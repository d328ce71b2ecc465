"""Identifiers by name, and secrets of a length."""

import secrets
import uuid

print(
    uuid.uuid5(uuid.NAMESPACE_DNS, "example.org"), uuid.uuid4().version, len(secrets.token_hex(8))
)
print(secrets.compare_digest("a", "a"), uuid.UUID(int=1))
