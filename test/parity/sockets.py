"""Sockets on the loopback interface, selectors, timeouts."""

import selectors
import socket

a, b = socket.socketpair()
a.sendall(b"over")
with selectors.DefaultSelector() as selector:
    selector.register(b, selectors.EVENT_READ, "b")
    print([key.data for key, _ in selector.select(5)], b.recv(10))
b.settimeout(0.01)
try:
    b.recv(1)
except socket.timeout as error:
    print(error)
a.close()
print(b.recv(1))
b.close()
print(socket.inet_aton("127.0.0.1"), socket.gethostbyname("127.0.0.1"))
