%% The cases and their targets.
-module(py_bench_cases).

-export([all/0, run/2, in_new_vms/1, rate/3]).

-spec all() -> [{atom(), What :: string()}].
all() ->
    [{get_context, "py_context_router:get_context/0, bound and unbound, less the loop's cost"},
     {call, "one caller, one py_context:call(Ctx, math, sqrt, [2.0]) after the other"},
     {direct, "calls on their callers' schedulers, beside a message to a process and back"},
     {eval, "one caller, py_context:eval(Ctx, <<\"1+1\">>)"},
     {callers, "calls/s of 1, 10, 50, 200 callers that each route and call, and their fairness"},
     {bytes, "16 MB of bytes there and back, copied and not"},
     {containers, "lists, maps and records there and back"},
     {front, "one caller: py:call, exec, eval, spawn_call"},
     {maps, "one function for many lists of arguments: py_context:map and py:map, a call"},
     {async, "coroutines: one, many beside one another, and what runs beside them"},
     {streams, "streams, collected and as messages, an item"},
     {callbacks, "from Python: erlang.call, of 1 to 10 000 in one job"},
     {sends, "from Python: erlang.send, 10 000 in one job"},
     {prints, "from Python: 100 000 lines to a group leader"},
     {modes, "each mode: two contexts that compute against one; short calls beside such ones"},
     {contexts, "each mode: starting and stopping 8 contexts, memory of one; in new VMs"},
     {lifecycle, "each mode: 300 contexts that come, work and go; memory, threads; in new VMs"},
     {boot, "application start to the first result; in new VMs"}].

%% Their work is done by other OS processes.
-spec in_new_vms(atom()) -> boolean().
in_new_vms(Name) ->
    lists:member(Name, [contexts, lifecycle, boot]).

-spec run(atom(), py_bench:scale()) -> [py_bench:row()].
run(get_context, #{loops := Loops, rounds := Rounds}) ->
    Bound = fun(Turns) ->
                Ctx = py_context_router:get_context(),
                ok = py_context_router:bind_context(Ctx),
                get_context(Turns)
            end,
    [py_bench_stats:row("unbound", py_bench_stats:loop(fun get_context/1, Loops, Rounds),
                        {at_most, 60}),
     py_bench_stats:row("bound", py_bench_stats:loop(Bound, Loops, Rounds), {at_most, 60})];
run(call, Scale) ->
    Ctx = py_context_router:get_context(),
    {ok, 2.0} = py_context:call(Ctx, math, sqrt, [4.0]),
    short("math.sqrt", fun() -> {ok, _} = py_context:call(Ctx, math, sqrt, [2.0]) end,
          {at_most, 3_000}, Scale);
run(direct, Scale) ->
    py_bench_direct:calls(Scale);
run(eval, Scale) ->
    Ctx = py_context_router:get_context(),
    {ok, 2} = py_context:eval(Ctx, <<"1+1">>),
    short("1+1", fun() -> {ok, _} = py_context:eval(Ctx, <<"1+1">>) end, {at_most, 5_000}, Scale);
run(callers, Scale) ->
    lists:append([callers(N, Scale) || N <- [1, 10, 50, 200]]);
run(bytes, Scale) ->
    py_bench_values:bytes(Scale);
run(containers, Scale) ->
    py_bench_values:containers(Scale);
run(front, Scale) ->
    py_bench_front:calls(Scale);
run(maps, Scale) ->
    py_bench_front:maps(Scale);
run(async, Scale) ->
    py_bench_async:run(Scale);
run(streams, Scale) ->
    py_bench_front:streams(Scale);
run(callbacks, Scale) ->
    py_bench_callbacks:calls(Scale);
run(sends, Scale) ->
    py_bench_callbacks:sends(Scale);
run(prints, Scale) ->
    py_bench_callbacks:prints(Scale);
run(modes, Scale) ->
    py_bench_modes:scaling(Scale) ++ py_bench_modes:beside_busy(Scale);
run(contexts, Scale) ->
    py_bench_contexts:starts(Scale);
run(lifecycle, Scale) ->
    py_bench_contexts:lifecycle(Scale);
run(boot, Scale) ->
    py_bench_contexts:boot(Scale).

-spec get_context(non_neg_integer()) -> ok.
get_context(0) ->
    ok;
get_context(N) ->
    _ = py_context_router:get_context(),
    get_context(N - 1).

-spec short(iodata(), fun(() -> term()), {at_most, number()}, py_bench:scale()) ->
    [py_bench:row()].
short(Work, Fun, Target, #{samples := Samples, rounds := Rounds}) ->
    [py_bench_stats:row(Work, py_bench_stats:latency(Fun, Samples, Rounds), Target)].

%% ------------------------------------------------------------------ many callers

%% All callers call for the same time; then each reports how many calls it made.
-spec callers(pos_integer(), py_bench:scale()) -> [py_bench:row()].
callers(N, #{window_ms := Window, rounds := Rounds}) ->
    Servers = list_to_tuple([spawn_link(fun serve/0) || _ <- py_context_router:contexts()]),
    Ask = fun() ->
        Server = element(erlang:system_info(scheduler_id) rem tuple_size(Servers) + 1, Servers),
        gen_server:call(Server, {sqrt, 2.0})
    end,
    Ways = [fun call/0, Ask],
    _ = [window(N, Window div 5 + 1, Way) || Way <- Ways],
    Windows = py_bench_stats:rounds(Rounds, fun() -> [window(N, Window, Way) || Way <- Ways] end),
    lists:foreach(fun(Server) -> unlink(Server), exit(Server, kill) end, tuple_to_list(Servers)),
    Summary = fun(Figure) -> py_bench_stats:summary([Figure(Round) || Round <- Windows]) end,
    Share = fun(Figure) -> io_lib:format("~.2f", [Figure]) end,
    [py_bench_stats:row([integer_to_list(N), callers_word(N)],
                        Summary(fun([{Rate, _}, _]) -> Rate end), rate_target(N), fun show_rate/1),
     py_bench_stats:row("  of what Erlang servers do",
                        Summary(fun([{Rate, _}, {Theirs, _}]) -> share(Rate, Theirs) end),
                        none, Share)
     | [py_bench_stats:row("  least served / mean", Summary(fun([{_, Least}, _]) -> Least end),
                           {at_least, 0.5}, Share) || N > 1]].

%% For comparison: as many Erlang servers as contexts, with the same callers.
-spec serve() -> no_return().
serve() ->
    receive {'$gen_call', From, {sqrt, X}} -> gen_server:reply(From, {ok, math:sqrt(X)}) end,
    serve().

-spec callers_word(pos_integer()) -> string().
callers_word(1) -> " caller";
callers_word(_) -> " callers".

-spec rate_target(pos_integer()) -> none | {at_least, number()}.
rate_target(50) -> {at_least, 250_000};
rate_target(_) -> none.

-spec show_rate(number()) -> iodata().
show_rate(Rate) ->
    io_lib:format("~bk/s", [round(Rate / 1_000)]).

%% Calls per second of so many callers.
-spec rate(pos_integer(), Ms :: pos_integer(), fun(() -> {ok, float()})) -> float().
rate(N, Ms, Call) ->
    {Rate, _Least} = window(N, Ms, Call),
    Rate.

%% Calls per second, and the least-served caller's share of the mean.
-spec window(pos_integer(), pos_integer(), fun(() -> {ok, float()})) -> {float(), float()}.
window(N, Ms, Call) ->
    %% The timer must not be scheduled behind 200 busy callers.
    Before = process_flag(priority, high),
    Stop = atomics:new(1, []),
    Self = self(),
    Pids = [spawn_link(fun() -> caller(Self, Stop, Call) end) || _ <- lists:seq(1, N)],
    Start = erlang:monotonic_time(microsecond),
    _ = [Pid ! go || Pid <- Pids],
    ok = timer:sleep(Ms),
    ok = atomics:put(Stop, 1, 1),
    Elapsed = erlang:monotonic_time(microsecond) - Start,
    Counts = [receive {Pid, Count} -> Count end || Pid <- Pids],
    _ = process_flag(priority, Before),
    Mean = lists:sum(Counts) / N,
    {lists:sum(Counts) * 1_000_000 / Elapsed, share(lists:min(Counts), Mean)}.

%% On a very busy machine no caller may be served within a short window.
-spec share(number(), number()) -> float().
share(_Part, Whole) when Whole == 0 -> 0.0;
share(Part, Whole) -> Part / Whole.

-spec caller(pid(), atomics:atomics_ref(), fun(() -> {ok, float()})) -> {pid(), non_neg_integer()}.
caller(Parent, Stop, Call) ->
    receive go -> ok end,
    Parent ! {self(), call_until(Stop, Call, 0)}.

-spec call_until(atomics:atomics_ref(), fun(() -> {ok, float()}), non_neg_integer()) ->
    non_neg_integer().
call_until(Stop, Call, Count) ->
    {ok, _} = Call(),
    case atomics:get(Stop, 1) of
        0 -> call_until(Stop, Call, Count + 1);
        1 -> Count
    end.

-spec call() -> {ok, float()}.
call() ->
    py_context:call(py_context_router:get_context(), math, sqrt, [2.0]).
