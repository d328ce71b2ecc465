%% The modes under load: Python code that computes, and short calls beside it.
-module(py_bench_modes).

-export([supported/0, scaling/1, beside_busy/1]).

-define(POOL, py_bench).
%% The pause between two calls of a caller that calls now and then, in ms.
-define(PAUSE_MS, 2).
%% About 50 ms of pure Python.
-define(COMPUTE, <<"def compute(turns):\n"
                   "    total = 0\n"
                   "    for n in range(turns):\n"
                   "        total += n & 3\n"
                   "    return total\n">>).
-define(TURNS, 1_000_000).
%% For a figure, one alone and all at once are timed so many times, interleaved.
-define(TIMES, 8).
%% About as long in Erlang.
-define(COUNTED, 20_000_000).
-define(ENDLESS, <<"while True: pass">>).

%% The modes that the linked Python supports.
-spec supported() -> [py_context:context_mode()].
supported() ->
    [worker] ++ [subinterp || py:subinterp_supported()] ++ [owngil || py:owngil_supported()].

%% ------------------------------------------------------------------ scaling

%% How many times the work of one context two contexts do in the same time. For comparison, the
%% same of two Erlang processes.
-spec scaling(py_bench:scale()) -> [py_bench:row()].
scaling(#{rounds := Rounds}) ->
    lists:append([with_pool(Mode, 2, fun(Contexts) -> scaling(Mode, Contexts, Rounds) end)
                  || Mode <- supported()]).

-spec scaling(py_context:context_mode(), [pid()], pos_integer()) -> [py_bench:row()].
scaling(Mode, Contexts, Rounds) ->
    _ = [ok = py_context:exec(Ctx, ?COMPUTE) || Ctx <- Contexts],
    Python = [fun() -> {ok, _} = py_context:call(Ctx, '__main__', compute, [?TURNS]) end
              || Ctx <- Contexts],
    Erlang = [fun() -> count(?COUNTED) end || _ <- Contexts],
    _ = factor(Python),
    Factors = py_bench_stats:rounds(Rounds, fun() -> {factor(Python), factor(Erlang)} end),
    [py_bench_stats:row([atom_to_list(Mode), ": two contexts against one"],
                        py_bench_stats:summary([Ours || {Ours, _} <- Factors]),
                        scaling_target(Mode), fun show_factor/1),
     py_bench_stats:row([atom_to_list(Mode), ":   of what Erlang code gains"],
                        py_bench_stats:summary([Ours / Theirs || {Ours, Theirs} <- Factors]), none,
                        fun show_factor/1)].

-spec scaling_target(py_context:context_mode()) -> none | {at_least, float()}.
scaling_target(owngil) -> {at_least, 1.9};
scaling_target(_) -> none.

%% The shortest times count: other load can only make a time longer, and two threads get two whole
%% cores less often than one thread gets one. Python's `timeit' does the same and gives the
%% reason: https://docs.python.org/3/library/timeit.html#timeit.Timer.repeat
-spec factor([fun(() -> term()), ...]) -> float().
factor([One | _] = Computations) ->
    {Alone, AtOnce} = lists:unzip([{at_once([One]), at_once(Computations)}
                                   || _ <- lists:seq(1, ?TIMES)]),
    length(Computations) * lists:min(Alone) / lists:min(AtOnce).

%% The time until all are done.
-spec at_once([fun(() -> term()), ...]) -> pos_integer().
at_once(Computations) ->
    {Ns, _} = py_bench_stats:timed(
                fun() ->
                    Computing = [spawn_monitor(fun() -> Compute(), exit(computed) end)
                                 || Compute <- Computations],
                    [receive {'DOWN', Monitor, process, Pid, computed} -> ok end
                     || {Pid, Monitor} <- Computing]
                end),
    Ns.

-spec count(non_neg_integer()) -> ok.
count(0) -> ok;
count(N) -> count(N - 1).

%% ------------------------------------------------------------------ short calls beside others

-spec beside_busy(py_bench:scale()) -> [py_bench:row()].
beside_busy(Scale) ->
    lists:append([with_pool(Mode, 3, fun(Contexts) -> beside_busy(Mode, Contexts, Scale) end)
                  || Mode <- supported()]).

-spec beside_busy(py_context:context_mode(), [pid()], py_bench:scale()) -> [py_bench:row()].
beside_busy(owngil, [Ctx, Other | _], #{samples := Samples} = Scale) ->
    lists:append([with_and_without(Ctx, Other, What, Pause, Scale#{samples := Some})
                  || {What, Pause, Some} <- [{"short calls", 0, Samples},
                                             {"calls now and then", ?PAUSE_MS, Samples div 50}]]);
beside_busy(Mode, [Ctx | Others], #{samples := Samples} = Scale) ->
    lists:append([among(Mode, Ctx, lists:sublist(Others, Busy), Scale#{samples := Samples div 50})
                  || Busy <- [1, 2]]).

%% The busy context has a GIL of its own. Each round beside it follows a round alone.
-spec with_and_without(pid(), pid(), string(), non_neg_integer(), py_bench:scale()) ->
    [py_bench:row()].
with_and_without(Ctx, Other, What, Pause, #{rounds := Rounds} = Scale) ->
    Round = fun() -> lists:append(short_calls(Ctx, Pause, Scale#{rounds := 1})) end,
    Pairs = py_bench_stats:rounds(Rounds, fun() -> {Round(), beside([Other], Round)} end),
    {Alone, Beside} = lists:unzip(Pairs),
    [row(owngil, [What, ", alone"], Alone, none),
     row(owngil, [What, ", 1 busy"], Beside, none),
     py_bench_stats:row("owngil:   p99, beside it / alone",
                        py_bench_stats:summary([p99(With) / p99(None) || {None, With} <- Pairs]),
                        {at_most, 2.0}, fun show_factor/1)].

%% One GIL for all. Calls without a pause would mostly be answered before a busy context has woken
%% up to take the GIL, so these have pauses.
-spec among(py_context:context_mode(), pid(), [pid()], py_bench:scale()) -> [py_bench:row()].
among(Mode, Ctx, Busy, Scale) ->
    Beside = beside(Busy, fun() -> short_calls(Ctx, ?PAUSE_MS, Scale) end),
    {Word, Median, Longest} = case Busy of
                                  [_] -> {"1 busy", {at_most, 1_500_000}, none};
                                  [_, _] -> {"2 busy", none, {at_most, 25_000_000}}
                              end,
    [row(Mode, ["calls now and then, ", Word], Beside, Median),
     py_bench_stats:figure([atom_to_list(Mode), ":   the longest of these"],
                           lists:max(lists:append(Beside)), Longest,
                           fun py_bench_stats:duration/1)].

%% The durations of one caller, by rounds.
-spec short_calls(pid(), non_neg_integer(), py_bench:scale()) -> [[pos_integer()]].
short_calls(Ctx, Pause, #{samples := Samples, rounds := Rounds}) ->
    py_bench_stats:durations(fun() -> {ok, _} = py_context:call(Ctx, math, sqrt, [2.0]) end,
                             Pause, Samples, Rounds).

-spec row(py_context:context_mode(), iodata(), [[pos_integer()]],
          none | {at_most, pos_integer()}) -> py_bench:row().
row(Mode, What, Rounds, Target) ->
    py_bench_stats:row([atom_to_list(Mode), ": ", What], py_bench_stats:over_rounds(Rounds),
                       Target).

-spec p99([pos_integer()]) -> number().
p99(Durations) ->
    #{p99 := P99} = py_bench_stats:summary(Durations),
    P99.

%% While each of these contexts runs an endless loop.
-spec beside([pid()], fun(() -> Result)) -> Result.
beside(Contexts, Fun) ->
    Busy = [spawn_monitor(fun() -> exit(py_context:exec(Ctx, ?ENDLESS)) end) || Ctx <- Contexts],
    ok = await_busy(Contexts),
    Result = Fun(),
    _ = [ok = py_context:interrupt(Ctx) || Ctx <- Contexts],
    _ = [receive {'DOWN', Monitor, process, Pid, {error, interrupted}} -> ok end
         || {Pid, Monitor} <- Busy],
    Result.

-spec await_busy([pid()]) -> ok.
await_busy(Contexts) ->
    case lists:all(fun(Ctx) -> maps:get(state, py_context:info(Ctx)) =:= busy end, Contexts) of
        true -> ok;
        false -> timer:sleep(1), await_busy(Contexts)
    end.

-spec show_factor(float()) -> iodata().
show_factor(Factor) ->
    io_lib:format("~.2fx", [Factor]).

-spec with_pool(py_context:context_mode(), pos_integer(), fun(([pid()]) -> Result)) -> Result.
with_pool(Mode, Size, Fun) ->
    {ok, Contexts} = py_context_router:start_pool(?POOL, Size, Mode),
    try Fun(Contexts)
    after ok = py_context_router:stop_pool(?POOL)
    end.
