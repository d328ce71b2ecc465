"""A connection refuses to be used from another thread."""

import sqlite3
import threading

connection = sqlite3.connect(":memory:")
seen = []


def use():
    try:
        connection.execute("select 1")
    except sqlite3.ProgrammingError as error:
        seen.append(type(error).__name__)


thread = threading.Thread(target=use)
thread.start()
thread.join()
connection.close()
print(seen)
