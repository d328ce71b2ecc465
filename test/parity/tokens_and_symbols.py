"""Source is split into tokens, and its symbols are known."""

import io
import symtable
import tokenize

print(
    [
        token.string
        for token in tokenize.generate_tokens(io.StringIO("a = 1 # c\n").readline)
        if token.string.strip()
    ]
)
table = symtable.symtable("def f(a):\n  global b\n  return a + c\n", "<s>", "exec").get_children()[
    0
]
print(table.get_parameters(), sorted(table.get_globals()))
