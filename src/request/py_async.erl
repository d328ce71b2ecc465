%% Calls that nobody waits for while they are made: results by message, none at all, or many at once.
%%
%% They go the way of every other call; no process stands in between, unless a call's pool has no living
%% context just now: then one waits for that in the caller's place. The one process here keeps the time
%% limits of such calls, and logs what went wrong in casts, whose callers don't want to know.
-module(py_async).

-behaviour(gen_server).

-export([spawn_call/2, await/2, cast/2, parallel/2]).
-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% How long a context may take to cancel coroutines whose time is up, in ms.
-define(LATE, 1_500).
%% When a call that has a limit is looked after, in ms: for the first time, then less and less often.
-define(FIRST_LOOK, 1_000).
-define(LAST_LOOK, 10_000).

-type limit() :: timeout().
%% How long the call may take, kept although nobody waits.
-type submitted() :: {waiting, pid(), py_nif:seq()} | {error, term()}.
-type result() :: {ok, term()} | {error, term()} | {parked, reference()}.
-type whose() :: {spawn_call, pid()} | {cast, pid(), iodata()}.

%% ------------------------------------------------------------------ results by message

%% Hands a request over. `{py_result, Ref, Result}' comes in any case.
-spec spawn_call(py_call:request(), limit()) -> Ref :: reference().
spawn_call(Request, Limit) ->
    case py_call:submit(Request, fun py_nif:submit_message/2) of
        {error, Reason} = Error ->
            case waits(Reason, Request) of
                true ->
                    spawn_waiting(Request, Limit);
                false ->
                    Ref = make_ref(),
                    self() ! {py_result, Ref, Error},
                    Ref
            end;
        Ticket ->
            ok = limit(Ticket, {spawn_call, self()}, Limit),
            Ticket
    end.

%% Whether a context that can have it may be back soon.
-spec waits(term(), py_call:request()) -> boolean().
waits(Reason, Request) ->
    Reason =:= {context_died, noproc} andalso py_call:patience(Request) =/= 0.

%% The reference stands for a process that waits for a context, makes the call, and passes its result
%% on.
-spec spawn_waiting(py_call:request(), limit()) -> reference().
spawn_waiting(Request, Limit) ->
    Caller = self(),
    Own = py_call:on_behalf(Caller, Request),
    Pid = spawn(fun() -> stand_for(Caller, Own, py_deadline:from_timeout(Limit)) end),
    Ref = py_nif:tag(Pid),
    Pid ! {stand_for, Ref},
    Ref.

%% Runs in that process. Its death is the caller's to the call.
-spec stand_for(pid(), py_call:request(), py_deadline:deadline()) -> ok.
stand_for(Caller, Request, Deadline) ->
    Monitor = monitor(process, Caller),
    receive
        {stand_for, Ref} -> wait_and_call(Caller, Monitor, Ref, Request, Deadline);
        {'DOWN', Monitor, process, Caller, _} -> ok
    end.

-spec wait_and_call(pid(), reference(), reference(), py_call:request(), py_deadline:deadline()) -> ok.
wait_and_call(Caller, Monitor, Ref, Request, Deadline) ->
    case py_call:submit_patiently(Request, fun py_nif:submit_message/2) of
        {error, _} = Error ->
            Caller ! {py_result, Ref, Error},
            ok;
        Ticket ->
            ok = limit(Ticket, {spawn_call, self()}, py_deadline:left(Deadline)),
            receive
                {py_result, Ticket, Result} ->
                    Caller ! {py_result, Ref, Result},
                    ok;
                {'DOWN', Monitor, process, Caller, _} ->
                    ok
            end
    end.

%% Waits for the result. When the time is up the call is given up, and no message comes later.
-spec await(reference(), timeout()) -> {ok, term()} | {error, term()}.
await(Ref, Timeout) ->
    receive
        {py_result, Ref, Result} -> Result
    after Timeout ->
        given_up(Ref)
    end.

-spec given_up(reference()) -> {ok, term()} | {error, term()}.
given_up(Ref) ->
    case give_up(Ref) of
        true ->
            {error, timeout};
        sending ->
            receive
                {py_result, Ref, Result} -> Result
            after 1 ->
                given_up(Ref)
            end;
        sent ->
            sent(Ref)
    end.

%% It has come by now, or somebody has had it before; or the call's own limit has struck at the same
%% time, and the process that keeps limits is just sending that.
-spec sent(reference()) -> {ok, term()} | {error, term()}.
sent(Ref) ->
    receive
        {py_result, Ref, Result} -> Result
    after 0 ->
        ok = limits_are_told(),
        receive
            {py_result, Ref, Result} -> Result
        after 0 ->
            {error, timeout}
        end
    end.

%% What the process has given up before this has been sent when it answers.
-spec limits_are_told() -> ok.
limits_are_told() ->
    try
        gen_server:call(?MODULE, limits_are_told, infinity)
    catch
        %% It is gone, and sends nothing any more.
        exit:_ -> ok
    end.

-spec give_up(reference()) -> true | sending | sent.
give_up(Ref) ->
    try
        py_nif:give_up(Ref)
    catch
        error:badarg -> give_up_waiting(Ref)
    end.

%% When the process that waits in the caller's place is gone, it has sent what it will ever send. A
%% reference of a call that was never taken in is an ordinary one.
-spec give_up_waiting(reference()) -> sent.
give_up_waiting(Ref) ->
    try py_nif:tagged(Ref) of
        Pid ->
            Monitor = monitor(process, Pid),
            true = exit(Pid, kill),
            receive {'DOWN', Monitor, process, Pid, _} -> sent end
    catch
        error:badarg -> sent
    end.

%% ------------------------------------------------------------------ no results

%% Hands a request over and forgets it. What goes wrong later is logged.
-spec cast(py_call:request(), limit()) -> ok | {error, term()}.
cast(Request, Limit) ->
    Caller = self(),
    case cast(Request, Limit, Caller) of
        {error, Reason} = Error ->
            case waits(Reason, Request) of
                true ->
                    Own = py_call:on_behalf(Caller, Request),
                    _ = spawn(fun() -> wait_and_cast(Own, Limit, Caller) end),
                    ok;
                false ->
                    Error
            end;
        ok ->
            ok
    end.

%% Runs in a process that waits for a context, and then for the end of the call, which takes it for the
%% caller.
-spec wait_and_cast(py_call:request(), limit(), pid()) -> ok.
wait_and_cast(Request, Limit, Caller) ->
    Deadline = py_deadline:from_timeout(Limit),
    _ = py_call:outlives(Request) orelse py_erpc:die_with(Caller),
    case py_call:submit_patiently(Request, fun py_nif:submit_message/2) of
        {error, Reason} ->
            report(Caller, py_call:describe(Request), Reason);
        Ticket ->
            case await(Ticket, py_deadline:left(Deadline)) of
                {error, Reason} -> report(Caller, py_call:describe(Request), Reason);
                {ok, _} -> ok
            end
    end.

-spec cast(py_call:request(), limit(), pid()) -> ok | {error, term()}.
cast(Request, Limit, Caller) ->
    Deadline = py_deadline:from_timeout(Limit),
    %% By name: it may be down just now, and another process by the time that there is something to report.
    Cast = fun(Ctx, Native) -> py_nif:submit_cast(Ctx, Native, ?MODULE) end,
    case py_call:submit(Request, Cast) of
        {error, _} = Error ->
            Error;
        Ticket ->
            limit(Ticket, {cast, Caller, py_call:describe(Request)}, py_deadline:left(Deadline))
    end.

%% ------------------------------------------------------------------ many at once

%% Runs requests side by side, spread over the contexts of their pools; the results in order.
%%
%% All answers have one reference, so that the compiler sees that a long message queue need not be
%% searched for them.
-spec parallel([py_call:request()], timeout()) -> [{ok, term()} | {error, term()}].
parallel(Requests, Timeout) ->
    Deadline = py_deadline:from_timeout(Timeout),
    Ref = make_ref(),
    Submitted = [{N, submit_parking(Request, Ref, N, Deadline)} || {N, Request} <- numbered(Requests)],
    Flags = lists:foldl(fun(Request, Sum) -> py_call:flags(Request) bor Sum end, 0, Requests),
    gathered(in_order(collect(Ref, Submitted, Deadline)), Flags, Deadline).

-spec numbered([Value]) -> [{pos_integer(), Value}].
numbered(Values) ->
    lists:zip(lists:seq(1, length(Values)), Values).

-spec in_order(#{pos_integer() => Value}) -> [Value].
in_order(Results) ->
    [maps:get(N, Results) || N <- lists:seq(1, map_size(Results))].

%% What waits for a context does so in what is left of the time for all.
-spec submit_parking(py_call:request(), reference(), pos_integer(), py_deadline:deadline()) -> submitted().
submit_parking(Request, Ref, N, Deadline) ->
    InTime = py_call:in_time(py_call:parking(Request), py_deadline:left(Deadline)),
    py_call:submit_spread(InTime, N, fun(Ctx, Native) -> submit(Ctx, Native, {Ref, N}) end).

%% Coroutines have not been run yet, but wait in their contexts: in each, all run side by side.
-spec gathered([result()], py_nif:flags(), py_deadline:deadline()) ->
    [{ok, term()} | {error, term()}].
gathered(Results, Flags, Deadline) ->
    Numbered = numbered(Results),
    case [{py_context:home(Handle), {N, Handle}} || {N, {parked, Handle}} <- Numbered] of
        [] ->
            Results;
        Parked ->
            Groups = numbered(maps:to_list(groups(Parked))),
            Ref = make_ref(),
            Submitted = [{N, gather(Ctx, Coroutines, {Ref, N}, Flags, py_deadline:left(Deadline))}
                         || {N, {Ctx, Coroutines}} <- Groups],
            %% What is late is cancelled by the context itself; the time beyond is for that to be heard.
            Gathered = collect(Ref, Submitted, later(Deadline)),
            Later = maps:from_list([Each || {N, {_Ctx, Coroutines}} <- Groups,
                                            Each <- each(Coroutines, maps:get(N, Gathered))]),
            [maps:get(N, Later, Result) || {N, Result} <- Numbered]
    end.

-spec groups([{Key, Value}]) -> #{Key => [Value]}.
groups(Pairs) ->
    Add = fun({Key, Value}, Groups) ->
        maps:update_with(Key, fun(Values) -> [Value | Values] end, [Value], Groups)
    end,
    lists:foldr(Add, #{}, Pairs).

-spec gather(pid() | undefined, [{pos_integer(), reference()}], py_nif:key(), py_nif:flags(),
             timeout()) -> submitted().
gather(undefined, _Coroutines, _Key, _Flags, _Timeout) ->
    {error, {context_died, noproc}};
gather(Ctx, Coroutines, Key, Flags, Timeout) ->
    submit(Ctx, {gather, Key, Flags, [Handle || {_, Handle} <- Coroutines], Timeout}, Key).

-spec each([{pos_integer(), reference()}], result()) ->
    [{pos_integer(), {ok, term()} | {error, term()}}].
each(Coroutines, {ok, Results}) ->
    lists:zip([N || {N, _} <- Coroutines], Results);
each(Coroutines, {error, _} = Error) ->
    [{N, Error} || {N, _} <- Coroutines].

-spec later(py_deadline:deadline()) -> py_deadline:deadline().
later(infinity) -> infinity;
later(Deadline) -> Deadline + ?LATE.

-spec submit(pid(), py_nif:request(), py_nif:key()) -> submitted().
submit(Ctx, Request, Key) ->
    case py_nif:submit(Ctx, setelement(2, Request, Key)) of
        Seq when is_integer(Seq) -> {waiting, Ctx, Seq};
        {error, _} = Error -> Error
    end.

%% The results by their numbers, which come as `{{Ref, N}, Result}'.
-spec collect(reference(), [{pos_integer(), submitted()}], py_deadline:deadline()) ->
    #{pos_integer() => result()}.
collect(Ref, Submitted, Deadline) ->
    Waiting = maps:from_list([{N, {Ctx, Seq}} || {N, {waiting, Ctx, Seq}} <- Submitted]),
    Refused = maps:from_list([{N, Error} || {N, {error, _} = Error} <- Submitted]),
    collect(Ref, Waiting, Refused, Deadline).

-spec collect(reference(), #{pos_integer() => {pid(), py_nif:seq()}}, #{pos_integer() => result()},
              py_deadline:deadline()) -> #{pos_integer() => result()}.
collect(_Ref, Waiting, Results, _Deadline) when Waiting =:= #{} ->
    Results;
collect(Ref, Waiting, Results, Deadline) ->
    receive
        {{Ref, N}, Result} ->
            collect(Ref, maps:remove(N, Waiting), Results#{N => Result}, Deadline)
    after py_deadline:left(Deadline) ->
        %% What can't be given up any more is here or on its way.
        Sent = maps:filter(fun(_N, {Ctx, Seq}) -> not py_nif:cancel(Ctx, Seq) end, Waiting),
        Late = maps:map(fun(_N, _) -> {error, timeout} end, maps:without(maps:keys(Sent), Waiting)),
        collect(Ref, Sent, maps:merge(Results, Late), infinity)
    end.

%% ------------------------------------------------------------------ the process

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec limit(reference(), whose(), limit()) -> ok.
limit(_Ticket, _Whose, infinity) ->
    ok;
limit(Ticket, Whose, Limit) ->
    look_later(Ticket, Whose, py_deadline:from_timeout(Limit), ?FIRST_LOOK).

%% Most calls are over long before their limit is, and what keeps that keeps a call's ticket. So it is
%% looked after now and then.
-spec look_later(reference(), whose(), integer(), pos_integer()) -> ok.
look_later(Ticket, Whose, Deadline, Wait) ->
    In = min(Wait, py_deadline:left(Deadline)),
    _ = erlang:send_after(In, ?MODULE, {limit, Ticket, Whose, Deadline, Wait}),
    ok.

-spec init([]) -> {ok, undefined}.
init([]) ->
    {ok, undefined}.

-spec handle_call(term(), gen_server:from(), undefined) ->
    {reply, ok, undefined} | {noreply, undefined}.
handle_call(limits_are_told, _From, State) ->
    {reply, ok, State};
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), undefined) -> {noreply, undefined}.
handle_info({limit, Ticket, Whose, Deadline, Wait}, State) ->
    _ = case py_deadline:left(Deadline) of
            0 -> give_up(Ticket) =:= true andalso timed_out(Ticket, Whose);
            _ -> py_nif:is_over(Ticket) orelse look_later(Ticket, Whose, Deadline, min(Wait * 2, ?LAST_LOOK))
        end,
    {noreply, State};
handle_info({py_cast, Caller, Request, {error, Reason}}, State) ->
    ok = report(Caller, py_call:describe_native(Request), Reason),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

-spec timed_out(reference(), whose()) -> ok.
timed_out(Ticket, {spawn_call, Caller}) ->
    Caller ! {py_result, Ticket, {error, timeout}},
    ok;
timed_out(_Ticket, {cast, Caller, What}) ->
    report(Caller, What, timeout).

-spec report(pid(), iodata(), term()) -> ok.
report(Caller, What, Reason) ->
    logger:error(#{event => {py, cast_failed}, caller => Caller, call => What, reason => Reason},
                 #{report_cb => fun py_error:report/1}).
