"""Trees of source, literal evaluation, disassembly."""

import ast
import dis

print(
    ast.dump(ast.parse("x + 1", mode="eval").body),
    ast.literal_eval("[1, {'a': (2,)}]"),
    ast.unparse(ast.parse("a=1")),
)
print([i.opname for i in dis.get_instructions("x")][-1])
try:
    ast.literal_eval("f()")
except ValueError as error:
    print("malformed" in str(error))
