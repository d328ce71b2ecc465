%% @private Waiting for capacity in the queue of a context that has the option `overload =>
%% {wait, Ms}'.
%%
%% Runs in the calling process, after its request was refused. It waits for one message, which
%% says that there may be capacity, so no scheduler and no timer is kept busy; it keeps its place
%% in the context's wait queue while it tries. When the time is up it cancels the wait: either
%% that succeeds and the message never comes, or it is here or on its way and is received.
-module(py_overload).

-export([submit/4]).

-record(call, {
    ctx :: pid(),
    request :: py_nif:request(),
    began :: integer(),
    deadline :: py_deadline:deadline(),
    %% When the context's time for waiting is up, once that is known.
    until :: undefined | integer()
}).

%% Submits the request once there is capacity: its number, and what is left of the call's timeout.
%% `Full' is the refusal, which stands when the context's option is to refuse or its time is up.
-spec submit(pid(), py_nif:request(), Full :: {error, term()}, timeout()) ->
    {py_nif:seq(), timeout()} | {error, term()}.
submit(Ctx, Request, Full, Timeout) ->
    Call = #call{ctx = Ctx, request = Request, began = erlang:monotonic_time(millisecond),
                 deadline = py_deadline:from_timeout(Timeout)},
    %% Made here, so that the compiler sees that a long message queue need not be searched for it.
    wait_for_capacity(make_ref(), 0, Full, Call).

-spec wait_for_capacity(reference(), non_neg_integer(), {error, term()}, #call{}) ->
    {py_nif:seq(), timeout()} | {error, term()}.
wait_for_capacity(Ref, WaiterId, Full, #call{ctx = Ctx, deadline = Deadline} = Call) ->
    case py_nif:wait_for_capacity(Ctx, Ref, WaiterId) of
        refuse ->
            Full;
        capacity ->
            retry(Ref, WaiterId, Call);
        {wait, NewId, Ms} ->
            case py_deadline:left(Deadline) of
                0 -> cancel(Ref, NewId, {error, timeout}, Call);
                Left -> wait(Ref, NewId, Full, until(Ms, Call), Left)
            end
    end.

%% The context's time is counted from the first refusal.
-spec until(non_neg_integer(), #call{}) -> #call{}.
until(Ms, #call{until = undefined, began = Began} = Call) -> Call#call{until = Began + Ms};
until(_Ms, Call) -> Call.

-spec wait(reference(), pos_integer(), {error, term()}, #call{}, timeout()) ->
    {py_nif:seq(), timeout()} | {error, term()}.
wait(Ref, WaiterId, Full, #call{until = Until} = Call, LeftOfCall) ->
    LeftOfContext = py_deadline:left(Until),
    receive
        {Ref, capacity} -> retry(Ref, WaiterId, Call)
    after min(LeftOfContext, LeftOfCall) ->
        %% Integers are less than `infinity'.
        Error = case LeftOfContext < LeftOfCall of
                    true -> Full;
                    false -> {error, timeout}
                end,
        cancel(Ref, WaiterId, Error, Call)
    end.

-spec retry(reference(), non_neg_integer(), #call{}) ->
    {py_nif:seq(), timeout()} | {error, term()}.
retry(Ref, WaiterId, #call{ctx = Ctx, request = Request, deadline = Deadline} = Call) ->
    case py_nif:submit_as_waiter(Ctx, Request) of
        Seq when is_integer(Seq) -> {Seq, py_deadline:left(Deadline)};
        {error, {overloaded, #{queue := _}}} = Full ->
            wait_for_capacity(Ref, WaiterId, Full, Call);
        {error, _} = Error -> Error
    end.

-spec cancel(reference(), pos_integer(), {error, term()}, #call{}) -> {error, term()}.
cancel(Ref, WaiterId, Error, #call{ctx = Ctx}) ->
    case py_nif:cancel_wait(Ctx, WaiterId) of
        true ->
            Error;
        false ->
            receive {Ref, capacity} -> ok end,
            %% The capacity is for the next waiter.
            ok = py_nif:wake_next_waiter(Ctx),
            Error
    end.
