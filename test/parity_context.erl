%% Runs the programs of test/parity in contexts, one after another, in a VM of its own.
-module(parity_context).

-export([run/3]).
-export_type([way/0]).

%% Where the code runs: in the context's own namespace or in that of the calling process.
-type way() :: 'py_context:exec' | 'py:exec'.

-define(MILLISECONDS, 60_000).

%% @doc Each program in a process and a context of its own. What a program prints includes what the
%% end of its context and of the application makes it print.
-spec run([parity_programs:program()], py_context:context_mode(), way()) ->
    [{Name :: string(), parity_programs:result()}].
run(Programs, Mode, Way) ->
    %% Python's root logger has the level of Erlang's logger, and plain Python's shows warnings.
    ok = logger:set_primary_config(level, warning),
    ok = logger:remove_handler(default),
    [{Name, run_one(Source, Mode, Way)} || #{name := Name, source := Source} <- Programs].

run_one(Source, Mode, Way) ->
    Leader = spawn_link(fun() -> collect([]) end),
    %% The application's own leader passes on to that of the controller which starts it.
    Controller = whereis(application_controller),
    {group_leader, Usual} = process_info(Controller, group_leader),
    true = group_leader(Leader, Controller),
    {ok, _} = application:ensure_all_started(py_context_router),
    %% Without that detour the output of threads keeps its place beside that of the job.
    true = group_leader(Leader, whereis(py_output)),
    Outcome = in_process(Leader, fun() ->
        {ok, Ctx} = py_context:new(#{mode => Mode}),
        Result = exec(Way, Ctx, Source),
        ok = py_context:stop(Ctx),
        Result
    end),
    {ended, ok} = in_process(Leader, fun collect_garbage/0),
    ok = application:stop(py_context_router),
    true = group_leader(Usual, Controller),
    Leader ! {collected, self()},
    receive {Leader, Output} -> {outcome(Outcome), Output} end.

in_process(Leader, Fun) ->
    {_, Monitor} = spawn_monitor(fun() ->
        true = group_leader(Leader, self()),
        exit({ended, Fun()})
    end),
    receive {'DOWN', Monitor, _, _, How} -> How end.

%% The namespace of a worker goes when Python's garbage collector finds it, which is one for all
%% workers.
collect_garbage() ->
    {ok, Ctx} = py_context:new(#{}),
    ok = py_context:exec(Ctx, <<"import gc\ngc.collect()">>),
    py_context:stop(Ctx).

exec('py_context:exec', Ctx, Source) -> py_context:exec(Ctx, Source, #{timeout => ?MILLISECONDS});
exec('py:exec', Ctx, Source) -> py:exec(Ctx, Source, #{timeout => ?MILLISECONDS}).

outcome({ended, ok}) ->
    ok;
outcome({ended, {error, {Type, Message}}}) when is_binary(Message) ->
    Text = if is_atom(Type) -> atom_to_binary(Type); true -> Type end,
    {lists:last(binary:split(Text, <<".">>, [global])), Message};
outcome(Other) ->
    {<<"(no exception)">>, iolist_to_binary(io_lib:format("~0tp", [Other]))}.

%% A group leader that keeps what it is given.
collect(Sofar) ->
    receive
        {io_request, From, Ref, {put_chars, unicode, Text}} ->
            From ! {io_reply, Ref, ok},
            collect([Sofar, Text]);
        {io_request, From, Ref, _Other} ->
            From ! {io_reply, Ref, {error, enotsup}},
            collect(Sofar);
        {collected, To} ->
            To ! {self(), unicode:characters_to_binary(Sofar)}
    end.
