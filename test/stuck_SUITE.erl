%% Contexts that are stuck in C code: replaced behind their pid, counted, ended when they return.
%% Once per mode, each in a VM of its own, because the threads that sleep outlive the cases.
-module(stuck_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2]).
-export([init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_queue/2, eventually/1,
                       eventually/2]).

-define(STUCK_AFTER, 50).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode(cases()).

cases() ->
    [a_sleep_a_socket_and_a_c_function_are_stuck,
     code_that_swallows_interrupts_is_stuck,
     a_replacement_that_nobody_holds_ends,
     what_waits_moves_over_in_order,
     callers_that_wait_for_the_stuck_job_are_answered,
     a_context_that_comes_back_in_time_is_kept,
     handles_and_environments_of_a_stuck_context_are_gone,
     a_pool_with_too_many_stuck_threads_refuses,
     more_than_the_limit_at_once_are_replaced,
     a_replacement_that_cannot_start_is_tried_again,
     a_stuck_context_can_be_stopped,
     a_stop_waits_for_a_replacement_that_is_starting,
     a_killed_stuck_context_counts_until_it_returns,
     a_slot_that_drains_behind_a_stuck_job_goes,
     a_slot_that_drains_while_it_is_being_replaced_goes,
     a_pool_does_not_wait_for_a_slot_that_drains_behind_a_stuck_job].

init_per_group(Mode, Config) ->
    {ok, Vm, _} = test_helpers:start_peer(#{connection => standard_io}),
    %% This process ends before the cases begin.
    true = unlink(Vm),
    ok = peer:call(Vm, application, load, [py_context_router]),
    ok = peer:call(Vm, application, set_env, [py_context_router, quarantine_limit, 4]),
    ok = peer:call(Vm, logger, set_primary_config, [level, none]),
    [{mode, Mode}, {vm, Vm} | Config].

end_per_group(_Mode, Config) ->
    peer:stop(?config(vm, Config)).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, Config) ->
    in_vm(Config, fun test_helpers:stop_all/0).

in_vm(Config, Fun) ->
    peer:call(?config(vm, Config), erlang, apply, [Fun, []], 60_000).

%% A pool of its own per case, so that each has its own count.
start(Pool, Size, Config) ->
    start(Pool, Size, #{}, Config).

start(Pool, Size, Options, Config) ->
    Defaults = #{contexts => Size, mode => ?config(mode, Config), stuck_after => ?STUCK_AFTER},
    {ok, Contexts} = py_context_router:start_pool(Pool, maps:merge(Defaults, Options)),
    Contexts.

%% Blocks a context in a socket: a process that waits for that job, and what to close to let it go.
block(Ctx) ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Listener),
    %% An interrupt that finds it on its way doesn't stop it: it blocks all the same.
    Code = io_lib:format("import socket\n"
                         "s = None\n"
                         "while True:\n"
                         "    try:\n"
                         "        if s is None: s = socket.create_connection(('127.0.0.1', ~b))\n"
                         "        s.recv(1)\n"
                         "        break\n"
                         "    except KeyboardInterrupt: pass\n"
                         "    except OSError: break\n", [Port]),
    Caller = ask(fun() -> py_context:exec(Ctx, Code) end),
    {ok, Socket} = gen_tcp:accept(Listener, 30_000),
    {Caller, {Listener, Socket}}.

%% Blocks it in a job that is to stop.
stick(Ctx) ->
    {Caller, Socket} = block(Ctx),
    abandon(Caller),
    Socket.

abandon(Caller) ->
    true = unlink(Caller),
    exit(Caller, kill).

close({Listener, Socket}) ->
    ok = gen_tcp:close(Listener),
    ok = gen_tcp:close(Socket).

await_stuck(Ctx, Number) ->
    eventually(fun() ->
        case py_context:info(Ctx) of
            #{quarantined := Number, state := State} when State =/= stuck -> true;
            Other -> Other
        end
    end).

a_sleep_a_socket_and_a_c_function_are_stuck(Config) ->
    in_vm(Config, fun() ->
        [Ctx] = start(kinds, 1, Config),
        %% CPython 3.12 has no ctypes where the GIL is the interpreter's own.
        Import = <<"import time\ntry:\n"
                   "    import ctypes\n"
                   "    c_sleep = ctypes.CDLL(None).sleep\n"
                   "except ImportError:\n"
                   "    c_sleep = time.sleep\n">>,
        Sleep = fun(Code) ->
            fun() ->
                ok = py_context:exec(Ctx, Import),
                %% Long enough to have begun, on whatever machine.
                ?assertEqual({error, timeout}, py_context:exec(Ctx, Code, 1000))
            end
        end,
        Ways = [Sleep(<<"time.sleep(30)">>), Sleep(<<"c_sleep(30)">>),
                fun() -> stick(Ctx) end],
        [begin
             {ok, Before} = py_context:get_interp_id(Ctx),
             _ = Stick(),
             %% Answered by the replacement, long before the other returns.
             ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>, #{}, 20_000)),
             {ok, After} = py_context:get_interp_id(Ctx),
             ?assertNotEqual(Before, After),
             ?assertMatch(#{quarantined := N, state := idle}, py_context:info(Ctx))
         end || {N, Stick} <- lists:zip([1, 2, 3], Ways)],
        ?assertMatch(#{quarantined := 3, quarantine_limit := 4, restarts := 0, size := 1,
                       alive := 1, contexts := [#{timed_out := 2, cancelled := 1}]},
                     py_context_router:info(kinds)),
        ?assertEqual([Ctx], py_context_router:contexts(kinds))
    end).

%% An interrupt that finds `sleep_on' between its tries is for the one of `swallow'.
-define(SWALLOW, "import erlang, os\n"
                 "def look(end):\n"
                 "    while not os.path.exists(end): pass\n"
                 "def sleep_on(end):\n"
                 "    while True:\n"
                 "        try: return look(end)\n"
                 "        except KeyboardInterrupt: pass\n"
                 "def swallow(receiver, end):\n"
                 "    while True:\n"
                 "        try:\n"
                 "            erlang.send(receiver, 'begun')\n"
                 "            return sleep_on(end)\n"
                 "        except KeyboardInterrupt: pass\n").

code_that_swallows_interrupts_is_stuck(Config) ->
    End = list_to_binary(file_of_mode("end_", Config)),
    in_vm(Config, fun() ->
        [Ctx] = start(swallowed, 1, #{preload => ?SWALLOW}, Config),
        ok = py_context:exec(Ctx, <<"kept = 1">>),
        Self = self(),
        Swallowing = ask(fun() -> py_context:call(Ctx, '__main__', swallow, [Self, End]) end),
        receive <<"begun">> -> ok end,
        ok = py_context:interrupt(Ctx),
        ?assertEqual({error, interrupted}, answer(Swallowing)),
        %% Answered by another, which knows nothing of the first.
        ?assertEqual({ok, false}, py_context:eval(Ctx, <<"'kept' in globals()">>)),
        ?assertMatch(#{quarantined := 1, state := idle}, py_context:info(Ctx)),
        ?assertMatch(#{quarantined := 1, alive := 1, restarts := 0},
                     py_context_router:info(swallowed)),
        ok = file:write_file(End, <<>>),
        _ = await_stuck(Ctx, 0),
        ?assertMatch(#{quarantined := 0}, py_context_router:info(swallowed)),
        ?assertEqual([], leftovers(Swallowing))
    end).

file_of_mode(Prefix, Config) ->
    filename:join(?config(priv_dir, Config), Prefix ++ atom_to_list(?config(mode, Config))).

%% As when its process is killed in the middle of the replacement: nobody has a handle on the new
%% one, and nothing is monitored any more.
a_replacement_that_nobody_holds_ends(Config) ->
    in_vm(Config, fun() ->
        {ok, Complete} = py_options:context(#{mode => ?config(mode, Config),
                                              stuck_after => ?STUCK_AFTER}),
        Options = Complete#{preload := [], pool => undefined},
        ok = py_context_router:init_pool_registry(),
        Before = test_helpers:context_threads(),
        Ref = make_ref(),
        Handle = py_nif:context_start(Ref, Options),
        receive {py_context, Ref, started} -> ok end,
        Self = self(),
        Caller = ask(fun() -> py_context:call(Self, time, sleep, [10], #{}, 500) end),
        {error, timeout} = answer(Caller),
        receive {py_context, Ref, stuck} -> ok end,
        Another = make_ref(),
        replace_and_forget(Handle, Another),
        receive {py_context, Another, started} -> ok end,
        true = garbage_collect(),
        receive {py_context, Another, ended} -> ok end,
        ok = py_nif:context_kill(Handle, shutdown),
        %% It says so just before its thread is gone.
        eventually(fun() -> test_helpers:context_threads() =< Before + 1 end)
    end).

replace_and_forget(Handle, Ref) ->
    New = py_nif:context_replace(Handle, Ref, []),
    ?assert(is_reference(New)),
    ok.

what_waits_moves_over_in_order(Config) ->
    in_vm(Config, fun() ->
        [Ctx] = start(order, 1, #{preload => <<"ran = []">>}, Config),
        {Stuck, Socket} = block(Ctx),
        Waiting = [begin
                       Code = io_lib:format("ran.append(~b) or list(ran)", [N]),
                       Pid = ask(fun() -> py_context:eval(Ctx, Code) end),
                       _ = await_queue(Ctx, N),
                       Pid
                   end || N <- lists:seq(1, 20)],
        Cancelled = ask(fun() -> py_context:exec(Ctx, <<"ran.append('cancelled')">>, 1) end),
        ?assertEqual({error, timeout}, answer(Cancelled)),
        abandon(Stuck),
        ?assertEqual([{ok, lists:seq(1, N)} || N <- lists:seq(1, 20)],
                     [answer(Pid) || Pid <- Waiting]),
        _ = await_stuck(Ctx, 1),
        %% The thread comes back, finds nothing to do, and ends.
        close(Socket),
        _ = await_stuck(Ctx, 0),
        ?assertMatch(#{quarantined := 0}, py_context_router:info(order)),
        ?assertEqual({ok, lists:seq(1, 20)}, py_context:eval(Ctx, <<"ran">>)),
        ?assertEqual([[]], lists:usort([leftovers(Pid) || Pid <- [Cancelled | Waiting]])),
        ok = py_context_router:stop_pool(order)
    end).

callers_that_wait_for_the_stuck_job_are_answered(Config) ->
    in_vm(Config, fun() ->
        [Ctx] = start(answered, 1, Config),
        {Waiting, Socket} = block(Ctx),
        ok = py_context:interrupt(Ctx),
        ?assertEqual({error, interrupted}, answer(Waiting)),
        ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
        close(Socket),
        _ = await_stuck(Ctx, 0),
        ?assertEqual([], leftovers(Waiting))
    end).

a_context_that_comes_back_in_time_is_kept(Config) ->
    in_vm(Config, fun() ->
        [Ctx] = start(kept, 1, #{stuck_after => 60_000, preload => <<"kept = []">>}, Config),
        ok = py_context:exec(Ctx, <<"import time\nkept.append(1)">>),
        {ok, Id} = py_context:get_interp_id(Ctx),
        ?assertEqual({error, timeout}, py_context:exec(Ctx, <<"time.sleep(0.2)">>, 1)),
        ?assertEqual({ok, [1]}, py_context:eval(Ctx, <<"kept">>)),
        ?assertEqual({ok, Id}, py_context:get_interp_id(Ctx)),
        [Never] = start(never, 1, #{stuck_after => infinity}, Config),
        Socket = stick(Never),
        close(Socket),
        ?assertEqual({ok, 2}, py_context:eval(Never, <<"1 + 1">>)),
        ?assertMatch(#{quarantined := 0}, py_context:info(Never))
    end).

handles_and_environments_of_a_stuck_context_are_gone(Config) ->
    in_vm(Config, fun() ->
        [Ctx] = start(handles, 1, Config),
        {ok, Handle} = py_context:eval(Ctx, <<"object()">>),
        {ok, Env} = py_context:create_local_env(Ctx),
        Socket = stick(Ctx),
        ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
        ?assertMatch({error, {wrong_context, _}}, py_context:exec(Ctx, <<"x = 1">>, Env)),
        case ?config(mode, Config) of
            %% Workers share their objects.
            worker -> ?assertMatch({ok, _}, py_context:getattr(Ctx, Handle, '__class__'));
            _ -> ?assertMatch({error, {wrong_context, _}},
                              py_context:getattr(Ctx, Handle, '__class__'))
        end,
        close(Socket),
        _ = await_stuck(Ctx, 0),
        ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>))
    end).

%% Four threads are the limit here.
a_pool_with_too_many_stuck_threads_refuses(Config) ->
    in_vm(Config, fun() ->
        Contexts = start(limit, 5, Config),
        {Stuck, [Healthy]} = lists:split(4, Contexts),
        Sockets = [stick(Ctx) || Ctx <- Stuck],
        Refused = {error, {overloaded, #{quarantined => 4, limit => 4}}},
        _ = eventually(fun() -> py_context:eval(Healthy, <<"1 + 1">>) =:= Refused end),
        ?assertEqual(Refused, py_context:call(hd(Stuck), math, sqrt, [1])),
        ?assertNotEqual(nomatch, string:find(py_error:format(Refused), "4 threads stuck")),
        %% A context that is killed isn't started anew either.
        exit(hd(Stuck), kill),
        _ = eventually(fun() -> not is_process_alive(hd(Stuck)) end),
        ?assertMatch(#{quarantined := 4}, py_context_router:info(limit)),
        %% Other pools go on.
        [Other] = start(other, 1, Config),
        ?assertEqual({ok, 2}, py_context:eval(Other, <<"1 + 1">>)),
        [close(Socket) || Socket <- Sockets],
        _ = eventually(fun() -> py_context:eval(Healthy, <<"1 + 1">>) =:= {ok, 2} end),
        _ = eventually(fun() ->
            All = py_context_router:contexts(limit),
            lists:all(fun(Ctx) -> py_context:eval(Ctx, <<"1 + 1">>) =:= {ok, 2} end, All)
        end),
        %% The last thread may be just about to end.
        _ = eventually(fun() ->
            maps:get(quarantined, py_context_router:info(limit)) =:= 0
        end),
        ?assertMatch(#{alive := 5}, py_context_router:info(limit))
    end).

%% Five replacements begin before the first is counted as stuck, because none is ready before the
%% gate.
more_than_the_limit_at_once_are_replaced(Config) ->
    Starts = file_of_mode("starts_", Config),
    {Gate, Wait} = test_helpers:gate(Config),
    test_helpers:open_gate(Gate),
    in_vm(Config, fun() ->
        ok = application:set_env(py_context_router, quarantine_limit, 2),
        Preload = [Wait, "with open('", Starts, "', 'a') as file: file.write('.')\n", "wait()\n"],
        Contexts = start(beyond, 5, #{preload => Preload}, Config),
        ok = application:set_env(py_context_router, quarantine_limit, 4),
        ok = file:delete(Gate),
        Blocked = [block(Ctx) || Ctx <- Contexts],
        [abandon(Caller) || {Caller, _Socket} <- Blocked],
        _ = eventually(fun() -> filelib:file_size(Starts) =:= 10 end),
        test_helpers:open_gate(Gate),
        _ = eventually(fun() ->
            maps:get(quarantined, py_context_router:info(beyond)) =:= 5
        end),
        Refused = {error, {overloaded, #{quarantined => 5, limit => 2}}},
        ?assertEqual([Refused],
                     lists:usort([py_context:eval(Ctx, <<"1 + 1">>) || Ctx <- Contexts])),
        [close(Socket) || {_Caller, Socket} <- Blocked],
        _ = [await_stuck(Ctx, 0) || Ctx <- Contexts],
        ?assertEqual([{ok, 2}],
                     lists:usort([py_context:eval(Ctx, <<"1 + 1">>) || Ctx <- Contexts])),
        ?assertMatch(#{quarantined := 0, alive := 5, restarts := 0},
                     py_context_router:info(beyond)),
        ?assertEqual(Contexts, py_context_router:contexts(beyond))
    end).

a_replacement_that_cannot_start_is_tried_again(Config) ->
    [Broken, Tried] = [file_of_mode(Name, Config) || Name <- ["not_yet_", "tried_"]],
    in_vm(Config, fun() ->
        Preload = ["import os\nif os.path.exists('", Broken, "'):\n"
                   "  with open('", Tried, "', 'a') as file: file.write('.')\n"
                   "  raise OSError('not now')"],
        [Ctx] = start(retried, 1, #{preload => Preload}, Config),
        ok = file:write_file(Broken, <<>>),
        Self = self(),
        Log = test_helpers:capture_log(fun() ->
            Self ! {socket, stick(Ctx)},
            Waiting = ask(fun() -> py_context:eval(Ctx, <<"1 + 1">>) end),
            _ = eventually(fun() -> maps:get(state, py_context:info(Ctx)) =:= stuck end),
            ?assertEqual({error, timeout}, py_context:eval(Ctx, <<"1">>, #{}, 300)),
            _ = eventually(fun() -> filelib:file_size(Tried) > 0 end),
            ok = file:delete(Broken),
            ?assertEqual({ok, 2}, answer(Waiting)),
            %% Once another has taken over, the context's process reports.
            sys:get_state(Ctx)
        end),
        ?assertMatch([{error, _}, {warning, _}], Log),
        [{error, Failed}, {warning, Replaced}] = Log,
        ?assertNotEqual(nomatch, string:find(Failed, "{retried,1} is stuck")),
        ?assertNotEqual(nomatch, string:find(Failed, "OSError: not now")),
        ?assertNotEqual(nomatch, string:find(Replaced, "1 are stuck")),
        receive {socket, Socket} -> close(Socket) end,
        _ = await_stuck(Ctx, 0)
    end).

a_stuck_context_can_be_stopped(Config) ->
    in_vm(Config, fun() ->
        [Ctx] = start(stopped, 1, #{shutdown => 10, stuck_after => 60_000}, Config),
        {Stuck, Socket} = block(Ctx),
        ok = py_context_router:stop_pool(stopped),
        ?assertEqual({error, {context_died, shutdown}}, answer(Stuck)),
        ?assertNot(is_process_alive(Ctx)),
        close(Socket),
        ?assertEqual([], leftovers(Stuck))
    end).

a_stop_waits_for_a_replacement_that_is_starting(Config) ->
    File = file_of_mode("replacement_", Config),
    in_vm(Config, fun() ->
        %% The second time it says which thread it is, and sleeps in C, although it was interrupted.
        Preload = ["import os, threading, time\n"
                   "if os.path.exists('", File, "'):\n"
                   "    with open('", File,
                   "', 'w') as file: file.write(str(threading.get_native_id()))\n"
                   "    time.sleep(1)\n"],
        [Ctx] = start(replacing, 1, #{preload => Preload}, Config),
        ok = file:write_file(File, <<>>),
        Socket = stick(Ctx),
        _ = eventually(fun() -> file:read_file(File) =/= {ok, <<>>} end),
        {ok, Thread} = file:read_file(File),
        close(Socket),
        ok = py_context_router:stop_pool(replacing),
        %% To the OS it is there for a moment after it has been joined.
        _ = eventually(fun() -> not filelib:is_dir(["/proc/self/task/", Thread]) end, 200)
    end).

a_killed_stuck_context_counts_until_it_returns(Config) ->
    in_vm(Config, fun() ->
        [Ctx] = start(killed, 1, Config),
        {Stuck, Socket} = block(Ctx),
        exit(Ctx, kill),
        ?assertEqual({error, {context_died, killed}}, answer(Stuck)),
        Count = fun() -> maps:get(quarantined, py_context_router:info(killed)) end,
        _ = eventually(fun() -> Count() =:= 1 end),
        close(Socket),
        _ = eventually(fun() -> Count() =:= 0 end),
        ?assertEqual([], leftovers(Stuck))
    end).

a_slot_that_drains_behind_a_stuck_job_goes(Config) ->
    in_vm(Config, fun() ->
        [_, Ctx] = start(drained, 2, Config),
        {Stuck, Socket} = block(Ctx),
        Waiting = ask(fun() -> py_context:eval(Ctx, <<"1 + 1">>) end),
        _ = await_queue(Ctx, 1),
        ok = py_context_router:resize_pool(drained, 1),
        abandon(Stuck),
        ?assertEqual({error, {context_died, stuck}}, answer(Waiting)),
        _ = eventually(fun() -> not is_process_alive(Ctx) end),
        close(Socket),
        _ = eventually(fun() ->
            maps:get(quarantined, py_context_router:info(drained)) =:= 0
        end)
    end).

%% Neither what is stuck nor what was to replace it is waited for, though the grace has no end here.
a_slot_that_drains_while_it_is_being_replaced_goes(Config) ->
    Marker = file_of_mode("marker_", Config),
    Fifo = Marker ++ ".fifo",
    in_vm(Config, fun() ->
        %% With the marker it says that it has begun, and is in C until the fifo is opened.
        Preload = ["import os\n"
                   "if os.path.exists('", Marker, "'):\n"
                   "    with open('", Marker, "', 'w') as file: file.write('begun')\n"
                   "    open('", Fifo, "').close()\n"],
        [First, Ctx] = start(replaced, 2, #{preload => Preload, shutdown => infinity}, Config),
        {ok, _} = py:call(First, os, mkfifo, [list_to_binary(Fifo)]),
        Threads = test_helpers:context_threads(),
        ok = file:write_file(Marker, <<>>),
        {Stuck, Socket} = block(Ctx),
        Waiting = ask(fun() -> py_context:eval(Ctx, <<"1 + 1">>) end),
        _ = await_queue(Ctx, 1),
        abandon(Stuck),
        _ = eventually(fun() -> file:read_file(Marker) =:= {ok, <<"begun">>} end),
        ok = py_context_router:resize_pool(replaced, 1),
        ?assertEqual({error, {context_died, stuck}}, answer(Waiting)),
        _ = eventually(fun() -> not is_process_alive(Ctx) end),
        ok = py_context_router:resize_pool(replaced, 1),
        {ok, _} = py:eval(First, <<"__import__('os').close(__import__('os').open(fifo, 1))">>,
                          #{fifo => list_to_binary(Fifo)}),
        close(Socket),
        _ = eventually(fun() -> test_helpers:context_threads() < Threads end)
    end).

%% Whose grace has no end here.
a_pool_does_not_wait_for_a_slot_that_drains_behind_a_stuck_job(Config) ->
    in_vm(Config, fun() ->
        [First, Second] = start(shrunk, 2, #{shutdown => infinity}, Config),
        Socket = stick(Second),
        ok = py_context_router:resize_pool(shrunk, 1),
        _ = eventually(fun() -> not is_process_alive(Second) end),
        exit(First, kill),
        _ = eventually(fun() ->
            maps:with([alive, restarts, quarantined], py_context_router:info(shrunk))
                =:= #{alive => 1, restarts => 1, quarantined => 1}
        end),
        close(Socket),
        _ = eventually(fun() ->
            maps:get(quarantined, py_context_router:info(shrunk)) =:= 0
        end)
    end).
