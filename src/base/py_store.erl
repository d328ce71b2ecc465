%% @private A value that everybody reads and one process writes, in a persistent term.
%%
%% A reader asks no process. One process writes, so that changes made at once lose none. The
%% value outlives a crash of that process, and is erased when the application stops. To change it
%% makes the VM scan all processes for the old value: it is for what is set at start, never for
%% what changes with each call.
-module(py_store).

-behaviour(gen_server).

-export([start_link/2, read/1, update/2, forget/1]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

-export_type([store/1]).

-type store(Value) :: #{key := term(),
                        empty := Value,
                        %% What is to be done with each new value, and with the one of a crashed
                        %% process. As `fun Module:Function/1': the process keeps it, and must not
                        %% be left with one of a version of the module that has been purged.
                        publish => fun((Value) -> ok)}.

%% How long a process that has died may take to be restarted, in ms.
-define(RESTART_TIMEOUT, 1_000).

-spec start_link(Name :: atom(), store(_Value)) -> {ok, pid()} | {error, term()}.
start_link(Name, Store) ->
    gen_server:start_link({local, Name}, ?MODULE, Store, []).

-spec read(store(Value)) -> Value.
read(#{key := Key, empty := Empty}) ->
    persistent_term:get(Key, Empty).

%% Changes the value, in the process of that name. One that has just died is waited for: it starts
%% with what had been written. A change can be made twice without harm.
-spec update(Name :: atom(), fun((Value) -> Value)) -> ok.
update(Name, Change) ->
    update(Name, Change, ?RESTART_TIMEOUT).

-spec update(atom(), fun((Value) -> Value), non_neg_integer()) -> ok.
update(Name, Change, Ms) ->
    try
        gen_server:call(Name, {update, Change}, infinity)
    catch
        exit:{Reason, _} when Ms > 0, Reason =:= noproc orelse Reason =:= killed ->
            case py_app:is_running() of
                false -> exit({noproc, {?MODULE, update, [Name, Change]}});
                true -> receive after 1 -> update(Name, Change, Ms - 1) end
            end
    end.

%% When the application stops.
-spec forget(store(_Value)) -> ok.
forget(#{key := Key, empty := Empty} = Store) ->
    _ = persistent_term:erase(Key),
    publish(Empty, Store).

-spec publish(Value, store(Value)) -> ok.
publish(Value, #{publish := Publish}) -> Publish(Value);
publish(_Value, #{}) -> ok.

%% ------------------------------------------------------------------ the process

-spec init(store(Value)) -> {ok, store(Value)}.
init(Store) ->
    %% Trapped, so that the value is erased when the application stops.
    _ = process_flag(trap_exit, true),
    ok = publish(read(Store), Store),
    {ok, Store}.

-spec handle_call({update, fun((Value) -> Value)}, gen_server:from(), store(Value)) ->
    {reply, ok, store(Value)}.
handle_call({update, Change}, _From, #{key := Key} = Store) ->
    New = Change(read(Store)),
    %% Does nothing if the value is the same.
    ok = persistent_term:put(Key, New),
    {reply, publish(New, Store), Store}.

-spec handle_cast(term(), store(Value)) -> {noreply, store(Value)}.
handle_cast(_Message, Store) ->
    {noreply, Store}.

-spec terminate(term(), store(_Value)) -> ok.
terminate(shutdown, Store) -> forget(Store);
terminate(_Reason, _Store) -> ok.
