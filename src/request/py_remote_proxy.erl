%% @private The front's calls into contexts of other nodes.
%%
%% A process has its namespaces where its calls run, so each process that calls a context of
%% another node has a proxy there: a process that makes the calls for it, has the namespaces in
%% its place, and never outlives it. The caller keeps the proxies' pids in its process
%% dictionary, one for each node.
-module(py_remote_proxy).

-behaviour(gen_server).

-export([run/2]).
%% For the other node.
-export([start/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-define(PROXY(Node), {'$py_remote_proxy', Node}).
%% How long a proxy waits for its first request, in ms: its caller may have run into its timeout.
-define(UNUSED, 60_000).

%% ------------------------------------------------------------------ the front's calls

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
            case py_erpc:apply(Node, ?MODULE, start, [self()], py_deadline:left(Deadline)) of
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

%% @private Makes a proxy for a process of another node.
-spec start(pid()) -> pid().
start(Caller) ->
    {ok, Pid} = gen_server:start(?MODULE, Caller, []),
    Pid.

%% ------------------------------------------------------------------ the proxy

-spec init(pid()) -> {ok, undefined, timeout()}.
init(Caller) ->
    ok = py_erpc:die_with(Caller),
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
        {cancel, Ref} -> ok
    after 0 ->
        %% Python's output goes to the caller's group leader of now.
        true = group_leader(Leader, self()),
        %% Objects in the result live as long as the caller does, and so as this process.
        From ! {Ref, py_remote_refs:keep(py_dispatch:run(Request), self())}
    end,
    {noreply, State};
handle_info(timeout, State) ->
    {stop, normal, State};
handle_info(_Other, State) ->
    {noreply, State}.

%% A crash report never shows the request, with its arguments.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(fun(message, {run, From, Ref, _Leader, _Request}) -> {run, From, Ref, hidden};
                (_Key, Value) -> Value
             end, Status).
