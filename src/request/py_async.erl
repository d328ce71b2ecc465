%% @private Calls that nobody waits for while they are made: results by message, none at all, or
%% many at once.
%%
%% They go the way of every other call, from the caller to the context's thread. Only while a
%% call's pool has no living context does a process wait for one in the caller's place. The
%% process of this module keeps the time limits of such calls, and logs the errors of casts;
%% results never pass through it.
-module(py_async).

-behaviour(gen_server).

-export([spawn_call/2, await/2, cast/2, parallel/2]).
-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% How often a call that has a limit is checked, in ms: at first, and at most, less and less often.
-define(FIRST_CHECK_INTERVAL, 1_000).
-define(MAX_CHECK_INTERVAL, 10_000).

-type limit() :: timeout().
%% How long the call may take. The limit holds although no process waits.
-type submitted() :: {waiting, pid(), py_nif:seq()} | {error, term()}.
-type result() :: {ok, term()} | {error, term()}.
-type owner() :: {spawn_call, pid()} | {cast, pid(), iodata()}.

%% ------------------------------------------------------------------ results by message

%% Submits a request. `{py_result, Ref, Result}' comes in any case.
-spec spawn_call(py_request:request(), limit()) -> Ref :: reference().
spawn_call(Request, Limit) ->
    case py_dispatch:submit(Request, fun py_submit:submit_async/2) of
        {error, Reason} = Error ->
            case waits(Reason, Request) of
                true ->
                    spawn_waiting(Request, Limit);
                false ->
                    Ref = make_ref(),
                    self() ! {py_result, Ref, Error},
                    Ref
            end;
        RequestId ->
            ok = limit(RequestId, {spawn_call, self()}, Limit),
            RequestId
    end.

%% Whether a replacement of the dead context may serve soon.
-spec waits(term(), py_request:request()) -> boolean().
waits(Reason, Request) ->
    Reason =:= {context_died, noproc} andalso py_dispatch:wait_for_context(Request) =/= 0.

%% The reference stands for a process that waits for a context, makes the call, and passes its
%% result on.
-spec spawn_waiting(py_request:request(), limit()) -> reference().
spawn_waiting(Request, Limit) ->
    Caller = self(),
    Own = py_request:on_behalf(Caller, Request),
    Pid = spawn(fun() -> proxy(Caller, Own, py_deadline:from_timeout(Limit)) end),
    Ref = py_nif:process_ref(Pid),
    Pid ! {proxy, Ref},
    Ref.

%% Runs in that process. To the call, its death is the caller's death.
-spec proxy(pid(), py_request:request(), py_deadline:deadline()) -> ok.
proxy(Caller, Request, Deadline) ->
    Monitor = monitor(process, Caller),
    receive
        {proxy, Ref} -> wait_and_call(Caller, Monitor, Ref, Request, Deadline);
        {'DOWN', Monitor, process, Caller, _} -> ok
    end.

-spec wait_and_call(pid(), reference(), reference(), py_request:request(),
                    py_deadline:deadline()) ->
    ok.
wait_and_call(Caller, Monitor, Ref, Request, Deadline) ->
    case py_dispatch:submit_waiting(Request, fun py_submit:submit_async/2) of
        {error, _} = Error ->
            Caller ! {py_result, Ref, Error},
            ok;
        RequestId ->
            ok = limit(RequestId, {spawn_call, self()}, py_deadline:left(Deadline)),
            receive
                {py_result, RequestId, Result} ->
                    Caller ! {py_result, Ref, Result},
                    ok;
                {'DOWN', Monitor, process, Caller, _} ->
                    ok
            end
    end.

%% Waits for the result. When the time is up the call is cancelled, and no message comes later.
-spec await(reference(), timeout()) -> {ok, term()} | {error, term()}.
await(Ref, Timeout) ->
    receive
        {py_result, Ref, Result} -> Result
    after Timeout ->
        cancel_or_result(Ref)
    end.

-spec cancel_or_result(reference()) -> {ok, term()} | {error, term()}.
cancel_or_result(Ref) ->
    case cancel(Ref) of
        true ->
            {error, timeout};
        sending ->
            receive
                {py_result, Ref, Result} -> Result
            after 1 ->
                cancel_or_result(Ref)
            end;
        sent ->
            late_result(Ref)
    end.

%% It has come by now, or somebody has had it before; or the call's own limit has ended it at the
%% same time, and the process that keeps limits is just sending that.
-spec late_result(reference()) -> {ok, term()} | {error, term()}.
late_result(Ref) ->
    receive
        {py_result, Ref, Result} -> Result
    after 0 ->
        ok = sync_limits(),
        receive
            {py_result, Ref, Result} -> Result
        after 0 ->
            {error, timeout}
        end
    end.

%% The results of the calls that the process has cancelled before this have been sent when it
%% answers.
-spec sync_limits() -> ok.
sync_limits() ->
    try
        gen_server:call(?MODULE, sync_limits, infinity)
    catch
        %% The process is gone, and sends nothing any more.
        exit:_ -> ok
    end.

-spec cancel(reference()) -> true | sending | sent.
cancel(Ref) ->
    try
        py_nif:cancel_request(Ref)
    catch
        error:badarg -> cancel_waiting(Ref)
    end.

%% When the process that waits in the caller's place is gone, no message of it is on its way. The
%% reference of a call that no context accepted is an ordinary one.
-spec cancel_waiting(reference()) -> sent.
cancel_waiting(Ref) ->
    try py_nif:process_of_ref(Ref) of
        Pid ->
            Monitor = monitor(process, Pid),
            true = exit(Pid, kill),
            receive {'DOWN', Monitor, process, Pid, _} -> sent end
    catch
        error:badarg -> sent
    end.

%% ------------------------------------------------------------------ no results

%% Submits a request without waiting for its result. A later error is logged.
-spec cast(py_request:request(), limit()) -> ok | {error, term()}.
cast(Request, Limit) ->
    Caller = self(),
    case cast(Request, Limit, Caller) of
        {error, Reason} = Error ->
            case waits(Reason, Request) of
                true ->
                    Own = py_request:on_behalf(Caller, Request),
                    _ = spawn(fun() -> wait_and_cast(Own, Limit, Caller) end),
                    ok;
                false ->
                    Error
            end;
        ok ->
            ok
    end.

%% Runs in a process that waits for a context and makes the call in the caller's place.
-spec wait_and_cast(py_request:request(), limit(), pid()) -> ok.
wait_and_cast(Request, Limit, Caller) ->
    Deadline = py_deadline:from_timeout(Limit),
    _ = py_request:survives_caller(Request) orelse py_erpc:die_with(Caller),
    case py_dispatch:submit_waiting(Request, fun py_submit:submit_async/2) of
        {error, Reason} ->
            report(Caller, py_request:describe(Request), Reason);
        RequestId ->
            case await(RequestId, py_deadline:left(Deadline)) of
                {error, Reason} -> report(Caller, py_request:describe(Request), Reason);
                {ok, _} -> ok
            end
    end.

-spec cast(py_request:request(), limit(), pid()) -> ok | {error, term()}.
cast(Request, Limit, Caller) ->
    Deadline = py_deadline:from_timeout(Limit),
    %% By name: this module's process may be down now, and be another one when there is an
    %% error to report.
    Cast = fun(Ctx, Sent) -> py_submit:submit_cast(Ctx, Sent, ?MODULE) end,
    case py_dispatch:submit(Request, Cast) of
        {error, _} = Error ->
            Error;
        RequestId ->
            Owner = {cast, Caller, py_request:describe(Request)},
            limit(RequestId, Owner, py_deadline:left(Deadline))
    end.

%% ------------------------------------------------------------------ many at once

%% Runs requests side by side, spread over the contexts of their pools; the results in order.
%% Coroutines are side by side in one context, too.
%%
%% All answers have one reference, so that the compiler sees that a long message queue need not be
%% searched for them.
-spec parallel([py_request:request()], timeout()) -> [result()].
parallel(Requests, Timeout) ->
    Deadline = py_deadline:from_timeout(Timeout),
    Ref = make_ref(),
    Numbered = lists:zip(lists:seq(1, length(Requests)), Requests),
    Submitted = [{N, submit_spread(Request, Ref, N, Deadline)} || {N, Request} <- Numbered],
    in_order(collect(Ref, Submitted, Deadline)).

-spec in_order(#{pos_integer() => Value}) -> [Value].
in_order(Results) ->
    [maps:get(N, Results) || N <- lists:seq(1, map_size(Results))].

%% A request that waits for a context does so in the time that is left for all.
-spec submit_spread(py_request:request(), reference(), pos_integer(), py_deadline:deadline()) ->
    submitted().
submit_spread(Request, Ref, N, Deadline) ->
    InTime = py_request:with_timeout(Request, py_deadline:left(Deadline)),
    py_dispatch:submit_spread(InTime, N, fun(Ctx, Sent) -> submit(Ctx, Sent, {Ref, N}) end).

-spec submit(pid(), py_request:request(), py_nif:key()) -> submitted().
submit(Ctx, Request, Key) ->
    case py_submit:submit(Ctx, Request, Key) of
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
        %% A result that can't be cancelled any more is here or on its way.
        Sent = maps:filter(fun(_N, {Ctx, Seq}) -> not py_nif:cancel(Ctx, Seq) end, Waiting),
        Late = maps:map(fun(_N, _) -> {error, timeout} end, maps:without(maps:keys(Sent), Waiting)),
        collect(Ref, Sent, maps:merge(Results, Late), infinity)
    end.

%% ------------------------------------------------------------------ the process

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec limit(reference(), owner(), limit()) -> ok.
limit(_RequestId, _Owner, infinity) ->
    ok;
limit(RequestId, Owner, Limit) ->
    recheck(RequestId, Owner, py_deadline:from_timeout(Limit), ?FIRST_CHECK_INTERVAL).

%% Most calls are over long before their limit is, and the timer keeps a call's request id alive.
%% So whether the call is over is checked now and then.
-spec recheck(reference(), owner(), integer(), pos_integer()) -> ok.
recheck(RequestId, Owner, Deadline, Wait) ->
    In = min(Wait, py_deadline:left(Deadline)),
    _ = erlang:send_after(In, ?MODULE, {limit, RequestId, Owner, Deadline, Wait}),
    ok.

-spec init([]) -> {ok, undefined}.
init([]) ->
    {ok, undefined}.

-spec handle_call(term(), gen_server:from(), undefined) ->
    {reply, ok, undefined} | {noreply, undefined}.
handle_call(sync_limits, _From, State) ->
    {reply, ok, State};
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), undefined) -> {noreply, undefined}.
handle_info({limit, RequestId, Owner, Deadline, Wait}, State) ->
    _ = case py_deadline:left(Deadline) of
            0 -> cancel(RequestId) =:= true andalso timed_out(RequestId, Owner);
            _ -> py_nif:request_is_settled(RequestId) orelse
                recheck(RequestId, Owner, Deadline, min(Wait * 2, ?MAX_CHECK_INTERVAL))
        end,
    {noreply, State};
handle_info({py_cast, Caller, Request, {error, Reason}}, State) ->
    ok = report(Caller, py_request:describe_native(Request), Reason),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

-spec timed_out(reference(), owner()) -> ok.
timed_out(RequestId, {spawn_call, Caller}) ->
    Caller ! {py_result, RequestId, {error, timeout}},
    ok;
timed_out(_RequestId, {cast, Caller, What}) ->
    report(Caller, What, timeout).

-spec report(pid(), iodata(), term()) -> ok.
report(Caller, What, Reason) ->
    logger:error(#{event => {py, cast_failed}, caller => Caller, call => What, reason => Reason},
                 #{report_cb => fun py_error:report/1}).
