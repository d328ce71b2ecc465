%% What must hold under load and with real extension modules.
-module(load_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, eventually/1]).

-define(LOOP, <<"while True: pass">>).

suite() ->
    [{timetrap, {minutes, 10}}].

%% Some of the cases for each mode that the linked Python has.
all() ->
    [{group, extensions}, {group, threads} | test_helpers:mode_groups()].

groups() ->
    [{extensions, [],
      [the_standard_librarys_extension_modules_work,
       numpy_works]},
     {threads, [],
      [two_hundred_sleeping_contexts_finish_together]}]
    ++ [{Mode, [],
         [a_hundred_kills_under_load_lose_no_call_and_no_thread,
          contexts_that_end_of_any_signal_come_back,
          three_endless_loops_leave_the_others_answering]} || Mode <- [worker, subinterp, owngil]].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    ok = test_helpers:stop_all(),
    Config.

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all().

%% Shown in the report and on screen.
report(Format, Args) ->
    Text = lists:flatten(io_lib:format(Format, Args)),
    ct:comment("~ts", [Text]),
    ct:pal("~ts", [Text]).

%% ------------------------------------------------------------------ extensions

%% In two contexts at once: the modules are loaded by one thread and used by another.
the_standard_librarys_extension_modules_work(_Config) ->
    {ok, Pids} = py_context_router:start(#{contexts => 2}),
    Uses = [{<<"str(decimal.Decimal('0.1') + decimal.Decimal('0.2'))">>, <<"0.3">>},
            {<<"sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()">>, {42}},
            {<<"ctypes.sizeof(ctypes.c_int32)">>, 4},
            {<<"ctypes.CDLL(None).abs(-5)">>, 5},
            {<<"ssl.create_default_context().check_hostname">>, true},
            {<<"hashlib.sha256(b'').hexdigest()[:8]">>, <<"e3b0c442">>},
            {<<"zlib.decompress(zlib.compress(b'x' * 10))">>, <<"xxxxxxxxxx">>},
            {<<"json.loads(json.dumps([1, None]))">>, [1, none]}],
    Import = <<"import ctypes, decimal, hashlib, json, sqlite3, ssl, zlib\n"
               "import _ctypes, _decimal, _sqlite3, _ssl">>,
    Users = [ask(fun() ->
                 ok = py_context:exec(Ctx, Import),
                 [{Code, py_context:eval(Ctx, Code)} || {Code, _} <- Uses]
             end) || Ctx <- Pids],
    Expected = [{Code, {ok, Value}} || {Code, Value} <- Uses],
    ?assertEqual([Expected, Expected], [answer(User) || User <- Users]).

numpy_works(_Config) ->
    test_helpers:with_numpy(fun(Vm) -> peer:call(Vm, ?MODULE, use_numpy, [], 120_000) end).

use_numpy() ->
    {ok, Pids} = py_context_router:start(#{contexts => 3}),
    {ok, Venv} = application:get_env(py_context_router, python),
    ?assertEqual({ok, unicode:characters_to_binary(Venv)},
                 py_context:eval(hd(Pids), <<"__import__('sys').prefix">>)),
    Users = [ask(fun() ->
                 ok = py_context:exec(Ctx, <<"import numpy as np\n"
                                             "def det(rows): return "
                                             "float(np.linalg.det(np.array(rows)))\n"
                                             "def sums(n):\n"
                                             "  return [int(x) for x in np.arange(n).reshape(2, "
                                             "-1).sum(axis=1)]">>),
                 [{py_context:call(Ctx, '__main__', det, [[[2.0, 0.0], [0.0, 3.0]]]),
                   py_context:call(Ctx, '__main__', sums, [6]),
                   py_context:call(Ctx, 'numpy.linalg', 'norm', [[3.0, 4.0]])}
                  || _ <- lists:seq(1, 50)]
             end) || Ctx <- Pids],
    Expected = {{ok, 6.0}, {ok, [3, 12]}, {ok, 5.0}},
    ?assertEqual([Expected], lists:usort(lists:append([answer(User) || User <- Users]))),
    %% numpy's own errors, and a context that dies with numpy in it.
    ?assertMatch({error, {'ValueError', _}},
                 py_context:eval(hd(Pids), <<"np.zeros(2) + np.zeros(3)">>)),
    exit(hd(Pids), kill),
    _ = eventually(fun() ->
        Ctx = py_context_router:get_context(1),
        is_process_alive(Ctx) andalso
            py_context:eval(Ctx, <<"float(__import__('numpy').ones(4).sum())">>) =:= {ok, 4.0}
    end),
    py_context_router:stop().

%% ------------------------------------------------------------------ storm

-define(KILLS, 100).
-define(CALLERS, 50).

a_hundred_kills_under_load_lose_no_call_and_no_thread(Config) ->
    Size = 4,
    {ok, _} = py_context_router:start(#{contexts => Size, mode => ?config(mode, Config)}),
    Idle = threads_at_rest(),
    %% Odd while a kill is under way; see `call_on/3'.
    Epoch = atomics:new(1, []),
    Stop = atomics:new(1, []),
    Callers = [ask(fun() -> call_on(Epoch, Stop, #{}) end) || _ <- lists:seq(1, ?CALLERS)],
    Times = lists:sort([kill_one_and_wait(Epoch, Size) || _ <- lists:seq(1, ?KILLS)]),
    ok = atomics:put(Stop, 1, 1),
    Counts = lists:foldl(fun(Counts, Sum) ->
        maps:fold(fun(Key, N, Acc) -> maps:update_with(Key, fun(M) -> M + N end, N, Acc) end,
                  Sum, Counts)
    end, #{}, [answer(Caller) || Caller <- Callers]),
    report("back at full size after ~.1f ms (median), ~.1f ms (worst); outcomes: ~0p",
           [lists:nth(?KILLS div 2, Times), lists:last(Times), Counts]),
    %% Nothing but results and deaths, of which there were some of each.
    ?assertMatch(#{ok := _, died := _}, Counts),
    ?assertEqual([], maps:keys(maps:without([ok, died], Counts))),
    ?assertMatch(#{size := Size, alive := Size, restarts := ?KILLS},
                 py_context_router:info(default)),
    _ = test_helpers:await_threads(Idle),
    %% The dead contexts' threads are gone: a second answer would have come.
    ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- Callers])).

%% With the pool running and idle, and with the thread that helps contexts to end, which stays.
threads_at_rest() ->
    {ok, _} = py_context_router:start_pool(warm_up, 1),
    ok = py_context_router:stop_pool(warm_up),
    [{ok, 2} = py_context:eval(Ctx, <<"1 + 1">>) || Ctx <- py_context_router:contexts()],
    _ = eventually(fun() ->
        Before = test_helpers:threads(),
        receive after 50 -> Before =:= test_helpers:threads() end
    end),
    test_helpers:threads().

%% Calls until `Stop' is set, and counts how that ended. A dead context that is handed out although
%% no kill was under way is a fault: all the others lived.
call_on(Epoch, Stop, Counts) ->
    case atomics:get(Stop, 1) of
        1 ->
            Counts;
        0 ->
            Outcome = call_once(Epoch),
            call_on(Epoch, Stop, maps:update_with(Outcome, fun(N) -> N + 1 end, 1, Counts))
    end.

call_once(Epoch) ->
    Before = atomics:get(Epoch, 1),
    Ctx = py_context_router:get_context(),
    Alive = is_process_alive(Ctx),
    case atomics:get(Epoch, 1) of
        Before when Before band 1 =:= 0, not Alive -> handed_out_a_dead_context;
        _ -> outcome(py_context:call(Ctx, math, sqrt, [16.0]))
    end.

outcome({ok, 4.0}) -> ok;
outcome({error, {context_died, killed}}) -> died;
outcome({error, {context_died, noproc}}) -> died;
outcome(Other) -> Other.

%% How long the pool took to be whole again, in ms.
kill_one_and_wait(Epoch, Size) ->
    Target = py_context_router:get_context(rand:uniform(Size)),
    Monitor = monitor(process, Target),
    ok = atomics:add(Epoch, 1, 1),
    exit(Target, kill),
    receive {'DOWN', Monitor, process, Target, killed} -> ok end,
    ok = atomics:add(Epoch, 1, 1),
    await_whole(Target, Size).

await_whole(Target, Size) ->
    eventually(fun() ->
        Contexts = py_context_router:contexts(),
        length(Contexts) =:= Size andalso not lists:member(Target, Contexts)
            andalso lists:all(fun is_process_alive/1, Contexts)
    end).

%% Each of them with a job that runs and one that waits.
contexts_that_end_of_any_signal_come_back(Config) ->
    {ok, _} = py_context_router:start(#{contexts => 3, shutdown => 10,
                                        mode => ?config(mode, Config)}),
    Signals = [{shutdown, shutdown}, {{shutdown, asked}, shutdown}, {noconnection, noconnection},
               {{some, reason}, {some, reason}}],
    [ok = end_one(Signal, 3) || Signal <- Signals],
    Threads = threads_at_rest(),
    Files = test_helpers:files(),
    [ok = end_one(Signal, 3) || _ <- lists:seq(1, 3), Signal <- Signals],
    ?assertMatch(#{size := 3, alive := 3, restarts := 16}, py_context_router:info(default)),
    [?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>))
     || Ctx <- py_context_router:contexts()],
    _ = test_helpers:await_threads(Threads),
    _ = eventually(fun() -> test_helpers:files() =< Files end),
    %% That somebody else has ended well is nothing to it.
    [Ctx | _] = Contexts = py_context_router:contexts(),
    ok = py_context:exec(Ctx, <<"kept = 1">>),
    true = exit(Ctx, normal),
    _ = sys:get_state(Ctx),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"kept">>)),
    ?assertEqual(Contexts, py_context_router:contexts()),
    ?assertMatch(#{restarts := 16}, py_context_router:info(default)).

end_one({Signal, Reason}, Size) ->
    Target = py_context_router:get_context(rand:uniform(Size)),
    Running = ask(fun() -> py_context:exec(Target, ?LOOP) end),
    _ = await_busy(Target),
    Waiting = ask(fun() -> py_context:eval(Target, <<"1 + 1">>) end),
    _ = test_helpers:await_queue(Target, 1),
    true = exit(Target, Signal),
    _ = await_whole(Target, Size),
    [?assertEqual({error, {context_died, Reason}}, answer(Caller)) || Caller <- [Running, Waiting]],
    ?assertEqual([[], []], [leftovers(Caller) || Caller <- [Running, Waiting]]),
    ok.

%% ------------------------------------------------------------------ threads

%% Contexts don't share a limited number of threads: asleep, two hundred take as long as one.
two_hundred_sleeping_contexts_finish_together(_Config) ->
    {ok, [One]} = py_context_router:start(#{contexts => 1}),
    {ok, none} = py_context:call(One, time, sleep, [0]),
    Alone = sleep_in([One]),
    {ok, Many} = py_context_router:start_pool(sleepers, 200),
    [{ok, none} = py_context:call(Ctx, time, sleep, [0]) || Ctx <- Many],
    Together = sleep_in(Many),
    report("one: ~b ms, 200: ~b ms", [Alone, Together]),
    ?assert(Together < 2 * Alone).

sleep_in(Contexts) ->
    {Us, _} = timer:tc(fun() ->
        Sleepers = [ask(fun() -> py_context:call(Ctx, time, sleep, [0.5]) end) || Ctx <- Contexts],
        [{ok, none} = answer(Sleeper) || Sleeper <- Sleepers]
    end),
    Us div 1000.

three_endless_loops_leave_the_others_answering(Config) ->
    {ok, Pids} = py_context_router:start(#{contexts => 5, shutdown => 0,
                                           mode => ?config(mode, Config)}),
    {Looping, Others} = lists:split(3, Pids),
    Loops = [ask(fun() -> py_context:exec(Ctx, ?LOOP) end) || Ctx <- Looping],
    _ = [await_busy(Ctx) || Ctx <- Looping],
    Callers = [ask(fun() ->
                   [py_context:call(Ctx, math, sqrt, [16.0]) || _ <- lists:seq(1, 50)]
               end) || Ctx <- Others, _ <- [1, 2, 3]],
    ?assertEqual([{ok, 4.0}],
                 lists:usort(lists:append([answer(Caller) || Caller <- Callers]))),
    ?assertEqual([busy], lists:usort([maps:get(state, py_context:info(Ctx)) || Ctx <- Looping])),
    ok = py_context_router:stop(),
    ?assertEqual([{error, {context_died, shutdown}}],
                 lists:usort([answer(Loop) || Loop <- Loops])).
