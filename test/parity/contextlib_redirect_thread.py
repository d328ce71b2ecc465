"""While stdout is redirected, that of a thread of the program is, too."""

import contextlib
import io
import threading

out = io.StringIO()
with contextlib.redirect_stdout(out):
    thread = threading.Thread(target=print, args=("from the thread",))
    thread.start()
    thread.join()
print(repr(out.getvalue()))
