%% Erlang functions that Python code can call: `erlang.call("name", ...)'.
%%
%% One process writes the registrations, as py_registry does for pools; whoever runs a function
%% reads them. The native side has the names, so that Python code learns of a wrong one at once.
-module(py_callback).

-behaviour(gen_server).

-export([start_link/0, register/2, unregister/1, stand_by/1, run/1]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).

-export_type([name/0, target/0]).

-type name() :: atom() | binary() | string().
-type target() :: fun() | {module(), atom()}.

-define(KEY, {py_context_router, functions}).
%% How long the text of a failure's reason gets, for when Python has no form of the reason itself.
-define(LONGEST_REASON, 2_000).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Registers a function, in the place of the one that had the name.
-spec register(binary(), target()) -> ok.
register(Name, Function) ->
    gen_server:call(?MODULE, {register, Name, Function}, infinity).

-spec unregister(binary()) -> ok.
unregister(Name) ->
    gen_server:call(?MODULE, {unregister, Name}, infinity).

%% Waits for a call and runs its function.
-spec stand_by(py_nif:ticket()) -> ok.
stand_by(Ticket) ->
    receive py_call -> run(Ticket) end.

%% Runs a function for Python and answers. In a process of its own; whatever happens to that, Python
%% gets an answer.
-spec run(py_nif:ticket()) -> ok.
run(Ticket) ->
    {Name, Args} = py_nif:callback_take(Ticket),
    case persistent_term:get(?KEY, #{}) of
        #{Name := Function} -> py_nif:callback_answer(Ticket, apply_to(Function, Args));
        #{} -> py_nif:callback_answer(Ticket, undefined)
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

-spec text(term()) -> binary().
text(Reason) ->
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

-spec handle_call({register, binary(), target()} | {unregister, binary()}, gen_server:from(),
                  undefined) -> {reply, ok, undefined}.
handle_call({register, Name, Function}, _From, State) ->
    {reply, write(fun(Map) -> Map#{Name => Function} end), State};
handle_call({unregister, Name}, _From, State) ->
    {reply, write(fun(Map) -> maps:remove(Name, Map) end), State}.

-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), undefined) -> ok.
terminate(shutdown, _State) ->
    _ = persistent_term:erase(?KEY),
    publish_names(#{});
terminate(_Reason, _State) ->
    ok.

-spec write(fun((map()) -> map())) -> ok.
write(Change) ->
    New = Change(persistent_term:get(?KEY, #{})),
    %% Does nothing if it is what is there.
    ok = persistent_term:put(?KEY, New),
    publish_names(New).

-spec publish_names(map()) -> ok.
publish_names(Functions) ->
    py_nif:registered(maps:keys(Functions)).
