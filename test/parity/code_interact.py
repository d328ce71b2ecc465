"""An interactive console evaluates lines in a namespace."""

import code

console = code.InteractiveConsole({"x": 2})
print(console.push("x * 21"))
print(console.push("def f():"), console.push("    return 5"), console.push(""))
console.push("f()")
print(code.compile_command("if 1:"))
