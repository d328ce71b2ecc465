# What is changed in modules of the standard library as they are imported. Part of the prelude,
# which says what it runs in.

# Functions by module name, each called with the module once it has been imported.
hooks = {}


class Loader:
    """Loads a module as it would be, and then has its hook change it."""

    def __init__(self, loader, hook):
        self.loader = loader
        self.hook = hook

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.hook(module)


class Finder:
    """Finds modules that have a hook, when they are imported."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in hooks:
            return None
        for finder in sys.meta_path:
            if finder is not cls:
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = Loader(spec.loader, hooks[name])
                    return spec
        return None


def spawn_by_default(context):
    """For `multiprocessing.context`: CPython's own default, up to 3.13, would fork the VM."""
    context._default_context._default_context = context._concrete_contexts["spawn"]

    def get_all_start_methods(self):
        """Returns a list of the supported start methods, default first."""
        return [name for name in ("spawn", "forkserver") if name in context._concrete_contexts]

    context.DefaultContext.get_all_start_methods = get_all_start_methods


def refuse_daemons():
    raise RuntimeError(
        "daemon threads are disabled in this (sub)interpreter: what needs them works in a worker"
        " context; start a pool of mode worker and route the module to it with"
        " py_context_router:register_pool/2"
    )


def explain_daemons(threading):
    """For `threading`, in an interpreter without daemon threads: the error tells where they are."""
    # The thread that a job runs on, which asks in order to be no daemon.
    asks = threading._DummyThread.__init__.__code__

    def _daemon_threads_allowed():
        if sys._getframe(1).f_code is asks:
            return False
        refuse_daemons()

    threading._daemon_threads_allowed = _daemon_threads_allowed


def refuse_class(name):
    """For a module with such a class, which would start processes before it fails, or fail in a
    thread, where no error is seen."""

    def hook(module):
        original = getattr(module, name)

        class Refused(original):
            def __new__(cls, *args, **kwargs):
                refuse_daemons()

        Refused.__module__, Refused.__qualname__ = original.__module__, original.__qualname__
        Refused.__name__ = original.__name__
        setattr(module, name, Refused)

    return hook


# Entries for linecache by file name: the lines of the sources that contexts were given.
sources = {}


def follow_lines(linecache):
    """Gives linecache the sources that came before it was imported. Later ones are put there."""
    linecache.cache.update(sources)


def follow_events(events):
    """Gives jobs event loops of their own, as the main thread of a script has one. From 3.14 on
    there is none unless it was set."""
    if sys.version_info >= (3, 14):
        return
    policy = events.BaseDefaultEventLoopPolicy
    get, put = policy.get_event_loop, policy.set_event_loop

    def get_event_loop(self):
        slot = _loop_slot()
        if slot is None:
            return get(self)
        if slot[0] is None or slot[0].is_closed():
            if slot[1] is None or slot[1].is_closed():
                slot[1] = self.new_event_loop()
            slot[0] = slot[1]
        return slot[0]

    def set_event_loop(self, loop):
        slot = _loop_slot()
        if slot is None:
            return put(self, loop)
        if loop is not None and not isinstance(loop, events.AbstractEventLoop):
            kind = type(loop).__name__
            raise TypeError(f"loop must be an instance of AbstractEventLoop or None, not '{kind}'")
        slot[0] = loop

    policy.get_event_loop, policy.set_event_loop = get_event_loop, set_event_loop


def refresh_environment():
    """Updates `os.environ` from the OS process: in a reused interpreter it has the variables of the
    last context there."""
    variables = sys.modules["os"].environ._data
    variables.clear()
    variables.update(_environ())


def prepare():
    """Runs once in each interpreter that contexts run in, and for each new context that has one of
    its own."""
    if "os" in sys.modules:
        refresh_environment()
    take_main()
    atexit.register(flush_originals)
    hooks["logging"] = bridge
    hooks["linecache"] = follow_lines
    hooks["asyncio.events"] = follow_events
    hooks["multiprocessing.context"] = spawn_by_default
    # From CPython 3.12 on, in sub-interpreters.
    if not getattr(_thread, "daemon_threads_allowed", lambda: True)():
        hooks["threading"] = explain_daemons
        hooks["concurrent.futures.process"] = refuse_class("ProcessPoolExecutor")
        hooks["multiprocessing.pool"] = refuse_class("Pool")
    for name in [*hooks]:
        if name in sys.modules:
            hooks.pop(name)(sys.modules[name])
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
