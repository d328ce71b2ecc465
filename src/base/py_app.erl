%% @private The application, seen from below: whether it runs, and starting it.
%%
%% Runs in the calling process. It knows the names of supervisors and never calls their modules.
-module(py_app).

-export([ensure_started/0, ensure_started/1, ensure_started_or_exit/0, is_running/0]).

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

%% For functions whose return type has no error.
-spec ensure_started_or_exit() -> ok.
ensure_started_or_exit() ->
    case ensure_started() of
        ok -> ok;
        {error, Reason} -> exit({py_context_router, Reason})
    end.

-spec is_running() -> boolean().
is_running() ->
    whereis(py_context_router_sup) =/= undefined.
