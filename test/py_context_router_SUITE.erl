%% The router's functions: starting and stopping, routing, bindings, registrations, info.
-module(py_context_router_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [eventually/1, rendered/1, published/0]).

all() ->
    [{group, starting}, {group, stopping}, {group, routing}, {group, binding},
     {group, registrations}, {group, observing}, {group, misuse}].

groups() ->
    [{starting, [],
      [start_gives_one_worker_context_per_scheduler,
       start_brings_the_application_up,
       starting_again_gives_the_same_contexts,
       starting_with_other_options_is_refused,
       bad_options_are_named_and_start_nothing,
       a_mode_that_python_cannot_give_says_why,
       a_failing_preload_leaves_nothing,
       a_failure_of_one_context_undoes_the_others,
       a_hundred_concurrent_starters_get_the_same_contexts,
       concurrent_starters_of_a_failing_pool_all_get_the_error,
       a_start_while_the_application_starts_waits_for_it,
       a_start_survives_the_death_of_the_pools_supervisor,
       a_start_survives_the_death_of_its_pool,
       a_single_start_survives_the_death_of_its_supervisor,
       the_pool_survives_the_death_of_its_starter,
       pools_are_independent,
       start_pool_takes_a_size_a_mode_or_options,
       a_pool_may_have_the_name_of_a_supervisor]},
     {stopping, [],
      [stop_leaves_nothing,
       stop_is_idempotent,
       stop_without_start_does_not_start_the_application,
       a_stopped_pool_starts_afresh,
       starters_and_stoppers_at_once_end_in_one_state,
       stopping_the_application_stops_everything,
       an_application_that_is_killed_leaves_nothing]},
     {routing, [],
      [processes_are_routed_by_scheduler,
       processes_are_routed_by_scheduler_when_schedulers_outnumber_contexts,
       routing_binds_nothing,
       a_number_is_a_slot,
       each_pool_routes_to_its_own_contexts,
       dead_contexts_are_skipped,
       a_dead_pool_still_has_an_answer]},
     {binding, [],
      [a_bound_process_gets_its_context,
       a_second_binding_replaces_the_first,
       bindings_are_per_process_and_pool,
       a_dead_binding_is_passed_over,
       unbinding_is_idempotent,
       with_context_restores_the_binding,
       with_context_restores_after_exceptions]},
     {registrations, [],
      [a_function_goes_before_its_module_and_that_before_default,
       atoms_and_binaries_name_the_same,
       unregistering_is_idempotent,
       registrations_need_no_running_pool,
       a_hundred_registrations_at_once_lose_none,
       looking_up_makes_no_atoms,
     registering_makes_no_atoms,
     an_atom_that_comes_later_names_the_same,
     what_is_no_name_is_refused,
       what_is_registered_survives_the_death_of_its_writer,
       a_writer_goes_on_with_a_new_version_of_its_module,
       init_pool_registry_is_safe_any_number_of_times,
       registry_is_a_map]},
     {observing, [],
      [nothing_is_known_of_what_is_not_started,
       info_describes_a_pool_and_its_contexts,
       info_lists_the_pools,
       info_counts_jobs]},
     {misuse, [],
      [misuse_is_a_badarg_with_a_sentence]}].

-include("quiet_suite.hrl").

init_per_testcase(_Case, Config) ->
    ok = test_helpers:stop_all(),
    Config.

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all().

%% ------------------------------------------------------------------ starting

start_gives_one_worker_context_per_scheduler(_Config) ->
    {ok, Pids} = py_context_router:start(),
    ?assertEqual(erlang:system_info(schedulers), length(lists:usort(Pids))),
    ?assertEqual(Pids, py_context_router:contexts()),
    ?assertEqual(length(Pids), py_context_router:num_contexts()),
    ?assert(py_context_router:is_started()),
    [begin
         ?assertMatch(#{mode := worker}, py_context:info(Pid)),
         ?assertEqual({ok, 4.0}, py_context:call(Pid, math, sqrt, [16.0]))
     end || Pid <- Pids].

start_brings_the_application_up(_Config) ->
    ?assertEqual(undefined, whereis(py_context_router_sup)),
    {ok, _} = py_context_router:start(#{contexts => 1}),
    ?assert(lists:keymember(py_context_router, 1, application:which_applications())).

starting_again_gives_the_same_contexts(_Config) ->
    Options = #{contexts => 2, max_queue => 5, preload => <<"x = 1">>, shutdown => 100},
    {ok, Pids} = py_context_router:start(Options),
    Again = [Options, #{}, #{contexts => 2}, #{mode => worker, shutdown => 100},
             #{preload => "x = 1"}],
    [?assertEqual({ok, Pids}, py_context_router:start(Same)) || Same <- Again],
    ?assertEqual({ok, Pids}, py_context_router:start()),
    ?assertEqual({ok, Pids}, py_context_router:start_pool(default, 2, worker)).

starting_with_other_options_is_refused(_Config) ->
    {ok, Pids} = py_context_router:start(#{contexts => 2}),
    [?assertMatch({error, {already_started, #{contexts := 2, mode := worker}}},
                  py_context_router:start(Other))
     || Other <- [#{contexts => 3}, #{max_queue => 7}, #{preload => <<"x = 1">>},
                  #{shutdown => infinity}, #{contexts => 2, shutdown => 1}]],
    ?assertEqual(Pids, py_context_router:contexts()).

bad_options_are_named_and_start_nothing(_Config) ->
    [?assertEqual({error, {bad_option, {Key, Value}}}, py_context_router:start(#{Key => Value}))
     || {Key, Value} <- [{contexts, 0}, {contexts, -2}, {contexts, 2.0}, {mode, threads},
                         {max_queue, 0}, {preload, 1}, {shutdown, never}, {size, 2},
                         {<<"contexts">>, 2}]],
    [?assertEqual({error, {bad_option, {contexts, Size}}}, py_context_router:start_pool(io, Size))
     || Size <- [0, -1, 1.5, two]],
    ?assertEqual({error, {bad_option, {mode, threads}}},
                 py_context_router:start_pool(io, 1, threads)),
    [?assertEqual({error, {bad_option, {name, Name}}}, py_context_router:start_pool(Name, 1))
     || Name <- [<<"io">>, "io", 1, undefined, list_to_atom(lists:duplicate(255, $x))]],
    ?assertMatch({error, {bad_option, _}}, py_context_router:start([{contexts, 1}])),
    ?assertEqual([], py_context_router:pools()),
    ?assertNot(py_context_router:is_started()).

a_mode_that_python_cannot_give_says_why(_Config) ->
    {ok, _} = py_context_router:start(#{contexts => 1}),
    [case py_nif:check_mode(Mode) of
         ok ->
             {ok, [Pid]} = py_context_router:start_pool(Mode, 1, Mode),
             ?assertMatch(#{mode := Mode}, py_context:info(Pid));
         {error, {unsupported_mode, Mode, Why}} = Error ->
             ?assert(is_binary(Why)),
             ?assertEqual(Error, py_context_router:start_pool(Mode, 1, Mode)),
             ?assertNot(py_context_router:pool_started(Mode))
     end || Mode <- [worker, subinterp, owngil]].

a_failing_preload_leaves_nothing(_Config) ->
    Threads = threads_of_idle_application(),
    Log = test_helpers:capture_log(fun() ->
        ?assertEqual({error, {'ZeroDivisionError', <<"division by zero">>}},
                     py_context_router:start(#{contexts => 3, preload => <<"1/0">>}))
    end),
    %% The caller has the error; nothing is being retried.
    ?assertEqual([], Log),
    nothing_is_left(Threads),
    ?assertMatch({error, {'SyntaxError', _}},
                 py_context_router:start(#{contexts => 1, preload => <<"x = = 1">>})),
    ?assertEqual({error, {'SystemExit', <<"3">>}},
                 py_context_router:start(#{contexts => 1, preload => "import sys; sys.exit(3)"})),
    nothing_is_left(Threads).

a_failure_of_one_context_undoes_the_others(Config) ->
    Threads = threads_of_idle_application(),
    %% The second one finds the directory made.
    Preload = ["import os; os.mkdir('", ?config(priv_dir, Config), "/first')"],
    ?assertMatch({error, {'FileExistsError', _}},
                 py_context_router:start(#{contexts => 3, preload => Preload})),
    nothing_is_left(Threads),
    %% And nothing is in the way of a better attempt.
    {ok, Pids} = py_context_router:start(#{contexts => 3}),
    ?assertEqual(3, length(Pids)).

%% A context has been there, so that what is made only once exists.
threads_of_idle_application() ->
    {ok, _} = py_context_router:start(#{contexts => 1}),
    ok = py_context_router:stop(),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end),
    test_helpers:threads().

nothing_is_left(Threads) ->
    ?assertEqual([], published()),
    ?assertEqual([], py_context_router:pools()),
    ?assertEqual([], py_context_router:contexts()),
    ?assertNot(py_context_router:is_started()),
    %% The pool's process answers just before it ends.
    _ = eventually(fun() -> supervisor:which_children(py_pool_sup) =:= [] end),
    _ = test_helpers:await_threads(Threads),
    ok.

a_hundred_concurrent_starters_get_the_same_contexts(_Config) ->
    Starters = [test_helpers:ask(fun() -> py_context_router:start(#{contexts => 3}) end)
                || _ <- lists:seq(1, 100)],
    Outcomes = lists:usort([test_helpers:answer(Starter) || Starter <- Starters]),
    ?assertEqual([{ok, py_context_router:contexts()}], Outcomes),
    ?assertEqual([[]], lists:usort([test_helpers:leftovers(Starter) || Starter <- Starters])).

concurrent_starters_of_a_failing_pool_all_get_the_error(_Config) ->
    Options = #{contexts => 2, preload => <<"raise OSError('no disk')">>},
    Starters = [test_helpers:ask(fun() -> py_context_router:start(Options) end)
                || _ <- lists:seq(1, 20)],
    ?assertEqual([{error, {'OSError', <<"no disk">>}}],
                 lists:usort([test_helpers:answer(Starter) || Starter <- Starters])),
    ?assertNot(py_context_router:is_started()).

%% Its supervisor has a name before it has children.
a_start_while_the_application_starts_waits_for_it(_Config) ->
    a_start_while_the_application_starts(200).

a_start_while_the_application_starts(Tries) ->
    ok = test_helpers:stop_all(),
    Starting = fun() -> py_context_router:start(#{contexts => 1}) end,
    First = test_helpers:ask(Starting),
    Sup = await_name(py_context_router_sup),
    true = erlang:suspend_process(Sup),
    case whereis(py_pool_sup) of
        undefined ->
            Second = test_helpers:ask(Starting),
            _ = eventually(fun() -> {status, waiting} =:= process_info(Second, status) end),
            true = erlang:resume_process(Sup),
            {ok, _} = Started = test_helpers:answer(First),
            ?assertEqual(Started, test_helpers:answer(Second));
        _ when Tries > 0 ->
            true = erlang:resume_process(Sup),
            {ok, _} = test_helpers:answer(First),
            a_start_while_the_application_starts(Tries - 1)
    end.

%% Without a pause: it is about what comes right after.
await_name(Name) ->
    case whereis(Name) of
        undefined -> await_name(Name);
        Pid -> Pid
    end.

%% As often as its own supervisor restarts it.
a_start_survives_the_death_of_the_pools_supervisor(_Config) ->
    {ok, _} = py_context_router:start(#{contexts => 1}),
    [begin
         Sup = whereis(py_pool_sup),
         true = exit(Sup, kill),
         ?assertMatch({ok, [_]}, py_context_router:start_pool(N, 1)),
         ok = py_context_router:stop_pool(N)
     end || N <- [a, b, c, d, e]].

a_single_start_survives_the_death_of_its_supervisor(_Config) ->
    {ok, _} = py_context_router:start(#{contexts => 1}),
    [begin
         true = exit(whereis(py_context_sup), kill),
         ?assert(is_list(py_context_sup:which_contexts())),
         {ok, Ctx} = py_context_sup:start_context(N, worker),
         ?assertEqual({ok, N}, py_context:eval(Ctx, integer_to_binary(N))),
         ?assertEqual([Ctx], py_context_sup:which_contexts())
     end || N <- [1, 2, 3, 4, 5]].

%% At whatever moment, be it in the middle of its own beginning.
a_start_survives_the_death_of_its_pool(_Config) ->
    {ok, _} = py_context_router:start(#{contexts => 1}),
    Links = fun() ->
        {links, All} = process_info(whereis(py_pool_sup), links),
        All
    end,
    [begin
         Known = Links(),
         Starter = test_helpers:ask(fun() -> py_context_router:start_pool(a, 1) end),
         true = exit(await_another(Links, Known), kill),
         ?assertMatch({ok, [_]}, test_helpers:answer(Starter)),
         ok = py_context_router:stop_pool(a)
     end || _ <- lists:seq(1, 50)].

%% Without a pause, as above.
await_another(Links, Known) ->
    case Links() -- Known of
        [] -> await_another(Links, Known);
        [Pid | _] -> Pid
    end.

the_pool_survives_the_death_of_its_starter(_Config) ->
    Self = self(),
    {Starter, Monitor} = spawn_monitor(fun() ->
        Self ! py_context_router:start(#{contexts => 2}),
        exit(gone)
    end),
    receive {'DOWN', Monitor, process, Starter, gone} -> ok end,
    {ok, Pids} = receive {ok, _} = Started -> Started end,
    ?assertEqual(Pids, py_context_router:contexts()),
    [?assertEqual({ok, 2}, py_context:eval(Pid, <<"1 + 1">>)) || Pid <- Pids].

pools_are_independent(_Config) ->
    {ok, Default} = py_context_router:start(#{contexts => 1}),
    {ok, Io} = py_context_router:start_pool(io, 2),
    ?assertEqual([], [Pid || Pid <- Io, lists:member(Pid, Default)]),
    ?assertEqual([default, io], py_context_router:pools()),
    ok = py_context_router:stop_pool(io),
    ?assertNot(py_context_router:pool_started(io)),
    ?assertEqual(0, py_context_router:num_contexts(io)),
    ?assertEqual(Default, py_context_router:contexts()),
    ?assertEqual({ok, 2}, py_context:eval(hd(Default), <<"1 + 1">>)).

start_pool_takes_a_size_a_mode_or_options(_Config) ->
    {ok, [_, _]} = py_context_router:start_pool(a, 2),
    %% Another mode than the default one, where there is one.
    Mode = case py:subinterp_supported() of true -> subinterp; false -> worker end,
    {ok, [B]} = py_context_router:start_pool(b, 1, Mode),
    ?assertMatch({#{mode := Mode}, #{mode := worker}},
                 {py_context:info(B), py_context_router:info(a)}),
    {ok, [C]} = py_context_router:start_pool(c, #{contexts => 1, preload => <<"ready = True">>}),
    ?assertEqual({ok, true}, py_context:eval(C, <<"ready">>)),
    ?assertEqual([a, b, c], py_context_router:pools()).

a_pool_may_have_the_name_of_a_supervisor(_Config) ->
    {ok, [_]} = py_context_router:start_pool(sup, 1),
    {ok, [_]} = py_context_router:start_pool('', 1),
    ok = py_context_router:stop_pool(sup),
    ?assertNot(py_context_router:pool_started(sup)),
    ?assert(py_context_router:pool_started('')).

%% ------------------------------------------------------------------ stopping

stop_leaves_nothing(_Config) ->
    Threads = threads_of_idle_application(),
    {ok, Pids} = py_context_router:start(#{contexts => 4}),
    [Pool] = supervisor:which_children(py_pool_sup),
    ok = py_context_router:stop(),
    ?assertEqual([], [Pid || Pid <- Pids, is_process_alive(Pid)]),
    ?assertNot(is_process_alive(element(2, Pool))),
    ?assertEqual(0, test_helpers:context_threads()),
    ?assertEqual(0, py_context_router:num_contexts()),
    nothing_is_left(Threads),
    ?assertEqual({error, {context_died, noproc}}, py_context:call(hd(Pids), math, sqrt, [1])).

stop_is_idempotent(_Config) ->
    {ok, _} = py_context_router:start(#{contexts => 1}),
    ?assertEqual([ok, ok, ok], [py_context_router:stop() || _ <- [1, 2, 3]]),
    ?assertEqual(ok, py_context_router:stop_pool(never_started)),
    ?assertEqual(ok, py_context_router:stop_pool(list_to_atom(lists:duplicate(255, $y)))).

stop_without_start_does_not_start_the_application(_Config) ->
    ?assertEqual(ok, py_context_router:stop()),
    ?assertEqual(undefined, whereis(py_context_router_sup)).

a_stopped_pool_starts_afresh(_Config) ->
    {ok, [Old]} = py_context_router:start(#{contexts => 1}),
    ok = py_context:exec(Old, <<"x = 1">>),
    ok = py_context_router:stop(),
    {ok, [New, _]} = py_context_router:start(#{contexts => 2}),
    ?assertNotEqual(Old, New),
    ?assertMatch({error, {'NameError', _}}, py_context:eval(New, <<"x">>)).

starters_and_stoppers_at_once_end_in_one_state(_Config) ->
    {ok, _} = py_context_router:start(#{contexts => 2}),
    Doers = [test_helpers:ask(fun() -> start_or_stop(N) end) || N <- lists:seq(1, 60)],
    Outcomes = [test_helpers:answer(Doer) || Doer <- Doers],
    ?assertEqual([], [Outcome || Outcome <- Outcomes, Outcome =/= ok, element(1, Outcome) =/= ok]),
    {ok, Pids} = py_context_router:start(#{contexts => 2}),
    ?assertEqual([{ok, 2}, {ok, 2}], [py_context:eval(Pid, <<"1 + 1">>) || Pid <- Pids]),
    ok = py_context_router:stop(),
    ?assertEqual(0, test_helpers:context_threads()).

start_or_stop(N) when N rem 3 =:= 0 -> py_context_router:stop();
start_or_stop(_N) -> py_context_router:start(#{contexts => 2}).

stopping_the_application_stops_everything(_Config) ->
    {ok, Pids} = py_context_router:start(#{contexts => 2}),
    {ok, Single} = py_context_sup:start_context(single, worker),
    ok = py_context_router:register_pool(io, math),
    ok = application:stop(py_context_router),
    ?assertEqual([], [Pid || Pid <- [Single | Pids], is_process_alive(Pid)]),
    ?assertEqual(0, test_helpers:context_threads()),
    ?assertEqual([], published()),
    ?assertEqual(default, py_context_router:lookup_pool(math, sqrt)).

an_application_that_is_killed_leaves_nothing(_Config) ->
    {ok, _} = py_context_router:start(#{contexts => 2}),
    ok = py_context_router:register_pool(io, math),
    ok = py:register_function(gone, fun() -> ok end),
    ok = py:import(json),
    exit(whereis(py_context_router_sup), kill),
    _ = eventually(fun() ->
        not lists:keymember(py_context_router, 1, application:which_applications())
    end),
    ?assertEqual([], published()),
    {ok, _} = py_context_router:start(#{contexts => 2}),
    ?assertEqual(default, py_context_router:lookup_pool(math, sqrt)).

%% ------------------------------------------------------------------ routing

processes_are_routed_by_scheduler(_Config) ->
    {ok, _} = py_context_router:start(),
    ?assertEqual(lists:seq(1, erlang:system_info(schedulers_online)), routed_by(default, 1000)).

%% In a VM with more schedulers than this machine need have cores.
processes_are_routed_by_scheduler_when_schedulers_outnumber_contexts(_Config) ->
    {ok, Peer, _} = test_helpers:start_peer(#{connection => standard_io, args => ["+S", "8:8"]}),
    [begin
         {ok, _} = peer:call(Peer, py_context_router, start_pool, [Pool, Size], 60_000),
         Seen = peer:call(Peer, ?MODULE, routed_by, [Pool, 1000], 60_000),
         ?assertEqual(lists:seq(1, 8), Seen)
     end || {Pool, Size} <- [{three, 3}, {eight, 8}, {ten, 10}, {one, 1}]],
    ok = peer:stop(Peer).

%% Routes many processes, some where the VM likes, some on each scheduler; the schedulers that were
%% seen, in order. Fails at one that is routed wrongly.
routed_by(Pool, Processes) ->
    Contexts = list_to_tuple(py_context_router:contexts(Pool)),
    Route = fun() -> routed(Pool, Contexts, 20) end,
    Askers = [case N rem (erlang:system_info(schedulers_online) + 1) of
                  0 -> test_helpers:ask(Route);
                  Scheduler -> test_helpers:ask_on(Scheduler, Route)
              end || N <- lists:seq(1, Processes)],
    Answers = lists:append([test_helpers:answer(Asker) || Asker <- Askers]),
    [] = [Wrong || {wrong, _} = Wrong <- Answers],
    lists:usort(Answers).

routed(_Pool, _Contexts, 0) ->
    [];
routed(Pool, Contexts, Times) ->
    Before = erlang:system_info(scheduler_id),
    Native = py_nif:scheduler_id(),
    Ctx = py_context_router:get_context(Pool),
    After = erlang:system_info(scheduler_id),
    Expected = element((Before - 1) rem tuple_size(Contexts) + 1, Contexts),
    erlang:yield(),
    case {Before, Ctx, Native} of
        %% Moved to another scheduler in between: says nothing.
        _ when Before =/= After -> routed(Pool, Contexts, Times);
        {_, Expected, Before} -> [Before | routed(Pool, Contexts, Times - 1)];
        Wrong -> [{wrong, {Wrong, Expected}}]
    end.

routing_binds_nothing(_Config) ->
    {ok, _} = py_context_router:start(#{contexts => 2}),
    {ok, _} = py_context_router:start_pool(io, 2),
    Before = get(),
    _ = py_context_router:get_context(),
    _ = py_context_router:get_context(io),
    ?assertEqual(Before, get()).

a_number_is_a_slot(_Config) ->
    {ok, Pids} = py_context_router:start(#{contexts => 3}),
    ?assertEqual(Pids, [py_context_router:get_context(N) || N <- [1, 2, 3]]),
    [?assertError(badarg, py_context_router:get_context(N)) || N <- [0, 4, -1, 1 bsl 70]].

each_pool_routes_to_its_own_contexts(_Config) ->
    {ok, [Default]} = py_context_router:start(#{contexts => 1}),
    {ok, [Io]} = py_context_router:start_pool(io, 1),
    ?assertEqual(Default, py_context_router:get_context()),
    ?assertEqual(Default, py_context_router:get_context(default)),
    ?assertEqual(Io, py_context_router:get_context(io)).

%% The slots can't be filled again while the file is away, so that what is seen doesn't depend on
%% how fast they are.
dead_contexts_are_skipped(Config) ->
    {File, [First, Second, Third]} = start_with_file(3, Config),
    ok = file:delete(File),
    kill(First),
    ?assertEqual(next_living([First, Second, Third]), routed_to()),
    kill(Second),
    ?assertEqual(next_living([First, Second, Third]), routed_to()),
    ?assertEqual([Third], lists:usort(routed_to())),
    ?assert(py_context_router:is_started()),
    ?assertEqual([First, Second, Third], py_context_router:contexts()),
    ?assertMatch(#{alive := 1, size := 3}, py_context_router:info(default)),
    ok = file:write_file(File, <<>>),
    _ = eventually(fun() -> lists:all(fun is_process_alive/1, py_context_router:contexts()) end),
    [New1, New2, Third] = py_context_router:contexts(),
    ?assertEqual([], [Pid || Pid <- [New1, New2], lists:member(Pid, [First, Second])]),
    ?assertEqual(next_living([New1, New2, Third]), routed_to()).

a_dead_pool_still_has_an_answer(Config) ->
    {File, [Only]} = start_with_file(1, Config),
    ok = file:delete(File),
    kill(Only),
    ?assertNot(py_context_router:is_started()),
    ?assertEqual(Only, py_context_router:get_context()),
    ?assertEqual({error, {context_died, noproc}},
                 py_context:call(py_context_router:get_context(), math, sqrt, [1])),
    ok = file:write_file(File, <<>>),
    _ = eventually(fun() -> py_context_router:is_started() end),
    ?assertEqual({ok, 1.0},
                 py_context:call(py_context_router:get_context(), math, sqrt, [1])).

%% A pool whose contexts start only while a file exists.
start_with_file(Size, Config) ->
    File = filename:join(?config(priv_dir, Config), "needed"),
    ok = file:write_file(File, <<>>),
    {ok, Pids} = py_context_router:start(#{contexts => Size,
                                           preload => ["open('", File, "').close()"]}),
    {File, Pids}.

kill(Ctx) ->
    Monitor = monitor(process, Ctx),
    exit(Ctx, kill),
    receive {'DOWN', Monitor, process, Ctx, killed} -> ok end.

%% Where each scheduler's processes are routed.
routed_to() ->
    Askers = [test_helpers:ask_on(Scheduler, fun py_context_router:get_context/0)
              || Scheduler <- lists:seq(1, erlang:system_info(schedulers_online))],
    [test_helpers:answer(Asker) || Asker <- Askers].

%% Where they should be: in the first living slot of their scheduler, else in the next one.
next_living(Slots) ->
    Schedulers = erlang:system_info(schedulers),
    [begin
         {Before, After} = lists:split((Scheduler - 1) rem length(Slots), Slots),
         {_, Own} = lists:unzip([Slot || {N, _} = Slot <- lists:enumerate(0, After),
                                         N rem Schedulers =:= 0]),
         hd(lists:filter(fun is_process_alive/1, Own ++ After ++ Before))
     end || Scheduler <- lists:seq(1, erlang:system_info(schedulers_online))].

%% ------------------------------------------------------------------ binding

a_bound_process_gets_its_context(_Config) ->
    {ok, Pids} = py_context_router:start(#{contexts => 3}),
    [begin
         ok = py_context_router:bind_context(Pid),
         ?assertEqual([Pid], lists:usort([begin
                                              erlang:yield(),
                                              py_context_router:get_context()
                                          end || _ <- lists:seq(1, 100)])),
         ?assertEqual(Pid, py_context_router:get_context(default))
     end || Pid <- Pids].

a_second_binding_replaces_the_first(_Config) ->
    {ok, [First, Second]} = py_context_router:start(#{contexts => 2}),
    ok = py_context_router:bind_context(First),
    ok = py_context_router:bind_context(default, Second),
    ?assertEqual(Second, py_context_router:get_context()).

bindings_are_per_process_and_pool(_Config) ->
    {ok, [Default]} = py_context_router:start(#{contexts => 1}),
    {ok, [Io]} = py_context_router:start_pool(io, 1),
    {ok, Single} = py_context:new(#{}),
    ok = py_context_router:bind_context(io, Single),
    ?assertEqual({Default, Single},
                 {py_context_router:get_context(), py_context_router:get_context(io)}),
    ok = py_context_router:bind_context(Single),
    ok = py_context_router:unbind_context(io),
    ?assertEqual({Single, Io},
                 {py_context_router:get_context(), py_context_router:get_context(io)}),
    Other = test_helpers:ask(fun py_context_router:get_context/0),
    ?assertEqual(Default, test_helpers:answer(Other)),
    ok = py_context:stop(Single).

a_dead_binding_is_passed_over(_Config) ->
    {ok, [Default]} = py_context_router:start(#{contexts => 1}),
    {ok, Single} = py_context:new(#{}),
    ok = py_context_router:bind_context(Single),
    ok = py_context:stop(Single),
    ?assertEqual(Default, py_context_router:get_context()),
    %% Without a pool to fall back to there is none.
    ok = py_context_router:stop(),
    ?assertError(badarg, py_context_router:get_context()).

unbinding_is_idempotent(_Config) ->
    {ok, [Default]} = py_context_router:start(#{contexts => 1}),
    {ok, Single} = py_context:new(#{}),
    ok = py_context_router:bind_context(Single),
    ?assertEqual([ok, ok], [py_context_router:unbind_context() || _ <- [1, 2]]),
    ?assertEqual(ok, py_context_router:unbind_context(never_started)),
    ?assertEqual(Default, py_context_router:get_context()),
    ok = py_context:stop(Single).

with_context_restores_the_binding(_Config) ->
    {ok, [First, Second, Third]} = py_context_router:start(#{contexts => 3}),
    Nested = fun() ->
        Inner = py_context_router:with_context(Second, fun py_context_router:get_context/0),
        {Inner, py_context_router:get_context()}
    end,
    ?assertEqual({Second, First}, py_context_router:with_context(First, Nested)),
    ?assertEqual([], [Key || {Key, First_} <- get(), First_ =:= First]),
    ok = py_context_router:bind_context(Third),
    ?assertEqual({Second, First}, py_context_router:with_context(First, Nested)),
    ?assertEqual(Third, py_context_router:get_context()).

with_context_restores_after_exceptions(_Config) ->
    {ok, [First, Second]} = py_context_router:start(#{contexts => 2}),
    ok = py_context_router:bind_context(First),
    ?assertThrow(t, py_context_router:with_context(Second, fun() -> throw(t) end)),
    ?assertError(e, py_context_router:with_context(Second, fun() -> error(e) end)),
    ?assertExit(x, py_context_router:with_context(Second, fun() -> exit(x) end)),
    ?assertEqual(First, py_context_router:get_context()),
    %% Also what the function itself has bound is undone.
    ok = py_context_router:with_context(First, fun() -> py_context_router:bind_context(Second) end),
    ?assertEqual(First, py_context_router:get_context()).

%% ------------------------------------------------------------------ registrations

a_function_goes_before_its_module_and_that_before_default(_Config) ->
    ?assertEqual(default, py_context_router:lookup_pool(math, sqrt)),
    ok = py_context_router:register_pool(io, math),
    ok = py_context_router:register_pool(ml, math, sqrt),
    ?assertEqual(ml, py_context_router:lookup_pool(math, sqrt)),
    ?assertEqual(io, py_context_router:lookup_pool(math, sin)),
    ?assertEqual(default, py_context_router:lookup_pool(cmath, sqrt)),
    ?assertEqual([{{math, '_'}, io}, {{math, sqrt}, ml}],
                 py_context_router:list_pool_registrations()),
    ok = py_context_router:unregister_pool(math),
    ?assertEqual({ml, default}, {py_context_router:lookup_pool(math, sqrt),
                                 py_context_router:lookup_pool(math, sin)}),
    ok = py_context_router:unregister_pool(math, sqrt),
    ?assertEqual([], py_context_router:list_pool_registrations()).

atoms_and_binaries_name_the_same(_Config) ->
    ok = py_context_router:register_pool(io, <<"os.path">>, join),
    ok = py_context_router:register_pool(ml, 'numpy.linalg'),
    [?assertEqual(io, py_context_router:lookup_pool(Module, Func))
     || Module <- ['os.path', <<"os.path">>], Func <- [join, <<"join">>]],
    [?assertEqual(ml, py_context_router:lookup_pool(Module, <<"norm">>))
     || Module <- ['numpy.linalg', <<"numpy.linalg">>]],
    ok = py_context_router:register_pool(io, <<"numpy.linalg">>),
    ok = py_context_router:unregister_pool('os.path', <<"join">>),
    ?assertEqual([{{'numpy.linalg', '_'}, io}], py_context_router:list_pool_registrations()).

unregistering_is_idempotent(_Config) ->
    ok = py_context_router:register_pool(io, math),
    ?assertEqual([ok, ok], [py_context_router:unregister_pool(math) || _ <- [1, 2]]),
    ?assertEqual(ok, py_context_router:unregister_pool(<<"never">>, <<"registered">>)),
    ?assertEqual([], py_context_router:list_pool_registrations()).

registrations_need_no_running_pool(_Config) ->
    ok = py_context_router:register_pool(not_yet, math),
    ?assertNot(py_context_router:pool_started(not_yet)),
    {ok, [Ctx]} = py_context_router:start_pool(not_yet, 1),
    ?assertEqual(Ctx, py_context_router:get_context(py_context_router:lookup_pool(math, sqrt))).

a_hundred_registrations_at_once_lose_none(_Config) ->
    ok = py_context_router:init_pool_registry(),
    Names = [list_to_atom("f" ++ integer_to_list(N)) || N <- lists:seq(1, 100)],
    Registrars = [test_helpers:ask(fun() ->
                      ok = py_context_router:register_pool(io, gone, Name),
                      ok = py_context_router:register_pool(io, kept, Name),
                      py_context_router:unregister_pool(gone, Name)
                  end) || Name <- Names],
    ?assertEqual([ok], lists:usort([test_helpers:answer(Pid) || Pid <- Registrars])),
    ?assertEqual(lists:sort([{{kept, Name}, io} || Name <- Names]),
                 lists:sort(py_context_router:list_pool_registrations())).

looking_up_makes_no_atoms(_Config) ->
    Names = [<<"looked_up_only_", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 100)],
    Before = erlang:system_info(atom_count),
    ?assertEqual([default],
                 lists:usort([py_context_router:lookup_pool(Name, Name) || Name <- Names])),
    ?assertEqual(Before, erlang:system_info(atom_count)),
    %% Nor does any of them meet a registration by accident.
    ok = py_context_router:register_pool(io, math),
    ?assertEqual(io, py_context_router:lookup_pool(math, <<"looked_up_only_0">>)),
    ?assertEqual(default, py_context_router:lookup_pool(<<"looked_up_only_0">>, sqrt)).

%% Names may come from data.
registering_makes_no_atoms(_Config) ->
    Names = [<<"registered_only_", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 50)]
            ++ [binary:copy(<<"long">>, 100)],
    ok = py_context_router:init_pool_registry(),
    Before = erlang:system_info(atom_count),
    [begin
         ok = py_context_router:register_pool(io, Name),
         ok = py:register_pool(ml, {Name, Name}),
         ?assertEqual({io, ml}, {py_context_router:lookup_pool(Name, sqrt),
                                 py_context_router:lookup_pool(Name, Name)}),
         ok = py_context_router:unregister_pool(<<Name/binary, "_never">>)
     end || Name <- Names],
    Both = lists:sort([{{Name, '_'}, io} || Name <- Names]
                      ++ [{{Name, Name}, ml} || Name <- Names]),
    ?assertEqual(Both, py_context_router:list_pool_registrations()),
    [ok = py:unregister_pool({Name, Name}) || Name <- Names],
    [ok = py:unregister_pool(Name) || Name <- Names],
    ?assertEqual(Before, erlang:system_info(atom_count)),
    ?assertEqual([], py_context_router:list_pool_registrations()).

%% A program may be loaded, and its atoms made, after what it uses was registered.
an_atom_that_comes_later_names_the_same(_Config) ->
    ok = py_context_router:register_pool(io, <<"named_before_its_atom">>),
    ok = py_context_router:register_pool(io, math),
    ok = py_context_router:register_pool(ml, math, <<"function_before_its_atom">>),
    ?assertEqual([{{math, '_'}, io}, {{math, <<"function_before_its_atom">>}, ml},
                  {{<<"named_before_its_atom">>, '_'}, io}],
                 py_context_router:list_pool_registrations()),
    %% Not by the compiler, which makes atoms of what it knows.
    [Module, Func] = [list_to_atom(lists:reverse(Name)) || Name <- ["mota_sti_erofeb_deman",
                                                                    "mota_sti_erofeb_noitcnuf"]],
    ?assertEqual([io, io, ml, default],
                 [py_context_router:lookup_pool(M, F)
                  || {M, F} <- [{Module, sqrt}, {math, sqrt}, {math, Func}, {cmath, Func}]]),
    ?assertEqual([{{math, '_'}, io}, {{math, Func}, ml}, {{Module, '_'}, io}],
                 py_context_router:list_pool_registrations()),
    ok = py_context_router:unregister_pool(math, Func),
    ok = py_context_router:register_pool(ml, Module),
    ?assertEqual([ml, io], [py_context_router:lookup_pool(M, Func) || M <- [Module, math]]).

what_is_no_name_is_refused(_Config) ->
    [?assertError(badarg, py_context_router:register_pool(io, Name))
     || Name <- ['', <<>>, <<255>>, "math", 1]],
    [?assertError(badarg, py_context_router:lookup_pool(M, F)) || {M, F} <- [{1, f}, {m, "f"}]].

%% Those of pools, of functions and of what contexts start with, whether the process that writes
%% them is killed or crashes; and a process that registers meanwhile waits for the next one.
what_is_registered_survives_the_death_of_its_writer(_Config) ->
    ok = py_context_router:register_pool(io, math),
    ok = py:register_function(kept, fun() -> 7 end),
    ok = py:import(colorsys),
    [begin
         Old = whereis(Writer),
         ok = End(Writer),
         Later = list_to_atom(lists:concat([Writer, "_", Name])),
         ?assertEqual(ok, py_context_router:register_pool(io, Later)),
         ?assertEqual(ok, py:register_function(Later, fun() -> ok end)),
         ?assertEqual(ok, py:unregister_function(Later)),
         ?assertEqual(ok, py:import(keyword)),
         ?assertNotEqual(Old, whereis(Writer)),
         ?assertEqual({io, io}, {py_context_router:lookup_pool(math, sqrt),
                                 py_context_router:lookup_pool(Later, sqrt)}),
         {ok, Ctx} = py_context:new(#{}),
         ?assertEqual({ok, [true, 7]},
                      py_context:eval(Ctx,
                                      <<"['colorsys' in globals(), "
                                        "__import__('erlang').kept()]">>)),
         ok = py_context:stop(Ctx)
     end || Writer <- [py_registry, py_callback_registry, py_context_setup],
            {Name, End} <- [{killed, fun killed/1}, {crashed, fun crashed/1}]].

killed(Server) ->
    true = exit(whereis(Server), kill),
    ok.

%% By a request that it can't understand.
crashed(Server) ->
    ?assertExit({{function_clause, _}, _}, gen_server:call(Server, no_request)),
    ok.

%% Twice, so that the version with which the process has begun is purged.
a_writer_goes_on_with_a_new_version_of_its_module(_Config) ->
    {ok, _} = application:ensure_all_started(py_context_router),
    Writers = [py_registry, py_callback_registry, py_context_setup],
    Before = [whereis(Writer) || Writer <- Writers],
    try
        [ok = load_version(Writer, N) || N <- [1, 2], Writer <- Writers],
        ?assertEqual(ok, py_context_router:register_pool(io, version)),
        ?assertEqual(ok, py:register_function(version, fun() -> 2 end)),
        ?assertEqual(ok, py:import(keyword)),
        ?assertEqual(Before, [whereis(Writer) || Writer <- Writers])
    after
        [begin
             _ = code:purge(Writer),
             {module, Writer} = code:load_file(Writer)
         end || Writer <- Writers]
    end.

%% Functions of the same code are those of the version before, so each version has other code.
load_version(Module, N) ->
    {ok, {Module, [{abstract_code, {_, Forms}}]}} =
        beam_lib:chunks(code:which(Module), [abstract_code]),
    {Head, [First | Functions]} =
        lists:splitwith(fun(Form) -> element(1, Form) =/= function end, Forms),
    Version = {function, 0, version, 0, [{clause, 0, [], [], [{integer, 0, N}]}]},
    Exported = {attribute, 0, export, [{version, 0}]},
    {Attributes, Spec} = lists:splitwith(fun(Form) -> not is_spec(Form) end, Head),
    {ok, Module, Binary} =
        compile:forms(Attributes ++ [Exported] ++ Spec ++ [Version, First | Functions]),
    _ = code:purge(Module),
    {module, Module} = code:load_binary(Module, code:which(Module), Binary),
    ok.

is_spec({attribute, _, spec, _}) -> true;
is_spec(_Form) -> false.

init_pool_registry_is_safe_any_number_of_times(_Config) ->
    ?assertEqual(ok, py_context_router:init_pool_registry()),
    ok = py_context_router:register_pool(io, math),
    ?assertEqual([ok, ok], [py_context_router:init_pool_registry() || _ <- [1, 2]]),
    ?assertEqual(io, py_context_router:lookup_pool(math, sqrt)).

registry_is_a_map(_Config) ->
    ok = py_context_router:init_pool_registry(),
    ?assert(proper:quickcheck(prop_registry:prop_registry_is_a_map(),
                              [{numtests, 200}, {to_file, user}])).

%% ------------------------------------------------------------------ observing

nothing_is_known_of_what_is_not_started(_Config) ->
    ?assertEqual({[], 0, false}, {py_context_router:contexts(), py_context_router:num_contexts(),
                                  py_context_router:is_started()}),
    ?assertEqual({[], 0, false},
                 {py_context_router:contexts(io), py_context_router:num_contexts(io),
                  py_context_router:pool_started(io)}),
    ?assertEqual({#{}, #{}, []}, {py_context_router:info(), py_context_router:info(io),
                                  py_context_router:pools()}),
    ?assertEqual([], py_context_router:list_pool_registrations()),
    ?assertEqual({error, {pool_not_started, io}}, py_context_router:resize_pool(io, 2)),
    %% None of this has started the application.
    ?assertEqual(undefined, whereis(py_context_router_sup)).

info_describes_a_pool_and_its_contexts(_Config) ->
    {ok, Pids} = py_context_router:start_pool(io, #{contexts => 2, max_queue => 9, shutdown => 77}),
    #{contexts := Contexts} = Info = py_context_router:info(io),
    ?assertMatch(#{mode := worker, size := 2, alive := 2, restarts := 0, max_queue := 9,
                   shutdown := 77}, Info),
    ?assertEqual(Pids, [Pid || #{pid := Pid} <- Contexts]),
    [?assertMatch(#{mode := worker, state := idle, queue := 0, max_queue := 9, python_interp := 0,
                    busy_ms := undefined, done := 0, failed := 0, timed_out := 0, cancelled := 0},
                  Context) || Context <- Contexts],
    [?assertEqual(2, length(lists:usort([maps:get(Key, Context) || Context <- Contexts])))
     || Key <- [interp_id, thread_id]],
    %% The thread ids are the OS's.
    [?assert(filelib:is_dir("/proc/self/task/" ++ integer_to_list(Thread)))
     || #{thread_id := Thread} <- Contexts].

info_lists_the_pools(_Config) ->
    {ok, _} = py_context_router:start(#{contexts => 1}),
    {ok, _} = py_context_router:start_pool(io, 2),
    ?assertEqual([default, io], py_context_router:pools()),
    Info = py_context_router:info(),
    ?assertMatch(#{default := #{size := 1}, io := #{size := 2}}, Info),
    ?assertEqual(2, map_size(Info)).

info_counts_jobs(_Config) ->
    {ok, [Ctx]} = py_context_router:start(#{contexts => 1}),
    [{ok, _} = py_context:eval(Ctx, <<"1">>) || _ <- [1, 2, 3]],
    [{error, _} = py_context:eval(Ctx, <<"1/0">>) || _ <- [1, 2]],
    {error, timeout} = py_context:exec(Ctx, <<"while True: pass">>, 10),
    {ok, _} = py_context:eval(Ctx, <<"1">>),
    %% A job is counted right after its reply has gone out.
    _ = eventually(fun() ->
        #{contexts := [Info]} = py_context_router:info(default),
        maps:with([done, failed, timed_out, cancelled], Info) =:=
            #{done => 4, failed => 2, timed_out => 1, cancelled => 0}
    end).

%% ------------------------------------------------------------------ misuse

misuse_is_a_badarg_with_a_sentence(_Config) ->
    NotStarted = [{fun py_context_router:get_context/0, "no pool named default is started"},
                  {fun() -> py_context_router:get_context(io) end, "no pool named io is started"},
                  {fun() -> py_context_router:get_context(1) end,
                   "no pool named default is started"}],
    [sentence(Fun, Part) || {Fun, Part} <- NotStarted],
    {ok, [Ctx, _]} = py_context_router:start(#{contexts => 2}),
    Wrong = [{fun() -> py_context_router:get_context(3) end, "the slots are 1 to 2"},
             {fun() -> py_context_router:get_context(<<"io">>) end, "neither a pool's name nor"},
             {fun() -> py_context_router:bind_context(1) end, "not a pid"},
             {fun() -> py_context_router:bind_context(undefined) end, "not a pid"},
             {fun() -> py_context_router:bind_context(io, default) end, "not a pid"},
             {fun() -> py_context_router:bind_context("io", Ctx) end, "not an atom"},
             {fun() -> py_context_router:unbind_context(1) end, "not an atom"},
             {fun() -> py_context_router:with_context(Ctx, not_a_fun) end, "a pid and a function"},
             {fun() -> py_context_router:with_context(ctx, fun() -> ok end) end, "a pid and"},
             {fun() -> py_context_router:contexts("io") end, "not an atom"},
             {fun() -> py_context_router:num_contexts(1) end, "not an atom"},
             {fun() -> py_context_router:pool_started(<<"io">>) end, "not an atom"},
             {fun() -> py_context_router:stop_pool("io") end, "not an atom"},
             {fun() -> py_context_router:resize_pool("io", 1) end, "not an atom"},
             {fun() -> py_context_router:info(1) end, "not an atom"},
             {fun() -> py_context_router:register_pool(<<"io">>, math) end, "not an atom"},
             {fun() -> py_context_router:register_pool(io, "math") end,
              "neither an atom nor a bin"},
             {fun() -> py_context_router:register_pool(io, math, 1) end, "neither an atom nor"},
             {fun() -> py_context_router:register_pool(io, '') end, "empty"},
             {fun() -> py_context_router:register_pool(io, <<255>>) end, "not a name"},
             {fun() -> py_context_router:unregister_pool(1) end, "neither an atom nor a binary"},
             {fun() -> py_context_router:lookup_pool(math, "sqrt") end, "neither an atom nor"},
             {fun() -> py_context_router:child_spec(#{contexts => 1}) end, "a map with a name"}],
    [sentence(Fun, Part) || {Fun, Part} <- Wrong].

sentence(Fun, Part) ->
    Text = rendered(Fun),
    ?assertNotEqual({nomatch, Text}, {string:find(Text, Part), Text}).
