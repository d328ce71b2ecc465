%% The benchmark command: runs the chosen cases and prints a table. See bin/bench.
%%
%% Not part of the application. Writes to standard output and nowhere else.
-module(py_bench).

-export([main/0]).

-export_type([scale/0, row/0]).

-type scale() :: #{rounds := pos_integer(), samples := pos_integer(), window_ms := pos_integer(),
                   heavy := pos_integer(), loops := pos_integer(), boots := pos_integer(),
                   cycles := pos_integer()}.
%% How much is measured. `rounds' of each figure; `samples' of short and of `heavy' calls in a
%% round; turns of a loop of a few ns (`loops'); ms during which throughput is counted
%% (`window_ms'); VMs that are started (`boots'); contexts that are started and stopped in one VM
%% (`cycles').
-type row() :: #{work := iodata(), figure := iodata(), spread := iodata(), target := iodata(),
                 verdict := met | missed | none}.

-spec main() -> no_return().
main() ->
    %% The process that `-s' calls this in traps exits: a message of each process that a benchmark
    %% starts would stay in its queue and slow down the next benchmark.
    _ = process_flag(trap_exit, false),
    ok = io:setopts(standard_io, [{encoding, unicode}]),
    halt(try command(init:get_plain_arguments())
         catch
             %% The output goes to a pipe that its reader has closed.
             error:terminated -> 1
         end).

-spec command([string()]) -> 0..2.
command(Args) ->
    Known = [atom_to_list(Name) || {Name, _What} <- py_bench_cases:all()],
    {Flags, Names} = lists:partition(fun(Arg) -> lists:prefix("-", Arg) end, Args),
    case {Flags -- ["--quick", "--help", "-h"], Names -- Known} of
        {[], []} -> command(Flags, [list_to_existing_atom(Name) || Name <- Names]);
        {[Flag | _], _} -> refuse("there is no option ~ts", [Flag]);
        {[], [Name | _]} -> refuse("no benchmark is called ~ts", [Name])
    end.

-spec command([string()], [atom()]) -> 0..2.
command(["--quick"], Names) ->
    run(chosen(Names), #{rounds => 1, samples => 300, heavy => 2, loops => 20_000,
                         window_ms => 60, boots => 1, cycles => 6});
command([], Names) ->
    run(chosen(Names), #{rounds => 7, samples => 20_000, heavy => 15, loops => 1_000_000,
                         window_ms => 300, boots => 7, cycles => 300});
command(_Help, _Names) ->
    io:format("~ts", [usage()]),
    0.

-spec chosen([atom()]) -> [atom()].
chosen([]) -> [Name || {Name, _What} <- py_bench_cases:all()];
chosen(Names) -> Names.

-spec refuse(io:format(), [term()]) -> 2.
refuse(Format, Args) ->
    io:format(standard_error, "bin/bench: " ++ Format ++ "~n~n~ts", Args ++ [usage()]),
    2.

-spec usage() -> iodata().
usage() ->
    ["bin/bench [--quick] [NAME...]: measures all of these, or the named ones.\n",
     "--quick: a few seconds, to see that everything runs; its figures mean little.\n\n",
     [io_lib:format("  ~-12s ~ts~n", [Name, What]) || {Name, What} <- py_bench_cases:all()]].

-spec run([atom()], scale()) -> 0 | 1.
run(Names, #{rounds := Rounds} = Scale) ->
    %% Measured first: the load of other programs decides on the warning.
    Quiet = py_bench_machine:others_now(),
    {ok, _} = py_context_router:start(),
    io:format("~ts~ts~n", [py_bench_machine:lines(), warning(Quiet)]),
    io:format("Rounds of each: ~b. Single calls: percentiles of the calls, medians of the rounds;~n"
              "the others: percentiles of the rounds.~n"
              "others: what share of the CPUs other programs took meanwhile.~n~n", [Rounds]),
    print("", "", "median", "p10 / p90 / p99", "target", "", "others"),
    lists:foreach(fun(Name) -> run_case(Name, Scale) end, Names),
    ok = py_context_router:stop(),
    0.

-spec warning(float()) -> iodata().
warning(Busy) when Busy > 0.05 ->
    io_lib:format("WARNING: this machine is not quiet: other programs use ~.1f % of its CPUs.~n",
                  [Busy * 100]);
warning(_Busy) ->
    "".

-spec run_case(atom(), scale()) -> ok.
run_case(Name, Scale) ->
    Before = py_bench_machine:cpu(),
    Rows = py_bench_cases:run(Name, Scale),
    Others = case py_bench_cases:in_new_vms(Name) of
                 true -> "-";
                 false -> io_lib:format("~.1f %", [py_bench_machine:others(Before) * 100])
             end,
    lists:foreach(fun(Row) -> print_row(Name, Others, Row) end, Rows).

-spec print_row(atom(), iodata(), row()) -> ok.
print_row(Name, Others, #{work := Work, figure := Figure, spread := Spread, target := Target,
                          verdict := Verdict}) ->
    Mark = case Verdict of
               none -> "";
               _ -> atom_to_list(Verdict)
           end,
    print(atom_to_list(Name), Work, Figure, Spread, Target, Mark, Others).

-spec print(iodata(), iodata(), iodata(), iodata(), iodata(), iodata(), iodata()) -> ok.
print(Name, Work, Figure, Spread, Target, Mark, Others) ->
    io:format("~-12ts~-38ts~12ts  ~-30ts~-14ts~-7ts~7ts~n",
              [Name, Work, Figure, Spread, Target, Mark, Others]).
