%% Brings the application's pools back when their supervisor has been killed: the one that follows
%% knows nothing of them. What is left of them are their entries, see py_pool.
-module(py_pool_keeper).

-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {
    supervisor :: reference(),
    %% Pools that are still ending.
    ending = #{} :: #{reference() => atom()}
}).

%% How long to wait for the next supervisor before looking again, in ms.
-define(WAIT, 10).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, #state{}, {continue, restore}}.
init([]) ->
    %% It may be that this process was killed as well.
    {ok, watch(), {continue, restore}}.

-spec watch() -> #state{}.
watch() ->
    #state{supervisor = monitor(process, py_pool_sup)}.

-spec handle_continue(restore, #state{}) -> {noreply, #state{}}.
handle_continue(restore, State) ->
    {noreply, lists:foldl(fun restore/2, State, py_pool:kept())}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}}.
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', Monitor, process, _, _}, #state{supervisor = Monitor} = State) ->
    _ = erlang:send_after(?WAIT, self(), watch),
    {noreply, State};
handle_info(watch, _State) ->
    %% If there is none yet, that is told at once.
    handle_continue(restore, watch());
handle_info({'DOWN', Monitor, process, _, _}, #state{ending = Ending} = State) ->
    case maps:take(Monitor, Ending) of
        {Name, Rest} -> {noreply, restore(Name, State#state{ending = Rest})};
        error -> {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

%% Starts a pool anew, once its process is gone.
-spec restore(atom(), #state{}) -> #state{}.
restore(Name, #state{ending = Ending} = State) ->
    case restored(Name, py_pool:kept_options(Name)) of
        ok -> State;
        {ending, Pid} -> State#state{ending = Ending#{monitor(process, Pid) => Name}}
    end.

-spec restored(atom(), py_options:pool() | undefined) -> ok | {ending, pid()}.
restored(_Name, undefined) ->
    %% Stopped meanwhile.
    ok;
restored(Name, Options) ->
    try py_pool_sup:start_pool(Name, Options) of
        {error, {already_started, Pid}} -> unless_supervised(Pid);
        _ -> ok
    catch
        %% The supervisor is gone, of which a message is coming.
        exit:_ -> ok
    end.

-spec unless_supervised(pid()) -> ok | {ending, pid()}.
unless_supervised(Pid) ->
    case lists:keymember(Pid, 2, supervisor:which_children(py_pool_sup)) of
        true -> ok;
        false -> {ending, Pid}
    end.
