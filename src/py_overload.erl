%% Waiting for room in the queue of a context that has the option `overload => {wait, Ms}'.
%%
%% Runs in the calling process, after its request was refused. It waits for one message that says
%% that there may be room, so no scheduler and no timer is kept busy; its place is kept while it
%% tries. When the time is up the place is given up: either that succeeds and the message never
%% comes, or it is here or on its way and is received.
-module(py_overload).

-export([submit/4]).

%% Submits the request once there is room: its number, and what is left of the call's timeout. `Full'
%% is the refusal, which stands when the context's option is to refuse or its time is up.
-spec submit(pid(), py_nif:request(), Full :: {error, term()}, timeout()) ->
    {py_nif:seq(), timeout()} | {error, term()}.
submit(Ctx, Request, Full, Timeout) ->
    Now = erlang:monotonic_time(millisecond),
    enter(Ctx, Request, Full, 0, undefined, Now, Timeout).

%% `Until' is when the context's time for waiting is up, once that is known.
-spec enter(pid(), py_nif:request(), {error, term()}, non_neg_integer(), undefined | integer(),
            integer(), timeout()) -> {py_nif:seq(), timeout()} | {error, term()}.
enter(Ctx, Request, Full, Ticket, Until, Began, Timeout) ->
    Ref = element(2, Request),
    case py_nif:await_room(Ctx, Ref, Ticket) of
        refuse ->
            Full;
        room ->
            again(Ctx, Request, Ticket, Until, Began, Timeout);
        {wait, NewTicket, Ms} ->
            Last = last(Until, Began, Ms),
            case left(Timeout, Began) of
                0 -> give_up(Ctx, Ref, NewTicket, {error, timeout});
                Left -> wait(Ctx, Request, Full, NewTicket, Last, Began, Timeout, Left)
            end
    end.

-spec wait(pid(), py_nif:request(), {error, term()}, pos_integer(), integer(), integer(), timeout(),
           timeout()) -> {py_nif:seq(), timeout()} | {error, term()}.
wait(Ctx, Request, Full, Ticket, Until, Began, Timeout, Left) ->
    Ref = element(2, Request),
    Patience = max(0, Until - erlang:monotonic_time(millisecond)),
    receive
        {Ref, room} -> again(Ctx, Request, Ticket, Until, Began, Timeout)
    after min(Patience, Left) ->
        %% Integers are less than `infinity'.
        give_up(Ctx, Ref, Ticket, case Patience < Left of
                                      true -> Full;
                                      false -> {error, timeout}
                                  end)
    end.

-spec again(pid(), py_nif:request(), non_neg_integer(), undefined | integer(), integer(),
            timeout()) -> {py_nif:seq(), timeout()} | {error, term()}.
again(Ctx, Request, Ticket, Until, Began, Timeout) ->
    case py_nif:submit_admitted(Ctx, Request) of
        Seq when is_integer(Seq) ->
            {Seq, left(Timeout, Began)};
        {error, {overloaded, #{queue := _}}} = Full ->
            enter(Ctx, Request, Full, Ticket, Until, Began, Timeout);
        {error, _} = Error ->
            Error
    end.

-spec give_up(pid(), reference(), pos_integer(), {error, term()}) -> {error, term()}.
give_up(Ctx, Ref, Ticket, Error) ->
    case py_nif:give_up_room(Ctx, Ticket) of
        true ->
            Error;
        false ->
            receive {Ref, room} -> ok end,
            %% The room is somebody else's.
            ok = py_nif:pass_room_on(Ctx),
            Error
    end.

-spec last(undefined | integer(), integer(), non_neg_integer()) -> integer().
last(undefined, Began, Ms) -> Began + Ms;
last(Until, _Began, _Ms) -> Until.

-spec left(timeout(), integer()) -> timeout().
left(infinity, _Began) -> infinity;
left(Timeout, Began) -> max(0, Timeout - (erlang:monotonic_time(millisecond) - Began)).
