%% Real libraries in contexts: the work that each does in the modes that it allows, and the hint in
%% those that it doesn't. Run by test/packages/run, which makes the virtual environment.
%%
%% Each case and mode has a VM of its own: an extension module that one mode has imported may be of
%% no use to another in the same process.
-module(packages_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_group/2, end_per_group/2]).
-export([numpy/1, pandas/1, pydantic/1, sqlalchemy/1, httpx/1, sklearn/1, pytest/1]).
%% For the VM of a case.
-export([work/3]).

-define(MILLISECONDS, 120_000).
%% How long the application may take to stop, and for what it has started to be gone.
-define(STOP_MILLISECONDS, 3_000).

all() ->
    [{group, worker}]
    ++ [{group, subinterp} || py:subinterp_supported()]
    ++ [{group, owngil} || py:owngil_supported()].

groups() ->
    Cases = [numpy, pandas, pydantic, sqlalchemy, httpx, sklearn, pytest],
    [{Mode, [], Cases} || Mode <- [worker, subinterp, owngil]].

init_per_group(Mode, Config) ->
    [{mode, Mode} | Config].

end_per_group(_Mode, _Config) ->
    ok.

%% ------------------------------------------------------------------ cases

numpy(Config) ->
    works(numpy, Config, [], [[2.0, 3.0], [334, 333, 333]], [worker, subinterp]).

pandas(Config) ->
    works(pandas, Config, [], #{<<"tea">> => 9.0, <<"milk">> => 2.5}, [worker | old_subinterp()]).

pydantic(Config) ->
    works(pydantic, Config, [],
          [#{<<"items">> => [#{<<"name">> => <<"tea">>, <<"price">> => 1.5}], <<"note">> => none},
           [[[<<"items">>, 0, <<"price">>], <<"value_error">>]],
           [<<"name">>, <<"price">>]],
          [worker, subinterp]).

sqlalchemy(Config) ->
    works(sqlalchemy, Config, [], [[[<<"Ada">>, 2], [<<"Grace">>, 0]], <<"Ada">>],
          [worker, subinterp, owngil]).

httpx(Config) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 1}}, {packet, http_bin},
                                        {active, false}, {reuseaddr, true}]),
    {ok, Port} = inet:port(Listener),
    _ = spawn_link(fun() -> accept(Listener) end),
    Url = iolist_to_binary(io_lib:format("http://127.0.0.1:~b", [Port])),
    works(httpx, Config, [Url], [<<"/first?q=a+b">>, 404, [<<"/0">>, <<"/1">>, <<"/2">>]],
          [worker, subinterp, owngil]).

sklearn(Config) ->
    works(sklearn, Config, [], [true, true], [worker | old_subinterp()]).

%% One of its tests fails: status 1. Its module faulthandler doesn't allow a GIL per interpreter.
pytest(Config) ->
    works(pytest, Config, [list_to_binary(proplists:get_value(priv_dir, Config))], 1,
          [worker, subinterp]).

%% From CPython 3.12 on, a module that was made for one interpreter refuses to be loaded in another.
old_subinterp() ->
    {ok, Version} = py:version(),
    [Major, Minor | _] = [list_to_integer(Part)
                          || Part <- string:lexemes(binary_to_list(Version), ".")],
    [subinterp || {Major, Minor} < {3, 12}].

%% ------------------------------------------------------------------ a server

accept(Listener) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            Server = spawn(fun() -> receive go -> answer(Socket, none) end end),
            ok = gen_tcp:controlling_process(Socket, Server),
            Server ! go,
            accept(Listener);
        {error, closed} ->
            ok
    end.

%% Says in JSON for which path it was asked.
answer(Socket, Path) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, {http_request, 'GET', {abs_path, Asked}, _}} -> answer(Socket, Asked);
        {ok, http_eoh} ->
            Body = ["{\"path\": \"", Path, "\"}"],
            Status = case Path of <<"/missing">> -> "404 Not Found"; _ -> "200 OK" end,
            ok = gen_tcp:send(Socket, ["HTTP/1.1 ", Status, "\r\nContent-Length: ",
                                       integer_to_list(iolist_size(Body)), "\r\n\r\n", Body]),
            answer(Socket, none);
        {ok, _Header} -> answer(Socket, Path);
        {error, closed} -> ok
    end.

%% ------------------------------------------------------------------ the VM of a case

%% `work' of the file of the case gives what is expected in the modes that the library allows, and
%% the import is refused with a hint in the others. In any case the application stops at once and
%% leaves no process behind.
works(Name, Config, Args, Expected, Modes) ->
    Mode = proplists:get_value(mode, Config),
    File = ["use_", atom_to_list(Name), ".py"],
    {ok, Source} = file:read_file(filename:join(os:getenv("PACKAGES"), File)),
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => 0}),
    {Result, Stopped} =
        try
            ok = peer:call(Vm, application, load, [py_context_router]),
            Python = [py_context_router, python, os:getenv("PACKAGES_VENV")],
            ok = peer:call(Vm, application, set_env, Python),
            peer:call(Vm, ?MODULE, work, [Mode, Source, Args], 3 * ?MILLISECONDS)
        after
            peer:stop(Vm)
        end,
    case lists:member(Mode, Modes) of
        true -> ?assertEqual({ok, Expected}, Result);
        false -> ?assertMatch({{error, {_ImportError, _}}, {match, _}}, {Result, hint(Result)})
    end,
    ?assertEqual(stopped, Stopped).

hint({error, {_, Message}}) ->
    re:run(Message, "start a pool of mode worker.*py_context_router:register_pool/2");
hint(_) ->
    nomatch.

work(Mode, Source, Args) ->
    {ok, _} = application:ensure_all_started(py_context_router),
    Before = children(),
    %% Not linked to this process, which the stop would take along.
    {ok, Ctx} = py_context_sup:start_context(?MODULE, Mode),
    Result = case py_context:exec(Ctx, Source, ?MILLISECONDS) of
        ok -> py_context:call(Ctx, '__main__', work, Args, #{}, ?MILLISECONDS);
        {error, _} = Error -> Error
    end,
    ok = application:stop(py_context_router),
    {Result, stopped(Mode, Before)}.

%% What keeps track of resources for an interpreter of its own lives as long as the VM.
stopped(Mode, Before) ->
    IsLeft = fun(Command) ->
        Mode =:= worker orelse re:run(Command, "resource_tracker|^$") =:= nomatch
    end,
    try test_helpers:eventually(fun() ->
            case [Left || {_, Command} = Left <- children() -- Before, IsLeft(Command)] of
                [] -> true;
                Left -> {left, Left}
            end
        end, ?STOP_MILLISECONDS) of
        _ -> stopped
    catch
        error:{never, Left} -> Left
    end.

%% The processes that this VM has started, and theirs, each with its command line.
children() ->
    descendants([list_to_integer(os:getpid())], parents()).

descendants(Pids, Parents) ->
    case [Pid || {Pid, Parent} <- Parents, lists:member(Parent, Pids)] of
        [] -> [];
        Next -> [{Pid, command(Pid)} || Pid <- Next] ++ descendants(Next, Parents)
    end.

parents() ->
    {ok, Names} = file:list_dir("/proc"),
    [{list_to_integer(Name), Parent}
     || Name <- Names, lists:all(fun(C) -> C >= $0 andalso C =< $9 end, Name),
        {ok, Stat} <- [file:read_file(["/proc/", Name, "/stat"])],
        %% The command, in parentheses, may hold anything.
        {match, [Text]} <- [re:run(Stat, "^.*\\) . ([0-9]+) ", [dotall, {capture, [1], binary}])],
        Parent <- [binary_to_integer(Text)]].

command(Pid) ->
    case file:read_file(["/proc/", integer_to_list(Pid), "/cmdline"]) of
        {ok, Line} -> binary:replace(Line, <<0>>, <<" ">>, [global]);
        {error, _} -> gone
    end.
