%% What it costs Python to talk to Erlang: calls, messages, output.
-module(py_bench_callbacks).

-export([calls/1, sends/1, prints/1]).

%% In ns, as Python measures it: without the cost of the job.
-define(CODE, <<"
import erlang
from time import perf_counter_ns as now
def calls(n):
    call, began = erlang.call, now()
    for _ in range(n):
        call('py_bench_double', 21)
    return now() - began
def sends(n):
    send, me, began = erlang.send, erlang.self(), now()
    for i in range(n):
        send(me, i)
    return now() - began
def prints(n):
    for i in range(n):
        print('line', i)
">>).

%% The cost does not depend on their number in one function: nothing is repeated.
-spec calls(py_bench:scale()) -> [py_bench:row()].
calls(Scale) ->
    ok = py:register_function(py_bench_double, fun(N) -> N * 2 end),
    Rows = [each("erlang.call", calls, N, 5_000, Scale) || N <- [1, 10, 100, 1_000, 10_000]],
    Whole = job(Scale),
    ok = py:unregister_function(py_bench_double),
    Rows ++ [Whole].

%% As the caller measures it: the job and its one call.
-spec job(py_bench:scale()) -> py_bench:row().
job(#{samples := Samples, rounds := Rounds}) ->
    Ctx = context(),
    Once = fun() -> {ok, _} = py_context:call(Ctx, '__main__', calls, [1]) end,
    py_bench_stats:row("a job with one erlang.call", py_bench_stats:latency(Once, Samples, Rounds),
                       none).

-spec sends(py_bench:scale()) -> [py_bench:row()].
sends(Scale) ->
    [each("erlang.send", sends, 10_000, 2_000, Scale)].

%% A few calls take little time, and are measured more often.
-spec each(string(), atom(), pos_integer(), pos_integer(), py_bench:scale()) -> py_bench:row().
each(Work, Function, N, Most, #{heavy := Heavy, rounds := Rounds}) ->
    Ctx = context(),
    Times = [begin
                 {ok, Time} = py_context:call(Ctx, '__main__', Function, [N]),
                 ok = forget(),
                 Time / N
             end || _ <- lists:seq(1, Heavy * Rounds * max(1, 100 div N))],
    Label = io_lib:format("~ts, each of ~b in one job", [Work, N]),
    py_bench_stats:row(Label, py_bench_stats:summary(Times), {at_most, Most}).

%% Until the group leader has all lines.
-spec prints(py_bench:scale()) -> [py_bench:row()].
prints(#{rounds := Rounds}) ->
    Ctx = context(),
    Before = group_leader(),
    Leader = spawn_link(fun() -> lead(0) end),
    true = group_leader(Leader, self()),
    Times = [begin
                 {Time, 100_000} = py_bench_stats:timed(fun() ->
                     {ok, none} = py_context:call(Ctx, '__main__', prints, [100_000]),
                     lines(Leader)
                 end),
                 Time
             end || _ <- lists:seq(1, Rounds)],
    true = group_leader(Before, self()),
    true = unlink(Leader),
    true = exit(Leader, kill),
    [py_bench_stats:row("100 000 lines printed", py_bench_stats:summary(Times),
                        {at_most, 1_000_000_000})].

-spec context() -> pid().
context() ->
    Ctx = py_context_router:get_context(),
    ok = py_context:exec(Ctx, ?CODE),
    {ok, _} = py_context:call(Ctx, '__main__', sends, [100]),
    ok = forget(),
    Ctx.

-spec forget() -> ok.
forget() ->
    receive N when is_integer(N) -> forget()
    after 0 -> ok
    end.

%% A group leader that counts lines.
-spec lead(non_neg_integer()) -> no_return().
lead(Lines) ->
    receive
        {io_request, From, Ref, {put_chars, unicode, Text}} ->
            From ! {io_reply, Ref, ok},
            lead(Lines + length(binary:matches(Text, <<"\n">>)));
        {lines, From} ->
            From ! {self(), Lines},
            lead(0)
    end.

-spec lines(pid()) -> non_neg_integer().
lines(Leader) ->
    Leader ! {lines, self()},
    receive {Leader, Lines} -> Lines end.
