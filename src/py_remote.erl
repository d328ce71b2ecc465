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

%% Runs a request in a context of another node. Its timeout is kept there.
-spec run(pid(), py_call:request()) -> term().
run(Ctx, Request) ->
    case stand_in(node(Ctx)) of
        {ok, StandIn} -> ask(StandIn, Request);
        {error, _} = Error -> Error
    end.

-spec stand_in(node()) -> {ok, pid()} | {error, {context_died, term()}}.
stand_in(Node) ->
    case get(?STAND_IN(Node)) of
        undefined ->
            try erpc:call(Node, ?MODULE, start, [self()]) of
                StandIn ->
                    _ = put(?STAND_IN(Node), StandIn),
                    {ok, StandIn}
            catch
                error:{erpc, Reason} -> {error, {context_died, Reason}}
            end;
        StandIn ->
            {ok, StandIn}
    end.

-spec ask(pid(), py_call:request()) -> term().
ask(StandIn, Request) ->
    %% Also where it answers to: when the connection is lost as it answers, that comes with the next one,
    %% to nobody.
    Ref = monitor(process, StandIn, [{alias, reply_demonitor}]),
    StandIn ! {run, Ref, Ref, group_leader(), Request},
    receive
        {Ref, Result} ->
            Result;
        {'DOWN', Ref, process, StandIn, Reason} ->
            _ = erase(?STAND_IN(node(StandIn))),
            {error, {context_died, lost(Reason)}}
    end.

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

-spec init(pid()) -> {ok, undefined}.
init(Principal) ->
    ok = py_context:end_with(Principal),
    {ok, undefined}.

-spec handle_call(term(), gen_server:from(), undefined) -> {noreply, undefined}.
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), undefined) -> {noreply, undefined}.
handle_info({run, From, Ref, Leader, Request}, State) ->
    %% What Python prints goes to where the caller's output goes by now.
    true = group_leader(Leader, self()),
    %% What is in the result lives as long as the caller, and so this process.
    From ! {Ref, py_held:keep(py_call:run(Request), self())},
    {noreply, State};
handle_info(_Other, State) ->
    {noreply, State}.

%% What a report of this process's end shows: not the request, with its arguments.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(fun(message, {run, From, Ref, _Leader, _Request}) -> {run, From, Ref, hidden};
                (_Key, Value) -> Value
             end, Status).
