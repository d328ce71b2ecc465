"""A decoding error says where."""

b"ab\xff".decode()
