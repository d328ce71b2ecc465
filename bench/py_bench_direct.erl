%% Calls that run on their callers' schedulers, beside a message to an Erlang process and back, in
%% turns.
-module(py_bench_direct).

-export([calls/1]).

-spec calls(py_bench:scale()) -> [py_bench:row()].
calls(#{samples := Samples, rounds := Rounds} = Scale) ->
    {ok, Ctx} = py_context:new(#{mode => worker, direct_limit => 10_000}),
    ok = py_context:exec(Ctx, <<"def add(a, b): return a + b">>),
    Functions = [{'__main__', add, [1, 2]}, {math, sqrt, [2.0]}],
    ok = lists:foreach(fun(Function) -> prove(Ctx, Function) end, Functions),
    Server = spawn_link(fun serve/0),
    Echo = fun() -> ask(Server) end,
    Ways = [{"message to a process and back", Echo}
            | [{name(Function), fun() -> called(Ctx, Function) end} || Function <- Functions]]
           ++ [{"py:call(math, sqrt)", fun() -> {ok, _} = py:call(math, sqrt, [2.0]) end},
               {"math.sqrt in the queue", fun() -> queued(Ctx) end}],
    Turns = Samples * 5,
    Round = fun() -> [py_bench_stats:mean(Fun, Turns) || {_, Fun} <- Ways] end,
    _ = Round(),
    Measured = py_bench_stats:rounds(Rounds, Round),
    Rows = lists:append([rows(N, Name, Measured)
                         || {N, {Name, _}} <- lists:enumerate(Ways)]),
    Callers = lists:append([throughput(Mode, Scale) || Mode <- modes()]),
    unlink(Server),
    exit(Server, kill),
    ok = lists:foreach(fun({M, F, _}) -> py_context_router:unregister_direct(M, F) end, Functions),
    ok = py_context:destroy(Ctx),
    Rows ++ Callers.

%% The time, and its ratio to the first of the same round.
-spec rows(pos_integer(), string(), [[number()]]) -> [py_bench:row()].
rows(N, Name, Measured) ->
    Times = py_bench_stats:summary([lists:nth(N, Round) || Round <- Measured]),
    Ratios = py_bench_stats:summary([lists:nth(N, Round) / hd(Round) || Round <- Measured]),
    Show = fun(Ratio) -> io_lib:format("~.2f", [Ratio]) end,
    [py_bench_stats:row(Name, Times, none)
     | [py_bench_stats:row("  of the message's", Ratios, none, Show) || N > 1]].

-spec prove(pid(), {atom(), atom(), [term()]}) -> ok.
prove(Ctx, {Module, Func, _} = Function) ->
    ok = py_context_router:register_direct(Module, Func),
    proved(Ctx, Function).

-spec proved(pid(), {atom(), atom(), [term()]}) -> ok.
proved(Ctx, {Module, Func, _} = Function) ->
    _ = called(Ctx, Function),
    case lists:member({{Module, Func}, direct}, py_context_router:list_direct()) of
        true -> ok;
        false -> proved(Ctx, Function)
    end.

-spec called(pid(), {atom(), atom(), [term()]}) -> term().
called(Ctx, {Module, Func, Args}) ->
    {ok, Value} = py_context:call(Ctx, Module, Func, Args),
    Value.

-spec queued(pid()) -> term().
queued(Ctx) ->
    {ok, Value} = py_context:call(Ctx, math, sqrt, [2.0], #{}, #{dispatch => queue}),
    Value.

-spec name({atom(), atom(), [term()]}) -> string().
name({'__main__', _, _}) -> "a Python function of two ints";
name({Module, Func, _}) -> lists:concat([Module, ".", Func]).

-spec ask(pid()) -> ok.
ask(Server) ->
    Ref = make_ref(),
    Server ! {self(), Ref},
    receive {Ref, ok} -> ok end.

-spec serve() -> no_return().
serve() ->
    receive {From, Ref} -> From ! {Ref, ok} end,
    serve().

-spec modes() -> [py_context:context_mode()].
modes() ->
    [worker] ++ [owngil || py:owngil_supported()].

%% Calls/s of one and of many callers, each in its scheduler's context.
-spec throughput(py_context:context_mode(), py_bench:scale()) -> [py_bench:row()].
throughput(Mode, Scale) ->
    {ok, _} = py_context_router:start_pool(bench_direct, #{mode => Mode}),
    Rows = [throughput(Mode, N, Scale) || N <- [1, 50]],
    ok = py_context_router:stop_pool(bench_direct),
    Rows.

-spec throughput(py_context:context_mode(), pos_integer(), py_bench:scale()) -> py_bench:row().
throughput(Mode, N, #{window_ms := Window, rounds := Rounds}) ->
    Call = fun() ->
        {ok, _} = py_context:call(py_context_router:get_context(bench_direct), math, sqrt, [2.0])
    end,
    Rates = py_bench_stats:rounds(Rounds, fun() -> py_bench_cases:rate(N, Window, Call) end),
    Show = fun(Rate) -> io_lib:format("~bk/s", [round(Rate / 1000)]) end,
    Work = io_lib:format("~b callers, math.sqrt, ~s", [N, Mode]),
    py_bench_stats:row(Work, py_bench_stats:summary(Rates),
                       none, Show).
