%% @private Options, checked key by key: an unknown key or a bad value is `{bad_option, {Key,
%% Value}}'.
%%
%% Pure functions for the calling process, except that a preload's source is replaced by a
%% reference (`hide/1'), so that no report shows it.
-module(py_options).

-export([context/1, pool/1, pool_name/1, differ/2, hide/1, reveal/1]).
-export([call/1, call/2, function/1, function/2, statements/1, statements/2]).

-export_type([context/0, pool/0, call/0, error/0]).

-include("py_check.hrl").
-include("py_request_flags.hrl").

-type context() :: #{mode := py_context:context_mode(),
                     max_queue := pos_integer() | infinity,
                     preload := source() | undefined,
                     venv := binary() | undefined,
                     shutdown := timeout(),
                     on_caller_down := interrupt | finish,
                     stuck_after := timeout(),
                     interrupt_grace := timeout(),
                     direct_limit := pos_integer(),
                     overload := py_context:overload(),
                     max_tasks := pos_integer(),
                     cancel_grace := timeout(),
                     event_loop := atom()}.
%% The options of one context, complete.
-type pool() :: #{contexts := pos_integer(), route := spread | affinity,
                  mode := py_context:context_mode(), atom() := term()}.
%% The options of a pool, complete: with these, those of each context.
-type source() :: binary() | py_nif:hidden().
%% Of options that are hidden, a reference.
-type call() :: {timeout(), py_nif:env(), py_nif:flags()}.
%% The options of one call, complete. Without an environment it is `none'.
-type error() :: {bad_option, {Key :: term(), Value :: term()}}.

%% More contexts than this is a mistake: each has an OS thread.
-define(MAX_CONTEXTS, 65_536).
%% The pool's process is registered under the name with a prefix, and an atom has 255 characters.
-define(MAX_NAME_LENGTH, 240).
%% In microseconds. A scheduler that doesn't look up for longer than this is no use to a process.
-define(MAX_DIRECT_LIMIT, 100_000).
%% The largest number the native side takes; practically no bound.
-define(MAX_QUEUE, 1_000_000_000).

%% The flags of `result', and of `dispatch'.
-define(RESULTS, (?FLAG_TERMS bor ?FLAG_OBJECT)).
-define(DISPATCH, (?FLAG_DIRECT bor ?FLAG_QUEUE)).

%% Checks the options of one context and fills in the defaults.
-spec context(term()) -> {ok, context()} | {error, error()}.
context(Options) ->
    check(Options, maps:without([contexts, route], py_defaults:pool())).

%% Checks the options of a pool and fills in the defaults.
-spec pool(term()) -> {ok, pool()} | {error, error()}.
pool(Options) ->
    check(Options, py_defaults:pool()).

%% Checks a pool's name.
-spec pool_name(term()) -> ok | {error, error()}.
pool_name(Name) when is_atom(Name), Name =/= undefined ->
    case length(atom_to_list(Name)) =< ?MAX_NAME_LENGTH of
        true -> ok;
        false -> {error, {bad_option, {name, Name}}}
    end;
pool_name(Name) ->
    {error, {bad_option, {name, Name}}}.

%% Whether any of the explicitly given options is not as in the running set. Both may be hidden.
-spec differ(Given :: map(), Running :: map()) -> boolean().
differ(Given, Running) ->
    Shown = reveal(Running),
    {ok, Complete} = check(reveal(Given), Shown),
    Complete =/= Shown.

%% What may hold secrets stands behind a reference: options get into child specifications, states of
%% processes and messages, and from there into reports. The library is loaded.
-spec hide(Options) -> Options when Options :: map().
hide(#{preload := Source} = Options) when is_binary(Source) ->
    Options#{preload := py_nif:hide(Source)};
hide(Options) ->
    Options.

-spec reveal(Options) -> Options when Options :: map().
reveal(#{preload := Hidden} = Options) when is_reference(Hidden) ->
    try Options#{preload := py_nif:reveal(Hidden)}
    %% A reference that isn't ours is a bad value.
    catch error:_ -> Options
    end;
reveal(Options) ->
    Options.

%% Checks the options of one call.
-spec call(map()) -> {ok, call()} | {error, error()}.
call(Options) ->
    call(Options, {infinity, none, 0}).

%% With other defaults.
-spec call(map(), call()) -> {ok, call()} | {error, error()}.
call(Options, Defaults) ->
    call_each(lists:sort(maps:to_list(Options)), Defaults).

%% Checks the options of a call of a function, which may run elsewhere than in the queue.
-spec function(map()) -> {ok, call()} | {error, error()}.
function(Options) ->
    function(Options, {infinity, none, 0}).

-spec function(map(), call()) -> {ok, call()} | {error, error()}.
function(#{dispatch := Where} = Options, {Timeout, Env, Flags}) ->
    case dispatch(Where, Flags) of
        bad -> {error, {bad_option, {dispatch, Where}}};
        Set -> call(maps:remove(dispatch, Options), {Timeout, Env, Set})
    end;
function(Options, Defaults) ->
    call(Options, Defaults).

%% Checks the options of statements, which have no result.
-spec statements(map()) -> {ok, call()} | {error, error()}.
statements(Options) ->
    statements(Options, {infinity, none, 0}).

-spec statements(map(), call()) -> {ok, call()} | {error, error()}.
statements(#{result := Value}, _Defaults) -> {error, {bad_option, {result, Value}}};
statements(Options, Defaults) -> call(Options, Defaults).

-spec call_each([{term(), term()}], call()) -> {ok, call()} | {error, error()}.
call_each([], Checked) ->
    {ok, Checked};
call_each([{Key, Value} | Rest], Checked) ->
    case call_option(Key, Value, Checked) of
        bad -> {error, {bad_option, {Key, Value}}};
        Next -> call_each(Rest, Next)
    end.

-spec call_option(term(), term(), call()) -> call() | bad.
call_option(timeout, Timeout, {_, Env, Flags}) when ?IS_TIMEOUT(Timeout) -> {Timeout, Env, Flags};
call_option(env, Env, {Timeout, _, Flags}) when Env =:= none; is_reference(Env) ->
    {Timeout, Env, Flags};
call_option(traceback, true, {Timeout, Env, Flags}) -> {Timeout, Env, Flags bor ?FLAG_TRACEBACK};
call_option(traceback, false, {Timeout, Env, Flags}) ->
    {Timeout, Env, Flags band bnot ?FLAG_TRACEBACK};
call_option(values, erlang, {Timeout, Env, Flags}) ->
    {Timeout, Env, Flags band bnot ?FLAG_ELIXIR};
call_option(values, elixir, {Timeout, Env, Flags}) -> {Timeout, Env, Flags bor ?FLAG_ELIXIR};
call_option(on_caller_down, finish, {Timeout, Env, Flags}) ->
    {Timeout, Env, Flags bor ?FLAG_FINISH_ON_CALLER_DOWN};
call_option(on_caller_down, interrupt, {Timeout, Env, Flags}) ->
    {Timeout, Env, Flags bor ?FLAG_INTERRUPT_ON_CALLER_DOWN};
call_option(result, auto, {Timeout, Env, Flags}) -> {Timeout, Env, Flags band bnot ?RESULTS};
call_option(result, term, {Timeout, Env, Flags}) -> {Timeout, Env, Flags bor ?FLAG_TERMS};
call_option(result, object, {Timeout, Env, Flags}) -> {Timeout, Env, Flags bor ?FLAG_OBJECT};
call_option(_Key, _Value, _Checked) -> bad.

%% Where a call of a function may run.
-spec dispatch(term(), py_nif:flags()) -> py_nif:flags() | bad.
dispatch(direct, Flags) -> Flags band bnot ?DISPATCH bor ?FLAG_DIRECT;
dispatch(queue, Flags) -> Flags band bnot ?DISPATCH bor ?FLAG_QUEUE;
dispatch(_Value, _Flags) -> bad.

-spec check(term(), map()) -> {ok, map()} | {error, error()}.
check(Options, Defaults) when is_map(Options) ->
    check_each(lists:sort(maps:to_list(Options)), Defaults, Defaults);
check(Options, _Defaults) ->
    {error, {bad_option, {options, Options}}}.

-spec check_each([{term(), term()}], map(), map()) -> {ok, map()} | {error, error()}.
check_each([], _Known, Checked) ->
    {ok, Checked};
check_each([{Key, Value} | Rest], Known, Checked) ->
    case is_map_key(Key, Known) andalso value(Key, Value) of
        {ok, Normal} -> check_each(Rest, Known, Checked#{Key := Normal});
        false -> {error, {bad_option, {Key, Value}}}
    end.

-spec value(atom(), term()) -> {ok, term()} | false.
value(contexts, N) when is_integer(N), N > 0, N =< ?MAX_CONTEXTS -> {ok, N};
value(mode, Mode) when Mode =:= worker; Mode =:= subinterp; Mode =:= owngil -> {ok, Mode};
value(max_queue, infinity) -> {ok, infinity};
value(max_queue, N) when is_integer(N), N > 0, N =< ?MAX_QUEUE -> {ok, N};
value(shutdown, Timeout) when ?IS_TIMEOUT(Timeout) -> {ok, Timeout};
value(route, Route) when Route =:= spread; Route =:= affinity -> {ok, Route};
value(overload, refuse) -> {ok, refuse};
value(overload, {wait, Ms}) when is_integer(Ms), Ms >= 0, Ms =< 16#7fffffff -> {ok, {wait, Ms}};
value(stuck_after, Timeout) when ?IS_TIMEOUT(Timeout), Timeout =/= 0 -> {ok, Timeout};
value(interrupt_grace, Timeout) when ?IS_TIMEOUT(Timeout) -> {ok, Timeout};
value(direct_limit, Us) when is_integer(Us), Us > 0, Us =< ?MAX_DIRECT_LIMIT -> {ok, Us};
value(max_tasks, N) when is_integer(N), N > 0, N =< ?MAX_QUEUE -> {ok, N};
value(cancel_grace, Timeout) when ?IS_TIMEOUT(Timeout) -> {ok, Timeout};
value(event_loop, Module) when is_atom(Module), Module =/= undefined -> {ok, Module};
value(on_caller_down, What) when What =:= interrupt; What =:= finish -> {ok, What};
value(preload, undefined) -> {ok, undefined};
value(venv, undefined) -> {ok, undefined};
value(venv, Path) when is_binary(Path), Path =/= <<>>; is_list(Path), Path =/= [] ->
    path(text(Path));
value(preload, Source) when is_binary(Source); is_list(Source) -> text(Source);
value(_Key, _Value) -> false.

-spec path({ok, binary()} | false) -> {ok, binary()} | false.
path({ok, Path}) ->
    case binary:match(Path, <<0>>) of
        nomatch -> {ok, Path};
        _ -> false
    end;
path(false) ->
    false.

%% iodata of UTF-8, or a string.
-spec text(iodata() | string()) -> {ok, binary()} | false.
text(Source) ->
    try unicode:characters_to_binary(Source) of
        Text when is_binary(Text) -> {ok, Text};
        _ -> false
    catch
        error:badarg -> false
    end.
