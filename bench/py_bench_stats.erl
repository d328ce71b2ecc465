%% Timing and statistics, for any kind of work.
-module(py_bench_stats).

-export([latency/3, durations/4, over_rounds/1, loop/3, mean/2, rounds/2, in_process/1, timed/1]).
-export([summary/1, percentile/2, median/1]).
-export([duration/1, size/1, row/3, row/4, figure/4]).

-export_type([summary/0]).

-type summary() :: #{median := number(), p10 := number(), p90 := number(), p99 := number()}.
%% Of durations in ns, or of rates.
-type target() :: none | {at_most, Ns :: number()} | {at_least, number()}.

%% Times each call of `Fun', `Samples' times in each of `Rounds' rounds, after a warm-up.
-spec latency(fun(() -> term()), pos_integer(), pos_integer()) -> summary().
latency(Fun, Samples, Rounds) ->
    over_rounds(durations(Fun, 0, Samples, Rounds)).

%% The same with a pause between two calls, in ms. The result is the duration of each call, by
%% rounds.
-spec durations(fun(() -> term()), Pause :: non_neg_integer(), pos_integer(), pos_integer()) ->
    [[non_neg_integer(), ...], ...].
durations(Fun, Pause, Samples, Rounds) ->
    _ = in_process(fun() -> samples(Fun, 0, max(1, Samples div 10), []) end),
    rounds(Rounds, fun() -> in_process(fun() -> samples(Fun, Pause, Samples, []) end) end).

%% Each percentile is the median of that of the rounds, so that one disturbed round changes nothing.
-spec over_rounds([[number(), ...], ...]) -> summary().
over_rounds(Rounds) ->
    Sorted = [lists:sort(Round) || Round <- Rounds],
    #{median => over(Sorted, 50), p10 => over(Sorted, 10), p90 => over(Sorted, 90),
      p99 => over(Sorted, 99)}.

-spec over([[number()]], 0..100) -> number().
over(Rounds, P) ->
    median([percentile(Round, P) || Round <- Rounds]).

-spec samples(fun(() -> term()), non_neg_integer(), non_neg_integer(), [non_neg_integer()]) ->
    [non_neg_integer()].
samples(_Fun, _Pause, 0, Taken) ->
    Taken;
samples(Fun, Pause, N, Taken) ->
    _ = Pause > 0 andalso timer:sleep(Pause),
    {Ns, _} = timed(Fun),
    %% The garbage of a heavy call is collected outside of the timing, that of short calls
    %% whenever the VM does so.
    _ = Ns > 1_000_000 andalso garbage_collect(),
    samples(Fun, Pause, N - 1, [Ns | Taken]).

%% ns per turn of `Loop', a function that takes a number of turns, less those of the empty loop.
-spec loop(fun((pos_integer()) -> term()), pos_integer(), pos_integer()) -> summary().
loop(Loop, Turns, Rounds) ->
    Empty = per_turn(fun empty/1, Turns, Rounds),
    Full = per_turn(Loop, Turns, Rounds),
    summary([max(0.0, Ns - median(Empty)) || Ns <- Full]).

-spec per_turn(fun((pos_integer()) -> term()), pos_integer(), pos_integer()) -> [float()].
per_turn(Loop, Turns, Rounds) ->
    _ = in_process(fun() -> Loop(Turns) end),
    rounds(Rounds, fun() ->
                       in_process(fun() ->
                                      {Ns, _} = timed(fun() -> Loop(Turns) end),
                                      Ns / Turns
                                  end)
                   end).

%% ns per call of `Fun', called so many times.
-spec mean(fun(() -> term()), pos_integer()) -> float().
mean(Fun, Turns) ->
    {Ns, _} = in_process(fun() -> timed(fun() -> repeat(Fun, Turns) end) end),
    Ns / Turns.

-spec repeat(fun(() -> term()), non_neg_integer()) -> ok.
repeat(_Fun, 0) -> ok;
repeat(Fun, N) -> _ = Fun(), repeat(Fun, N - 1).

%% In ns; timer:tc only knows that unit from OTP 26 on.
-spec timed(fun(() -> Result)) -> {non_neg_integer(), Result}.
timed(Fun) ->
    Start = erlang:monotonic_time(),
    Result = Fun(),
    Stop = erlang:monotonic_time(),
    {erlang:convert_time_unit(Stop - Start, native, nanosecond), Result}.

-spec empty(non_neg_integer()) -> ok.
empty(0) -> ok;
empty(N) -> empty(N - 1).

-spec rounds(pos_integer(), fun(() -> Result)) -> [Result].
rounds(Rounds, Fun) ->
    [Fun() || _ <- lists:seq(1, Rounds)].

%% In a process of its own: each round starts with a fresh heap and an empty mailbox.
-spec in_process(fun(() -> Result)) -> Result.
in_process(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({result, Fun()}) end),
    receive
        {'DOWN', Monitor, process, Pid, {result, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> exit(Reason)
    end.

-spec summary([number(), ...]) -> summary().
summary(Numbers) ->
    over_rounds([Numbers]).

%% Of a sorted list.
-spec percentile([number(), ...], 0..100) -> number().
percentile(Sorted, P) ->
    lists:nth(max(1, ceil(length(Sorted) * P / 100)), Sorted).

-spec median([number(), ...]) -> number().
median(Numbers) ->
    percentile(lists:sort(Numbers), 50).

%% A row about durations.
-spec row(iodata(), summary(), target()) -> py_bench:row().
row(Work, Summary, Target) ->
    row(Work, Summary, Target, fun duration/1).

-spec row(iodata(), summary(), target(), fun((number()) -> iodata())) -> py_bench:row().
row(Work, #{median := Median, p10 := P10, p90 := P90, p99 := P99}, Target, Show) ->
    #{work => Work, figure => Show(Median),
      spread => lists:join(" / ", [Show(P10), Show(P90), Show(P99)]),
      target => target(Target, Show), verdict => verdict(Median, Target)}.

%% A row about one number, of which there are no percentiles.
-spec figure(iodata(), number(), target(), fun((number()) -> iodata())) -> py_bench:row().
figure(Work, Number, Target, Show) ->
    #{work => Work, figure => Show(Number), spread => "", target => target(Target, Show),
      verdict => verdict(Number, Target)}.

-spec target(target(), fun((number()) -> iodata())) -> iodata().
target(none, _Show) -> "";
target({at_most, Bound}, Show) -> ["≤ ", Show(Bound)];
target({at_least, Bound}, Show) -> ["≥ ", Show(Bound)].

-spec verdict(number(), target()) -> met | missed | none.
verdict(_Figure, none) -> none;
verdict(Figure, {at_most, Bound}) when Figure =< Bound -> met;
verdict(Figure, {at_least, Bound}) when Figure >= Bound -> met;
verdict(_Figure, _Target) -> missed.

-spec duration(number()) -> iodata().
duration(Ns) when Ns < 1_000 -> io_lib:format("~b ns", [round(Ns)]);
duration(Ns) when Ns < 1_000_000 -> io_lib:format("~ts µs", [three_digits(Ns / 1_000)]);
duration(Ns) when Ns < 1_000_000_000 -> io_lib:format("~ts ms", [three_digits(Ns / 1_000_000)]);
duration(Ns) -> io_lib:format("~ts s", [three_digits(Ns / 1_000_000_000)]).

%% Of memory; it may have shrunk.
-spec size(number()) -> iodata().
size(Bytes) when abs(Bytes) < 100_000 -> io_lib:format("~.1f KiB", [Bytes / 1_024]);
size(Bytes) -> io_lib:format("~.1f MiB", [Bytes / 1_048_576]).

-spec three_digits(float()) -> iodata().
three_digits(X) when X < 9.995 -> io_lib:format("~.2f", [X]);
three_digits(X) when X < 99.95 -> io_lib:format("~.1f", [X]);
three_digits(X) -> io_lib:format("~b", [round(X)]).
