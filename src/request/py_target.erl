%% @private Where a request of the front goes: to the context that the calling process has bound
%% in the pool, else to the one that has its state, else to the one of its scheduler.
%%
%% Runs in the calling process, in whose dictionary it notes which context has the process's
%% state. On the way of a call it never asks another process.
-module(py_target).

-export([of_function/2, context/1, has_affinity/2]).
-export([pin/2, unpin/1, unpin/2]).

%% Where a process keeps the context that holds its state. One atom for the default pool, which is
%% asked for on nearly every call.
-define(DEFAULT_PIN, '$py_pin').
-define(PIN(Pool), {?DEFAULT_PIN, Pool}).

%% The pool that a Python function is registered for.
-spec of_function(Module :: atom() | binary(), Func :: atom() | binary()) -> py_request:target().
of_function(Module, Func) ->
    py_request:in_pool(py_context_router:lookup_pool(Module, Func)).

%% The calling process's context in a pool. The default pool starts when it is first asked for.
-spec context(atom()) -> {ok, pid()} | {error, term()}.
context(Pool) ->
    case py_context_router:bound_context(Pool) of
        undefined -> pinned_context(pinned(Pool), Pool);
        Bound -> {ok, Bound}
    end.

-spec pinned_context(pid() | undefined, atom()) -> {ok, pid()} | {error, term()}.
pinned_context(undefined, Pool) ->
    routed_context(py_context_router:routed_context(Pool), Pool);
pinned_context(Pinned, Pool) ->
    case is_process_alive(Pinned) of
        true ->
            {ok, Pinned};
        false ->
            ok = unpin(Pool),
            pinned_context(undefined, Pool)
    end.

-spec routed_context(pid() | undefined, atom()) -> {ok, pid()} | {error, term()}.
routed_context(undefined, default) ->
    case py_configured_pools:start_default() of
        %% By now it may have been stopped again.
        ok -> found_context(py_context_router:routed_context(default), default);
        {error, _} = Error -> Error
    end;
routed_context(Found, Pool) ->
    found_context(Found, Pool).

-spec found_context(pid() | undefined, atom()) -> {ok, pid()} | {error, term()}.
found_context(undefined, Pool) -> {error, {pool_not_started, Pool}};
found_context(Ctx, _Pool) -> {ok, Ctx}.

%% Whether a request goes to one context of the pool rather than to any: the process has bound
%% itself, or has its state there, which the request may need.
-spec has_affinity(atom(), py_request:request()) -> boolean().
has_affinity(Pool, Request) ->
    py_context_router:bound_context(Pool) =/= undefined
        orelse (py_request:is_of_process(Request) andalso pinned(Pool) =/= undefined).

%% ------------------------------------------------------------------ where the state is

%% The process has its state in this context from now on. Where it has bound itself it needs no pin.
-spec pin(atom(), pid()) -> ok.
pin(Pool, Ctx) ->
    _ = case py_context_router:bound_context(Pool) of
            undefined -> put(pin_key(Pool), Ctx);
            _ -> unpinned
        end,
    ok.

-spec pinned(atom()) -> pid() | undefined.
pinned(Pool) ->
    get(pin_key(Pool)).

-spec unpin(atom()) -> ok.
unpin(Pool) ->
    _ = erase(pin_key(Pool)),
    ok.

%% If it is this context.
-spec unpin(atom(), pid()) -> ok.
unpin(Pool, Ctx) ->
    case pinned(Pool) of
        Ctx -> unpin(Pool);
        _ -> ok
    end.

-spec pin_key(atom()) -> term().
pin_key(default) -> ?DEFAULT_PIN;
pin_key(Pool) -> ?PIN(Pool).
