%% The application and its supervisor: a pool of Python contexts is a child like any other.
-module(pricing_app).

-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1]).
-export([init/1]).

start(_Type, _Args) ->
    supervisor:start_link({local, pricing_sup}, ?MODULE, []).

stop(_State) ->
    ok.

init([]) ->
    Python = py_context_router:child_spec(#{name => pricing, contexts => 2,
                                            preload => pricing:python()}),
    {ok, {#{strategy => one_for_one}, [Python]}}.
