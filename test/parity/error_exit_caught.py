"""SystemExit is an exception, and finally clauses run."""

import sys

try:
    try:
        sys.exit("bye")
    finally:
        print("finally")
except SystemExit as error:
    print(error.code)
try:
    exit(4)
except SystemExit as error:
    print(error.code)
