%% @private Code for all contexts: those that run get it now, later ones when they start.
%%
%% Runs in the calling process, with a request to each context, all at once. A context that is
%% just starting may get a step both ways, so each step can be run again without harm. It never
%% waits for a context longer than its timeout.
-module(py_each_context).

-export([add/2, run/1, in_each_interpreter/2, in_each_subinterpreter/2]).

%% How long contexts that are busy are waited for, in ms.
-define(TIMEOUT, 30_000).

%% ------------------------------------------------------------------ steps

%% Adds a step, or replaces it: runs it in all contexts and has later ones run it too. If it fails
%% anywhere it is not added, though it may have been run in other contexts by then.
-spec add(py_context_setup:key(), {Source :: binary(), Note :: term()}) -> ok | {error, term()}.
add(Key, {Source, Note}) ->
    %% First for contexts that start from now on: one that has started before is in the list that
    %% is read after.
    Before = py_context_setup:find(Key),
    ok = py_context_setup:put({Key, Source, Note}),
    case run_now(Source, py_nif:contexts()) of
        ok ->
            ok;
        {error, _} = Error ->
            ok = restore(Key, Before),
            Error
    end.

%% If no context runs, the step is tested in a temporary one with the mode and venv of
%% `default_pool'. An untested failing step would break every later start.
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

%% Runs statements in the own namespace of every context, in all at once. The first error is
%% returned; the death of a context is no error, because its successor runs the steps when it
%% starts.
-spec run(binary()) -> ok | {error, term()}.
run(Source) ->
    Requests = [py_request:exec_shared(Ctx, Source) || Ctx <- py_nif:contexts()],
    Results = py_async:parallel(Requests, ?TIMEOUT),
    case [Error || {error, Reason} = Error <- Results, not is_death(Reason)] of
        [] -> ok;
        [Error | _] -> Error
    end.

%% Evaluates an expression once in each interpreter, in the least busy of its contexts: the value,
%% and the contexts of that interpreter.
-spec in_each_interpreter(binary(), #{atom() => term()}) ->
    {ok, [{[pid()], term()}]} | {error, term()}.
in_each_interpreter(Code, Locals) ->
    in_one_of_each(maps:values(by_interpreter()), Code, Locals).

%% The same without the main interpreter, in which workers run.
-spec in_each_subinterpreter(binary(), #{atom() => term()}) ->
    {ok, [{[pid()], term()}]} | {error, term()}.
in_each_subinterpreter(Code, Locals) ->
    in_one_of_each(maps:values(maps:remove(0, by_interpreter())), Code, Locals).

-spec in_one_of_each([[map()]], binary(), #{atom() => term()}) ->
    {ok, [{[pid()], term()}]} | {error, term()}.
in_one_of_each(Groups, Code, Locals) ->
    Requests = [py_request:eval_shared(least_busy(Group), Code, Locals) || Group <- Groups],
    Results = py_async:parallel(Requests, ?TIMEOUT),
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
