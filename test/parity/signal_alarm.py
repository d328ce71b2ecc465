"""An alarm interrupts a sleep."""

import signal
import time


class Alarm(Exception):
    pass


def ring(number, frame):
    raise Alarm


signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.02)
try:
    time.sleep(10)
except Alarm:
    print("rung")
