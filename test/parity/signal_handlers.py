"""A signal handler of the program is called."""

import signal

seen = []
kept = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
signal.raise_signal(signal.SIGUSR2)
signal.signal(signal.SIGUSR2, kept)
print(seen == [signal.SIGUSR2])
