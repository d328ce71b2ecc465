%% @private The front's calls into contexts of other nodes: the process there.
%%
%% A process has its namespaces where its calls run, so each process that calls a context of
%% another node has a proxy there: a process that makes the calls for it, has the namespaces in
%% its place, and never outlives it.
-module(py_remote_proxy).

-behaviour(gen_server).

%% For the other node.
-export([start/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

%% How long a proxy waits for its first request, in ms: its caller may have run into its timeout.
-define(UNUSED_TIMEOUT, 60_000).

%% Makes a proxy for a process of another node.
-spec start(pid()) -> pid().
start(Caller) ->
    {ok, Pid} = gen_server:start(?MODULE, Caller, []),
    Pid.

-spec init(pid()) -> {ok, undefined, timeout()}.
init(Caller) ->
    ok = py_erpc:die_with(Caller),
    {ok, undefined, ?UNUSED_TIMEOUT}.

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
        From ! {Ref, py_remote_refs:keep(py_dispatch:run_or_map(Request), self())}
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
