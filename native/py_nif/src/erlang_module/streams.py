# The standard streams. Part of the prelude, which says what it runs in.


class Stream:
    """What the three layers of an output stream share. It is not one job's to close."""

    def __init__(self, number, name):
        self._number = number
        self.name = name

    def writable(self):
        return True

    def fileno(self):
        # The descriptor that C libraries and child processes write to: the VM's own.
        return self._number + 1

    def flush(self):
        _flush(self._number)

    def close(self):
        self.flush()

    def __repr__(self):
        return f"<erlang {type(self).__name__.lower()} {self.name!r}>"


class Raw(Stream, io.RawIOBase):
    """Bytes, which should be UTF-8, for the group leader of the process whose job is running."""

    mode = "wb"
    closefd = False

    def write(self, data):
        if not isinstance(data, bytes):
            try:
                data = bytes(memoryview(data))
            except TypeError:
                kind = type(data).__name__
                raise TypeError(f"a bytes-like object is required, not '{kind}'") from None
        return _write(self._number, data)


class Bytes(Stream, io.BufferedIOBase):
    """The same as a `buffer`."""

    mode = "wb"

    def __init__(self, number, name):
        super().__init__(number, name)
        self.raw = Raw(number, name)

    write = Raw.write

    def detach(self):
        return self.raw


class Output(Stream, io.TextIOBase):
    """Text for the group leader of the Erlang process whose job is running."""

    mode = "w"
    encoding = "utf-8"
    errors = "backslashreplace"
    line_buffering = True
    write_through = False

    def __init__(self, number, name):
        super().__init__(number, name)
        self.buffer = Bytes(number, name)

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        return _write(self._number, text)

    def detach(self):
        # Other jobs print here too, so it stays attached.
        return self.buffer

    def reconfigure(
        self, *, encoding=None, errors=None, newline=None, line_buffering=None, write_through=None
    ):
        """Accepted, without effect: a group leader takes text."""


def refuse_input(*_):
    raise OSError(
        "Python inside the Erlang VM has no standard input: pass what it needs as an argument,"
        " or ask an Erlang function with erlang.call"
    )


class NoInput:
    """What the three layers of standard input share: there is none."""

    name = "<stdin>"

    def readable(self):
        return True

    # With a descriptor `input()` would read from the VM's terminal, past the Erlang shell.
    fileno = read = readline = readlines = __next__ = refuse_input

    def close(self):
        pass


class NoRawInput(NoInput, io.RawIOBase):
    mode = "rb"
    closefd = False
    readall = readinto = refuse_input


class NoBytes(NoInput, io.BufferedIOBase):
    mode = "rb"
    raw = NoRawInput()
    read1 = readinto = readinto1 = peek = refuse_input

    def detach(self):
        return self.raw


class Input(NoInput, io.TextIOBase):
    mode = "r"
    encoding = "utf-8"
    errors = "strict"
    line_buffering = False
    write_through = False
    buffer = NoBytes()

    def detach(self):
        return self.buffer

    def reconfigure(
        self, *, encoding=None, errors=None, newline=None, line_buffering=None, write_through=None
    ):
        """Accepted, without effect: nothing is read."""


def redirect():
    # `sys.__stdout__` and its like stay as Python made them, for what wants a real file.
    sys.stdout = Output(0, "<stdout>")
    sys.stderr = Output(1, "<stderr>")
    sys.stdin = Input()


def flush_originals():
    """At the interpreter's end. Python does this itself only where it finalizes."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except Exception:
            # None, closed, or a closed descriptor: there is nowhere to write to.
            pass


