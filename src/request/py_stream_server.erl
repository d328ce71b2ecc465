%% @private Streams that come as messages: each has a process, which asks for items in the
%% consumer's place.
%%
%% The items go to the consumer as they are made. Taking an item out of the message queue
%% acknowledges it: never more than the read-ahead wait there. The process ends with the stream,
%% when the stream is cancelled, and when the consumer dies; a generator is closed then.
-module(py_stream_server).

-behaviour(gen_server).

-export([start/2, cancel/1]).
%% For the process itself.
-export([begin_stream/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-export_type([read_ahead/0]).

-type read_ahead() :: pos_integer().
%% How many items at most are made before they are wanted.

-type resolved() :: {ok, pid(), py_request:request()} | {error, term()}.

-record(job, {ctx :: pid(), seq :: py_nif:seq(), reply :: reference()}).

-type phase() ::
    %% The pool has no living context: how long to wait before the next look, in ms.
    {waiting, pos_integer()}
    | {opening, #job{}, NextWait :: pos_integer()}
    | {taking, py_stream:stream(), #job{}}
    %% The consumer has to catch up: how often to poll at once, and then how long to wait.
    | {polling, py_stream:stream(), Polls :: non_neg_integer(), Wait :: pos_integer()}.

-record(state, {
    ref :: reference(),
    consumer :: pid(),
    monitor :: reference(),
    read_ahead :: read_ahead(),
    %% Until it is open.
    request :: undefined | py_request:request(),
    deadline :: py_deadline:deadline(),
    phase = {waiting, 1} :: phase()
}).

-type next() :: {noreply, #state{}} | {noreply, #state{}, timeout()} | {stop, normal, #state{}}.

%% How often to poll at once whether the consumer has caught up, and then how long to wait, in
%% ms: at first, at most.
-define(MAX_POLLS, 100).
-define(FIRST_INTERVAL, 1).
-define(MAX_INTERVAL, 16).
%% So many messages in the consumer's queue, and each of them is looked at every ms at most.
-define(MESSAGES_PER_MS, 250).

%% Starts a stream whose items come to the caller as `{py_stream, Ref, {data, Item}}', then
%% `{py_stream, Ref, done}' or `{py_stream, Ref, {error, Reason}}'.
-spec start(py_request:request(), read_ahead()) -> {ok, Ref :: reference()}.
start(Request, ReadAhead) ->
    %% Resolved here, because the context depends on the calling process.
    Resolved = py_dispatch:resolve(Request),
    Consumer = self(),
    Pid = proc_lib:spawn(?MODULE, begin_stream, [Consumer, Resolved, Request, ReadAhead]),
    Ref = py_nif:process_ref(Pid),
    Pid ! {stream, Ref},
    {ok, Ref}.

%% Ends a stream. Polls once through the caller's message queue, if it isn't empty: what is left
%% there of the stream may be anywhere in it. On return a generator is closed, and no message of
%% the stream is left with the caller. A consumer that is another process gets the end after the
%% items that it has.
-spec cancel(reference()) -> ok.
cancel(Ref) ->
    Pid = py_nif:process_of_ref(Ref),
    Monitor = monitor(process, Pid),
    Pid ! {cancel, Ref, self()},
    receive {'DOWN', Monitor, process, Pid, _} -> flush(Ref) end.

-spec flush(reference()) -> ok.
flush(Ref) ->
    receive {py_stream, Ref, _} -> flush(Ref)
    after 0 -> ok
    end.

%% ------------------------------------------------------------------ the stream's process

%% @private Not started by OTP's functions: these look through all of the caller's message queue.
-spec begin_stream(pid(), resolved(), py_request:request(), read_ahead()) -> ok.
begin_stream(Consumer, Resolved, Request, ReadAhead) ->
    Monitor = monitor(process, Consumer),
    receive
        {stream, Ref} ->
            Deadline = py_deadline:from_timeout(py_dispatch:wait_for_context(Request)),
            begun(open(Resolved, ?FIRST_INTERVAL,
                       #state{ref = Ref, consumer = Consumer, monitor = Monitor,
                              read_ahead = ReadAhead, request = Request, deadline = Deadline}));
        {'DOWN', Monitor, process, Consumer, _} ->
            ok
    end.

-spec begun(next()) -> ok.
begun({stop, normal, _State}) -> ok;
begun({noreply, State}) -> gen_server:enter_loop(?MODULE, [], State);
begun({noreply, State, Timeout}) -> gen_server:enter_loop(?MODULE, [], State, Timeout).

-spec init(#state{}) -> {ok, #state{}}.
init(State) ->
    {ok, State}.

-spec handle_call(term(), gen_server:from(), #state{}) -> next().
handle_call(_Request, _From, State) ->
    recheck(State).

-spec handle_cast(term(), #state{}) -> next().
handle_cast(_Message, State) ->
    recheck(State).

-spec handle_info(term(), #state{}) -> next().
handle_info({Reply, Result}, #state{phase = {opening, #job{reply = Reply} = Job, Wait}} = State) ->
    opened(Result, Job#job.ctx, Wait, State);
handle_info({Reply, Result}, #state{phase = {taking, Stream, #job{reply = Reply}}} = State) ->
    taken(Result, Stream, State);
handle_info({cancel, Ref, By}, #state{ref = Ref} = State) ->
    cancelled(By, State);
handle_info({'DOWN', Monitor, process, _, _}, #state{monitor = Monitor} = State) ->
    stop(State);
handle_info(_TimeoutOrStray, State) ->
    recheck(State).

%% A crash report never shows the request, with its arguments.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(fun(state, #state{} = State) -> State#state{request = undefined};
                (_Key, Value) -> Value
             end, Status).

%% Checks whether the awaited context or consumer is ready.
-spec recheck(#state{}) -> next().
recheck(#state{phase = {waiting, Wait}, request = Request} = State) ->
    %% Any context will do: the one that the consumer had bound, or that had its state, is
    %% gone.
    open(py_dispatch:resolve(Request), min(2 * Wait, ?MAX_INTERVAL), State);
recheck(#state{phase = {polling, Stream, 0, Wait}} = State) ->
    poll(Stream, 0, min(2 * Wait, ?MAX_INTERVAL), State);
recheck(#state{phase = {polling, Stream, 1, Wait}} = State) ->
    case wait_for_messages(State) of
        0 -> poll(Stream, 0, Wait, State);
        Longer -> {noreply, State#state{phase = {polling, Stream, 0, Wait}}, Longer}
    end;
recheck(#state{phase = {polling, Stream, Polls, Wait}} = State) ->
    poll(Stream, Polls - 1, Wait, State);
recheck(State) ->
    {noreply, State}.

-spec open(resolved(), pos_integer(), #state{}) -> next().
open({error, _} = Error, _Wait, State) ->
    send_last(Error, State);
open({ok, Ctx, Resolved}, Wait, #state{consumer = Consumer} = State) ->
    case submit(Ctx, py_request:as_stream(py_request:on_behalf(Consumer, Resolved))) of
        {ok, Job} -> {noreply, State#state{phase = {opening, Job, Wait}}};
        {error, _} = Error -> opened(Error, Ctx, Wait, State)
    end.

-spec opened({ok, reference()} | {error, term()}, pid(), pos_integer(), #state{}) -> next().
opened({ok, Handle}, Ctx, _Wait, #state{request = Request} = State) ->
    Stream = py_stream:new(Ctx, Handle, py_request:flags(Request)),
    take(Stream, State#state.read_ahead, State#state{request = undefined});
opened({error, {context_died, noproc}} = Died, _Ctx, Wait, #state{deadline = Deadline} = State) ->
    case py_deadline:left(Deadline) of
        0 -> send_last(Died, State);
        _ -> {noreply, State#state{phase = {waiting, Wait}}, Wait}
    end;
opened({error, _} = Error, _Ctx, _Wait, State) ->
    send_last(Error, State).

%% The consumer's queue may take so many more items.
-spec take(py_stream:stream(), pos_integer(), #state{}) -> next().
take(Stream, Count, #state{ref = Ref, consumer = Consumer} = State) ->
    {Ctx, Request} = py_stream:push(Stream, Count, Ref, Consumer),
    case submit(Ctx, Request) of
        {ok, Job} -> {noreply, State#state{phase = {taking, Stream, Job}}};
        {error, _} = Error -> taken(Error, Stream, State)
    end.

-spec taken({ok, {more | done | {error, term()}, non_neg_integer()}} | {error, term()},
            py_stream:stream(), #state{}) -> next().
taken({ok, {more, _Count}}, Stream, State) ->
    poll(Stream, ?MAX_POLLS, ?FIRST_INTERVAL, State);
taken({ok, {End, _Count}}, _Stream, State) ->
    send_last(End, State);
taken({error, _} = Error, Stream, State) ->
    _ = py_stream:close(Stream),
    send_last(Error, State).

%% Whether half of the read-ahead has been taken.
-spec poll(py_stream:stream(), non_neg_integer(), pos_integer(), #state{}) -> next().
poll(Stream, Polls, Wait, #state{read_ahead = ReadAhead} = State) ->
    case ReadAhead - unread(Polls, State) of
        Count when 2 * Count >= ReadAhead ->
            take(Stream, Count, State);
        _ ->
            Polling = State#state{phase = {polling, Stream, Polls, Wait}},
            {noreply, Polling, pause(Polls, Wait, State)}
    end.

-spec pause(non_neg_integer(), pos_integer(), #state{}) -> non_neg_integer().
pause(0, Wait, State) ->
    max(Wait, wait_for_messages(State));
pause(_Polls, _Wait, _State) ->
    true = erlang:yield(),
    0.

%% How long to wait before a look at each message, in ms. To do so for 10^6 messages takes the
%% consumer more than a second, in which it does nothing else.
-spec wait_for_messages(#state{}) -> non_neg_integer().
wait_for_messages(#state{consumer = Consumer}) ->
    case process_info(Consumer, message_queue_len) of
        {_, Length} -> Length div ?MESSAGES_PER_MS;
        undefined -> 0
    end.

%% How many items are in the consumer's queue, at most. They are counted among other messages only
%% when polling has not helped: that takes a look at each.
-spec unread(non_neg_integer(), #state{}) -> non_neg_integer().
unread(Polls, #state{consumer = Consumer, ref = Ref, read_ahead = ReadAhead}) ->
    case process_info(Consumer, message_queue_len) of
        {_, Length} when 2 * Length =< ReadAhead; Polls > 0 ->
            Length;
        {_, _} ->
            case process_info(Consumer, messages) of
                {_, Messages} -> length([item || {py_stream, R, _} <- Messages, R =:= Ref]);
                undefined -> ReadAhead
            end;
        undefined ->
            %% The message of the consumer's death is on its way.
            ReadAhead
    end.

%% The last message of the stream.
-spec send_last(term(), #state{}) -> {stop, normal, #state{}}.
send_last(Event, #state{ref = Ref, consumer = Consumer} = State) ->
    Consumer ! {py_stream, Ref, Event},
    {stop, normal, State}.

-spec cancelled(pid(), #state{}) -> {stop, normal, #state{}}.
cancelled(Consumer, #state{consumer = Consumer} = State) ->
    stop(State);
cancelled(_Other, #state{phase = Phase} = State) ->
    ok = leave(Phase),
    send_last({error, cancelled}, State).

%% No process wants more items.
-spec stop(#state{}) -> {stop, normal, #state{}}.
stop(#state{phase = Phase} = State) ->
    ok = leave(Phase),
    {stop, normal, State}.

-spec leave(phase()) -> ok.
leave({waiting, _Wait}) ->
    ok;
leave({opening, Job, _Wait}) ->
    cancel_job(Job);
leave({taking, Stream, Job}) ->
    ok = cancel_job(Job),
    closed(py_stream:close(Stream));
leave({polling, Stream, _Polls, _Wait}) ->
    closed(py_stream:close(Stream)).

-spec closed(ok | {error, term()}) -> ok.
closed(_) -> ok.

-spec submit(pid(), py_request:request()) -> {ok, #job{}} | {error, term()}.
submit(Ctx, Request) ->
    Ref = make_ref(),
    case py_submit:submit(Ctx, Request, Ref) of
        Seq when is_integer(Seq) -> {ok, #job{ctx = Ctx, seq = Seq, reply = Ref}};
        {error, _} = Error -> Error
    end.

-spec cancel_job(#job{}) -> ok.
cancel_job(#job{ctx = Ctx, seq = Seq, reply = Reply}) ->
    case py_nif:cancel(Ctx, Seq) of
        true -> ok;
        false -> receive {Reply, _} -> ok end
    end.
