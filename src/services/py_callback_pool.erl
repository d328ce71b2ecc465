%% @private Starts the processes for the functions that Python calls (py_callback_worker): some
%% ahead, which are idle, and one at once when Python has found none idle.
%%
%% One process. The workers are linked to it and end with it. They are also monitored, because a
%% function could undo the link: when one of them has ended without an answer, Python gets the
%% reason. It never runs a function itself, so no function holds it up.
-module(py_callback_pool).

-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% The workers' initial heap, in words. Each garbage collection frees memory that a context's
%% thread has allocated, which wakes a thread of the VM; with a large heap that is rare.
-define(MIN_HEAP_SIZE, 4_096).

-type running() :: #{pid() => py_nif:callback_ref()}.

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, running()}.
init([]) ->
    _ = process_flag(trap_exit, true),
    %% Python waits for each step of this process.
    _ = process_flag(priority, high),
    ok = py_nif:register_service(py_callbacks),
    {ok, fill(#{})}.

-spec handle_call(term(), gen_server:from(), running()) -> {noreply, running()}.
handle_call(_Request, _From, Running) ->
    {noreply, Running}.

-spec handle_cast(term(), running()) -> {noreply, running()}.
handle_cast(_Message, Running) ->
    {noreply, Running}.

-spec handle_info(term(), running()) -> {noreply, running()}.
handle_info({py_callback, CallbackRef, Name, Args}, Running) ->
    {Pid, _} = spawn_opt(py_callback_worker, run, [CallbackRef, Name, Args], [link, monitor]),
    {noreply, add(Running#{Pid => CallbackRef})};
handle_info({'DOWN', _Monitor, process, Pid, Reason}, Running) ->
    case maps:take(Pid, Running) of
        {CallbackRef, Others} ->
            _ = py_nif:callback_worker_leave(CallbackRef),
            ok = answer_for_the_dead(Reason, CallbackRef),
            {noreply, add(Others)};
        error ->
            {noreply, Running}
    end;
handle_info(_Message, Running) ->
    {noreply, Running}.

%% Starts as many idle workers as there should be.
-spec fill(running()) -> running().
fill(Running) ->
    case add(Running) of
        Running -> Running;
        More -> fill(More)
    end.

%% Starts one more idle worker, if there are too few.
-spec add(running()) -> running().
add(Running) ->
    case py_nif:callback_new_ref() of
        enough ->
            Running;
        CallbackRef ->
            {Pid, _} = spawn_opt(py_callback_worker, start, [CallbackRef],
                                 [link, monitor, {min_heap_size, ?MIN_HEAP_SIZE}]),
            ok = py_nif:callback_worker_idle(CallbackRef, Pid),
            Running#{Pid => CallbackRef}
    end.

%% The first answer counts: after the function's own this one changes nothing.
-spec answer_for_the_dead(term(), py_nif:callback_ref()) -> ok.
answer_for_the_dead(Reason, CallbackRef) ->
    py_nif:callback_answer(CallbackRef, {raised, exit, Reason, text(Reason), []}).

-spec text(term()) -> binary().
%% Nearly all workers end for this reason, once they have answered.
text(normal) -> <<"normal">>;
text(Reason) -> unicode:characters_to_binary(io_lib:format("~0tP", [Reason, 20])).
