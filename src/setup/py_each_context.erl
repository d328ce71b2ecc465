%% @private Code for all contexts: those that run get it now, later ones when they start.
%%
%% Runs in the calling process, with a request to each context, all at once. A context that is
%% just starting may get a step both ways, so each step can be run again without harm. It never
%% waits for a context longer than its timeout.
-module(py_each_context).

-export([add/2, run/1, in_each_interpreter/1, in_each_subinterpreter/1]).

%% How long contexts that are busy are waited for, in ms.
-define(TIMEOUT, 30_000).

%% ------------------------------------------------------------------ steps

%% Adds a step, or replaces it: runs it in all contexts and has later ones run it too. If it fails
%% anywhere it is not added, though it may have been run in other contexts by then.
-spec add(py_context_setup:key(), {Source :: binary(), Note :: term()}) -> ok | {error, term()}.
add(Key, {Source, Note}) ->
    %% First for those that start from now on; whoever has started before is in the list that is
    %% looked at after.
    Before = py_context_setup:find(Key),
    ok = py_context_setup:put({Key, Source, Note}),
    case run_now(Source, py_nif:contexts()) of
        ok ->
            ok;
        {error, _} = Error ->
            ok = restore(Key, Before),
            Error
    end.

%% While there is no context the step is tried in one that is started for it, as the default pool's
%% are: untried, one that fails would keep every later context from starting.
-spec run_now(binary(), [pid()]) -> ok | {error, term()}.
run_now(Source, []) ->
    case py_context:new(maps:with([mode, venv], py_config:value(default_pool))) of
        {ok, Ctx} ->
            Result = py_context:exec(Ctx, Source),
            ok = py_context:stop(Ctx),
            Result;
        {error, _} = Error ->
            Error
    end;
run_now(Source, [_ | _]) ->
    run(Source).

-spec restore(py_context_setup:key(), py_context_setup:step() | undefined) -> ok.
restore(Key, undefined) -> py_context_setup:remove(Key);
restore(_Key, Step) -> py_context_setup:put(Step).

%% ------------------------------------------------------------------ running contexts

%% Runs statements in every context's own namespace, in all at once. The first error is returned;
%% a context that dies meanwhile is none: its successor starts with what is set up by then.
-spec run(binary()) -> ok | {error, term()}.
run(Source) ->
    Requests = [py_request:exec_shared(Ctx, Source) || Ctx <- py_nif:contexts()],
    Results = py_async:parallel(Requests, ?TIMEOUT),
    case [Error || {error, Reason} = Error <- Results, not is_death(Reason)] of
        [] -> ok;
        [Error | _] -> Error
    end.

%% Evaluates an expression once in each interpreter, in a context of it that is least busy; what it
%% gives, and whose contexts they are.
-spec in_each_interpreter(fun((pid()) -> py_request:request())) ->
    {ok, [{[pid()], term()}]} | {error, term()}.
in_each_interpreter(Request) ->
    in_one_of_each(maps:values(by_interpreter()), Request).

%% The same without the main interpreter, in which workers run.
-spec in_each_subinterpreter(fun((pid()) -> py_request:request())) ->
    {ok, [{[pid()], term()}]} | {error, term()}.
in_each_subinterpreter(Request) ->
    in_one_of_each(maps:values(maps:remove(0, by_interpreter())), Request).

-spec in_one_of_each([[map()]], fun((pid()) -> py_request:request())) ->
    {ok, [{[pid()], term()}]} | {error, term()}.
in_one_of_each(Groups, Request) ->
    Results = py_async:parallel([Request(least_busy(Group)) || Group <- Groups], ?TIMEOUT),
    Paired = lists:zip([[Ctx || #{pid := Ctx} <- Group] || Group <- Groups], Results),
    case [Error || {_, {error, Reason} = Error} <- Paired, not is_death(Reason)] of
        [] -> {ok, [{Contexts, Value} || {Contexts, {ok, Value}} <- Paired]};
        [Error | _] -> Error
    end.

-spec by_interpreter() -> #{integer() => [map()]}.
by_interpreter() ->
    Infos = [Info || Ctx <- py_nif:contexts(), #{} = Info <- [py_context:info(Ctx)]],
    Add = fun(#{python_interp := Number} = Info, Groups) ->
        maps:update_with(Number, fun(Group) -> [Info | Group] end, [Info], Groups)
    end,
    lists:foldl(Add, #{}, Infos).

-spec least_busy([map()]) -> pid().
least_busy(Infos) ->
    {_, Ctx} = lists:min([{Queue + length([busy || State =/= idle]), Ctx}
                          || #{queue := Queue, state := State, pid := Ctx} <- Infos]),
    Ctx.

-spec is_death(term()) -> boolean().
is_death({context_died, _}) -> true;
is_death(_) -> false.
