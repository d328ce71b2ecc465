%% @private Python source that puts the packages of a virtual environment on Python's path, and
%% takes them off again.
%%
%% Pure functions: they make text, and never run it.
-module(py_venv_code).

-export([activate/1, activation/1, deactivate/0, path_lock/0, literal/1]).

%% What follows runs in each context. Workers share an interpreter and may run it at once: hence the
%% lock, and the look whether it is done already.
-define(LOCKED,
        "import os, site, sys\n"
        "def take_off(old):\n"
        "    sys.path[:] = [p for p in sys.path if p not in old['added']]\n"
        "    sys.prefix, sys.exec_prefix, executable = old['were']\n"
        "    run_as(executable)\n"
        "    del sys._py_context_venv\n"
        "def run_as(executable):\n"
        "    spawn = sys.modules.get('multiprocessing.spawn')\n"
        "    if spawn and os.fsdecode(spawn.get_executable() or '') == (sys.executable or ''):\n"
        "        spawn.set_executable(executable)\n"
        "    sys.executable = executable\n"
        "with lock:\n"
        "    old = getattr(sys, '_py_context_venv', None)\n").
%% Packages go to the front of the path, as in a Python of the environment; `.pth' files are read.
%% Another environment that was active goes first, unless the context was started with one of its
%% own: then that stays. What Python code starts as `sys.executable' is a Python of the environment.
-define(ACTIVATE,
        ?LOCKED
        "    version = '%d.%d' % sys.version_info[:2] + ('t' if 't' in sys.abiflags else '')\n"
        "    lib = os.path.join(venv, 'lib', 'python' + version, 'site-packages')\n"
        "    if not os.path.isdir(lib):\n"
        "        import glob\n"
        "        pattern = os.path.join(glob.escape(venv), 'lib', 'python*', 'site-packages')\n"
        "        found = glob.glob(pattern)\n"
        "        others = sorted(path.split(os.sep)[-2][len('python'):] for path in found)\n"
        "        if others:\n"
        "            raise FileNotFoundError(f'this is Python {version}, and the virtual '\n"
        "                f'environment of Python {\" and \".join(others)}: {venv}')\n"
        "        raise FileNotFoundError(f'no virtual environment: {venv}')\n"
        "    if not (old and (old['own'] > own or (old['venv'], old['own']) == (venv, own))):\n"
        "        if old:\n"
        "            take_off(old)\n"
        "        before, were = list(sys.path), (sys.prefix, sys.exec_prefix, sys.executable)\n"
        "        site.addsitedir(lib)\n"
        "        added = [p for p in sys.path if p not in before]\n"
        "        sys.path[:] = added + before\n"
        "        sys.prefix = sys.exec_prefix = venv\n"
        "        python = os.path.join(venv, 'bin', 'python')\n"
        "        if os.path.exists(python):\n"
        "            run_as(python)\n"
        "        sys._py_context_venv = dict(venv=venv, own=own, added=added, were=were)\n").
-define(DEACTIVATE,
        ?LOCKED
        "    if old and not old['own']:\n"
        "        take_off(old)\n").

%% For contexts that have no environment of their own.
-spec activate(binary()) -> binary().
activate(Path) ->
    source(?ACTIVATE, Path, false).

%% The code that a context runs which is started with an environment of its own.
-spec activation(binary()) -> binary().
activation(Path) ->
    source(?ACTIVATE, filename:absname(Path), true).

-spec deactivate() -> binary().
deactivate() ->
    source(?DEACTIVATE, <<>>, false).

%% Runs code with names of its own, so that it leaves none in the context's namespace.
-spec source(string(), binary(), boolean()) -> binary().
source(Code, Venv, Own) ->
    Flag = case Own of true -> "True"; false -> "False" end,
    iolist_to_binary(["exec(", literal(list_to_binary(Code)), ", {'venv': ",
                      literal(Venv), ", 'own': ", Flag, ", 'lock': ", path_lock(),
                      "})"]).

%% The lock for changes of Python's path: an expression, the same lock throughout an interpreter.
-spec path_lock() -> string().
path_lock() ->
    "__import__('sys').__dict__.setdefault('_py_context_lock', __import__('_thread').RLock())".

%% Text as Python source, whatever is in it.
-spec literal(binary()) -> iodata().
literal(Text) ->
    ["bytes.fromhex('", binary:encode_hex(Text), "').decode()"].
