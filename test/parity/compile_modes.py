"""compile in its three modes, and what a syntax error says."""

print(eval(compile("1 + 2", "<a>", "eval")))
exec(compile("print('ran')", "<a>", "exec"))
exec(compile("7", "<a>", "single"))
try:
    compile("x = (1,\n", "<a>", "exec")
except SyntaxError as error:
    print(error.msg, error.filename, error.lineno)
