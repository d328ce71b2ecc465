%% @private The processes that Python talks to: see docs/callbacks.md.
%%
%%   py_service_sup
%%   ├── py_callback_registry  which Erlang functions Python can call
%%   ├── py_callback_pool      starts the processes that run them
%%   ├── py_sender             sends to other nodes
%%   ├── py_output             takes text to group leaders
%%   └── py_log                takes log events to logger
%%
%% Each can start anew without the others; the native side learns of it when the new one serves.
-module(py_service_sup).

-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Services = [#{id => Module, start => {Module, start_link, []}}
                || Module <- [py_callback_registry, py_callback_pool, py_sender, py_output,
                              py_log]],
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, Services}}.
