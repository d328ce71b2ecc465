%% @doc Errors, rendered for people. Errors are atoms and data everywhere else.
-module(py_error).

-export([format/1, format_error/2, badarg/3, report/1]).

-export_type([called/0]).

-type called() :: [term()] | {module(), Function :: atom(), [term()]}.
%% The arguments that a user gave, and to which function if the stack doesn't tell: a tail call
%% leaves no frame.

%% @doc Renders a reason, or `{error, Reason}', of any function of this application as a sentence.
-spec format(term()) -> unicode:unicode_binary().
format({error, Reason}) ->
    format(Reason);
format(Reason) ->
    unicode:characters_to_binary(sentence(Reason)).

-spec sentence(term()) -> iodata().
sentence(timeout) ->
    "the call took longer than its timeout";
sentence(interrupted) ->
    "the call was interrupted";
sentence(cancelled) ->
    "another process has cancelled the stream";
sentence(panicked) ->
    "the native library hit a bug; it was contained, see the log";
sentence({context_died, noproc}) ->
    "there is no such context (any more)";
sentence({context_died, Reason}) ->
    io_lib:format("the context died: ~0tp", [Reason]);
sentence({overloaded, #{queue := Queue, max_queue := Max}}) ->
    io_lib:format("the context has ~b calls waiting and takes no more than ~b", [Queue, Max]);
sentence({overloaded, #{tasks := Tasks, max_tasks := Max}}) ->
    io_lib:format("the context runs ~b coroutines, of at most ~b, and takes no more", [Tasks, Max]);
sentence({overloaded, #{quarantined := Stuck, limit := Limit}}) ->
    io_lib:format("the pool has ~b threads stuck in C code, of at most ~b, and takes no new calls",
                  [Stuck, Limit]);
sentence({pool_not_started, Pool}) ->
    io_lib:format("no pool named ~tp is started", [Pool]);
sentence({already_started, Pool}) when is_pid(Pool) ->
    io_lib:format("the pool runs already: ~0tp", [Pool]);
sentence({already_started, Options}) ->
    io_lib:format("the pool runs already, with other options: ~0tp", [Options]);
sentence({unconvertible, Path, What}) ->
    io_lib:format("~ts has no counterpart on the other side: ~ts", [Path, What]);
sentence({too_deep, Limit}) ->
    io_lib:format("the value is nested deeper than ~b levels, or contains itself", [Limit]);
sentence({no_term, Type}) ->
    io_lib:format("a Python ~ts stands for no Erlang term", [Type]);
sentence({wrong_context, What}) ->
    io_lib:format("the ~tp belongs to another context", [What]);
sentence({pool_failed, Pool, Reason}) ->
    io_lib:format("pool ~tp did not start: ~ts", [Pool, format(Reason)]);
sentence({not_a_venv, Path}) ->
    io_lib:format("there are files in ~ts, which is no virtual environment", [Path]);
sentence({venv_failed, Program, timeout, Output}) ->
    io_lib:format("~ts took too long; it said: ~ts", [Program, Output]);
sentence({venv_failed, Program, Status, Output}) when is_integer(Status) ->
    io_lib:format("~ts failed with status ~b: ~ts", [Program, Status, Output]);
sentence({venv_failed, Program, Why, _Output}) ->
    io_lib:format("~ts could not be run: ~0tp", [Program, Why]);
sentence({no_library, Node}) ->
    io_lib:format("node ~tp hasn't the application py_context_router", [Node]);
sentence({remote_context, Ctx}) ->
    io_lib:format("context ~0tp is on another node, where this can't be done from here", [Ctx]);
sentence({application_failed, Application, Reason}) ->
    io_lib:format("application ~tp did not start: ~0tp", [Application, Reason]);
sentence(system_limit) ->
    "the operating system gives no more threads, or no memory for them";
sentence(killed) ->
    "it was killed as it started";
sentence({unsupported_mode, Mode, Why}) ->
    io_lib:format("mode ~tp is not available: ~ts", [Mode, Why]);
sentence({bad_option, {options, Given}}) ->
    io_lib:format("the options are a map, and not ~0tp", [Given]);
sentence({bad_option, {size, _Size}}) ->
    "there is no option size: how many contexts a pool has is the option contexts";
sentence({bad_option, {Key, Value}}) ->
    case py_defaults:is_option(Key) of
        true -> io_lib:format("option ~0tp can't be ~0tp", [Key, Value]);
        false -> io_lib:format("there is no option ~0tp", [Key])
    end;
sentence({no_interpreter, Why}) ->
    io_lib:format("no Python interpreter could be made: ~ts", [Why]);
sentence({python_not_found, Tried}) ->
    io_lib:format("Python was not found; tried ~ts", [lists:join(", ", Tried)]);
sentence({python_mismatch, #{python := Python, version := <<>>}}) ->
    io_lib:format("~ts is no Python: asked for its version, it says nothing", [Python]);
sentence({python_mismatch, #{python := Python, version := Version, linked := Linked}}) ->
    io_lib:format("~ts is Python ~ts, but the library is linked with ~ts",
                  [Python, Version, Linked]);
sentence({python_already_running, undefined}) ->
    "Python runs already, as the executable it was built with; it can't be started again";
sentence({python_already_running, Executable}) ->
    io_lib:format("Python runs already, as ~ts; it can't be started again", [Executable]);
sentence({python_failed, Why}) ->
    io_lib:format("Python did not start: ~ts", [Why]);
sentence({_Type, _Message, #{formatted := Formatted}}) ->
    string:trim(Formatted, trailing);
sentence({Type, Message}) when is_binary(Message), (is_atom(Type) orelse is_binary(Type)) ->
    io_lib:format("~ts: ~ts", [Type, Message]);
sentence(Reason) ->
    io_lib:format("~0tp", [Reason]).

%% @doc Explains the `badarg's of this application to the shell (EEP 54).
-spec format_error(term(), erlang:stacktrace()) -> #{general | pos_integer() => binary()}.
format_error(badarg, [{_M, _F, _As, Info} | _]) ->
    Cause = maps:get(cause, proplists:get_value(error_info, Info, #{}), undefined),
    case Cause of
        {argument, N, Why} -> #{N => format_cause(Why)};
        Why -> #{general => format_cause(Why)}
    end;
format_error(_Reason, _Stacktrace) ->
    #{}.

%% Raises `badarg' at the function of this application that was called from outside, whichever
%% function has found the argument to be bad.
-spec badarg({module(), atom()}, called(), Cause :: term()) -> no_return().
badarg(Raising, Called, Cause) ->
    {current_stacktrace, [_Own | Stack]} = process_info(self(), current_stacktrace),
    {Ours, Callers} = lists:splitwith(ours(), Stack),
    {Module, Function, Args} = entered(Called, Raising, Ours),
    Info = [{error_info, #{module => ?MODULE, cause => Cause}}],
    erlang:raise(error, badarg, [{Module, Function, Args, Info} | Callers]).

-spec ours() -> fun((tuple()) -> boolean()).
ours() ->
    _ = application:load(py_context_router),
    Modules = case application:get_key(py_context_router, modules) of
                  {ok, All} -> All;
                  undefined -> []
              end,
    fun(Frame) -> lists:member(element(1, Frame), Modules) end.

-spec entered(called(), {module(), atom()}, [tuple()]) -> {module(), atom(), [term()]}.
entered({_Module, _Function, _Args} = Called, _Raising, _Ours) ->
    Called;
entered(Args, {Raising, Where}, Ours) ->
    case lists:reverse(Ours) of
        [{Module, Function, Arity, _} | _] when Arity =:= length(Args) -> {Module, Function, Args};
        _ -> {Raising, Where, Args}
    end.

-spec format_cause(term()) -> binary().
format_cause(Why) when is_binary(Why) -> Why;
format_cause(Why) -> format(Why).

%% The report_cb of the application's log events.
-spec report(logger:report()) -> {io:format(), [term()]}.
report(#{event := {py_context, start_failed}, pool := Pool, slot := Slot, reason := Reason}) ->
    {"Python context ~b of pool ~tp can't start and is being retried: ~ts",
     [Slot, Pool, format(Reason)]};
report(#{event := {py, cast_failed}, caller := Caller, call := What, reason := Reason}) ->
    {"Python, cast from ~0tp, ~ts: ~ts", [Caller, What, format(Reason)]};
report(#{event := {py_context, recovered}, pool := Pool, slot := Slot, failures := Failures}) ->
    {"Python context ~b of pool ~tp has started, after ~b failures", [Slot, Pool, Failures]};
report(#{event := {py_context, replaced}, context := Id, quarantined := Stuck}) ->
    {"Python context ~0tp was stuck in C code and has been replaced; "
     "of its former threads ~b are stuck", [Id, Stuck]};
report(#{event := {py_context, not_replaced}, context := Id, reason := Reason}) ->
    {"Python context ~0tp is stuck in C code and can't be replaced yet: ~ts",
     [Id, format(Reason)]};
report(#{event := {py_config, unknown_keys}, unknown := Unknown, known := Known}) ->
    {"The application environment of py_context_router has keys without effect: ~ts. It knows ~ts",
     [lists:join(", ", [atom_to_list(Key) || Key <- Unknown]),
      lists:join(", ", [atom_to_list(Key) || Key <- Known])]};
report(#{event := {py_log, dropped}, count := Count}) ->
    {"Handlers of logger held up Python's log events, and ~b of them were dropped", [Count]};
report(#{event := {py_output, dropped}, leader := Leader}) ->
    {"The group leader ~0tp doesn't answer; "
     "what Python code prints for it is dropped until it does",
     [Leader]}.
