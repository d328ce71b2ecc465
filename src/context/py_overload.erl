%% Waiting for room in the queue of a context that has the option `overload => {wait, Ms}'.
%%
%% Runs in the calling process, after its request was refused. It waits for one message that says
%% that there may be room, so no scheduler and no timer is kept busy; its place is kept while it
%% tries. When the time is up the place is given up: either that succeeds and the message never
%% comes, or it is here or on its way and is received.
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

%% Submits the request once there is room: its number, and what is left of the call's timeout. `Full'
%% is the refusal, which stands when the context's option is to refuse or its time is up.
-spec submit(pid(), py_nif:request(), Full :: {error, term()}, timeout()) ->
    {py_nif:seq(), timeout()} | {error, term()}.
submit(Ctx, Request, Full, Timeout) ->
    Began = erlang:monotonic_time(millisecond),
    %% Made here, so that the compiler sees that a long message queue need not be searched for it.
    enter(make_ref(), 0, Full, #call{ctx = Ctx, request = Request, began = Began,
                                     deadline = py_deadline:from_timeout(Timeout)}).

-spec enter(reference(), non_neg_integer(), {error, term()}, #call{}) ->
    {py_nif:seq(), timeout()} | {error, term()}.
enter(Room, Ticket, Full, #call{ctx = Ctx, until = Until, began = Began} = Call) ->
    case py_nif:await_room(Ctx, Room, Ticket) of
        refuse ->
            Full;
        room ->
            again(Room, Ticket, Call);
        {wait, NewTicket, Ms} ->
            case left(Call) of
                0 -> give_up(Room, NewTicket, {error, timeout}, Call);
                Left -> wait(Room, NewTicket, Full, Call#call{until = last(Until, Began, Ms)}, Left)
            end
    end.

-spec wait(reference(), pos_integer(), {error, term()}, #call{}, timeout()) ->
    {py_nif:seq(), timeout()} | {error, term()}.
wait(Room, Ticket, Full, #call{until = Until} = Call, Left) ->
    Patience = max(0, Until - erlang:monotonic_time(millisecond)),
    receive
        {Room, room} -> again(Room, Ticket, Call)
    after min(Patience, Left) ->
        %% Integers are less than `infinity'.
        Error = case Patience < Left of
                    true -> Full;
                    false -> {error, timeout}
                end,
        give_up(Room, Ticket, Error, Call)
    end.

-spec again(reference(), non_neg_integer(), #call{}) ->
    {py_nif:seq(), timeout()} | {error, term()}.
again(Room, Ticket, #call{ctx = Ctx, request = Request} = Call) ->
    case py_nif:submit_admitted(Ctx, Request) of
        Seq when is_integer(Seq) -> {Seq, left(Call)};
        {error, {overloaded, #{queue := _}}} = Full -> enter(Room, Ticket, Full, Call);
        {error, _} = Error -> Error
    end.

-spec give_up(reference(), pos_integer(), {error, term()}, #call{}) -> {error, term()}.
give_up(Room, Ticket, Error, #call{ctx = Ctx}) ->
    case py_nif:give_up_room(Ctx, Ticket) of
        true ->
            Error;
        false ->
            receive {Room, room} -> ok end,
            %% The room is somebody else's.
            ok = py_nif:pass_room_on(Ctx),
            Error
    end.

-spec last(undefined | integer(), integer(), non_neg_integer()) -> integer().
last(undefined, Began, Ms) -> Began + Ms;
last(Until, _Began, _Ms) -> Until.

-spec left(#call{}) -> timeout().
left(#call{deadline = Deadline}) -> py_deadline:left(Deadline).
