%% @private The application, seen from below: whether it runs, and its processes that write what
%% everybody reads.
%%
%% Runs in the calling process. It knows the names of supervisors and calls none of their modules.
-module(py_app).

-export([ensure_started/0, ensure_started/1, ensure_started_or_exit/0, ask/2]).

%% How long a process that has died may take to be restarted, in ms.
-define(RESTART_TIMEOUT, 1_000).

%% Brings the application up if it isn't, and checks that its Python can give the mode.
-spec ensure_started(py_context:context_mode()) ->
    ok | {error, py_context_router:start_error()}.
ensure_started(Mode) ->
    case ensure_started() of
        ok -> py_nif:check_mode(Mode);
        {error, _} = Error -> Error
    end.

-spec ensure_started() -> ok | {error, py_context_router:start_error()}.
ensure_started() ->
    Children = [whereis(Name) || Name <- [py_pool_sup, py_context_sup]],
    case {whereis(py_context_router_sup), lists:member(undefined, Children)} of
        {undefined, _} -> start();
        {Sup, true} -> await_children(Sup), ensure_started();
        {_, false} -> ok
    end.

%% It is just starting its children, or restarts one, and answers after that.
-spec await_children(pid()) -> ok.
await_children(Sup) ->
    try supervisor:count_children(Sup) of
        _ -> ok
    catch
        exit:_ -> ok
    end.

-spec start() -> ok | {error, py_context_router:start_error()}.
start() ->
    case application:ensure_all_started(py_context_router) of
        {ok, _} -> ok;
        %% What the application's start function said, without where it said so.
        {error, {py_context_router, {Reason, {py_context_router_app, start, _}}}} ->
            {error, Reason};
        {error, {Application, Reason}} -> {error, {application_failed, Application, Reason}}
    end.

%% For functions whose return type has no room for an error.
-spec ensure_started_or_exit() -> ok.
ensure_started_or_exit() ->
    case ensure_started() of
        ok -> ok;
        {error, Reason} -> exit({py_context_router, Reason})
    end.

%% Asks one of the processes that write what everybody reads. One that has just died is waited for: it
%% starts with what had been written. Requests can be made twice without harm.
-spec ask(module(), term()) -> term().
ask(Server, Request) ->
    ask(Server, Request, ?RESTART_TIMEOUT).

-spec ask(module(), term(), non_neg_integer()) -> term().
ask(Server, Request, Ms) ->
    try
        gen_server:call(Server, Request, infinity)
    catch
        exit:{Reason, _} when Ms > 0, Reason =:= noproc orelse Reason =:= killed ->
            case whereis(py_context_router_sup) of
                undefined -> exit({noproc, {?MODULE, ask, [Server, Request]}});
                _ -> receive after 1 -> ask(Server, Request, Ms - 1) end
            end
    end.
