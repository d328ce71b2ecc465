%% @private What every context starts with: folders on Python's path, imports, a virtual
%% environment. The steps are kept in one place, in order, so that contexts which start later
%% have them too.
%%
%% One process writes; each new context reads, without asking it, and runs the steps before it
%% serves. It never runs anything in a context that serves already: py_each_context does.
-module(py_context_setup).

-export([put/1, remove/1, find/1, sources/1]).
-export([import/1, path/1]).
-export([start_link/0, forget/0]).

-export_type([key/0, step/0]).

-type key() :: {import, binary()} | {path, binary()} | venv.
-type step() :: {key(), Source :: binary(), Note :: term()}.

%% ------------------------------------------------------------------ steps

%% Contexts that start from now on run it. In the place of one that has its key.
-spec put(step()) -> ok.
put({Key, Source, _Note} = Step) when is_binary(Source) ->
    py_store:update(?MODULE, fun(Steps) -> lists:keystore(Key, 1, Steps, Step) end).

%% Contexts that start from now on don't run it.
-spec remove(key()) -> ok.
remove(Key) ->
    py_store:update(?MODULE, fun(Steps) -> lists:keydelete(Key, 1, Steps) end).

-spec find(key()) -> step() | undefined.
find(Key) ->
    case lists:keyfind(Key, 1, steps()) of
        false -> undefined;
        Step -> Step
    end.

%% The sources that a new context runs. A context with a virtual environment of its own doesn't get
%% the shared one.
-spec sources(Venv :: binary() | undefined) -> [binary()].
sources(undefined) ->
    [Source || {_, Source, _} <- steps()];
sources(Venv) ->
    [py_venv_code:activation(Venv) | [Source || {Key, Source, _} <- steps(), Key =/= venv]].

-spec steps() -> [step()].
steps() ->
    py_store:read(store()).

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

%% ------------------------------------------------------------------ the store

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    py_store:start_link(?MODULE, store()).

%% When the application stops.
-spec forget() -> ok.
forget() ->
    py_store:forget(store()).

-spec store() -> py_store:store([step()]).
store() ->
    #{key => {py_context_router, setup}, empty => []}.
