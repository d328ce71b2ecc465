%% One function for many lists of arguments: py_context:map and py:map. Once per mode that the
%% linked Python has.
-module(py_map_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, await_queue/2, eventually/1]).

%% More than any part has.
-define(MANY, 10_000).
-define(CODE,
        <<"import asyncio, threading, time\n"
          "seen = []\n"
          "def note(x):\n"
          "  seen.append(x)\n"
          "  return x\n"
          "def nap(s, value=None):\n"
          "  time.sleep(s)\n"
          "  seen.append(value)\n"
          "  return threading.get_ident()\n"
          "def spin(turns):\n"
          "  while turns: turns -= 1\n"
          "def items(n):\n"
          "  yield from range(n)\n"
          "waiting = 0\n"
          "all_here = None\n"
          "async def meet(n):\n"
          "  global waiting, all_here\n"
          "  all_here = all_here or asyncio.Event()\n"
          "  waiting += 1\n"
          "  if waiting == n: all_here.set()\n"
          "  await all_here.wait()\n"
          "  return n\n"
          "async def later(s, value):\n"
          "  await asyncio.sleep(s)\n"
          "  if value is None: raise KeyError('none')\n"
          "  return value\n"
          "def either(value):\n"
          "  return later(0, value) if value % 2 else value\n">>).

all() ->
    test_helpers:mode_groups() ++ [{group, remote}].

groups() ->
    test_helpers:in_each_mode(each_mode())
    ++ [{remote, [], [a_map_runs_on_another_node]}].

each_mode() ->
    [results_come_in_the_order_of_the_arguments,
     calls_are_made_one_after_the_other,
     a_call_that_fails_takes_no_other_along,
     without_arguments_nothing_is_called,
     every_call_gets_the_keyword_arguments,
     options_are_those_of_calls,
     an_environment_is_that_of_its_context,
     bad_options_are_named,
     bad_arguments_are_named,
     a_function_that_is_not_there_is_an_error_of_the_whole,
     generators_and_other_objects_are_as_in_a_call,
     a_function_may_call_erlang,
     coroutines_wait_beside_one_another,
     coroutines_stand_where_they_were_called,
     a_timeout_is_for_all_calls,
     a_timeout_is_for_coroutines_too,
     a_timeout_leaves_no_message,
     an_interrupt_ends_a_map,
     an_interrupt_ends_a_map_of_functions_in_c,
     a_keyboard_interrupt_of_its_own_is_an_error_of_one_call,
     other_jobs_have_their_turn,
     a_map_ends_with_its_caller,
     a_map_that_was_accepted_goes_on_though_the_queue_is_full,
     a_full_queue_refuses_a_map_or_lets_it_wait,
     a_context_that_dies_ends_the_map,
     a_dead_context_is_an_error,
     parts_are_as_large_as_time_allows,
     a_pool_shares_the_calls,
     a_pool_is_used_as_its_target_says,
     a_pool_does_without_its_dead_contexts,
     a_pool_without_a_context_is_waited_for,
     functions_of_the_process_are_called_where_it_has_its_state].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all(),
    _ = erase('$py_pin'),
    ?assertEqual([], test_helpers:messages()).

context(Config) ->
    context(#{}, Config).

context(Options, Config) ->
    {ok, Ctx} = py_context:new(Options#{mode => ?config(mode, Config), preload => ?CODE}),
    Ctx.

pool(Contexts, Config) ->
    {ok, Pids} = py:start_contexts(#{contexts => Contexts, mode => ?config(mode, Config),
                                     preload => ?CODE}),
    Pids.

naps(N, Seconds) ->
    [[Seconds] || _ <- lists:seq(1, N)].

seen(Ctx) ->
    {ok, Seen} = py_context:eval(Ctx, <<"seen">>),
    Seen.

%% ------------------------------------------------------------------ results

results_come_in_the_order_of_the_arguments(Config) ->
    Ctx = context(Config),
    _ = pool(3, Config),
    Numbers = lists:seq(1, ?MANY),
    Expected = {ok, [{ok, N + 1} || N <- Numbers]},
    Lists = [[N, 1] || N <- Numbers],
    ?assertEqual(Expected, py_context:map(Ctx, operator, add, Lists)),
    ?assertEqual(Expected, py_context:map(Ctx, <<"operator">>, "add", Lists, 30_000)),
    ?assertEqual(Expected, py:map(operator, add, Lists)),
    ?assertEqual({ok, [{ok, <<"a/b">>}, {ok, <<"c">>}]},
                 py_context:map(Ctx, 'os.path', join, [[<<"a">>, <<"b">>], [<<"c">>]])),
    ?assertEqual({ok, [{ok, 3}]}, py_context:map(Ctx, builtins, 'int.bit_length', [[4]])).

calls_are_made_one_after_the_other(Config) ->
    Ctx = context(Config),
    {ok, _} = py_context:map(Ctx, '__main__', note, [[N] || N <- lists:seq(1, ?MANY)]),
    ?assertEqual(lists:seq(1, ?MANY), seen(Ctx)).

a_call_that_fails_takes_no_other_along(Config) ->
    Ctx = context(Config),
    Improper = [1 | 2],
    Surrogate = <<"\"\\ud800\"">>,
    Lists = [[16], [-1], [fun() -> ok end], Improper, [], [25]],
    ?assertMatch({ok, [{ok, 4.0},
                       {error, {'ValueError', _}},
                       {error, {unconvertible, <<"args[0]">>, <<"fun">>}},
                       {error, {unconvertible, <<"args">>, <<"not a proper list">>}},
                       {error, {'TypeError', _}},
                       {ok, 5.0}]},
                 py_context:map(Ctx, math, sqrt, Lists)),
    ?assertMatch({ok, [{ok, 1}, {error, {unconvertible, <<"result">>, _}}, {ok, 2}]},
                 py_context:map(Ctx, json, loads, [[<<"1">>], [Surrogate], [<<"2">>]])),
    ?assertEqual({ok, [{error, {'SystemExit', <<"3">>}}, {error, {'SystemExit', <<"4">>}}]},
                 py_context:map(Ctx, sys, exit, [[3], [4]])).

without_arguments_nothing_is_called(Config) ->
    Ctx = context(Config),
    ?assertEqual({ok, []}, py_context:map(Ctx, math, sqrt, [])),
    ?assertEqual({ok, []}, py_context:map(Ctx, math, sqrt, [], 0)),
    _ = pool(1, Config),
    ?assertEqual({ok, []}, py:map(math, sqrt, [])).

every_call_gets_the_keyword_arguments(Config) ->
    Ctx = context(Config),
    [_] = pool(1, Config),
    Lists = [[<<"10">>], [<<"x">>], [<<"ff">>]],
    [?assertMatch({ok, [{ok, 16}, {error, {'ValueError', _}}, {ok, 255}]}, Map())
     || Kwargs <- [#{base => 16}, [{"base", 16}], #{<<"base">> => 16}],
        Map <- [fun() -> py_context:map(Ctx, builtins, int, Lists, #{kwargs => Kwargs}) end,
                fun() -> py:map(builtins, int, Lists, #{kwargs => Kwargs}) end,
                fun() -> py:map(Ctx, builtins, int, Lists, #{kwargs => Kwargs}) end]],
    ?assertEqual({ok, [{ok, #{<<"a">> => 1}}]},
                 py_context:map(Ctx, builtins, dict, [[]], #{kwargs => #{a => 1}})).

options_are_those_of_calls(Config) ->
    Ctx = context(Config),
    ?assertMatch({ok, [{error, {'ValueError', _, #{formatted := _}}}]},
                 py_context:map(Ctx, math, sqrt, [[-1]], #{traceback => true})),
    ?assertEqual({ok, [{ok, nil}]},
                 py_context:map(Ctx, builtins, print, [[]], #{values => elixir})),
    ?assertEqual({ok, [{ok, <<"1.5">>}]},
                 py_context:map(Ctx, decimal, 'Decimal', [[<<"1.5">>]], #{result => term})),
    {ok, [{ok, Object}]} = py_context:map(Ctx, math, sqrt, [[4]], #{result => object}),
    ?assertEqual({ok, 2.0}, py_context:to_term(Object)),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(Ctx, <<"def double(x): return 2 * x">>, Env),
    ?assertEqual({ok, [{ok, 2}, {ok, 4}]},
                 py_context:map(Ctx, '__main__', double, [[1], [2]], #{env => Env})),
    ?assertEqual({ok, [{ok, 4.0}]},
                 py_context:map(Ctx, math, sqrt, [[16]], #{on_caller_down => interrupt})).

%% Of whatever context the pool would choose.
an_environment_is_that_of_its_context(Config) ->
    [_, Second] = pool(2, Config),
    {ok, Env} = py_context:create_local_env(Second),
    ok = py_context:exec(Second, <<"def double(x): return 2 * x">>, Env),
    ?assertEqual({ok, [{ok, 2 * N} || N <- lists:seq(1, 100)]},
                 py:map('__main__', double, [[N] || N <- lists:seq(1, 100)], #{env => Env})),
    Other = context(Config),
    ?assertMatch({error, {wrong_context, _}},
                 py_context:map(Other, '__main__', double, [[1]], #{env => Env})).

bad_options_are_named(Config) ->
    Ctx = context(Config),
    _ = pool(1, Config),
    Bad = [{color, red}, {on_caller_down, finish}, {kwargs, foo}, {read_ahead, 5}, {share, true},
           {timeout, -1}, {traceback, 1}, {result, all}, {values, python}],
    [?assertEqual({error, {bad_option, {Key, Value}}}, Map(#{Key => Value}))
     || {Key, Value} <- Bad,
        Map <- [fun(Options) -> py_context:map(Ctx, math, sqrt, [[4]], Options) end,
                fun(Options) -> py:map(math, sqrt, [[4]], Options) end,
                fun(Options) -> py:map(Ctx, math, sqrt, [[4]], Options) end]],
    ?assertEqual({error, {bad_option, {env, process}}},
                 py_context:map(Ctx, math, sqrt, [[4]], #{env => process})),
    ?assertEqual({error, {bad_option, {timeout, -1}}}, py:map(math, sqrt, [[4]], -1)).

bad_arguments_are_named(Config) ->
    Ctx = context(Config),
    NoLists = <<"not a list of lists of arguments">>,
    [?assertEqual({{F, Arity}, #{N => Why}}, cause(Call))
     || {F, Arity, N, Why, Call} <-
            [{py_context, 5, 4, NoLists, fun() -> py_context:map(Ctx, math, sqrt, [1, 2]) end},
             {py_context, 5, 4, NoLists, fun() -> py_context:map(Ctx, math, sqrt, [[1] | x]) end},
             {py_context, 5, 4, NoLists, fun() -> py_context:map(Ctx, math, sqrt, 4) end},
             {py_context, 5, 1, <<"not a pid">>,
              fun() -> py_context:map(foo, math, sqrt, [[4]], #{}) end},
             {py_context, 5, 5, <<"the timeout is neither a number of ms nor infinity">>,
              fun() -> py_context:map(Ctx, math, sqrt, [[4]], soon) end},
             {py_context, 5, 5, <<"neither a map nor a list of pairs">>,
              fun() -> py_context:map(Ctx, math, sqrt, [[4]], #{kwargs => [x]}) end},
             {py_context, 5, 3, <<"not a name: an atom, a binary or a string is needed">>,
              fun() -> py_context:map(Ctx, math, 7, [[4]]) end},
             {py, 3, 3, NoLists, fun() -> py:map(math, sqrt, [4]) end},
             {py, 4, 3, NoLists, fun() -> py:map(math, sqrt, 4, #{}) end},
             {py, 4, 4, NoLists, fun() -> py:map(Ctx, math, sqrt, [4]) end},
             {py, 5, 1, <<"neither a context nor a pool's name">>,
              fun() -> py:map("io", math, sqrt, [[4]], #{}) end},
             {py, 4, 4, <<"a name is given twice">>,
              fun() -> py:map(math, sqrt, [[4]], #{kwargs => [{a, 1}, {a, 2}]}) end}]].

%% The function that raised a badarg, and what the shell says about it.
cause(Call) ->
    try Call() of
        Result -> {returned, Result}
    catch
        error:badarg:Stack ->
            [{Module, map, Args, _} | _] = Stack,
            {{Module, length(Args)}, py_error:format_error(badarg, Stack)}
    end.

a_function_that_is_not_there_is_an_error_of_the_whole(Config) ->
    Ctx = context(Config),
    _ = pool(2, Config),
    [begin
         ?assertMatch({error, {'ModuleNotFoundError', _}}, Map(no_such_module, f)),
         ?assertMatch({error, {'AttributeError', _}}, Map(math, no_such_function))
     end || Map <- [fun(M, F) -> py_context:map(Ctx, M, F, [[1], [2]]) end,
                    fun(M, F) -> py:map(M, F, [[1], [2]]) end]],
    ?assertMatch({error, {'NameError', _}}, py_context:map(Ctx, '__main__', nothing, [[]])).

generators_and_other_objects_are_as_in_a_call(Config) ->
    Ctx = context(Config),
    {ok, [{ok, One}, {ok, Two}]} = py_context:map(Ctx, '__main__', items, [[1], [2]]),
    ?assertEqual([true, true], [py_context:is_ref(Object) || Object <- [One, Two]]),
    ?assertEqual([{ok, [0]}, {ok, [0, 1]}], [py_context:to_term(Object) || Object <- [One, Two]]),
    ?assertEqual({ok, [{ok, [0]}, {ok, [0, 1]}]},
                 py_context:map(Ctx, '__main__', items, [[1], [2]], #{result => term})).

a_function_may_call_erlang(Config) ->
    Ctx = context(Config),
    ok = py:register_function(next, fun(N) -> N + 1 end),
    ?assertEqual({ok, [{ok, N + 1} || N <- lists:seq(1, 100)]},
                 py_context:map(Ctx, erlang, call, [[<<"next">>, N] || N <- lists:seq(1, 100)])).

%% ------------------------------------------------------------------ coroutines

%% Each waits for all others.
coroutines_wait_beside_one_another(Config) ->
    Ctx = context(Config),
    ?assertEqual({ok, [{ok, 500} || _ <- lists:seq(1, 500)]},
                 py_context:map(Ctx, '__main__', meet, [[500] || _ <- lists:seq(1, 500)])),
    _ = pool(2, Config),
    {ok, Results} = py:map(asyncio, sleep, [[0, N] || N <- lists:seq(1, 500)]),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 500)], Results).

coroutines_stand_where_they_were_called(Config) ->
    Ctx = context(Config),
    Numbers = lists:seq(1, 1_000),
    ?assertEqual({ok, [{ok, N} || N <- Numbers]},
                 py_context:map(Ctx, '__main__', either, [[N] || N <- Numbers])),
    ?assertEqual({ok, [{ok, 1}, {error, {'KeyError', <<"'none'">>}}, {ok, 3}]},
                 py_context:map(Ctx, '__main__', later, [[0, 1], [0, none], [0, 3]])),
    ?assertEqual({ok, [{ok, nil}]},
                 py_context:map(Ctx, asyncio, sleep, [[0]], #{values => elixir})).

%% ------------------------------------------------------------------ the end before its time

a_timeout_is_for_all_calls(Config) ->
    Ctx = context(Config),
    _ = pool(1, Config),
    Naps = [[0.01, N] || N <- lists:seq(1, 10_000)],
    ?assertEqual({error, timeout}, py_context:map(Ctx, '__main__', nap, Naps, 100)),
    ?assertEqual({error, timeout}, py_context:map(Ctx, '__main__', nap, Naps, #{timeout => 0})),
    ?assertEqual({error, timeout}, py:map('__main__', nap, Naps, #{timeout => 50, env => none})),
    %% No further call is made.
    Made = length(seen(Ctx)),
    ?assert(Made < 1_000),
    ?assertEqual({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16])),
    ?assertEqual(Made, length(seen(Ctx))).

a_timeout_is_for_coroutines_too(Config) ->
    Ctx = context(Config),
    ?assertEqual({error, timeout},
                 py_context:map(Ctx, '__main__', later, [[0, 1], [3600, 2]], 100)),
    ?assertEqual({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16])).

a_timeout_leaves_no_message(Config) ->
    Ctx = context(Config),
    Lists = [[N] || N <- lists:seq(1, 2_000)],
    Asker = ask(fun() ->
        _ = [py_context:map(Ctx, math, sqrt, Lists, Ms) || Ms <- [0, 1, 2, 3],
                                                           _ <- lists:seq(1, 40)],
        py_context:eval(Ctx, <<"1">>)
    end),
    ?assertEqual({ok, 1}, answer(Asker)),
    ?assertEqual([], leftovers(Asker)).

an_interrupt_ends_a_map(Config) ->
    Ctx = context(Config),
    Asker = ask(fun() -> py_context:map(Ctx, '__main__', spin, [[1 bsl 60], [1]]) end),
    _ = await_busy(Ctx),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Asker)),
    ?assertEqual([], leftovers(Asker)),
    ?assertEqual({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16])).

%% Which have no bytecodes, so that the exception is never raised.
an_interrupt_ends_a_map_of_functions_in_c(Config) ->
    Ctx = context(Config),
    Asker = ask(fun() -> py_context:map(Ctx, time, sleep, naps(50_000, 0.002)) end),
    _ = eventually(fun() -> py_context:interrupt(Ctx) =:= ok end),
    ?assertEqual({error, interrupted}, answer(Asker)),
    ?assertEqual({ok, [{ok, none}]}, py_context:map(Ctx, time, sleep, [[0]])).

a_keyboard_interrupt_of_its_own_is_an_error_of_one_call(Config) ->
    Ctx = context(Config),
    ok = py_context:exec(Ctx, <<"def stop(x):\n  if x: raise KeyboardInterrupt('mine')\n">>),
    ?assertEqual({ok, [{ok, none}, {error, {'KeyboardInterrupt', <<"mine">>}}, {ok, none}]},
                 py_context:map(Ctx, '__main__', stop, [[0], [1], [0]])).

other_jobs_have_their_turn(Config) ->
    Ctx = context(Config),
    Asker = ask(fun() -> py_context:map(Ctx, '__main__', nap, naps(3_000, 0.002)) end),
    _ = await_busy(Ctx),
    [{ok, _} = py_context:call(Ctx, math, sqrt, [N]) || N <- lists:seq(1, 20)],
    Made = length(seen(Ctx)),
    _ = eventually(fun() -> py_context:interrupt(Ctx) =:= ok end),
    ?assertMatch({error, interrupted}, answer(Asker)),
    %% One or two for each call, and some more before the first; never all of them.
    ?assert(Made < 1_000).

a_map_ends_with_its_caller(Config) ->
    Ctx = context(#{on_caller_down => finish}, Config),
    Caller = spawn(fun() -> py_context:map(Ctx, '__main__', nap, naps(50_000, 0.002)) end),
    _ = await_busy(Ctx),
    true = exit(Caller, kill),
    _ = eventually(fun() -> maps:get(state, py_context:info(Ctx)) =:= idle end),
    ?assert(length(seen(Ctx)) < 50_000).

%% ------------------------------------------------------------------ contexts

a_map_that_was_accepted_goes_on_though_the_queue_is_full(Config) ->
    Ctx = context(#{max_queue => 1}, Config),
    Map = ask(fun() -> py_context:map(Ctx, '__main__', nap, naps(100, 0.005)) end),
    _ = await_busy(Ctx),
    Callers = [ask(fun() -> refusals(Ctx, Map, 0) end) || _ <- lists:seq(1, 5)],
    {ok, Results} = answer(Map),
    ?assertEqual(100, length(Results)),
    _ = leftovers(Map),
    ?assert(lists:sum([answer(Caller) || Caller <- Callers]) > 0).

%% How many calls were refused until the process has ended.
refusals(Ctx, Map, Count) ->
    case {py_context:call(Ctx, time, sleep, [0.001]), is_process_alive(Map)} of
        {_, false} -> Count;
        {{ok, none}, true} -> refusals(Ctx, Map, Count);
        {{error, {overloaded, _}}, true} -> refusals(Ctx, Map, Count + 1)
    end.

a_full_queue_refuses_a_map_or_lets_it_wait(Config) ->
    {Gate, Wait} = test_helpers:gate(Config),
    [begin
         Ctx = context(#{max_queue => 1, overload => Overload}, Config),
         ok = py_context:exec(Ctx, Wait),
         Running = ask(fun() -> py_context:call(Ctx, '__main__', wait, []) end),
         _ = await_busy(Ctx),
         Waiting = ask(fun() -> py_context:call(Ctx, math, sqrt, [16]) end),
         _ = await_queue(Ctx, 1),
         case Overload of
             refuse ->
                 ?assertMatch({error, {overloaded, #{queue := 1, max_queue := 1}}},
                              py_context:map(Ctx, math, sqrt, [[16], [25]])),
                 ok = test_helpers:open_gate(Gate);
             {wait, _} ->
                 ?assertEqual({error, timeout}, py_context:map(Ctx, math, sqrt, [[16], [25]], 10)),
                 Map = ask(fun() -> py_context:map(Ctx, math, sqrt, [[16], [25]]) end),
                 ok = test_helpers:open_gate(Gate),
                 ?assertEqual({ok, [{ok, 4.0}, {ok, 5.0}]}, answer(Map))
         end,
         ?assertEqual([{ok, <<"finished">>}, {ok, 4.0}],
                      [answer(Each) || Each <- [Running, Waiting]]),
         ok = file:delete(Gate)
     end || Overload <- [refuse, {wait, 20_000}]].

a_context_that_dies_ends_the_map(Config) ->
    Ctx = context(Config),
    true = unlink(Ctx),
    Asker = ask(fun() -> py_context:map(Ctx, '__main__', nap, naps(10_000, 0.005)) end),
    _ = await_busy(Ctx),
    true = exit(Ctx, kill),
    ?assertMatch({error, {context_died, _}}, answer(Asker)),
    ?assertEqual([], leftovers(Asker)).

a_dead_context_is_an_error(Config) ->
    Ctx = context(Config),
    ok = py_context:stop(Ctx),
    ?assertEqual({error, {context_died, noproc}}, py_context:map(Ctx, math, sqrt, [[4]])),
    ?assertEqual({error, {context_died, noproc}}, py_context:map(self(), math, sqrt, [[4]])),
    ?assertEqual({error, {pool_not_started, nowhere}}, py:map(nowhere, math, sqrt, [[4]])).

%% Of short calls a job makes many, of long ones few.
parts_are_as_large_as_time_allows(Config) ->
    Ctx = context(Config),
    Jobs = fun(Func, Lists) ->
        #{done := Before} = py_context:info(Ctx),
        {ok, _} = py_context:map(Ctx, '__main__', Func, Lists),
        #{done := After} = py_context:info(Ctx),
        After - Before
    end,
    ?assert(Jobs(note, [[N] || N <- lists:seq(1, ?MANY)]) < ?MANY div 50),
    ?assert(Jobs(nap, [[0.002] || _ <- lists:seq(1, 80)]) >= 8).

%% ------------------------------------------------------------------ pools

a_pool_shares_the_calls(Config) ->
    _ = pool(3, Config),
    {ok, Threads} = py:map('__main__', nap, [[0.01] || _ <- lists:seq(1, 60)], #{env => none}),
    ?assertEqual(60, length(Threads)),
    ?assertEqual(3, length(lists:usort(Threads))),
    %% A few long calls, too.
    {ok, Few} = py:map('__main__', nap, [[0.05] || _ <- lists:seq(1, 3)], #{env => none}),
    ?assertEqual(3, length(lists:usort(Few))).

a_pool_is_used_as_its_target_says(Config) ->
    [Ctx | _] = pool(2, Config),
    {ok, [Other]} = py_context_router:start_pool(other, #{contexts => 1,
                                                          mode => ?config(mode, Config)}),
    ok = py_context_router:register_pool(other, threading),
    [?assertEqual({ok, [{ok, 4.0}, {ok, 5.0}]}, Map())
     || Map <- [fun() -> py:map(Ctx, math, sqrt, [[16], [25]]) end,
                fun() -> py:map(other, math, sqrt, [[16], [25]]) end,
                fun() -> py:map(other, math, "sqrt", [[16], [25]]) end,
                fun() -> py:map(other, math, sqrt, [[16], [25]], 5_000) end,
                fun() -> py:map(Ctx, math, sqrt, [[16], [25]], #{timeout => infinity}) end]],
    {ok, Thread} = py_context:call(Other, threading, get_ident, []),
    ?assertEqual({ok, [{ok, Thread}]}, py:map(threading, get_ident, [[]])),
    ok = py_context_router:unregister_pool(threading),
    ok = py_context_router:bind_context(Other),
    {ok, Threads} = py:map(threading, get_ident, [[] || _ <- lists:seq(1, 50)]),
    ok = py_context_router:unbind_context(),
    ?assertEqual(1, length(lists:usort(Threads))).

a_pool_does_without_its_dead_contexts(Config) ->
    Flag = filename:join(?config(priv_dir, Config), "may_start_again"),
    Options = #{contexts => 2, mode => ?config(mode, Config), preload => preload(Flag)},
    {ok, Pids} = py_context_router:start_pool(frail, Options),
    ok = file:delete(Flag),
    ok = test_helpers:kill(hd(Pids)),
    {ok, Results} = py:map(frail, math, sqrt, [[N] || N <- lists:seq(1, ?MANY)], #{}),
    ?assertEqual(?MANY, length(Results)).

preload(Flag) ->
    ok = file:write_file(Flag, <<>>),
    ["open('", Flag, "')\n"].

a_pool_without_a_context_is_waited_for(Config) ->
    Flag = test_helpers:pool_without_life(#{mode => ?config(mode, Config)}, Config),
    ?assertEqual({error, {context_died, noproc}}, py:map(math, sqrt, [[4]], 50)),
    Asker = ask(fun() -> py:map(math, sqrt, [[16], [25]]) end),
    ok = test_helpers:revive(Flag),
    ?assertEqual({ok, [{ok, 4.0}, {ok, 5.0}]}, answer(Asker)).

functions_of_the_process_are_called_where_it_has_its_state(Config) ->
    _ = pool(3, Config),
    ok = py:exec(<<"def triple(x): return 3 * x">>),
    ?assertEqual({ok, [{ok, 3 * N} || N <- lists:seq(1, 500)]},
                 py:map('__main__', triple, [[N] || N <- lists:seq(1, 500)])).

%% ------------------------------------------------------------------ another node

a_map_runs_on_another_node(_Config) ->
    {ok, Peer, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    {ok, [Ctx | _]} = erpc:call(Node, py, start_contexts, [#{contexts => 2, preload => ?CODE}]),
    Lists = [[N] || N <- lists:seq(1, ?MANY)],
    ?assertEqual({ok, [{ok, N} || [N] <- Lists]}, py_context:map(Ctx, '__main__', note, Lists)),
    ?assertEqual({ok, [{ok, N} || [N] <- Lists]}, py:map(Ctx, '__main__', note, Lists)),
    ?assertEqual({error, timeout},
                 py_context:map(Ctx, '__main__', nap, [[0.01] || _ <- Lists], 100)),
    ?assertEqual({error, timeout}, py:map(Ctx, '__main__', nap, [[0.01] || _ <- Lists], 100)),
    ok = py_context_router:bind_context(Ctx),
    ?assertEqual({ok, [{ok, 4.0}]}, py:map(math, sqrt, [[16]])),
    ok = py_context_router:unbind_context(),
    peer:stop(Peer).
