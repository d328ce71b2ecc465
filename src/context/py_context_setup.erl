%% @private What every context starts with: folders on Python's path, imports, a virtual environment.
%% Kept in one place, in order, so that contexts which start later have it too.
%%
%% One process writes; each new context reads, without asking anybody, and runs the steps before it
%% serves. It runs nothing in a context that serves already: py_each_context does.
-module(py_context_setup).

-behaviour(gen_server).

-export([put/1, remove/1, find/1, sources/1]).
-export([import/1, path/1]).
-export([start_link/0, forget/0]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

-export_type([key/0, step/0]).

-type key() :: {import, binary()} | {path, binary()} | venv.
-type step() :: {key(), Source :: binary(), Note :: term()}.

-define(KEY, {py_context_router, setup}).

%% ------------------------------------------------------------------ steps

%% Contexts that start from now on run it. In the place of one that has its key.
-spec put(step()) -> ok.
put({_Key, Source, _Note} = Step) when is_binary(Source) ->
    py_app:ask(?MODULE, {put, Step}).

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
    [py_venv_code:activation(Venv) | [Source || {Key, Source, _} <- steps(), Key =/= venv]].

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
    Folder = py_venv_code:literal(Path),
    {iolist_to_binary(
       ["with ", py_venv_code:path_lock(), ":\n"
        "    ", Folder, " in __import__('sys').path"
        " or __import__('sys').path.insert(0, ", Folder, ")"]),
     none}.

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
