%% Actions of users. To add one: a line in `actions/0', and its function, which answers `ok',
%% `{failed, Kind}' for an outcome that faults may bring about, or `{wrong, What}'.
%%
%% It is over 400 lines because all actions are side by side.
-module(py_chaos_users).

-export([actions/0]).

-import(py_chaos, [one_of/1]).

-type outcome() :: ok | {failed, atom()} | {wrong, term()}.

-spec actions() -> [{atom(), Weight :: pos_integer(), fun((py_chaos:world()) -> outcome())}].
actions() ->
    [{call, 10, fun(W) -> expect({ok, 4.0}, py_context:call(context(W), math, sqrt, [16])) end},
     {direct, 10, fun direct/1},
     {echo, 10, fun echo/1},
     {eval, 6, fun eval/1},
     {exec_and_raise, 3, fun raise/1},
     {hostile_value, 4, fun hostile_value/1},
     {giant_value, 1, fun giant_value/1},
     {loop_until_timeout, 3, fun loop/1},
     {nap_with_timeout, 4, fun nap/1},
     {swallow_interrupts, 1, fun swallow/1},
     {blocked_in_c, 1, fun blocked/1},
     {die_while_calling, 3, fun die/1},
     {environment, 3, fun environment/1},
     {handle, 3, fun handle/1},
     {front, 5, fun front/1},
     {spawn_and_await, 4, fun spawned/1},
     {cast, 2, fun cast/1},
     {parallel, 2, fun parallel/1},
     {coroutine, 4, fun coroutine/1},
     {coroutine_in_time, 3, fun late_coroutine/1},
     {coroutine_of_the_dead, 2, fun dead_coroutine/1},
     {stream, 2, fun stream/1},
     {stream_closed, 1, fun closed_stream/1},
     {stream_of_messages, 2, fun stream_of_messages/1},
     {stream_cancelled, 2, fun cancelled_stream/1},
     {new_names, 3, fun new_names/1},
     {callback, 3, fun callback/1},
     {nested_callback, 1, fun nested/1},
     {print, 1, fun print/1},
     {routing, 4, fun routing/1},
     {registration, 1, fun registration/1}].

%% A context of any pool. If there is none: a process that is no context, so that calls answer with
%% an error.
-spec context(py_chaos:world()) -> pid().
context(World) ->
    case py_chaos:context(World) of
        none -> self();
        Ctx -> Ctx
    end.

%% The result that the call must have, unless a fault has interfered.
-spec expect(term(), term()) -> outcome().
expect(Same, Same) -> ok;
expect(_, {error, Reason} = Error) ->
    case fault(Reason) of
        unknown -> {wrong, Error};
        Kind -> {failed, Kind}
    end;
expect(Expected, Other) -> {wrong, {Expected, Other}}.

-spec fault(term()) -> atom().
fault({context_died, _}) -> died;
fault({pool_not_started, _}) -> died;
fault({overloaded, _}) -> overloaded;
fault(interrupted) -> interrupted;
fault(timeout) -> timeout;
fault({wrong_context, _}) -> replaced;
%% The outcome of an interrupt during a call to Erlang, an import, or the handling of an interrupt.
fault({'KeyboardInterrupt', _}) -> interrupted;
fault(_) -> unknown.

-spec echo(py_chaos:world()) -> outcome().
echo(World) ->
    Value = value(3),
    expect({ok, Value}, py_context:eval(context(World), <<"x">>, #{x => Value}, 20_000)).

%% A value that is the same after a round trip.
-spec value(non_neg_integer()) -> term().
value(0) ->
    one_of([none, true, false, 0, -1, rand:uniform(), <<>>, <<"é"/utf8>>, <<255, 0>>,
            rand:uniform(1 bsl 60) * rand:uniform(1 bsl 60), self(), make_ref(),
            crypto_bytes(rand:uniform(200))]);
value(Depth) ->
    Some = fun() -> [value(Depth - 1) || _ <- lists:seq(1, rand:uniform(5) - 1)] end,
    case rand:uniform(4) of
        1 -> Some();
        2 -> list_to_tuple(Some());
        3 -> maps:from_list([{integer_to_binary(N), V} || {N, V} <- lists:enumerate(Some())]);
        4 -> value(0)
    end.

%% Bytes of the process's own random numbers.
-spec crypto_bytes(non_neg_integer()) -> binary().
crypto_bytes(N) -> rand:bytes(N).

-spec eval(py_chaos:world()) -> outcome().
eval(World) ->
    N = rand:uniform(1000),
    expect({ok, N * N}, py_context:eval(context(World), <<"sum(n for _ in range(n))">>, #{n => N})).

-spec raise(py_chaos:world()) -> outcome().
raise(World) ->
    expect({error, {'ValueError', <<"on purpose">>}},
           py_context:exec(context(World), <<"raise ValueError('on purpose')">>)).

-spec hostile_value(py_chaos:world()) -> outcome().
hostile_value(World) ->
    Ctx = context(World),
    Deep = lists:foldl(fun(_, Acc) -> [Acc] end, [], lists:seq(1, 5000)),
    {Tag, Outcome} = one_of([
        {too_deep, fun() -> py_context:call(Ctx, builtins, id, [Deep]) end},
        {unconvertible, fun() -> py_context:call(Ctx, builtins, id, [fun() -> ok end]) end},
        {unconvertible, fun() -> py_context:call(Ctx, builtins, id, [[1 | 2]]) end},
        {unconvertible, fun() -> py_context:call(Ctx, builtins, id, [<<1:3>>]) end},
        {unconvertible, fun() -> py_context:call(Ctx, <<255>>, id, [1]) end},
        {too_deep, fun() -> py_context:eval(Ctx, <<"(lambda l: l.append(l) or l)([])">>) end},
        {'ModuleNotFoundError', fun() -> py_context:call(Ctx, no_such_module, f, []) end},
        {'RecursionError',
         fun() -> py_context:eval(Ctx, <<"(lambda f: f(f))(lambda f: f(f))">>) end},
        {'SystemExit', fun() -> py_context:exec(Ctx, <<"raise SystemExit(3)">>) end}]),
    case Outcome() of
        {error, Reason} when element(1, Reason) =:= Tag -> ok;
        Other -> expect(Tag, Other)
    end.

-spec giant_value(py_chaos:world()) -> outcome().
giant_value(World) ->
    Value = one_of([binary:copy(<<"x">>, 4 bsl 20), lists:seq(1, 50_000),
                    maps:from_list([{integer_to_binary(N), N} || N <- lists:seq(1, 5000)])]),
    expect({ok, Value}, py_context:eval(context(World), <<"x">>, #{x => Value})).

-spec loop(py_chaos:world()) -> outcome().
loop(World) ->
    case py_context:exec(context(World), <<"while True: pass">>, rand:uniform(30) - 1) of
        {error, timeout} -> ok;
        Other -> expect(timeout, Other)
    end.

-spec nap(py_chaos:world()) -> outcome().
nap(World) ->
    Ms = rand:uniform(8),
    expect({ok, none},
           py_context:call(context(World), time, sleep, [Ms / 1000], #{}, rand:uniform(8))).

-spec swallow(py_chaos:world()) -> outcome().
swallow(World) ->
    Code = <<"for _ in range(3):\n"
             "  try:\n"
             "    while True: pass\n"
             "  except BaseException: pass\n"
             "while True: pass">>,
    case py_context:exec(context(World), Code, rand:uniform(20)) of
        {error, timeout} -> ok;
        Other -> expect(timeout, Other)
    end.

%% Longer than the pools' `stuck_after'.
-spec blocked(py_chaos:world()) -> outcome().
blocked(World) ->
    Ctx = context(World),
    case py_context:call(Ctx, time, sleep, [0.2 + rand:uniform()], #{}, rand:uniform(20)) of
        %% The caller's timer fired late, because the machine was busy.
        {ok, none} -> {failed, late};
        Other -> expect(timeout, Other)
    end.

-spec die(py_chaos:world()) -> outcome().
die(World) ->
    Ctx = context(World),
    Code = one_of([<<"while True: pass">>, <<"import time\ntime.sleep(0.01)">>, <<"x = 1">>]),
    {Pid, Monitor} = spawn_monitor(fun() -> py_context:exec(Ctx, Code) end),
    receive {'DOWN', Monitor, process, Pid, _} -> ok
    after rand:uniform(5) ->
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, _} -> ok end
    end.

-spec environment(py_chaos:world()) -> outcome().
environment(World) ->
    Ctx = context(World),
    N = rand:uniform(1000),
    case py_context:create_local_env(Ctx) of
        {ok, Env} ->
            case py_context:exec(Ctx, <<"x = ", (integer_to_binary(N))/binary>>, Env) of
                ok -> expect({ok, N}, py_context:eval(Ctx, <<"x">>, #{}, 20_000, Env));
                Other -> expect(ok, Other)
            end;
        Other ->
            expect(env, Other)
    end.

-spec handle(py_chaos:world()) -> outcome().
handle(World) ->
    Ctx = context(World),
    case py_context:eval(Ctx, <<"{1, 2, 3}">>) of
        {ok, Handle} -> expect({ok, 3}, py_context:call(Ctx, builtins, len, [Handle]));
        Other -> expect(handle, Other)
    end.

-spec front(py_chaos:world()) -> outcome().
front(#{pools := Pools}) ->
    expect({ok, 3}, py:call(one_of(Pools), builtins, len, [[1, 2, 3]], #{}, 5_000)).

-spec spawned(py_chaos:world()) -> outcome().
spawned(#{pools := Pools}) ->
    Refs = [{N, py:spawn_call(one_of(Pools), builtins, abs, [-N])} || N <- lists:seq(1, 5)],
    worst([expect({ok, N}, py:await(Ref, 60_000)) || {N, Ref} <- Refs]).

-spec worst([outcome()]) -> outcome().
worst(Outcomes) ->
    lists:foldl(fun(_, {wrong, _} = Wrong) -> Wrong;
                   (ok, Worst) -> Worst;
                   (Outcome, _) -> Outcome
                end, ok, Outcomes).

-spec cast(py_chaos:world()) -> outcome().
cast(World) ->
    expect(ok, py:cast(context(World), math, sqrt, [16])).

-spec parallel(py_chaos:world()) -> outcome().
parallel(_World) ->
    case py:parallel([{builtins, abs, [-N]} || N <- lists:seq(1, 10)]) of
        {ok, Results} ->
            worst([expect({ok, N}, Result) || {N, Result} <- lists:zip(lists:seq(1, 10), Results)]);
        Other ->
            expect(results, Other)
    end.

%% It waits in its context beside others.
-spec coroutine(py_chaos:world()) -> outcome().
coroutine(World) ->
    N = rand:uniform(1000),
    expect({ok, N}, py_context:eval(context(World), awaiting(<<"n">>), #{n => N}, 20_000)).

%% Its time is up before it is done, or not. It cleans up, or goes on.
-spec late_coroutine(py_chaos:world()) -> outcome().
late_coroutine(World) ->
    Code = one_of([awaiting(<<"1">>),
                   <<"import asyncio\ntry:\n  await asyncio.sleep(60)\n"
                     "finally:\n  await asyncio.sleep(0.001)">>,
                   <<"import asyncio\nfor _ in range(20):\n"
                     "  try: await asyncio.sleep(0.001)\n"
                     "  except asyncio.CancelledError: pass">>,
                   <<"import asyncio\nawait asyncio.sleep(0)\nwhile True: pass">>]),
    expect(ok, py_context:exec(context(World), Code, rand:uniform(10))).

-spec dead_coroutine(py_chaos:world()) -> outcome().
dead_coroutine(World) ->
    Ctx = context(World),
    {Pid, Monitor} = spawn_monitor(fun() -> py_context:eval(Ctx, awaiting(<<"60">>)) end),
    receive {'DOWN', Monitor, process, Pid, _} -> ok
    after rand:uniform(5) ->
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, _} -> ok end
    end.

%% An expression that waits for up to 5 ms, or for 60 s, and then has this value.
-spec awaiting(binary()) -> binary().
awaiting(<<"60">>) -> <<"await __import__('asyncio').sleep(60)">>;
awaiting(Value) ->
    Seconds = float_to_binary(rand:uniform(5) / 1000, [{decimals, 3}]),
    <<"await __import__('asyncio').sleep(", Seconds/binary, ", ", Value/binary, ")">>.

-spec stream(py_chaos:world()) -> outcome().
stream(#{pools := Pools}) ->
    expect({ok, lists:seq(0, 49)}, py:stream(one_of(Pools), builtins, range, [50])).

-spec closed_stream(py_chaos:world()) -> outcome().
closed_stream(#{pools := Pools}) ->
    case py:stream_open(one_of(Pools), itertools, count, []) of
        {ok, Stream} ->
            _ = py:stream_next(Stream, 20_000),
            expect(ok, py:stream_close(Stream));
        Other ->
            expect(stream, Other)
    end.

%% Often of more items than the read-ahead, so that the generator waits for its consumer.
-spec stream_of_messages(py_chaos:world()) -> outcome().
stream_of_messages(World) ->
    Most = rand:uniform(200),
    case started_stream(Most, World) of
        {ok, Stream} -> ended_stream(taken(Stream, 0, Most), Stream);
        Other -> expect(stream, Other)
    end.

%% Messages after the end are found with the late messages.
-spec ended_stream(outcome(), reference()) -> outcome().
ended_stream(ok, Stream) -> expect(done, message(Stream));
ended_stream(Outcome, _Stream) -> Outcome.

%% In the middle of the stream, or near its end.
-spec cancelled_stream(py_chaos:world()) -> outcome().
cancelled_stream(World) ->
    Taken = rand:uniform(50),
    case started_stream(one_of([50, 1 bsl 30]), World) of
        {ok, Stream} ->
            Outcome = taken(Stream, 0, Taken),
            ok = py:stream_cancel(Stream),
            receive {py_stream, Stream, Late} -> {wrong, {after_cancel, Late}}
            after 0 -> Outcome
            end;
        Other ->
            expect(stream, Other)
    end.

-spec started_stream(pos_integer(), py_chaos:world()) -> {ok, reference()} | {error, term()}.
started_stream(Most, #{pools := Pools}) ->
    Options = #{read_ahead => rand:uniform(50)},
    py:stream_start(one_of(Pools), builtins, range, [Most], #{}, Options).

%% Takes the items up to `Most', which must be the numbers in order.
-spec taken(reference(), non_neg_integer(), non_neg_integer()) -> outcome().
taken(_Stream, Most, Most) ->
    ok;
taken(Stream, N, Most) ->
    case message(Stream) of
        {data, N} -> taken(Stream, N + 1, Most);
        Other -> expect({data, N}, Other)
    end.

-spec message(reference()) -> term().
message(Stream) ->
    receive {py_stream, Stream, Message} -> Message
    after 60_000 -> nothing
    end.

%% Names that would fill the atom table if they became atoms.
-spec new_names(py_chaos:world()) -> outcome().
new_names(World) ->
    Ctx = context(World),
    Name = <<"n", (integer_to_binary(rand:uniform(1 bsl 58)))/binary>>,
    default = py_context_router:lookup_pool(Name, Name),
    worst([
        expect({ok, #{Name => 1}},
               py_context:eval(Ctx, <<"{'", Name/binary, "': ", Name/binary, "}">>, #{Name => 1})),
        expect({error, {Name, <<>>}},
               py_context:exec(Ctx, <<"raise type('", Name/binary, "', (Exception,), {})">>)),
        failed_with('ModuleNotFoundError', py_context:call(Ctx, Name, Name, [])),
        failed_with('AttributeError', py_context:call(Ctx, builtins, Name, [])),
        failed_with('TypeError', py_context:call(Ctx, builtins, len, [], #{Name => 1})),
        failed_with('NameError',
                    py_context:eval(Ctx, <<"__import__('erlang').call('", Name/binary, "')">>))]).

-spec failed_with(atom(), term()) -> outcome().
failed_with(Type, {error, {Type, _}}) -> ok;
failed_with(Type, Other) -> expect(Type, Other).

-spec callback(py_chaos:world()) -> outcome().
callback(World) ->
    N = rand:uniform(100),
    expect({ok, N + 1},
           py_context:eval(context(World), <<"__import__('erlang').call('chaos_add', n)">>,
                           #{n => N})).

-spec nested(py_chaos:world()) -> outcome().
nested(World) ->
    Depth = rand:uniform(6),
    Ctx = context(World),
    Code = <<"__import__('erlang').call('chaos_nest', ctx, n)">>,
    case py_context:eval(Ctx, Code, #{ctx => Ctx, n => Depth}, 20_000) of
        {ok, Depth} -> ok;
        %% A fault in the nested call is an exception here.
        {ok, <<"lost">>} -> {failed, died};
        {ok, Other} -> {wrong, {nested, Other}};
        {error, {<<"erlang.Error">>, _}} -> {failed, died};
        {error, {'RecursionError', _}} -> {failed, too_deep};
        Other -> expect(Depth, Other)
    end.

-spec print(py_chaos:world()) -> outcome().
print(#{sink := Sink} = World) ->
    Ctx = context(World),
    Leader = group_leader(),
    true = group_leader(Sink, self()),
    Outcome = py_context:exec(Ctx, <<"print('x' * 100)">>),
    true = group_leader(Leader, self()),
    expect(ok, Outcome).

-spec routing(py_chaos:world()) -> outcome().
routing(#{pools := Pools} = World) ->
    Pool = one_of(Pools),
    ok = py_context_router:bind_context(Pool, context(World)),
    Bound = try is_pid(py_context_router:get_context(Pool)) catch error:badarg -> true end,
    ok = py_context_router:unbind_context(Pool),
    try py_context_router:get_context(Pool) of
        Ctx when is_pid(Ctx), Bound -> expect({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16]))
    catch
        error:badarg -> {failed, died}
    end.

%% On the scheduler, where that is free.
-spec direct(py_chaos:world()) -> outcome().
direct(World) ->
    expect({ok, 4.0}, py_context:call(context(World), math, sqrt, [16], #{},
                                      #{dispatch => one_of([direct, direct, queue])})).

-spec registration(py_chaos:world()) -> outcome().
registration(#{pools := Pools}) ->
    %% The registry may be restarting.
    try
        ok = py_context_router:register_pool(one_of(Pools), math, one_of([sqrt, sin, cos])),
        true = is_atom(py_context_router:lookup_pool(math, sqrt)),
        ok = py_context_router:unregister_pool(math, one_of([sqrt, sin, cos])),
        ok = py_context_router:register_direct(builtins, one_of([abs, len])),
        ok = py_context_router:unregister_direct(builtins, one_of([abs, len])),
        ok
    catch
        exit:_ -> {failed, died}
    end.
