%% @private The application: checks its environment, loads the native library, starts Python,
%% then the supervision tree and the pools that the environment describes.
%%
%% Runs in the application master's processes. Nothing below calls it.
-module(py_context_router_app).

-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case py_steps:run([fun py_config:check/0, fun set_sigchld/0, fun py_boot:start/0]) of
        ok -> start_tree();
        {error, _} = Error -> Error
    end.

%% A pool that can't start stops the start, and nothing is left of it.
-spec start_tree() -> {ok, pid()} | {error, term()}.
start_tree() ->
    {ok, Sup} = py_context_router_sup:start_link(),
    case py_configured_pools:start_configured() of
        ok ->
            {ok, Sup};
        {error, _} = Error ->
            true = unlink(Sup),
            Monitor = monitor(process, Sup),
            true = exit(Sup, shutdown),
            receive {'DOWN', Monitor, process, Sup, _} -> Error end
    end.

%% All contexts have ended by now. If the top of the tree was killed, the processes below it have
%% ended without erasing what they had written: it is erased here.
-spec stop(term()) -> ok.
stop(_State) ->
    ok = py_pool_stop:forget_dead(),
    ok = py_registry:forget(),
    _ = [ok = py_nif:direct_unregister(Module, Func)
         || {{Module, Func}, _Phase} <- py_nif:direct_list()],
    ok = py_context_setup:forget(),
    ok = py_callback_registry:forget(),
    py_boot:stop([py_output, py_log]).

%% The VM ignores SIGCHLD, and the OS then forgets how a child process has ended: Python's
%% subprocess would wait for ever, or take every program for a success.
-spec set_sigchld() -> ok.
set_sigchld() ->
    case py_config:value(sigchld) of
        default -> os:set_signal(sigchld, default);
        leave -> ok
    end.
