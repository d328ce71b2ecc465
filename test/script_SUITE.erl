%% Python code behaves as in a script of its own: the module `__main__', the lines of its source,
%% what eval takes, asyncio's event loop. In each kind of namespace; once per mode that the linked
%% Python has.
-module(script_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1]).

all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode(each_mode()).

each_mode() ->
    [ones_own_classes_and_functions_are_pickled,
     pickling_needs_no_python_code_around_it,
     main_is_the_module_that_runs,
     annotations_are_resolved,
     main_is_introspected,
     tools_of_the_standard_library_find_what_runs,
     threads_have_the_main_of_their_code,
     nobody_finds_the_names_of_others_in_main,
     streams_methods_and_callbacks_have_their_main,
     a_new_context_has_a_new_main,
     source_lines_are_found,
     source_lines_of_a_preload_are_found,
     sources_are_kept_apart,
     source_lines_are_bounded,
     source_lines_go_with_their_context,
     eval_takes_what_pythons_own_takes,
     eval_of_statements_says_what_to_use,
     errors_say_only_places_that_there_are,
     synchronous_code_has_an_event_loop,
     event_loops_are_not_shared,
     event_loops_go_with_their_owners].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    [{ctx, new(Config)} | Config].

end_per_testcase(_Case, Config) ->
    py_context:stop(?config(ctx, Config)).

new(Config) ->
    {ok, Ctx} = py_context:new(#{mode => ?config(mode, Config)}),
    Ctx.

%% Has `Fun' do something with what runs statements and what evaluates, in each kind of namespace.
in_each_namespace(Config, Fun) ->
    Ctx = ?config(ctx, Config),
    {ok, Env} = py_context:create_local_env(Ctx),
    _ = [{Kind, Fun(Exec, Eval)} ||
        {Kind, Exec, Eval} <-
            [{own, fun(Source) -> py_context:exec(Ctx, Source) end,
              fun(Source) -> py_context:eval(Ctx, Source) end},
             {process, fun(Source) -> py:exec(Ctx, Source) end,
              fun(Source) -> py:eval(Ctx, Source) end},
             {env, fun(Source) -> py_context:exec(Ctx, Source, Env) end,
              fun(Source) -> py_context:eval(Ctx, Source, #{}, infinity, Env) end}]],
    ok.

%% Statements succeed, and then expressions are true.
hold(Config, Statements, Expressions) ->
    in_each_namespace(Config, fun(Exec, Eval) ->
        ?assertEqual(ok, Exec(Statements)),
        ?assertEqual([], [{Expression, Value} || Expression <- Expressions,
                                                 Value <- [Eval(Expression)], Value =/= {ok, true}])
    end).

%% ------------------------------------------------------------------ the module __main__

ones_own_classes_and_functions_are_pickled(Config) ->
    Code = <<"import pickle, copy\n"
             "class P:\n    def __init__(self, n=0): self.n = n\n"
             "    def __eq__(self, other): return self.n == other.n\n"
             "    class Inner: pass\n"
             "def f(): return pickle.loads(pickle.dumps(P(1)))\n"
             "there = pickle.loads(pickle.dumps([P(1), f, P.Inner()]))\n"
             "slow = pickle._loads(pickle._dumps(P(3)))">>,
    hold(Config, Code, [<<"(there[0], there[1], slow, f()) == (P(1), f, P(3), P(1))">>,
                        <<"pickle.loads(pickle.dumps(P(4))) == P(4)">>,
                        <<"type(there[2]) is P.Inner">>]).

pickling_needs_no_python_code_around_it(Config) ->
    Ctx = ?config(ctx, Config),
    Code = <<"class ~s:\n    pass">>,
    ok = py_context:exec(Ctx, io_lib:format(Code, ["Own"])),
    ok = py:exec(Ctx, io_lib:format(Code, ["Mine"])),
    {ok, Own} = py_context:eval(Ctx, <<"Own()">>),
    {ok, Mine} = py:eval(Ctx, <<"Mine()">>),
    ?assertMatch({ok, _}, py_context:call(Ctx, pickle, dumps, [Own])),
    ?assertMatch({ok, _}, py:call(Ctx, pickle, dumps, [Own])),
    ?assertMatch({ok, _}, py:call(Ctx, pickle, dumps, [Mine])),
    {ok, Memory} = py:call(Ctx, io, 'BytesIO', []),
    {ok, Pickler} = py:call(Ctx, pickle, 'Pickler', [Memory]),
    ?assertEqual({ok, none}, py:call_method(Pickler, dump, [Mine])),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(Ctx, io_lib:format(Code, ["Other"]), Env),
    {ok, Other} = py_context:eval(Ctx, <<"Other()">>, #{}, infinity, Env),
    ?assertMatch({ok, _}, py_context:call(Ctx, pickle, dumps, [Other], #{}, infinity, Env)),
    ?assertMatch({error, _}, py_context:call(Ctx, pickle, dumps, [Other])).

main_is_the_module_that_runs(Config) ->
    Code = <<"import sys, types, __main__\n"
             "def f(): pass\n"
             "from __main__ import f as g\n"
             "main = sys.modules['__main__']\n"
             "__main__.y = 3\n"
             "seen = y, vars(main) is globals(), main.__dict__ is globals(), 'f' in dir(main)\n"
             "del __main__.y\n"
             "def raised(do, kind):\n"
             "    try: do()\n"
             "    except kind as error: return str(error)\n"
             "def imports():\n    from __main__ import nothing\n"
             "def deletes():\n    del __main__.nothing\n"
             "errors = raised(lambda: main.nothing, AttributeError), "
             "raised(imports, ImportError)[:34], raised(deletes, AttributeError) is not None\n"
             "note: int = 1\n">>,
    hold(Config, Code,
         [<<"seen == (3, True, True, True)">>,
          <<"not hasattr(main, 'y') and g is f and isinstance(main, types.ModuleType)">>,
          <<"repr(main).startswith('<module \\'__main__\\'')">>,
          <<"errors == (\"module '__main__' has no attribute 'nothing'\","
            " \"cannot import name 'nothing' from \", True)">>,
          <<"main.__annotations__ == {'note': int}">>,
          <<"main.__builtins__ is __builtins__">>,
          <<"(main.__name__, main.__spec__, main.__package__, main.__doc__)"
            " == ('__main__', None, None, None)">>]).

annotations_are_resolved(Config) ->
    Code = <<"from __future__ import annotations\n"
             "import dataclasses, typing\n"
             "from typing import ClassVar\n"
             "@dataclasses.dataclass\n"
             "class D:\n"
             "    count: ClassVar[int] = 0\n"
             "    after: D | None = None\n"
             "    old: dataclasses.InitVar[int] = 0\n"
             "class E:\n"
             "    d: D\n">>,
    hold(Config, Code,
         [<<"[field.name for field in dataclasses.fields(D)] == ['after']">>,
          <<"typing.get_type_hints(E) == {'d': D} and D(old=1) == D()">>]).

main_is_introspected(Config) ->
    Code = <<"import inspect, io, unittest, multiprocessing.spawn\n"
             "class Case(unittest.TestCase):\n"
             "    def test_one(self): self.assertEqual(1, 1)\n"
             "run = unittest.main(argv=['x'], exit=False,"
             " testRunner=unittest.TextTestRunner(stream=io.StringIO()))\n"
             "data = multiprocessing.spawn.get_preparation_data('child')">>,
    hold(Config, Code,
         [<<"run.result.testsRun == 1 and inspect.getmodule(Case).__name__ == '__main__'">>,
          <<"not any(name.startswith('init_main') for name in data)">>]).

tools_of_the_standard_library_find_what_runs(Config) ->
    Script = filename:join(?config(priv_dir, Config), "script.py"),
    ok = file:write_file(Script, <<"import __main__, pickle\nclass K: pass\n"
                                   "fine = bool(pickle.dumps(K())) and __main__.K is K">>),
    %% CPython 3.12 has _lsprof, and so cProfile, in the main interpreter only.
    Code = <<"import __main__, doctest, inspect, os, runpy, sys, timeit, warnings\n"
             "try: import cProfile as profiler\n"
             "except ImportError: import profile as profiler\n"
             "def double(n):\n"
             "    '''\n    >>> double(21)\n    42\n    '''\n"
             "    return 2 * n\n"
             "tested = doctest.testmod()\n"
             "profiler.run('profiled = double(3)', os.devnull)\n"
             "timed = []\n"
             "timeit.timeit('timed.append(n)', 'from __main__ import timed, double; n = double(2)',"
             " number=1)\n"
             "ran = runpy.run_path(~p, run_name='__main__')['fine']\n"
             "here = inspect.getsource(sys._getframe())\n"
             "line = inspect.stack()[0].code_context[0]\n">>,
    hold(Config, io_lib:format(Code, [Script]),
         [<<"tuple(tested) == (0, 1)">>, <<"profiled == 6 and timed == [4]">>,
          <<"ran and __main__.__dict__ is globals()">>,
          <<"here.startswith('import __main__') and line.startswith('line = ')">>]).

threads_have_the_main_of_their_code(Config) ->
    Code = <<"import pickle, threading\n"
             "from concurrent.futures import ThreadPoolExecutor\n"
             "class P: pass\n"
             "def f(): return type(pickle.loads(pickle.dumps(P()))) is P\n"
             "with ThreadPoolExecutor(1) as pool: done = pool.submit(f).result()">>,
    hold(Config, Code, [<<"done">>]).

nobody_finds_the_names_of_others_in_main(Config) ->
    Ctx = ?config(ctx, Config),
    Names = <<"sorted(name for name in vars(__import__('sys').modules['__main__'])"
              " if not name.startswith('_'))">>,
    ok = py_context:exec(Ctx, <<"own = 1">>),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(Ctx, <<"env = 1">>, Env),
    Ask = fun(Name) ->
        answer(ask(fun() ->
            ok = py:exec(Ctx, [Name, " = 1"]),
            py:eval(Ctx, Names)
        end))
    end,
    ?assertEqual([{ok, [<<"a">>, <<"own">>]}, {ok, [<<"b">>, <<"own">>]}], [Ask("a"), Ask("b")]),
    ?assertEqual({ok, [<<"own">>]}, py_context:eval(Ctx, Names)),
    ?assertEqual({ok, [<<"env">>]}, py_context:eval(Ctx, Names, #{}, infinity, Env)),
    %% A function of the context's own namespace finds what belongs to the process that calls it.
    ok = py_context:exec(Ctx, <<"import pickle\ndef save(thing): return pickle.dumps(thing)">>),
    ok = py:exec(Ctx, <<"class P: pass\nsaved = save(P())">>),
    %% Another context's is another's.
    Other = new(Config),
    ?assertEqual({ok, []}, py_context:eval(Other, Names)),
    ok = py_context:stop(Other).

streams_methods_and_callbacks_have_their_main(Config) ->
    Ctx = ?config(ctx, Config),
    Code = <<"import pickle, erlang\nclass ~s: pass\n"
             "def items():\n    for _ in range(2): yield bool(pickle.dumps(~s()))\n"
             "class Saver:\n    def save(self): return bool(pickle.dumps(~s()))\n"
             "def nested(): return bool(pickle.dumps(~s())), erlang.call('script_nested'), "
             "bool(pickle.dumps(~s()))">>,
    Source = fun(Name) -> io_lib:format(Code, lists:duplicate(5, Name)) end,
    ok = py_context:exec(Ctx, Source("Own")),
    ok = py:exec(Ctx, Source("Mine")),
    ?assertEqual({ok, [true, true]}, py:stream(Ctx, '__main__', items, [])),
    ?assertEqual({ok, [true, true]}, py:stream(Ctx, '__main__', items, [], #{env => none})),
    {ok, Mine} = py:eval(Ctx, <<"Saver()">>),
    {ok, Own} = py_context:eval(Ctx, <<"Saver()">>),
    ?assertEqual([{ok, true}, {ok, true}],
                 [py:call_method(Saver, save, []) || Saver <- [Mine, Own]]),
    %% A job that is nested in one that waits has its own.
    ok = py:register_function(script_nested, fun() ->
        {ok, true} = py_context:call(Ctx, '__main__', 'Saver.save', [Own]),
        true
    end),
    try
        ?assertEqual({ok, {true, true, true}}, py:call(Ctx, '__main__', nested, []))
    after
        py:unregister_function(script_nested)
    end.

a_new_context_has_a_new_main(Config) ->
    Code = <<"import sys, __main__\n"
             "__main__.left = 1\n"
             "class P: pass\n"
             "if ~s:\n    type(__main__).left = 2\n    sys.modules['__main__'] = None">>,
    Check = <<"import __main__, pickle\nclass Q: pass\npickle.dumps(Q())\n"
              "assert not hasattr(__main__, 'P') and not hasattr(__main__, 'left')">>,
    %% Workers share one interpreter, and what is done to that.
    Breaks = case ?config(mode, Config) of worker -> "False"; _ -> "True" end,
    [begin
         Ctx = new(Config),
         ?assertEqual(ok, py_context:exec(Ctx, Check)),
         ok = py_context:exec(Ctx, io_lib:format(Code, [Breaks])),
         ok = py_context:stop(Ctx)
     end || _ <- lists:seq(1, 4)].

%% ------------------------------------------------------------------ source lines

source_lines_are_found(Config) ->
    Function = <<"def f(a,\n      b=0):\n    # \xE2\x80\xA8 \f \x1c not ends of lines\n"
                 "    return a / b\n">>,
    Logs = <<"import io, inspect, logging, traceback\n"
             "def formatted(call):\n"
             "    try: call()\n"
             "    except Exception: return traceback.format_exc()\n"
             "def logged(call):\n"
             "    logger, out = logging.getLogger('script'), io.StringIO()\n"
             "    handler = logging.StreamHandler(out)\n"
             "    logger.propagate = False\n"
             "    logger.setLevel('ERROR')\n"
             "    logger.addHandler(handler)\n"
             "    try: call()\n"
             "    except Exception: logger.exception('oops')\n"
             "    logger.removeHandler(handler)\n"
             "    return out.getvalue()\n"
             "text = formatted(lambda: [1, 2][3])">>,
    in_each_namespace(Config, fun(Exec, Eval) ->
        %% One comes before anybody has asked for lines, the other after; and with other ends of
        %% lines.
        ok = Exec(Function),
        ok = Exec(Logs),
        ok = Exec(<<"def g():\r\n    return f(2)\r\n">>),
        ?assertEqual({ok, Function}, Eval(<<"inspect.getsource(f)">>)),
        ?assertEqual({ok, <<"def g():\n    return f(2)\n">>}, Eval(<<"inspect.getsource(g)">>)),
        [begin
             {ok, Text} = Eval(Source),
             ?assertMatch({match, _}, re:run(Text, "File \"<erlang-[0-9]+>\", line 4, in f\n"
                                                   "    return a / b\n")),
             ?assertMatch({match, _}, re:run(Text, "line 2, in g\n    return f\\(2\\)\n")),
             ?assertMatch({match, _},
                          re:run(Text, "in <lambda>\n    [a-z]+\\(lambda: g\\(\\)\\)\n"))
         end || Source <- [<<"formatted(lambda: g())">>, <<"logged(lambda: g())">>]],
        {ok, Text} = Eval(<<"text">>),
        ?assertMatch({match, _}, re:run(Text, "text = formatted"))
    end).

source_lines_of_a_preload_are_found(Config) ->
    Source = fun(Name) -> iolist_to_binary(["def ", Name, "():\n    return '", Name, "'\n"]) end,
    [Ctxs, Others] =
        [[begin
              {ok, Ctx} = py_context:new(#{mode => ?config(mode, Config), preload => Source(Name)}),
              Ctx
          end || _ <- [1, 2]] || Name <- ["one", "other"]],
    ok = py:exec(hd(Ctxs), <<"import inspect">>),
    Ask = fun(Ctx, Name) ->
        py_context:eval(Ctx, ["__import__('inspect').getsource(", Name, ")"])
    end,
    ?assertEqual([{ok, Source("one")}, {ok, Source("one")}], [Ask(Ctx, "one") || Ctx <- Ctxs]),
    ?assertEqual([{ok, Source("other")}, {ok, Source("other")}],
                 [Ask(Ctx, "other") || Ctx <- Others]),
    %% However many others come.
    [{ok, _} = py_context:eval(hd(Ctxs), [integer_to_list(N), " + 1"]) || N <- lists:seq(1, 3000)],
    ?assertEqual({ok, Source("one")}, Ask(hd(Ctxs), "one")),
    %% As long as one that begins with it is there.
    ok = py_context:stop(hd(Ctxs)),
    ?assertEqual({ok, Source("one")}, Ask(lists:last(Ctxs), "one")),
    [ok = py_context:stop(Ctx) || Ctx <- tl(Ctxs) ++ Others],
    ok = py_context:exec(?config(ctx, Config), <<"import linecache">>),
    ?assertEqual({ok, []}, py_context:eval(?config(ctx, Config),
        <<"[name for name in linecache.cache if name.startswith('<preload')]">>)).

sources_are_kept_apart(Config) ->
    Ctx = ?config(ctx, Config),
    Other = new(Config),
    Names = [begin
                 {ok, Name} = py_context:eval(Where, Source),
                 Name
             end || Where <- [Ctx, Other], N <- ["1", "2"],
                    Source <- [["(lambda: ", N, ").__code__.co_filename"]]],
    ?assertEqual(4, length(lists:usort(Names))),
    ok = py_context:stop(Other).

source_lines_are_bounded(Config) ->
    Ctx = ?config(ctx, Config),
    Count = <<"(lambda sizes: (len(sizes), sum(sizes)))([entry[0] for name, entry in"
              " linecache.cache.items() if name.startswith('<erlang')])">>,
    ok = py_context:exec(Ctx, <<"def first(): pass">>),
    ok = py_context:exec(Ctx, <<"import inspect, linecache">>),
    {ok, {Before, _}} = py_context:eval(Ctx, Count),
    [{ok, N} = py_context:eval(Ctx, integer_to_binary(N)) || N <- lists:seq(1, 3000)],
    {ok, {Many, _}} = py_context:eval(Ctx, Count),
    ?assert(Many - Before =< 2048, {Before, Many}),
    ?assertMatch({error, {'OSError', _}}, py_context:eval(Ctx, <<"inspect.getsource(first)">>)),
    Long = binary:copy(<<"#">>, 600_000),
    [ok = py_context:exec(Ctx, [integer_to_binary(N), $\n, Long]) || N <- lists:seq(1, 10)],
    {ok, {_, Bytes}} = py_context:eval(Ctx, Count),
    ?assert(Bytes < 6_000_000, Bytes).

source_lines_go_with_their_context(Config) ->
    Ctx = ?config(ctx, Config),
    {ok, Other} = py_context:new(#{mode => ?config(mode, Config), preload => <<"def f(): pass">>}),
    ok = py_context:exec(Ctx, <<"import linecache">>),
    ok = py_context:exec(Other, <<"import linecache\ndef g(): pass">>),
    {ok, Files} = py_context:eval(Other, <<"[f.__code__.co_filename, g.__code__.co_filename]">>),
    ?assertEqual({ok, [true, true]},
                 py_context:eval(Other, <<"[f in linecache.cache for f in fs]">>,
                                                     #{fs => Files})),
    ok = py_context:stop(Other),
    ?assertEqual({ok, [false, false]},
                 py_context:eval(Ctx, <<"[f in linecache.cache for f in fs]">>,
                                                       #{fs => Files})).

%% ------------------------------------------------------------------ what eval takes

eval_takes_what_pythons_own_takes(Config) ->
    Ctx = ?config(ctx, Config),
    Sources = [<<" 1 + 1">>, <<"\t1 + 1">>, <<"  \t [1,\n 2]">>, <<"\n1">>, <<"1 # one">>,
               <<" \n1">>,
               <<"\n 1">>, <<"">>, <<"  ">>, <<"1\n\n">>, <<"(\n1)">>],
    Own = fun(Source) -> py_context:call(Ctx, builtins, eval, [Source, #{}]) end,
    Type = fun({error, {Class, _}}) -> Class; (Result) -> Result end,
    ?assertEqual([{Source, Type(Own(Source))} || Source <- Sources],
                 [{Source, Type(py_context:eval(Ctx, Source))} || Source <- Sources]),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<" 1 + 1">>)),
    ?assertEqual({ok, 2}, py:eval(Ctx, <<"\t1 + 1">>, #{x => 1})).

eval_of_statements_says_what_to_use(Config) ->
    Ctx = ?config(ctx, Config),
    Says = fun(Result) ->
        {error, {'SyntaxError', Message}} = Result,
        nomatch =/= binary:match(Message, <<"use exec">>)
    end,
    [?assert(Says(Eval(Source)), Source) ||
        Source <- [<<"x = 1">>, <<"import os">>, <<"def f(): pass">>, <<"1; 2">>, <<"pass">>,
                   <<"print(1)\nprint(2)">>, <<"for x in []:\n    x">>],
        Eval <- [fun(S) -> py_context:eval(Ctx, S) end, fun(S) -> py:eval(Ctx, S) end]],
    [?assertNot(Says(py_context:eval(Ctx, Source)), Source) 
     || Source <- [<<"1 +">>, <<"x = = 1">>, <<>>, <<"  \n">>, <<"# one\n\n  # two">>]],
    ?assertNot(Says(py_context:exec(Ctx, <<"x = = 1">>))).

errors_say_only_places_that_there_are(Config) ->
    Ctx = ?config(ctx, Config),
    Messages = [Message ||
        Source <- [<<"# coding: nonsense\n1">>, <<"'\\N{nonsense}'">>, <<"x = = 1">>, <<255>>,
                   <<"def f(a, a): pass">>, <<"  x\n y">>, <<"return 1">>, <<"'">>, <<"(">>,
                   <<"\\">>],
        Run <- [fun(S) -> py_context:exec(Ctx, S) end, fun(S) -> py_context:eval(Ctx, S) end],
        {error, {_, Message}} <- [Run(Source)]],
    ?assert(length(Messages) >= 18, Messages),
    ?assertEqual([], [M || M <- Messages,
                           match =:= re:run(M, "line 0|line -|column 0|column -",
                                            [{capture, none}])]),
    ?assertMatch({error, {'SyntaxError', _}}, py_context:eval(Ctx, <<"x = = 1">>)),
    {error, {_, Placed}} = py_context:exec(Ctx, <<"x = = 1">>),
    ?assertMatch({match, _}, re:run(Placed, "line 1, column 5\\)$")).

%% ------------------------------------------------------------------ event loops

%% From 3.14 on there is none but the one that was set.
has_event_loops(Config) ->
    {ok, Version} = py_context:eval(?config(ctx, Config), <<"__import__('sys').version_info[1]">>),
    Version < 14.

synchronous_code_has_an_event_loop(Config) ->
    Code = <<"import asyncio, warnings\n"
             "warnings.simplefilter('ignore')\n"
             "async def double(n):\n    await asyncio.sleep(0)\n    return 2 * n\n"
             "loop = asyncio.get_event_loop()\n"
             "ran = loop.run_until_complete(double(21))\n"
             "same = asyncio.get_event_loop() is loop\n"
             "async def running(): return asyncio.get_event_loop()\n"
             "other = asyncio.new_event_loop()\n"
             "asyncio.set_event_loop(other)\n"
             "is_set = asyncio.get_event_loop() is other\n"
             "def refused():\n"
             "    try: asyncio.set_event_loop(5)\n"
             "    except (TypeError, AssertionError): return True\n"
             "other.close()\n"
             "asyncio.set_event_loop(None)\n">>,
    case has_event_loops(Config) of
        true ->
            hold(Config, Code,
                 [<<"(ran, same, is_set, refused()) == (42, True, True, True)">>,
                  %% It is there in the next job, also when coroutines have run meanwhile, and when
                  %% it was closed.
                  <<"asyncio.get_event_loop() is loop">>,
                  <<"asyncio.run(double(4)) == 8 and asyncio.get_event_loop() is loop">>,
                  <<"loop.close() is None and asyncio.get_event_loop() is not loop">>,
                  <<"asyncio.get_event_loop().run_until_complete(double(1)) == 2">>]),
            %% Coroutines have the context's, although another was set.
            Ctx = ?config(ctx, Config),
            ?assertMatch({ok, _}, py_context:call(Ctx, '__main__', double, [1])),
            ?assertEqual({ok, 2}, py:call(Ctx, '__main__', double, [1]));
        false ->
            {skip, "Python has none from 3.14 on"}
    end.

event_loops_are_not_shared(Config) ->
    Ctx = ?config(ctx, Config),
    Loop = <<"id(asyncio.get_event_loop())">>,
    Ask = fun(Before) ->
        ok = py:exec(Ctx, <<"import asyncio">>),
        ok = py:exec(Ctx, Before),
        {ok, Id} = py:eval(Ctx, Loop),
        {ok, Id} = py:eval(Ctx, Loop),
        Id
    end,
    case has_event_loops(Config) of
        true ->
            ok = py_context:exec(Ctx, <<"import asyncio">>),
            {ok, Own} = py_context:eval(Ctx, Loop),
            Mine = Ask(<<"pass">>),
            %% What one does to its loop, others don't notice: they live on until these end.
            Test = self(),
            Others = [spawn_link(fun() ->
                          Test ! {self(), Ask(Before)},
                          receive stop -> ok end
                      end) || Before <- [<<"asyncio.set_event_loop(asyncio.new_event_loop())">>,
                                         <<"asyncio.run(asyncio.sleep(0))">>, <<"pass">>]],
            Ids = [receive {Pid, Id} -> Id end || Pid <- Others],
            ?assertEqual(5, length(lists:usort([Own, Mine | Ids]))),
            ok = py:exec(Ctx, <<"asyncio.get_event_loop().close()">>),
            ?assertEqual({ok, {Own, false}},
                         py_context:eval(Ctx, <<"(id(asyncio.get_event_loop()),"
                                                " asyncio.get_event_loop().is_closed())">>)),
            [Pid ! stop || Pid <- Others];
        false ->
            {skip, "Python has none from 3.14 on"}
    end.

event_loops_go_with_their_owners(Config) ->
    Ctx = ?config(ctx, Config),
    Open = fun test_helpers:files/0,
    case has_event_loops(Config) of
        true ->
            ok = py_context:exec(Ctx,
                                 <<"import asyncio, gc\ngc.disable()\nasyncio.get_event_loop()">>),
            Before = Open(),
            Askers = [ask(fun() -> py:exec(Ctx, <<"asyncio.get_event_loop()">>) end)
                      || _ <- lists:seq(1, 20)],
            ?assertEqual([ok], lists:usort([answer(Asker) || Asker <- Askers])),
            ?assert(Open() >= Before + 40),
            [[] = leftovers(Asker) || Asker <- Askers],
            %% Closed when the process has died, not when garbage is collected.
            _ = test_helpers:eventually(fun() -> Open() =< Before + 3 end),
            ok = py_context:exec(Ctx, <<"gc.enable()">>),
            Other = new(Config),
            ok = py_context:exec(Other, <<"import asyncio\nasyncio.get_event_loop()">>),
            ok = py_context:stop(Other),
            ?assert(Open() =< Before + 3, {Before, Open()});
        false ->
            {skip, "Python has none from 3.14 on"}
    end.
