%% What it costs Python to talk to Erlang: calls, messages, output.
-module(py_bench_callbacks).

-export([calls/1, sends/1, prints/1]).

%% The whole of a Python function's run, shared out among what it does in it.
-define(CODE, <<"
import erlang
def calls(n):
    call = erlang.call
    for _ in range(n):
        call('py_bench_double', 21)
def sends(n):
    send, me = erlang.send, erlang.self()
    for i in range(n):
        send(me, i)
def prints(n):
    for i in range(n):
        print('line', i)
">>).

%% Flat, however many in one function: nothing is done twice.
-spec calls(py_bench:scale()) -> [py_bench:row()].
calls(Scale) ->
    ok = py:register_function(py_bench_double, fun(N) -> N * 2 end),
    Rows = [each("erlang.call", calls, N, target(N), Scale) || N <- [1, 10, 100, 1_000, 10_000]],
    ok = py:unregister_function(py_bench_double),
    Rows.

%% One includes the call of the function itself.
-spec target(pos_integer()) -> none | {at_most, number()}.
target(N) when N < 100 -> none;
target(_) -> {at_most, 5_000}.

-spec sends(py_bench:scale()) -> [py_bench:row()].
sends(Scale) ->
    [each("erlang.send", sends, 10_000, {at_most, 2_000}, Scale)].

-spec each(string(), atom(), pos_integer(), none | {at_most, number()}, py_bench:scale()) ->
    py_bench:row().
each(Work, Function, N, Target, #{heavy := Heavy, rounds := Rounds}) ->
    Ctx = context(),
    Times = [begin
                 {Time, {ok, none}} = py_bench_stats:timed(fun() ->
                     py_context:call(Ctx, '__main__', Function, [N])
                 end),
                 ok = forget(),
                 Time / N
             end || _ <- lists:seq(1, Heavy * Rounds)],
    Label = io_lib:format("~ts, each of ~b in one job", [Work, N]),
    py_bench_stats:row(Label, py_bench_stats:summary(Times), Target).

%% Until the leader has all of it.
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
    {ok, none} = py_context:call(Ctx, '__main__', sends, [100]),
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
