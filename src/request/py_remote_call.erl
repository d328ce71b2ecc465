%% @private The front's calls into contexts of other nodes: the caller's side.
%%
%% Runs in the calling process, which has a proxy on each node that it calls (py_remote_proxy) and
%% keeps their pids in its process dictionary. It never waits longer than the request's timeout.
-module(py_remote_call).

-export([run/2]).

-define(PROXY(Node), {'$py_remote_proxy', Node}).

%% Runs a request in a context of another node. Its timeout is kept there, and here.
-spec run(pid(), py_request:request()) -> term().
run(Ctx, Request) ->
    Deadline = py_deadline:from_timeout(py_request:timeout(Request)),
    case proxy(node(Ctx), Deadline) of
        {ok, Proxy} -> ask(Proxy, Request, Deadline);
        {error, _} = Error -> Error
    end.

-spec proxy(node(), py_deadline:deadline()) -> {ok, pid()} | {error, term()}.
proxy(Node, Deadline) ->
    case get(?PROXY(Node)) of
        undefined ->
            Left = py_deadline:left(Deadline),
            case py_erpc:apply(Node, py_remote_proxy, start, [self()], Left) of
                {ok, Proxy} ->
                    _ = put(?PROXY(Node), Proxy),
                    {ok, Proxy};
                {raised, Reason} ->
                    erlang:error(Reason);
                {error, _} = Error ->
                    Error
            end;
        Proxy ->
            {ok, Proxy}
    end.

-spec ask(pid(), py_request:request(), py_deadline:deadline()) -> term().
ask(Proxy, Request, Deadline) ->
    %% The monitor is also the alias for the answer: if the connection is lost as the proxy
    %% answers, the answer comes with the next connection and is dropped.
    Ref = monitor(process, Proxy, [{alias, reply_demonitor}]),
    Sender = send(Proxy, {run, Ref, Ref, group_leader(), Request}, Deadline),
    receive
        {Ref, Result} ->
            Result;
        {'DOWN', Ref, process, Proxy, Reason} ->
            _ = erase(?PROXY(node(Proxy))),
            {error, {context_died, lost(Reason)}}
    after py_deadline:left(Deadline) ->
        true = demonitor(Ref, [flush]),
        ok = cancel(Proxy, Ref, Sender),
        %% The answer may have come just before.
        receive {Ref, Result} -> Result after 0 -> {error, timeout} end
    end.

%% If the connection is so busy that a sender is suspended, another process sends: a suspended
%% process has no timeout.
-spec send(pid(), term(), py_deadline:deadline()) -> sent | pid().
send(Proxy, Message, infinity) ->
    _ = erlang:send(Proxy, Message),
    sent;
send(Proxy, Message, _Deadline) ->
    case erlang:send(Proxy, Message, [nosuspend]) of
        ok -> sent;
        nosuspend -> spawn(fun() -> erlang:send(Proxy, Message) end)
    end.

%% The proxy drops a request that it hasn't begun. One that runs has the same timeout there.
-spec cancel(pid(), reference(), sent | pid()) -> ok.
cancel(Proxy, Ref, sent) ->
    _ = erlang:send(Proxy, {cancel, Ref}, [nosuspend, noconnect]),
    ok;
cancel(_Proxy, _Ref, Sender) ->
    true = exit(Sender, kill),
    ok.

%% A proxy that was gone already ended with an earlier connection. The reason is not `noproc',
%% which means that the context is dead.
-spec lost(term()) -> term().
lost(noproc) -> noconnection;
lost(Reason) -> Reason.
