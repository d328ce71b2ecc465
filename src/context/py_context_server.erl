%% @private The process of one context: it owns the lifecycle of a native thread, and is the pid
%% that users see. Calls never pass through it; they go from the caller straight to the thread's
%% mailbox.
%%
%%   starting --started--> serving --drain--> draining --ended--> (the pool stops it)
%%      |                    |  ^
%%      | error in a slot    |  | stuck: a replacement thread takes over
%%      v                    +--+
%%   retrying --retry--> starting      any --stop--> stopping --ended--> (terminated)
%%      (alone: failed, until its starter has the error)
%%
%% It starts its thread without waiting for it, so that the contexts of a pool start side by
%% side. In a pool's slot it reports to the pool when the thread serves, and tries again, with a
%% growing interval, when the thread can't start; alone it reports the failure and ends.
%%
%% It dies of any exit signal, as a process does that traps none; it traps them only to stop its
%% thread in order: waiting jobs are answered and, when it is a `shutdown', the running one has
%% its grace. Any other reason is a death without grace, so that a slot is refilled at once. When
%% it is killed outright, the native side notices by a NIF monitor and answers all callers.
%%
%% The file is over 400 lines because it is one state machine.
-module(py_context_server).

-behaviour(gen_server).

-export([start_link/2, start_link_slot/3, spawn_link/2, start_and_await/2, unlink_flush/2]).
%% For the process itself.
-export([begin_alone/2]).
-export([stop/1, stop_soon/1, drain/1, keep_ref/3]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([slot/0]).

-type slot() :: #{pool := atom(), slot := pos_integer(), key := term(), owner := pid()}.
%% Where in which pool, and the process that gets `{slot, Key, Pid, Event}': `starting',
%% `started', `drained', or `{error, Reason, FailuresBefore}'.

-record(state, {
    id :: term(),
    options :: py_options:context(),
    slot :: undefined | slot(),
    handle :: undefined | py_nif:handle(),
    ref :: undefined | reference(),
    status = starting :: starting | serving | retrying | draining | stopping | {failed, term()},
    %% What is to take over from a thread that is stuck, while it starts; `retrying' later.
    replacement :: undefined | retrying | {reference(), py_nif:handle()},
    %% Threads of replacements that weren't needed, until they have ended.
    ending = [] :: [reference()],
    %% When the running job's grace is over, once stopping has begun; in monotonic ms.
    deadline :: undefined | py_deadline:deadline(),
    %% Callers of `start_and_await/2', answered when the outcome is known.
    waiting = [] :: [gen_server:from()],
    %% Failed starts in a row.
    failures = 0 :: non_neg_integer(),
    %% Objects and namespaces in use on other nodes, by the monitors of their users.
    remote_refs = #{} :: #{reference() => py_context:env() | py_context:object()}
}).

%% The back-off of a slot whose context can't start, in ms.
-define(FIRST_BACKOFF, 50).
-define(MAX_BACKOFF, 5_000).
%% How long a thread may take to end that has nothing more to run, or has had its time to clean
%% up, in ms; then it is abandoned.
-define(END_TIMEOUT, 1_000).
%% How long a stop waits for a job that may clean up for ever, in ms.
-define(MAX_CLEAN_UP, 5_000).
%% How long the error of a single context is kept for the process that starts it, in ms.
-define(AWAIT_TIMEOUT, 5_000).

-spec start_link(Id :: term(), py_options:context()) -> {ok, pid()} | {error, term()}.
start_link(Id, Options) ->
    gen_server:start_link(?MODULE, {Id, Options, undefined}, []).

-spec start_link_slot(Id :: term(), py_options:context(), slot()) -> {ok, pid()} | {error, term()}.
start_link_slot(Id, Options, Slot) ->
    gen_server:start_link(?MODULE, {Id, Options, Slot}, []).

%% As start_link/2, for a process whose message queue may be long: OTP's functions look through
%% all of it for what `init' answers.
-spec spawn_link(Id :: term(), py_options:context()) -> {ok, pid()}.
spawn_link(Id, Options) ->
    {ok, proc_lib:spawn_link(?MODULE, begin_alone, [Id, Options])}.

%% @private
-spec begin_alone(term(), py_options:context()) -> no_return().
begin_alone(Id, Options) ->
    {ok, State, {continue, start}} = init({Id, Options, undefined}),
    {noreply, Started} = handle_continue(start, State),
    gen_server:enter_loop(?MODULE, [], Started).

%% Starts a context with `Start' and waits until it serves. Brings the application up first.
-spec start_and_await(fun(() -> {ok, pid()} | {error, term()}), py_options:context()) ->
    {ok, pid()} | {error, term()}.
start_and_await(Start, #{mode := Mode}) ->
    case py_app:ensure_started(Mode) of
        ok -> await(Start());
        {error, _} = Error -> Error
    end.

-spec await({ok, pid()} | {error, term()}) -> {ok, pid()} | {error, term()}.
await({ok, Pid}) ->
    try gen_server:call(Pid, await, infinity) of
        ok -> {ok, Pid};
        {error, _} = Error -> unlink_flush(Pid, Error)
    catch
        exit:{Reason, _} -> unlink_flush(Pid, {error, {context_died, Reason}})
    end;
await({error, _} = Error) ->
    Error.

%% Releases a process whose start has failed, or which the caller stops: a caller that traps exits
%% needs no message about it. There can be one only if the process has ended already; else the
%% caller's message queue, which may be long, need not be searched.
-spec unlink_flush(pid(), Error) -> Error.
unlink_flush(Pid, Error) ->
    true = unlink(Pid),
    case process_info(self(), trap_exit) =:= {trap_exit, true} andalso not is_process_alive(Pid) of
        true -> receive {'EXIT', Pid, _} -> Error after 0 -> Error end;
        false -> Error
    end.

%% Stops it, and returns when it and its thread are gone. Idempotent. It ends as `normal', which
%% takes no process along that is linked to it: the process that has started it need not be the
%% one that stops it.
-spec stop(pid()) -> ok.
stop(Pid) ->
    try
        gen_server:stop(Pid, normal, infinity)
    catch
        exit:_ -> ok
    end.

%% Begins to stop: waiting jobs are answered now and the grace of the running one starts, so that
%% the contexts of a pool, which are terminated one after the other, end side by side.
-spec stop_soon(pid()) -> ok.
stop_soon(Pid) ->
    gen_server:cast(Pid, stop_soon).

%% Has the waiting jobs run, takes no new ones, and tells the owner when all is done.
-spec drain(pid()) -> ok.
drain(Pid) ->
    gen_server:cast(Pid, drain).

%% Keeps the object or namespace behind a reference alive for a process on another node, as long as
%% that process lives.
-spec keep_ref(pid(), py_context:env() | py_context:object(), pid()) -> ok.
keep_ref(Pid, Ref, User) ->
    try
        gen_server:call(Pid, {keep_ref, Ref, User}, infinity)
    catch
        %% The context is dead, and the object with it.
        exit:_ -> ok
    end.

-spec init({term(), py_options:context(), undefined | slot()}) ->
    {ok, #state{}, {continue, start}}.
init({Id, Options, Slot}) ->
    _ = process_flag(trap_exit, true),
    State = #state{id = Id, options = Options, slot = Slot},
    %% The slot may be gone by now.
    ok = notify_owner(starting, State),
    {ok, State, {continue, start}}.

-spec handle_continue(start, #state{}) -> {noreply, #state{}}.
handle_continue(start, State) ->
    {noreply, start_thread(State)}.

-spec start_thread(#state{}) -> #state{}.
start_thread(#state{options = Options} = State) ->
    Ref = make_ref(),
    case py_nif:context_start(Ref, Options#{preload := sources(State), pool => pool(State)}) of
        {error, _} = Error ->
            self() ! {py_context, Ref, Error},
            self() ! {py_context, Ref, ended},
            State#state{ref = Ref, handle = undefined, status = starting};
        Handle ->
            State#state{ref = Ref, handle = Handle, status = starting}
    end.

%% The Python sources that a new context runs before it serves.
-spec sources(#state{}) -> [binary()].
sources(#state{options = Options}) ->
    #{preload := Preload, venv := Venv} = py_options:reveal(Options),
    py_context_setup:sources(Venv) ++ [Preload || Preload =/= undefined].

-spec pool(#state{}) -> atom().
pool(#state{slot = undefined}) -> undefined;
pool(#state{slot = #{pool := Name}}) -> Name.

-spec handle_call(await | {keep_ref, py_context:env(), pid()}, gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, ok, #state{}} | {stop, normal, {error, term()}, #state{}}.
handle_call(await, _From, #state{status = serving} = State) ->
    {reply, ok, State};
handle_call(await, _From, #state{status = {failed, Error}} = State) ->
    {stop, normal, Error, State};
handle_call(await, From, State) ->
    {noreply, State#state{waiting = [From | State#state.waiting]}};
handle_call({keep_ref, Env, User}, _From, #state{remote_refs = Refs} = State) ->
    {reply, ok, State#state{remote_refs = Refs#{monitor(process, User) => Env}}}.

-spec handle_cast(stop_soon | drain, #state{}) -> {noreply, #state{}}.
handle_cast(stop_soon, State) ->
    {noreply, begin_stop(shutdown, State)};
handle_cast(drain, #state{status = serving, handle = Handle} = State) ->
    ok = py_nif:context_drain(Handle),
    Draining = (drop_replacement(State))#state{status = draining},
    %% The message that it is stuck comes only once.
    case State#state.replacement =/= undefined andalso is_stuck() of
        true -> {noreply, abandon(stuck, Draining)};
        false -> {noreply, Draining}
    end;
handle_cast(drain, #state{status = starting, handle = Handle} = State) when Handle =/= undefined ->
    %% No caller waits for this context, and its setup may take any time. The pool, which stops
    %% this process now, would wait for it.
    {noreply, abandon(shutdown, State#state{status = draining})};
handle_cast(drain, State) ->
    ok = notify_owner(drained, State),
    {noreply, State#state{status = draining}}.

-spec handle_info(term(), #state{}) ->
    {noreply, #state{}} | {noreply, #state{}, hibernate} | {stop, term(), #state{}}.
handle_info({py_context, Ref, started}, #state{ref = Ref, status = starting} = State) ->
    {noreply, started(State)};
handle_info({py_context, Ref, {error, _} = Error}, #state{ref = Ref, status = starting} = State) ->
    %% Nothing is left when the error arrives: the thread is about to end.
    case ended_within(Ref, ?END_TIMEOUT) of
        true -> failed(Error, State#state{handle = undefined});
        false -> failed(Error, State)
    end;
handle_info({py_context, Ref, ended}, #state{ref = Ref, status = starting} = State) ->
    %% The thread has ended without an event, by a bug of ours, and has logged it.
    failed({error, {context_died, thread_ended}}, State#state{handle = undefined});
handle_info({py_context, Ref, ended}, #state{ref = Ref, status = serving} = State) ->
    {stop, thread_ended, State#state{handle = undefined}};
handle_info({py_context, Ref, ended}, #state{ref = Ref, status = draining} = State) ->
    ok = notify_owner(drained, State),
    {noreply, State#state{handle = undefined}};
handle_info({py_context, Ref, ended}, #state{ref = Ref} = State) ->
    %% It was stopped, or never served.
    {noreply, State#state{handle = undefined}};
handle_info({py_context, Ref, ended}, #state{ending = Ending} = State) ->
    %% It was a replacement's thread, or one of an earlier attempt to start.
    {noreply, State#state{ending = lists:delete(Ref, Ending)}};
handle_info({py_context, Ref, stuck}, #state{ref = Ref, status = serving} = State) ->
    {noreply, replace(State)};
handle_info(replace, #state{status = serving, replacement = retrying} = State) ->
    {noreply, replace(State#state{replacement = undefined})};
handle_info({py_context, Ref, started}, #state{replacement = {Ref, _}} = State) ->
    {noreply, take_over(State)};
handle_info({py_context, Ref, {error, _} = Error}, #state{replacement = {Ref, _}} = State) ->
    {noreply, not_replaced(Error, drop_replacement(State))};
handle_info({py_context, Ref, stuck}, #state{ref = Ref, status = draining, handle = Handle} = State)
  when Handle =/= undefined ->
    {noreply, abandon(stuck, State)};
handle_info(grace_over, #state{handle = Handle} = State) when Handle =/= undefined ->
    ok = py_nif:context_kill(Handle, shutdown),
    {noreply, State};
handle_info(retry, #state{status = retrying} = State) ->
    {noreply, start_thread(State)};
handle_info(nobody_awaited, #state{status = {failed, _}} = State) ->
    {stop, normal, State};
handle_info({'DOWN', Monitor, process, _User, _Reason}, #state{remote_refs = Refs} = State) ->
    %% Hibernation collects garbage: a dead reference on this heap would keep its object alive.
    {noreply, State#state{remote_refs = maps:remove(Monitor, Refs)}, hibernate};
handle_info({'EXIT', _From, normal}, State) ->
    {noreply, State};
handle_info({'EXIT', _From, Reason}, State) ->
    {stop, Reason, State};
handle_info(_Message, State) ->
    %% An event of a replacement that isn't needed any more, or a stray message.
    {noreply, State}.

%% The running job is stuck while the context drains, so the jobs behind it would wait for ever.
%% The thread is abandoned, because the pool, which stops this process now, would wait for it in
%% vain. Threads of replacements that are ending are not waited for either.
-spec abandon(stuck | shutdown, #state{}) -> #state{}.
abandon(Why, #state{handle = Handle} = State) ->
    ok = py_nif:context_kill(Handle, Why),
    ok = notify_owner(drained, State),
    State#state{handle = undefined, ending = []}.

-spec is_stuck() -> boolean().
is_stuck() ->
    case py_nif:context_info(self()) of
        #{state := State} -> State =:= stuck;
        _Gone -> false
    end.

%% The thread is stuck. Callers go on waiting until another thread serves in its place.
-spec replace(#state{}) -> #state{}.
replace(#state{handle = Handle, replacement = undefined} = State) ->
    Ref = make_ref(),
    case py_nif:context_replace(Handle, Ref, sources(State)) of
        not_stuck -> State#state{failures = 0};
        {error, _} = Error -> not_replaced(Error, State);
        New -> State#state{replacement = {Ref, New}}
    end;
replace(State) ->
    State.

-spec not_replaced({error, term()}, #state{}) -> #state{}.
not_replaced({error, Reason}, #state{failures = Failures} = State) ->
    ok = report_not_replaced(Reason, State),
    _ = erlang:send_after(backoff(Failures), self(), replace),
    State#state{replacement = retrying, failures = Failures + 1}.

-spec take_over(#state{}) -> #state{}.
take_over(#state{handle = Old, replacement = {Ref, New}} = State) ->
    case py_nif:context_take_over(Old, New) of
        true ->
            ok = report_replaced(State),
            State#state{handle = New, ref = Ref, replacement = undefined, failures = 0};
        false ->
            (drop_replacement(State))#state{failures = 0}
    end.

%% A stop of the context waits for its end.
-spec drop_replacement(#state{}) -> #state{}.
drop_replacement(#state{replacement = {Ref, New}, ending = Ending} = State) ->
    ok = py_nif:context_kill(New, shutdown),
    State#state{replacement = undefined, ending = [Ref | Ending]};
drop_replacement(State) ->
    State#state{replacement = undefined}.

-spec report_replaced(#state{}) -> ok.
report_replaced(State) ->
    #{quarantined := Stuck} = py_nif:context_info(self()),
    logger:warning(#{event => {py_context, replaced}, context => named(State),
                     quarantined => Stuck},
                   #{report_cb => fun py_error:report/1}).

%% Once per streak.
-spec report_not_replaced(term(), #state{}) -> ok.
report_not_replaced(Reason, #state{failures = 0} = State) ->
    logger:error(#{event => {py_context, not_replaced}, context => named(State), reason => Reason},
                 #{report_cb => fun py_error:report/1});
report_not_replaced(_Reason, _State) ->
    ok.

%% For reports: one that was started without a name goes by its pid.
-spec named(#state{}) -> term().
named(#state{id = undefined}) -> self();
named(#state{id = Id}) -> Id.

-spec started(#state{}) -> #state{}.
started(State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, State#state.waiting),
    ok = notify_owner(started, State),
    ok = report_recovery(State),
    State#state{status = serving, waiting = [], failures = 0}.

%% The thread itself may end later: a stop waits for it.
-spec failed({error, term()}, #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
failed({error, _} = Error, #state{slot = undefined, waiting = []} = State) ->
    %% So fast that nobody has asked yet. The process that starts it is about to, if it lives.
    _ = erlang:send_after(?AWAIT_TIMEOUT, self(), nobody_awaited),
    {noreply, State#state{status = {failed, Error}}};
failed(Error, #state{slot = undefined} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Error) end, State#state.waiting),
    %% The waiting process has the error; a crash report would say nothing new.
    {stop, normal, State#state{waiting = []}};
failed({error, Reason}, #state{failures = Failures} = State) ->
    ok = notify_owner({error, Reason, Failures}, State),
    _ = erlang:send_after(backoff(Failures), self(), retry),
    {noreply, State#state{status = retrying, failures = Failures + 1}}.

-spec notify_owner(starting | started | {error, term(), non_neg_integer()} | drained, #state{}) ->
    ok.
notify_owner(_Event, #state{slot = undefined}) ->
    ok;
notify_owner(Event, #state{slot = #{owner := Owner, key := Key}}) ->
    Owner ! {slot, Key, self(), Event},
    ok.

-spec backoff(non_neg_integer()) -> pos_integer().
backoff(Failures) ->
    min(?MAX_BACKOFF, ?FIRST_BACKOFF bsl min(Failures, 10)).

%% The counterpart of what the pool reports of the first failure.
-spec report_recovery(#state{}) -> ok.
report_recovery(#state{failures = Failures, slot = #{pool := Name, slot := Slot}})
  when Failures > 0 ->
    logger:notice(#{event => {py_context, recovered}, pool => Name, slot => Slot,
                    failures => Failures},
                  #{report_cb => fun py_error:report/1});
report_recovery(_State) ->
    ok.

-spec terminate(term(), #state{}) -> ok.
terminate(Reason, #state{handle = Handle} = State) ->
    case is_orderly(Reason) of
        true ->
            await_end(Reason, begin_stop(died(Reason), State));
        false when Handle =:= undefined ->
            ok;
        false ->
            %% Died rather than stopped: all callers get an answer at once, and nothing delays the
            %% replacement.
            py_nif:context_kill(Handle, Reason)
    end.

-spec is_orderly(term()) -> boolean().
is_orderly(normal) -> true;
is_orderly(shutdown) -> true;
is_orderly({shutdown, _}) -> true;
is_orderly(_Reason) -> false.

-spec begin_stop(term(), #state{}) -> #state{}.
begin_stop(_Why, #state{status = stopping} = State) ->
    State;
begin_stop(Why, State) ->
    ok = leave_slot(State),
    ok = close(Why, State),
    (drop_replacement(State))#state{status = stopping, deadline = start_grace(grace(State))}.

%% The grace is for jobs, and a context's setup is no job.
-spec grace(#state{}) -> timeout().
grace(#state{status = starting}) -> 0;
grace(#state{options = #{shutdown := Grace}}) -> Grace.

-spec close(term(), #state{}) -> ok.
close(_Why, #state{handle = undefined}) -> ok;
close(Why, #state{handle = Handle}) -> py_nif:context_close(Handle, Why).

%% During the grace the process is alive, but no caller is routed to it any more.
-spec leave_slot(#state{}) -> ok.
leave_slot(#state{slot = undefined}) ->
    ok;
leave_slot(#state{slot = #{pool := Name, slot := Slot}}) ->
    case py_pool_table:lookup(Name) of
        undefined -> ok;
        Pool -> py_nif:pool_drain_slot(Pool, Slot)
    end.

-spec start_grace(timeout()) -> py_deadline:deadline().
start_grace(infinity) ->
    infinity;
start_grace(Grace) ->
    _ = erlang:send_after(Grace, self(), grace_over),
    py_deadline:from_timeout(Grace).

-spec await_end(term(), #state{}) -> ok.
await_end(Reason, #state{ending = Ending, deadline = Deadline} = State) ->
    ok = await_thread(Reason, State),
    %% The threads of replacements are ending already.
    _ = [ended_within(Ref, py_deadline:left(last(Deadline, State)), State) || Ref <- Ending],
    ok.

-spec await_thread(term(), #state{}) -> ok.
await_thread(_Reason, #state{handle = undefined}) ->
    ok;
await_thread(Reason, #state{handle = Handle, ref = Ref, deadline = Deadline} = State) ->
    case ended_within(Ref, py_deadline:left(Deadline), State) of
        true ->
            ok;
        false ->
            ok = py_nif:context_kill(Handle, died(Reason)),
            _ = ended_within(Ref, py_deadline:left(last(Deadline, State)), State),
            ok
    end.

%% A job that was interrupted at the end of the grace may clean up. A thread that is stuck in C
%% sees the interrupt only when it returns, and ends then. All contexts of a pool share this time.
-spec last(py_deadline:deadline(), #state{}) -> py_deadline:deadline().
last(infinity, _State) -> infinity;
last(Deadline, State) -> Deadline + clean_up(State) + ?END_TIMEOUT.

-spec clean_up(#state{}) -> non_neg_integer().
clean_up(#state{options = #{interrupt_grace := Grace, stuck_after := StuckAfter}}) ->
    case min(Grace, StuckAfter) of
        infinity -> ?MAX_CLEAN_UP;
        Ms -> Ms
    end.

%% A context of a pool waits only as long as the pool's process lives. When that was killed, nobody
%% waits for the end of its contexts, and new ones have replaced them.
-spec ended_within(reference(), timeout(), #state{}) -> boolean().
ended_within(Ref, Timeout, #state{slot = undefined}) ->
    ended_within(Ref, Timeout);
ended_within(Ref, Timeout, #state{slot = #{owner := Owner}}) ->
    Pool = monitor(process, Owner),
    receive
        {py_context, Ref, ended} -> true;
        {'DOWN', Pool, process, Owner, _} -> false
    after Timeout ->
        false
    end.

-spec ended_within(reference(), timeout()) -> boolean().
ended_within(Ref, Timeout) ->
    receive
        {py_context, Ref, ended} -> true
    after Timeout ->
        false
    end.

%% The reason that callers get: every orderly stop is a shutdown.
-spec died(term()) -> term().
died(normal) -> shutdown;
died({shutdown, _}) -> shutdown;
died(Reason) -> Reason.
