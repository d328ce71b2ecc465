%% Which context of its pool a call goes to.
-module(routing_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, ask_on/2, answer/1, open_gate/1]).

-define(SLEEP, <<"import time\ntime.sleep(0.005)">>).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode(
        [blocking_calls_use_every_context_evenly,
         waiting_calls_are_shared_out_by_the_length_of_the_queues,
         a_call_into_an_idle_pool_stays_with_its_schedulers_context,
         an_answered_context_is_idle_to_its_caller,
         a_busy_context_is_passed_over_for_an_idle_one,
         with_affinity_calls_stay_with_their_schedulers_contexts,
         get_context_reaches_every_context_of_a_scheduler,
         get_context_takes_the_shorter_queue_when_none_is_idle,
         a_dead_context_is_never_chosen_while_one_lives,
         a_resized_pool_is_used_whole]).

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    ok = test_helpers:stop_all(),
    Config.

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all().

start(Options, Config) ->
    {ok, Pids} = py_context_router:start(Options#{mode => proplists:get_value(mode, Config)}),
    Pids.

%% How many jobs each context has done, in the order of the slots.
done() ->
    #{contexts := Contexts} = py_context_router:info(default),
    [Done || #{done := Done} <- Contexts].

%% The same, once it is so many in all: a job counts as done when its context has tidied up after
%% it, which is after its answer.
done(All) ->
    test_helpers:eventually(fun() -> lists:sum(done()) >= All end),
    done().

schedulers() ->
    erlang:system_info(schedulers).

%% Keeps contexts busy while `Fun' runs.
with_busy(Pids, Config, Fun) ->
    {Gate, Code} = test_helpers:gate(Config),
    Holders = [hold(Ctx, Code) || Ctx <- Pids],
    try Fun()
    after
        open_gate(Gate),
        [{ok, <<"finished">>} = answer(Holder) || Holder <- Holders]
    end.

hold(Ctx, Code) ->
    {Test, Executed} = {self(), make_ref()},
    Holder = ask(fun() ->
        ok = py_context:exec(Ctx, iolist_to_binary(Code)),
        Test ! Executed,
        py_context:call(Ctx, '__main__', wait, [])
    end),
    %% `exec/2' is over, so that what is busy from here on is the call.
    receive Executed -> ok end,
    _ = test_helpers:await_busy(Ctx),
    Holder.

%% ------------------------------------------------------------------ spread

blocking_calls_use_every_context_evenly(Config) ->
    _ = start(#{contexts => 4 * schedulers()}, Config),
    %% By context, since a process that has run `py:exec/1' stays with the one that has its state.
    Users = [ask(fun() -> [ok = py:exec(py:context(), ?SLEEP) || _ <- lists:seq(1, 8)] end)
             || _ <- lists:seq(1, 50)],
    _ = [answer(User) || User <- Users],
    Done = done(400),
    ?assertEqual(400, lists:sum(Done)),
    ?assert(lists:max(Done) =< 2 * lists:min(Done), Done).

waiting_calls_are_shared_out_by_the_length_of_the_queues(Config) ->
    Pids = start(#{contexts => 4}, Config),
    ?assertEqual([10, 10, 10, 10], queues_after(40, Pids, Config)).

%% How many jobs wait in each of these busy contexts after so many were submitted to the pool, each
%% of which finds what the ones before have left.
queues_after(N, Pids, Config) ->
    {Queues, Refs} = with_busy(Pids, Config, fun() ->
        Refs = [py:spawn_call(math, sqrt, [I]) || I <- lists:seq(1, N)],
        {[maps:get(queue, py_context:info(Ctx)) || Ctx <- Pids], Refs}
    end),
    _ = [?assertMatch({ok, _}, py:await(Ref)) || Ref <- Refs],
    Queues.

a_call_into_an_idle_pool_stays_with_its_schedulers_context(Config) ->
    _ = start(#{contexts => schedulers()}, Config),
    Calls = 300,
    ok = answer(ask_on(1, fun() ->
        lists:foreach(fun(N) -> {ok, _} = py:call(math, sqrt, [N]) end, lists:seq(1, Calls))
    end)),
    [Own | Others] = done(Calls),
    ?assertEqual({Calls, 0}, {Own, lists:sum(Others)}).

%% A context is idle for a caller that has its answer, also while it still tidies up after the job.
an_answered_context_is_idle_to_its_caller(Config) ->
    Pids = start(#{contexts => 2 * schedulers()}, Config),
    %% What is returned is freed after the answer, which takes a while here.
    Slow = <<"import time\nclass Slow(int):\n  def __del__(self): time.sleep(0.005)">>,
    [ok = py_context:exec(Ctx, Slow) || Ctx <- Pids],
    Before = done(length(Pids)),
    Calls = 20,
    ok = answer(ask_on(1, fun() ->
        lists:foreach(fun(_) -> {ok, 1} = py:eval(<<"Slow(1)">>) end, lists:seq(1, Calls))
    end)),
    After = done(length(Pids) + Calls),
    ?assertEqual([Calls], [Done - Was || {Done, Was} <- lists:zip(After, Before), Done =/= Was]).

a_busy_context_is_passed_over_for_an_idle_one(Config) ->
    [First | Others] = start(#{contexts => 3}, Config),
    Chosen = with_busy([First], Config, fun() ->
        [answer(ask_on(1, fun py:context/0)) || _ <- lists:seq(1, 6)]
    end),
    ?assertEqual([], [Ctx || Ctx <- Chosen, not lists:member(Ctx, Others)]).

%% ------------------------------------------------------------------ affinity

with_affinity_calls_stay_with_their_schedulers_contexts(Config) ->
    Pids = start(#{contexts => 2 * schedulers(), route => affinity}, Config),
    Own = of_first_scheduler(Pids),
    Chosen = with_busy(Own, Config, fun() ->
        [answer(ask_on(1, fun py:context/0)) || _ <- lists:seq(1, 10)]
    end),
    ?assertEqual([], [Ctx || Ctx <- Chosen, not lists:member(Ctx, Own)]).

%% The contexts in slots 1, 1 + S, 1 + 2S ...
of_first_scheduler(Pids) ->
    [Ctx || {N, Ctx} <- lists:zip(lists:seq(0, length(Pids) - 1), Pids), N rem schedulers() =:= 0].

get_context_reaches_every_context_of_a_scheduler(Config) ->
    Own = of_first_scheduler(start(#{contexts => 3 * schedulers()}, Config)),
    {Gate, Code} = test_helpers:gate(Config),
    Taken = [take_idle(Code) || _ <- Own],
    open_gate(Gate),
    _ = [answer(Holder) || {_, Holder} <- Taken],
    ?assertEqual(Own, [Ctx || {Ctx, _} <- Taken]).

%% Keeps the context busy that it is given.
take_idle(Code) ->
    Ctx = answer(ask_on(1, fun py_context_router:get_context/0)),
    {Ctx, hold(Ctx, Code)}.

get_context_takes_the_shorter_queue_when_none_is_idle(Config) ->
    [First, Second] = Own = of_first_scheduler(start(#{contexts => 2 * schedulers()}, Config)),
    Chosen = with_busy(Own, Config, fun() ->
        _ = [ask(fun() -> py_context:eval(First, <<"1">>) end) || _ <- [1, 2]],
        _ = test_helpers:await_queue(First, 2),
        answer(ask_on(1, fun py_context_router:get_context/0))
    end),
    ?assertEqual(Second, Chosen).

%% ------------------------------------------------------------------ contexts that come and go

a_dead_context_is_never_chosen_while_one_lives(Config) ->
    Flag = filename:join(proplists:get_value(priv_dir, Config), "may_start"),
    ok = file:write_file(Flag, <<>>),
    [Dying1, Dying2, Living] = start(#{contexts => 3, preload => ["open('", Flag, "')"]}, Config),
    ok = file:delete(Flag),
    ok = test_helpers:kill(Dying1),
    ok = test_helpers:kill(Dying2),
    Choose = fun() -> {py:context(), py_context_router:get_context()} end,
    Chosen = [answer(ask_on(S, Choose)) || S <- lists:seq(1, schedulers()), _ <- lists:seq(1, 5)],
    ok = file:write_file(Flag, <<>>),
    ?assertEqual([{Living, Living}], lists:usort(Chosen)).

a_resized_pool_is_used_whole(Config) ->
    _ = start(#{contexts => 1}, Config),
    ok = py_context_router:resize_pool(default, 4),
    ?assertEqual([2, 2, 2, 2], queues_after(8, py_context_router:contexts(), Config)).
