%% What `py' costs: its calls beside those of py_context, maps, and streams.
-module(py_bench_front).

-export([calls/1, maps/1, streams/1]).

-define(CODE, <<"def items(n):\n    for i in range(n):\n        yield i\n"
                "async def aitems(n):\n    for i in range(n):\n        yield i\n">>).

-spec calls(py_bench:scale()) -> [py_bench:row()].
calls(#{heavy := Heavy, rounds := Rounds}) ->
    Samples = 100 * Heavy,
    [py_bench_stats:row(Work, py_bench_stats:latency(Call, Samples, Rounds), none)
     || {Work, Call} <-
            [{"py:call(math, sqrt, …)", fun() -> {ok, _} = py:call(math, sqrt, [2.0]) end},
             {"py:exec(<<\"x = 1\">>)", fun() -> ok = py:exec(<<"x = 1">>) end},
             {"py:eval(<<\"1+1\">>)", fun() -> {ok, _} = py:eval(<<"1+1">>) end},
             {"spawn_call and await",
              fun() -> {ok, _} = py:await(py:spawn_call(math, sqrt, [2.0])) end}]].

-spec maps(py_bench:scale()) -> [py_bench:row()].
maps(Scale) ->
    Ctx = py_context_router:get_context(),
    Lists = fun(N) -> [[float(Each)] || Each <- lists:seq(1, N)] end,
    {Many, Some} = {Lists(100_000), Lists(100)},
    InContext = fun(Each) -> fun(_) -> {ok, _} = py_context:map(Ctx, math, sqrt, Each) end end,
    [each("py_context:map, a call of 100 000", InContext(Many), 100_000, {at_most, 250}, Scale),
     each("of 100", InContext(Some), 100, none, Scale),
     each("py:map, of 100 000", fun(_) -> {ok, _} = py:map(math, sqrt, Many) end, 100_000, none,
          Scale)].

-spec streams(py_bench:scale()) -> [py_bench:row()].
streams(Scale) ->
    Ctx = py_context_router:get_context(),
    ok = py_context:exec(Ctx, ?CODE),
    Collected = fun(Func) ->
        fun(N) -> {ok, _} = py:stream(Ctx, '__main__', Func, [N], #{}) end
    end,
    Messages = fun(N) ->
        {ok, Ref} = py:stream_start(Ctx, '__main__', items, [N]),
        drain(Ref)
    end,
    [each("an item collected, of 100 000", Collected(items), 100_000, {at_most, 1_000}, Scale),
     each("the same, asynchronous", Collected(aitems), 100_000, {at_most, 1_000}, Scale),
     each("an item as a message, of 10 000", Messages, 10_000, {at_most, 3_000}, Scale),
     each("of 100 000", Messages, 100_000, {at_most, 3_000}, Scale)].

-spec drain(reference()) -> ok.
drain(Ref) ->
    receive
        {py_stream, Ref, {data, _}} -> drain(Ref);
        {py_stream, Ref, done} -> ok
    end.

-spec each(string(), fun((pos_integer()) -> term()), pos_integer(), {at_most, number()},
           py_bench:scale()) -> py_bench:row().
each(Work, Run, N, Target, #{heavy := Heavy, rounds := Rounds}) ->
    Times = [begin
                 {Time, _} = py_bench_stats:timed(fun() -> Run(N) end),
                 Time / N
             end || _ <- lists:seq(1, max(3, Heavy * Rounds div 10))],
    py_bench_stats:row(Work, py_bench_stats:summary(Times), Target).
