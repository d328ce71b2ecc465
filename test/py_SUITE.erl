%% The front: routing by registration, the default pool on first use, process-bound namespaces,
%% pins. Once per mode that the linked Python has; what doesn't depend on the mode, once.
-module(py_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, ask_on/2, answer/1, leftovers/1, await_busy/1, eventually/1,
                       rendered/1, kill/1]).

all() ->
    test_helpers:mode_groups()
    ++ [{group, once}, {group, remote}].

groups() ->
    test_helpers:in_each_mode(each_mode())
    ++ [{once, [],
         [the_default_pool_starts_on_first_use_as_configured,
          a_default_pool_that_is_stopped_at_once_is_an_error,
          a_default_pool_whose_supervisor_dies_as_it_starts_is_started_again,
          a_default_pool_that_somebody_starts_is_waited_for,
          configured_pools_start_with_the_application,
          a_configured_pool_that_fails_stops_the_start,
          bad_configurations_are_named,
          a_pool_that_is_not_started_is_an_error,
          every_shape_of_a_call_means_the_same,
          bad_options_are_named,
          misuse_is_a_badarg_with_a_sentence,
          the_router_by_its_other_names]},
        {remote, [], [a_context_on_another_node_keeps_the_state_of_each_process,
                      the_state_on_another_node_outlives_new_code_there,
                     a_binding_to_another_node_ends_with_its_context,
                     a_binding_to_another_node_ends_with_the_connection,
                     an_answer_that_comes_with_the_next_connection_is_nobodys,
                     a_timeout_is_kept_though_the_other_node_stands_still,
                     a_context_of_a_node_without_the_library_is_an_error,
                     what_needs_a_context_of_this_node_says_so_without_the_library]}].

each_mode() ->
    [functions_run_in_the_pool_they_are_registered_for,
     routing_asks_no_process,
     a_long_message_queue_is_not_searched_for_an_answer,
     calls_name_a_pool_or_a_context,
     processes_do_not_see_each_others_variables,
     functions_keep_the_namespace_of_their_process,
     the_contexts_own_namespace_lies_behind,
     what_changes_behind_is_seen_and_what_goes_is_gone,
     private_names_hide_and_uncover_those_behind,
     what_an_idle_process_inherited_is_not_kept_for_it,
     built_ins_that_a_job_changes_are_changed_for_it,
     built_ins_and_classes_are_as_ever,
     main_finds_private_functions_first,
     a_namespace_goes_with_its_process,
     processes_that_run_python_leave_nothing_behind,
     a_job_of_a_dead_process_leaves_nothing_behind,
     state_keeps_its_process_in_its_context,
     a_binding_goes_before_state,
     the_death_of_a_context_frees_its_processes,
     a_call_waits_for_a_replacement,
     a_call_waits_no_longer_than_its_time,
     options_choose_whose_variables,
     handles_are_used_where_their_objects_are,
     timeouts_stop_what_runs].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all(),
    _ = [application:unset_env(py_context_router, Key) || Key <- [default_pool, pools]],
    _ = [erase(Key) || {Key, _} <- get(), element(1, to_tuple(Key)) =:= '$py_pin'],
    ok.

to_tuple(Key) when is_tuple(Key) -> Key;
to_tuple(Key) -> {Key}.

start(Config) ->
    start(#{}, Config).

start(Options, Config) ->
    {ok, Contexts} = py:start_contexts(Options#{mode => ?config(mode, Config)}),
    Contexts.

thread_id(Ctx) ->
    maps:get(thread_id, py_context:info(Ctx)).

%% ------------------------------------------------------------------ routing

functions_run_in_the_pool_they_are_registered_for(Config) ->
    _ = start(#{contexts => 1}, Config),
    Mode = ?config(mode, Config),
    {ok, [Io]} = py_context_router:start_pool(io, 1, Mode),
    {ok, [Db]} = py_context_router:start_pool(db, 1, Mode),
    [Default] = py_context_router:contexts(),
    Where = fun(Func) ->
        {ok, Id} = py:call(threading, Func, []),
        Id
    end,
    ?assertEqual(thread_id(Default), Where(get_native_id)),
    ok = py:register_pool(io, threading),
    ?assertEqual(thread_id(Io), Where(get_native_id)),
    %% However the names are written.
    {ok, Id} = py:call(<<"threading">>, "get_native_id", [], #{}),
    ?assertEqual(thread_id(Io), Id),
    %% A function goes before its module.
    ok = py:register_pool(db, {<<"threading">>, get_native_id}),
    ?assertEqual(thread_id(Db), Where(get_native_id)),
    ok = py:unregister_pool({threading, <<"get_native_id">>}),
    ?assertEqual(thread_id(Io), Where(get_native_id)),
    ok = py:unregister_pool(threading),
    ?assertEqual(thread_id(Default), Where(get_native_id)),
    %% A pool that isn't there is no reason to run elsewhere.
    ok = py:register_pool(nowhere, threading),
    ?assertEqual({error, {pool_not_started, nowhere}}, py:call(threading, get_native_id, [])).

routing_asks_no_process(Config) ->
    _ = start(#{contexts => 1}, Config),
    {ok, _} = py_context_router:start_pool(io, 1, ?config(mode, Config)),
    ok = py:register_pool(io, operator),
    Asked = [py_registry, py_pool_sup, py_context_sup, py_context_setup, py_async],
    _ = [sys:suspend(Name) || Name <- Asked],
    try
        %% Neither a registered call nor one that isn't.
        ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
        ?assertEqual({ok, 3}, py:call(operator, add, [1, 2])),
        ?assertEqual(ok, py:exec(<<"x = 1">>)),
        ?assertEqual({ok, 5.0}, py:await(py:spawn_call(math, sqrt, [25]))),
        ?assertEqual({ok, [{ok, 6.0}]}, py:parallel([{math, sqrt, [36]}]))
    after
        [sys:resume(Name) || Name <- Asked]
    end.

%% To search it takes some hundred times as long as a call.
%% Counted, not timed: to look at a message that isn't wanted is one reduction.
a_long_message_queue_is_not_searched_for_an_answer(Config) ->
    [Ctx] = start(#{contexts => 1, max_queue => 8, overload => {wait, 60_000},
                    preload => <<"async def nap(): return 1">>}, Config),
    Mode = ?config(mode, Config),
    Flat = [fun() -> {ok, 4.0} = py:call(math, sqrt, [16]) end,
            fun() -> {ok, 4.0} = py_context:call(Ctx, math, sqrt, [16]) end,
            fun() -> {ok, 4} = py_context:eval(Ctx, <<"4">>) end,
            fun() -> ok = py:exec(Ctx, <<"x = 4">>) end,
            fun() -> {error, timeout} = py_context:exec(Ctx, <<"while True: pass">>, 1) end,
            fun() -> {ok, [{ok, 1.0}, {ok, 2.0}]} =
                py:parallel([{math, sqrt, [1]}, {math, sqrt, [4]}]) end,
            fun() -> {ok, [{ok, 1}, {ok, 1}]} =
                py:parallel([{'__main__', nap, []}, {'__main__', nap, []}]) end,
            fun() -> {ok, [0, 1, 2]} = py:stream(builtins, range, [3]) end,
            fun() -> {ok, _} = py:stream_start(builtins, range, [0]) end,
            fun() -> ok = py:import(math) end,
            fun() -> {ok, _} = py:gc() end,
            fun() -> ok = waits_for_capacity(Ctx) end,
            fun() -> {ok, New} = py_context:new(#{mode => Mode}), ok = py_context:stop(New) end,
            fun() ->
                {ok, _} = py_context_router:start_pool(other, 1, Mode),
                ok = py_context_router:stop_pool(other)
            end],
    %% The caller's message may be anywhere in it.
    Once = [fun() -> {ok, 4.0} = py:await(py:spawn_call(math, sqrt, [16])) end,
            fun() ->
                {ok, Ref} = py:stream_start(itertools, count, []),
                ok = py:stream_cancel(Ref)
            end],
    Length = 1_000_000,
    Caller = ask(fun() ->
        _ = process_flag(message_queue_data, off_heap),
        _ = [self() ! N || N <- lists:seq(1, Length)],
        [[reductions(Call) || Call <- Calls] || Calls <- [Flat, Once]]
    end),
    [Short, Long] = answer(Caller),
    ?assertEqual([], [N || {N, Count} <- lists:zip(lists:seq(1, length(Flat)), Short),
                      Count > Length div 2]),
    ?assertEqual([], [N || {N, Count} <- lists:zip([await, stream_cancel], Long),
                      Count > Length * 3 div 2]).

%% What it takes at least: a garbage collection counts as well.
reductions(Fun) ->
    lists:min([begin
                   {reductions, Before} = process_info(self(), reductions),
                   _ = Fun(),
                   {reductions, After} = process_info(self(), reductions),
                   After - Before
               end || _ <- [1, 2, 3]]).

%% In a queue of eight jobs, behind one that runs until it is interrupted.
waits_for_capacity(Ctx) ->
    _ = spawn(fun() -> py_context:exec(Ctx, <<"while True: pass">>) end),
    _ = test_helpers:await_busy(Ctx),
    _ = [spawn(fun() -> py_context:eval(Ctx, <<"1">>) end) || _ <- lists:seq(1, 8)],
    _ = test_helpers:await_queue(Ctx, 8),
    %% Should it come before this process waits there is capacity for it at once.
    _ = spawn(fun() -> receive after 20 -> py_context:interrupt(Ctx) end end),
    {ok, 4} = py_context:eval(Ctx, <<"4">>),
    ok.

calls_name_a_pool_or_a_context(Config) ->
    [First, Second] = start(#{contexts => 2}, Config),
    {ok, [Io]} = py_context_router:start_pool(io, 1, ?config(mode, Config)),
    Id = "__import__('threading').get_native_id()",
    ?assertEqual({ok, thread_id(Io)}, py:call(io, threading, get_native_id, [])),
    ?assertEqual({ok, thread_id(Io)}, py:eval(io, Id)),
    [begin
         ?assertEqual({ok, thread_id(Ctx)}, py:call(Ctx, threading, get_native_id, [])),
         ?assertEqual({ok, thread_id(Ctx)}, py:eval(Ctx, Id)),
         ok = py:exec(Ctx, ["where = ", Id]),
         ?assertEqual({ok, thread_id(Ctx)}, py:eval(Ctx, "where"))
     end || Ctx <- [First, Second]].

%% ------------------------------------------------------------------ namespaces of processes

processes_do_not_see_each_others_variables(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    Run = fun(N) ->
        fun() ->
            ok = py:exec(Ctx, ["x = ", integer_to_list(N)]),
            Xs = [py:eval(Ctx, <<"x">>) || _ <- lists:seq(1, 20)],
            {lists:usort(Xs), py_context:eval(Ctx, <<"x">>)}
        end
    end,
    Askers = [{N, ask(Run(N))} || N <- lists:seq(1, 50)],
    [?assertMatch({[{ok, N}], {error, {'NameError', _}}}, answer(Asker)) || {N, Asker} <- Askers],
    ?assertMatch({error, {'NameError', _}}, py:eval(Ctx, <<"x">>)).

functions_keep_the_namespace_of_their_process(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    Code = <<"counter = 0\n"
             "def up(by=1):\n"
             "    global counter\n"
             "    counter += by\n"
             "    return counter\n"
             "squares = [up(0) + n * n for n in range(3)]\n"
             "later = lambda: counter\n">>,
    Run = fun(Times) ->
        fun() ->
            ok = py:exec(Ctx, Code),
            _ = [py:call(Ctx, '__main__', up, []) || _ <- lists:seq(1, Times)],
            {py:eval(Ctx, <<"(counter, later(), squares)">>), py:call(Ctx, '__main__', later, [])}
        end
    end,
    Askers = [{N, ask(Run(N))} || N <- [1, 2, 3]],
    [?assertEqual({{ok, {N, N, [0, 1, 4]}}, {ok, N}}, answer(Asker)) || {N, Asker} <- Askers].

the_contexts_own_namespace_lies_behind(Config) ->
    Preload = <<"import json\nlimit = 10\ndef twice(x): return 2 * x\n"
                "def set_limit(n):\n    global limit\n    limit = n\n">>,
    [Ctx] = start(#{contexts => 1, preload => Preload}, Config),
    ?assertEqual({ok, {10, 42, <<"[1]">>}},
                 py:eval(Ctx, <<"(limit, twice(21), json.dumps([1]))">>)),
    ?assertEqual({ok, [10, 10]}, py:eval(Ctx, <<"[limit for _ in range(n)]">>, #{n => 2})),
    ?assertEqual({ok, 8}, py:call(Ctx, '__main__', twice, [4])),
    ok = py:exec(Ctx, <<"def f(): return limit + twice(1)">>),
    ?assertEqual({ok, 12}, py:call(Ctx, '__main__', f, [])),
    %% The functions of the context's own namespace work on that.
    {ok, none} = py:call(Ctx, '__main__', set_limit, [20]),
    ?assertEqual({ok, 22}, py:call(Ctx, '__main__', f, [])),
    ?assertEqual({ok, 20}, py_context:eval(Ctx, <<"limit">>)).

what_changes_behind_is_seen_and_what_goes_is_gone(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    ok = py:exec(Ctx, <<"def f(): return shared">>),
    ?assertMatch({error, {'NameError', _}}, py:call(Ctx, '__main__', f, [])),
    [begin
         ok = py_context:exec(Ctx, ["shared = ", integer_to_list(N)]),
         ?assertEqual({ok, N}, py:call(Ctx, '__main__', f, [])),
         ?assertEqual({ok, N}, py:eval(Ctx, <<"shared">>))
     end || N <- [1, 2, 3]],
    ok = py_context:exec(Ctx, <<"del shared">>),
    ?assertMatch({error, {'NameError', _}}, py:call(Ctx, '__main__', f, [])),
    %% A built-in that the context replaces, for a while, and one that somebody adds.
    ok = py_context:exec(Ctx, <<"def len(x): return 'mine'">>),
    ?assertEqual({ok, <<"mine">>}, py:eval(Ctx, <<"len([])">>)),
    ok = py_context:exec(Ctx, <<"del len\nimport builtins\nbuiltins.shout = str.upper">>),
    ?assertEqual({ok, {0, <<"A">>}}, py:eval(Ctx, <<"(len([]), shout('a'))">>)),
    ok = py_context:exec(Ctx, <<"del builtins.shout">>),
    ?assertMatch({error, {'NameError', _}}, py:eval(Ctx, <<"shout('a')">>)),
    %% Nothing of what the context releases is kept for those before it.
    ok = py_context:exec(Ctx, <<"import weakref\nclass Thing: pass\nthing = Thing()\n"
                                "ref = weakref.ref(thing)">>),
    ?assertEqual({ok, true}, py:eval(Ctx, <<"ref() is thing">>)),
    ok = py_context:exec(Ctx, <<"del thing">>),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"ref() is None">>)).

private_names_hide_and_uncover_those_behind(Config) ->
    [Ctx] = start(#{contexts => 1, preload => <<"x = 'own'">>}, Config),
    ok = py:exec(Ctx, <<"def f(): return x">>),
    ?assertEqual({ok, <<"own">>}, py:call(Ctx, '__main__', f, [])),
    ok = py:exec(Ctx, <<"x = x + ' and private'">>),
    ?assertEqual({ok, <<"own and private">>}, py:call(Ctx, '__main__', f, [])),
    ?assertEqual({ok, <<"own">>}, py_context:eval(Ctx, <<"x">>)),
    ok = py:exec(Ctx, <<"del x">>),
    ?assertEqual({ok, <<"own">>}, py:call(Ctx, '__main__', f, [])),
    %% What lies behind is not the process's to delete: only for the rest of a job.
    ok = py:exec(Ctx, <<"del x\ngone = 'x' not in globals()">>),
    ?assertEqual({ok, {true, <<"own">>}}, py:eval(Ctx, <<"(gone, x)">>)),
    ?assertEqual({ok, <<"own">>}, py_context:eval(Ctx, <<"x">>)),
    %% A name that the process deletes while the context deletes it too is gone.
    ok = py:exec(Ctx, <<"y = 1">>),
    ok = py_context:exec(Ctx, <<"y = 2">>),
    ?assertEqual({ok, 1}, py:eval(Ctx, <<"y">>)),
    ok = py:exec(Ctx, <<"del y">>),
    ok = py_context:exec(Ctx, <<"del y">>),
    ?assertMatch({error, {'NameError', _}}, py:eval(Ctx, <<"y">>)).

what_an_idle_process_inherited_is_not_kept_for_it(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    ok = py_context:exec(Ctx, <<"import weakref\nclass Thing: pass\nthing = Thing()\n"
                                "ref = weakref.ref(thing)\n"
                                "def lose():\n    global thing\n    thing = None">>),
    {ok, true} = py:eval(Ctx, <<"ref() is thing">>),
    %% The function's change is found by another process's job, and then by the context's own.
    {ok, none} = py_context:call(Ctx, '__main__', lose, []),
    {ok, none} = answer(ask(fun() -> py:eval(Ctx, <<"thing">>) end)),
    ok = py_context:exec(Ctx, <<"pass">>),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"ref() is None">>)),
    ?assertEqual({ok, none}, py:eval(Ctx, <<"thing">>)).

built_ins_that_a_job_changes_are_changed_for_it(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    ?assertEqual(ok, py:exec(Ctx, <<"import gettext\ngettext.install('app')\nhello = _('hi')">>)),
    ?assertEqual({ok, {<<"hi">>, <<"there">>}}, py:eval(Ctx, <<"(hello, _('there'))">>)),
    Patched = <<"import builtins\nfrom unittest import mock\n"
                "def reads(): return open('no such file').read()\n"
                "with mock.patch('builtins.open', mock.mock_open(read_data='mocked')):\n"
                "    patched = reads(), open('x').read()\n"
                "is_real = __builtins__ is builtins">>,
    ?assertEqual(ok, py:exec(Ctx, Patched)),
    ?assertEqual({ok, {{<<"mocked">>, <<"mocked">>}, true}},
                 py:eval(Ctx, <<"(patched, is_real)">>)),
    ?assertMatch({error, {'FileNotFoundError', _}}, py:call(Ctx, '__main__', reads, [])),
    {ok, _} = py_context:eval(Ctx, <<"delattr(__import__('builtins'), '_')">>).

built_ins_and_classes_are_as_ever(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    Code = <<"from collections import OrderedDict as OD\n"
             "import os.path\n"
             "class A:\n"
             "    kind = 'a'\n"
             "    def name(self): return type(self).__name__ + self.kind\n"
             "class B(A):\n"
             "    def name(self): return super().name() + str(len(OD(x=1)))\n"
             "try:\n"
             "    assert __debug__ and False, 'no'\n"
             "except AssertionError as e:\n"
             "    text = repr(e)\n"
             "made = eval('[int(c) for c in \"12\"]')\n"
             "exec('dynamic = sum(made)')\n">>,
    ok = py:exec(Ctx, Code),
    ?assertEqual({ok, {<<"Ba1">>, <<"AssertionError('no')">>, [1, 2], 3, <<"__main__">>}},
                 py:eval(Ctx, <<"(B().name(), text, made, dynamic, __name__)">>)),
    ?assertEqual({ok, <<"__main__">>}, py:eval(Ctx, <<"A.__module__">>)),
    ok = py_context:exec(Ctx, <<"import math">>),
    ?assertEqual({ok, {false, true}},
                 py:eval(Ctx, <<"('len' in globals(), 'math' in globals())">>)).

main_finds_private_functions_first(Config) ->
    [Ctx] = start(#{contexts => 1, preload => <<"def f(): return 'own'">>}, Config),
    ?assertEqual({ok, <<"own">>}, py:call(Ctx, '__main__', f, [])),
    ok = py:exec(Ctx, <<"def f(): return 'private'">>),
    ?assertEqual({ok, <<"private">>}, py:call(Ctx, '__main__', f, [])),
    ?assertEqual({ok, <<"own">>}, py_context:call(Ctx, '__main__', f, [])),
    ?assertMatch({error, {'NameError', _}}, py:call(Ctx, '__main__', nothing, [])).

%% ------------------------------------------------------------------ the end of a namespace

a_namespace_goes_with_its_process(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    ok = py_context:exec(Ctx, <<"import weakref\nclass Thing: pass\nseen = []">>),
    Remember = <<"thing = Thing(); seen.append(weakref.ref(thing))">>,
    Left = fun() -> py_context:eval(Ctx, <<"sum(ref() is not None for ref in seen)">>) end,
    Pids = [spawn(fun() ->
                      ok = py:exec(Ctx, Remember),
                      receive {die, Reason} -> exit(Reason) end
                  end) || _ <- [1, 2, 3]],
    _ = eventually(fun() -> Left() =:= {ok, 3} end),
    [First, Second, Third] = Pids,
    First ! {die, normal},
    _ = eventually(fun() -> Left() =:= {ok, 2} end),
    Second ! {die, why},
    _ = eventually(fun() -> Left() =:= {ok, 1} end),
    exit(Third, kill),
    _ = eventually(fun() -> Left() =:= {ok, 0} end).

processes_that_run_python_leave_nothing_behind(Config) ->
    Contexts = start(#{contexts => 2}, Config),
    Count = fun() ->
        lists:sum([begin
                       ok = py_context:exec(Ctx, <<"import gc; gc.collect()">>),
                       {ok, N} = py_context:eval(Ctx, <<"len(gc.get_objects())">>),
                       N
                   end || Ctx <- Contexts])
    end,
    Code = <<"def f(n): return n\nx = [f(n) for n in range(3)]">>,
    Churn = fun(Times) ->
        Each = fun() -> [begin
                             {Pid, Monitor} = spawn_monitor(fun() -> ok = py:exec(Code) end),
                             receive {'DOWN', Monitor, process, Pid, normal} -> ok end
                         end || _ <- lists:seq(1, Times div 10)],
                        done
               end,
        Askers = [ask(Each) || _ <- lists:seq(1, 10)],
        [done = answer(Asker) || Asker <- Askers]
    end,
    _ = Churn(10_000),
    {Objects, Rss} = {Count(), test_helpers:rss_kb()},
    _ = Churn(100_000),
    %% The last ones' deaths may still be on their way.
    _ = eventually(fun() -> case Count() of N when N < Objects + 100 -> true; N -> N end end),
    Grown = test_helpers:rss_kb() - Rss,
    ?assert(Grown < 20_000, {grown_kb, Grown}).

a_job_of_a_dead_process_leaves_nothing_behind(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, [Wait, "import weakref\nclass Thing: pass\nseen = []"]),
    Blocker = ask(fun() -> py_context:call(Ctx, '__main__', wait, []) end),
    _ = await_busy(Ctx),
    Code = <<"thing = Thing(); seen.append(weakref.ref(thing))">>,
    Pid = spawn(fun() -> py:exec(Ctx, Code, #{on_caller_down => finish}) end),
    _ = test_helpers:await_queue(Ctx, 1),
    exit(Pid, kill),
    ok = test_helpers:open_gate(Gate),
    {ok, <<"finished">>} = answer(Blocker),
    _ = eventually(fun() ->
        py_context:eval(Ctx, <<"[ref() is None for ref in seen] == [True] * len(seen)">>)
            =:= {ok, true}
    end).

%% ------------------------------------------------------------------ where state is

state_keeps_its_process_in_its_context(Config) ->
    Contexts = start(#{contexts => max(2, erlang:system_info(schedulers))}, Config),
    Id = <<"__import__('threading').get_native_id()">>,
    Run = fun() ->
        ok = py:exec(<<"x = 1">>),
        Ids = [begin
                   erlang:yield(),
                   {ok, {1, Where}} = py:eval(["(x, ", Id, ")"]),
                   {ok, Where} = py:call(threading, get_native_id, []),
                   Where
               end || _ <- lists:seq(1, 100)],
        lists:usort(Ids)
    end,
    [?assertMatch([_], answer(Asker)) || Asker <- [ask(Run) || _ <- lists:seq(1, 20)]],
    %% A process without state goes to its scheduler's.
    Where = [answer(ask_on(N, fun() -> py:call(threading, get_native_id, []) end))
             || N <- lists:seq(1, erlang:system_info(schedulers))],
    ?assertEqual([{ok, thread_id(Ctx)}
                  || Ctx <- lists:sublist(Contexts, erlang:system_info(schedulers))], Where).

a_binding_goes_before_state(Config) ->
    [First, Second] = start(#{contexts => 2}, Config),
    Run = fun() ->
        ok = py:exec(<<"x = 1">>),
        Pinned = py:context(),
        [Other] = [First, Second] -- [Pinned],
        ok = py_context_router:bind_context(Other),
        Bound = {py:context() =:= Other, py:eval(<<"x">>)},
        ok = py:exec(<<"x = 2">>),
        ok = py_context_router:unbind_context(),
        {Bound, py:context() =:= Pinned, py:eval(<<"x">>), py:eval(Other, <<"x">>)}
    end,
    ?assertMatch({{true, {error, {'NameError', _}}}, true, {ok, 1}, {ok, 2}}, answer(ask(Run))),
    %% A process that was bound when it made its state has no other tie.
    Free = fun() ->
        ok = py_context_router:bind_context(First),
        ok = py:exec(<<"x = 1">>),
        ok = py_context_router:unbind_context(),
        py:context()
    end,
    ?assertEqual(Second, answer(ask_on(2, Free))).

the_death_of_a_context_frees_its_processes(Config) ->
    _ = start(#{contexts => 2}, Config),
    Run = fun() ->
        ok = py:exec(<<"x = 1">>),
        Pinned = py:context(),
        exit(Pinned, kill),
        _ = eventually(fun() -> not is_process_alive(Pinned) end),
        Lost = py:eval(<<"x">>),
        ok = py:exec(<<"x = 2">>),
        {Lost, py:eval(<<"x">>), py:context() =/= Pinned}
    end,
    ?assertMatch({{error, {'NameError', _}}, {ok, 2}, true}, answer(ask(Run))).

a_call_waits_for_a_replacement(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    [begin
         Doomed = py_context_router:get_context(1),
         ok = kill(Doomed),
         ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
         ?assertEqual({ok, 2}, py:eval(<<"1 + 1">>))
     end || _ <- lists:seq(1, 5)],
    ?assertNot(is_process_alive(Ctx)).

a_call_waits_no_longer_than_its_time(Config) ->
    Flag = test_helpers:pool_without_life(#{mode => ?config(mode, Config)}, Config),
    ?assertMatch({error, {context_died, _}}, py:call(math, sqrt, [16], #{}, 50)),
    ?assertMatch({error, {context_died, _}}, py:call(math, sqrt, [16], #{}, 0)),
    Waiting = ask(fun() -> py:call(math, sqrt, [16]) end),
    ok = test_helpers:revive(Flag),
    ?assertEqual({ok, 4.0}, answer(Waiting)).

options_choose_whose_variables(Config) ->
    [Ctx] = start(#{contexts => 1, preload => <<"x = 'own'">>}, Config),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py:exec(Ctx, <<"x = 'private'">>),
    ok = py:exec(Ctx, <<"x = 'env'">>, #{env => Env}),
    [?assertEqual({ok, X}, py:eval(Ctx, <<"x">>, #{}, #{env => Which}))
     || {Which, X} <- [{process, <<"private">>}, {none, <<"own">>}, {Env, <<"env">>}]],
    ?assertEqual({ok, <<"{\"a\": 1}">>},
                 py:call(Ctx, json, dumps, [#{a => 1}], #{kwargs => #{indent => none},
                                                         timeout => 5000})).

handles_are_used_where_their_objects_are(Config) ->
    _ = start(#{contexts => 2}, Config),
    {ok, Set} = py:eval(<<"{1, 2}">>),
    ?assert(py:is_ref(Set)),
    ?assertNot(py:is_ref(make_ref())),
    ?assertEqual({ok, none}, py:call_method(Set, add, [3])),
    ?assertEqual({ok, [1, 2, 3]}, py:to_term(Set)),
    {ok, Date} = py:call(datetime, 'date', [], #{year => 2024, month => 2, day => 29}),
    ?assertEqual({ok, 2024}, py:getattr(Date, year)),
    ?assertEqual({ok, <<"2023-02-28">>},
                 py:to_term(element(2, py:call_method(Date, replace, [],
                                                      #{year => 2023, day => 28})))),
    {ok, Bytes} = py:eval(<<"__import__('array').array('i', [7])">>),
    ?assertEqual({ok, #{dtype => <<"int32">>, shape => [1], data => <<7:32/native>>}},
                 py:to_buffer(Bytes)),
    [?assertError(badarg, Misuse())
     || Misuse <- [fun() -> py:call_method(make_ref(), add, [3]) end,
                   fun() -> py:getattr(x, year) end, fun() -> py:to_term(1) end]],
    ok = py:stop_contexts(),
    ?assertMatch({error, _}, py:call_method(Set, add, [3])).

timeouts_stop_what_runs(Config) ->
    [Ctx] = start(#{contexts => 1}, Config),
    ?assertEqual({error, timeout}, py:exec(<<"while True: pass">>, 50)),
    ?assertEqual({error, timeout}, py:exec(Ctx, <<"while True: pass">>, #{timeout => 50})),
    ?assertEqual({error, timeout}, py:call(time, sleep, [1], #{}, 20)),
    ?assertEqual({ok, 2}, py:eval(<<"1 + 1">>, #{}, 5000)),
    ?assertEqual([], test_helpers:messages()).

%% ------------------------------------------------------------------ once

%% By another process, between the start and the look for a context.
a_default_pool_that_is_stopped_at_once_is_an_error(_Config) ->
    ok = application:set_env(py_context_router, default_pool, #{contexts => 1}),
    Callers = [ask(fun() -> [py:call(builtins, abs, [-1]) || _ <- lists:seq(1, 25)] end)
               || _ <- lists:seq(1, 4)],
    %% With a pause, in which a start can come to its end.
    Stopper = spawn_link(fun Stop() ->
        ok = py_context_router:stop(),
        receive after 2 -> Stop() end
    end),
    Outcomes = lists:usort(lists:append([answer(Caller) || Caller <- Callers])),
    true = unlink(Stopper),
    exit(Stopper, kill),
    ?assertEqual([], [Other || Other <- Outcomes, Other =/= {ok, 1},
                               Other =/= {error, {pool_not_started, default}},
                               not is_death(Other)]).

a_default_pool_whose_supervisor_dies_as_it_starts_is_started_again(_Config) ->
    {ok, _} = application:ensure_all_started(py_context_router),
    Sup = whereis(py_pool_sup),
    ok = sys:suspend(Sup),
    Caller = ask(fun() -> py:call(builtins, abs, [-1]) end),
    _ = eventually(fun() -> process_info(Sup, message_queue_len) =:= {message_queue_len, 1} end),
    exit(Sup, kill),
    ?assertEqual({ok, 1}, answer(Caller)),
    ?assertEqual([], leftovers(Caller)).

%% Who has started it with other options than those it would have had.
a_default_pool_that_somebody_starts_is_waited_for(Config) ->
    ok = application:set_env(py_context_router, default_pool, #{contexts => 2}),
    {Gate, Wait} = test_helpers:gate(Config),
    Starter = ask(fun() -> py_context_router:start(#{contexts => 1,
                                                     preload => [Wait, "wait()"]}) end),
    _ = eventually(fun() -> is_pid(py_pool_table:whereis_pool(default)) end),
    Caller = ask(fun() -> py:call(builtins, abs, [-1]) end),
    %% It waits for the pool, as the one who has started it does.
    _ = eventually(fun() ->
        {current_stacktrace, Stack} = process_info(Caller, current_stacktrace),
        lists:any(fun(Entry) -> element(1, Entry) =:= py_pool end, Stack)
    end),
    ok = test_helpers:open_gate(Gate),
    ?assertEqual({ok, 1}, answer(Caller)),
    ?assertMatch({ok, [_]}, answer(Starter)).

is_death({error, {context_died, _}}) -> true;
is_death(_) -> false.

the_default_pool_starts_on_first_use_as_configured(_Config) ->
    _ = application:load(py_context_router),
    ?assertNot(py:contexts_started()),
    ok = application:set_env(py_context_router, default_pool,
                             #{contexts => 3, preload => <<"x = 42">>}),
    ?assertEqual({ok, 42}, py:eval(<<"x">>)),
    ?assertEqual(3, py_context_router:num_contexts()),
    ok = py:stop_contexts(),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok = py:stop_contexts(),
    ?assert(is_pid(py:context())),
    %% The first caller starts it, those that come at the same time wait for that.
    ok = py:stop_contexts(),
    Askers = [ask(fun() -> py:call(math, sqrt, [16]) end) || _ <- lists:seq(1, 50)],
    [?assertEqual({ok, 4.0}, answer(Asker)) || Asker <- Askers].

configured_pools_start_with_the_application(_Config) ->
    test_helpers:stop_all(),
    ok = application:set_env(py_context_router, pools,
                             #{io => #{contexts => 2}, db => #{preload => <<"x = 1">>}}),
    {ok, _} = application:ensure_all_started(py_context_router),
    ?assertEqual(2, py_context_router:num_contexts(io)),
    ?assertEqual({ok, 1}, py:eval(db, <<"x">>)),
    ?assertNot(py:contexts_started()).

a_configured_pool_that_fails_stops_the_start(_Config) ->
    test_helpers:stop_all(),
    ok = application:set_env(py_context_router, pools,
                             #{fine => #{contexts => 1}, io => #{preload => <<"1/0">>}}),
    {error, {py_context_router, {Reason, _}}} = application:ensure_all_started(py_context_router),
    ?assertMatch({pool_failed, io, {'ZeroDivisionError', _}}, Reason),
    ?assertEqual(<<"pool io did not start: ZeroDivisionError: division by zero">>,
                 py_error:format(Reason)),
    ?assertEqual(undefined, whereis(py_context_router_sup)),
    ?assertEqual([], test_helpers:published()),
    %% A process that starts a pool of its own gets the same error.
    ?assertMatch({error, {pool_failed, io, _}}, py_context_router:start()).

bad_configurations_are_named(_Config) ->
    test_helpers:stop_all(),
    [begin
         ok = application:set_env(py_context_router, Key, Value),
         ?assertMatch({error, {py_context_router, {{bad_option, {Key, Value}}, _}}},
                      application:ensure_all_started(py_context_router)),
         ok = application:unset_env(py_context_router, Key)
     end || {Key, Value} <- [{default_pool, #{contexts => 0}}, {default_pool, 3},
                             {pools, [io]}, {pools, #{io => #{color => red}}},
                             {pools, #{"io" => #{}}}]].

a_pool_that_is_not_started_is_an_error(_Config) ->
    [?assertEqual({error, {pool_not_started, nowhere}}, Call())
     || Call <- [fun() -> py:call(nowhere, math, sqrt, [16]) end,
                 fun() -> py:eval(nowhere, <<"1">>) end,
                 fun() -> py:exec(nowhere, <<"1">>) end]],
    ?assertError(badarg, py:context(nowhere)).

every_shape_of_a_call_means_the_same(_Config) ->
    {ok, _} = py:start_contexts(#{contexts => 1}),
    {ok, _} = py_context_router:start_pool(io, 1),
    Ctx = py:context(),
    [?assertEqual({ok, <<"[1]">>}, Result)
     || Result <- [py:call(json, dumps, [[1]]),
                   py:call(json, dumps, [[1]], #{indent => none}),
                   py:call("json", "dumps", [[1]], [{"indent", none}]),
                   py:call(json, dumps, [[1]], #{indent => none}, 5000),
                   py:call(json, dumps, [[1]], #{}, #{timeout => infinity}),
                   py:call(io, json, dumps, [[1]]),
                   py:call(io, json, dumps, [[1]], #{indent => none}),
                   py:call(io, json, dumps, [[1]], #{indent => none}, 5000),
                   py:call(Ctx, json, "dumps", [[1]]),
                   py:call(Ctx, json, dumps, [[1]], #{kwargs => #{indent => none}}),
                   py:call(Ctx, json, dumps, [[1]], #{indent => none}, infinity)]],
    [?assertEqual({ok, 3}, Result)
     || Result <- [py:eval("1 + 2"),
                   py:eval("x + 2", #{x => 1}), py:eval(Ctx, "1 + 2"), py:eval(io, "1 + 2"),
                   py:eval("x + 2", [{x, 1}], 5000), py:eval(Ctx, "x + 2", #{x => 1}),
                   py:eval(io, "x + 2", #{x => 1}, #{timeout => 5000})]],
    [?assertEqual(ok, Result)
     || Result <- [py:exec("x = 1"), py:exec("x = 1", 5000), py:exec(Ctx, "x = 1"),
                   py:exec(io, "x = 1", #{timeout => 5000})]].

bad_options_are_named(_Config) ->
    Ctx = py:context(),
    [?assertEqual({error, {bad_option, Bad}}, py:call(Ctx, math, sqrt, [16], Options))
     || {Bad, Options} <- [{{color, red}, #{color => red}}, {{timeout, -1}, #{timeout => -1}},
                           {{env, here}, #{env => here}}, {{traceback, 1}, #{traceback => 1}},
                           {{options, [x]}, [x]}]],
    ?assertEqual({error, {bad_option, {kwargs, #{}}}},
                 py:eval(Ctx, <<"1">>, #{}, #{kwargs => #{}})),
    %% Of keyword arguments in two places one would be lost.
    ?assertEqual({error, {bad_option, {kwargs, #{b => 2}}}},
                 py:call(builtins, dict, [], #{a => 1}, #{kwargs => #{b => 2}})),
    ?assertEqual({ok, #{<<"b">> => 2}}, py:call(builtins, dict, [], #{}, #{kwargs => #{b => 2}})).

misuse_is_a_badarg_with_a_sentence(_Config) ->
    [begin
         ?assertError(badarg, Misuse()),
         ?assertNotEqual(nomatch, string:find(rendered(Misuse), Sentence), Sentence)
     end || {Misuse, Sentence} <- [{fun() -> py:call(math, sqrt, 16) end, "not a list"},
                                   {fun() -> py:call(1, sqrt, [16]) end, "not a name"},
                                   {fun() -> py:call({io}, math, sqrt, [16]) end, "a pool's name"},
                                   {fun() -> py:eval(17) end, "not text"},
                                   {fun() -> py:context(nowhere) end, "nowhere is started"}]].

the_router_by_its_other_names(_Config) ->
    ?assertNot(py:contexts_started()),
    {ok, [First, Second]} = py:start_contexts(#{contexts => 2}),
    ?assert(py:contexts_started()),
    ?assertEqual({First, Second}, {py:context(1), py:context(2)}),
    ?assert(lists:member(py:context(), [First, Second])),
    ?assertEqual(not_running, py:interrupt(First)),
    Busy = ask(fun() -> py:exec(First, <<"while True: pass">>) end),
    _ = await_busy(First),
    ok = py:interrupt(First),
    ?assertEqual({error, interrupted}, answer(Busy)),
    ok = py:stop_contexts(),
    ?assertNot(py:contexts_started()).

%% ------------------------------------------------------------------ remote

a_context_on_another_node_keeps_the_state_of_each_process(_Config) ->
    {ok, Peer, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    {ok, [Ctx]} = erpc:call(Node, py_context_router, start, [#{contexts => 1}]),
    Run = fun(N) ->
        fun() ->
            ok = py:exec(Ctx, ["x = ", integer_to_list(N)]),
            {py:eval(Ctx, <<"x">>), py:call(Ctx, math, sqrt, [16]),
             py:exec(Ctx, <<"while True: pass">>, 50)}
        end
    end,
    Askers = [{N, ask(Run(N))} || N <- lists:seq(1, 5)],
    [?assertEqual({{ok, N}, {ok, 4.0}, {error, timeout}}, answer(Asker)) || {N, Asker} <- Askers],
    %% The dead have no proxies.
    Proxies = fun() ->
        [Pid || Pid <- erpc:call(Node, erlang, processes, []),
                erpc:call(Node, proc_lib, translate_initial_call, [Pid])
                    =:= {py_remote_proxy, init, 1}]
    end,
    ?assertMatch([_ | _], Proxies()),
    [exit(Asker, kill) || {_, Asker} <- Askers, unlink(Asker)],
    _ = eventually(fun() -> Proxies() =:= [] end),
    ok = py_context_router:bind_context(Ctx),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok = py_context_router:unbind_context(),
    peer:stop(Peer),
    ?assertMatch({error, {context_died, _}}, py:call(Ctx, math, sqrt, [16])).

the_state_on_another_node_outlives_new_code_there(_Config) ->
    {ok, Peer, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    {ok, [Ctx]} = erpc:call(Node, py_context_router, start, [#{contexts => 1}]),
    ok = py:exec(Ctx, <<"x = 1">>),
    ok = erpc:call(Node, test_helpers, load_anew_twice, []),
    ?assertEqual({ok, 1}, py:eval(Ctx, <<"x">>)),
    peer:stop(Peer).

%% Contexts here and on another node, and this process bound to the one there.
bound_elsewhere() ->
    {ok, _} = py:start_contexts(#{contexts => 1, preload => <<"where = 'here'">>}),
    {ok, Peer, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    Options = #{contexts => 1, preload => <<"where = 'there'">>},
    {ok, [Ctx]} = erpc:call(Node, py_context_router, start, [Options]),
    ok = py_context_router:bind_context(Ctx),
    ?assertEqual({ok, <<"there">>}, py:eval(<<"where">>)),
    {Peer, Node}.

a_binding_to_another_node_ends_with_its_context(_Config) ->
    {Peer, Node} = bound_elsewhere(),
    ok = erpc:call(Node, py_context_router, stop, []),
    ?assertEqual({ok, <<"here">>}, py:eval(<<"where">>)),
    ?assertEqual(node(), node(py_context_router:get_context())),
    %% From here on it has its state here.
    ok = py:exec(<<"x = where">>),
    ?assertEqual({ok, <<"here">>}, py:eval(<<"x">>)),
    peer:stop(Peer).

a_binding_to_another_node_ends_with_the_connection(_Config) ->
    {Peer, _Node} = bound_elsewhere(),
    peer:stop(Peer),
    ?assertEqual({error, {context_died, noconnection}}, py:eval(<<"where">>)),
    ?assertEqual({ok, <<"here">>}, py:eval(<<"where">>)).

an_answer_that_comes_with_the_next_connection_is_nobodys(Config) ->
    {ok, Peer, Node} =
        test_helpers:start_peer(#{name => peer:random_name(), connection => standard_io}),
    {Gate, Wait} = test_helpers:gate(Config),
    Options = #{contexts => 1, preload => Wait},
    {ok, [Ctx]} = peer:call(Peer, py_context_router, start, [Options]),
    Caller = ask(fun() -> py:call(Ctx, '__main__', wait, []) end),
    _ = eventually(fun() -> maps:get(state, peer:call(Peer, py_context, info, [Ctx])) =:= busy end),
    [StandIn] = [Pid || Pid <- peer:call(Peer, erlang, processes, []),
                        peer:call(Peer, proc_lib, translate_initial_call, [Pid])
                    =:= {py_remote_proxy, init, 1}],
    %% As if it answered just before it ends with the connection: who is to end it doesn't.
    {monitored_by, By} = peer:call(Peer, erlang, process_info, [StandIn, monitored_by]),
    [peer:call(Peer, erlang, exit, [Pid, kill]) || Pid <- By, is_pid(Pid), node(Pid) =:= Node],
    true = erlang:disconnect_node(Node),
    ?assertEqual({error, {context_died, noconnection}}, answer(Caller)),
    %% What it sends before it knows of that is lost, and makes no other connection.
    _ = eventually(fun() -> not lists:member(node(), peer:call(Peer, erlang, nodes, [])) end),
    test_helpers:open_gate(Gate),
    _ = eventually(fun() -> lists:member(Node, nodes()) end),
    %% What was sent first has come.
    Node = erpc:call(Node, erlang, node, []),
    ?assertEqual([], leftovers(Caller)),
    peer:stop(Peer).

%% Each of its threads.
is_stopped(OsPid) ->
    Threads = filelib:wildcard("/proc/" ++ OsPid ++ "/task/*/stat"),
    lists:all(fun(File) ->
        {ok, Stat} = file:read_file(File),
        re:run(Stat, "\\) T ") =/= nomatch
    end, Threads).

%% Its whole OS process, long before this node takes it for gone. Also where so much is on its way
%% there that senders are suspended.
a_timeout_is_kept_though_the_other_node_stands_still(_Config) ->
    {ok, Peer, Node} =
        test_helpers:start_peer(#{name => peer:random_name(), connection => standard_io}),
    {ok, [Ctx]} = erpc:call(Node, py_context_router, start, [#{contexts => 1}]),
    {ok, Object} = py_context:eval(Ctx, <<"object()">>),
    OsPid = erpc:call(Node, os, getpid, []),
    Signal = fun(Name) ->
        {ok, _} = test_helpers:run_program(os:find_executable("kill"), ["-" ++ Name, OsPid])
    end,
    Test = self(),
    Known = ask(fun() ->
        ok = py:exec(Ctx, <<"x = 1">>),
        Test ! known,
        receive stopped -> py:eval(Ctx, <<"x">>, #{}, 100) end
    end),
    receive known -> ok end,
    Calls = [fun() -> py:call(Ctx, math, sqrt, [16], #{timeout => 100}) end,
             fun() -> py:exec(Ctx, <<"x = 2">>, 100) end,
             fun() -> py_context:call(Ctx, math, sqrt, [16], #{}, 100) end,
             fun() -> py_context:eval(Ctx, <<"1">>, #{}, #{timeout => 100}) end,
             fun() -> py_context:exec(Ctx, <<"x = 2">>, 100) end,
             fun() -> py_context:call_method(Ctx, Object, '__str__', [], #{}, 100) end,
             fun() -> py_context:to_buffer(Object, #{timeout => 100}) end,
             fun() -> py:call_method(Object, '__str__', [], #{}, 100) end,
             fun() -> py:getattr(Object, '__class__', #{timeout => 100}) end,
             fun() -> py:to_term(Object, 100) end],
    Signal("STOP"),
    _ = eventually(fun() -> is_stopped(OsPid) end),
    Asked = try
        Known ! stopped,
        ?assertEqual({error, timeout}, answer(Known)),
        First = [ask(Call) || Call <- Calls],
        ?assertEqual([{error, timeout}], lists:usort([answer(Asker) || Asker <- First])),
        %% Until the sender is suspended.
        Flood = spawn(fun() -> flood({nobody, Node}, binary:copy(<<"x">>, 1_000_000)) end),
        _ = eventually(fun() -> process_info(Flood, status) =:= {status, suspended} end),
        Known ! again,
        Second = [ask(Call) || Call <- Calls],
        ?assertEqual([{error, timeout}], lists:usort([answer(Asker) || Asker <- Second])),
        true = exit(Flood, kill),
        [Known | First ++ Second]
    after
        Signal("CONT")
    end,
    %% It goes on, and nothing comes late.
    ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16])),
    ?assertEqual([], [Message || Asker <- Asked, Message <- leftovers(Asker), Message =/= again]),
    ?assertEqual([], test_helpers:messages()),
    peer:stop(Peer).

flood(To, Message) ->
    To ! Message,
    flood(To, Message).

a_context_of_a_node_without_the_library_is_an_error(_Config) ->
    {ok, Peer, Node} = peer:start_link(#{name => peer:random_name(), wait_boot => 60_000}),
    Pid = erpc:call(Node, erlang, whereis, [kernel_sup]),
    Missing = {error, {no_library, Node}},
    [?assertEqual({N, Missing}, {N, Call()})
     || {N, Call} <- [{call, fun() -> py_context:call(Pid, math, sqrt, [16]) end},
                      {eval, fun() -> py_context:eval(Pid, <<"1">>, #{}, 5_000) end},
                      {exec, fun() -> py_context:exec(Pid, <<"x = 1">>) end},
                      {env, fun() -> py_context:create_local_env(Pid) end},
                      {interrupt, fun() -> py_context:interrupt(Pid) end},
                      {info, fun() -> py_context:info(Pid) end},
                      {front, fun() -> py:call(Pid, math, sqrt, [16]) end},
                      {limited, fun() -> py:eval(Pid, <<"1">>, #{}, #{timeout => 5_000}) end}]],
    ?assertEqual(ok, py_context:stop(Pid)),
    {error, Reason} = Missing,
    ?assertMatch({match, _},
                 re:run(py_error:format(Reason), "hasn't the application py_context_router")),
    peer:stop(Peer).

%% In a VM in which the application has never run, and whose Python is not loaded.
what_needs_a_context_of_this_node_says_so_without_the_library(_Config) ->
    Ctx = spawn(fun() -> receive never -> ok end end),
    {ok, Peer, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    Remote = {error, {remote_context, Ctx}},
    ?assertEqual([Remote, Remote, Remote, Remote, Remote, Remote],
                 erpc:call(Node, fun() ->
                     {ok, Stream} = py:stream_start(Ctx, builtins, range, [3]),
                     Spawned = py:spawn_call(Ctx, math, sqrt, [16]),
                     [receive {py_stream, Stream, Event} -> Event end,
                      receive {py_result, Spawned, Result} -> Result end,
                      py:cast(Ctx, math, sqrt, [16]),
                      py:stream(Ctx, builtins, range, [3]),
                      py:stream_open(Ctx, builtins, range, [3]),
                      begin
                          true = undefined =:= persistent_term:get('$py_nif_loaded', undefined),
                          Remote
                      end]
                 end)),
    exit(Ctx, kill),
    peer:stop(Peer).
