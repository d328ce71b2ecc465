%% Ends: of the application and of the VM, with contexts that are busy, stuck, or wait for Erlang,
%% in every mode; and new code under a running system. In VMs of their own.
-module(shutdown_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2]).
-export([child/1]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, eventually/1]).

%% Far below the sleep of the job that is stuck, far above the graces.
-define(AT_MOST, 20_000).
%% A generator that takes far longer to close.
-define(NUMBERS, "import erlang, itertools, time\n"
                 "def numbers(receiver):\n"
                 "    try:\n"
                 "        yield from itertools.count()\n"
                 "    finally:\n"
                 "        if receiver: erlang.send(receiver, 'closing')\n"
                 "        time.sleep(60)\n").

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [{group, graces},
     {group, ends_of_the_vm},
     {group, ends_of_the_application},
     a_stop_takes_as_long_as_there_are_contexts,
     code_is_reloaded_under_load,
     contexts_end_as_processes_that_have_names_there_do,
     what_waits_outlives_new_code,
     another_version_of_the_library_is_refused].

groups() ->
    [in_each_mode(graces, [parallel],
      [executors_can_be_used_again_although_a_thread_never_ends,
       threads_that_never_end_are_left,
       an_exit_handler_that_never_ends_is_left,
       the_application_starts_again_fifty_times]),
     in_each_mode(ends_of_the_vm, [],
      [halt_is_clean,
       init_stop_is_clean,
       sigterm_is_clean,
       stopping_the_application_is_clean]),
     in_each_mode(ends_of_the_application, [parallel],
      [exit_handlers_run_when_the_application_stops,
       what_exit_handlers_print_and_log_is_seen,
       threads_of_a_context_are_waited_for,
       threads_that_start_threads_are_waited_for,
       pending_work_of_an_executor_is_done,
       pending_work_of_an_executor_that_others_have_is_done_when_the_application_stops,
       executors_can_be_used_again])].

%% In all modes at once. The cases of a mode, too, if they only wait; where they compute, too many
%% at once keep each other from coming to an end.
in_each_mode(Name, Options, Cases) ->
    {Name, [parallel], [{Mode, Options, Cases} || {group, Mode} <- test_helpers:mode_groups()]}.

-include("mode_groups.hrl").

%% ------------------------------------------------------------------ ends of the VM

halt_is_clean(Config) ->
    ends_cleanly(halt, Config).

init_stop_is_clean(Config) ->
    ends_cleanly(init_stop, Config).

sigterm_is_clean(Config) ->
    ends_cleanly(sigterm, Config).

stopping_the_application_is_clean(Config) ->
    ends_cleanly(application_stop, Config).

%% Status 0, in time, and nothing printed on the way: no crash, no core.
ends_cleanly(End, Config) ->
    Port = child_vm(["-kernel", "logger_level", "none"],
                    [atom_to_list(?config(mode, Config)), atom_to_list(End)]),
    Pid = pid_of_busy(Port, <<>>),
    Began = erlang:monotonic_time(millisecond),
    _ = [{ok, _} = test_helpers:run_program("/bin/kill", ["-TERM", binary_to_list(Pid)])
         || End =:= sigterm],
    ?assertEqual({0, <<>>}, rest(Port, <<>>)),
    Took = erlang:monotonic_time(millisecond) - Began,
    ct:comment("~b ms", [Took]),
    ?assert(Took < ?AT_MOST).

%% A VM that calls `child/1', and whose output comes from a port.
child_vm(Flags, Args) ->
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), Path =/= "."]),
    open_port({spawn_executable, os:find_executable("erl")},
              [{args, ["-noshell"] ++ Flags ++ Paths ++ ["-run", "shutdown_SUITE",
                                                         "child"] ++ Args},
               {env, [{"ERL_CRASH_DUMP_BYTES", "0"}]}, exit_status, stderr_to_stdout, binary]).

%% What the child says once all is as it should be.
pid_of_busy(Port, Output) ->
    case string:split(Output, "\n") of
        [<<"busy ", Pid/binary>>, <<>>] -> Pid;
        _ ->
            receive
                {Port, {data, Data}} -> pid_of_busy(Port, <<Output/binary, Data/binary>>);
                {Port, {exit_status, Status}} -> error({ended, Status, Output})
            end
    end.

rest(Port, Output) ->
    receive
        {Port, {data, Data}} -> rest(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    after 60_000 -> error({no_end, Output})
    end.

%% In the VM that is to end: an endless loop, a sleep in C, a job that waits for an Erlang function
%% that waits for a job on the same context, streams, and a queue.
child([Mode, "exit_handlers"]) ->
    exit_handlers(list_to_atom(Mode));
child([Mode, End]) ->
    {ok, [Loop, Sleep, Wait | Rest]} = py_context_router:start(
        #{contexts => 6, mode => list_to_atom(Mode), shutdown => 100, preload => ?NUMBERS}),
    %% First, because what comes then takes all processors.
    ok = begin_streams(Rest),
    ok = py:register_function(loop, fun() -> py_context:exec(Wait, <<"while True: pass">>) end),
    Jobs = [{Loop, <<"while True: pass">>}, {Sleep, <<"import time\ntime.sleep(60)">>},
            {Wait, <<"import erlang\nerlang.call('loop')">>}],
    [spawn(fun() -> py_context:exec(Ctx, Code) end) || {Ctx, Code} <- Jobs],
    [await_busy(Ctx) || {Ctx, _} <- Jobs],
    [spawn(fun() -> py_context:eval(Ctx, <<"1 + 1">>) end) || Ctx <- [Loop, Sleep, Wait | Rest]],
    io:format("busy ~s~n", [os:getpid()]),
    end_by(list_to_atom(End)).

%% One whose consumer doesn't read, one whose reader asks for no more, and one that takes long to
%% close.
begin_streams([Sent, Asked, Closing]) ->
    Unread = spawn(fun() -> {ok, _} = start_stream(Sent, none), wait_for_ever() end),
    _ = eventually(fun() -> process_info(Unread, message_queue_len) > {message_queue_len, 1} end),
    Reader = ask(fun() ->
        {ok, Stream} = py:stream_open(Asked, '__main__', numbers, [none]),
        {more, [0]} = py:stream_next(Stream, 1),
        put(stream, Stream)
    end),
    _ = answer(Reader),
    Self = self(),
    spawn(fun() ->
        {ok, Ref} = start_stream(Closing, Self),
        receive {py_stream, Ref, {data, 0}} -> ok end
    end),
    receive <<"closing">> -> ok end.

start_stream(Ctx, Receiver) ->
    py:stream_start(Ctx, '__main__', numbers, [Receiver]).

wait_for_ever() ->
    receive never -> ok end.

end_by(halt) -> halt(0);
end_by(init_stop) -> init:stop(0);
end_by(sigterm) -> wait_for_ever();
end_by(application_stop) ->
    ok = application:stop(py_context_router),
    0 = py_context_router:num_contexts(),
    halt(0).

%% ------------------------------------------------------------------ ends of the application

exit_handlers_run_when_the_application_stops(Config) ->
    in_vm(Config, fun(Mode, Dir) ->
        [begin
             {ok, [Ctx]} = py_context_router:start(#{contexts => 1, mode => Mode}),
             Mark = filename:join(Dir, integer_to_list(N)),
             ok = py_context:exec(Ctx, ["import atexit\n"
                                        "def leave(where):\n"
                                        "  with open(where, 'a') as f: f.write('.')\n"
                                        "atexit.register(leave, '", Mark, "')\n"
                                        "atexit.register(lambda: 1 / 0)"]),
             ?assertEqual({error, enoent}, file:read_file(Mark)),
             ok = application:stop(py_context_router),
             ?assertEqual({ok, <<".">>}, file:read_file(Mark))
         end || N <- [1, 2]],
        %% Each of them once.
        ?assertEqual({ok, <<".">>}, file:read_file(filename:join(Dir, "1")))
    end).

%% The callbacks of an interpreter of its own are run by its context, which has its grace.
an_exit_handler_that_never_ends_is_left(Config) ->
    in_vm(Config, fun(Mode, _Dir) ->
        {ok, [Ctx]} = py_context_router:start(#{contexts => 1, mode => Mode, shutdown => 100}),
        ok = py_context:exec(Ctx, <<"import atexit, time\natexit.register(time.sleep, 60)">>),
        {Us, ok} = timer:tc(fun() -> application:stop(py_context_router) end),
        ?assert(Us div 1000 < ?AT_MOST)
    end).

%% On standard output, because nobody's job prints it; also a line that isn't finished.
what_exit_handlers_print_and_log_is_seen(Config) ->
    %% OTP's own handler takes no events of a domain.
    Flags = ["-kernel", "logger", "[{handler, default, logger_std_h, #{filter_default => log}}]"],
    Child = child_vm(Flags, [atom_to_list(?config(mode, Config)), "exit_handlers"]),
    {0, Output} = rest(Child, <<>>),
    [?assertMatch({match, _}, re:run(Output, Text))
     || Text <- ["printed\n", "logged", "unfinished"]].

exit_handlers(Mode) ->
    {ok, [Ctx]} = py_context_router:start(#{contexts => 1, mode => Mode}),
    ok = py_context:exec(Ctx, <<"import atexit, logging\n"
                                "def say():\n"
                                "  print('printed')\n"
                                "  logging.error('logged')\n"
                                "  print('unfinished', end='')\n"
                                "atexit.register(say)">>),
    ok = application:stop(py_context_router),
    init:stop(0).

%% `mark(n)' notes that something has been done, in a file.
-define(MARK, "import os, time\n"
              "def mark(n, os=os, time=time):\n"
              "    time.sleep(0.1)\n"
              "    with open(where, 'a') as f: f.write(str(n))\n").

threads_of_a_context_are_waited_for(Config) ->
    ?assertEqual(<<"0">>, done_when(stop_context, <<"import threading\n"
                                                    "threading.Thread(target=mark, "
                                                    "args=[0]).start()">>,
                                    Config)).

threads_that_start_threads_are_waited_for(Config) ->
    ?assertEqual(<<"1">>, done_when(stop_context, <<"import threading\n"
                                                    "def start():\n"
                                                    "    time.sleep(0.1)\n"
                                                    "    threading.Thread(target=mark, "
                                                    "args=[1]).start()\n"
                                                    "threading.Thread(target=start).start()">>,
                                    Config)).

%% Nobody else has the executor, which goes with the context's names.
pending_work_of_an_executor_is_done(Config) ->
    ?assertEqual(<<"0123">>, done_when(stop_context, executor("executor"), Config)).

pending_work_of_an_executor_that_others_have_is_done_when_the_application_stops(Config) ->
    ?assertEqual(<<"0123">>, done_when(stop_application, executor("os.executor"), Config)).

executor(Name) ->
    ["from concurrent.futures import ThreadPoolExecutor\n",
     Name, " = ThreadPoolExecutor(1)\n"
     "for n in range(4): ", Name, ".submit(mark, n)"].

%% What the code has marked when the stop returns.
done_when(Stop, Code, Config) ->
    Name = io_lib:format("~s.~b.marks", [?config(mode, Config), erlang:unique_integer([positive])]),
    Where = filename:join(?config(priv_dir, Config), Name),
    in_vm(Config, fun(Mode, _Dir) ->
        {ok, [Ctx]} = py_context_router:start(#{contexts => 1, mode => Mode}),
        ok = py_context:exec(Ctx, ["where = '", Where, "'\n", ?MARK, Code]),
        ok = case Stop of
                 stop_context -> py_context_router:stop();
                 stop_application -> application:stop(py_context_router)
             end
    end),
    {ok, Marks} = file:read_file(Where),
    Marks.

threads_that_never_end_are_left(Config) ->
    in_vm(Config, fun(Mode, _Dir) ->
        {ok, [Ctx]} = py_context_router:start(#{contexts => 1, mode => Mode, shutdown => 100}),
        ok = py_context:exec(Ctx, <<"import threading, time\n"
                                    "threading.Thread(target=time.sleep, args=[60]).start()">>),
        {Us, ok} = timer:tc(fun() -> application:stop(py_context_router) end),
        ?assert(Us div 1000 < ?AT_MOST)
    end).

%% In workers they are closed with the application, and open again after it.
executors_can_be_used_again(Config) ->
    in_vm(Config, fun(Mode, _Dir) ->
        [begin
             {ok, [Ctx]} = py_context_router:start(#{contexts => 1, mode => Mode}),
             ok = py_context:exec(Ctx, <<"from concurrent.futures import ThreadPoolExecutor\n"
                                         "executor = ThreadPoolExecutor(1)">>),
             ?assertEqual({ok, 3},
                          py_context:eval(Ctx, <<"executor.submit(sum, [1, 2]).result()">>)),
             ok = application:stop(py_context_router)
         end || _ <- [1, 2, 3]]
    end).

%% The stop is over after its grace, and the thread's end is waited for in the background.
executors_can_be_used_again_although_a_thread_never_ends(Config) ->
    in_vm(Config, fun(Mode, _Dir) ->
        [begin
             {ok, [Ctx]} = py_context_router:start(#{contexts => 1, mode => Mode, shutdown => 100}),
             ok = py_context:exec(Ctx, <<"import threading, time\n"
                                         "from concurrent.futures import ThreadPoolExecutor\n"
                                         "executor = ThreadPoolExecutor(1)">>),
             ?assertEqual({ok, 3},
                          py_context:eval(Ctx, <<"executor.submit(sum, [1, 2]).result()">>)),
             ok = py_context:exec(Ctx, Blocks),
             ok = application:stop(py_context_router)
         end || Blocks <- [<<"threading.Thread(target=time.sleep, args=[60]).start()">>,
                           <<"executor.submit(time.sleep, 60)">>, <<"pass">>]]
    end).

the_application_starts_again_fifty_times(Config) ->
    in_vm(Config, fun(Mode, _Dir) ->
        Round = fun(N) ->
            {ok, [Ctx, Other]} = py_context_router:start(#{contexts => 2, mode => Mode,
                                                           shutdown => 0}),
            ok = py_context_router:register_pool(io, requests),
            ?assertEqual({ok, N}, py_context:eval(Ctx, integer_to_binary(N))),
            Looping = ask(fun() -> py_context:exec(Other, <<"while True: pass">>) end),
            _ = await_busy(Other),
            ok = application:stop(py_context_router),
            ?assertEqual({error, {context_died, shutdown}}, answer(Looping)),
            ?assertEqual([], leftovers(Looping)),
            ?assertEqual({[], 0, []}, {test_helpers:published(), py_context_router:num_contexts(),
                                       py_context_router:list_pool_registrations()})
        end,
        ok = Round(0),
        _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end),
        {Threads, Files} = {test_helpers:threads(), test_helpers:files()},
        [ok = Round(N) || N <- lists:seq(1, 50)],
        _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end),
        _ = test_helpers:await_threads(Threads),
        ?assertEqual(Files, test_helpers:files())
    end).

%% In CPU time of the whole VM: eight times as many contexts at once, as in eight stops. It was
%% some fifty times as long, and those that weren't done in time were left.
a_stop_takes_as_long_as_there_are_contexts(_Config) ->
    with_vm(fun() ->
        Few = lists:sum([cpu_of_stop(500) || _ <- lists:seq(1, 8)]),
        Many = cpu_of_stop(4_000),
        ?assert(Many < 3 * max(Few, 100), {Few, Many})
    end).

cpu_of_stop(Contexts) ->
    {ok, _} = py_context_router:start(#{contexts => Contexts}),
    Took = cpu(fun() -> ok = py_context_router:stop() end),
    %% One that has been joined may be listed for a moment.
    _ = test_helpers:eventually(fun() -> test_helpers:context_threads() =:= 0 end, 1_000),
    Took.

cpu(Fun) ->
    {Before, _} = statistics(runtime),
    Fun(),
    {After, _} = statistics(runtime),
    After - Before.

in_vm(Config, Fun) ->
    Mode = ?config(mode, Config),
    Dir = filename:join(?config(priv_dir, Config), atom_to_list(Mode)),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    with_vm(fun() -> Fun(Mode, Dir), ok end).

with_vm(Fun) ->
    {ok, Vm, _} = test_helpers:start_peer(#{connection => standard_io}),
    try
        ok = peer:call(Vm, logger, set_primary_config, [level, none]),
        ok = peer:call(Vm, erlang, apply, [Fun, []], 120_000)
    after
        peer:stop(Vm)
    end.

%% ------------------------------------------------------------------ ends of contexts

%% Of contexts that a resize takes away, and of the processes that answer what Python asks, at once.
contexts_end_as_processes_that_have_names_there_do(_Config) ->
    with_vm(fun() ->
        Bind = fun() ->
            Contexts = py_context_router:contexts(),
            try py_context_router:bind_context(lists:nth(rand:uniform(length(Contexts)), Contexts))
            catch _:_ -> ok
            end
        end,
        ok = py:register_function(back, fun(N) ->
            _ = Bind(),
            {ok, Result} = py:call('__main__', nest, [N - 1]),
            Result
        end),
        Nest = <<"import erlang\ndef nest(n): return erlang.call('back', n) if n else 0">>,
        {ok, _} = py_context_router:start(#{contexts => 4, shutdown => 100, preload => Nest}),
        Over = atomics:new(1, []),
        Work = fun Work() ->
            _ = Bind(),
            _ = py:eval(<<"list(range(10**7))">>, #{}, 5),
            _ = py:call('__main__', nest, [3]),
            atomics:get(Over, 1) =:= 1 orelse Work()
        end,
        Workers = [spawn_monitor(Work) || _ <- lists:seq(1, 8)],
        [ok = py_context_router:resize_pool(default, 1 + N rem 4) || N <- lists:seq(1, 100)],
        ok = atomics:put(Over, 1, 1),
        _ = [receive {'DOWN', Ref, process, Pid, Why} -> ?assertEqual(normal, Why) end
             || {Pid, Ref} <- Workers],
        ok
    end).

%% ------------------------------------------------------------------ new code

code_is_reloaded_under_load(_Config) ->
    with_vm(fun() ->
        {ok, _} = py_context_router:start(#{contexts => 2}),
        Over = atomics:new(1, []),
        Callers = [ask(fun() -> call_until(Over, 0) end) || _ <- lists:seq(1, 8)],
        Calls = fun() ->
            lists:sum([N
                       || #{done := N} <- maps:get(contexts, py_context_router:info(default))]) end,
        {ok, All} = application:get_key(py_context_router, modules),
        [begin
             Before = Calls(),
             %% A process that is in the old code still is given the time to leave it.
             _ = eventually(fun() -> code:soft_purge(Module) end),
             ?assertEqual({module, Module}, code:load_file(Module)),
             _ = eventually(fun() -> Calls() > Before end)
         end || Module <- All, Module =/= py_nif,
                not lists:prefix("Elixir.", atom_to_list(Module))],
        ok = atomics:put(Over, 1, 1),
        [?assertMatch(N when is_integer(N), answer(Caller)) || Caller <- Callers],
        ?assertMatch(#{alive := 2, restarts := 0}, py_context_router:info(default))
    end).

what_waits_outlives_new_code(_Config) ->
    with_vm(fun() ->
        Preload = <<"import os\ndef wait(fd):\n yield os.read(fd, 1)">>,
        {ok, [One, Other]} = py_context_router:start(#{contexts => 2, preload => Preload}),
        ok = py:register_function(add, fun erlang:'+'/2),
        {ok, Unread} = py:stream_start(One, itertools, count, [], #{}, #{read_ahead => 10}),
        receive {py_stream, Unread, {data, 9}} -> ok end,
        {ok, {Read, Write}} = py:call(One, os, pipe, []),
        {ok, Waiting} = py:stream_start(Other, '__main__', wait, [Read]),
        Before = ours(),
        ok = test_helpers:load_anew_twice(),
        ?assertEqual([], Before -- ours()),
        [receive {py_stream, Unread, {data, N}} -> ok end || N <- lists:seq(0, 50), N =/= 9],
        ok = py:stream_cancel(Unread),
        {ok, 1} = py:eval(One, <<"__import__('os').write(fd, b'x')">>, #{fd => Write}),
        [receive {py_stream, Waiting, Event} -> ok end || Event <- [{data, <<"x">>}, done]],
        ?assertEqual({ok, 3}, py:eval(One, <<"__import__('erlang').add(1, 2)">>)),
        ?assertMatch(#{alive := 2, restarts := 0}, py_context_router:info(default))
    end).

%% The processes that began in the library's modules.
ours() ->
    {ok, Modules} = application:get_key(py_context_router, modules),
    [Pid || Pid <- processes(),
            {Module, _, _} <- [proc_lib:translate_initial_call(Pid),
                               element(2, process_info(Pid, initial_call))],
            lists:member(Module, Modules)].

call_until(Over, Calls) ->
    case atomics:get(Over, 1) of
        1 ->
            Calls;
        0 ->
            {ok, 4.0} = ?MODULE:call(py_context_router:get_context()),
            call_until(Over, Calls + 1)
    end.

call(Ctx) ->
    py_context:call(Ctx, math, sqrt, [16]).

%% The library can't be loaded twice: that is an error, and everything goes on.
another_version_of_the_library_is_refused(Config) ->
    Ebin = another_version(Config),
    with_vm(fun() ->
        {ok, [Ctx]} = py_context_router:start(#{contexts => 1}),
        ok = py_context:exec(Ctx, <<"kept = 1">>),
        Version = py_nif:module_info(md5),
        ?assertEqual({error, on_load_failure}, code:load_file(py_nif)),
        true = code:add_patha(Ebin),
        {ok, {py_nif, Another}} = beam_lib:md5(code:where_is_file("py_nif.beam")),
        ?assertNotEqual(Version, Another),
        ?assertEqual({error, on_load_failure}, code:load_file(py_nif)),
        ?assertEqual(Version, py_nif:module_info(md5)),
        ?assertNot(erlang:check_old_code(py_nif)),
        ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"kept">>)),
        %% Its own library stays, although another is where it would be looked for now.
        ?assertEqual(filename:dirname(Ebin), code:lib_dir(py_context_router)),
        ?assertEqual(ok, py_nif:load()),
        ok = application:stop(py_context_router),
        {ok, [Again]} = py_context_router:start(#{contexts => 1}),
        ?assertEqual({ok, 4.0}, py_context:call(Again, math, sqrt, [16]))
    end).

%% The folder of its code: as that of this one, but for its number, beside a copy of the library.
another_version(Config) ->
    App = filename:join(?config(priv_dir, Config), "py_context_router-99"),
    Library = filename:join([App, "priv", "py_nif.so"]),
    Beam = filename:join([App, "ebin", "py_nif.beam"]),
    [ok = filelib:ensure_dir(File) || File <- [Library, Beam]],
    {ok, _} = file:copy(filename:join(code:priv_dir(py_context_router), "py_nif.so"), Library),
    {ok, {_, [{abstract_code, {_, [File, Module | Code]}}]}} =
        beam_lib:chunks(code:which(py_nif), [abstract_code]),
    Forms = [File, Module, {attribute, 1, vsn, another} | Code],
    {ok, py_nif, Binary} = compile:forms(Forms, [debug_info]),
    ok = file:write_file(Beam, Binary),
    filename:dirname(Beam).
