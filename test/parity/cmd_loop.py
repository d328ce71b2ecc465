"""A line-oriented interpreter reads from a stream of its own."""

import cmd
import io


class Shell(cmd.Cmd):
    prompt = "> "
    use_rawinput = False

    def do_greet(self, name):
        self.stdout.write(f"hello {name}\n")

    def do_quit(self, _):
        return True


out = io.StringIO()
Shell(stdin=io.StringIO("greet you\nquit\n"), stdout=out).cmdloop()
print(repr(out.getvalue()))
