%% @private Runs the front's requests: each in the context that py_target names, or in the
%% replacement of one that has died.
%%
%% Runs in the calling process. A request is never made twice, unless its context was dead before
%% it took the request in.
-module(py_dispatch).

%% Waiting for the result.
-export([run/1, map/1, run_or_map/1]).
%% Without waiting for it.
-export([submit/2, submit_waiting/2, submit_spread/3]).
%% Only choosing the context.
-export([resolve/1, resolve_waiting/2, wait_for_context/1]).

%% How long to wait before looking for a dead context's replacement again, in ms: at first, at most.
-define(FIRST_RETRY_INTERVAL, 1).
-define(MAX_RETRY_INTERVAL, 20).

-type submit(Taken) :: fun((pid(), py_request:request()) -> Taken | {error, term()}).
%% One of py_submit's functions.

%% ------------------------------------------------------------------ waiting for the result

%% Runs a request and waits for its result.
-spec run(py_request:request()) -> term().
run(Request) ->
    case py_request:target(Request) of
        {context, Ctx} when node(Ctx) =/= node() -> py_remote_call:run(Ctx, Request);
        {context, Ctx} -> py_submit:run(Ctx, Request);
        {pool, Pool} -> run_in_pool(Pool, Request)
    end.

-spec run_in_pool(atom(), py_request:request()) -> term().
run_in_pool(Pool, Request) ->
    case py_target:context(Pool) of
        {ok, Ctx} when node(Ctx) =/= node() ->
            run_in_binding(Pool, Ctx, Request);
        {ok, Ctx} ->
            ok = pin(Pool, Ctx, Request),
            case py_submit:run(Ctx, Request) of
                {error, {context_died, noproc}} -> run_in_replacement(Pool, Ctx, Request);
                Result -> Result
            end;
        {error, _} = Error ->
            Error
    end.

%% Runs a map, over all contexts of its pool unless it belongs to one.
-spec map(py_request:request()) -> {ok, [{ok, term()} | {error, term()}]} | {error, term()}.
map(Request) ->
    case py_request:target(Request) of
        {context, Ctx} when node(Ctx) =/= node() -> py_remote_call:run(Ctx, Request);
        {context, Ctx} -> py_map:run([Ctx], Request);
        {pool, Pool} -> map_in_pool(Pool, py_request:env(Request), Request)
    end.

-spec map_in_pool(atom(), py_nif:env(), py_request:request()) ->
    {ok, [{ok, term()} | {error, term()}]} | {error, term()}.
map_in_pool(_Pool, Env, Request) when is_reference(Env) ->
    case py_nif:reference_context(Env) of
        undefined -> {error, {context_died, noproc}};
        Ctx -> py_map:run([Ctx], Request)
    end;
map_in_pool(Pool, _Env, Request) ->
    %% This starts the default pool.
    case py_target:context(Pool) of
        {ok, Ctx} when node(Ctx) =/= node() ->
            py_remote_call:run(Ctx, py_request:with_target(Request, py_request:in_context(Ctx)));
        {ok, Ctx} ->
            Contexts = case py_target:has_affinity(Pool, Request) of
                           true -> [Ctx];
                           false -> contexts(Pool, Ctx)
                       end,
            py_map:run(Contexts, fun(Deadline) -> replacement(Pool, Ctx, Request, Deadline) end,
                       Request);
        {error, _} = Error ->
            Error
    end.

%% Beginning with the one that a call would go to.
-spec contexts(atom(), pid()) -> [pid(), ...].
contexts(Pool, Ctx) ->
    [Ctx | lists:delete(Ctx, py_context_router:contexts(Pool))].

%% A living context, when there is one.
-spec replacement(atom(), pid(), py_request:request(), py_deadline:deadline()) ->
    {ok, [pid()]} | {error, term()}.
replacement(Pool, Dead, Request, Deadline) ->
    Found = fun(Ctx, _Request) ->
        case py_nif:context_info(Ctx) of
            undefined -> {error, {context_died, noproc}};
            #{} -> {ok, [Ctx]}
        end
    end,
    replaced(Pool, Dead, Request, Deadline, ?FIRST_RETRY_INTERVAL, Found).

%% For the process of another node.
-spec run_or_map(py_request:request()) -> term().
run_or_map(Request) ->
    case py_request:lists(Request) of
        undefined -> run(Request);
        _Lists -> map(Request)
    end.

%% If the request leaves state behind, the process has that in this context.
-spec pin(atom(), pid(), py_request:request()) -> ok.
pin(Pool, Ctx, Request) ->
    case py_request:leaves_state(Request) of
        true -> py_target:pin(Pool, Ctx);
        false -> ok
    end.

%% The process is bound to a context of another node. Whether that is alive is known when it is
%% asked.
-spec run_in_binding(atom(), pid(), py_request:request()) -> term().
run_in_binding(Pool, Ctx, Request) ->
    case py_remote_call:run(Ctx, py_request:with_target(Request, py_request:in_context(Ctx))) of
        {error, {context_died, noproc}} ->
            ok = py_context_router:unbind_context(Pool),
            run_in_replacement(Pool, Ctx, Request);
        {error, {context_died, noconnection}} = Lost ->
            %% The request may have run before the connection was lost.
            ok = py_context_router:unbind_context(Pool),
            Lost;
        Result ->
            Result
    end.

%% The context was dead before it took the request in, so the request has not run and another
%% context may have it.
-spec run_in_replacement(atom(), pid(), py_request:request()) -> term().
run_in_replacement(Pool, Dead, Request) ->
    Deadline = py_deadline:from_timeout(py_request:timeout(Request)),
    replaced(Pool, Dead, Request, Deadline, ?FIRST_RETRY_INTERVAL, fun py_submit:run/2).

%% Has `Try' do it with the context that has replaced a dead one, and the request for that.
-spec replaced(atom(), pid(), py_request:request(), py_deadline:deadline(), pos_integer(),
               fun((pid(), py_request:request()) -> term())) -> term().
replaced(Pool, Dead, Request, Deadline, Interval, Try) ->
    ok = py_target:unpin(Pool, Dead),
    case py_target:context(Pool) of
        {ok, Ctx} when node(Ctx) =:= node() ->
            ok = pin(Pool, Ctx, Request),
            case Try(Ctx, py_request:with_timeout(Request, py_deadline:left(Deadline))) of
                {error, {context_died, noproc}} = Died ->
                    case py_deadline:left(Deadline) of
                        0 ->
                            Died;
                        _ ->
                            receive after Interval -> ok end,
                            Longer = min(Interval * 2, ?MAX_RETRY_INTERVAL),
                            replaced(Pool, Ctx, Request, Deadline, Longer, Try)
                    end;
                Result ->
                    Result
            end;
        {ok, Ctx} ->
            Left = py_request:with_timeout(Request, py_deadline:left(Deadline)),
            py_remote_call:run(Ctx, py_request:with_target(Left, py_request:in_context(Ctx)));
        {error, _} = Error ->
            Error
    end.

%% ------------------------------------------------------------------ without waiting for it

%% Hands a request to its context in the way of `Submit', without waiting for anything.
-spec submit(py_request:request(), submit(Taken)) -> Taken | {error, term()}.
submit(Request, Submit) ->
    case py_request:target(Request) of
        {context, Ctx} ->
            submit_to(Ctx, Request, Submit);
        {pool, Pool} ->
            case py_target:context(Pool) of
                {ok, Ctx} -> submit_to(Ctx, Request, Submit);
                {error, _} = Error -> Error
            end
    end.

%% As `submit', but waits for a context, in the request's time, if its pool has none just now.
-spec submit_waiting(py_request:request(), submit(Taken)) -> Taken | {error, term()}.
submit_waiting(Request, Submit) ->
    waiting(Request, fun(Ctx, Timed) -> submit_to(Ctx, Timed, Submit) end).

%% As `submit_waiting', but the `N'th of many: each to another context of the pool, unless the
%% process has bound itself to one, or the function is one of its own.
-spec submit_spread(py_request:request(), pos_integer(), submit(Taken)) -> Taken | {error, term()}.
submit_spread(Request, N, Submit) ->
    case py_request:target(Request) of
        {context, _} ->
            submit_waiting(Request, Submit);
        {pool, Pool} ->
            case py_target:has_affinity(Pool, Request) orelse py_context_router:contexts(Pool) of
                Contexts when is_list(Contexts), Contexts =/= [] ->
                    Ctx = lists:nth((N - 1) rem length(Contexts) + 1, Contexts),
                    case submit_to(Ctx, Request, Submit) of
                        {error, {context_died, noproc}} -> submit_waiting(Request, Submit);
                        Taken -> Taken
                    end;
                _AffinityOrNone ->
                    %% Without contexts this starts the default pool, over which the next are
                    %% spread.
                    submit_waiting(Request, Submit)
            end
    end.

-spec submit_to(pid(), py_request:request(), submit(Taken)) -> Taken | {error, term()}.
submit_to(Ctx, _Request, _Submit) when node(Ctx) =/= node() ->
    {error, {remote_context, Ctx}};
submit_to(Ctx, Request, Submit) ->
    Submit(Ctx, Request).

%% ------------------------------------------------------------------ just choosing the context

%% The context that a request goes to, decided for good.
-spec resolve(py_request:request()) -> {ok, pid(), py_request:request()} | {error, term()}.
resolve(Request) ->
    case py_request:target(Request) of
        {context, Ctx} ->
            resolved(Ctx, Request);
        {pool, Pool} ->
            case py_target:context(Pool) of
                {ok, Ctx} -> resolved(Ctx, Request);
                {error, _} = Error -> Error
            end
    end.

-spec resolved(pid(), py_request:request()) ->
    {ok, pid(), py_request:request()} | {error, term()}.
resolved(Ctx, _Request) when node(Ctx) =/= node() -> {error, {remote_context, Ctx}};
resolved(Ctx, Request) -> {ok, Ctx, py_request:with_target(Request, py_request:in_context(Ctx))}.

%% Has `Try' do it, with the context that the request goes to and the request decided for that;
%% waits for a context, in the request's time, if its pool has none just now.
-spec resolve_waiting(py_request:request(), submit(Taken)) -> Taken | {error, term()}.
resolve_waiting(Request, Try) ->
    waiting(Request, fun(Ctx, Timed) ->
        case resolved(Ctx, Timed) of
            {ok, Ctx, Resolved} -> Try(Ctx, Resolved);
            {error, _} = Error -> Error
        end
    end).

-spec waiting(py_request:request(), submit(Taken)) -> Taken | {error, term()}.
waiting(Request, Try) ->
    case py_request:target(Request) of
        {context, Ctx} ->
            Try(Ctx, Request);
        {pool, Pool} ->
            case py_target:context(Pool) of
                {ok, Ctx} -> tried(Try(Ctx, Request), Pool, Ctx, Request, Try);
                {error, _} = Error -> Error
            end
    end.

-spec tried(Taken | {error, term()}, atom(), pid(), py_request:request(), submit(Taken)) ->
    Taken | {error, term()}.
tried({error, {context_died, noproc}}, Pool, Ctx, Request, Try) ->
    Deadline = py_deadline:from_timeout(py_request:timeout(Request)),
    replaced(Pool, Ctx, Request, Deadline, ?FIRST_RETRY_INTERVAL, Try);
tried(Result, _Pool, _Ctx, _Request, _Try) ->
    Result.

%% How long a request waits for a context. One that names its context has that one or none.
-spec wait_for_context(py_request:request()) -> timeout().
wait_for_context(Request) ->
    case py_request:target(Request) of
        {context, _} -> 0;
        {pool, _} -> py_request:timeout(Request)
    end.
