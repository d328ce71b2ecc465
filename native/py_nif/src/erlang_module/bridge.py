# How records of Python's `logging` reach Erlang's logger. Part of the prelude, which says what it
# runs in.

# Types that have terms, as metadata.
PLAIN = (type(None), bool, int, float, str, bytes, Atom, Pid, Ref)


def as_data(value, depth=10):
    """The value as metadata: a part without a term, or nested too deep, becomes its `repr`."""
    if isinstance(value, PLAIN):
        return value
    if depth and isinstance(value, (list, tuple)):
        items = [as_data(item, depth - 1) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if depth and isinstance(value, dict):
        return {as_data(key, depth - 1): as_data(item, depth - 1) for key, item in value.items()}
    return repr(value)


def bridge(logging):
    """Has Python's root logger send its records to Erlang's logger, and follow its level."""

    # What every record has. Other attributes come from `extra=` or a record factory.
    standard = {*vars(logging.LogRecord("", 0, "", 0, "", (), None))}
    standard |= {"message", "asctime", "taskName"}

    def metadata(record):
        meta = {
            "logger": record.name,
            "file": record.pathname,
            "line": record.lineno,
            "function": record.funcName,
            "thread": record.threadName,
            "time": int(record.created * 1e6),
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, _ = record.exc_info
            trace = logging.Formatter().formatException(record.exc_info)
            meta["exception"] = (kind.__name__, str(error), trace)
        if record.stack_info:
            meta["stack_info"] = record.stack_info
        extra = {k: as_data(v) for k, v in vars(record).items() if k not in standard}
        if extra:
            # Under a key that no keyword of `erlang.log` can have.
            meta[extra_key()] = extra
        return meta

    class ErlangHandler(logging.Handler):
        """Sends records to Erlang's logger."""

        def handle(self, record):
            # Without the handler's lock: a thread with so many events in flight that it waits for
            # Erlang's logger would keep all others waiting, where no interrupt reaches them.
            kept = self.filter(record)
            if kept:
                self.emit(kept if isinstance(kept, logging.LogRecord) else record)
            return kept

        def emit(self, record):
            try:
                severity, message = _severity(record.levelno), record.getMessage()
                meta = metadata(record)
                try:
                    _log(severity, message, meta)
                except TypeError:
                    # Lone surrogates, keys that become one, an atom that doesn't exist.
                    message = message.encode("utf-8", "backslashreplace").decode()
                    extra = {ascii(k): ascii(v) for k, v in meta.get(extra_key(), {}).items()}
                    _log(severity, message, {**meta, extra_key(): extra})
            except Exception:
                self.handleError(record)

    root = logging.getLogger()
    handler = ErlangHandler()
    root.addHandler(handler)
    is_enabled = logging.Logger.isEnabledFor
    # `None`: Python code has set the level, and no longer follows Erlang's.
    followed = root.level

    def follow():
        nonlocal followed
        level = _log_level()
        # A level that Python code has set since is its own.
        if root.level == followed != level:
            root.setLevel(level)
            followed = level

    def isEnabledFor(self, level):
        if _log_level_is_old():
            follow()
        return is_enabled(self, level)

    configure = logging.basicConfig

    def basicConfig(**kwargs):
        nonlocal followed
        with logging._lock:
            others = [each for each in root.handlers if each is not handler]
            if len(others) == len(root.handlers) or (others and not kwargs.get("force")):
                return configure(**kwargs)
            # The function itself, with a root logger that lacks our handler. The real one has it
            # all the while, for what other threads log.
            copy_of_root = logging.RootLogger(root.level)
            copy_of_root.handlers = others
            run = type(configure)(configure.__code__, {**vars(logging), "root": copy_of_root})
            try:
                run(**kwargs)
            finally:
                root.handlers[:] = [handler, *copy_of_root.handlers]
                if kwargs.get("level") is not None:
                    root.setLevel(copy_of_root.level)
                    followed = None

    basicConfig.__doc__ = configure.__doc__
    logging.Logger.isEnabledFor = isEnabledFor
    logging.basicConfig = basicConfig
    for name, level in _log_levels().items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        if logger is root:
            followed = None
    follow()


