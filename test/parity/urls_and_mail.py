"""Addresses are taken apart, messages are built."""

import email.message
import email.parser
import ipaddress
import urllib.parse

print(
    urllib.parse.urlsplit("https://u@h:8/p?q=1#f").port,
    urllib.parse.urlencode({"a": "b c", "d": ["é"]}, doseq=True),
)
message = email.message.EmailMessage()
message["Subject"] = "é"
message.set_content("body")
print(
    email.parser.Parser().parsestr(message.as_string()).get_content_type(),
    ipaddress.ip_network("10.0.0.0/30").num_addresses,
)
