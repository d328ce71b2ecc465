%% What every context starts with: folders on Python's path, imports, a virtual environment. Kept in
%% one place, in order, so that contexts which start later have it too.
%%
%% One process writes; each new context reads, without asking anybody, and runs the steps before it
%% serves. Running contexts get a step when it is added. A context that is just starting may get it
%% both ways, so each step can be run again without harm.
-module(py_setup).

-behaviour(gen_server).

-export([add/2, remove/1, find/1, sources/1]).
-export([everywhere/1, in_each_interpreter/1, in_each_subinterpreter/1]).
-export([import/1, path/1, path_lock/0, literal/1]).
-export([start_link/0, forget/0]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

-export_type([key/0]).

-type key() :: {import, binary()} | {path, binary()} | venv.
-type step() :: {key(), Source :: binary(), Note :: term()}.

-define(KEY, {py_context_router, setup}).
%% How long contexts that are busy are waited for, in ms.
-define(TIMEOUT, 30_000).

%% ------------------------------------------------------------------ steps

%% Adds a step, or replaces it: runs it in all contexts and has later ones run it too. If it fails
%% anywhere it is not added, though it may have been run in other contexts by then.
-spec add(key(), {Source :: binary(), Note :: term()}) -> ok | {error, term()}.
add(Key, {Source, Note}) ->
    %% First for those that start from now on; whoever has started before is in the list that is
    %% looked at after.
    Before = find(Key),
    ok = py_app:ask(?MODULE, {put, {Key, Source, Note}}),
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
    everywhere(Source).

-spec restore(key(), step() | undefined) -> ok.
restore(Key, undefined) -> remove(Key);
restore(_Key, Step) -> py_app:ask(?MODULE, {put, Step}).

%% Contexts that start from now on don't run it.
-spec remove(key()) -> ok.
remove(Key) ->
    py_app:ask(?MODULE, {remove, Key}).

-spec find(key()) -> step() | undefined.
find(Key) ->
    case lists:keyfind(Key, 1, steps()) of
        false -> undefined;
        Step -> Step
    end.

%% The sources that a new context runs. One with a virtual environment of its own has no use for
%% everybody's.
-spec sources(Venv :: binary() | undefined) -> [binary()].
sources(undefined) ->
    [Source || {_, Source, _} <- steps()];
sources(Venv) ->
    [py_venv:activation(Venv) | [Source || {Key, Source, _} <- steps(), Key =/= venv]].

-spec steps() -> [step()].
steps() ->
    persistent_term:get(?KEY, []).

%% ------------------------------------------------------------------ their sources

%% `import Module', in the context's own namespace.
-spec import(binary()) -> {binary(), none}.
import(Module) ->
    {<<"import ", Module/binary>>, none}.

%% Puts a folder at the front of Python's path, once, though workers share it and run this at the
%% same time. Leaves no names behind.
-spec path(binary()) -> {binary(), none}.
path(Path) ->
    Folder = literal(Path),
    {iolist_to_binary(
       ["with ", path_lock(), ":\n"
        "    ", Folder, " in __import__('sys').path"
        " or __import__('sys').path.insert(0, ", Folder, ")"]),
     none}.

%% The lock of whoever changes Python's path: an expression, the same lock throughout an interpreter.
-spec path_lock() -> string().
path_lock() ->
    "__import__('sys').__dict__.setdefault('_py_context_lock', __import__('_thread').RLock())".

%% Text as Python source, whatever is in it.
-spec literal(binary()) -> iodata().
literal(Text) ->
    ["bytes.fromhex('", binary:encode_hex(Text), "').decode()"].

%% ------------------------------------------------------------------ running contexts

%% Runs statements in every context's own namespace, in all at once. The first error is returned;
%% a context that dies meanwhile is none: its successor starts with what is set up by then.
-spec everywhere(binary()) -> ok | {error, term()}.
everywhere(Source) ->
    Requests = [py_call:own_exec(Ctx, Source) || Ctx <- py_nif:contexts()],
    Results = py_async:parallel(Requests, ?TIMEOUT),
    case [Error || {error, Reason} = Error <- Results, not is_death(Reason)] of
        [] -> ok;
        [Error | _] -> Error
    end.

%% Evaluates an expression once in each interpreter, in a context of it that is least busy; what it
%% gives, and whose contexts they are.
-spec in_each_interpreter(fun((pid()) -> py_call:request())) ->
    {ok, [{[pid()], term()}]} | {error, term()}.
in_each_interpreter(Request) ->
    in_one_of_each(maps:values(by_interpreter()), Request).

%% The same without the main interpreter, in which workers run.
-spec in_each_subinterpreter(fun((pid()) -> py_call:request())) ->
    {ok, [{[pid()], term()}]} | {error, term()}.
in_each_subinterpreter(Request) ->
    in_one_of_each(maps:values(maps:remove(0, by_interpreter())), Request).

-spec in_one_of_each([[map()]], fun((pid()) -> py_call:request())) ->
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

%% ------------------------------------------------------------------ the process

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, undefined}.
init([]) ->
    %% As in py_registry: erased when the application stops, kept over a crash.
    _ = process_flag(trap_exit, true),
    {ok, undefined}.

-spec handle_call({put, step()} | {remove, key()}, gen_server:from(), undefined) ->
    {reply, ok, undefined}.
handle_call({put, {Key, _, _} = Step}, _From, State) ->
    ok = persistent_term:put(?KEY, lists:keystore(Key, 1, steps(), Step)),
    {reply, ok, State};
handle_call({remove, Key}, _From, State) ->
    ok = persistent_term:put(?KEY, lists:keydelete(Key, 1, steps())),
    {reply, ok, State}.

-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), undefined) -> ok.
terminate(shutdown, _State) ->
    forget();
terminate(_Reason, _State) ->
    ok.

%% When the application stops.
-spec forget() -> ok.
forget() ->
    _ = persistent_term:erase(?KEY),
    ok.
