%% @private Runs a program of the operating system to its end, with a list of arguments.
%%
%% Runs in the calling process, and never through a shell. Whatever becomes of the program,
%% nothing of it stays in that process's message queue.
-module(py_os_cmd).

-export([run/4]).

-export_type([outcome/0]).

-type outcome() :: {exit_status() | timeout | file:posix(), Output :: binary()}.
-type exit_status() :: non_neg_integer().
-type on_line() :: fun((Line :: binary()) -> ok).
%% Lines, last first, and the beginning of the next one.
-type output() :: {[binary()], binary()}.

%% How much of a line comes at once, in bytes.
-define(MAX_LINE_PART, 4096).
%% How long the rest of the output may take once the program has ended, in ms: a child that it left
%% behind may have the pipe open for as long as it likes.
-define(REST_TIMEOUT, 1_000).

%% The program's status and its output; `OnLine' gets each line of that as it comes. A program that
%% takes longer than the timeout is ended.
-spec run(file:name_all(), [binary() | string()], on_line(), timeout()) -> outcome().
run(Program, Args, OnLine, Timeout) ->
    Options = [{args, Args}, exit_status, eof, binary, {line, ?MAX_LINE_PART}, stderr_to_stdout,
               hide],
    try open_port({spawn_executable, Program}, Options) of
        Port -> follow_to_end(Port, OnLine, py_deadline:from_timeout(Timeout))
    catch
        error:Reason -> {Reason, <<>>}
    end.

-spec follow_to_end(port(), on_line(), py_deadline:deadline()) -> outcome().
follow_to_end(Port, OnLine, Deadline) ->
    try
        {Status, Output} = follow(Port, {[], <<>>}, OnLine, Deadline),
        {Status, text(Output, OnLine)}
    after
        close(Port)
    end.

-spec follow(port(), output(), on_line(), py_deadline:deadline()) ->
    {exit_status() | timeout, output()}.
follow(Port, Output, OnLine, Deadline) ->
    receive
        {Port, {data, Data}} ->
            follow(Port, add(Data, Output, OnLine), OnLine, Deadline);
        {Port, {exit_status, Status}} ->
            {Status, rest(Port, Output, OnLine, py_deadline:from_timeout(?REST_TIMEOUT))}
    after py_deadline:left(Deadline) ->
        ok = kill(Port),
        {timeout, Output}
    end.

%% The status comes before a last line that has no end.
-spec rest(port(), output(), on_line(), integer()) -> output().
rest(Port, Output, OnLine, Deadline) ->
    receive
        {Port, {data, Data}} -> rest(Port, add(Data, Output, OnLine), OnLine, Deadline);
        {Port, eof} -> Output
    after py_deadline:left(Deadline) ->
        Output
    end.

-spec add({eol | noeol, binary()}, output(), on_line()) -> output().
add({noeol, Part}, {Lines, Begun}, _OnLine) ->
    {Lines, <<Begun/binary, Part/binary>>};
add({eol, Part}, {Lines, Begun}, OnLine) ->
    Line = <<Begun/binary, Part/binary>>,
    ok = OnLine(Line),
    {[Line | Lines], <<>>}.

-spec text(output(), on_line()) -> binary().
text({Lines, <<>>}, _OnLine) ->
    string:trim(iolist_to_binary(lists:join(<<"\n">>, lists:reverse(Lines))));
text(Output, OnLine) ->
    text(add({eol, <<>>}, Output, OnLine), OnLine).

-spec kill(port()) -> ok.
kill(Port) ->
    case {erlang:port_info(Port, os_pid), os:find_executable("kill")} of
        {{os_pid, Pid}, Kill} when is_list(Kill) ->
            _ = run(Kill, [integer_to_list(Pid)], fun(_Line) -> ok end, infinity),
            ok;
        _ ->
            ok
    end.

%% Open until now, because with `eof' a port doesn't close itself.
-spec close(port()) -> ok.
close(Port) ->
    true = unlink(Port),
    true = port_close(Port),
    flush(Port).

-spec flush(port()) -> ok.
flush(Port) ->
    receive
        {Port, _} -> flush(Port);
        %% To a process that traps exits, if the port ended by itself.
        {'EXIT', Port, _} -> flush(Port)
    after 0 ->
        ok
    end.
