%% @private The pools that the application environment describes.
%%
%% Runs in the process that starts the application, and for pool `default' in the one that first
%% calls it. It never changes a pool that runs.
-module(py_configured_pools).

-export([start_default/0, start_configured/0]).

%% Starts pool `default' as `default_pool' says, unless it runs: then it is as it was
%% started.
-spec start_default() ->
    ok | {error, py_context_router:start_error() | {pool_not_started, default}}.
start_default() ->
    %% Loads the application's environment; the application itself starts later.
    _ = application:load(py_context_router),
    try py_context_router:start(py_config:value(default_pool)) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> join_default();
        {error, _} = Error -> Error
    catch
        %% The VM is being stopped, and nothing can be started any more.
        exit:_ -> {error, {pool_not_started, default}}
    end.

%% Another process may be starting it: this waits until its contexts serve.
-spec join_default() -> ok | {error, py_context_router:start_error()}.
join_default() ->
    case py_context_router:start() of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

%% Starts those of `pools', one after the other; the first failure is returned.
-spec start_configured() ->
    ok | {error, {pool_failed, atom(), py_context_router:start_error()}}.
start_configured() ->
    start_each(lists:sort(maps:to_list(py_config:value(pools)))).

-spec start_each([{atom(), py_context_router:start_opts()}]) ->
    ok | {error, {pool_failed, atom(), py_context_router:start_error()}}.
start_each([]) ->
    ok;
start_each([{Name, Options} | Rest]) ->
    case py_context_router:start_pool(Name, Options) of
        {ok, _} -> start_each(Rest);
        {error, Reason} -> {error, {pool_failed, Name, Reason}}
    end.
