# The module `__main__`. Part of the prelude, which says what it runs in.

Module = type(sys)
_own_dict = Module.__dict__["__dict__"].__get__


def running_names(main):
    """The globals of the running job, or those of the nearest caller that is a user's code. In a
    thread without either, the module's own."""
    names = _namespace(False)
    frame = sys._getframe(1)
    while names is None and frame is not None:
        if frame.f_globals.get("__name__") == "__main__":
            return frame.f_globals
        frame = frame.f_back
    if names is None:
        names = _namespace(True)
    return _own_dict(main) if names is None else names


def annotations(names):
    """The annotations of a module whose namespace has no `__annotations__` yet."""
    annotate = names.get("__annotate__")
    if annotate is None:
        return names.setdefault("__annotations__", {})
    # Computed each time: the next job may add to them.
    return annotate(1)


def take_main():
    """Makes `__main__` a view of the running job's names. By a class, which code may change."""

    class Main(Module):
        """The module `__main__`. Its attributes are the names of the code that runs."""

        def __getattribute__(self, name):
            names = running_names(self)
            if name == "__dict__":
                return names
            if name == "__class__":
                return Main
            if name in names:
                return names[name]
            if name == "__annotations__":
                return annotations(names)
            if any(name in vars(kind) for kind in Main.__mro__):
                return super().__getattribute__(name)
            if "__getattr__" in names:
                return names["__getattr__"](name)
            message = f"module '__main__' has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=self)

        def __setattr__(self, name, value):
            if name in ("__class__", "__dict__"):
                return super().__setattr__(name, value)
            running_names(self)[name] = value

        def __delattr__(self, name):
            names = running_names(self)
            if name not in names:
                raise AttributeError(f"module '__main__' has no attribute {name!r}")
            del names[name]

    main = sys.modules.get("__main__")
    if type(main) is Module:
        main.__class__ = Main
