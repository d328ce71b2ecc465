%% @private What is written down of each pool: its native slots, and what starts it again.
%%
%% Persistent terms. A pool's own process writes its entries; everybody reads, and asks no
%% process. An entry outlives its process when that crashes, for the process that follows.
-module(py_pool_table).

%% The native slots.
-export([lookup/1, names/0, is_published/2, publish/2, erase/1]).
%% What starts a pool again.
-export([persist/2, persisted/0, persisted_options/1, is_persisted/1, is_restart/1, forget/1]).
%% The process.
-export([whereis_pool/1, registered_name/1]).

-define(KEY(Name), {py_context_router, pool, Name}).
%% Who has started it, with which options.
-define(START_KEY(Name), {py_context_router, pool_start, Name}).
%% The default pool is looked up on nearly every call, and an atom is found faster than a tuple.
-define(DEFAULT_KEY, '$py_default_pool').

%% ------------------------------------------------------------------ the native slots

%% The native slots of a running pool.
-spec lookup(atom()) -> py_nif:pool() | undefined.
lookup(default) ->
    persistent_term:get(?DEFAULT_KEY, undefined);
lookup(Name) ->
    persistent_term:get(?KEY(Name), undefined).

-spec key(atom()) -> term().
key(default) -> ?DEFAULT_KEY;
key(Name) -> ?KEY(Name).

%% The names of all pools that have an entry.
-spec names() -> [atom()].
names() ->
    Default = [default || lookup(default) =/= undefined],
    lists:sort(Default ++ [Name || {?KEY(Name), _} <- persistent_term:get()]).

%% Not as a pattern: to Dialyzer the native object is opaque, also beside `undefined'.
-spec is_published(atom(), py_nif:pool()) -> boolean().
is_published(Name, Pool) ->
    case lookup(Name) of
        undefined -> false;
        Published -> Published =:= Pool
    end.

-spec publish(atom(), py_nif:pool()) -> ok.
publish(Name, Pool) ->
    persistent_term:put(key(Name), Pool).

%% Both entries of a pool.
-spec erase(atom()) -> ok.
erase(Name) ->
    ok = forget(Name),
    _ = persistent_term:erase(key(Name)),
    ok.

%% ------------------------------------------------------------------ what starts a pool again

%% Notes what is needed to start it again. Runs in the pool's process.
-spec persist(atom(), py_options:pool()) -> ok.
persist(Name, Options) ->
    persistent_term:put(?START_KEY(Name), {supervisor(), Options}).

%% The application's own pools that have served. It starts them again whatever happens to them,
%% unless they are stopped; a user's supervisor may not.
-spec persisted() -> [atom()].
persisted() ->
    [Name || {?START_KEY(Name), {py_pool_sup, _}} <- persistent_term:get()].

-spec persisted_options(atom()) -> py_options:pool() | undefined.
persisted_options(Name) ->
    case persistent_term:get(?START_KEY(Name), undefined) of
        {py_pool_sup, Options} -> Options;
        _ -> undefined
    end.

-spec is_persisted(atom()) -> boolean().
is_persisted(Name) ->
    persisted_options(Name) =/= undefined.

%% Whether what is left of a pool of this name is that of the one which is started again here, by
%% the calling process.
-spec is_restart(atom()) -> boolean().
is_restart(Name) ->
    case persistent_term:get(?START_KEY(Name), undefined) of
        {Supervisor, _Options} -> Supervisor =:= supervisor();
        undefined -> false
    end.

%% What starts the calling process, now or again. Of the application's supervisor the name: it may
%% be the next one.
-spec supervisor() -> py_pool_sup | pid().
supervisor() ->
    case hd(get('$ancestors')) of
        py_pool_sup -> py_pool_sup;
        Name when is_atom(Name) -> whereis(Name);
        Pid -> Pid
    end.

%% It is not started again.
-spec forget(atom()) -> ok.
forget(Name) ->
    _ = persistent_term:erase(?START_KEY(Name)),
    ok.

%% ------------------------------------------------------------------ the process

-spec whereis_pool(atom()) -> pid() | undefined.
whereis_pool(Name) ->
    whereis(registered_name(Name)).

%% One atom more per pool name, which is an atom of the user's already. Not `py_pool_Name': a pool
%% may be called `sup'.
-spec registered_name(atom()) -> atom().
registered_name(Name) ->
    try binary_to_atom(<<"py_pool:", (atom_to_binary(Name))/binary>>)
    %% Too long to have been started: nobody is registered as this.
    catch error:system_limit -> py_pool
    end.
