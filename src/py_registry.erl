%% Which functions go to which pool.
%%
%% One process writes, so that registrations made at once lose none; everybody reads the map in
%% persistent_term, without asking anybody. Changing it makes the VM scan for the old map, so
%% register at start, not per call.
-module(py_registry).

-behaviour(gen_server).

-export([start_link/0, register/2, unregister/1, lookup/2, list/0, forget/0]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

-export_type([key/0]).

-type key() :: {Module :: atom(), Func :: atom()}.
%% `Func' is `_' for all functions of a module.

-define(KEY, {py_context_router, registrations}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec register(key(), atom()) -> ok.
register(Key, Pool) ->
    py_context_router_sup:ask(?MODULE, {register, Key, Pool}).

-spec unregister(key()) -> ok.
unregister(Key) ->
    py_context_router_sup:ask(?MODULE, {unregister, Key}).

%% The pool for a function: its own registration, else its module's, else `default'.
-spec lookup(atom(), atom()) -> atom().
lookup(Module, Func) ->
    case persistent_term:get(?KEY, #{}) of
        Empty when map_size(Empty) =:= 0 -> default;
        #{{Module, Func} := Pool} -> Pool;
        #{{Module, '_'} := Pool} -> Pool;
        #{} -> default
    end.

-spec list() -> [{key(), atom()}].
list() ->
    lists:sort(maps:to_list(persistent_term:get(?KEY, #{}))).

-spec init([]) -> {ok, undefined}.
init([]) ->
    %% Trapped, so that the registrations are erased when the application stops. After a crash
    %% they are still there and stay in force.
    _ = process_flag(trap_exit, true),
    {ok, undefined}.

-spec handle_call({register, key(), atom()} | {unregister, key()}, gen_server:from(), undefined) ->
    {reply, ok, undefined}.
handle_call({register, Key, Pool}, _From, State) ->
    ok = write(fun(Map) -> Map#{Key => Pool} end),
    {reply, ok, State};
handle_call({unregister, Key}, _From, State) ->
    ok = write(fun(Map) -> maps:remove(Key, Map) end),
    {reply, ok, State}.

-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), undefined) -> ok.
terminate(shutdown, _State) ->
    forget();
terminate(_Reason, _State) ->
    ok.

%% When the application stops.
-spec forget() -> ok.
forget() ->
    _ = persistent_term:erase(?KEY),
    ok.

-spec write(fun((map()) -> map())) -> ok.
write(Change) ->
    Old = persistent_term:get(?KEY, #{}),
    case Change(Old) of
        Old -> ok;
        New -> persistent_term:put(?KEY, New)
    end.
