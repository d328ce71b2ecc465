%% The front's calls into contexts of other nodes.
%%
%% A process has its namespaces where its calls run, so each process that calls a context of another
%% node has a stand-in there: a process that makes the calls for it, has the namespaces in its place,
%% and dies with it. The stand-in is kept in the process dictionary, one for each node.
-module(py_remote).

-export([run/2]).
%% For the other node.
-export([start/1]).

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
    Ref = monitor(process, StandIn),
    StandIn ! {run, self(), Ref, group_leader(), Request},
    receive
        {Ref, Result} ->
            true = demonitor(Ref, [flush]),
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
    spawn(fun() ->
        ok = py_context:end_with(Principal),
        stand_in_loop()
    end).

-spec stand_in_loop() -> no_return().
stand_in_loop() ->
    receive
        {run, From, Ref, Leader, Request} ->
            %% What Python prints goes to where the caller's output goes by now.
            true = group_leader(Leader, self()),
            From ! {Ref, py_call:run(Request)};
        _Other ->
            ok
    end,
    stand_in_loop().
