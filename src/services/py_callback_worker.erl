%% @private The processes that run the functions which Python calls: each waits for a call, runs
%% its function, answers, and waits for the next.
%%
%% Started by py_callback_pool. Whatever happens to such a process, Python is never left waiting:
%% if the worker dies, the answer comes from the monitor of py_callback_pool or, at the latest,
%% from the destructor of the call's reference.
-module(py_callback_worker).

-export([start/1, idle/4, run/3]).

-type state() :: [{atom(), term()}].

%% A worker runs so many functions, and waits so many ms for the next, before it ends; with it end
%% what functions leave behind unseen, such as tables and timers.
-define(MAX_CALLS, 1_000).
-define(IDLE_TIMEOUT, 1_000).
%% How often it polls for the next call before it waits: for some ten µs.
-define(MAX_POLLS, 100).
%% How long the text of a failure's reason gets, for when Python has no form of the reason itself.
-define(MAX_REASON_CHARS, 2_000).

%% Waits for calls and runs their functions, one at a time.
-spec start(py_nif:callback_ref()) -> no_return().
start(CallbackRef) ->
    %% A worker may be idle for ever, and this module be loaded anew twice meanwhile:
    %% hibernation leaves no frame of it on the stack.
    erlang:hibernate(?MODULE, idle, [CallbackRef, state(), ?MAX_CALLS, infinity]).

%% @private
-spec idle(py_nif:callback_ref(), state(), pos_integer(), timeout()) -> ok.
idle(CallbackRef, Clean, Calls, Timeout) ->
    receive
        {py_call, Name, Args} -> run_and_answer(CallbackRef, Name, Args, Clean, Calls);
        _Stray -> leave(CallbackRef)
    after Timeout -> leave(CallbackRef)
    end.

%% Polls for the next call before it waits for it. Often it follows at once, and for a scheduler
%% to go to sleep and be woken takes longer than a call does. Other processes that are ready run
%% first: one may be the process that waits for the job which has just called.
-spec poll(py_nif:callback_ref(), state(), pos_integer(), non_neg_integer()) -> ok.
poll(CallbackRef, Clean, Calls, 0) ->
    idle(CallbackRef, Clean, Calls, ?IDLE_TIMEOUT);
poll(CallbackRef, Clean, Calls, Polls) ->
    receive
        {py_call, Name, Args} -> run_and_answer(CallbackRef, Name, Args, Clean, Calls);
        _Stray -> leave(CallbackRef)
    after 0 ->
        true = erlang:yield(),
        poll(CallbackRef, Clean, Calls, Polls - 1)
    end.

-spec run_and_answer(py_nif:callback_ref(), binary(), [term()], state(), pos_integer()) -> ok.
run_and_answer(CallbackRef, Name, Args, Clean, Calls) ->
    Answer = answer(Name, Args),
    case Calls > 1 andalso state() =:= Clean
        andalso py_nif:callback_answer_and_idle(CallbackRef, Answer) of
        true -> poll(CallbackRef, Clean, Calls - 1, ?MAX_POLLS);
        false -> py_nif:callback_answer(CallbackRef, Answer)
    end.

%% What a function could leave for the next one to find, or other processes expect to end with it.
%% If that has changed, the worker ends.
-spec state() -> state().
state() ->
    process_info(self(), [links, monitors, monitored_by, dictionary, message_queue_len, trap_exit,
                          registered_name, priority, group_leader]).

-spec leave(py_nif:callback_ref()) -> ok.
leave(CallbackRef) ->
    case py_nif:callback_worker_leave(CallbackRef) of
        true -> ok;
        false -> receive {py_call, Name, Args} -> run(CallbackRef, Name, Args) end
    end.

%% Runs one function, in a process for that.
-spec run(py_nif:callback_ref(), binary(), [term()]) -> ok.
run(CallbackRef, Name, Args) ->
    ok = py_nif:callback_begin(CallbackRef),
    py_nif:callback_answer(CallbackRef, answer(Name, Args)).

-spec answer(binary(), [term()]) -> {ok, term()} | tuple() | undefined.
answer(Name, Args) ->
    case py_callback_registry:find(Name) of
        {ok, Function} -> apply_to(Function, Args);
        undefined -> undefined
    end.

-spec apply_to(py_callback_registry:target(), [term()]) -> {ok, term()} | tuple().
apply_to(Function, Args) ->
    try
        {ok, call(Function, Args)}
    catch
        Class:Reason:Stack ->
            {raised, Class, Reason, text(Reason), [frame(Frame) || Frame <- Stack]}
    end.

-spec call(py_callback_registry:target(), [term()]) -> term().
call({Module, Func}, Args) -> apply(Module, Func, Args);
call(Fun, Args) -> apply(Fun, Args).

%% An Elixir exception has a message of its own.
-spec text(term()) -> binary().
text(#{'__exception__' := true, '__struct__' := Class} = Exception) when is_atom(Class) ->
    Elixir = 'Elixir.Exception',
    try unicode:characters_to_binary([elixir_name(Class), ": ", Elixir:message(Exception)]) of
        Text when is_binary(Text) -> string:slice(Text, 0, ?MAX_REASON_CHARS);
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
      io_lib:format("~0tp", [Reason], [{chars_limit, ?MAX_REASON_CHARS}])).

%% What Python gets of a stack frame: `(module, function, arity, file, line)'.
-spec frame({module(), atom(), arity() | [term()], [{atom(), term()}]}) -> tuple().
frame({Module, Func, Args, Info}) when is_list(Args) ->
    frame({Module, Func, length(Args), Info});
frame({Module, Func, Arity, Info}) ->
    File = unicode:characters_to_binary(proplists:get_value(file, Info, "")),
    {Module, Func, Arity, File, proplists:get_value(line, Info, none)}.
