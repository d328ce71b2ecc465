%% @private Functions of this application, called on another node.
%%
%% Runs in the process that calls, and in one that `erpc' starts for it on the other node. That
%% one never outlives its caller, and what is in its result is kept alive for the caller.
-module(py_erpc).

-export([on_node/5, apply/5]).
%% For the other node.
-export([answer/4, die_with/1]).
%% For processes of their own.
-export([exit_with_outcome/4, watching/3]).

%% ------------------------------------------------------------------ here

%% Calls a function that runs Python for the calling process. The timeout is kept by the other node,
%% where the job is stopped too, and here, in case that node doesn't answer.
-spec on_node(node(), module(), atom(), [term()], timeout()) -> term().
on_node(Node, Module, Func, Args, Timeout) ->
    case ?MODULE:apply(Node, ?MODULE, answer, [self(), Module, Func, Args], Timeout) of
        {ok, Result} -> Result;
        {raised, Reason} -> erlang:error(Reason, Args);
        {error, _} = Error -> Error
    end.

%% Calls a function of this application on another node. `raised': it raised an error.
-spec apply(node(), module(), atom(), [term()], timeout()) ->
    {ok, term()} | {raised, term()}
  | {error, timeout | {context_died, term()} | {no_library, node()}}.
apply(Node, Module, Func, Args, infinity) ->
    outcome(Node, Module, Func, Args);
apply(Node, Module, Func, Args, Timeout) ->
    %% In a process of its own: to reach a node that doesn't answer may take any time. When
    %% this process is killed, the other node, if it ever answers again, sees that no process
    %% waits.
    {Pid, Monitor} = spawn_monitor(?MODULE, exit_with_outcome, [Node, Module, Func, Args]),
    receive
        {'DOWN', Monitor, process, Pid, {outcome, Outcome}} -> Outcome;
        {'DOWN', Monitor, process, Pid, Reason} -> {error, {context_died, Reason}}
    after Timeout ->
        true = exit(Pid, kill),
        true = demonitor(Monitor, [flush]),
        {error, timeout}
    end.

%% @private
-spec exit_with_outcome(node(), module(), atom(), [term()]) -> no_return().
exit_with_outcome(Node, Module, Func, Args) ->
    exit({outcome, outcome(Node, Module, Func, Args)}).

-spec outcome(node(), module(), atom(), [term()]) ->
    {ok, term()} | {raised, term()} | {error, {context_died, term()} | {no_library, node()}}.
outcome(Node, Module, Func, Args) ->
    try
        {ok, erpc:call(Node, Module, Func, Args)}
    catch
        error:{erpc, Reason} -> {error, {context_died, Reason}};
        error:{exception, undef, [{Module, Func, _, _} | _]} -> {error, {no_library, Node}};
        error:{exception, Reason, _Stack} -> {raised, Reason};
        exit:{signal, Reason} -> {error, {context_died, Reason}}
    end.

%% ------------------------------------------------------------------ on the other node

%% For a caller on another node, who uses what is in the result as long as it lives.
-spec answer(User :: pid(), module(), atom(), [term()]) -> term().
answer(User, Module, Func, Args) ->
    ok = die_with(User),
    py_remote_refs:keep(erlang:apply(Module, Func, Args), User).

%% The calling process, which works for one of another node, dies when that one does: its job is
%% cancelled then, as that of a local caller is. A process of its own notices, since this one
%% waits for the job.
-spec die_with(pid()) -> ok.
die_with(Caller) ->
    Worker = self(),
    _ = spawn(fun() -> watch(Caller, Worker) end),
    ok.

-spec watch(pid(), pid()) -> no_return().
watch(Caller, Worker) ->
    CallerMonitor = monitor(process, Caller),
    WorkerMonitor = monitor(process, Worker),
    %% Hibernation leaves no frame of this module, which may be loaded anew twice meanwhile.
    erlang:hibernate(?MODULE, watching, [CallerMonitor, WorkerMonitor, Worker]).

%% @private
-spec watching(reference(), reference(), pid()) -> true.
watching(CallerMonitor, WorkerMonitor, Worker) ->
    receive
        {'DOWN', CallerMonitor, process, _, _} -> exit(Worker, kill);
        {'DOWN', WorkerMonitor, process, _, _} -> true
    end.
