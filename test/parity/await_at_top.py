"""await outside of a function is a syntax error."""

try:
    compile("await f()", "<a>", "exec")
except SyntaxError as error:
    print(error.msg)
