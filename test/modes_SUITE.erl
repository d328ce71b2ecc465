%% What sets the three modes apart. What they have in common is in the other suites, which run
%% their cases in each mode.
-module(modes_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([imported/1]).
-export([supported_modes_follow_the_linked_version/1, unsupported_mode_says_why/1,
         workers_share_modules/1, contexts_of_a_pool_start_side_by_side/1,
         contexts_come_and_go_without_growth/1, busy_callers_leave_a_computation_its_turn/1,
         little_is_imported_before_the_user_does/1, module_state_is_private/1,
         builtins_are_private/1, stopped_context_leaves_nothing_to_the_next/1,
         whatever_a_context_breaks_the_next_one_starts_and_works/1,
         a_pool_comes_back_whatever_its_context_broke/1,
         finalizers_of_a_stopped_context_leave_nothing_to_the_next/1,
         a_start_that_fails_in_a_kept_interpreter_is_tried_in_a_new_one/1,
         contexts_of_a_pool_stop_side_by_side/1, interpreters_are_kept_where_ending_them_costs/1,
         threads_of_python_code_do_not_abort_the_vm/1,
         threads_begun_at_the_end_do_not_abort_the_vm/1,
         c_code_calls_back_into_its_own_interpreter/1,
         modules_in_c_serve_the_others_when_an_interpreter_has_ended/1,
         modules_in_c_know_the_classes_of_their_interpreter/1,
         an_audit_hook_goes_with_its_context/1, busy_contexts_run_at_the_same_time/1,
         a_live_context_takes_little_memory/1, live_memory/0,
         refusals_of_an_interpreter_get_a_hint/1, other_errors_get_no_hint/1,
         a_package_that_a_subinterp_has_taken_says_so_in_a_worker/1,
         module_that_refuses_gets_a_hint/1, mixed_pools_serve_what_each_can/1]).

%% How many contexts must do something together.
-define(TOGETHER, 4).

%% A mode that the linked Python can't give has no cases; that it says so is a case of its own.
all() ->
    [supported_modes_follow_the_linked_version, unsupported_mode_says_why
     | test_helpers:mode_groups()].

groups() ->
    Any = [contexts_of_a_pool_start_side_by_side, contexts_come_and_go_without_growth,
           busy_callers_leave_a_computation_its_turn, c_code_calls_back_into_its_own_interpreter,
           refusals_of_an_interpreter_get_a_hint, other_errors_get_no_hint],
    Isolated = [little_is_imported_before_the_user_does, module_state_is_private,
                builtins_are_private, stopped_context_leaves_nothing_to_the_next,
                whatever_a_context_breaks_the_next_one_starts_and_works,
                a_pool_comes_back_whatever_its_context_broke,
                finalizers_of_a_stopped_context_leave_nothing_to_the_next,
                a_start_that_fails_in_a_kept_interpreter_is_tried_in_a_new_one,
                contexts_of_a_pool_stop_side_by_side,
                interpreters_are_kept_where_ending_them_costs,
                threads_of_python_code_do_not_abort_the_vm,
                threads_begun_at_the_end_do_not_abort_the_vm,
                modules_in_c_serve_the_others_when_an_interpreter_has_ended,
                modules_in_c_know_the_classes_of_their_interpreter,
                an_audit_hook_goes_with_its_context],
    [{worker, [], [workers_share_modules,
                   a_package_that_a_subinterp_has_taken_says_so_in_a_worker | Any]},
     {subinterp, [], Any ++ Isolated},
     {owngil, [], Any ++ Isolated ++ [busy_contexts_run_at_the_same_time,
                                      a_live_context_takes_little_memory,
                                      module_that_refuses_gets_a_hint,
                                      mixed_pools_serve_what_each_can]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(py_context_router),
    Config.

end_per_suite(_Config) ->
    application:stop(py_context_router).

init_per_group(Mode, Config) ->
    [{mode, Mode} | Config].

end_per_group(_Mode, _Config) ->
    ok.

%% ------------------------------------------------------------------ any mode

supported_modes_follow_the_linked_version(_Config) ->
    ?assertEqual(true, py:subinterp_supported()),
    ?assertEqual(minor() >= 12, py:owngil_supported()).

unsupported_mode_says_why(_Config) ->
    Started = py_context_router:start_pool(own, 1, owngil),
    case minor() >= 12 of
        true ->
            ?assertMatch({ok, [_]}, Started),
            ok = py_context_router:stop_pool(own);
        false ->
            {ok, Version} = py:version(),
            {error, {unsupported_mode, owngil, Why}} = Started,
            ?assertMatch({_, _}, binary:match(Why, Version)),
            ?assertEqual(0, py_context_router:num_contexts(own))
    end.

workers_share_modules(_Config) ->
    with_contexts(worker, 2, fun([A, B]) ->
        ok = py_context:exec(A, <<"import string; string.marked_by = 'a'">>),
        ?assertEqual({ok, <<"a">>}, py_context:eval(B, <<"__import__('string').marked_by">>)),
        ok = py_context:exec(A, <<"del string.marked_by">>)
    end).

%% Each waits in its preload until all have begun theirs.
contexts_of_a_pool_start_side_by_side(Config) ->
    Started = py_context_router:start_pool(together, #{contexts => ?TOGETHER, mode => mode(Config),
                                                       preload => meeting(Config)
                                                                  ++ "assert meet()\n"}),
    ?assertMatch({ok, [_, _, _, _]}, Started),
    ok = py_context_router:stop_pool(together).

%% Everywhere but inside CPython: what it loses per interpreter on 3.12 and 3.13 is why those keep
%% theirs.
contexts_come_and_go_without_growth(Config) ->
    Cycle = fun() ->
        with_contexts(mode(Config), 1, fun([Ctx]) ->
            %% `logging' registers for a fork, which keeps it for as long as the interpreter lives.
            ok = py_context:exec(Ctx, <<"import json, logging\ndef f(x): return json.dumps(x)">>),
            {ok, <<"[1]">>} = py_context:call(Ctx, '__main__', f, [[1]])
        end)
    end,
    _ = [Cycle() || _ <- lists:seq(1, 5)],
    Threads = test_helpers:threads(),
    Before = test_helpers:rss_kb(),
    _ = [Cycle() || _ <- lists:seq(1, 60)],
    _ = test_helpers:await_threads(Threads),
    Growth = test_helpers:rss_kb() - Before,
    ct:log("60 cycles: ~b KB", [Growth]),
    ?assert(Growth < 6_000, {grown_kb, Growth}).

%% Callers that never let up keep their context busy, in C functions that don't give way by
%% themselves; the other one has something to compute.
busy_callers_leave_a_computation_its_turn(Config) ->
    with_contexts(mode(Config), 2, fun([Calls, Computes]) ->
        Stop = atomics:new(1, []),
        Callers = [test_helpers:ask(fun() -> call_until(Stop, Calls) end) || _ <- lists:seq(1, 4)],
        Computed = py_context:eval(Computes, <<"sum(n & 3 for n in range(10**6))">>),
        ok = atomics:put(Stop, 1, 1),
        ?assertEqual({ok, 1500000}, Computed),
        _ = [?assertMatch(Count when Count > 0, test_helpers:answer(Caller)) || Caller <- Callers]
    end).

call_until(Stop, Ctx) ->
    call_until(Stop, Ctx, 0).

%% With the GIL (`PyDLL') and without; what is called finds a thread state by the thread alone.
c_code_calls_back_into_its_own_interpreter(Config) ->
    with_contexts(mode(Config), 1, fun([Ctx]) ->
        case py_context:exec(Ctx, <<"import ctypes">>) of
            ok -> called_back(Ctx);
            %% It is none of those that a GIL of one's own allows then.
            {error, {'ImportError', _}} -> ?assertEqual({owngil, 12}, {mode(Config), minor()})
        end
    end).

called_back(Ctx) ->
    ok = py_context:exec(Ctx, <<"import sys\n"
                                "sys.mark = 'own'\n"
                                "def sort(library):\n"
                                "    seen = set()\n"
                                "    @ctypes.CFUNCTYPE(ctypes.c_int, "
                                "ctypes.POINTER(ctypes.c_int),\n"
                                "                      ctypes.POINTER(ctypes.c_int))\n"
                                "    def compare(a, b):\n"
                                "        import sys\n"
                                "        seen.add(getattr(sys, 'mark', 'other'))\n"
                                "        return a[0] - b[0]\n"
                                "    numbers = (ctypes.c_int * 3)(3, 1, 2)\n"
                                "    library(None).qsort(numbers, 3, ctypes.sizeof(ctypes.c_int),\n"
                                "                        compare)\n"
                                "    return list(numbers), list(seen)\n">>),
    [?assertEqual({Library, {ok, {[1, 2, 3], [<<"own">>]}}},
                  {Library, py_context:eval(Ctx, <<"sort(ctypes.", Library/binary, ")">>, #{},
                                            30_000)})
     || Library <- [<<"CDLL">>, <<"PyDLL">>]],
    py_context:exec(Ctx, <<"del sys.mark">>).

%% As they are raised by, or because of: CPython, Cython (lxml, pyarrow), PyO3 (pydantic-core,
%% polars), numpy, pandas. Which way out there is depends on which interpreter it is.
refusals_of_an_interpreter_get_a_hint(Config) ->
    Once = "ImportError('cannot load module more than once per process')",
    Raise = ["raise " ++ Once,
             "raise ImportError('module x does not support loading in subinterpreters')",
             "raise ImportError('Interpreter change detected - this module can only be loaded "
             "into one "
             "interpreter per process.')",
             "raise ImportError('PyO3 modules do not yet support subinterpreters, see "
             "https://...')",
             "raise ModuleNotFoundError('sub-interpreters are not supported')",
             "raise ImportError('numpy._core.multiarray failed to import')",
             "try: raise " ++ Once ++ "\n"
             "except ImportError as e: raise ImportError('Unable to import required dependency "
             "numpy') from e",
             "try: raise " ++ Once ++ "\n"
             "except ImportError: raise ImportError('Unable to import required dependency numpy')",
             "class PanicException(BaseException): pass\n"
             "raise PanicException('failed: ImportError(\\'PyO3 modules do not yet support "
             "subinterpreters\\')')"],
    Hint = case mode(Config) of
               worker -> <<"imported by a context of mode subinterp first">>;
               _ -> <<"works in a worker context">>
           end,
    with_contexts(mode(Config), 1, fun([Ctx]) ->
        [begin
             {error, {_, Message}} = py_context:exec(Ctx, iolist_to_binary(Code)),
             [?assertMatch({Code, {_, _}}, {Code, binary:match(Message, Words)})
              || Words <- [Hint, <<"register_pool/2">>, <<"until the VM is restarted">>]]
         end || Code <- Raise],
        %% Also where it is the preload that fails.
        {error, {'ImportError', Message}} =
            py_context:new(#{mode => mode(Config), preload => hd(Raise)}),
        ?assertMatch({_, _}, binary:match(Message, Hint))
    end).

other_errors_get_no_hint(Config) ->
    with_contexts(mode(Config), 1, fun([Ctx]) ->
        [?assertEqual({error, {Class, Message}}, py_context:exec(Ctx, Code))
         || {Code, Class, Message} <-
                [{<<"import no_such">>, 'ModuleNotFoundError', <<"No module named 'no_such'">>},
                 {<<"raise ValueError('subinterpreter')">>, 'ValueError', <<"subinterpreter">>},
                 {<<"e = ImportError('own'); e.__cause__ = e\nraise e">>, 'ImportError',
                  <<"own">>}]]
    end).

%% A module that behaves as those do: whichever interpreter imports it first has it.
a_package_that_a_subinterp_has_taken_says_so_in_a_worker(Config) ->
    Dir = proplists:get_value(priv_dir, Config),
    Mark = filename:join(Dir, "taken"),
    ok = file:write_file(filename:join(Dir, "taken_once.py"),
                         ["import os, sys\n"
                          "if not os.path.exists('", Mark, "'):\n"
                          "    open('", Mark, "', 'w').write(str(id(sys)))\n"
                          "elif open('", Mark, "').read() != str(id(sys)):\n"
                          "    raise ImportError('Interpreter change detected - this module can "
                          "only be "
                          "loaded into one interpreter per process.')\n"]),
    Import = iolist_to_binary(["import sys; sys.path.append('", Dir, "')\nimport taken_once"]),
    with_contexts(subinterp, 1, fun([First]) ->
        ?assertEqual(ok, py_context:exec(First, Import))
    end),
    with_contexts(worker, 1, fun([Later]) ->
        {error, {'ImportError', Message}} = py_context:exec(Later, Import),
        ?assertMatch({_, _}, binary:match(Message, <<"mode subinterp first">>)),
        ok = py_context:exec(Later, <<"sys.path.pop()">>)
    end).

call_until(Stop, Ctx, Count) ->
    {ok, 4.0} = py_context:call(Ctx, math, sqrt, [16]),
    case atomics:get(Stop, 1) of
        0 -> call_until(Stop, Ctx, Count + 1);
        1 -> Count + 1
    end.

%% ------------------------------------------------------------------ with an interpreter each

%% What is imported into each costs memory and time: no more than Python itself imports, and `io',
%% without which sys.stdout would be none of its classes. CPython 3.14 has it only when it is
%% asked for.
little_is_imported_before_the_user_does(Config) ->
    %% In a VM of its own, where no interpreter has been used before.
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => standard_io}),
    try
        {Python, Modules} = peer:call(Vm, ?MODULE, imported, [mode(Config)]),
        {ok, Bare} = test_helpers:run_program(Python, ["-c", "import sys; print(*sys.modules)"]),
        ?assertEqual([], Modules -- [<<"atexit">>, <<"erlang">>, <<"gc">>,
                                     <<"io">> | string:lexemes(Bare, " \n")])
    after
        peer:stop(Vm)
    end.

%% In the other VM.
imported(Mode) ->
    {ok, Ctx} = py_context:new(#{mode => Mode}),
    %% `None' bars a module.
    {ok, Modules} = py_context:eval(Ctx, <<"[name for name, module in "
                                           "__import__('sys').modules.items() if module]">>),
    {ok, Python} = py_context:eval(Ctx, <<"__import__('sys').executable">>),
    {Python, Modules}.

module_state_is_private(Config) ->
    with_contexts(mode(Config), 2, fun([A, B]) ->
        ok = py_context:exec(A, <<"import string; string.marked_by = 'a'">>),
        ?assertEqual({ok, false},
                     py_context:eval(B, <<"hasattr(__import__('string'), 'marked_by')">>))
    end).

builtins_are_private(Config) ->
    with_contexts(mode(Config), 2, fun([A, B]) ->
        ok = py_context:exec(A, <<"import builtins; builtins.leak = 1">>),
        ?assertEqual({ok, 1}, py_context:eval(A, <<"leak">>)),
        ?assertMatch({error, {'NameError', _}}, py_context:eval(B, <<"leak">>))
    end).

%% On 3.12 and 3.13 the next context may get the same interpreter, reset.
stopped_context_leaves_nothing_to_the_next(Config) ->
    with_contexts(mode(Config), 1, fun([A]) ->
        ok = py_context:exec(A, <<"import builtins, gc, os, sys, string, atexit, warnings\n"
                                  "warnings.simplefilter('error')\n"
                                  "builtins.leak = 1\n"
                                  "builtins.len = None\n"
                                  "string.marked_by = 'a'\n"
                                  "os.marked_by = 'a'\n"
                                  "os.getpid = lambda: -1\n"
                                  "import erlang\n"
                                  "erlang.call = lambda *_: 'mocked'\n"
                                  "del erlang.whereis\n"
                                  "sys.path.append('/nowhere')\n"
                                  "sys.meta_path = []\n"
                                  "sys.stdout = None\n"
                                  "sys.setrecursionlimit(77)\n"
                                  "sys.set_int_max_str_digits(0)\n"
                                  "gc.disable()\n"
                                  "gc.set_debug(gc.DEBUG_SAVEALL)\n"
                                  "gc.freeze()\n"
                                  "if hasattr(sys, 'monitoring'):\n"
                                  "    sys.monitoring.use_tool_id(2, 'a')\n"
                                  "    sys.monitoring.set_events(2, "
                                  "sys.monitoring.events.PY_START)\n"
                                  "leaked = [lambda: leaked]\n"
                                  "atexit.register(lambda: setattr(builtins, 'late', 1))\n">>)
    end),
    with_contexts(mode(Config), 1, fun([B]) ->
        ok = py_context:exec(B, <<"import builtins, erlang, gc, os, sys, string, warnings">>),
        [?assertEqual({Code, {ok, false}}, {Code, py_context:eval(B, Code)})
         || Code <- [<<"hasattr(builtins, 'leak')">>, <<"hasattr(builtins, 'late')">>,
                     <<"len is None">>, <<"'leaked' in globals()">>,
                     <<"hasattr(string, 'marked_by')">>, <<"hasattr(os, 'marked_by')">>,
                     <<"os.getpid() == -1">>, <<"'/nowhere' in sys.path">>,
                     <<"type(erlang.call) is type(lambda: 0)">>,
                     <<"not hasattr(erlang, 'whereis')">>,
                     <<"sys.meta_path == []">>, <<"sys.stdout is None">>,
                     <<"sys.getrecursionlimit() == 77">>, <<"not gc.isenabled()">>,
                     <<"gc.get_debug() != 0">>, <<"gc.get_freeze_count() != 0">>,
                     <<"warnings.filters[0][0] == 'error'">>]
                    %% Older ones have it once for the OS process.
                    ++ [Code || minor() >= 12,
                                Code <- [<<"sys.get_int_max_str_digits() == 0">>,
                                         <<"sys.monitoring.get_tool(2) is not None">>]]]
    end).

%% On 3.12 and 3.13 the interpreter may be kept: then the reset puts it right, or it is not used
%% again.
whatever_a_context_breaks_the_next_one_starts_and_works(Config) ->
    [begin
         with_contexts(mode(Config), 1, fun([A]) -> _ = py_context:exec(A, Break) end),
         with_contexts(mode(Config), 1, fun([B]) ->
             ?assertEqual({Break, ok}, {Break, py_context:exec(B, works())})
         end)
     end || Break <- breakages()].

a_pool_comes_back_whatever_its_context_broke(Config) ->
    Config1 = test_helpers:quiet(Config),
    {ok, [_]} = py_context_router:start_pool(broken, 1, mode(Config)),
    [begin
         Ctx = py_context_router:get_context(broken),
         _ = py_context:exec(Ctx, Break),
         ok = test_helpers:kill(Ctx),
         _ = test_helpers:eventually(fun() -> py_context_router:get_context(broken) =/= Ctx end),
         New = py_context_router:get_context(broken),
         ?assertEqual({Break, ok}, {Break, py_context:exec(New, works())})
     end || Break <- lists:sublist(breakages(), 3)],
    ok = py_context_router:stop_pool(broken),
    test_helpers:loud(Config1).

%% The first three keep a context from starting in the interpreter.
breakages() ->
    Broken = "def broken(*_, **__): raise RuntimeError('broken')\n",
    [iolist_to_binary([Broken, Code])
     || Code <- ["from importlib.machinery import ModuleSpec\nModuleSpec.__init__ = broken",
                 "from importlib import _bootstrap\n_bootstrap._find_and_load = broken\n"
                 "_bootstrap.ModuleSpec.parent = property(broken)",
                 "import importlib._bootstrap as b\n"
                 "b.BuiltinImporter.create_module = staticmethod(broken)\n"
                 "b.BuiltinImporter.find_spec = classmethod(broken)",
                 "import sys\nfor name in list(sys.modules): sys.modules[name] = None",
                 "import sys\nsys.modules = {}",
                 "import sys\nsys.meta_path[:] = []\nsys.path_hooks[:] = []\nsys.path[:] = []",
                 "import sys\nsys.meta_path.insert(0, broken)\nsys.path_hooks.insert(0, broken)",
                 "import sys\nsys.path_importer_cache.clear()\n"
                 "sys.path_importer_cache.update(dict.fromkeys(sys.path))",
                 "import builtins\nfor name in list(vars(builtins)): delattr(builtins, name)",
                 "import builtins\nbuiltins.__import__ = builtins.__build_class__ = broken",
                 "import io, _io, builtins\nio.open = _io.open = _io.open_code = broken\n"
                 "builtins.open = io.TextIOWrapper = broken",
                 "import codecs\ncodecs.register(broken)\ncodecs.register_error('strict', broken)\n"
                 "codecs.lookup = broken\ncodecs.register_error('surrogateescape', broken)",
                 "import encodings\nencodings.aliases.aliases.clear()\nencodings._cache.clear()\n"
                 "encodings.utf_8.getregentry = broken",
                 "import sys\nsys.excepthook = sys.unraisablehook = sys.displayhook = broken\n"
                 "import threading\nthreading.excepthook = broken",
                 "import warnings\nwarnings.showwarning = warnings.warn = broken\n"
                 "import _warnings\n_warnings.warn = broken\nwarnings.simplefilter('error')",
                 "import gc\ngc.callbacks.append(broken)\ngc.disable()\ngc.set_threshold(1)",
                 "import sys, threading\nthreading.setprofile(broken)\nthreading.settrace(broken)\n"
                 "sys.setprofile(broken)",
                 "import sys\nsys.setrecursionlimit(60)",
                 "import os\nos.environ.encodekey = broken\nos.fspath = os.stat = broken\n"
                 "os.path.join.__code__ = broken.__code__\nos.path.join.__defaults__ = (1, 2)",
                 "import os\nos.supports_fd.clear()\nos.sysconf_names.clear()\nos.__all__.clear()",
                 "import abc\nabc.ABCMeta.__new__ = broken\n"
                 "import _collections_abc\n_collections_abc.Mapping.__contains__ = broken",
                 "import posix\nposix.stat = posix.listdir = broken",
                 "import _thread\n_thread.allocate_lock = _thread.RLock = _thread.get_ident = "
                 "broken",
                 "import sys\nsys.__stdout__.close()\nsys.__stderr__.detach()",
                 "import sys\nsys.implementation.cache_tag = None\nsys.dont_write_bytecode = True",
                 "import atexit\natexit.register(broken)\natexit._run_exitfuncs = broken",
                 "import time\ntime.sleep = time.monotonic = broken"]].

%% What a program may need of the interpreter.
works() ->
    <<"import codecs, decimal, io, json, os, re, sys, tempfile, threading, time, warnings\n"
      "class Thing(dict):\n"
      "    part = property(lambda self: 'part')\n"
      "assert Thing().part == 'part' and json.loads(json.dumps([1])) == [1]\n"
      "assert isinstance(codecs.lookup('latin-1').encode('x')[0], bytes)\n"
      "assert b'\\xff'.decode('utf-8', 'surrogateescape') == '\\udcff'\n"
      "assert os.path.join('a', 'b') == 'a/b' and 'strict' in str(codecs.strict_errors)\n"
      "try: b'\\xff'.decode('utf-16')\n"
      "except UnicodeDecodeError: pass\n"
      "def deep(n): return n and deep(n - 1)\n"
      "assert deep(200) == 0 and sys.stderr and not sys.__stdout__.closed\n"
      "with tempfile.TemporaryFile('w+') as file: assert file.write('x') == 1\n"
      "thread = threading.Thread(target=time.sleep, args=(0,)); thread.start(); thread.join()\n"
      "warnings.warn('seen', stacklevel=2)\n"
      "assert sys.implementation.cache_tag and os.supports_fd and os.sysconf_names\n"
      "assert 'x' in os.environ.__class__({'x': '1'}, str, str, str, str)\n">>.

%% Each when something else releases it: the old namespace, `sys.modules', the values of context
%% variables, the collection at the end, and what another finalizer has left for a later one.
finalizers_of_a_stopped_context_leave_nothing_to_the_next(Config) ->
    with_contexts(mode(Config), 1, fun([A]) ->
        ok = py_context:exec(A, <<"import builtins, contextvars, os, sys, types\n"
                                  "class Late:\n"
                                  "    def __init__(self, name, *then):\n"
                                  "        self.name, self.then = name, then\n"
                                  "    def __del__(self, b=builtins, os=os, sys=sys):\n"
                                  "        setattr(b, self.name, 1)\n"
                                  "        os.late = sys.late = sys.path = self.name\n"
                                  "        for then in self.then:\n"
                                  "            again = Late(*then); again.me = again\n"
                                  "by_namespace = Late('late_1')\n"
                                  "sys.modules['late'] = types.ModuleType('late')\n"
                                  "sys.modules['late'].value = Late('late_2')\n"
                                  "variable = contextvars.ContextVar('variable')\n"
                                  "_ = variable.set(Late('late_3'))\n"
                                  "cycle = Late('late_4', ('late_5', ('late_6',)), ('late_7',))\n"
                                  "cycle.me = cycle\n"
                                  "os.kept_by = Late('late_8')\n"
                                  "sys.path.append(Late('late_9'))\n">>)
    end),
    with_contexts(mode(Config), 1, fun([B]) ->
        ?assertEqual({ok, []},
                     py_context:eval(B, <<"[n for n in dir(__builtins__) if n[:5] == 'late_']">>)),
        ?assertEqual({ok, {false, false, true}},
                     py_context:eval(B,
                                     <<"(lambda os, sys: (hasattr(os, 'late'), hasattr(sys, "
                                       "'late'),"
                                          " type(sys.path) is list))"
                                          "(__import__('os'), __import__('sys'))">>))
    end).

%% What a module in C holds isn't undone by a reset: it may be what a preload can't do with. It is
%% run again in a new interpreter; one that fails there, too, is the preload's own fault.
a_start_that_fails_in_a_kept_interpreter_is_tried_in_a_new_one(Config) ->
    Options = #{mode => mode(Config), preload => <<"import math\nhalf = math.sqrt(0.25)">>},
    {ok, A} = py_context:new(Options),
    ok = py_context:exec(A, <<"math.sqrt = None">>),
    ok = py_context:stop(A),
    {ok, B} = py_context:new(Options),
    ?assertEqual({ok, 0.5}, py_context:eval(B, <<"half">>)),
    ok = py_context:stop(B),
    [?assertMatch({error, {'ZeroDivisionError', _}},
                  py_context:new(#{mode => mode(Config), preload => <<"1 / 0">>}))
     || _ <- lists:seq(1, 5)],
    {ok, C} = py_context:new(Options),
    ?assertEqual({ok, 0.5}, py_context:eval(C, <<"half">>)),
    ok = py_context:stop(C).

%% Each waits in a callback of its interpreter's end until all have come to theirs.
contexts_of_a_pool_stop_side_by_side(Config) ->
    Preload = meeting(Config) ++ "import atexit\natexit.register(meet)\n",
    {ok, _} = py_context_router:start_pool(together, #{contexts => ?TOGETHER, preload => Preload,
                                                       mode => mode(Config)}),
    ok = py_context_router:stop_pool(together),
    {ok, Marks} = file:list_dir(meeting_place(Config)),
    ?assertEqual(?TOGETHER, length(Marks)),
    ?assertEqual([], [Mark || Mark <- Marks, lists:prefix("alone", Mark)]).

%% What a reset doesn't undo tells that it is the same one: a name in a module in C that came later.
interpreters_are_kept_where_ending_them_costs(Config) ->
    Mark = <<"import math; math.kept = True">>,
    with_contexts(mode(Config), 1, fun([A]) -> ok = py_context:exec(A, Mark) end),
    with_contexts(mode(Config), 1, fun([B]) ->
        ?assertEqual({ok, lists:member(minor(), [12, 13])},
                     py_context:eval(B, <<"hasattr(__import__('math'), 'kept')">>))
    end).

threads_of_python_code_do_not_abort_the_vm(Config) ->
    Path = filename:join(proplists:get_value(priv_dir, Config),
                         "thread_" ++ atom_to_list(mode(Config))),
    with_contexts(mode(Config), 1, fun([Ctx]) ->
        ok = py_context:exec(Ctx, <<"import threading\n"
                                    "event = threading.Event()\n"
                                    "def run(path):\n"
                                    "    event.wait(0.3)\n"
                                    "    open(path, 'x').close()">>),
        {ok, _} = py_context:eval(Ctx, <<"threading.Thread(target=run, args=(path,)).start()">>,
                                  #{path => unicode:characters_to_binary(Path)})
    end),
    %% They are waited for, as they are at the end of a Python program.
    ?assert(filelib:is_regular(Path)),
    with_contexts(mode(Config), 1, fun([Ctx]) ->
        ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>))
    end).

%% A callback at the end is late enough for nobody to wait for what it starts.
threads_begun_at_the_end_do_not_abort_the_vm(Config) ->
    with_contexts(mode(Config), 1, fun([Ctx]) ->
        ok = py_context:exec(Ctx, <<"import atexit, threading, time\n"
                                    "def begin():\n"
                                    "    threading.Thread(target=time.sleep, args=(0.1,)).start()\n"
                                    "atexit.register(begin)">>)
    end),
    with_contexts(mode(Config), 1, fun([Ctx]) ->
        ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>))
    end).

%% Some keep in one place for all what belongs to the interpreter that came first, or last.
modules_in_c_serve_the_others_when_an_interpreter_has_ended(Config) ->
    Use = <<"import datetime, decimal, fractions, zoneinfo\n"
            "zoneinfo.ZoneInfo.clear_cache()\n"
            "def use():\n"
            "    zone = zoneinfo.ZoneInfo.from_file(tzfile())\n"
            "    year = datetime.datetime.strptime('2020', '%Y').year\n"
            "    offset = zone.utcoffset(datetime.datetime(2020, 1, 1))\n"
            "    return (year, offset == datetime.timedelta(0),\n"
            "            decimal.Decimal('0.5') == fractions.Fraction(1, 2))\n"
            "def tzfile():\n"
            "    import io, struct\n"
            "    head = struct.pack('>4sc15x6l', b'TZif', b'\\x00', 0, 0, 0, 0, 1, 4)\n"
            "    return io.BytesIO(head + struct.pack('>lbb', 0, 0, 0) + b'UTC\\x00')\n">>,
    with_contexts(worker, 1, fun([Stays]) ->
        Used = fun(Ctx) -> py_context:call(Ctx, '__main__', use, []) end,
        with_contexts(mode(Config), 1, fun([Goes]) ->
            ok = py_context:exec(Goes, Use),
            ok = py_context:exec(Stays, Use),
            ok = py_context:exec(Goes, Use),
            ?assertEqual({ok, {2020, true, true}}, Used(Goes)),
            ?assertEqual({ok, {2020, true, true}}, Used(Stays))
        end),
        ?assertEqual({ok, {2020, true, true}}, Used(Stays))
    end).

%% Also the second time, in an interpreter that was kept.
modules_in_c_know_the_classes_of_their_interpreter(Config) ->
    Test = <<"import copyreg, decimal, fractions, numbers, pickle, zoneinfo\n"
             "class Thing: pass\n"
             "copyreg.pickle(Thing, lambda thing: (str, ('reduced',)))\n"
             "try:\n"
             "    zoneinfo.ZoneInfo('No/Such')\n"
             "    caught = False\n"
             "except zoneinfo.ZoneInfoNotFoundError:\n"
             "    caught = True\n"
             "result = (decimal.Decimal('0.5') == fractions.Fraction(1, 2),\n"
             "          isinstance(decimal.Decimal(1), numbers.Number), caught,\n"
             "          pickle.loads(pickle.dumps(Thing())))">>,
    _ = [with_contexts(mode(Config), 2, fun(Both) ->
             _ = [begin
                      ok = py_context:exec(Ctx, Test),
                      ?assertEqual({ok, {true, true, true, <<"reduced">>}},
                                   py_context:eval(Ctx, <<"result">>))
                  end || Ctx <- Both]
         end) || _ <- [first, second]],
    ok.

an_audit_hook_goes_with_its_context(Config) ->
    with_contexts(mode(Config), 1, fun([A]) ->
        ok = py_context:exec(A, <<"import sys\n"
                                  "def hook(event, args):\n"
                                  "    if event == 'modes_SUITE.mark': raise RuntimeError(event)\n"
                                  "sys.addaudithook(hook)">>),
        ?assertMatch({error, {'RuntimeError', _}}, py_context:exec(A, mark()))
    end),
    with_contexts(mode(Config), 1, fun([B]) -> ?assertEqual(ok, py_context:exec(B, mark())) end).

mark() ->
    <<"import sys; sys.audit('modes_SUITE.mark')">>.

%% ------------------------------------------------------------------ with a GIL each

%% `sum' over a range is one call into C that keeps the GIL from its start to its end.
busy_contexts_run_at_the_same_time(Config) ->
    with_contexts(mode(Config), 2, fun([A, B]) ->
        Busy = test_helpers:ask(fun() -> py_context:eval(A, <<"sum(range(10**8))">>) end),
        _ = test_helpers:await_busy(A),
        ?assertEqual({ok, 2}, py_context:eval(B, <<"1 + 1">>)),
        ?assertMatch(#{state := busy}, py_context:info(A)),
        ?assertEqual({ok, 4999999950000000}, test_helpers:answer(Busy))
    end).

%% In a VM of its own: what earlier cases have left could hide it.
a_live_context_takes_little_memory(_Config) ->
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => standard_io}),
    Each = peer:call(Vm, ?MODULE, live_memory, [], 60_000),
    ok = peer:stop(Vm),
    ct:log("~b KB", [Each]),
    ?assert(Each < 4096).

live_memory() ->
    Contexts = 10,
    {ok, _} = py_context_router:start_pool(first, 1, owngil),
    Before = test_helpers:rss_kb(),
    {ok, Pids} = py_context_router:start_pool(own, Contexts, owngil),
    [{ok, 2} = py_context:eval(Pid, <<"1 + 1">>) || Pid <- Pids],
    (test_helpers:rss_kb() - Before) div Contexts.

module_that_refuses_gets_a_hint(_Config) ->
    test_helpers:with_numpy(fun(Vm) ->
        {ok, [Ctx]} = peer:call(Vm, py_context_router, start_pool, [own, 1, owngil], 60_000),
        {error, {Class, Message}} =
            peer:call(Vm, py_context, call, [Ctx, numpy, sum, [[1]]], 60_000),
        ?assertEqual('ImportError', Class),
        ?assertMatch({_, _}, binary:match(Message, <<"register_pool">>))
    end).

mixed_pools_serve_what_each_can(_Config) ->
    test_helpers:with_numpy(fun(Vm) ->
        {ok, [Pure | _]} = peer:call(Vm, py_context_router, start, [#{mode => owngil}], 60_000),
        {ok, _} = peer:call(Vm, py_context_router, start_pool, [native, 2], 60_000),
        ok = peer:call(Vm, py_context_router, register_pool, [native, numpy]),
        Pool = peer:call(Vm, py_context_router, lookup_pool, [numpy, sum]),
        ?assertEqual(native, Pool),
        Native = peer:call(Vm, py_context_router, get_context, [Pool]),
        %% The pure one never stops by itself; numpy is served beside it.
        _ = peer:cast(Vm, py_context, exec, [Pure, <<"while True: pass">>]),
        ?assertEqual({ok, 6},
                     peer:call(Vm, py_context, call, [Native, numpy, sum, [[1, 2, 3]]], 60_000)),
        _ = peer:call(Vm, py_context, interrupt, [Pure])
    end).

%% ------------------------------------------------------------------ helpers

mode(Config) ->
    proplists:get_value(mode, Config).

%% Python code of a function that returns once all have called it; after long it returns False.
meeting(Config) ->
    Place = meeting_place(Config),
    _ = file:del_dir_r(Place),
    ok = file:make_dir(Place),
    "def meet():\n"
    "    import os, time\n"
    "    place = '" ++ Place ++ "'\n"
    "    name = str(time.monotonic_ns()) + str(id(meet))\n"
    "    open(os.path.join(place, name), 'x').close()\n"
    "    for _ in range(20000):\n"
    "        if len(os.listdir(place)) >= " ++ integer_to_list(?TOGETHER) ++ ":\n"
    "            return True\n"
    "        time.sleep(0.001)\n"
    "    open(os.path.join(place, 'alone' + name), 'x').close()\n"
    "    return False\n".

meeting_place(Config) ->
    filename:join(proplists:get_value(priv_dir, Config), "meeting").

minor() ->
    {ok, Version} = py:version(),
    [<<"3">>, Minor | _] = binary:split(Version, <<".">>, [global]),
    binary_to_integer(Minor).

with_contexts(Mode, N, Fun) ->
    Contexts = [begin {ok, Ctx} = py_context:new(#{mode => Mode}), Ctx end
                || _ <- lists:seq(1, N)],
    try Fun(Contexts)
    after [py_context:stop(Ctx) || Ctx <- Contexts]
    end.
