%% Pools over time: contexts that die and come back, slots that can't start, resizing, stopping
%% under load, and life in somebody else's supervision tree.
-module(py_pool_SUITE).

-behaviour(supervisor).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2, init/1]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, await_queue/2, eventually/1]).

-define(LOOP, <<"while True: pass">>).

%% The same cases for each mode that the linked Python has.
all() ->
    test_helpers:mode_groups() ++ [{group, embedding}].

groups() ->
    [{Mode, [], [{group, healing}, {group, stopping}, {group, resizing}]}
     || Mode <- [worker, subinterp, owngil]] ++
    [{healing, [],
      [killed_context_is_replaced,
       a_context_that_dies_at_work_is_replaced_at_once,
       a_context_that_is_stopped_is_replaced,
       a_context_that_is_stopping_gets_no_callers,
       a_replacement_has_run_the_preload,
       deaths_do_not_take_the_pool_down,
       a_healing_pool_keeps_its_term,
       a_slot_that_cannot_start_is_tried_again_and_reported_once,
       a_slot_that_cannot_start_is_tried_less_and_less_often,
       a_new_streak_is_reported_again,
       a_pool_whose_process_is_killed_comes_back,
       a_pool_that_is_killed_takes_its_contexts_along,
       a_pool_that_comes_back_has_the_size_it_had,
       a_pool_that_comes_back_tries_until_its_contexts_start,
       supervisors_that_are_killed_come_back,
       pools_without_their_supervisor_end_with_the_application,
       a_start_whose_supervisor_is_killed_says_just_that]},
     {stopping, [],
      [stopping_answers_waiting_jobs,
       a_running_job_may_finish_within_its_grace,
       a_running_job_is_interrupted_after_its_grace,
       the_grace_is_one_for_all_contexts,
       no_grace_is_no_wait,
       stopping_ends_a_slot_that_cannot_start,
       what_a_context_begins_with_has_no_grace,
       a_pool_that_is_stopped_between_its_death_and_its_restart_stays_stopped,
       a_pool_that_is_killed_as_it_stops_stays_stopped]},
     {resizing, [],
      [a_pool_grows,
       a_context_that_is_stopping_gets_no_callers_when_its_pool_grows,
       a_pool_shrinks_once_its_work_is_done,
       a_shrunken_pool_can_grow_again,
       a_pool_that_cannot_grow_stays_as_it_was,
       a_pool_that_is_killed_as_it_grows_has_the_size_it_had,
       a_slot_that_dies_while_it_drains_is_not_replaced,
       a_slot_that_dies_while_it_drains_is_not_started_again,
       a_slot_that_drains_while_it_starts_holds_up_no_other,
       resizes_at_once_happen_one_after_the_other,
       a_resized_pool_is_known_by_its_new_size,
       bad_resizes_are_errors]},
     {embedding, [],
      [a_pool_lives_in_the_users_tree,
       a_pool_is_kept_by_the_application_only_while_it_has_it,
       a_pool_that_crashes_is_restarted_by_the_users_tree,
       a_resized_pool_that_crashes_is_restarted_by_the_users_tree,
       what_a_killed_pool_leaves_is_no_other_pools,
       a_stopped_pool_is_not_restarted,
       a_pool_that_cannot_start_fails_the_users_tree,
       a_failed_start_leaves_the_name_free_and_no_message,
       a_linked_pool_ends_with_its_owner,
       a_process_that_has_started_a_pool_can_stop_it,
       a_name_can_be_used_once,
       no_report_and_no_state_shows_a_preload]}].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    ok = test_helpers:stop_all(),
    Config.

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all().

%% The default pool in the group's mode.
start(Options, Config) ->
    {ok, Pids} = py_context_router:start(Options#{mode => ?config(mode, Config)}),
    Pids.

end_it(Pid, End) ->
    Monitor = monitor(process, Pid),
    _ = End(Pid),
    receive {'DOWN', Monitor, process, Pid, Reason} -> Reason end.

kill(Pid) ->
    killed = end_it(Pid, fun(_) -> exit(Pid, kill) end),
    ok.

%% Until every slot has a living context, none of them among the dead.
await_healed(Size, Dead) ->
    eventually(fun() ->
        Contexts = py_context_router:contexts(),
        length(Contexts) =:= Size
            andalso lists:all(fun is_process_alive/1, Contexts)
            andalso not lists:any(fun(Pid) -> lists:member(Pid, Dead) end, Contexts)
    end).

%% ------------------------------------------------------------------ healing

killed_context_is_replaced(Config) ->
    [First, Second, Third] = start(#{contexts => 3}, Config),
    kill(Second),
    _ = await_healed(3, [Second]),
    [First, New, Third] = py_context_router:contexts(),
    ?assertEqual({ok, 2}, py_context:eval(New, <<"1 + 1">>)),
    ?assertEqual({error, {context_died, noproc}}, py_context:eval(Second, <<"1 + 1">>)),
    ?assertMatch(#{restarts := 1, alive := 3, size := 3}, py_context_router:info(default)).

%% It must not wait for the grace of the job, which is for stopping.
a_context_that_dies_at_work_is_replaced_at_once(Config) ->
    [begin
         [First, Second] = start(#{contexts => 2, shutdown => infinity}, Config),
         Looping = ask(fun() -> py_context:exec(First, ?LOOP) end),
         _ = await_busy(First),
         ?assertEqual(Reason, end_it(First, End)),
         ?assertEqual({error, {context_died, Reason}}, answer(Looping)),
         _ = await_healed(2, [First]),
         [New, Second] = py_context_router:contexts(),
         ?assertEqual({ok, 2}, py_context:eval(New, <<"1 + 1">>)),
         %% The old thread doesn't loop on.
         _ = eventually(fun() -> test_helpers:context_threads() =:= 2 end),
         ?assertEqual([], leftovers(Looping)),
         ok = py_context_router:stop()
     end || {Reason, End} <- [{killed, fun(Pid) -> exit(Pid, kill) end},
                              {boom, fun(Pid) -> exit(Pid, boom) end}]].

a_context_that_is_stopped_is_replaced(Config) ->
    [First, Second] = start(#{contexts => 2}, Config),
    ok = py_context:stop(First),
    ?assertNot(is_process_alive(First)),
    _ = await_healed(2, [First]),
    [_New, Second] = py_context_router:contexts().

%% Alive for its grace, but of no use to anybody.
a_context_that_is_stopping_gets_no_callers(Config) ->
    {Gate, Wait} = test_helpers:gate(Config),
    [First, Second] = start(#{contexts => 2, shutdown => infinity, preload => Wait}, Config),
    Running = ask(fun() -> py_context:call(First, '__main__', wait, []) end),
    _ = await_busy(First),
    Stopper = ask(fun() -> py_context:stop(First) end),
    _ = eventually(fun() ->
        Routed = [answer(test_helpers:ask_on(Id, fun py_context_router:get_context/0))
                  || Id <- lists:seq(1, erlang:system_info(schedulers))],
        lists:usort(Routed) =:= [Second]
    end),
    ?assert(is_process_alive(First)),
    test_helpers:open_gate(Gate),
    ?assertEqual({ok, <<"finished">>}, answer(Running)),
    ?assertEqual(ok, answer(Stopper)).

a_context_that_is_stopping_gets_no_callers_when_its_pool_grows(Config) ->
    {Gate, Wait} = test_helpers:gate(Config),
    [First, _Second] = start(#{contexts => 2, shutdown => 10_000, preload => Wait}, Config),
    Running = ask(fun() -> py_context:call(First, '__main__', wait, []) end),
    _ = await_busy(First),
    Stopper = ask(fun() -> py_context:stop(First) end),
    _ = eventually(fun() -> not lists:member(First, routed()) end),
    ok = py_context_router:resize_pool(default, 3),
    %% The others are busier, so that it would be the one to choose.
    Others = py_context_router:contexts() -- [First],
    Busier = [ask(fun() -> py_context:call(Ctx, '__main__', wait, []) end)
              || Ctx <- Others, _ <- [runs, waits]],
    _ = [test_helpers:await_queue(Ctx, 1) || Ctx <- Others],
    [?assertNot(lists:member(First, routed())) || _ <- lists:seq(1, 20)],
    ?assert(is_process_alive(First)),
    test_helpers:open_gate(Gate),
    [?assertEqual({ok, <<"finished">>}, answer(Caller)) || Caller <- [Running | Busier]],
    ?assertEqual(ok, answer(Stopper)).

%% The contexts that callers get, on each scheduler.
routed() ->
    lists:usort([answer(test_helpers:ask_on(Id, fun py_context_router:get_context/0))
                 || Id <- lists:seq(1, erlang:system_info(schedulers))]).

a_replacement_has_run_the_preload(Config) ->
    [Ctx] = start(#{contexts => 1, preload => <<"ready = 'yes'">>}, Config),
    ok = py_context:exec(Ctx, <<"ready = 'no'">>),
    kill(Ctx),
    _ = await_healed(1, [Ctx]),
    ?assertEqual({ok, <<"yes">>},
                 py_context:eval(py_context_router:get_context(), <<"ready">>)).

deaths_do_not_take_the_pool_down(Config) ->
    _ = start(#{contexts => 2}, Config),
    {ok, [Other]} = py_context_router:start_pool(other, 1),
    Pool = py_pool_table:whereis_pool(default),
    [[exit(Ctx, kill) || Ctx <- py_context_router:contexts()] || _ <- lists:seq(1, 200)],
    _ = eventually(fun() -> lists:all(fun is_process_alive/1, py_context_router:contexts()) end),
    ?assertEqual(Pool, py_pool_table:whereis_pool(default)),
    ?assertEqual([Other], py_context_router:contexts(other)),
    [?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>))
     || Ctx <- py_context_router:contexts()],
    _ = eventually(fun() -> test_helpers:context_threads() =:= 3 end).

%% A new term would have every process scanned for the old one.
a_healing_pool_keeps_its_term(Config) ->
    [Ctx, _] = start(#{contexts => 2}, Config),
    Before = [{Key, persistent_term:get(Key)} || Key <- test_helpers:published()],
    ?assertMatch([_ | _], Before),
    kill(Ctx),
    _ = await_healed(2, [Ctx]),
    ok = py_context_router:resize_pool(default, 4),
    ?assertEqual(Before, [{Key, persistent_term:get(Key)} || Key <- test_helpers:published()]).

a_slot_that_cannot_start_is_tried_again_and_reported_once(Config) ->
    {Counter, Preload} = counting_preload(Config),
    [Ctx, Other] = start(#{contexts => 2, preload => Preload}, Config),
    ok = file:write_file(Counter, <<"broken">>),
    Log = test_helpers:capture_log(fun() ->
        kill(Ctx),
        %% It keeps trying.
        _ = eventually(fun() -> attempts(Counter) >= 4 end),
        ?assertEqual(Other, py_context_router:get_context()),
        ?assertMatch(#{alive := 1, size := 2, restarts := 0}, py_context_router:info(default)),
        ok = file:delete(Counter),
        _ = await_healed(2, [Ctx]),
        reported(py_context_router:contexts())
    end),
    ?assertMatch([{error, _}, {notice, _}], Log),
    [{error, Failed}, {notice, Recovered}] = Log,
    [?assertNotEqual(nomatch, string:find(Failed, Part), Failed)
     || Part <- ["context 1 of pool default", "OSError: not now"]],
    ?assertNotEqual(nomatch, string:find(Recovered, "context 1 of pool default has started")),
    [New, Other] = py_context_router:contexts(),
    ?assertEqual({ok, 2}, py_context:eval(New, <<"1 + 1">>)),
    ?assertMatch(#{alive := 2, restarts := 1}, py_context_router:info(default)).

%% How long it waits for its next try, in ms, as it says to the VM.
a_slot_that_cannot_start_is_tried_less_and_less_often(Config) ->
    {Counter, Preload} = counting_preload(Config),
    [Ctx] = start(#{contexts => 1, preload => Preload}, Config),
    1 = erlang:trace(slot_sup(Ctx), true, [call, set_on_spawn]),
    1 = erlang:trace_pattern({erlang, send_after, 3}, true, []),
    ok = file:write_file(Counter, <<"broken">>),
    kill(Ctx),
    ?assertEqual([50, 100, 200, 400, 800], [next_wait() || _ <- [1, 2, 3, 4, 5]]),
    ok = file:delete(Counter),
    _ = await_healed(1, [Ctx]),
    _ = erlang:trace(all, false, [all]).

next_wait() ->
    receive {trace, _, call, {_, _, [Ms, _, retry]}} -> Ms
    after 10_000 -> error(no_try_to_come)
    end.

a_new_streak_is_reported_again(Config) ->
    {Counter, Preload} = counting_preload(Config),
    _ = start(#{contexts => 1, preload => Preload}, Config),
    Log = test_helpers:capture_log(fun() ->
        [begin
             ok = file:write_file(Counter, <<"broken">>),
             Ctx = py_context_router:get_context(),
             kill(Ctx),
             _ = eventually(fun() -> attempts(Counter) >= 2 end),
             ok = file:delete(Counter),
             _ = await_healed(1, [Ctx]),
             reported(py_context_router:contexts())
         end || _ <- [1, 2]]
    end),
    ?assertMatch([{error, _}, {notice, _}, {error, _}, {notice, _}], Log).

%% Contexts report after they can be used; whatever they report has been by now.
reported(Contexts) ->
    [_ = sys:get_state(Ctx) || Ctx <- Contexts].

%% Fails while the file exists, and leaves a mark there.
counting_preload(Config) ->
    Counter = filename:join(?config(priv_dir, Config), "counter"),
    _ = file:delete(Counter),
    {Counter, ["import os\n"
               "if os.path.exists('", Counter, "'):\n"
               "  with open('", Counter, "', 'a') as f: f.write('.')\n"
               "  raise OSError('not now')\n"]}.

attempts(Counter) ->
    {ok, Content} = file:read_file(Counter),
    length(binary:matches(Content, <<".">>)).

a_pool_whose_process_is_killed_comes_back(Config) ->
    Before = start(#{contexts => 2}, Config),
    Term = persistent_term:get('$py_default_pool'),
    Pool = py_pool_table:whereis_pool(default),
    kill(Pool),
    _ = eventually(fun() -> is_pid(py_pool_table:whereis_pool(default)) end),
    _ = await_healed(2, Before),
    ?assertEqual(Term, persistent_term:get('$py_default_pool')),
    ?assertEqual([{ok, 2}, {ok, 2}],
                 [py_context:eval(Ctx, <<"1 + 1">>) || Ctx <- py_context_router:contexts()]),
    ok = py_context_router:stop(),
    ?assertEqual([], test_helpers:published()),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end).

%% However long their jobs might have taken, and also while it stops.
a_pool_that_is_killed_takes_its_contexts_along(Config) ->
    [begin
         Contexts = start(#{contexts => 3, shutdown => infinity}, Config),
         Looping = [ask(fun() -> py_context:exec(Ctx, ?LOOP) end) || Ctx <- Contexts],
         _ = [await_busy(Ctx) || Ctx <- Contexts],
         ok = Before(),
         kill(py_pool_table:whereis_pool(default)),
         ?assertEqual([{error, {context_died, shutdown}}],
                      lists:usort([answer(Caller) || Caller <- Looping])),
         ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- Looping])),
         _ = await_healed(3, Contexts),
         ?assertEqual([], [Ctx || Ctx <- Contexts, is_process_alive(Ctx)]),
         _ = eventually(fun() -> test_helpers:context_threads() =:= 3 end),
         ok = py_context_router:stop()
     end || Before <- [fun() -> ok end, fun crash/0]].

%% Until it is about to end.
crash() ->
    [Ctx | _] = py_context_router:contexts(),
    true = exit(py_pool_table:whereis_pool(default), crashed),
    _ = eventually(fun() -> maps:get(state, py_context:info(Ctx)) =:= closing end),
    ok.

a_pool_that_comes_back_has_the_size_it_had(Config) ->
    [begin
         _ = start(#{contexts => 2}, Config),
         ok = py_context_router:resize_pool(default, 3),
         Before = py_context_router:contexts(),
         _ = Crash(hd(Before)),
         _ = await_healed(3, Before),
         ?assertMatch(#{size := 3, alive := 3}, py_context_router:info(default)),
         ok = py_context_router:stop(),
         ?assertEqual([], test_helpers:published())
     end || Crash <- [fun(_) -> exit(py_pool_table:whereis_pool(default), kill) end,
                      fun(_) -> exit(py_pool_table:whereis_pool(default), crashed) end,
                      fun(Ctx) -> kill(slot_sup(Ctx)) end]].

%% Its start would be cancelled if that were the first one.
a_pool_that_comes_back_tries_until_its_contexts_start(Config) ->
    {Counter, Preload} = counting_preload(Config),
    [Ctx] = start(#{contexts => 1, preload => Preload}, Config),
    ok = file:write_file(Counter, <<>>),
    kill(slot_sup(Ctx)),
    _ = eventually(fun() -> attempts(Counter) >= 3 end),
    ?assertMatch(#{size := 1, alive := 0}, py_context_router:info(default)),
    ok = file:delete(Counter),
    _ = await_healed(1, [Ctx]).

%% The supervisor of a pool's contexts.
slot_sup(Ctx) ->
    {dictionary, Dictionary} = process_info(Ctx, dictionary),
    hd(proplists:get_value('$ancestors', Dictionary)).

supervisors_that_are_killed_come_back(Config) ->
    _ = start(#{contexts => 2}, Config),
    {ok, _} = py_context_router:start_pool(other, #{contexts => 1, preload => <<"x = 'other'">>}),
    ok = py_context_router:resize_pool(other, 3),
    [begin
         Old = whereis(Name),
         kill(Old),
         _ = eventually(fun() -> not lists:member(whereis(Name), [Old, undefined]) end),
         %% With the pools.
         _ = eventually(fun() -> [2, 3] =:= [alive(Pool) || Pool <- [default, other]] end)
     end || Name <- [py_registry, py_context_sup, py_pool_sup, py_pool_restorer, py_pool_sup]],
    ?assert(lists:keymember(py_context_router, 1, application:which_applications())),
    Others = maps:get(contexts, py_context_router:info(other)),
    [?assertEqual({ok, <<"other">>}, py_context:eval(Ctx, <<"x">>)) || #{pid := Ctx} <- Others],
    ok = py_context_router:stop_pool(other),
    kill(whereis(py_pool_sup)),
    _ = eventually(fun() -> alive(default) =:= 2 end),
    ?assertEqual([default], py_context_router:pools()),
    {ok, _} = py_context_sup:start_context(x, worker),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 3 end).

pools_without_their_supervisor_end_with_the_application(Config) ->
    %% It takes a moment to end.
    [Ctx] = start(#{contexts => 1, shutdown => 200}, Config),
    Busy = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    kill(whereis(py_pool_sup)),
    ok = application:stop(py_context_router),
    ?assertEqual({error, {context_died, shutdown}}, answer(Busy)),
    ?assertEqual([], test_helpers:published()),
    ?assertEqual([], py_context_router:pools()),
    [Another] = start(#{contexts => 1}, Config),
    ?assert(is_process_alive(Another)).

alive(Pool) ->
    maps:get(alive, py_context_router:info(Pool), 0).

%% As in the process of a pool, which is the parent of the supervisor.
a_start_whose_supervisor_is_killed_says_just_that(Config) ->
    Before = process_flag(trap_exit, true),
    {ok, Sup} = py_slot_sup:start_link(),
    exit(Sup, kill),
    Slot = #{pool => doomed, slot => 1, key => {1, 1}, owner => self()},
    ?assertExit(killed, py_slot_sup:start_slot(Sup, #{mode => ?config(mode, Config)}, Slot)),
    _ = process_flag(trap_exit, Before),
    ?assertEqual([], test_helpers:messages()).

%% ------------------------------------------------------------------ stopping

stopping_answers_waiting_jobs(Config) ->
    [Ctx] = start(#{contexts => 1, shutdown => 10}, Config),
    Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    Waiting = [ask(fun() -> py_context:eval(Ctx, <<"1">>) end) || _ <- lists:seq(1, 50)],
    _ = await_queue(Ctx, 50),
    ok = py_context_router:stop(),
    ?assertEqual([{error, {context_died, shutdown}}],
                 lists:usort([answer(Pid) || Pid <- [Looping | Waiting]])),
    ?assertEqual([[]], lists:usort([leftovers(Pid) || Pid <- [Looping | Waiting]])).

a_running_job_may_finish_within_its_grace(Config) ->
    {Gate, Wait} = test_helpers:gate(Config),
    Pids = start(#{contexts => 2, shutdown => infinity, preload => Wait}, Config),
    Running = [ask(fun() -> py_context:call(Pid, '__main__', wait, []) end) || Pid <- Pids],
    _ = [await_busy(Pid) || Pid <- Pids],
    Stopper = ask(fun py_context_router:stop/0),
    %% By now it stops.
    _ = eventually(fun() -> test_helpers:published() =:= [] end),
    ?assertEqual(Pids, [Pid || Pid <- Pids, is_process_alive(Pid)]),
    test_helpers:open_gate(Gate),
    ?assertEqual([{ok, <<"finished">>}], lists:usort([answer(Pid) || Pid <- Running])),
    ?assertEqual(ok, answer(Stopper)),
    ?assertEqual([], [Pid || Pid <- Pids, is_process_alive(Pid)]),
    ?assertEqual(0, test_helpers:context_threads()).

a_running_job_is_interrupted_after_its_grace(Config) ->
    [Ctx] = start(#{contexts => 1, shutdown => 50}, Config),
    Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    ok = py_context_router:stop(),
    ?assertEqual({error, {context_died, shutdown}}, answer(Looping)),
    ?assertEqual([], leftovers(Looping)),
    ?assertEqual(0, py_context_router:num_contexts()),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end).

the_grace_is_one_for_all_contexts(Config) ->
    Grace = 500,
    Size = 6,
    Pids = start(#{contexts => Size, shutdown => Grace}, Config),
    %% Not busy loops: six of them would be what the stop waits for.
    Endless = <<"import time\nwhile True: time.sleep(0.001)">>,
    Running = [ask(fun() -> py_context:exec(Pid, Endless) end) || Pid <- Pids],
    _ = [await_busy(Pid) || Pid <- Pids],
    {Us, ok} = timer:tc(fun py_context_router:stop/0),
    ?assertEqual([{error, {context_died, shutdown}}],
                 lists:usort([answer(Pid) || Pid <- Running])),
    ct:comment("~b ms for ~b contexts with a grace of ~b ms", [Us div 1000, Size, Grace]),
    ?assert(Us div 1000 >= Grace),
    ?assert(Us div 1000 < Size * Grace).

%% Compared with some, in one run.
no_grace_is_no_wait(Config) ->
    [None, Some] = [begin
                        [Ctx] = start(#{contexts => 1, shutdown => Grace}, Config),
                        Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
                        _ = await_busy(Ctx),
                        {Took, ok} = timer:tc(fun py_context_router:stop/0),
                        ?assertEqual({error, {context_died, shutdown}}, answer(Looping)),
                        Took
                    end || Grace <- [0, 2_000]],
    ?assert(None < Some div 2, {None, Some}).

stopping_ends_a_slot_that_cannot_start(Config) ->
    {Counter, Preload} = counting_preload(Config),
    [Ctx] = start(#{contexts => 1, preload => Preload}, Config),
    Sup = slot_sup(Ctx),
    ok = file:write_file(Counter, <<>>),
    kill(Ctx),
    _ = eventually(fun() -> attempts(Counter) >= 2 end),
    [{_, Slot, _, _}] = supervisor:which_children(Sup),
    ok = py_context_router:stop(),
    %% Its next attempt would be its process's.
    ?assertNot(is_process_alive(Slot)),
    ok = file:write_file(Counter, <<>>),
    ?assertEqual(0, py_context_router:num_contexts()),
    %% The thread of the last attempt may be just ending.
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end),
    ?assertEqual(0, attempts(Counter)).

%% A start that fails doesn't wait for it either.
what_a_context_begins_with_has_no_grace(Config) ->
    {Marker, Preload} = endless_preload(Config),
    Options = #{contexts => 2, shutdown => infinity, preload => Preload},
    ok = file:write_file(Marker, <<>>),
    %% More than once, since a start that fails in a kept interpreter is tried again in a new one.
    Failing = [Preload, "if begun > 1: raise OSError('not now')\n"],
    ?assertEqual({error, {'OSError', <<"not now">>}},
                 py_context_router:start(Options#{preload => Failing,
                                                  mode => ?config(mode, Config)})),
    ok = file:delete(Marker),
    [Ctx, _] = start(Options, Config),
    ok = file:write_file(Marker, <<>>),
    kill(Ctx),
    _ = await_begun(Marker),
    ok = py_context_router:stop(),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end).

%% The first context that runs it while the file is empty says so there, and goes on when the file
%% is gone. No context makes the file, which may go at any time.
endless_preload(Config) ->
    Marker = filename:join(?config(priv_dir, Config), "endless"),
    _ = file:delete(Marker),
    {Marker, ["import os, time\n"
              "begun = 0\n"
              "try:\n"
              "  file = os.open('", Marker, "', os.O_WRONLY | os.O_APPEND)\n"
              "  begun = os.write(file, b'.') * os.lseek(file, 0, os.SEEK_CUR)\n"
              "  os.close(file)\n"
              "  while begun == 1 and os.path.exists('", Marker, "'): time.sleep(0.001)\n"
              "except FileNotFoundError: pass\n"]}.

await_begun(Marker) ->
    eventually(fun() -> file:read_file(Marker) =/= {ok, <<>>} end).

%% Its supervisor is held up, so that the restart comes after the stop has found nobody.
a_pool_that_is_stopped_between_its_death_and_its_restart_stays_stopped(Config) ->
    Before = start(#{contexts => 2}, Config),
    Pool = py_nif_pool(),
    ok = sys:suspend(py_pool_sup),
    kill(py_pool_table:whereis_pool(default)),
    Stopper = ask(fun py_context_router:stop/0),
    _ = eventually(fun() -> py_nif:pool_is_closed(Pool) end),
    ok = sys:resume(py_pool_sup),
    ?assertEqual(ok, answer(Stopper)),
    ?assertEqual([], [Pid || Pid <- Before, is_process_alive(Pid)]),
    _ = eventually(fun() -> supervisor:which_children(py_pool_sup) =:= [] end),
    ?assertEqual([], test_helpers:published()),
    ?assertEqual(false, py_context_router:is_started()),
    %% And it can be started again.
    ?assertEqual(1, length(start(#{contexts => 1}, Config))).

a_pool_that_is_killed_as_it_stops_stays_stopped(Config) ->
    Options = #{name => default, contexts => 1, shutdown => infinity,
                mode => ?config(mode, Config)},
    [begin
         Tree = Start(),
         [Ctx] = py_context_router:contexts(),
         Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
         _ = await_busy(Ctx),
         Stopper = ask(fun py_context_router:stop/0),
         _ = eventually(fun() -> test_helpers:published() =:= [] end),
         kill(py_pool_table:whereis_pool(default)),
         ?assertEqual(ok, answer(Stopper)),
         ?assertEqual({error, {context_died, shutdown}}, answer(Looping)),
         %% It has not been started again, and is not about to be.
         _ = supervisor:which_children(Tree),
         ?assertEqual({undefined, []},
                      {py_pool_table:whereis_pool(default), test_helpers:published()}),
         ?assertEqual([],
                      [Pool || {_, Pool, _, _} <- supervisor:which_children(Tree), is_pid(Pool)]),
         _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end),
         Tree =:= py_pool_sup orelse stop_tree(Tree)
     end || Start <- [fun() ->
                          {ok, _} = py_context_router:start(maps:remove(name, Options)),
                          py_pool_sup
                      end,
                      fun() ->
                          {ok, Tree} = start_tree([Options]),
                          Tree
                      end]].

py_nif_pool() ->
    py_pool_table:lookup(default).

%% ------------------------------------------------------------------ resizing

a_pool_grows(Config) ->
    Old = start(#{contexts => 2, preload => <<"ready = True">>}, Config),
    ?assertEqual(ok, py_context_router:resize_pool(default, 5)),
    Contexts = py_context_router:contexts(),
    ?assertEqual({Old, 5}, {lists:sublist(Contexts, 2), length(lists:usort(Contexts))}),
    ?assertEqual([{ok, true}], lists:usort([py_context:eval(Ctx, <<"ready">>) || Ctx <- Contexts])),
    ?assertEqual(lists:last(Contexts), py_context_router:get_context(5)),
    ?assertMatch(#{size := 5, alive := 5, restarts := 0}, py_context_router:info(default)),
    %% A new slot is healed like an old one.
    kill(lists:last(Contexts)),
    _ = await_healed(5, [lists:last(Contexts)]).

a_pool_shrinks_once_its_work_is_done(Config) ->
    {Gate, Wait} = test_helpers:gate(Config),
    [First, Second, Third] = start(#{contexts => 3, preload => Wait}, Config),
    Running = ask(fun() -> py_context:call(Third, '__main__', wait, []) end),
    _ = await_busy(Third),
    Waiting = [ask(fun() -> py_context:eval(Third, [integer_to_binary(N)]) end)
               || N <- lists:seq(1, 20)],
    _ = await_queue(Third, 20),
    ?assertEqual(ok, py_context_router:resize_pool(default, 1)),
    %% Nobody new gets there.
    ?assertEqual([First], py_context_router:contexts()),
    ?assertEqual([First], lists:usort([test_helpers:answer(test_helpers:ask_on(N,
                              fun py_context_router:get_context/0))
                          || N <- lists:seq(1, erlang:system_info(schedulers_online))])),
    ?assertError(badarg, py_context_router:get_context(3)),
    ?assertEqual({error, {context_died, noproc}}, py_context:eval(Third, <<"1">>)),
    _ = eventually(fun() -> not is_process_alive(Second) end),
    ?assert(is_process_alive(Third)),
    %% What it had taken on is done.
    test_helpers:open_gate(Gate),
    ?assertEqual({ok, <<"finished">>}, answer(Running)),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 20)], [answer(Pid) || Pid <- Waiting]),
    _ = eventually(fun() -> not is_process_alive(Third) end),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 1 end),
    ?assertMatch(#{size := 1, alive := 1, restarts := 0}, py_context_router:info(default)).

a_shrunken_pool_can_grow_again(Config) ->
    [First, Second, Third] = start(#{contexts => 3}, Config),
    Looping = ask(fun() -> py_context:exec(Third, ?LOOP) end),
    _ = await_busy(Third),
    ok = py_context_router:resize_pool(default, 2),
    ok = py_context_router:resize_pool(default, 3),
    %% The third slot has somebody new while the old one still works.
    [First, Second, New] = py_context_router:contexts(),
    ?assertNotEqual(Third, New),
    ?assertEqual({ok, 2}, py_context:eval(New, <<"1 + 1">>)),
    ?assertEqual(ok, py_context:interrupt(Third)),
    ?assertEqual({error, interrupted}, answer(Looping)),
    _ = eventually(fun() -> not is_process_alive(Third) end),
    ?assertEqual([First, Second, New], py_context_router:contexts()),
    ?assert(is_process_alive(New)).

a_pool_that_cannot_grow_stays_as_it_was(Config) ->
    {Counter, Preload} = counting_preload(Config),
    Pids = start(#{contexts => 2, preload => Preload}, Config),
    ok = file:write_file(Counter, <<>>),
    Log = test_helpers:capture_log(fun() ->
        ?assertEqual({error, {'OSError', <<"not now">>}}, py_context_router:resize_pool(default, 4))
    end),
    ?assertEqual([], Log),
    ?assertEqual(Pids, py_context_router:contexts()),
    ?assertMatch(#{size := 2, alive := 2}, py_context_router:info(default)),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 2 end),
    ok = file:delete(Counter),
    ?assertEqual(ok, py_context_router:resize_pool(default, 4)),
    ?assertEqual(4, py_context_router:num_contexts()).

a_pool_that_is_killed_as_it_grows_has_the_size_it_had(Config) ->
    {Marker, Preload} = endless_preload(Config),
    Before = start(#{contexts => 2, preload => Preload}, Config),
    ok = file:write_file(Marker, <<>>),
    Resizer = ask(fun() -> py_context_router:resize_pool(default, 4) end),
    %% One of the new ones serves, the other doesn't.
    _ = await_begun(Marker),
    _ = eventually(fun() ->
        length([idle || Ctx <- py_nif:contexts(), #{state := idle} <- [py_context:info(Ctx)]]) =:= 3
    end),
    kill(py_pool_table:whereis_pool(default)),
    ?assertEqual({error, {pool_not_started, default}}, answer(Resizer)),
    ok = file:delete(Marker),
    _ = await_healed(2, Before),
    ?assertMatch(#{size := 2, alive := 2}, py_context_router:info(default)),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 2 end),
    ok = py_context_router:resize_pool(default, 3),
    ?assertEqual(3, py_context_router:num_contexts()).

a_slot_that_dies_while_it_drains_is_not_replaced(Config) ->
    [First, Second] = start(#{contexts => 2}, Config),
    Looping = ask(fun() -> py_context:exec(Second, ?LOOP) end),
    _ = await_busy(Second),
    ok = py_context_router:resize_pool(default, 1),
    kill(Second),
    ?assertEqual({error, {context_died, killed}}, answer(Looping)),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 1 end),
    ?assertEqual([First], py_context_router:contexts()),
    ?assertMatch(#{size := 1, alive := 1, restarts := 0}, py_context_router:info(default)).

%% Or not for long: what it would begin with may never end.
a_slot_that_dies_while_it_drains_is_not_started_again(Config) ->
    {Marker, Preload} = endless_preload(Config),
    [First, Second] = start(#{contexts => 2, preload => Preload}, Config),
    Looping = ask(fun() -> py_context:exec(Second, ?LOOP) end),
    _ = await_busy(Second),
    ok = py_context_router:resize_pool(default, 1),
    ok = file:write_file(Marker, <<>>),
    kill(Second),
    ?assertEqual({error, {context_died, killed}}, answer(Looping)),
    Sup = slot_sup(First),
    _ = eventually(fun() -> [First] =:= [Pid
                                         || {_, Pid, _, _} <- supervisor:which_children(Sup)] end),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 1 end).

a_slot_that_drains_while_it_starts_holds_up_no_other(Config) ->
    {Marker, Preload} = endless_preload(Config),
    [First, Second] = start(#{contexts => 2, shutdown => infinity, preload => Preload}, Config),
    ok = file:write_file(Marker, <<>>),
    kill(Second),
    _ = await_begun(Marker),
    ok = py_context_router:resize_pool(default, 1),
    kill(First),
    _ = await_healed(1, [First]),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 1 end),
    ?assertMatch(#{size := 1, alive := 1}, py_context_router:info(default)).

resizes_at_once_happen_one_after_the_other(Config) ->
    _ = start(#{contexts => 2}, Config),
    Resizers = [ask(fun() -> py_context_router:resize_pool(default, Size) end)
                || Size <- [5, 1, 7, 3, 2, 6, 4, 1, 8, 3]],
    ?assertEqual([ok], lists:usort([answer(Resizer) || Resizer <- Resizers])),
    Size = maps:get(size, py_context_router:info(default)),
    ?assert(lists:member(Size, lists:seq(1, 8))),
    _ = eventually(fun() -> py_context_router:num_contexts() =:= Size end),
    _ = eventually(fun() -> test_helpers:context_threads() =:= Size end),
    ?assertEqual([{ok, 2}], lists:usort([py_context:eval(Ctx, <<"1 + 1">>)
                                         || Ctx <- py_context_router:contexts()])).

a_resized_pool_is_known_by_its_new_size(Config) ->
    _ = start(#{contexts => 2}, Config),
    ok = py_context_router:resize_pool(default, 2),
    ok = py_context_router:resize_pool(default, 3),
    Pids = py_context_router:contexts(),
    ?assertEqual({ok, Pids}, py_context_router:start(#{contexts => 3})),
    ?assertMatch({error, {already_started, #{contexts := 3}}},
                 py_context_router:start(#{contexts => 2})).

bad_resizes_are_errors(Config) ->
    Pids = start(#{contexts => 2}, Config),
    [?assertEqual({error, {bad_option, {contexts, Size}}},
                  py_context_router:resize_pool(default, Size))
     || Size <- [0, -1, 1.5, two, infinity]],
    ?assertEqual({error, {pool_not_started, io}}, py_context_router:resize_pool(io, 2)),
    ?assertEqual(Pids, py_context_router:contexts()).

%% ------------------------------------------------------------------ embedding

%% A supervisor as a user would have one.
init(Children) ->
    {ok, {#{strategy => one_for_one, intensity => 3, period => 10}, Children}}.

start_tree(Specs) ->
    supervisor:start_link(?MODULE, [py_context_router:child_spec(Spec) || Spec <- Specs]).

stop_tree(Tree) ->
    true = unlink(Tree),
    shutdown = end_it(Tree, fun(_) -> exit(Tree, shutdown) end),
    ok.

a_pool_lives_in_the_users_tree(_Config) ->
    {ok, Tree} = start_tree([#{name => io, contexts => 2}, #{name => default, contexts => 1}]),
    %% It serves by the time that the next child starts.
    ?assertEqual({2, 1}, {py_context_router:num_contexts(io), py_context_router:num_contexts()}),
    ?assertEqual({ok, 2}, py_context:eval(py_context_router:get_context(io), <<"1 + 1">>)),
    ?assertEqual([default, io], py_context_router:pools()),
    ?assertMatch(#{size := 2}, py_context_router:info(io)),
    %% The same pool, for each that asks for it.
    Pids = py_context_router:contexts(io),
    ?assertEqual({ok, Pids}, py_context_router:start_pool(io, 2)),
    ok = stop_tree(Tree),
    ?assertEqual([], [Pid || Pid <- Pids, is_process_alive(Pid)]),
    ?assertEqual({[], []}, {py_context_router:pools(), test_helpers:published()}),
    ?assertEqual(0, test_helpers:context_threads()).

a_pool_is_kept_by_the_application_only_while_it_has_it(_Config) ->
    {ok, _} = py_context_router:start_pool(shared, #{contexts => 1, max_queue => 5}),
    ?assertEqual([shared], py_pool_table:persisted()),
    %% Whose name somebody else takes before it is back.
    ok = sys:suspend(py_pool_restorer),
    kill(whereis(py_pool_sup)),
    _ = eventually(fun() -> py_pool_table:whereis_pool(shared) =:= undefined end),
    {ok, Tree} = start_tree([#{name => shared, contexts => 1, max_queue => 7}]),
    ?assertEqual([], py_pool_table:persisted()),
    ok = sys:resume(py_pool_restorer),
    kill(py_pool_table:whereis_pool(shared)),
    _ = eventually(fun() -> alive(shared) =:= 1 end),
    ?assertMatch(#{max_queue := 7}, py_context_router:info(shared)),
    ok = stop_tree(Tree).

a_pool_that_crashes_is_restarted_by_the_users_tree(_Config) ->
    {ok, Tree} = start_tree([#{name => io, contexts => 2}]),
    Old = py_context_router:contexts(io),
    [{Id, Pool, supervisor, _}] = supervisor:which_children(Tree),
    kill(Pool),
    _ = eventually(fun() ->
        Contexts = py_context_router:contexts(io),
        lists:all(fun is_process_alive/1, Contexts) andalso Contexts -- Old =:= Contexts
    end),
    [{Id, New, supervisor, _}] = supervisor:which_children(Tree),
    ?assertNotEqual(Pool, New),
    ?assertEqual({ok, 2}, py_context:eval(py_context_router:get_context(io), <<"1 + 1">>)),
    ok = stop_tree(Tree),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end).

%% Its size is not the specified one any more.
a_resized_pool_that_crashes_is_restarted_by_the_users_tree(_Config) ->
    {ok, Tree} = start_tree([#{name => io, contexts => 1}]),
    ok = py_context_router:resize_pool(io, 2),
    [{Id, Pool, supervisor, _}] = supervisor:which_children(Tree),
    kill(Pool),
    _ = eventually(fun() ->
        case supervisor:which_children(Tree) of
            [{Id, New, supervisor, _}] when is_pid(New), New =/= Pool -> true;
            Other -> Other
        end
    end),
    _ = eventually(fun() -> maps:get(alive, py_context_router:info(io), 0) =:= 2 end),
    ok = stop_tree(Tree),
    ?assertEqual({undefined, []}, {py_pool_table:whereis_pool(io), test_helpers:published()}).

%% A process that starts one of that name has it as it wants it, and when it serves.
what_a_killed_pool_leaves_is_no_other_pools(_Config) ->
    Lose = fun() ->
        Owner = spawn(fun() ->
            {ok, _} = py_context_router:start_link(#{name => io, contexts => 2}),
            receive stay -> ok end
        end),
        _ = eventually(fun() -> py_context_router:num_contexts(io) =:= 2 end),
        kill(py_pool_table:whereis_pool(io)),
        _ = eventually(fun() -> not is_process_alive(Owner) end),
        ?assertEqual(2, py_context_router:num_contexts(io))
    end,
    Lose(),
    {ok, Pids} = py_context_router:start_pool(io, 3),
    ?assertEqual({3, 3}, {length([Pid || Pid <- Pids, is_process_alive(Pid)]), alive(io)}),
    ok = py_context_router:stop_pool(io),
    Lose(),
    {ok, Tree} = start_tree([#{name => io, contexts => 1}]),
    ?assertEqual({1, 1}, {py_context_router:num_contexts(io), alive(io)}),
    ok = stop_tree(Tree),
    ?assertEqual([], test_helpers:published()).

a_stopped_pool_is_not_restarted(_Config) ->
    {ok, Tree} = start_tree([#{name => io, contexts => 1}]),
    ok = py_context_router:stop_pool(io),
    ?assertNot(py_context_router:pool_started(io)),
    ?assertMatch([{Id, undefined, supervisor, _}] when Id =/= undefined,
                 supervisor:which_children(Tree)),
    %% Unless the tree does.
    [{Id, _, _, _}] = supervisor:which_children(Tree),
    {ok, _} = supervisor:restart_child(Tree, Id),
    ?assert(py_context_router:pool_started(io)),
    ok = supervisor:terminate_child(Tree, Id),
    ?assertNot(py_context_router:pool_started(io)),
    ok = stop_tree(Tree).

a_pool_that_cannot_start_fails_the_users_tree(_Config) ->
    _ = process_flag(trap_exit, true),
    ?assertMatch({error, {shutdown, {failed_to_start_child, _, {'ZeroDivisionError', _}}}},
                 start_tree([#{name => io, contexts => 2, preload => <<"1/0">>}])),
    ?assertMatch({error, {shutdown, {failed_to_start_child, _, {bad_option, {contexts, 0}}}}},
                 start_tree([#{name => io, contexts => 0}])),
    ?assertEqual({error, {bad_option, {size, 1}}},
                 py_context_router:start_link(#{name => io, size => 1})),
    ?assertEqual({error, {bad_option, {name, "io"}}},
                 py_context_router:start_link(#{name => "io"})),
    ?assertMatch({error, {bad_option, _}}, py_context_router:start_link(#{contexts => 1})),
    ?assertEqual([], test_helpers:published()),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end).

a_failed_start_leaves_the_name_free_and_no_message(_Config) ->
    _ = process_flag(trap_exit, true),
    Outcomes = [py_context_router:start_link(#{name => io, contexts => 2, preload => <<"x = = 1">>})
                || _ <- lists:seq(1, 200)],
    ?assertMatch([{error, {'SyntaxError', _}}], lists:usort(Outcomes)),
    ?assertEqual(undefined, py_pool_table:whereis_pool(io)),
    ?assertEqual([], test_helpers:messages()),
    {ok, _} = py_context_router:start_pool(io, 1).

a_linked_pool_ends_with_its_owner(_Config) ->
    Self = self(),
    {Owner, Monitor} = spawn_monitor(fun() ->
        Self ! py_context_router:start_link(#{name => io, contexts => 2}),
        receive leave -> exit(crashed) end
    end),
    {ok, Pool} = receive {ok, _} = Started -> Started end,
    PoolMonitor = monitor(process, Pool),
    ?assertEqual(2, py_context_router:num_contexts(io)),
    Owner ! leave,
    receive {'DOWN', Monitor, process, Owner, crashed} -> ok end,
    receive {'DOWN', PoolMonitor, process, Pool, _} -> ok end,
    ?assertEqual({0, []}, {py_context_router:num_contexts(io), test_helpers:published()}),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end).

a_process_that_has_started_a_pool_can_stop_it(_Config) ->
    Owner = test_helpers:ask(fun() ->
        {ok, Pool} = py_context_router:start_link(#{name => io, contexts => 1}),
        {py_context_router:stop_pool(io), is_process_alive(Pool)}
    end),
    ?assertEqual({ok, false}, test_helpers:answer(Owner)),
    ?assertEqual([], test_helpers:leftovers(Owner)),
    %% One that traps exits needs no message about the end that it asked for.
    _ = process_flag(trap_exit, true),
    {ok, _} = py_context_router:start_link(#{name => io, contexts => 1}),
    ok = py_context_router:stop_pool(io),
    ?assertEqual([], test_helpers:messages()).

a_name_can_be_used_once(_Config) ->
    {ok, [_]} = py_context_router:start_pool(io, 1),
    Running = py_pool_table:whereis_pool(io),
    ?assertEqual({error, {already_started, Running}},
                 py_context_router:start_link(#{name => io, contexts => 1})),
    ?assert(is_process_alive(Running)).

%% Wherever the options of a pool or of a context go: specifications of children (progress and
%% supervisor reports), states (crash reports, `sys'), messages.
no_report_and_no_state_shows_a_preload(_Config) ->
    Secret = "hush" ++ integer_to_list(erlang:unique_integer([positive])),
    Preload = ["token = '", Secret, "'"],
    {Shown, Log} = all_that_is_logged(fun() ->
        {ok, _} = py_context_router:start(#{contexts => 1, preload => Preload}),
        {ok, _} = py_context_router:start(#{preload => unicode:characters_to_binary(Preload)}),
        {error, Other} = py_context_router:start(#{contexts => 1, preload => [Preload, " "]}),
        Spec = #{name => secrets, contexts => 1, preload => Preload},
        Child = py_context_router:child_spec(Spec),
        {ok, Tree} = start_tree([Spec]),
        {ok, Single} = py_context:new(#{preload => Preload}),
        true = unlink(Single),
        Pools = [py_pool_table:whereis_pool(Name) || Name <- [default, secrets]],
        Contexts = [Ctx || Name <- [default, secrets], Ctx <- py_context_router:contexts(Name)],
        Shown = [Other, Child, py_context_router:info(),
                 [supervisor:which_children(Sup) || Sup <- [Tree, py_pool_sup]],
                 [supervisor:get_childspec(Tree, Id)
                  || {Id, _, _, _} <- supervisor:which_children(Tree)],
                 [sys:get_status(Pid)
                  || Pid <- [Tree, Single, whereis(py_pool_sup) | Pools] ++ Contexts],
                 persistent_term:get()],
        %% By a request that none of them understands, so that its last message and its state are
        %% reported.
        [?assertExit({{function_clause, _}, _}, gen_server:call(Pid, no_request))
         || Pid <- [Single | Contexts] ++ Pools],
        _ = eventually(fun() -> py_context_router:contexts(secrets) =/= [] end),
        %% What starts in their place has it all the same.
        [?assertEqual({ok, list_to_binary(Secret)}, py:eval(Pool, <<"token">>))
         || Pool <- [default, secrets]],
        ok = stop_tree(Tree),
        Shown
    end),
    ?assertEqual(nomatch, string:find(io_lib:format("~0tp", [Shown]), Secret)),
    ?assert(length([report || Text <- Log, string:find(Text, "child_terminated") =/= nomatch]) > 0),
    ?assert(length([report || Text <- Log, string:find(Text, "crasher:") =/= nomatch]) > 3),
    ?assertEqual([], [Text || Text <- Log, string:find(Text, Secret) =/= nomatch]).

all_that_is_logged(Fun) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => all, config => #{pid => self()}}),
    try Fun() of
        Value -> {Value, logged()}
    after
        ok = logger:remove_handler(?MODULE),
        ok = logger:set_primary_config(level, Level)
    end.

logged() ->
    receive {?MODULE, Event} ->
        [unicode:characters_to_list(logger_formatter:format(Event, #{})) | logged()]
    after 0 -> []
    end.

%% The logger calls this in the process that logs.
log(Event, #{config := #{pid := Pid}}) ->
    Pid ! {?MODULE, Event},
    ok.
