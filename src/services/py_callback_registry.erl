%% @private Erlang functions that Python code can call: `erlang.call("name", ...)'.
%%
%% One process writes the registrations, as py_registry does for pools; a process that runs a function
%% reads them. The native side has the names, so that Python code learns of a wrong one at once. It
%% never runs a function.
-module(py_callback_registry).

-behaviour(gen_server).

-export([start_link/0, is_taken/1, register/3, unregister/1, find/1, forget/0]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

-export_type([name/0, target/0, values/0]).

-type name() :: atom() | binary() | string().
-type target() :: fun() | {module(), atom()}.
-type values() :: erlang | elixir.
%% Whose conventions the arguments follow.

-define(KEY, {py_context_router, functions}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Whether Python's module `erlang' has something of its own by that name, which would hide a
%% function.
-spec is_taken(binary()) -> boolean().
is_taken(<<"__", _/binary>>) ->
    true;
is_taken(Name) ->
    lists:member(Name, [<<"Atom">>, <<"Buffer">>, <<"Error">>, <<"Pid">>, <<"ProcessError">>,
                        <<"Ref">>, <<"_restore">>, <<"call">>, <<"log">>, <<"self">>, <<"send">>,
                        <<"whereis">>]).

%% Registers a function, in the place of the one that had the name.
-spec register(binary(), target(), values()) -> ok.
register(Name, Function, Values) ->
    case is_name(Name) andalso is_target(Function) andalso is_values(Values) of
        true -> py_app:ask(?MODULE, {register, Name, {Function, Values}});
        false -> error(badarg, [Name, Function, Values])
    end.

-spec unregister(binary()) -> ok.
unregister(Name) ->
    case is_name(Name) of
        true -> py_app:ask(?MODULE, {unregister, Name});
        false -> error(badarg, [Name])
    end.

%% What the native side takes: UTF-8. Checked in the caller, because whatever ends the writer is written
%% still when it is started again.
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

%% ------------------------------------------------------------------ the writer

-spec init([]) -> {ok, undefined}.
init([]) ->
    %% Trapped, so that the registrations are erased when the application stops. After a crash
    %% they are still there and stay in force.
    _ = process_flag(trap_exit, true),
    ok = publish_names(persistent_term:get(?KEY, #{})),
    {ok, undefined}.

-spec handle_call({register, binary(), {target(), values()}} | {unregister, binary()},
                  gen_server:from(), undefined) -> {reply, ok, undefined}.
handle_call({register, Name, Function}, _From, State) ->
    {reply, write(fun(Map) -> Map#{Name => Function} end), State};
handle_call({unregister, Name}, _From, State) ->
    {reply, write(fun(Map) -> maps:remove(Name, Map) end), State}.

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
    publish_names(#{}).

-spec write(fun((map()) -> map())) -> ok.
write(Change) ->
    New = Change(persistent_term:get(?KEY, #{})),
    %% Does nothing if it is what is there.
    ok = persistent_term:put(?KEY, New),
    publish_names(New).

-spec publish_names(map()) -> ok.
publish_names(Functions) ->
    py_nif:registered([{Name, Values} || {Name, {_, Values}} <- maps:to_list(Functions)]).
