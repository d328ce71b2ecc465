%% @private The top of the tree:
%%
%%   py_context_router_sup
%%   ├── py_registry      writes the registrations
%%   ├── py_context_setup writes what every context starts with
%%   ├── py_async         keeps the time of calls that nobody waits for
%%   ├── py_service_sup   what Python talks to
%%   ├── py_context_sup   single contexts
%%   ├── py_pool_sup      pools, each a py_pool with a py_slot_sup below it
%%   └── py_pool_restorer brings these back when py_pool_sup has been killed
%%
%% They don't need each other, so none takes another down.
-module(py_context_router_sup).

-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Registry = #{id => py_registry, start => {py_registry, start_link, []}},
    Setup = #{id => py_context_setup, start => {py_context_setup, start_link, []}},
    Async = #{id => py_async, start => {py_async, start_link, []}},
    Services = #{id => py_service_sup, start => {py_service_sup, start_link, []},
                 type => supervisor},
    Contexts = #{id => py_context_sup, start => {py_context_sup, start_link, []},
                 type => supervisor},
    Pools = #{id => py_pool_sup, start => {py_pool_sup, start_link, []}, type => supervisor},
    Restorer = #{id => py_pool_restorer, start => {py_pool_restorer, start_link, []}},
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10},
          [Registry, Setup, Async, Services, Contexts, Pools, Restorer]}}.
