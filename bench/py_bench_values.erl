%% The cost of converting values: each is an argument of a Python function that returns it.
-module(py_bench_values).

-export([bytes/1, containers/1]).

-define(MB16, 16_000_000).

%% 16 MB of bytes: without a copy, copied, and for comparison the cost of one copy in this VM.
-spec bytes(py_bench:scale()) -> [py_bench:row()].
bytes(Scale) ->
    Bytes = binary:copy(<<0, 255, 1, 254>>, ?MB16 div 4),
    Ctx = context(),
    [row("16 MB as {buffer, Binary}", echo(Ctx, {buffer, Bytes}, Bytes),
         {at_most, 100_000}, Scale),
     row("16 MB as bytes", echo(Ctx, {bytes, Bytes}, Bytes), none, Scale),
     row("16 MB of bytes, only back", eval(Ctx, <<"kept_bytes">>), {at_most, 100_000},
         Scale),
     row("16 MB as bytes, only there", sink(Ctx, {bytes, Bytes}), none, Scale),
     row("one copy, for comparison", copy(Ctx, Bytes), none, Scale)].

-spec containers(py_bench:scale()) -> [py_bench:row()].
containers(#{samples := Samples, rounds := Rounds} = Scale) ->
    Ctx = context(),
    Small = #{<<"id">> => 7, <<"name">> => <<"x">>, <<"score">> => 1.5},
    Latency = py_bench_stats:latency(echo(Ctx, Small, Small), Samples, Rounds),
    [alone(fun() ->
         Value = Make(),
         row(What, echo(Ctx, Value, Value), {at_most, Most}, Scale)
     end) || {What, Make, Most} <- [{"100 000 integers", fun integers/0, 6_000_000},
                                    {"100 000 floats", fun floats/0, 6_000_000},
                                    {"a map of 10 000 keys", fun large_map/0, 4_500_000},
                                    {"1000 records as of JSON", fun records/0, 4_000_000}]]
    ++ [py_bench_stats:row("one small map", Latency, {at_most, 8_000})].

%% In a process of its own: garbage of the others in its heap would be collected along with each
%% value.
-spec alone(fun(() -> Row)) -> Row when Row :: py_bench:row().
alone(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({row, Fun()}) end),
    receive {'DOWN', Monitor, process, Pid, {row, Row}} -> Row end.

-spec integers() -> [integer()].
integers() ->
    lists:seq(1, 100_000).

-spec floats() -> [float()].
floats() ->
    [N * 1.1 || N <- integers()].

-spec large_map() -> map().
large_map() ->
    maps:from_list([{<<"key ", (integer_to_binary(N))/binary>>, N} || N <- lists:seq(1, 10_000)]).

-spec records() -> [map()].
records() ->
    [#{<<"id">> => N, <<"name">> => <<"name ", (integer_to_binary(N))/binary>>,
       <<"tags">> => [<<"red">>, <<"green">>], <<"score">> => N * 1.5, <<"ok">> => N rem 2 =:= 0,
       <<"place">> => #{<<"x">> => N, <<"y">> => -N}} || N <- lists:seq(1, 1000)].

-spec context() -> pid().
context() ->
    Ctx = py_context_router:get_context(),
    ok = py_context:exec(Ctx, <<"def echo(value):\n    return value\n"
                                "def sink(value):\n    pass\n"
                                "def copy(value):\n    bytes(value)\n"
                                "kept_bytes = bytes(16_000_000)\n">>),
    Ctx.

-spec echo(pid(), term(), term()) -> fun(() -> term()).
echo(Ctx, Value, Expected) ->
    {ok, Expected} = py_context:call(Ctx, '__main__', echo, [Value]),
    fun() -> {ok, _} = py_context:call(Ctx, '__main__', echo, [Value]) end.

-spec sink(pid(), term()) -> fun(() -> term()).
sink(Ctx, Value) ->
    fun() -> {ok, none} = py_context:call(Ctx, '__main__', sink, [Value]) end.

-spec copy(pid(), binary()) -> fun(() -> term()).
copy(Ctx, Bytes) ->
    fun() -> {ok, none} = py_context:call(Ctx, '__main__', copy, [{buffer, Bytes}]) end.

-spec eval(pid(), binary()) -> fun(() -> term()).
eval(Ctx, Source) ->
    fun() -> {ok, _} = py_context:eval(Ctx, Source) end.

-spec row(iodata(), fun(() -> term()), none | {at_most, number()}, py_bench:scale()) ->
    py_bench:row().
row(What, Fun, Target, #{heavy := Samples, rounds := Rounds}) ->
    py_bench_stats:row(What, py_bench_stats:latency(Fun, Samples, Rounds), Target).
