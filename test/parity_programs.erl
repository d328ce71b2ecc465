%% The programs of test/parity, and what plain Python makes of them.
%%
%% A program is a file whose first line is a docstring that says what it is about. Comment lines may
%% follow:
%%
%%   # requires: 3.11     only where the linked Python is at least that new
%%   # plain: file        plain Python runs the file, not its text by `-c'
-module(parity_programs).

-export([all/2, plain/3]).
-export_type([program/0, result/0]).

-type program() :: #{name := string(), path := file:filename(), source := binary(),
                     plain := command | file}.
%% How a program ended and all that it printed. The class of an exception has no module, because
%% Python's own traceback and the library write it differently.
-type result() :: {ok | {Class :: binary(), Message :: binary()}, Output :: binary()}.

-define(SECONDS, 60).

%% @doc The programs in a folder that a version of Python can run, in order of their names.
-spec all(file:filename(), {integer(), integer()}) -> [program()].
all(Folder, Version) ->
    Paths = filelib:wildcard(filename:join(Folder, "*.py")),
    [Program || Path <- Paths, {Required, Program} <- [program(Path)], Required =< Version].

program(Path) ->
    {ok, Source} = file:read_file(Path),
    case re:run(Source, "^\"\"\".+\\.\"\"\"\n", [{capture, none}]) of
        match -> ok;
        nomatch -> error({no_docstring_of_one_line, Path})
    end,
    {required(header(Source, "requires")),
     #{name => filename:basename(Path, ".py"), path => Path, source => Source,
       plain => how(header(Source, "plain"))}}.

header(Source, Key) ->
    case re:run(Source, ["^# ", Key, ": *(.*)$"], [multiline, {capture, [1], list}]) of
        {match, [Value]} -> Value;
        nomatch -> none
    end.

required(none) ->
    {3, 10};
required(Text) ->
    [Major, Minor] = string:split(Text, "."),
    {list_to_integer(Major), list_to_integer(Minor)}.

how(none) -> command;
how("file") -> file.

%% @doc What plain Python makes of a program. Its two outputs are one here, in the order in which it
%% wrote them, as the outputs of a context are.
%%
%% A result is kept in a folder, in a file whose name is a hash of all that decides it: the
%% program, the Python, and those environment variables that Python reads.
-spec plain({Executable :: file:filename(), Build :: binary()}, program(), file:filename()) ->
    result().
plain({Executable, _Build} = Python, #{name := Name} = Program, Folder) ->
    Hash = binary:encode_hex(erlang:md5(term_to_binary({Python, Program, environment()}))),
    File = filename:join([Folder, Name, binary_to_list(Hash)]),
    case file:read_file(File) of
        {ok, Binary} ->
            binary_to_term(Binary);
        {error, enoent} ->
            Result = run_plain(Executable, Program),
            ok = keep(File, term_to_binary(Result)),
            Result
    end.

environment() ->
    lists:sort([Variable || Variable <- os:getenv(),
                            Prefix <- ["HOME=", "LANG", "LC_", "PATH=", "PYTHON", "TMP", "TZ=",
                                       "USER="],
                            lists:prefix(Prefix, Variable)]).

%% In one piece: another run may read it meanwhile.
keep(File, Binary) ->
    New = File ++ "." ++ os:getpid(),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(New, Binary),
    file:rename(New, File).

run_plain(Executable, #{path := Path, source := Source, plain := How}) ->
    Args = case How of
        command -> ["-u", "-c", Source];
        file -> ["-u", Path]
    end,
    %% Without standard input, like a service.
    Port = open_port({spawn_executable, "/bin/sh"},
                     [{args, ["-c", "exec timeout \"$@\" </dev/null", "sh", "-k", "5",
                              integer_to_list(?SECONDS), Executable | Args]},
                      {env, [{"PYTHONDONTWRITEBYTECODE", "1"}]},
                      exit_status, binary, stderr_to_stdout, hide]),
    ended(output(Port, [])).

output(Port, Sofar) ->
    receive
        {Port, {data, Data}} -> output(Port, [Sofar, Data]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(Sofar)}
    end.

ended({0, Output}) ->
    {ok, Output};
ended({Status, Output}) ->
    case re:run(Output, "^Traceback \\(most recent call last\\):$", [multiline, global]) of
        nomatch ->
            {{<<"SystemExit">>, integer_to_binary(Status)}, Output};
        {match, Found} ->
            {exception(Output, element(1, hd(lists:last(Found)))),
             binary:part(Output, 0, start_of_chain(Output, lists:reverse(Found)))}
    end.

%% What stands after the indented lines of the last traceback.
exception(Output, At) ->
    [_ | Lines] = binary:split(binary:part(Output, At, byte_size(Output) - At), <<"\n">>, [global]),
    Last = lists:dropwhile(fun(Line) -> binary:match(Line, <<" ">>) =:= {0, 1} end, Lines),
    Text = string:trim(lists:join("\n", Last), trailing, "\n"),
    [Class | Message] = string:split(iolist_to_binary(Text), ": "),
    {unqualified(Class), iolist_to_binary(Message)}.

unqualified(Class) ->
    lists:last(binary:split(Class, <<".">>, [global])).

%% Where the first traceback of those begins that belong to the last exception.
start_of_chain(Output, [[{At, _}], [{Before, _}] | Rest]) ->
    Between = binary:part(Output, Before, At - Before),
    Link = "\n\n(During handling|The above exception)[^\n]*:\n\n$",
    case re:run(Between, Link, [{capture, none}]) of
        match -> start_of_chain(Output, [[{Before, 0}] | Rest]);
        nomatch -> At
    end;
start_of_chain(_Output, [[{At, _}]]) ->
    At.
