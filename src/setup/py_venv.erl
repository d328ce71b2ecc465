%% @private Virtual environments: making them, filling them, and putting their packages on
%% Python's path.
%%
%% Runs in the calling process, which waits for the programs; they get lists of arguments, never
%% a command for a shell. Their output goes to the process or function that the option `progress'
%% names.
-module(py_venv).

-export([activate/1, deactivate/0, info/0, ensure/3]).

-export_type([requirements/0, options/0, error/0]).

-include("../base/py_check.hrl").

-type requirements() :: [binary() | string()] | binary() | string().
%% What `pip install' takes, one in each: `[<<"numpy>=2">>, "requests", "./a_project"]'; or the
%% path of a `requirements.txt', or of a project with a `pyproject.toml'. Options of pip, such as
%% `-e' or `--index-url', stand in a `requirements.txt', or in environment variables
%% (`PIP_INDEX_URL').
-type options() :: #{installer => auto | uv | pip,
                     python => file:name_all(),
                     activate => boolean(),
                     force => boolean(),
                     progress => pid() | fun((binary()) -> term()),
                     timeout => timeout()}.
%% `installer': `uv' if it is there, else Python's own `venv' and `pip'. `python': the executable
%% that the environment is made of; default the one that runs here. `activate': whether contexts use
%% the environment from then on; default `true'. `force': install even if nothing has changed since
%% the last time. `progress': gets each line of output, as the message `{py_venv, Path, Line}' or as
%% an argument. `timeout': in ms, for each program; default 10 minutes.
-type error() :: {bad_option, {term(), term()}}
               | {venv_failed, Program :: binary(), exit_status() | timeout | file:posix(),
                  Output :: binary()}
               | {not_a_venv, Path :: binary()}
               | {python_not_found, [binary()]}
               | py_context:error().
%% `not_a_venv': there are files at the path already, which are no virtual environment.
-type exit_status() :: non_neg_integer().

%% In an environment: what was installed there last.
-define(STAMP, "py_context_router.installed").
-define(TIMEOUT, 600_000).
%% How much of a failed program's output the error has, in bytes from its end.
-define(MAX_OUTPUT, 4_000).

%% ------------------------------------------------------------------ using one

-spec activate(binary()) -> ok | {error, term()}.
activate(Path) ->
    Folder = filename:absname(Path),
    py_each_context:add(venv, {py_venv_code:activate(Folder), Folder}).

-spec deactivate() -> ok | {error, term()}.
deactivate() ->
    ok = py_context_setup:remove(venv),
    py_each_context:run(py_venv_code:deactivate()).

-spec info() -> #{active := boolean(), venv_path => binary(), site_packages => binary()}.
info() ->
    case py_context_setup:find(venv) of
        undefined -> info(py_boot:venv());
        {venv, _, Path} -> info({ok, Path})
    end.

-spec info({ok, binary()} | none) ->
    #{active := boolean(), venv_path => binary(), site_packages => binary()}.
info(none) ->
    #{active => false};
info({ok, Path}) ->
    %% The application may not have been started.
    ok = py_boot:load(),
    [Major, Minor | _] = binary:split(py_nif:version(), <<".">>, [global]),
    Lib = <<"python", Major/binary, ".", Minor/binary>>,
    #{active => true, venv_path => Path,
      site_packages => filename:join([Path, <<"lib">>, Lib, <<"site-packages">>])}.

%% ------------------------------------------------------------------ making one

%% Makes the environment if there is none, installs if that is another list than last time, and
%% activates it.
-spec ensure(binary(), requirements(), options()) -> ok | {error, error()}.
ensure(Path, Requirements, Options) ->
    Folder = filename:absname(Path),
    py_steps:run([fun() -> check(maps:to_list(Options)) end,
                  fun() -> make(Folder, Options) end,
                  fun() -> install(Folder, py_requirements:arguments(Requirements), Options) end,
                  fun() -> activate_if(maps:get(activate, Options, true), Folder) end]).

-spec check([{term(), term()}]) -> ok | {error, {bad_option, {term(), term()}}}.
check([]) ->
    ok;
check([{Key, Value} | Rest]) ->
    case is_option(Key, Value) of
        true -> check(Rest);
        false -> {error, {bad_option, {Key, Value}}}
    end.

-spec is_option(term(), term()) -> boolean().
is_option(installer, How) -> lists:member(How, [auto, uv, pip]);
is_option(python, Path) when Path =:= <<>>; Path =:= "" -> false;
is_option(python, Path) when is_binary(Path) -> unicode:characters_to_binary(Path) =:= Path;
is_option(python, Path) -> io_lib:printable_unicode_list(Path);
is_option(Flag, Value) when Flag =:= activate; Flag =:= force -> is_boolean(Value);
is_option(progress, To) -> is_pid(To) orelse is_function(To, 1);
is_option(timeout, Timeout) -> ?IS_TIMEOUT(Timeout) andalso Timeout =/= 0;
is_option(_Key, _Value) -> false.

-spec make(binary(), options()) -> ok | {error, error()}.
make(Folder, Options) ->
    case {filelib:is_regular(python_of(Folder)), is_free(Folder)} of
        {true, _} -> ok;
        {false, true} -> make_with(executable(Options), Folder, Options);
        {false, false} -> {error, {not_a_venv, Folder}}
    end.

%% A folder with files of another kind is not filled with an environment. One that was being made
%% has its `pyvenv.cfg'.
-spec is_free(binary()) -> boolean().
is_free(Folder) ->
    case file:list_dir_all(Folder) of
        {ok, []} -> true;
        {ok, [_ | _]} -> filelib:is_regular(filename:join(Folder, <<"pyvenv.cfg">>));
        {error, Reason} -> Reason =:= enoent
    end.

-spec make_with({ok, binary()} | {error, error()}, binary(), options()) -> ok | {error, error()}.
make_with({ok, Python}, Folder, Options) ->
    case uv(Options) of
        {ok, Uv} ->
            run(Uv, [<<"venv">>, <<"--python">>, Python, Folder], Folder, Options);
        none ->
            run(Python, [<<"-m">>, <<"venv">>, Folder], Folder, Options)
    end;
make_with({error, _} = Error, _Folder, _Options) ->
    Error.

-spec install(binary(), [binary()], options()) -> ok | {error, error()}.
install(Folder, Arguments, Options) ->
    Stamp = filename:join(Folder, ?STAMP),
    Wanted = py_requirements:stamp(Arguments),
    case maps:get(force, Options, false) =:= false andalso file:read_file(Stamp) =:= {ok, Wanted} of
        true ->
            ok;
        false when Arguments =:= [] ->
            file:write_file(Stamp, Wanted);
        false ->
            case install_with(uv(Options), Folder, Arguments, Options) of
                ok -> file:write_file(Stamp, Wanted);
                {error, _} = Error -> Error
            end
    end.

-spec install_with({ok, binary()} | none, binary(), [binary()], options()) ->
    ok | {error, error()}.
install_with({ok, Uv}, Folder, Arguments, Options) ->
    run(Uv, [<<"pip">>, <<"install">>, <<"--python">>, python_of(Folder) | Arguments], Folder,
        Options);
install_with(none, Folder, Arguments, Options) ->
    Pip = [<<"-m">>, <<"pip">>, <<"install">>, <<"--disable-pip-version-check">>],
    run(python_of(Folder), Pip ++ Arguments, Folder, Options).

-spec activate_if(boolean(), binary()) -> ok | {error, term()}.
activate_if(true, Folder) -> activate(Folder);
activate_if(false, _Folder) -> ok.

-spec python_of(binary()) -> binary().
python_of(Folder) ->
    filename:join([Folder, <<"bin">>, <<"python">>]).

-spec uv(options()) -> {ok, binary()} | none.
uv(#{installer := pip}) ->
    none;
uv(Options) ->
    case os:find_executable("uv") of
        false when map_get(installer, Options) =:= uv -> {ok, <<"uv">>};
        false -> none;
        Path -> {ok, unicode:characters_to_binary(Path)}
    end.

%% The executable that the environment is made of: what Python here says it is.
-spec executable(options()) -> {ok, binary()} | {error, error()}.
executable(#{python := Python}) ->
    {ok, unicode:characters_to_binary(Python)};
executable(_Options) ->
    case py_context:new(#{}) of
        {ok, Ctx} ->
            Result = py_context:eval(Ctx, <<"__import__('sys').executable">>),
            ok = py_context:stop(Ctx),
            Result;
        {error, _} = Error ->
            Error
    end.

%% ------------------------------------------------------------------ programs

-spec run(binary(), [binary()], binary(), options()) -> ok | {error, error()}.
run(Program, Args, Folder, Options) ->
    OnLine = on_line(maps:get(progress, Options, none), Folder),
    ok = OnLine(iolist_to_binary(lists:join(" ", [Program | Args]))),
    case py_os_cmd:run(Program, Args, OnLine, maps:get(timeout, Options, ?TIMEOUT)) of
        {0, _Output} -> ok;
        {Status, Output} -> {error, {venv_failed, Program, Status, end_of(Output)}}
    end.

-spec end_of(binary()) -> binary().
end_of(Output) ->
    Start = max(0, byte_size(Output) - ?MAX_OUTPUT),
    binary:part(Output, Start, byte_size(Output) - Start).

-spec on_line(none | pid() | fun((binary()) -> term()), binary()) -> fun((binary()) -> ok).
on_line(none, _Folder) ->
    fun(_Line) -> ok end;
on_line(Pid, Folder) when is_pid(Pid) ->
    fun(Line) -> Pid ! {py_venv, Folder, Line}, ok end;
on_line(Fun, _Folder) ->
    fun(Line) -> _ = Fun(Line), ok end.
