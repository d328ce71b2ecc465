%% @private Hands requests to contexts of this node, and waits for their results.
%%
%% Runs in the calling process, which gives the request straight to the context's thread and gets
%% the result from it as a message: no process stands in between. A call that may be dispatched
%% directly is run by the native side before it returns, on this scheduler. It never decides which
%% context a request goes to.
-module(py_submit).

-export([run/2, call/6, submit/3, submit_async/2, submit_cast/3]).

%% How often a caller polls for its reply before it waits: for some µs.
-define(MAX_POLLS, 100).
%% How long a service may take to pass output on, in ms. It never blocks, so this is for a VM in
%% trouble.
-define(FLUSH_TIMEOUT, 5_000).

%% Submits a request and waits for its result. The reference is made here, so that the compiler
%% sees that a long message queue need not be searched for it.
-spec run(pid(), py_request:request()) -> term().
run(Ctx, Request) ->
    Ref = make_ref(),
    Native = py_request:native(Request, Ref),
    Timeout = py_request:timeout(Request),
    submitted(py_nif:submit_sync(Ctx, Native, Timeout), Ref, Ctx, Native, Timeout).

%% The same for a call with neither keyword arguments nor options.
-spec call(pid(), atom() | binary(), atom() | binary(), py_context:args(), py_nif:env(),
           timeout()) -> term().
call(Ctx, Module, Func, Args, Env, Timeout) ->
    Ref = make_ref(),
    Native = py_request:native_call(Ref, Module, Func, Args, Env),
    submitted(py_nif:submit_sync(Ctx, Native, Timeout), Ref, Ctx, Native, Timeout).

%% Without waiting. The result comes as the message `{Key, Result}'.
-spec submit(pid(), py_request:request(), py_nif:key()) -> py_nif:seq() | {error, term()}.
submit(Ctx, Request, Key) ->
    py_nif:submit(Ctx, py_request:native(Request, Key)).

%% The result comes as the message `{py_result, RequestId, Result}'.
-spec submit_async(pid(), py_request:request()) -> RequestId :: reference() | {error, term()}.
submit_async(Ctx, Request) ->
    py_nif:submit_async(Ctx, py_request:native(Request, make_ref())).

%% The result goes nowhere, an error to the process that is registered as `Reports'.
-spec submit_cast(pid(), py_request:request(), Reports :: atom()) ->
    RequestId :: reference() | {error, term()}.
submit_cast(Ctx, Request, Reports) ->
    py_nif:submit_cast(Ctx, py_request:native(Request, make_ref()), Reports).

-spec submitted(py_nif:submitted(), reference(), pid(), py_nif:request(), timeout()) -> term().
submitted({ok, _} = Done, _Ref, _Ctx, _Native, _Timeout) ->
    Done;
submitted({spin, Seq}, Ref, Ctx, _Native, Timeout) ->
    poll(Ref, Ctx, Seq, Timeout, ?MAX_POLLS);
submitted(Seq, Ref, Ctx, _Native, Timeout) when is_integer(Seq) ->
    await(Ref, Ctx, Seq, Timeout);
submitted({done, Result}, _Ref, _Ctx, _Native, _Timeout) ->
    Result;
submitted({flush, Result}, _Ref, _Ctx, _Native, _Timeout) ->
    flush(),
    Result;
submitted(Error, Ref, Ctx, Native, Timeout) ->
    wait_or_refuse(Error, Ref, Ctx, Native, Timeout).

%% What a call has printed and logged that ran on this scheduler has been sent by this process. The
%% services take messages in order, so all of it is on its way when they answer.
-spec flush() -> ok.
flush() ->
    lists:foreach(fun(Service) ->
        %% A service that is gone has lost the output too.
        try gen_server:call(Service, sync, ?FLUSH_TIMEOUT) of
            ok -> ok
        catch
            exit:_ -> ok
        end
    end, [py_output, py_log]).

%% A full queue may be waited for.
-spec wait_or_refuse({error, term()}, reference(), pid(), py_nif:request(), timeout()) -> term().
wait_or_refuse({error, {overloaded, #{queue := _}}} = Full, Ref, Ctx, Native, Timeout) ->
    case py_overload:submit(Ctx, Native, Full, Timeout) of
        {error, _} = Error -> Error;
        {Seq, Left} -> await(Ref, Ctx, Seq, Left)
    end;
wait_or_refuse(Error, _Ref, _Ctx, _Native, _Timeout) ->
    Error.

%% Polls for a reply that may come soon before it waits: a scheduler that has nothing else to do may
%% go to sleep at once, and waking it takes longer than most calls. Only where nobody else uses the
%% context, because a process that polls keeps others from its scheduler.
-spec poll(reference(), pid(), py_nif:seq(), timeout(), non_neg_integer()) -> term().
poll(Ref, Ctx, Seq, Timeout, Polls) when Polls =:= 0; Timeout =:= 0 ->
    await(Ref, Ctx, Seq, Timeout);
poll(Ref, Ctx, Seq, Timeout, Polls) ->
    receive {Ref, Result} -> complete(Result)
    after 0 -> poll(Ref, Ctx, Seq, Timeout, Polls - 1)
    end.

%% When the time is up the request is cancelled. Either that succeeds, and no reply will ever come;
%% or the reply was faster, and is here or on its way.
-spec await(reference(), pid(), py_nif:seq(), timeout()) -> term().
await(Ref, Ctx, Seq, Timeout) ->
    receive
        {Ref, Result} -> complete(Result)
    after Timeout ->
        case py_nif:cancel(Ctx, Seq) of
            true -> {error, timeout};
            false -> receive {Ref, Result} -> complete(Result) end
        end
    end.

%% Before OTP 27.3 a large map can't be made at once on the context's thread, and key by key that
%% takes four times as long as here.
-spec complete(term()) -> term().
complete({ok, _} = Result) -> Result;
complete({pairs, Pairs}) ->
    Map = maps:from_list(Pairs),
    case map_size(Map) =:= length(Pairs) of
        true -> {ok, Map};
        %% Its keys were distinct when the conversion began.
        false -> {error, {unconvertible, <<"result">>,
                          <<"dict that changed while it was converted">>}}
    end;
complete(Result) ->
    Result.
