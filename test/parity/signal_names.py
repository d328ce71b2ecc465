"""Signals have names and numbers."""

import signal

print(signal.SIGTERM.name, int(signal.SIGKILL), signal.strsignal(signal.SIGINT), signal.Signals(15))
print(signal.SIGCHLD in signal.valid_signals())
