%% What the test suites share.
-module(test_helpers).

-export([mode_groups/0, in_each_mode/1]).
-export([quiet/1, loud/1, stop_all/0, eventually/1, eventually/2]).
-export([ask/1, ask_on/2, answer/1, leftovers/1, messages/0]).
-export([threads/0, context_threads/0, await_threads/1, files/0, rss_kb/0]).
-export([pool_without_life/2, revive/1, kill/1]).
-export([gate/1, open_gate/1, await_busy/1, await_queue/2, is_alive/1, published/0]).
-export([capture_log/1, log/2]).
-export([rendered/1]).
-export([start_peer/1, start_distribution/0, stop_distribution/1]).
-export([run_program/2, with_numpy/1, repository/0, build_folder/0, load_anew_twice/0]).

%% For things that send no message. Long, because it only decides how late a failure is seen.
-define(DEADLINE, 30_000).
%% Between two polls.
-define(LONGEST_PAUSE, 20).

%% For all/0: a group for each mode that the linked Python has (modes_SUITE tests that it says
%% which).
mode_groups() ->
    [{group, worker}]
    ++ [{group, subinterp} || py:subinterp_supported()]
    ++ [{group, owngil} || py:owngil_supported()].

%% For groups/0: the same cases in each of them.
in_each_mode(Cases) ->
    [{Mode, [], Cases} || Mode <- [worker, subinterp, owngil]].

%% For init_per_suite and end_per_suite: what is killed here on purpose needs no reports on screen.
quiet(Config) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    [{log_level, Level} | Config].

loud(Config) ->
    ok = logger:set_primary_config(level, proplists:get_value(log_level, Config)).

%% Stops the application and with it every pool and registration.
stop_all() ->
    _ = application:stop(py_context_router),
    ok.

%% Polls until the fun says `true'; how long that took, in ms. The longer it takes, the longer the
%% pauses, so that the suites beside this one have the processor.
eventually(Fun) ->
    eventually(Fun, ?DEADLINE).

eventually(Fun, Deadline) ->
    Began = erlang:monotonic_time(microsecond),
    poll(Fun, Began, Began + Deadline * 1000).

poll(Fun, Began, End) ->
    Outcome = Fun(),
    Now = erlang:monotonic_time(microsecond),
    case Outcome of
        true ->
            (Now - Began) / 1000;
        Other when Now > End ->
            error({never, Other});
        _Other ->
            receive after min(1 + (Now - Began) div 20_000, ?LONGEST_PAUSE) -> ok end,
            poll(Fun, Began, End)
    end.

%% ------------------------------------------------------------------ callers

%% Runs the fun in a process of its own that lives on afterwards, so that messages which come too
%% late are seen by `leftovers/1'.
ask(Fun) ->
    ask(Fun, []).

%% On one scheduler, for good. The option is the VM's own, for its tests.
ask_on(Scheduler, Fun) ->
    ask(Fun, [{scheduler, Scheduler}]).

ask(Fun, Options) ->
    Asker = self(),
    spawn_opt(fun() ->
        Asker ! {self(), answer, Fun()},
        receive {Asker, leftovers} -> Asker ! {self(), leftovers, messages()} end
    end, [link | Options]).

answer(Pid) ->
    receive {Pid, answer, Answer} -> Answer
    after ?DEADLINE -> error({no_answer, process_info(Pid, current_stacktrace)})
    end.

%% What else has come for the process; ends it, unseen by processes that trap exits from here on.
leftovers(Pid) ->
    true = unlink(Pid),
    Pid ! {self(), leftovers},
    receive {Pid, leftovers, Messages} -> Messages end.

messages() ->
    receive Message -> [Message | messages()]
    after 0 -> []
    end.

%% ------------------------------------------------------------------ the OS process

%% The number of OS threads.
threads() ->
    {ok, Tasks} = file:list_dir("/proc/self/task"),
    length(Tasks).

%% The number of OS threads that belong to contexts.
context_threads() ->
    {ok, Tasks} = file:list_dir("/proc/self/task"),
    length([Task || Task <- Tasks, belongs_to_context(file:read_file(comm(Task)))]).

comm(Task) ->
    "/proc/self/task/" ++ Task ++ "/comm".

belongs_to_context({ok, <<"py_ctx_", _/binary>>}) -> true;
belongs_to_context({ok, <<"py_interrupt", _/binary>>}) -> true;
belongs_to_context(_) -> false.

%% Until the number of threads is (at most) what it was.
await_threads(Before) ->
    eventually(fun() ->
        case threads() of
            Now when Now =< Before -> true;
            Now -> {threads, Now, Before}
        end
    end).

%% The number of open files.
files() ->
    {ok, Files} = file:list_dir("/proc/self/fd"),
    length(Files).

%% The resident memory.
rss_kb() ->
    {ok, Statm} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
    binary_to_integer(Pages) * 4.

%% Runs a program to its end; its output. No shell.
run_program(Program, Args) ->
    Port = open_port({spawn_executable, Program},
                     [{args, Args}, exit_status, binary, stderr_to_stdout, hide]),
    output(Port, <<>>).

output(Port, Sofar) ->
    receive
        {Port, {data, Data}} -> output(Port, <<Sofar/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> {ok, Sofar};
        {Port, {exit_status, Status}} -> {error, Status, Sofar}
    end.

%% ------------------------------------------------------------------ contexts

%% A job that lasts until its gate is opened: the gate, and the code of a function `wait'.
gate(Config) ->
    Gate = filename:join(proplists:get_value(priv_dir, Config), "gate"),
    _ = file:delete(Gate),
    {Gate, ["def wait():\n"
            "  import os, time\n"
            "  while not os.path.exists('", Gate, "'): time.sleep(0.001)\n"
            "  return 'finished'\n"]}.

open_gate(Gate) ->
    ok = file:write_file(Gate, <<>>).

%% A default pool of one context, which is dead and can't come back before `revive/1'.
pool_without_life(Options, Config) ->
    Flag = filename:join(proplists:get_value(priv_dir, Config), "may_start"),
    ok = file:write_file(Flag, <<>>),
    Preload = ["open('", Flag, "')\n", maps:get(preload, Options, "")],
    {ok, [Ctx]} = py:start_contexts(Options#{contexts => 1, preload => Preload}),
    ok = file:delete(Flag),
    ok = kill(Ctx),
    Flag.

revive(Flag) ->
    ok = file:write_file(Flag, <<>>).

%% What a context has taken in before it is known to be dead may still run, or is lost with it.
kill(Ctx) ->
    exit(Ctx, kill),
    _ = eventually(fun() -> is_tuple(py_context:info(Ctx)) end),
    ok.

%% Until the context runs a job.
await_busy(Ctx) ->
    eventually(fun() ->
        case py_context:info(Ctx) of
            #{state := busy} -> true;
            Other -> Other
        end
    end).

%% Until so many jobs wait in its queue.
await_queue(Ctx, Length) ->
    eventually(fun() ->
        case py_context:info(Ctx) of
            #{queue := Length} -> true;
            Other -> Other
        end
    end).

is_alive(Pid) ->
    is_process_alive(Pid).

%% The persistent_term keys of this application.
published() ->
    [Key || {Key, _} <- persistent_term:get(), is_ours(Key)].

is_ours('$py_default_pool') -> true;
is_ours({py_context_router, _}) -> true;
is_ours({py_context_router, _, _}) -> true;
is_ours(_) -> false.

%% ------------------------------------------------------------------ logs and errors

%% What the fun makes this application log, rendered: `[{Level, Text}]' in order.
capture_log(Fun) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, notice),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => notice, config => #{pid => self()}}),
    try Fun()
    after
        ok = logger:remove_handler(?MODULE),
        ok = logger:set_primary_config(level, Level)
    end,
    collected().

collected() ->
    receive {?MODULE, Event} -> [rendered_event(Event) | collected()]
    after 0 -> []
    end.

rendered_event(#{level := Level, msg := {report, Report}, meta := #{report_cb := Callback}}) ->
    {Format, Args} = Callback(Report),
    {Level, lists:flatten(io_lib:format(Format, Args))}.

%% The logger calls this in the process that logs. This application's events are those that it
%% renders.
log(#{meta := #{report_cb := Callback}} = Event, #{config := #{pid := Pid}}) ->
    _ = Callback =:= fun py_error:report/1 andalso (Pid ! {?MODULE, Event}),
    ok;
log(_Event, _Handler) ->
    ok.

%% What the shell prints of the badarg that the fun raises.
rendered(Fun) ->
    try Fun() of
        Value -> error({no_badarg, Value})
    catch
        error:badarg:Stack ->
            lists:flatten(io_lib:format("~ts", [erl_error:format_exception(error, badarg, Stack)]))
    end.

%% ------------------------------------------------------------------ other VMs

%% A VM of its own, with this one's code. Spoken to with `peer:call/4'.
start_peer(Options) ->
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), Path =/= "."]),
    Args = maps:get(args, Options, []),
    peer:start_link(Options#{args => Args ++ Paths, wait_boot => 60_000}).

%% Makes this VM a distributed node, unless it is one: `started | running'.
start_distribution() ->
    case is_alive() of
        true ->
            running;
        false ->
            {ok, _} = run_program(os:find_executable("epmd"), ["-daemon"]),
            _ = eventually(fun() -> element(1, erl_epmd:names("localhost")) =:= ok end),
            Name = list_to_atom("py_tests_" ++ os:getpid()),
            {ok, _} = net_kernel:start(Name, #{name_domain => shortnames}),
            started
    end.

%% Of what `start_distribution/0' returned: what was running before goes on.
%% The VM forgets its name as net_kernel's process exits, which may be after the supervisor's word.
stop_distribution(started) ->
    ok = net_kernel:stop(),
    _ = eventually(fun() -> not is_alive() end),
    ok;
stop_distribution(running) -> ok.

%% ------------------------------------------------------------------ numpy

%% A VM whose Python is that of a virtual environment with numpy in it.
with_numpy(Fun) ->
    Venv = numpy_venv(),
    {ok, Vm, _Node} = start_peer(#{connection => standard_io}),
    try
        ok = peer:call(Vm, application, load, [py_context_router]),
        ok = peer:call(Vm, application, set_env, [py_context_router, python, Venv]),
        Fun(Vm)
    after
        peer:stop(Vm)
    end.

%% A virtual environment of the linked Python with numpy in it. Made once per build folder; a
%% half-made one is made again.
numpy_venv() ->
    {ok, _} = application:ensure_all_started(py_context_router),
    {ok, Version} = py:version(),
    Venv = filename:join(build_folder(), "numpy-venv-" ++ binary_to_list(Version)),
    Python = filename:join([Venv, "bin", "python"]),
    case run_if_there(Python, ["-c", "import numpy"]) of
        {ok, _} ->
            Venv;
        _ ->
            {ok, _} = run_program(linked_executable(), ["-m", "venv", "--clear", Venv]),
            {ok, _} = run_program(Python, ["-m", "pip", "install", "--quiet", "numpy"]),
            Venv
    end.

%% The repository, below which this module was built.
repository() ->
    repository(filename:dirname(code:which(?MODULE))).

repository(Folder) ->
    case filelib:is_regular(filename:join(Folder, "rebar.config")) of
        true -> Folder;
        false -> repository(filename:dirname(Folder))
    end.

%% What is below it lasts until somebody clears the build: above test/lib/py_context_router.
build_folder() ->
    lists:foldl(fun(_, Dir) -> filename:dirname(Dir) end,
                filename:absname(code:lib_dir(py_context_router)), lists:seq(1, 3)).

run_if_there(Program, Args) ->
    filelib:is_regular(Program) andalso run_program(Program, Args).

linked_executable() ->
    {ok, Ctx} = py_context:new(#{}),
    {ok, Executable} = py_context:eval(Ctx, <<"__import__('sys').executable">>),
    ok = py_context:stop(Ctx),
    binary_to_list(Executable).

%% Loads the library's modules anew, twice: with the second time goes each process that is still
%% in what was there before the first. Not py_nif, which can't be.
load_anew_twice() ->
    {ok, All} = application:get_key(py_context_router, modules),
    Modules = [Module || Module <- All, Module =/= py_nif,
                         not lists:prefix("Elixir.", atom_to_list(Module))],
    [begin
         _ = code:purge(Module),
         {module, Module} = code:load_file(Module)
     end || _ <- [once, twice], Module <- Modules],
    ok.
