%% Calls that nobody waits for, and many at once: results by message, casts, parallel calls. Once
%% per mode that the linked Python has.
-module(py_async_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, await_queue/2, eventually/1]).
-import(test_helpers, [rendered/1]).

%% Arguments of `exec'.
-define(LOOP, [<<"while True: pass">>, #{}]).

all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode(each_mode()).

each_mode() ->
    [a_result_comes_as_a_message_or_is_awaited,
     results_come_for_each_caller_in_any_order,
     failures_come_as_results_too,
     no_process_stands_in_between,
     an_await_that_is_over_stops_the_call,
     an_await_that_is_over_leaves_no_message,
     an_await_that_is_over_with_the_calls_own_limit_leaves_no_message,
     an_await_needs_no_process_that_keeps_limits,
     a_result_is_had_once,
     a_result_is_had_once_though_the_thread_is_busy,
     a_time_limit_is_kept_though_nobody_waits,
     a_limit_that_is_far_away_keeps_nothing_of_a_call_that_has_ended,
     a_dying_context_answers_by_message_once,
     a_cast_runs_and_says_nothing,
     a_cast_outlives_its_caller,
     a_cast_may_end_with_its_caller,
     a_cast_that_fails_is_logged,
     a_cast_that_fails_tells_its_caller_nothing,
     a_cast_that_takes_too_long_is_stopped_and_logged,
     parallel_calls_keep_their_order,
     parallel_calls_fail_one_by_one,
     parallel_calls_spread_over_the_pool,
     parallel_calls_follow_bindings_and_state,
     parallel_calls_that_are_late_lose_nobody_else,
     parallel_calls_wait_for_a_context_in_their_time,
     a_spawned_call_waits_for_a_context_in_its_callers_place,
     a_spawned_call_that_waits_is_given_up,
     a_spawned_call_that_waits_keeps_its_time,
     a_spawned_call_that_waited_ends_with_its_caller,
     a_cast_waits_for_a_context_in_its_callers_place,
     a_cast_that_waits_in_vain_is_logged,
     misuse_is_a_badarg,
     a_bad_timeout_is_refused_before_anything_is_done,
     nothing_is_loaded_to_wait_for_nothing].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all(),
    erase('$py_pin').

start(Contexts, Config) ->
    {ok, Pids} = py:start_contexts(#{contexts => Contexts, mode => ?config(mode, Config)}),
    Pids.

%% ------------------------------------------------------------------ by message

a_result_comes_as_a_message_or_is_awaited(Config) ->
    [Ctx] = start(1, Config),
    Ref = py:spawn_call(math, sqrt, [16]),
    ?assert(is_reference(Ref)),
    receive {py_result, Ref, Result} -> ?assertEqual({ok, 4.0}, Result) end,
    [?assertEqual({ok, <<"[1]">>}, py:await(Spawned))
     || Spawned <- [py:spawn_call(json, dumps, [[1]]),
                    py:spawn_call(json, dumps, [[1]], #{indent => none}),
                    py:spawn_call(Ctx, json, dumps, [[1]]),
                    py:spawn_call(default, json, dumps, [[1]]),
                    py:spawn_call(Ctx, json, dumps, [[1]], #{kwargs => #{indent => none}}),
                    py:spawn_call(json, dumps, [[1]], #{}, 5000),
                    py:spawn_call(default, json, dumps, [[1]], #{indent => none})]],
    ok = py:exec(Ctx, <<"def f(): return x\nx = 7">>),
    ?assertEqual({ok, 7}, py:await(py:spawn_call(Ctx, '__main__', f, []), infinity)).

results_come_for_each_caller_in_any_order(Config) ->
    _ = start(2, Config),
    Run = fun(From) ->
        fun() ->
            Refs = [{N, py:spawn_call(operator, add, [N, 1])} || N <- lists:seq(From, From + 99)],
            Results = [{N, py:await(Ref)} || {N, Ref} <- lists:reverse(Refs)],
            lists:all(fun({N, Result}) -> Result =:= {ok, N + 1} end, Results)
        end
    end,
    Askers = [ask(Run(100 * N)) || N <- lists:seq(1, 20)],
    [?assert(answer(Asker)) || Asker <- Askers],
    [?assertEqual([], leftovers(Asker)) || Asker <- Askers].

failures_come_as_results_too(Config) ->
    _ = start(1, Config),
    Expected = [{'ValueError', <<"chr() arg not in range(0x110000)">>}, {pool_not_started, nowhere},
                {bad_option, {color, red}}, {context_died, noproc}],
    Refs = [py:spawn_call(builtins, chr, [-1]),
            py:spawn_call(nowhere, math, sqrt, [1]),
            py:spawn_call(py:context(), math, sqrt, [1], #{color => red}),
            py:spawn_call(self(), math, sqrt, [1])],
    ?assertEqual([{error, Reason} || Reason <- Expected],
                 [receive {py_result, Ref, Result} -> Result end || Ref <- Refs]).

no_process_stands_in_between(Config) ->
    [Ctx] = start(1, Config),
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, Wait),
    Before = erlang:system_info(process_count),
    Refs = [py:spawn_call(Ctx, '__main__', wait, []) || _ <- lists:seq(1, 100)],
    _ = [ok = py:cast(Ctx, math, sqrt, [N]) || N <- lists:seq(1, 100)],
    _ = await_queue(Ctx, 199),
    ?assert(erlang:system_info(process_count) < Before + 50),
    ok = test_helpers:open_gate(Gate),
    [?assertEqual({ok, <<"finished">>}, py:await(Ref)) || Ref <- Refs].

an_await_that_is_over_stops_the_call(Config) ->
    [Ctx] = start(1, Config),
    Ref = py:spawn_call(Ctx, builtins, exec, ?LOOP),
    _ = await_busy(Ctx),
    Waiting = py:spawn_call(Ctx, builtins, exec, ?LOOP),
    ?assertEqual({error, timeout}, py:await(Waiting, 0)),
    ?assertEqual({error, timeout}, py:await(Ref, 10)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual([], test_helpers:messages()).

an_await_that_is_over_leaves_no_message(Config) ->
    [Ctx] = start(1, Config),
    Asker = ask(fun() -> outcomes(Ctx, #{}, 1) end),
    ?assertMatch(#{ok := _, timeout := _}, answer(Asker)),
    {ok, _} = py_context:eval(Ctx, <<"1">>),
    ?assertEqual([], leftovers(Asker)).

%% Of awaits that end at once, later and later after their calls: until some had a result and some
%% had none.
outcomes(_Ctx, #{ok := Ok, timeout := Late} = Counts, Pause) when Ok > 100, Late > 100,
Pause > 2_000 ->
    Counts;
outcomes(Ctx, Counts, Pause) ->
    Ref = py:spawn_call(Ctx, math, sqrt, [16]),
    %% Some ten ns each.
    _ = lists:foldl(fun(N, Sum) -> N + Sum end, 0, lists:seq(1, Pause rem 2_000)),
    Outcome = case py:await(Ref, 0) of
                  {ok, 4.0} -> ok;
                  {error, timeout} -> timeout
              end,
    outcomes(Ctx, maps:update_with(Outcome, fun(N) -> N + 1 end, 1, Counts), Pause + 1).

an_await_that_is_over_with_the_calls_own_limit_leaves_no_message(Config) ->
    [Ctx] = start(1, Config),
    %% Takes the place of the process that keeps limits, and stops between its two steps.
    true = unregister(py_async),
    true = register(py_async, self()),
    Asker = ask(fun() ->
        Ref = py:spawn_call(Ctx, builtins, exec, ?LOOP, #{timeout => 0}),
        receive cancelled -> py:await(Ref, 0) end
    end),
    receive
        {limit, Ref, {spawn_call, Asker}, _Deadline, _Wait} ->
            true = py_nif:cancel_request(Ref),
            Asker ! cancelled,
            receive
                {'$gen_call', From, _} ->
                    Asker ! {py_result, Ref, {error, timeout}},
                    gen_server:reply(From, ok),
                    ?assertEqual({error, timeout}, answer(Asker));
                {Asker, answer, Answer} ->
                    error({returned_before_the_message, Answer})
            end
    end,
    ?assertEqual([], leftovers(Asker)).

an_await_needs_no_process_that_keeps_limits(Config) ->
    _ = start(1, Config),
    ok = supervisor:terminate_child(py_context_router_sup, py_async),
    ?assertEqual({error, timeout}, py:await(make_ref(), 0)),
    Ref = py:spawn_call(math, sqrt, [16]),
    ?assertEqual({ok, 4.0}, py:await(Ref)),
    ?assertEqual({error, timeout}, py:await(Ref, 0)).

a_result_is_had_once(Config) ->
    [Ctx] = start(1, Config),
    Ref = py:spawn_call(Ctx, math, sqrt, [16]),
    ?assertEqual({ok, 4.0}, py:await(Ref)),
    ?assertEqual({error, timeout}, py:await(Ref, 0)),
    ?assertEqual({error, timeout}, py:await(make_ref(), 0)).

%% Its thread keeps the call until it comes back, long after somebody else has answered it or its
%% limit has.
a_result_is_had_once_though_the_thread_is_busy(Config) ->
    {ok, Beside} = py_context_sup:start_context(beside, ?config(mode, Config)),
    [begin
         %% A job that reads it waits in C code until another writes.
         {ok, {Read, Write}} = py_context:call(Beside, os, pipe, []),
         Asker = ask(fun() ->
             {ok, Ctx} = py_context_sup:start_context(Ends, ?config(mode, Config)),
             Ref = py:spawn_call(Ctx, os, read, [Read, 1], Options),
             _ = await_busy(Ctx),
             Ends =:= killed andalso exit(Ctx, kill),
             [py:await(Ref, infinity), py:await(Ref, 0)]
         end),
         try answer(Asker) of
             [First, Second] ->
                 ?assertEqual({error, Reason}, First),
                 ?assertEqual({error, timeout}, Second)
         after
             {ok, 1} = py_context:call(Beside, os, write, [Write, {bytes, <<"x">>}])
         end,
         ?assertEqual([], leftovers(Asker))
     end || {Ends, Options, Reason} <- [{killed, #{}, {context_died, killed}},
                                        {late, #{timeout => 100}, timeout}]].

a_time_limit_is_kept_though_nobody_waits(Config) ->
    [Ctx] = start(1, Config),
    Ref = py:spawn_call(builtins, exec, ?LOOP, #{}, 20),
    receive {py_result, Ref, Result} -> ?assertEqual({error, timeout}, Result) end,
    Other = py:spawn_call(Ctx, builtins, exec, ?LOOP, #{timeout => 20}),
    ?assertEqual({error, timeout}, py:await(Other, infinity)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    Quick = py:spawn_call(math, sqrt, [16], #{}, 10_000),
    ?assertEqual({ok, 4.0}, py:await(Quick)).

%% The limit is checked now and then, until the call is over.
a_limit_that_is_far_away_keeps_nothing_of_a_call_that_has_ended(Config) ->
    [Ctx] = start(1, Config),
    Far = erlang:monotonic_time(millisecond) + 3_600_000,
    Runs = py:spawn_call(Ctx, builtins, exec, ?LOOP, #{timeout => 3_600_000}),
    ?assertNot(py_nif:request_is_settled(Runs)),
    ?assertEqual(1, looks_to_come({limit, Runs, {spawn_call, self()}, Far, 1000})),
    %% What is looked at before its time is cancelled when that is over.
    py_async ! {limit, Runs, {spawn_call, self()}, erlang:monotonic_time(millisecond) + 50, 1000},
    ?assertEqual({error, timeout}, py:await(Runs, infinity)),
    ?assert(py_nif:request_is_settled(Runs)),
    Done = py:spawn_call(Ctx, math, sqrt, [16], #{timeout => 3_600_000}),
    ?assertEqual({ok, 4.0}, py:await(Done)),
    _ = test_helpers:eventually(fun() -> py_nif:request_is_settled(Done) end),
    ?assertEqual(0, looks_to_come({limit, Done, {spawn_call, self()}, Far, 1000})).

%% How many timers the process that keeps limits starts for a look.
looks_to_come(Look) ->
    Keeper = whereis(py_async),
    1 = erlang:trace(Keeper, true, [call]),
    1 = erlang:trace_pattern({erlang, send_after, 3}, true, []),
    py_async ! Look,
    ok = gen_server:call(py_async, sync_limits),
    1 = erlang:trace(Keeper, false, [call]),
    Delivered = erlang:trace_delivered(Keeper),
    receive {trace_delivered, Keeper, Delivered} -> ok end,
    length([Call || {trace, Pid, call, Call} <- test_helpers:messages(), Pid =:= Keeper]).

a_dying_context_answers_by_message_once(Config) ->
    [Ctx] = start(1, Config),
    Asker = ask(fun() ->
        Refs = [py:spawn_call(Ctx, builtins, exec, ?LOOP) || _ <- [1, 2, 3]],
        _ = await_busy(Ctx),
        exit(Ctx, kill),
        [py:await(Ref, infinity) || Ref <- Refs]
    end),
    ?assertMatch([{error, {context_died, _}}, {error, {context_died, _}},
                  {error, {context_died, _}}], answer(Asker)),
    ?assertEqual([], leftovers(Asker)).

%% ------------------------------------------------------------------ casts

a_cast_runs_and_says_nothing(Config) ->
    [Ctx] = start(1, Config),
    ok = py_context:exec(Ctx, <<"seen = []">>),
    [?assertEqual(ok, py:cast(Ctx, '__main__', 'seen.append', [N])) || N <- [1, 2, 3]],
    ok = py:cast(math, sqrt, [16], #{}),
    ?assertEqual({ok, [1, 2, 3]}, py_context:eval(Ctx, <<"seen">>)),
    ?assertEqual([], test_helpers:messages()),
    ?assertEqual({error, {pool_not_started, nowhere}}, py:cast(nowhere, math, sqrt, [16])).

a_cast_outlives_its_caller(Config) ->
    [Ctx] = start(1, Config),
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, [Wait, "seen = []"]),
    Blocker = ask(fun() -> py_context:call(Ctx, '__main__', wait, []) end),
    _ = await_busy(Ctx),
    {Caster, Monitor} =
        spawn_monitor(fun() -> ok = py:cast(Ctx, '__main__', 'seen.append', [1]) end),
    receive {'DOWN', Monitor, process, Caster, Reason} -> ?assertEqual(normal, Reason) end,
    ok = test_helpers:open_gate(Gate),
    {ok, <<"finished">>} = answer(Blocker),
    ?assertEqual({ok, [1]}, py_context:eval(Ctx, <<"seen">>)).

a_cast_may_end_with_its_caller(Config) ->
    [Ctx] = start(1, Config),
    Options = #{on_caller_down => interrupt},
    ok = end_caster(fun() -> py:cast(Ctx, builtins, exec, ?LOOP, Options) end),
    %% Also if it has waited for a context.
    ok = py_context_router:stop(),
    Flag = without_life(Config),
    ok = end_caster(fun() ->
        ok = py:cast(builtins, exec, ?LOOP, #{}, Options),
        test_helpers:revive(Flag)
    end).

%% Once the cast runs. Then that ends too, and others are served.
end_caster(Cast) ->
    Caster = ask(Cast),
    ?assertEqual(ok, answer(Caster)),
    _ = eventually(fun is_running/0),
    ?assertEqual([], leftovers(Caster)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok.

a_cast_that_fails_is_logged(Config) ->
    [Ctx] = start(1, Config),
    Log = test_helpers:capture_log(fun() ->
        ok = py:cast(Ctx, builtins, chr, [-1]),
        ok = py:cast(Ctx, math, sqrt, [16]),
        {ok, _} = py_context:eval(Ctx, <<"1">>),
        %% The report is with the process by now; it takes things in order.
        sys:get_state(py_async)
    end),
    ?assertMatch([{error, _}], Log),
    [{error, Text}] = Log,
    ?assertNotEqual(nomatch,
                    string:find(Text,
                                "builtins.chr: ValueError: chr() arg not in range(0x110000)")).

%% Whatever becomes of the process that logs what goes wrong in casts. One that follows it logs
%% also what had begun before.
a_cast_that_fails_tells_its_caller_nothing(Config) ->
    [Ctx] = start(1, Config),
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, [Wait, "\ndef fails():\n  wait()\n  raise ValueError('late')"]),
    ok = supervisor:terminate_child(py_context_router_sup, py_async),
    Caster = ask(fun() ->
        [ok = py:cast(Ctx, builtins, chr, [-1]) || _ <- lists:seq(1, 10)],
        ok = py:cast(builtins, chr, [-1]),
        {ok, _} = py_context:eval(Ctx, <<"1">>),
        py:cast(Ctx, '__main__', fails, [])
    end),
    ?assertEqual(ok, answer(Caster)),
    Log = test_helpers:capture_log(fun() ->
        {ok, _} = supervisor:restart_child(py_context_router_sup, py_async),
        ok = test_helpers:open_gate(Gate),
        {ok, _} = py_context:eval(Ctx, <<"1">>),
        sys:get_state(py_async)
    end),
    ?assertMatch([{error, _}], Log),
    ?assertNotEqual(nomatch, string:find(element(2, hd(Log)), "fails: ValueError: late")),
    ?assertEqual([], leftovers(Caster)).

a_cast_that_takes_too_long_is_stopped_and_logged(Config) ->
    [Ctx] = start(1, Config),
    Log = test_helpers:capture_log(fun() ->
        ok = py:cast(builtins, exec, ?LOOP, #{}, 20),
        _ = eventually(fun() -> maps:get(timed_out, py_context:info(Ctx)) =:= 1 end),
        sys:get_state(py_async)
    end),
    ?assertMatch([{error, _}], Log),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

%% ------------------------------------------------------------------ parallel

parallel_calls_keep_their_order(Config) ->
    _ = start(3, Config),
    ?assertEqual({ok, [{ok, float(N)} || N <- lists:seq(1, 200)]},
                 py:parallel([{math, sqrt, [N * N]} || N <- lists:seq(1, 200)])),
    ?assertEqual({ok, [{ok, <<"{\n \"a\": 1\n}">>}, {ok, 3}]},
                 py:parallel([{json, dumps, [#{a => 1}], #{indent => 1}},
                              {"operator", <<"add">>, [1, 2]}])),
    ?assertEqual({ok, []}, py:parallel([])).

parallel_calls_fail_one_by_one(Config) ->
    _ = start(2, Config),
    ok = py:register_pool(nowhere, operator),
    {ok, Results} = py:parallel([{math, sqrt, [1]}, {math, sqrt, [-1]}, {no_such, f, []},
                                 {operator, add, [1, 2]}, {math, sqrt, [4]}]),
    ?assertMatch([{ok, 1.0}, {error, {'ValueError', _}}, {error, {'ModuleNotFoundError', _}},
                  {error, {pool_not_started, nowhere}}, {ok, 2.0}], Results).

parallel_calls_spread_over_the_pool(Config) ->
    Contexts = start(3, Config),
    {ok, Ids} = py:parallel([{threading, get_native_id, []} || _ <- lists:seq(1, 6)]),
    Expected = [maps:get(thread_id, py_context:info(Ctx)) || Ctx <- Contexts],
    ?assertEqual([{ok, Id} || Id <- Expected ++ Expected], Ids).

parallel_calls_follow_bindings_and_state(Config) ->
    [_, Second, _] = start(3, Config),
    Where = fun() -> py:parallel([{threading, get_native_id, []} || _ <- lists:seq(1, 3)]) end,
    Id = maps:get(thread_id, py_context:info(Second)),
    ?assertEqual({ok, [{ok, Id}, {ok, Id}, {ok, Id}]},
                 py_context_router:with_context(Second, Where)),
    ok = py:exec(<<"def f(x): return x + 1">>),
    ?assertEqual({ok, [{ok, 2}, {ok, 3}, {ok, 4}]},
                 py:parallel([{'__main__', f, [N]} || N <- [1, 2, 3]])),
    {ok, Spread} = Where(),
    ?assertEqual(3, length(lists:usort(Spread))).

parallel_calls_that_are_late_lose_nobody_else(Config) ->
    _ = start(2, Config),
    ?assertEqual({ok, [{ok, 1.0}, {error, timeout}, {ok, 2.0}]},
                 py:parallel([{math, sqrt, [1]}, {builtins, exec, ?LOOP}, {math, sqrt, [4]}],
                             200)),
    ?assertEqual({ok, [{ok, 1.0}, {ok, 2.0}]}, py:parallel([{math, sqrt, [1]}, {math, sqrt, [4]}])),
    ?assertEqual([], test_helpers:messages()).

%% ------------------------------------------------------------------ no living context

without_life(Config) ->
    test_helpers:pool_without_life(#{mode => ?config(mode, Config), preload => <<"seen = []">>},
                                   Config).

is_running() ->
    case py_context:info(py_context_router:get_context()) of
        #{state := busy} -> true;
        Other -> Other
    end.

is_seen(Expected) ->
    fun() ->
        case py_context:eval(py_context_router:get_context(), <<"seen">>) of
            {ok, Expected} -> true;
            Other -> Other
        end
    end.

parallel_calls_wait_for_a_context_in_their_time(Config) ->
    Flag = without_life(Config),
    Calls = [{math, sqrt, [N * N]} || N <- [1, 2, 3]],
    Late = ask(fun() -> py:parallel(Calls, 50) end),
    ?assertMatch({ok, [{error, {context_died, _}}, {error, {context_died, _}},
                       {error, {context_died, _}}]}, answer(Late)),
    ?assertEqual([], leftovers(Late)),
    Waiting = ask(fun() -> py:parallel(Calls) end),
    ok = test_helpers:revive(Flag),
    ?assertEqual({ok, [{ok, 1.0}, {ok, 2.0}, {ok, 3.0}]}, answer(Waiting)).

a_spawned_call_waits_for_a_context_in_its_callers_place(Config) ->
    Flag = without_life(Config),
    [Ref, Other] = [py:spawn_call(math, sqrt, [N]) || N <- [16, 25]],
    ok = test_helpers:revive(Flag),
    ?assertEqual({ok, 4.0}, py:await(Ref)),
    receive {py_result, Other, Result} -> ?assertEqual({ok, 5.0}, Result) end,
    ?assertEqual({error, timeout}, py:await(Ref, 0)),
    ?assertEqual([], test_helpers:messages()),
    Own = without_life(Config),
    Mine = py:spawn_call(erlang, self, []),
    ok = test_helpers:revive(Own),
    ?assertEqual({ok, self()}, py:await(Mine)).

a_spawned_call_that_waits_is_given_up(Config) ->
    Flag = without_life(Config),
    Ref = py:spawn_call('__main__', 'seen.append', [1]),
    ?assertEqual({error, timeout}, py:await(Ref, 0)),
    ok = test_helpers:revive(Flag),
    ?assertEqual({ok, []}, py:call('__main__', 'seen.copy', [])),
    %% Also when it runs by then.
    Again = without_life(Config),
    Loop = py:spawn_call(builtins, exec, ?LOOP),
    ok = test_helpers:revive(Again),
    _ = eventually(fun is_running/0),
    ?assertEqual({error, timeout}, py:await(Loop, 0)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual([], test_helpers:messages()).

a_spawned_call_that_waits_keeps_its_time(Config) ->
    Flag = without_life(Config),
    Ref = py:spawn_call(math, sqrt, [16], #{}, 20),
    receive {py_result, Ref, Result} -> ?assertMatch({error, {context_died, _}}, Result) end,
    Loop = py:spawn_call(builtins, exec, ?LOOP, #{}, 3_000),
    ok = test_helpers:revive(Flag),
    _ = eventually(fun is_running/0),
    ?assertEqual({error, timeout}, py:await(Loop, infinity)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

a_spawned_call_that_waited_ends_with_its_caller(Config) ->
    Flag = without_life(Config),
    Caller = ask(fun() -> py:spawn_call(builtins, exec, ?LOOP) end),
    _ = answer(Caller),
    ok = test_helpers:revive(Flag),
    _ = eventually(fun is_running/0),
    true = unlink(Caller),
    exit(Caller, kill),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

a_cast_waits_for_a_context_in_its_callers_place(Config) ->
    Flag = without_life(Config),
    ?assertEqual(ok, py:cast('__main__', 'seen.append', [1])),
    ok = test_helpers:revive(Flag),
    _ = eventually(is_seen([1])),
    %% Also when that is gone by then.
    Again = without_life(Config),
    Caller = ask(fun() -> py:cast('__main__', 'seen.append', [2]) end),
    ?assertEqual(ok, answer(Caller)),
    ?assertEqual([], leftovers(Caller)),
    ok = test_helpers:revive(Again),
    _ = eventually(is_seen([2])).

a_cast_that_waits_in_vain_is_logged(Config) ->
    Flag = without_life(Config),
    Parent = self(),
    ok = logger:set_primary_config(level, error),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{pid => Parent}}),
    try
        ok = py:cast(math, sqrt, [16], #{}, 20),
        receive
            {logged, #{event := {py, cast_failed}, caller := Caller, reason := Reason}} ->
                ?assertMatch({Parent, {context_died, _}}, {Caller, Reason})
        end
    after
        ok = logger:remove_handler(?MODULE),
        ok = logger:set_primary_config(level, none)
    end,
    ok = test_helpers:revive(Flag).

%% The logger calls this in the process that logs.
log(#{msg := {report, Report}}, #{config := #{pid := Pid}}) ->
    Pid ! {logged, Report},
    ok;
log(_Event, _Handler) ->
    ok.

misuse_is_a_badarg(Config) ->
    _ = start(1, Config),
    [?assertError(badarg, Misuse())
     || Misuse <- [fun() -> py:parallel(1) end, fun() -> py:parallel([1]) end,
                   fun() -> py:parallel([{math, sqrt, 1}]) end, fun() -> py:await(1) end,
                   fun() -> py:parallel([{math, sqrt, [1]} | x]) end,
                   fun() -> py:spawn_call(math, sqrt, 1) end,
                   fun() -> py:cast(1, sqrt, [1]) end]].

a_bad_timeout_is_refused_before_anything_is_done(Config) ->
    [Ctx] = start(1, Config),
    ok = py_context:exec(Ctx, <<"seen = []">>),
    Ref = py:spawn_call(math, sqrt, [16]),
    [?assertNotEqual(nomatch, string:find(rendered(Misuse), "neither a number of ms nor infinity"))
     || Bad <- [foo, -1, 1.5, 1 bsl 32],
        Misuse <- [fun() -> py:parallel([{'__main__', 'seen.append', [1]}], Bad) end,
                   fun() -> py:await(Ref, Bad) end]],
    ?assertEqual({ok, 4.0}, py:await(Ref)),
    ?assertEqual({ok, []}, py_context:eval(Ctx, <<"seen">>)),
    ?assertEqual([], test_helpers:messages()),
    %% The longest that can be waited for, also for coroutines, which are waited for longer.
    ok = py_context:exec(Ctx, <<"async def seven(): return 7">>),
    ?assertEqual({ok, [{ok, 7}]}, py:parallel([{'__main__', seven, []}], 1 bsl 32 - 1)).

nothing_is_loaded_to_wait_for_nothing(_Config) ->
    %% A VM in which the application has never run.
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => standard_io}),
    ?assertEqual({error, timeout}, peer:call(Vm, py, await, [make_ref(), 0])),
    ?assertError(badarg, peer:call(Vm, py, stream_cancel, [make_ref()])),
    ok = peer:stop(Vm).
