%% Coroutines: one after the other, many beside one another, and what runs beside them.
-module(py_bench_async).

-export([run/1]).

-define(CODE, <<"import asyncio\n"
                "async def one(): return 1\n"
                "async def nap(seconds): await asyncio.sleep(seconds)\n"
                "async def ticks(n, pause):\n"
                "    from time import time\n"
                "    due = time()\n"
                "    for i in range(n):\n"
                "        due += pause\n"
                "        await asyncio.sleep(due - time())\n"
                "        yield due\n">>).
%% Callers that wait at once, and how long each does, in s.
-define(SLEEPERS, 10_000).
-define(NAP, 0.1).
-define(STREAMS, 100).
-define(ITEMS, 20).

-spec run(py_bench:scale()) -> [py_bench:row()].
run(#{samples := Samples, rounds := Rounds} = Scale) ->
    {ok, [Ctx, Other]} = py_context_router:start_pool(py_bench_async, #{contexts => 2,
                                                                        preload => ?CODE}),
    Sqrt = fun() -> {ok, _} = py_context:call(Ctx, math, sqrt, [2.0]) end,
    Alone = py_bench_stats:latency(Sqrt, Samples, Rounds),
    One = fun() -> {ok, 1} = py_context:call(Ctx, '__main__', one, []) end,
    Rows = [py_bench_stats:row("a coroutine that returns at once",
                               py_bench_stats:latency(One, Samples, Rounds), {at_most, 15_000}),
            py_bench_stats:row("50 callers of it", callers(One, 50, Scale), {at_least, 80_000},
                               fun rate/1),
            sleepers([Ctx, Other], Rounds),
            py_bench_stats:row("math.sqrt beside 1000 that sleep",
                               beside(Ctx, 1000, fun() ->
                                   py_bench_stats:latency(Sqrt, Samples, Rounds)
                               end), {at_most, 1.5 * maps:get(median, Alone)}),
            items(Ctx)],
    ok = py_context_router:stop_pool(py_bench_async),
    Rows.

-spec rate(number()) -> iodata().
rate(PerSecond) -> io_lib:format("~bk/s", [round(PerSecond / 1000)]).

%% Calls per second, in each of the rounds.
-spec callers(fun(() -> term()), pos_integer(), py_bench:scale()) -> py_bench_stats:summary().
callers(Call, Count, #{rounds := Rounds}) ->
    Calls = 500,
    Each = fun() -> _ = [Call() || _ <- lists:seq(1, Calls)], ok end,
    _ = at_once(Each, Count),
    py_bench_stats:summary([begin
                                {Ns, _} = py_bench_stats:timed(fun() -> at_once(Each, Count) end),
                                Count * Calls * 1.0e9 / Ns
                            end || _ <- lists:seq(1, Rounds)]).

-spec at_once(fun(() -> ok), pos_integer()) -> ok.
at_once(Fun, Count) ->
    Started = [spawn_monitor(Fun) || _ <- lists:seq(1, Count)],
    _ = [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Started],
    ok.

%% All of them answered.
-spec sleepers([pid()], pos_integer()) -> py_bench:row().
sleepers(Contexts, Rounds) ->
    All = fun() ->
        Parent = self(),
        Pids = [spawn_link(fun() ->
                               Ctx = lists:nth(N rem 2 + 1, Contexts),
                               {ok, none} = py_context:call(Ctx, '__main__', nap, [?NAP]),
                               Parent ! {answered, self()}
                           end) || N <- lists:seq(1, ?SLEEPERS)],
        [receive {answered, Pid} -> ok end || Pid <- Pids]
    end,
    _ = All(),
    Times = [begin {Ns, _} = py_bench_stats:timed(All), Ns end || _ <- lists:seq(1, Rounds)],
    py_bench_stats:row("10 000 callers that await 0.1 s", py_bench_stats:summary(Times),
                       {at_most, 1_000_000_000}).

-spec beside(pid(), pos_integer(), fun(() -> Result)) -> Result.
beside(Ctx, Count, Fun) ->
    Pids = [spawn(fun() -> py_context:call(Ctx, '__main__', nap, [3600]) end)
            || _ <- lists:seq(1, Count)],
    ok = await(Ctx, Count),
    Result = Fun(),
    _ = [exit(Pid, kill) || Pid <- Pids],
    ok = await(Ctx, 0),
    Result.

-spec await(pid(), non_neg_integer()) -> ok.
await(Ctx, Count) ->
    case py_context:info(Ctx) of
        #{tasks := Count} -> ok;
        _ -> timer:sleep(1), await(Ctx, Count)
    end.

%% How late the items of many streams come.
-spec items(pid()) -> py_bench:row().
items(Ctx) ->
    Parent = self(),
    Pids = [spawn_link(fun() ->
                           {ok, Ref} = py:stream_start(Ctx, '__main__', ticks, [?ITEMS, 0.1]),
                           Parent ! {self(), delays(Ref)}
                       end) || _ <- lists:seq(1, ?STREAMS)],
    Delays = lists:append([receive {Pid, Its} -> Its end || Pid <- Pids]),
    #{p99 := P99} = Summary = py_bench_stats:summary(Delays),
    py_bench_stats:row("100 streams: p99 of an item's delay",
                       Summary#{median := P99}, {at_most, 15_000_000}).

-spec delays(reference()) -> [number()].
delays(Ref) ->
    receive
        {py_stream, Ref, {data, Due}} ->
            [max(0, erlang:system_time(nanosecond) - Due * 1.0e9) | delays(Ref)];
        {py_stream, Ref, done} ->
            []
    end.
