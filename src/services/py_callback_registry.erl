%% @private Erlang functions that Python code can call: `erlang.call("name", ...)'.
%%
%% One process writes the registrations (py_store); a process that runs a function reads them.
%% The native side has the names, so that Python code gets an error for a wrong one at once. It
%% never runs a function.
-module(py_callback_registry).

-export([start_link/0, is_taken/1, register/3, unregister/1, find/1, forget/0]).
%% For py_store.
-export([publish_names/1]).

-export_type([name/0, target/0, values/0]).

-type name() :: atom() | binary() | string().
-type target() :: fun() | {module(), atom()}.
-type values() :: erlang | elixir.
%% Whose conventions the arguments follow.
-type functions() :: #{binary() => {target(), values()}}.

-define(KEY, {py_context_router, functions}).

%% Whether Python's module `erlang' has something of its own by that name, which would hide a
%% function.
-spec is_taken(binary()) -> boolean().
is_taken(<<"__", _/binary>>) ->
    true;
is_taken(Name) ->
    lists:member(Name, [<<"Atom">>, <<"Buffer">>, <<"Error">>, <<"Pid">>, <<"ProcessError">>,
                        <<"Ref">>, <<"_restore">>, <<"call">>, <<"log">>, <<"self">>, <<"send">>,
                        <<"whereis">>, <<"async_call">>]).

%% Registers a function, in the place of the one that had the name.
-spec register(binary(), target(), values()) -> ok.
register(Name, Function, Values) ->
    case is_name(Name) andalso is_target(Function) andalso is_values(Values) of
        true -> py_store:update(?MODULE, fun(Map) -> Map#{Name => {Function, Values}} end);
        false -> error(badarg, [Name, Function, Values])
    end.

-spec unregister(binary()) -> ok.
unregister(Name) ->
    case is_name(Name) of
        true -> py_store:update(?MODULE, fun(Map) -> maps:remove(Name, Map) end);
        false -> error(badarg, [Name])
    end.

%% The native side takes UTF-8. Checked in the caller: a bad name that reached the writer would end
%% it, and again each time it is restarted.
-spec is_name(term()) -> boolean().
is_name(Name) ->
    is_binary(Name) andalso is_list(unicode:characters_to_list(Name)).

-spec is_target(term()) -> boolean().
is_target({Module, Function}) -> is_atom(Module) andalso is_atom(Function);
is_target(Function) -> is_function(Function).

-spec is_values(term()) -> boolean().
is_values(Values) -> Values =:= erlang orelse Values =:= elixir.

-spec find(binary()) -> {ok, target()} | undefined.
find(Name) ->
    case persistent_term:get(?KEY, #{}) of
        #{Name := {Function, _Values}} -> {ok, Function};
        #{} -> undefined
    end.

%% ------------------------------------------------------------------ the store

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    py_store:start_link(?MODULE, store()).

%% When the application stops.
-spec forget() -> ok.
forget() ->
    py_store:forget(store()).

-spec store() -> py_store:store(functions()).
store() ->
    #{key => ?KEY, empty => #{}, publish => fun ?MODULE:publish_names/1}.

%% Python code gets an error for a name that is not among them.
-spec publish_names(functions()) -> ok.
publish_names(Functions) ->
    py_nif:set_callback_names([{Name, Values} || {Name, {_, Values}} <- maps:to_list(Functions)]).
