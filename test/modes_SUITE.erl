%% What sets the three modes apart. What they have in common is in the other suites, which run
%% their cases in each mode.
-module(modes_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([supported_modes_follow_the_linked_version/1, unsupported_mode_says_why/1,
         workers_share_modules/1, module_state_is_private/1, builtins_are_private/1,
         stopped_context_leaves_nothing_to_the_next/1, contexts_come_and_go_without_growth/1,
         threads_of_python_code_do_not_abort_the_vm/1, busy_contexts_run_at_the_same_time/1,
         module_that_refuses_gets_a_hint/1, mixed_pools_serve_what_each_can/1]).

%% A mode that the linked Python can't give has no cases; that it says so is a case of its own.
all() ->
    [supported_modes_follow_the_linked_version, unsupported_mode_says_why, workers_share_modules]
    ++ [{group, subinterp} || py:subinterp_supported()]
    ++ [{group, owngil} || py:owngil_supported()].

groups() ->
    Isolated = [module_state_is_private, builtins_are_private,
                stopped_context_leaves_nothing_to_the_next, contexts_come_and_go_without_growth,
                threads_of_python_code_do_not_abort_the_vm],
    [{subinterp, [], Isolated},
     {owngil, [], Isolated ++ [busy_contexts_run_at_the_same_time,
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

%% ------------------------------------------------------------------ with an interpreter each

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
        ok = py_context:exec(A, <<"import builtins, sys, string, atexit\n"
                                  "builtins.leak = 1\n"
                                  "string.marked_by = 'a'\n"
                                  "sys.path.append('/nowhere')\n"
                                  "sys.stdout = None\n"
                                  "sys.setrecursionlimit(77)\n"
                                  "leaked = [lambda: leaked]\n"
                                  "atexit.register(print)\n">>)
    end),
    with_contexts(mode(Config), 1, fun([B]) ->
        Seen = py_context:eval(B, <<"[hasattr(__import__('builtins'), 'leak'), "
                                    "'leaked' in globals(), "
                                    "hasattr(__import__('string'), 'marked_by'), "
                                    "'/nowhere' in __import__('sys').path, "
                                    "__import__('sys').getrecursionlimit() == 77]">>),
        ?assertEqual({ok, [false, false, false, false, false]}, Seen)
    end).

%% Everywhere but inside CPython: what it loses per interpreter on 3.12 and 3.13 is why those keep
%% theirs.
contexts_come_and_go_without_growth(Config) ->
    Cycle = fun() ->
        with_contexts(mode(Config), 1, fun([Ctx]) ->
            ok = py_context:exec(Ctx, <<"import json\ndef f(x): return json.dumps(x)">>),
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
    ?assert(Growth < 20_000).

threads_of_python_code_do_not_abort_the_vm(Config) ->
    with_contexts(mode(Config), 1, fun([Ctx]) ->
        ok = py_context:exec(Ctx, <<"import threading\n"
                                    "event = threading.Event()\n"
                                    "thread = threading.Thread(target=event.wait, args=(0.3,))\n"
                                    "thread.start()">>)
    end),
    with_contexts(mode(Config), 1, fun([Ctx]) ->
        ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>))
    end).

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

module_that_refuses_gets_a_hint(_Config) ->
    test_helpers:with_numpy(fun(Vm) ->
        {ok, [Ctx]} = peer:call(Vm, py_context_router, start_pool, [own, 1, owngil], 60_000),
        {error, {Class, Message}} = peer:call(Vm, py_context, call, [Ctx, numpy, sum, [[1]]], 60_000),
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
        ?assertEqual({ok, 6}, peer:call(Vm, py_context, call, [Native, numpy, sum, [[1, 2, 3]]], 60_000)),
        _ = peer:call(Vm, py_context, interrupt, [Pure])
    end).

%% ------------------------------------------------------------------ helpers

mode(Config) ->
    proplists:get_value(mode, Config).

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
