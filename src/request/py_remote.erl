%% The front's calls into contexts of other nodes.
%%
%% A process has its namespaces where its calls run, so each process that calls a context of another
%% node has a stand-in there: a process that makes the calls for it, has the namespaces in its place,
%% and dies with it. The stand-in is kept in the process dictionary, one for each node.
-module(py_remote).

-behaviour(gen_server).

-export([run/2]).
%% For the other node.
-export([start/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-define(STAND_IN(Node), {'$py_stand_in', Node}).
%% How long a stand-in waits for its first request, in ms: whoever wanted it may have given up.
-define(UNUSED, 60_000).

%% ------------------------------------------------------------------ the front's calls

%% Runs a request in a context of another node. Its timeout is kept there, and here.
-spec run(pid(), py_call:request()) -> term().
run(Ctx, Request) ->
    Deadline = py_deadline:from_timeout(py_call:timeout(Request)),
    case stand_in(node(Ctx), Deadline) of
        {ok, StandIn} -> ask(StandIn, Request, Deadline);
        {error, _} = Error -> Error
    end.

-spec stand_in(node(), py_deadline:deadline()) -> {ok, pid()} | {error, term()}.
stand_in(Node, Deadline) ->
    case get(?STAND_IN(Node)) of
        undefined ->
            case py_erpc:apply(Node, ?MODULE, start, [self()], py_deadline:left(Deadline)) of
                {ok, StandIn} ->
                    _ = put(?STAND_IN(Node), StandIn),
                    {ok, StandIn};
                {raised, Reason} ->
                    erlang:error(Reason);
                {error, _} = Error ->
                    Error
            end;
        StandIn ->
            {ok, StandIn}
    end.

-spec ask(pid(), py_call:request(), py_deadline:deadline()) -> term().
ask(StandIn, Request, Deadline) ->
    %% Also where it answers to: when the connection is lost as it answers, that comes with the next one,
    %% to nobody.
    Ref = monitor(process, StandIn, [{alias, reply_demonitor}]),
    Sender = send(StandIn, {run, Ref, Ref, group_leader(), Request}, Deadline),
    receive
        {Ref, Result} ->
            Result;
        {'DOWN', Ref, process, StandIn, Reason} ->
            _ = erase(?STAND_IN(node(StandIn))),
            {error, {context_died, lost(Reason)}}
    after py_deadline:left(Deadline) ->
        true = demonitor(Ref, [flush]),
        ok = give_up(StandIn, Ref, Sender),
        %% The answer may have come just before.
        receive {Ref, Result} -> Result after 0 -> {error, timeout} end
    end.

%% Where the connection is so busy that a sender is suspended, somebody else sends: a suspended process has
%% no timeout.
-spec send(pid(), term(), py_deadline:deadline()) -> sent | pid().
send(StandIn, Message, infinity) ->
    _ = erlang:send(StandIn, Message),
    sent;
send(StandIn, Message, _Deadline) ->
    case erlang:send(StandIn, Message, [nosuspend]) of
        ok -> sent;
        nosuspend -> spawn(fun() -> erlang:send(StandIn, Message) end)
    end.

%% A request that it hasn't begun is dropped there. One that runs has the same timeout there.
-spec give_up(pid(), reference(), sent | pid()) -> ok.
give_up(StandIn, Ref, sent) ->
    _ = erlang:send(StandIn, {give_up, Ref}, [nosuspend, noconnect]),
    ok;
give_up(_StandIn, _Ref, Sender) ->
    true = exit(Sender, kill),
    ok.

%% One that was gone already went with a connection that is back. Not `noproc': that is said of
%% contexts.
-spec lost(term()) -> term().
lost(noproc) -> noconnection;
lost(Reason) -> Reason.

%% @private Makes a stand-in for a process of another node.
-spec start(pid()) -> pid().
start(Principal) ->
    {ok, Pid} = gen_server:start(?MODULE, Principal, []),
    Pid.

%% ------------------------------------------------------------------ the stand-in

-spec init(pid()) -> {ok, undefined, timeout()}.
init(Principal) ->
    ok = py_erpc:die_with(Principal),
    {ok, undefined, ?UNUSED}.

-spec handle_call(term(), gen_server:from(), undefined) -> {noreply, undefined}.
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), undefined) -> {noreply, undefined} | {stop, normal, undefined}.
handle_info({run, From, Ref, Leader, Request}, State) ->
    receive
        {give_up, Ref} -> ok
    after 0 ->
        %% What Python prints goes to where the caller's output goes by now.
        true = group_leader(Leader, self()),
        %% What is in the result lives as long as the caller, and so this process.
        From ! {Ref, py_remote_refs:keep(py_call:run(Request), self())}
    end,
    {noreply, State};
handle_info(timeout, State) ->
    {stop, normal, State};
handle_info(_Other, State) ->
    {noreply, State}.

%% What a report of this process's end shows: not the request, with its arguments.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(fun(message, {run, From, Ref, _Leader, _Request}) -> {run, From, Ref, hidden};
                (_Key, Value) -> Value
             end, Status).
