"""faulthandler is enabled and disabled, and dumps to a file."""

import faulthandler
import tempfile

faulthandler.enable()
print(faulthandler.is_enabled())
faulthandler.disable()
with tempfile.TemporaryFile("w+") as file:
    faulthandler.dump_traceback(file)
    file.seek(0)
    print("most recent call first" in file.read())
