%% @private Loads the native library and starts the linked Python, as the executable that the
%% application environment names.
%%
%% Runs in the process that starts the application, and in the one that stops it. It never starts
%% Python twice: CPython can't be, in one OS process.
-module(py_boot).

-export([start/0, stop/1, load/0, venv/0]).

-export_type([start_error/0]).

-type start_error() ::
    {python_not_found, Tried :: [binary()]}
  | {python_mismatch, #{python := binary(), version := binary(), linked := binary()}}
  | {python_already_running, Executable :: binary() | undefined}
  | {python_failed, Why :: binary()}.
%% `python_not_found': no libpython where the library looks for it, or no such executable.
%% `python_mismatch': the executable is of another version than the linked library.
%% `python_already_running': started earlier in this VM, as another executable. CPython can't be
%% started twice in one OS process.

%% The settings that the native side gets.
-define(SETTINGS, [quarantine_limit, max_depth, spin_us, callback_depth, redirect_output]).
%% How long Python's `atexit' callbacks may take when the application stops, in ms.
-define(ATEXIT_TIMEOUT, 5_000).
%% How long an executable may take to say its version, in ms.
-define(PROBE_TIMEOUT, 30_000).

%% Loads the library and starts Python. Python stays for the life of the VM.
-spec start() -> ok | {error, start_error()}.
start() ->
    case load() of
        ok -> start_as(py_config:value(python));
        {error, _} = Error -> Error
    end.

%% Python stays, because it can't be started again. What its code has registered with `atexit' is
%% run, for as long as that may take, with these services, which it may need.
-spec stop([module()]) -> ok.
stop(Services) ->
    %% In a process of its own, for the message that may come too late.
    {Pid, Monitor} = spawn_monitor(fun() -> run_atexit(Services) end),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after ?ATEXIT_TIMEOUT ->
        true = exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, _} -> ok end
    end,
    lists:foreach(fun end_service/1, Services).

%% What they print and log goes where that of nobody's job goes. Their services have gone with the
%% tree.
-spec run_atexit([module()]) -> ok.
run_atexit(Services) ->
    _ = [Service:start_link() || Service <- Services],
    ok = py_nif:run_atexit(),
    receive py_atexit -> ok end,
    %% What has come before this is handled first.
    lists:foreach(fun(Service) -> ok = gen_server:stop(Service) end, Services).

%% One that has outlived its time is about to end, and leaves its name to the next start.
-spec end_service(module()) -> ok.
end_service(Service) ->
    Monitor = monitor(process, Service),
    receive {'DOWN', Monitor, process, _, _} -> ok end.

%% Loads the library, and libpython with it.
-spec load() -> ok | {error, {python_not_found, [binary()]}}.
load() ->
    case py_nif:load() of
        ok -> ok;
        {error, {_, Why}} -> {error, {python_not_found, [unicode:characters_to_binary(Why)]}}
    end.

%% The virtual environment whose executable Python runs as, if it is one's.
-spec venv() -> {ok, binary()} | none.
venv() ->
    case runs_as(py_config:value(python)) of
        undefined ->
            none;
        Executable ->
            Folder = filename:dirname(filename:dirname(Executable)),
            case filelib:is_regular(filename:join(Folder, "pyvenv.cfg")) of
                true -> {ok, Folder};
                false -> none
            end
    end.

-spec runs_as(undefined | file:name_all()) -> binary() | undefined.
runs_as(undefined) ->
    case load() of
        ok -> py_nif:build_executable();
        {error, _} -> undefined
    end;
runs_as(Path) ->
    case executable(unicode:characters_to_binary(Path)) of
        {ok, Executable} -> Executable;
        {error, _} -> undefined
    end.

-spec start_as(undefined | file:name_all()) -> ok | {error, start_error()}.
start_as(undefined) ->
    boot(undefined);
start_as(Path) ->
    case executable(unicode:characters_to_binary(Path)) of
        {ok, Executable} -> start_matching(Executable, probe(Executable));
        {error, _} = Error -> Error
    end.

-spec start_matching(binary(), {ok, binary()} | error) -> ok | {error, start_error()}.
start_matching(Executable, {ok, Version}) ->
    Linked = py_nif:version(),
    case minor_version(Version) =:= minor_version(Linked) of
        true ->
            boot(Executable);
        false ->
            {error, {python_mismatch,
                     #{python => Executable, version => Version, linked => Linked}}}
    end;
start_matching(Executable, error) ->
    {error, {python_not_found, [Executable]}}.

%% An executable file as it is; of a virtual environment, the one in its bin folder.
-spec executable(binary()) -> {ok, binary()} | {error, start_error()}.
executable(Path) ->
    Tried = [Path, filename:join([Path, "bin", "python3"]), filename:join([Path, "bin", "python"])],
    case lists:filter(fun filelib:is_regular/1, Tried) of
        [Found | _] -> {ok, filename:absname(Found)};
        [] -> {error, {python_not_found, Tried}}
    end.

%% Asks an executable for its version.
-spec probe(binary()) -> {ok, binary()} | error.
probe(Executable) ->
    Args = ["-I", "-S", "-c", "import platform; print(platform.python_version())"],
    case py_os_cmd:run(Executable, Args, fun(_Line) -> ok end, ?PROBE_TIMEOUT) of
        {0, Version} -> {ok, Version};
        {_Failure, _Output} -> error
    end.

-spec minor_version(binary()) -> [binary()].
minor_version(Version) ->
    lists:sublist(binary:split(Version, <<".">>, [global]), 2).

-spec boot(binary() | undefined) -> ok | {error, start_error()}.
boot(Executable) ->
    Settings = maps:from_list([{Key, py_config:value(Key)} || Key <- ?SETTINGS]),
    ok = py_nif:boot(Executable, Settings#{logging => py_config:log_levels(),
                                           variables => variables(py_config:value(copy_env))}),
    receive
        {py_boot, ok} -> ok;
        {py_boot, {error, {boot_failed, Why}}} -> {error, {python_failed, Why}};
        {py_boot, {error, {running_as, Running}}} -> {error, {python_already_running, Running}}
    end.

%% The VM's, as bytes, for a Python that is about to start.
-spec variables(boolean()) -> [{binary(), binary()}] | nil.
variables(true) ->
    [{Name, Value} || {Name, Value} <- [{native(N), native(V)} || {N, V} <- os:env()],
                      is_binary(Name), is_binary(Value)];
variables(false) ->
    nil.

-spec native(string()) -> binary() | {error | incomplete, binary(), term()}.
native(Text) ->
    unicode:characters_to_binary(Text, unicode, file:native_name_encoding()).
