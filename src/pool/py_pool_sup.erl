%% @private The application's pools: one py_pool each. They stop side by side when the
%% application does.
%%
%% A supervisor. It never ends because a pool dies, however often.
-module(py_pool_sup).

-behaviour(supervisor).

-export([start_link/0, start_pool/2, restore_pool/1, start_link_pool/2]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% Starts a pool's process; its contexts come up on their own.
-spec start_pool(atom(), py_options:pool()) -> {ok, pid()} | {error, term()}.
start_pool(Name, Options) ->
    supervisor:start_child(?MODULE, [Name, Options]).

%% Starts a pool that was there before with the options it had, unless it is stopped meanwhile.
-spec restore_pool(atom()) -> {ok, pid()} | {error, term()}.
restore_pool(Name) ->
    supervisor:start_child(?MODULE, [Name, persisted]).

%% A pool that was stopped between its death and its restart is not restarted. Its child, which
%% would otherwise stay in the list, ends at once.
-spec start_link_pool(atom(), py_options:pool() | persisted) -> {ok, pid()} | {error, term()}.
start_link_pool(Name, Options) ->
    case py_pool:start_link(Name, Options) of
        ignore -> {ok, spawn_link(fun() -> ok end)};
        Outcome -> Outcome
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    %% Transient: a pool that is stopped, or whose first start fails, is gone; one that is killed
    %% comes back. However often: a user's `exit(Pid, kill)' must not end the other pools.
    Pool = #{id => py_pool,
             start => {?MODULE, start_link_pool, []},
             restart => transient,
             shutdown => infinity,
             type => supervisor,
             modules => [py_pool]},
    Flags = #{strategy => simple_one_for_one, intensity => 1_000_000, period => 1},
    {ok, {Flags, [Pool]}}.
