%% Streams: what an iterator or generator gives, a few items at a time.
%%
%% A stream is a handle on an iterator in its context. Each step is a job that takes some items and
%% has an end in time, so that between steps the context serves others. `open', `next' and `close' run
%% in the process that uses the stream, which asks when it wants more.
%%
%% A stream that comes as messages has a process of its own, which asks in the consumer's place; the
%% items go to the consumer as they are made. What acknowledges an item is that the consumer takes it
%% out of its message queue: no more than the read-ahead wait there. The process ends with the stream,
%% when the stream is cancelled, and when the consumer dies; a generator is closed then.
-module(py_stream).

-export([open/1, is_stream/1, next/2, close/1, collect/1]).
-export([start/2, cancel/1]).

-export_type([stream/0, read_ahead/0]).

-opaque stream() :: {stream, pid(), Handle :: reference(), py_nif:flags()}.
%% The flags are those of its steps: what was said when it was opened holds for all of it.
-type read_ahead() :: pos_integer().
%% How many items at most are made before they are wanted.

%% How many items a step takes when all are wanted anyway.
-define(MANY, 4_096).
%% How long a stream may take to close, in ms.
-define(CLOSE_TIMEOUT, 5_000).
%% How often to look again at once whether the consumer has caught up, and then how long to wait, in
%% ms: at first, at most.
-define(LOOKS, 100).
-define(FIRST_WAIT, 1).
-define(LAST_WAIT, 16).

%% ------------------------------------------------------------------ asking for items

-spec open(py_call:request()) -> {ok, stream()} | {error, term()}.
open(Request) ->
    Flags = py_call:flags(Request),
    Open = fun(Ctx, Settled) -> opened(Ctx, Flags, py_call:run(py_call:as_stream(Settled))) end,
    py_call:settle_patiently(Request, Open).

-spec opened(pid(), py_nif:flags(), {ok, reference()} | {error, term()}) ->
    {ok, stream()} | {error, term()}.
opened(Ctx, Flags, {ok, Handle}) -> {ok, {stream, Ctx, Handle, Flags}};
opened(_Ctx, _Flags, {error, _} = Error) -> Error.

-spec is_stream(term()) -> boolean().
is_stream({stream, Ctx, Handle, Flags}) ->
    is_pid(Ctx) andalso is_reference(Handle) andalso is_integer(Flags);
is_stream(_Other) -> false.

%% The next items, at most so many. They may be fewer, also none, while there are more to come.
-spec next(stream(), pos_integer()) -> {more | done, [term()]} | {{error, term()}, [term()]}.
next(Stream, Most) ->
    next(Stream, Most, infinity).

-spec next(stream(), pos_integer(), timeout()) ->
    {more | done, [term()]} | {{error, term()}, [term()]}.
next({stream, Ctx, Handle, Flags}, Most, Timeout) ->
    step(py_context:request(Ctx, fun(Ref) -> {stream_next, Ref, Flags, Handle, Most} end, Timeout)).

-spec step({ok, Step} | {error, term()}) -> Step | {{error, term()}, []}.
step({ok, Step}) -> Step;
step({error, _} = Error) -> {Error, []}.

%% Ends a stream before its time: a generator's `finally' has run on return.
-spec close(stream()) -> ok | {error, term()}.
close({stream, Ctx, Handle, Flags}) ->
    %% Also if the caller dies.
    Close = fun(Ref) -> {stream_close, Ref, Flags bor 4, Handle} end,
    py_context:request(Ctx, Close, ?CLOSE_TIMEOUT).

%% For a caller who has no time left to wait for that: the step that was given up may take long to end.
%% If it goes wrong, the context's process gets to know, to which that is nothing.
-spec close_later(stream()) -> ok.
close_later({stream, Ctx, Handle, Flags}) ->
    _ = py_nif:submit_cast(Ctx, {stream_close, make_ref(), Flags bor 4, Handle}, Ctx),
    ok.

%% All items, in the time of the request.
-spec collect(py_call:request()) -> {ok, [term()]} | {error, term()}.
collect(Request) ->
    Deadline = py_call:deadline(py_call:timeout(Request)),
    case open(Request) of
        {ok, Stream} -> collect(Stream, next(Stream, ?MANY, py_call:left(Deadline)), [], Deadline);
        {error, _} = Error -> Error
    end.

-spec collect(stream(), {more | done | {error, term()}, [term()]}, [[term()]],
              integer() | infinity) -> {ok, [term()]} | {error, term()}.
collect(Stream, {more, Items}, Sofar, Deadline) ->
    collect(Stream, next(Stream, ?MANY, py_call:left(Deadline)), [Items | Sofar], Deadline);
collect(_Stream, {done, Items}, Sofar, _Deadline) ->
    {ok, lists:append(lists:reverse([Items | Sofar]))};
collect(Stream, {{error, timeout} = Error, _Items}, _Sofar, _Deadline) ->
    ok = close_later(Stream),
    Error;
collect(Stream, {{error, _} = Error, _Items}, _Sofar, _Deadline) ->
    _ = close(Stream),
    Error.

%% ------------------------------------------------------------------ items as messages

%% Starts a stream whose items come to the caller as `{py_stream, Ref, {data, Item}}', then
%% `{py_stream, Ref, done}' or `{py_stream, Ref, {error, Reason}}'.
-spec start(py_call:request(), read_ahead()) -> {ok, Ref :: reference()}.
start(Request, ReadAhead) ->
    Consumer = self(),
    %% Chosen here: it depends on the process.
    Settled = py_call:settle(Request),
    Leader = group_leader(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        true = group_leader(Leader, self()),
        Ref = py_nif:tag(),
        Consumer ! {self(), Ref},
        stream(Settled, Request, Ref, Consumer, ReadAhead)
    end),
    receive
        {Pid, Ref} ->
            true = demonitor(Monitor, [flush]),
            {ok, Ref};
        {'DOWN', Monitor, process, Pid, Reason} ->
            exit(Reason)
    end.

%% Ends a stream. On return a generator is closed, and no message of the stream is left.
-spec cancel(reference()) -> ok.
cancel(Ref) ->
    Pid = py_nif:tagged(Ref),
    Monitor = monitor(process, Pid),
    Pid ! {cancel, Ref},
    receive {'DOWN', Monitor, process, Pid, _} -> flush(Ref) end.

-spec flush(reference()) -> ok.
flush(Ref) ->
    receive {py_stream, Ref, _} -> flush(Ref)
    after 0 -> ok
    end.

%% What follows runs in the stream's process.

-record(state, {
    ref :: reference(),
    consumer :: pid(),
    monitor :: reference(),
    read_ahead :: read_ahead()
}).

-spec stream({ok, pid(), py_call:request()} | {error, term()}, py_call:request(), reference(),
             pid(), read_ahead()) -> ok.
stream(Settled, Request, Ref, Consumer, ReadAhead) ->
    State = #state{ref = Ref, consumer = Consumer, monitor = monitor(process, Consumer),
                   read_ahead = ReadAhead},
    Deadline = py_call:deadline(py_call:patience(Request)),
    open_and_pump(Settled, Request, Deadline, ?FIRST_WAIT, State).

-spec open_and_pump({ok, pid(), py_call:request()} | {error, term()}, py_call:request(),
                    integer() | infinity, pos_integer(), #state{}) -> ok.
open_and_pump({error, _} = Error, _Request, _Deadline, _Wait, State) ->
    tell(Error, State);
open_and_pump({ok, Ctx, Settled}, Request, Deadline, Wait, #state{consumer = Consumer} = State) ->
    Open = py_call:native(py_call:as_stream(py_call:on_behalf(Consumer, Settled)), make_ref()),
    case job(Ctx, Open, State) of
        {ok, Handle} ->
            pump({stream, Ctx, Handle, py_call:flags(Request)}, State#state.read_ahead, State);
        {error, {context_died, noproc}} = Died ->
            case py_call:left(Deadline) of
                0 -> tell(Died, State);
                _ -> open_in_replacement(Request, Deadline, Wait, State)
            end;
        {error, _} = Error ->
            tell(Error, State);
        stop ->
            ok
    end.

%% The pool has no living context just now; whichever is first to be back will do: what the consumer
%% had bound or had its state in is gone.
-spec open_in_replacement(py_call:request(), integer() | infinity, pos_integer(), #state{}) -> ok.
open_in_replacement(Request, Deadline, Wait, #state{ref = Ref, monitor = Monitor} = State) ->
    receive
        {cancel, Ref} -> ok;
        {'DOWN', Monitor, process, _, _} -> ok
    after Wait ->
        Longer = min(2 * Wait, ?LAST_WAIT),
        open_and_pump(py_call:settle(Request), Request, Deadline, Longer, State)
    end.

-spec tell(term(), #state{}) -> ok.
tell(Event, #state{ref = Ref, consumer = Consumer}) ->
    Consumer ! {py_stream, Ref, Event},
    ok.

%% There is room for so many items.
-spec pump(stream(), pos_integer(), #state{}) -> ok.
pump({stream, Ctx, Handle, Flags} = Stream, Room, #state{} = State) ->
    #state{ref = Ref, consumer = Consumer} = State,
    case job(Ctx, {stream_push, make_ref(), Flags, Handle, Room, Ref, Consumer}, State) of
        {ok, {more, _Count}} -> pump_on(Stream, room(State), State);
        {ok, {End, _Count}} -> tell(End, State);
        {error, _} = Error ->
            _ = close(Stream),
            tell(Error, State);
        stop ->
            closed(close(Stream))
    end.

-spec pump_on(stream(), pos_integer() | stop, #state{}) -> ok.
pump_on(Stream, stop, _State) -> closed(close(Stream));
pump_on(Stream, Room, State) -> pump(Stream, Room, State).

-spec closed(ok | {error, term()}) -> ok.
closed(_) -> ok.

%% A job, unless the stream is to stop meanwhile: then the job is given up.
-spec job(pid(), py_nif:request(), #state{}) -> {ok, term()} | {error, term()} | stop.
job(Ctx, Request, #state{ref = Ref, monitor = Monitor}) ->
    Reply = element(2, Request),
    case py_nif:submit(Ctx, Request) of
        Seq when is_integer(Seq) ->
            receive
                {Reply, Result} -> Result;
                {cancel, Ref} -> give_up(Ctx, Seq, Reply);
                {'DOWN', Monitor, process, _, _} -> give_up(Ctx, Seq, Reply)
            end;
        {error, _} = Error ->
            Error
    end.

-spec give_up(pid(), py_nif:seq(), reference()) -> stop.
give_up(Ctx, Seq, Reply) ->
    case py_nif:cancel(Ctx, Seq) of
        true -> stop;
        false -> receive {Reply, _} -> stop end
    end.

%% How many items the consumer has room for; waits until that is half of the read-ahead.
-spec room(#state{}) -> pos_integer() | stop.
room(State) ->
    room(?LOOKS, ?FIRST_WAIT, State).

-spec room(non_neg_integer(), pos_integer(), #state{}) -> pos_integer() | stop.
room(Looks, Wait, #state{ref = Ref, monitor = Monitor, read_ahead = ReadAhead} = State) ->
    case ReadAhead - untaken(Looks, State) of
        Room when 2 * Room >= ReadAhead ->
            Room;
        _ ->
            receive
                {cancel, Ref} -> stop;
                {'DOWN', Monitor, process, _, _} -> stop
            after pause(Looks, Wait) ->
                case Looks of
                    0 -> room(0, min(2 * Wait, ?LAST_WAIT), State);
                    _ -> room(Looks - 1, Wait, State)
                end
            end
    end.

-spec pause(non_neg_integer(), pos_integer()) -> non_neg_integer().
pause(0, Wait) ->
    Wait;
pause(_Looks, _Wait) ->
    true = erlang:yield(),
    0.

%% How many items are in the consumer's queue, at most. Other messages are told from them only when
%% looking again has not helped: that takes a look at each.
-spec untaken(non_neg_integer(), #state{}) -> non_neg_integer().
untaken(Looks, #state{consumer = Consumer, ref = Ref, read_ahead = ReadAhead}) ->
    case process_info(Consumer, message_queue_len) of
        {_, Length} when 2 * Length =< ReadAhead; Looks > 0 ->
            Length;
        {_, _} ->
            case process_info(Consumer, messages) of
                {_, Messages} -> length([item || {py_stream, R, _} <- Messages, R =:= Ref]);
                undefined -> ReadAhead
            end;
        undefined ->
            %% Its death is on its way.
            ReadAhead
    end.
