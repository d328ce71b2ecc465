%% What contexts of each mode cost: start, memory, start and stop in turn. Each figure is from a
%% VM of its own in which Python has just started.
-module(py_bench_contexts).

-export([starts/1, lifecycle/1, boot/1]).
%% Called in those VMs.
-export([first_result/0, start_stop/1, memory/1, cycles/2]).

-define(POOL, py_bench).
%% How many contexts are started at once, and over how many the memory of one is averaged.
-define(STARTED, 8).
-define(SHARING, 20).

%% ------------------------------------------------------------------ starting

-spec boot(py_bench:scale()) -> [py_bench:row()].
boot(#{boots := Boots}) ->
    Times = [py_bench_vm:call(?MODULE, first_result, []) || _ <- lists:seq(1, Boots)],
    [py_bench_stats:row("start to first result", py_bench_stats:summary(Times),
                        {at_most, 150_000_000})].

-spec first_result() -> pos_integer().
first_result() ->
    {Ns, {ok, 4.0}} =
        py_bench_stats:timed(
          fun() ->
              {ok, _} = py_context_router:start(),
              py_context:call(py_context_router:get_context(), math, sqrt, [16])
          end),
    Ns.

-spec starts(py_bench:scale()) -> [py_bench:row()].
starts(#{boots := Boots}) ->
    lists:append([starts(Mode, Boots) || Mode <- py_bench_modes:supported()]).

-spec starts(py_context:context_mode(), pos_integer()) -> [py_bench:row()].
starts(Mode, Boots) ->
    VMs = lists:seq(1, Boots),
    {Starts, Stops, Again} =
        lists:unzip3([py_bench_vm:call(?MODULE, start_stop, [Mode]) || _ <- VMs]),
    Sizes = [py_bench_vm:call(?MODULE, memory, [Mode]) || _ <- VMs],
    Row = fun(What, Figures, Target) ->
              py_bench_stats:row([atom_to_list(Mode), What], py_bench_stats:summary(Figures),
                                 Target)
          end,
    Eight = io_lib:format("~b contexts", [?STARTED]),
    [Row([": start ", Eight], Starts, start_target(Mode)),
     Row([": stop them"], Stops, {at_most, 200_000_000}),
     Row([": start as many again"], Again, none),
     py_bench_stats:row([atom_to_list(Mode), ": memory of a context"],
                        py_bench_stats:summary(Sizes), memory_target(Mode),
                        fun py_bench_stats:size/1)].

-spec start_target(py_context:context_mode()) -> none | {at_most, pos_integer()}.
start_target(worker) -> {at_most, 5_000_000};
start_target(owngil) -> {at_most, 150_000_000};
%% One after the other, since they share the GIL.
start_target(subinterp) -> none.

-spec memory_target(py_context:context_mode()) -> none | {at_most, pos_integer()}.
memory_target(owngil) -> {at_most, 4 bsl 20};
memory_target(_) -> none.

-spec start_stop(py_context:context_mode()) ->
    {Start :: pos_integer(), Stop :: pos_integer(), Again :: pos_integer()}.
start_stop(Mode) ->
    ok = python_started(),
    Start = fun() -> py_context_router:start_pool(?POOL, ?STARTED, Mode) end,
    {First, {ok, _}} = py_bench_stats:timed(Start),
    {Stop, ok} = py_bench_stats:timed(fun() -> py_context_router:stop_pool(?POOL) end),
    {Again, {ok, _}} = py_bench_stats:timed(Start),
    {First, Stop, Again}.

%% Python itself, and all of the library's code: the VM loads it when it is first used.
-spec python_started() -> ok.
python_started() ->
    {ok, [Ctx]} = py_context_router:start_pool(?POOL, 1),
    {ok, 2} = py_context:eval(Ctx, <<"1 + 1">>),
    py_context_router:stop_pool(?POOL).

%% The memory of a context that has run code, in bytes.
-spec memory(py_context:context_mode()) -> integer().
memory(Mode) ->
    ok = python_started(),
    {ok, First} = py_context:new(#{mode => Mode}),
    {ok, 2} = py_context:eval(First, <<"1 + 1">>),
    Before = py_bench_vm:rss(),
    {ok, Contexts} = py_context_router:start_pool(?POOL, ?SHARING, Mode),
    _ = [{ok, 2} = py_context:eval(Ctx, <<"1 + 1">>) || Ctx <- Contexts],
    (py_bench_vm:rss() - Before) div ?SHARING.

%% ------------------------------------------------------------------ coming and going

-spec lifecycle(py_bench:scale()) -> [py_bench:row()].
lifecycle(#{cycles := Cycles}) ->
    lists:append([lifecycle(Mode, Cycles) || Mode <- py_bench_modes:supported()]).

-spec lifecycle(py_context:context_mode(), pos_integer()) -> [py_bench:row()].
lifecycle(Mode, Cycles) ->
    {Times, Growths, Threads} = py_bench_vm:call(?MODULE, cycles, [Mode, Cycles]),
    Name = atom_to_list(Mode),
    Growth = fun(At, Target) ->
                 Bytes = lists:nth(At, Growths),
                 py_bench_stats:figure([Name, io_lib:format(": memory after ~b", [At])], Bytes,
                                       Target, fun py_bench_stats:size/1)
             end,
    [py_bench_stats:row([Name, ": create, use, end"], py_bench_stats:summary(Times), none),
     Growth(max(1, Cycles * 2 div 3), {at_most, 20 bsl 20}),
     Growth(Cycles, none),
     py_bench_stats:figure([Name, io_lib:format(": threads after ~b", [Cycles])], Threads,
                           {at_most, 0}, fun(N) -> io_lib:format("~s~b", [[$+ || N >= 0], N]) end)].

%% The time of each cycle, the growth of memory after each, and by how much the number of threads
%% has grown at the end.
-spec cycles(py_context:context_mode(), pos_integer()) ->
    {[pos_integer()], [integer()], integer()}.
cycles(Mode, Cycles) ->
    ok = python_started(),
    _ = [cycle(Mode) || _ <- lists:seq(1, 3)],
    Threads = settled_threads(),
    Before = py_bench_vm:rss(),
    {Times, Growths} = lists:unzip([{cycle(Mode), py_bench_vm:rss() - Before}
                                    || _ <- lists:seq(1, Cycles)]),
    {Times, Growths, settled_threads() - Threads}.

-spec cycle(py_context:context_mode()) -> pos_integer().
cycle(Mode) ->
    {Ns, ok} = py_bench_stats:timed(
                 fun() ->
                     {ok, Ctx} = py_context:new(#{mode => Mode}),
                     ok = py_context:exec(Ctx, <<"import json\ndef f(x): return json.dumps(x)">>),
                     {ok, <<"[1]">>} = py_context:call(Ctx, '__main__', f, [[1]]),
                     py_context:stop(Ctx)
                 end),
    Ns.

%% Once the number is stable: threads that help with starting and ending are temporary.
-spec settled_threads() -> pos_integer().
settled_threads() ->
    Now = py_bench_vm:threads(),
    ok = timer:sleep(500),
    case py_bench_vm:threads() of
        Now -> Now;
        _Other -> settled_threads()
    end.
