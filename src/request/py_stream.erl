%% @private Streams: what an iterator or generator gives, a few items at a time.
%%
%% A stream is a handle on an iterator in its context. Each step is a job that takes some items
%% and ends in bounded time, so that between steps the context serves others. `open', `next' and
%% `close' run in the process that uses the stream, which asks when it wants more.
%%
%% A stream that comes as messages has a process of its own, which asks in the consumer's place:
%% py_stream_server.
-module(py_stream).

-export([open/1, is_stream/1, next/2, close/1, collect/1]).
-export([new/3, push/4]).

-export_type([stream/0]).

-include("../base/py_request_flags.hrl").

-opaque stream() :: {stream, pid(), Handle :: reference(), py_nif:flags()}.
%% The flags are those of its steps: the options that it was opened with hold for all of it.

%% How many items a step takes when all are wanted anyway.
-define(STEP_SIZE, 4_096).
%% How long a stream may take to close, in ms.
-define(CLOSE_TIMEOUT, 5_000).

%% ------------------------------------------------------------------ asking for items

-spec open(py_request:request()) -> {ok, stream()} | {error, term()}.
open(Request) ->
    Flags = py_request:flags(Request),
    py_dispatch:resolve_waiting(Request, fun(Ctx, Resolved) ->
        opened(Ctx, Flags, py_dispatch:run(py_request:as_stream(Resolved)))
    end).

-spec opened(pid(), py_nif:flags(), {ok, reference()} | {error, term()}) ->
    {ok, stream()} | {error, term()}.
opened(Ctx, Flags, {ok, Handle}) -> {ok, new(Ctx, Handle, Flags)};
opened(_Ctx, _Flags, {error, _} = Error) -> Error.

-spec new(pid(), reference(), py_nif:flags()) -> stream().
new(Ctx, Handle, Flags) -> {stream, Ctx, Handle, Flags}.

-spec is_stream(term()) -> boolean().
is_stream({stream, Ctx, Handle, Flags}) ->
    is_pid(Ctx) andalso is_reference(Handle) andalso is_integer(Flags);
is_stream(_Other) -> false.

%% The next items, at most so many. They may be fewer, also none, while there are more to come.
-spec next(stream(), pos_integer()) -> {more | done, [term()]} | {{error, term()}, [term()]}.
next(Stream, Max) ->
    next(Stream, Max, infinity).

-spec next(stream(), pos_integer(), timeout()) ->
    {more | done, [term()]} | {{error, term()}, [term()]}.
next({stream, Ctx, Handle, Flags}, Max, Timeout) ->
    Next = py_request:new(Ctx, {stream_next, Handle, Max}, {Timeout, none, Flags}),
    step(py_submit:run(Ctx, Next)).

%% The request for a step whose items go to a consumer, as they are made, and the context to make
%% it of.
-spec push(stream(), pos_integer(), reference(), pid()) -> {pid(), py_request:request()}.
push({stream, Ctx, Handle, Flags}, Max, Ref, Consumer) ->
    {Ctx, py_request:new(Ctx, {stream_push, Handle, Max, Ref, Consumer}, {infinity, none, Flags})}.

-spec step({ok, Step} | {error, term()}) -> Step | {{error, term()}, []}.
step({ok, Step}) -> Step;
step({error, _} = Error) -> {Error, []}.

%% Ends a stream before its time: a generator's `finally' has run on return.
-spec close(stream()) -> ok | {error, term()}.
close({stream, Ctx, _Handle, _Flags} = Stream) ->
    py_submit:run(Ctx, closing(Stream, ?CLOSE_TIMEOUT)).

%% For a caller that has no time left to wait for that: the cancelled step may take long to end.
%% An error goes nowhere: no process is registered as `undefined'.
-spec close_later(stream()) -> ok.
close_later({stream, Ctx, _Handle, _Flags} = Stream) ->
    _ = py_submit:submit_cast(Ctx, closing(Stream, infinity), undefined),
    ok.

%% Done also if the caller dies.
-spec closing(stream(), timeout()) -> py_request:request().
closing({stream, Ctx, Handle, Flags}, Timeout) ->
    Finish = Flags bor ?FLAG_FINISH_ON_CALLER_DOWN,
    py_request:new(Ctx, {stream_close, Handle}, {Timeout, none, Finish}).

%% All items, in the time of the request.
-spec collect(py_request:request()) -> {ok, [term()]} | {error, term()}.
collect(Request) ->
    Deadline = py_deadline:from_timeout(py_request:timeout(Request)),
    case open(Request) of
        {ok, Stream} ->
            First = next(Stream, ?STEP_SIZE, py_deadline:left(Deadline)),
            collect(Stream, First, [], Deadline);
        {error, _} = Error ->
            Error
    end.

-spec collect(stream(), {more | done | {error, term()}, [term()]}, [[term()]],
              py_deadline:deadline()) -> {ok, [term()]} | {error, term()}.
collect(Stream, {more, Items}, Sofar, Deadline) ->
    Next = next(Stream, ?STEP_SIZE, py_deadline:left(Deadline)),
    collect(Stream, Next, [Items | Sofar], Deadline);
collect(_Stream, {done, Items}, Sofar, _Deadline) ->
    {ok, lists:append(lists:reverse([Items | Sofar]))};
collect(Stream, {{error, timeout} = Error, _Items}, _Sofar, _Deadline) ->
    ok = close_later(Stream),
    Error;
collect(Stream, {{error, _} = Error, _Items}, _Sofar, _Deadline) ->
    _ = close(Stream),
    Error.
