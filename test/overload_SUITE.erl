%% More calls than Python can do: refused or made to wait, fairly, in bounded memory, and forgotten
%% soon after. Once per mode.
%%
%% OVERLOAD_SECONDS (3) is for how long producers outrun Python in the case about memory: a minute
%% is
%%
%%   OVERLOAD_SECONDS=60 rebar3 ct --suite test/overload_SUITE --group worker \
%%       --case memory_is_bounded_and_latency_recovers
-module(overload_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, await_queue/2, eventually/1,
                       eventually/2]).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode(
      [ten_thousand_callers_at_once_are_all_answered,
       who_comes_first_is_served_first,
       the_steps_of_a_stream_wait_for_capacity,
       a_caller_that_waits_too_long_is_refused,
       a_timeout_counts_the_wait_for_capacity,
       a_wait_for_capacity_leaves_less_of_a_timeout,
       a_caller_that_waits_for_capacity_may_die,
       a_caller_that_waits_for_capacity_is_answered_at_the_end,
       waiting_for_capacity_survives_a_replacement,
       waiting_callers_that_race_leave_no_message,
       memory_is_bounded_and_latency_recovers,
     those_who_do_not_wait_are_bounded_too,
     turns_are_fair,
     a_caller_that_tries_again_is_served_in_the_end]).

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    ok = py_context_router:init_pool_registry(),
    Config.

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all().

start(Size, Options, Config) ->
    {ok, Contexts} = py_context_router:start(Options#{contexts => Size,
                                                      mode => ?config(mode, Config)}),
    Contexts.

%% Refused ones try again; the queue never holds more than it may, and nobody is left out.
ten_thousand_callers_at_once_are_all_answered(Config) ->
    [begin
         Contexts = start(2, Options#{max_queue => 500}, Config),
         Callers = [ask(fun() ->
                        receive go -> call_until_served(abs(N), 0) end
                    end) || N <- lists:seq(1, 10_000)],
         [Caller ! go || Caller <- Callers],
         ?assert(lists:all(fun(Ctx) -> maps:get(queue, py_context:info(Ctx)) =< 500 end, Contexts)),
         Refusals = lists:sum([answer(Caller) || Caller <- Callers]),
         ct:pal("~p: ~b refusals", [Options, Refusals]),
         ?assert(Refusals =:= 0 orelse Options =:= #{}),
         ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- Callers])),
         ok = py_context_router:stop()
     end || Options <- [#{}, #{overload => {wait, 60_000}}]].

call_until_served(N, Refusals) ->
    case py_context:call(py_context_router:get_context(), builtins, abs, [-N]) of
        {ok, N} -> Refusals;
        {error, {overloaded, #{max_queue := 500}}} -> call_until_served(N, Refusals + 1)
    end.

%% There is capacity for one more each time that a job ends, which another context says when.
who_comes_first_is_served_first(Config) ->
    [Ctx] = start(1, #{max_queue => 1, overload => {wait, 60_000},
                       preload => <<"import os\norder = []\ndef step(n, fd):\n"
                                    "    order.append(n)\n    os.read(fd, 1)">>}, Config),
    {ok, Beside} = py_context_sup:start_context(beside, ?config(mode, Config)),
    {ok, {Read, Write}} = py_context:call(Beside, os, pipe, []),
    Step = fun(N) -> ask(fun() -> py_context:call(Ctx, '__main__', step, [N, Read]) end) end,
    Running = Step(0),
    _ = await_busy(Ctx),
    Queued = Step(1),
    _ = await_queue(Ctx, 1),
    Waiting = [begin
                   Caller = Step(N),
                   _ = eventually(fun() -> is_waiting(Caller) end),
                   Caller
               end || N <- lists:seq(2, 30)],
    All = [Running, Queued | Waiting],
    [begin
         {ok, 1} = py_context:call(Beside, os, write, [Write, {bytes, <<"x">>}]),
         ?assertEqual({ok, none}, answer(Ends)),
         %% The next one is woken and has taken the capacity. A context whose job ended before
         %% that would have nothing to do, and wake one more.
         _ = [{eventually(fun() -> not is_waiting(lists:nth(N + 2, All)) end), await_queue(Ctx, 1)}
              || N + 2 =< length(All)],
         %% Nobody goes past the others.
         [?assert(is_waiting(Later)) || Later <- lists:nthtail(min(N + 2, length(All)), All)]
     end || {N, Ends} <- lists:zip(lists:seq(1, length(All)), All)],
    ?assertEqual({ok, lists:seq(0, 30)}, py_context:eval(Ctx, <<"order">>)),
    ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- All])).

the_steps_of_a_stream_wait_for_capacity(Config) ->
    {Gate, Wait} = test_helpers:gate(Config),
    [Ctx] = start(1, #{max_queue => 1, overload => {wait, 60_000}, preload => Wait}, Config),
    Open = fun() -> py:stream_open(Ctx, builtins, range, [3]) end,
    {{ok, Read}, {ok, Unread}} = {Open(), Open()},
    Gated = ask(fun() -> py_context:exec(Ctx, <<"wait()">>) end),
    _ = await_busy(Ctx),
    Queued = ask(fun() -> py_context:exec(Ctx, <<"1">>) end),
    _ = await_queue(Ctx, 1),
    Steps = [ask(fun() -> py:stream_next(Read, 3) end), ask(fun() -> py:stream_close(Unread) end)],
    _ = [eventually(fun() -> is_waiting(Step) end) || Step <- Steps],
    test_helpers:open_gate(Gate),
    ?assertEqual([{more, [0, 1, 2]}, ok], [answer(Step) || Step <- Steps]),
    ?assertEqual([ok, ok], [answer(Caller) || Caller <- [Gated, Queued]]),
    ?assertEqual([[], []], [leftovers(Step) || Step <- Steps]).

%% For capacity, in py_overload.
is_waiting(Caller) ->
    case process_info(Caller, [status, current_function]) of
        [{status, waiting}, {current_function, {py_overload, wait, _}}] -> true;
        %% It may wait for a module that is being loaded.
        _ -> false
    end.

full(Options, Config) ->
    [Ctx] = start(1, Options#{max_queue => 1}, Config),
    Looping = ask(fun() -> py_context:exec(Ctx, <<"while True: pass">>) end),
    _ = await_busy(Ctx),
    Queued = ask(fun() -> py_context:eval(Ctx, <<"'queued'">>) end),
    _ = await_queue(Ctx, 1),
    {Ctx, Looping, Queued}.

a_caller_that_waits_too_long_is_refused(Config) ->
    {Ctx, Looping, Queued} = full(#{overload => {wait, 20}}, Config),
    Full = {error, {overloaded, #{queue => 1, max_queue => 1}}},
    Late = ask(fun() -> [py_context:eval(Ctx, <<"1">>), py_context:exec(Ctx, <<"1">>),
                         py_context:call(Ctx, math, sqrt, [1]), py:eval(Ctx, <<"1">>)] end),
    ?assertEqual([Full, Full, Full, Full], answer(Late)),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Looping)),
    ?assertEqual({ok, <<"queued">>}, answer(Queued)),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertEqual([], leftovers(Late)).

a_timeout_counts_the_wait_for_capacity(Config) ->
    {Ctx, Looping, Queued} = full(#{overload => {wait, 60_000}}, Config),
    Late = ask(fun() -> [py_context:eval(Ctx, <<"1">>, #{}, T) || T <- [0, 1, 20]] end),
    ?assertEqual([{error, timeout}, {error, timeout}, {error, timeout}], answer(Late)),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Looping)),
    ?assertEqual({ok, <<"queued">>}, answer(Queued)),
    ?assertEqual([], leftovers(Late)).

%% As the function that waits says itself: what is left once there is capacity.
a_wait_for_capacity_leaves_less_of_a_timeout(Config) ->
    {Ctx, Looping, Queued} = full(#{overload => {wait, 60_000}}, Config),
    {Timeout, Waited} = {60_000, 50},
    Caller = ask(fun() -> receive go -> py_context:eval(Ctx, <<"1 + 1">>, #{}, Timeout) end end),
    1 = erlang:trace(Caller, true, [call]),
    {module, _} = code:ensure_loaded(py_overload),
    1 = erlang:trace_pattern({py_overload, submit, 4}, [{'_', [], [{return_trace}]}], [global]),
    Caller ! go,
    _ = eventually(fun() -> is_waiting(Caller) end),
    Since = erlang:monotonic_time(millisecond),
    _ = eventually(fun() -> erlang:monotonic_time(millisecond) - Since > Waited end),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Looping)),
    ?assertEqual({ok, <<"queued">>}, answer(Queued)),
    ?assertEqual({ok, 2}, answer(Caller)),
    _ = erlang:trace_pattern({py_overload, submit, 4}, false, [global]),
    receive {trace, Caller, return_from, _, {_Seq, Left}} -> ?assert(Left =< Timeout - Waited, Left)
    after 0 -> error(no_wait_for_capacity)
    end.

a_caller_that_waits_for_capacity_may_die(Config) ->
    {Ctx, Looping, _Queued} = full(#{overload => {wait, 60_000}}, Config),
    Waiting = [ask(fun() -> py_context:eval(Ctx, integer_to_binary(N)) end)
               || N <- lists:seq(1, 20)],
    _ = [eventually(fun() -> is_waiting(Caller) end) || Caller <- Waiting],
    {Dying, Living} = lists:split(15, Waiting),
    [begin true = unlink(Caller), exit(Caller, kill) end || Caller <- Dying],
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Looping)),
    ?assertEqual([{ok, N} || N <- lists:seq(16, 20)], [answer(Caller) || Caller <- Living]).

a_caller_that_waits_for_capacity_is_answered_at_the_end(Config) ->
    [begin
         {Ctx, Looping, Queued} = full(#{overload => {wait, 60_000}, shutdown => 10}, Config),
         Waiting = [ask(fun() -> py_context:eval(Ctx, <<"1">>) end) || _ <- lists:seq(1, 10)],
         _ = [eventually(fun() -> is_waiting(Caller) end) || Caller <- Waiting],
         _ = End(Ctx),
         ?assertMatch({error, {context_died, _}}, answer(Looping)),
         ?assertMatch({error, {context_died, _}}, answer(Queued)),
         ?assertEqual([{error, {context_died, noproc}}],
                      lists:usort([answer(Caller) || Caller <- Waiting])),
         ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- Waiting])),
         ok = py_context_router:stop()
     end || End <- [fun(Ctx) -> exit(Ctx, kill) end, fun py_context:stop/1]].

waiting_for_capacity_survives_a_replacement(Config) ->
    [Ctx] = start(1, #{max_queue => 1, overload => {wait, 60_000}, stuck_after => 50}, Config),
    ok = py_context:exec(Ctx, <<"import time">>),
    Sleeping = ask(fun() -> py_context:exec(Ctx, <<"time.sleep(2)">>, 20) end),
    _ = await_busy(Ctx),
    Waiting = [ask(fun() -> py_context:eval(Ctx, <<"1 + 1">>) end) || _ <- lists:seq(1, 20)],
    ?assertEqual({error, timeout}, answer(Sleeping)),
    ?assertEqual([{ok, 2}], lists:usort([answer(Caller) || Caller <- Waiting])),
    ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- Waiting])),
    _ = eventually(fun() -> maps:get(quarantined, py_context:info(Ctx)) =:= 0 end).

%% Capacity, timeouts, waits and deaths around the same time.
waiting_callers_that_race_leave_no_message(Config) ->
    [Ctx] = start(1, #{max_queue => 2, overload => {wait, 3}}, Config),
    ok = py_context:exec(Ctx, <<"import time\n"
                                "def nap(us):\n"
                                "  end = time.perf_counter() + us / 1e6\n"
                                "  while time.perf_counter() < end: pass\n"
                                "  return us">>),
    Callers = [ask(fun() -> race(Ctx, 300, #{}) end) || _ <- lists:seq(1, 20)],
    Counts = [answer(Caller) || Caller <- Callers],
    Sum = fun(Key) -> lists:sum([maps:get(Key, Count, 0) || Count <- Counts]) end,
    ct:comment("~b served, ~b refused, ~b timed out", [Sum(ok), Sum(overloaded), Sum(timeout)]),
    ?assertEqual(20 * 300, Sum(ok) + Sum(overloaded) + Sum(timeout)),
    ?assert(Sum(ok) > 0 andalso Sum(overloaded) + Sum(timeout) > 0),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- Callers])).

race(_Ctx, 0, Counts) ->
    Counts;
race(Ctx, Left, Counts) ->
    Timeout = lists:nth(rand:uniform(4), [1, 2, 5, infinity]),
    Outcome = case py_context:call(Ctx, '__main__', nap, [rand:uniform(500)], #{}, Timeout) of
                  {ok, _} -> ok;
                  {error, {overloaded, _}} -> overloaded;
                  {error, timeout} -> timeout
              end,
    race(Ctx, Left - 1, maps:update_with(Outcome, fun(N) -> N + 1 end, 1, Counts)).

%% Producers with large arguments outrun a slow function for a while: for OVERLOAD_SECONDS, see
%% above.
memory_is_bounded_and_latency_recovers(Config) ->
    Seconds = list_to_integer(os:getenv("OVERLOAD_SECONDS", "3")),
    _ = ct:timetrap({seconds, Seconds + 120}),
    [Ctx] = start(1, #{max_queue => 20, overload => {wait, 50}}, Config),
    ok = py_context:exec(Ctx, <<"import time\ndef slow(data): time.sleep(0.002)">>),
    Argument = [binary:copy(<<"x">>, 1 bsl 20), lists:duplicate(1000, $x)],
    Before = latency(Ctx),
    Kb = test_helpers:rss_kb(),
    Stop = erlang:monotonic_time(millisecond) + Seconds * 1000,
    Producers = [ask(fun() -> produce_until(Stop, Argument, Ctx) end) || _ <- lists:seq(1, 100)],
    Growth = [receive after 1000 -> test_helpers:rss_kb() - Kb end || _ <- lists:seq(1, Seconds)],
    [ok = answer(Producer) || Producer <- Producers],
    ct:log("memory, in KB above the beginning, each second: ~w", [Growth]),
    %% The queue, what is being converted, and something for the allocators.
    ?assert(lists:max(Growth) < 200 * 1024),
    Took = eventually(fun() -> latency(Ctx) < 20 * Before + 1_000 end, 1_000),
    ct:comment("at most ~b KB more, latency back in ~b ms", [lists:max(Growth), round(Took)]),
    ?assertEqual([[]], lists:usort([leftovers(Producer) || Producer <- Producers])).

produce_until(Stop, Argument, Ctx) ->
    case erlang:monotonic_time(millisecond) < Stop of
        true ->
            _ = py_context:call(Ctx, '__main__', slow, [Argument]),
            produce_until(Stop, Argument, Ctx);
        false ->
            ok
    end.

%% Of a call, in µs: the median of some.
latency(Ctx) ->
    Times = [element(1, timer:tc(fun() -> {ok, 4.0} = py_context:call(Ctx, math, sqrt, [16]) end))
             || _ <- lists:seq(1, 51)],
    lists:nth(26, lists:sort(Times)).

-define(LIMIT_KB, 100 * 1024).
%% Of 80 KB each, three times that.
-define(TOO_MANY, 4_000).
-define(TAKEN, 1).
-define(REFUSED, 2).

%% Nothing but the bound of the queue holds these producers back. What was taken is done.
those_who_do_not_wait_are_bounded_too(Config) ->
    [Ctx] = start(1, #{max_queue => 20}, Config),
    ok = py_context:exec(Ctx, <<"import time\n"
                                "taken = 0\n"
                                "def take(data):\n"
                                "  global taken\n"
                                "  taken += 1\n"
                                "  time.sleep(0.002)">>),
    Kb = test_helpers:rss_kb(),
    Over = atomics:new(1, []),
    Counts = counters:new(2, []),
    Producers = [ask(fun() -> Produce(Over, Ctx, Counts) end)
                 || Produce <- [fun cast_until/3, fun call_until/3], _ <- lists:seq(1, 10)],
    Growth = watch_memory(Kb, Counts, 0),
    ok = atomics:put(Over, 1, 1),
    ?assertEqual([ok], lists:usort([answer(Producer) || Producer <- Producers])),
    Taken = counters:get(Counts, ?TAKEN),
    ct:comment("~b KB more at most, ~b taken, ~b refused",
               [Growth, Taken, counters:get(Counts, ?REFUSED)]),
    ?assert(Growth < ?LIMIT_KB),
    %% The queue may be full still.
    _ = eventually(fun() -> maps:get(queue, py_context:info(Ctx)) =:= 0 end),
    ?assertEqual({ok, Taken}, py_context:eval(Ctx, <<"taken">>)),
    ?assertEqual([[]], lists:usort([leftovers(Producer) || Producer <- Producers])).

%% The most that it grows. Up to the limit only, because without a bound the machine has none
%% either.
watch_memory(Kb, Counts, Most) ->
    case counters:get(Counts, ?REFUSED) < ?TOO_MANY andalso Most < ?LIMIT_KB of
        true -> receive after 5 ->
            watch_memory(Kb, Counts, max(Most, test_helpers:rss_kb() - Kb)) end;
        false -> Most
    end.

cast_until(Over, Ctx, Counts) ->
    case atomics:get(Over, 1) of
        0 ->
            ok = count(py:cast(Ctx, '__main__', take, [fresh()]), Counts),
            cast_until(Over, Ctx, Counts);
        1 ->
            ok
    end.

call_until(Over, Ctx, Counts) ->
    call_until(Over, Ctx, Counts, 0).

call_until(Over, Ctx, Counts, Pending) ->
    IsOver = atomics:get(Over, 1) =:= 1,
    %% Results must not pile up here meanwhile.
    receive
        {py_result, _, Result} ->
            ok = count(Result, Counts),
            call_until(Over, Ctx, Counts, Pending - 1)
    after time_to_wait(IsOver, Pending) ->
        case IsOver of
            true ->
                ok;
            false ->
                _ = py:spawn_call(Ctx, '__main__', take, [fresh()]),
                call_until(Over, Ctx, Counts, Pending + 1)
        end
    end.

time_to_wait(true, Pending) when Pending > 0 -> infinity;
time_to_wait(_IsOver, _Pending) -> 0.

count({error, {overloaded, _}}, Counts) -> counters:add(Counts, ?REFUSED, 1);
count(_Taken, Counts) -> counters:add(Counts, ?TAKEN, 1).

%% 80 KB that nobody else has.
fresh() ->
    First = erlang:unique_integer([positive]),
    lists:seq(First, First + 5000).

%% Twenty times as many callers as there is capacity for, each of which comes back at once.
-define(CROWD, 200).

%% How far they are apart is for the VM's scheduler to say, but not that somebody has next to
%% nothing.
turns_are_fair(Config) ->
    Crowd = crowd(#{overload => {wait, 60_000}}, Config),
    _ = eventually(fun() -> lists:sum(served(Crowd)) > 300 * ?CROWD end),
    Served = served(Crowd),
    Mean = lists:sum(Served) / ?CROWD,
    ct:comment("between ~b and ~b, ~.1f on average", [lists:min(Served), lists:max(Served), Mean]),
    ?assert(lists:min(Served) > Mean / 10, lists:sort(Served)),
    disperse(Crowd).

%% Those who have just been served are quicker than those who come back later, so it may take a
%% while.
a_caller_that_tries_again_is_served_in_the_end(Config) ->
    Crowd = crowd(#{}, Config),
    Took = eventually(fun() -> lists:min(served(Crowd)) >= 3 end),
    ct:comment("three times each after ~b ms, ~.1f on average",
               [round(Took), lists:sum(served(Crowd)) / ?CROWD]),
    disperse(Crowd).

crowd(Options, Config) ->
    [Ctx] = start(1, Options#{max_queue => 10}, Config),
    Counts = counters:new(?CROWD, []),
    Over = atomics:new(1, []),
    Callers = [ask(fun() -> call_and_count(Over, Counts, N, Ctx) end) || N <- lists:seq(1, ?CROWD)],
    {Callers, Counts, Over}.

call_and_count(Over, Counts, N, Ctx) ->
    case {atomics:get(Over, 1), py_context:call(Ctx, math, sqrt, [16])} of
        {1, _} ->
            ok;
        {0, {ok, 4.0}} ->
            ok = counters:add(Counts, N, 1),
            call_and_count(Over, Counts, N, Ctx);
        {0, {error, {overloaded, #{max_queue := 10}}}} ->
            receive after 1 -> call_and_count(Over, Counts, N, Ctx) end
    end.

served({_Callers, Counts, _Over}) ->
    [counters:get(Counts, N) || N <- lists:seq(1, ?CROWD)].

disperse({Callers, _Counts, Over}) ->
    ok = atomics:put(Over, 1, 1),
    ?assertEqual([ok], lists:usort([answer(Caller) || Caller <- Callers])),
    ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- Callers])).
