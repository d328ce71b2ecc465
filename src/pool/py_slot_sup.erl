%% @private The contexts of one pool: one permanent child per slot.
%%
%% A context that can't start stays alive and tries again (see py_context_server), so restarts
%% here only ever follow deaths, each of which somebody caused. They must never take the pool
%% down: hence the intensity.
-module(py_slot_sup).

-behaviour(supervisor).

-export([start_link/0, start_slot/3, stop_slot/2]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link(?MODULE, []).

%% Starts the context of a slot; returns before its thread serves. `Key' is the child's id. The
%% caller is the supervisor's parent and traps exits: if the supervisor is killed just then, the
%% caller ends for the same reason.
-spec start_slot(pid(), py_options:context(), py_context_server:slot()) -> {ok, pid()}.
start_slot(Sup, Options, #{key := Key, pool := Pool, slot := N} = Slot) ->
    Child = #{id => Key,
              start => {py_context_server, start_link_slot, [{Pool, N}, Options, Slot]},
              restart => permanent,
              shutdown => infinity,
              modules => [py_context_server]},
    try
        {ok, _} = supervisor:start_child(Sup, Child)
    catch
        exit:{_, {gen_server, call, _}} -> receive {'EXIT', Sup, Reason} -> exit(Reason) end
    end.

%% Stops the context of a slot for good, and waits for its thread. Idempotent.
-spec stop_slot(pid(), Key :: term()) -> ok.
stop_slot(Sup, Key) ->
    case supervisor:terminate_child(Sup, Key) of
        ok -> supervisor:delete_child(Sup, Key);
        {error, not_found} -> ok
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), []}}.
init([]) ->
    {ok, {#{strategy => one_for_one, intensity => 1_000_000, period => 1}, []}}.
