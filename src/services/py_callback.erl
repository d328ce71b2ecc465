%% Erlang functions that Python code can call: `erlang.call("name", ...)'.
%%
%% One process writes the registrations, as py_registry does for pools; whoever runs a function
%% reads them. The native side has the names, so that Python code learns of a wrong one at once.
-module(py_callback).

-behaviour(gen_server).

-export([start_link/0, is_taken/1, register/3, unregister/1, forget/0]).
-export([stand_by/1, stand_by/4, run/3]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

-export_type([name/0, target/0, values/0]).

-type name() :: atom() | binary() | string().
-type target() :: fun() | {module(), atom()}.
-type values() :: erlang | elixir.
%% Whose conventions the arguments follow.
-type state() :: [{atom(), term()}].

-define(KEY, {py_context_router, functions}).
%% A process runs so many functions, and waits so many ms for the next, before it ends and takes along
%% what can't be seen from outside: tables, timers.
-define(MOST_CALLS, 1_000).
-define(IDLE, 1_000).
%% How often it looks for the next function before it waits: for some ten µs.
-define(TURNS, 100).
%% How long the text of a failure's reason gets, for when Python has no form of the reason itself.
-define(LONGEST_REASON, 2_000).

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

%% Waits for calls and runs their functions, one at a time. In a process for that; whatever happens to
%% it, Python gets an answer.
-spec stand_by(py_nif:ticket()) -> no_return().
stand_by(Ticket) ->
    %% It may stand by for ever, in which this module may be loaded anew twice: without a frame of it.
    erlang:hibernate(?MODULE, stand_by, [Ticket, state(), ?MOST_CALLS, infinity]).

%% @private
-spec stand_by(py_nif:ticket(), state(), pos_integer(), timeout()) -> ok.
stand_by(Ticket, Clean, Calls, Patience) ->
    receive
        {py_call, Name, Args} -> serve(Ticket, Name, Args, Clean, Calls);
        _Stray -> retire(Ticket)
    after Patience -> retire(Ticket)
    end.

%% Looks for the next call a while before it waits for it. Often it follows at once, and for a scheduler
%% to go to sleep and be woken takes longer than a call does. Whoever else is ready goes first: it may
%% well be the process that waits for the job which has just called.
-spec stand_by_awake(py_nif:ticket(), state(), pos_integer(), non_neg_integer()) -> ok.
stand_by_awake(Ticket, Clean, Calls, 0) ->
    stand_by(Ticket, Clean, Calls, ?IDLE);
stand_by_awake(Ticket, Clean, Calls, Turns) ->
    receive
        {py_call, Name, Args} -> serve(Ticket, Name, Args, Clean, Calls);
        _Stray -> retire(Ticket)
    after 0 ->
        true = erlang:yield(),
        stand_by_awake(Ticket, Clean, Calls, Turns - 1)
    end.

-spec serve(py_nif:ticket(), binary(), [term()], state(), pos_integer()) -> ok.
serve(Ticket, Name, Args, Clean, Calls) ->
    Answer = answer(Name, Args),
    case Calls > 1 andalso state() =:= Clean
        andalso py_nif:callback_answer_and_stand_by(Ticket, Answer) of
        true -> stand_by_awake(Ticket, Clean, Calls - 1, ?TURNS);
        false -> py_nif:callback_answer(Ticket, Answer)
    end.

%% What a function could leave for the next one to find, or others expect to go when it ends. Where
%% it isn't as it was, the process ends.
-spec state() -> state().
state() ->
    process_info(self(), [links, monitors, monitored_by, dictionary, message_queue_len, trap_exit,
                          registered_name, priority, group_leader]).

-spec retire(py_nif:ticket()) -> ok.
retire(Ticket) ->
    case py_nif:callback_retire(Ticket) of
        true -> ok;
        false -> receive {py_call, Name, Args} -> run(Ticket, Name, Args) end
    end.

%% Runs one function, in a process for that.
-spec run(py_nif:ticket(), binary(), [term()]) -> ok.
run(Ticket, Name, Args) ->
    ok = py_nif:callback_begin(Ticket),
    py_nif:callback_answer(Ticket, answer(Name, Args)).

-spec answer(binary(), [term()]) -> {ok, term()} | tuple() | undefined.
answer(Name, Args) ->
    case persistent_term:get(?KEY, #{}) of
        #{Name := {Function, _Values}} -> apply_to(Function, Args);
        #{} -> undefined
    end.

-spec apply_to(target(), [term()]) -> {ok, term()} | tuple().
apply_to(Function, Args) ->
    try
        {ok, call(Function, Args)}
    catch
        Class:Reason:Stack ->
            {raised, Class, Reason, text(Reason), [frame(Frame) || Frame <- Stack]}
    end.

-spec call(target(), [term()]) -> term().
call({Module, Func}, Args) -> apply(Module, Func, Args);
call(Fun, Args) -> apply(Fun, Args).

%% An exception of Elixir has words of its own.
-spec text(term()) -> binary().
text(#{'__exception__' := true, '__struct__' := Class} = Exception) when is_atom(Class) ->
    Elixir = 'Elixir.Exception',
    try unicode:characters_to_binary([elixir_name(Class), ": ", Elixir:message(Exception)]) of
        Text when is_binary(Text) -> string:slice(Text, 0, ?LONGEST_REASON);
        _NoText -> printed(Exception)
    catch
        _:_ -> printed(Exception)
    end;
text(Reason) ->
    printed(Reason).

-spec elixir_name(module()) -> string().
elixir_name(Module) ->
    case atom_to_list(Module) of
        "Elixir." ++ Name -> Name;
        Name -> Name
    end.

-spec printed(term()) -> binary().
printed(Reason) ->
    unicode:characters_to_binary(
      io_lib:format("~0tp", [Reason], [{chars_limit, ?LONGEST_REASON}])).

%% What Python gets of a stack frame: `(module, function, arity, file, line)'.
-spec frame({module(), atom(), arity() | [term()], [{atom(), term()}]}) -> tuple().
frame({Module, Func, Args, Info}) when is_list(Args) ->
    frame({Module, Func, length(Args), Info});
frame({Module, Func, Arity, Info}) ->
    File = unicode:characters_to_binary(proplists:get_value(file, Info, "")),
    {Module, Func, Arity, File, proplists:get_value(line, Info, none)}.

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
