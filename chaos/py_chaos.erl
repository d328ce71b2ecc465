%% The fault injector: processes of users and faults that act at random, a process that checks the
%% invariants, and the figures at the end. See bin/chaos; the actions are in py_chaos_users and
%% py_chaos_faults.
%%
%% It works in rounds. Between two rounds no process acts, and the invariants at rest are checked.
%% While contexts are being killed, a pool with missing contexts is no fault.
%%
%% The actions of a process and their values follow from the seed, the round and the number of the
%% process alone. Each action has random numbers of its own and draws the same ones whatever
%% happens. Which context an action meets, and how many actions fit into a round, depends on the
%% machine.
%%
%% Not part of the application.
-module(py_chaos).

-export([main/0]).
%% For the actions.
-export([context/1, one_of/1]).

-export_type([world/0]).

-type world() :: #{over := atomics:atomics_ref(), stops := atomics:atomics_ref(), pools := [atom()],
                   modes := [py_context:context_mode()], owner := pid(), sink := pid()}.
%% What all processes share: whether the run is over, how many times the application was stopped and
%% started again, the names and modes to choose from, the process that collects faults, and a group
%% leader for printed text.

-define(USERS, 16).
-define(FAULTERS, 3).
%% How long a round lasts, in ms.
-define(ROUND, 15_000).
%% The interval between two checks of the invariants, in ms.
-define(LOOK, 250).
%% How long the system may take to come to rest, in ms. A slot that could not be filled is tried
%% again after 5 s at most, and a context starts within a second or two.
-define(SETTLE, 60_000).
%% How long a process waits at its end for late messages, in ms.
-define(LATE, 100).
%% Bounds during the run. Threads: of contexts, replacements and stuck contexts, and the helpers.
-define(MOST_THREADS, 400).
-define(MOST_FILES, 300).
-define(MOST_GROWTH_KB, 600 * 1024).
%% New atoms that are allowed after the first round: those of OTP modules that are loaded late,
%% about a hundred each. A leak of one atom per job shows, because a job runs some hundred times a
%% round.
-define(MOST_NEW_ATOMS, 200).

-spec main() -> no_return().
main() ->
    ok = io:setopts(standard_io, [{encoding, unicode}]),
    halt(command(init:get_plain_arguments())).

-spec command([string()]) -> 0..2.
command([]) ->
    command(["60"]);
command([Seconds]) ->
    command([Seconds, integer_to_list(erlang:system_time(second) rem 1_000_000)]);
command([Seconds, Seed]) ->
    case {string:to_integer(Seconds), string:to_integer(Seed)} of
        {{S, ""}, {N, ""}} when S > 0 -> run(S, N);
        _ -> usage()
    end;
command(_Other) ->
    usage().

-spec usage() -> 2.
usage() ->
    io:format("bin/chaos [SECONDS [SEED]]~n~nUsers:~n~ts~nFaults:~n~ts",
              [[io_lib:format("  ~ts~n", [Name]) || {Name, _, _} <- py_chaos_users:actions()],
               [io_lib:format("  ~ts~n", [Name]) || {Name, _, _} <- py_chaos_faults:actions()]]),
    2.

-spec run(pos_integer(), integer()) -> 0 | 1.
run(Seconds, Seed) ->
    io:format("chaos: ~b s, seed ~b~n", [Seconds, Seed]),
    ok = logger:set_primary_config(level, none),
    {ok, _} = application:ensure_all_started(py_context_router),
    ok = load(),
    World = world(),
    Before = (machine())#{most_atoms => infinity},
    {Counts, Wrong} = rounds(1, Seed, now_ms() + Seconds * 1000, World, Before, #{}),
    Left = settle(Before, now_ms() + ?SETTLE),
    report(Counts, Before, Wrong ++ Left).

%% Loads all code, so that its atoms exist when they are first counted.
-spec load() -> ok.
load() ->
    {ok, Modules} = application:get_key(py_context_router, modules),
    code:ensure_modules_loaded(Modules).

%% Until the time is over or a check fails.
-spec rounds(pos_integer(), integer(), integer(), world(), map(), map()) -> {map(), [term()]}.
rounds(N, Seed, End, World, Before, Sofar) ->
    {Counts, Wrong} = round(N, Seed, End, World, Before),
    Sum = sum(Sofar, Counts),
    case Wrong =:= [] andalso now_ms() < End of
        true -> rounds(N + 1, Seed, End, World, warm(Before), Sum);
        false -> {Sum, Wrong}
    end.

%% The bound on atoms holds from the end of the first round.
-spec warm(map()) -> map().
warm(#{most_atoms := infinity} = Before) ->
    Before#{most_atoms := erlang:system_info(atom_count) + ?MOST_NEW_ATOMS};
warm(Before) ->
    Before.

-spec round(pos_integer(), integer(), integer(), world(), map()) -> {map(), [term()]}.
round(N, Seed, End, #{over := Over} = World, Before) ->
    _ = rand:seed(exsss, {Seed, N, 0}),
    ok = py_chaos_faults:begin_with(World),
    ok = atomics:put(Over, 1, 0),
    Actors = [spawn_actor(py_chaos_users, {Seed, N, I}, World) || I <- lists:seq(1, ?USERS)]
        ++ [spawn_actor(py_chaos_faults, {Seed, N, 1000 + I}, World)
            || I <- lists:seq(1, ?FAULTERS)],
    Wrong = watch(min(End, now_ms() + ?ROUND), Before, []),
    ok = atomics:put(Over, 1, 1),
    {Counts, Late} = collect(Actors, #{}, []),
    {Counts, Wrong ++ Late ++ faults() ++ rest()}.

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

-spec world() -> world().
world() ->
    Modes = [Mode || Mode <- [worker, subinterp, owngil], py_nif:check_mode(Mode) =:= ok],
    #{over => atomics:new(1, []), stops => atomics:new(2, []), pools => [default, chaos_a, chaos_b],
      modes => Modes, owner => self(), sink => spawn_link(fun sink/0)}.

-spec sink() -> no_return().
sink() ->
    receive
        {io_request, From, As, _Request} -> From ! {io_reply, As, ok}, sink();
        _Other -> sink()
    end.

%% ------------------------------------------------------------------ acting

-spec spawn_actor(module(), {integer(), integer(), integer()}, world()) -> {pid(), reference()}.
spawn_actor(Module, Seed, World) ->
    spawn_monitor(fun() ->
        Actions = [{Name, Act} || {Name, Weight, Act} <- Module:actions(),
                                  _ <- lists:seq(1, Weight)],
        exit({done, act(list_to_tuple(Actions), rand:seed_s(exsss, Seed), World, #{})})
    end).

-spec act(tuple(), rand:state(), world(), map()) -> map().
act(Actions, Random, #{over := Over} = World, Counts) ->
    case atomics:get(Over, 1) of
        1 ->
            %% For late messages of the last action.
            receive after ?LATE -> ok end,
            ok = hear_nothing(the_end, World),
            Counts;
        0 ->
            {{Name, Act}, Next} = choose(Actions, Random),
            Outcome = done(Act, World),
            ok = judge(Name, Outcome, World),
            ok = hear_nothing(Name, World),
            act(Actions, Next, World, count({Name, kind(Outcome)}, Counts))
    end.

-spec done(fun((world()) -> term()), world()) -> term().
done(Act, #{stops := Stops} = World) ->
    Before = stops(Stops),
    Outcome = try Act(World)
              catch Class:Reason:Stack -> {wrong, {Class, Reason, Stack}}
              end,
    case {stops(Stops), Before} of
        {{N, _}, {N, N}} -> Outcome;
        _ -> excused(Outcome)
    end.

-spec stops(atomics:atomics_ref()) -> {non_neg_integer(), non_neg_integer()}.
stops(Stops) ->
    {atomics:get(Stops, 1), atomics:get(Stops, 2)}.

%% The outcome that is allowed only while the application is stopped: the registered functions are
%% gone with it. All other outcomes are also those of a stopped pool.
-spec excused(term()) -> term().
excused({wrong, {error, {'NameError', <<"no Erlang function ", _/binary>>}}}) -> {failed, stopped};
excused(Outcome) -> Outcome.

%% The next action, and random numbers of its own: the next action does not depend on how many it
%% draws.
-spec choose(tuple(), rand:state()) -> {{atom(), fun((world()) -> term())}, rand:state()}.
choose(Actions, Random) ->
    {N, Random1} = rand:uniform_s(tuple_size(Actions), Random),
    {Seed, Random2} = rand:uniform_s(1 bsl 58, Random1),
    _ = rand:seed(exsss, Seed),
    {element(N, Actions), Random2}.

%% A context of any pool, if there is one. The random numbers are drawn in any case and from the
%% same range: the next draw must not depend on the pool.
-spec context(world()) -> pid() | none.
context(#{pools := Pools}) ->
    Pool = one_of(Pools),
    N = rand:uniform(1 bsl 20),
    case py_context_router:contexts(Pool) of
        [] -> none;
        Contexts -> lists:nth(N rem length(Contexts) + 1, Contexts)
    end.

-spec one_of([T]) -> T.
one_of(List) ->
    lists:nth(rand:uniform(length(List)), List).

-spec judge(atom(), term(), world()) -> ok.
judge(Name, {wrong, What}, World) -> tell(World, {Name, What});
judge(_Name, _Outcome, _World) -> ok.

%% A message that no call waits for.
-spec hear_nothing(atom(), world()) -> ok.
hear_nothing(Name, World) ->
    receive Message -> tell(World, {Name, late_message, Message})
    after 0 -> ok
    end.

-spec tell(world(), term()) -> ok.
tell(#{owner := Owner}, What) ->
    Owner ! {wrong, What},
    ok.

-spec kind(term()) -> atom().
kind(ok) -> done;
kind({failed, Kind}) -> Kind;
kind({wrong, _}) -> wrong.

-spec count(term(), map()) -> map().
count(Key, Counts) ->
    maps:update_with(Key, fun(N) -> N + 1 end, 1, Counts).

%% ------------------------------------------------------------------ watching

%% Until the time is over or a check fails.
-spec watch(integer(), map(), [term()]) -> [term()].
watch(End, Before, []) ->
    case now_ms() < End of
        true -> watch(End, Before, faults() ++ look(Before) ++ pause());
        false -> []
    end;
watch(_End, _Before, Wrong) ->
    Wrong.

-spec pause() -> [term()].
pause() ->
    receive {wrong, What} -> [What]
    after ?LOOK -> []
    end.

-spec faults() -> [term()].
faults() ->
    receive {wrong, What} -> [What | faults()]
    after 0 -> []
    end.

%% The invariants that hold at any time.
-spec look(map()) -> [term()].
look(#{rss_kb := Rss0, most_atoms := MostAtoms}) ->
    #{threads := Threads, files := Files, rss_kb := Rss, atoms := Atoms} = machine(),
    Queues = [Info || Pool <- py_context_router:pools(),
                      #{contexts := Contexts} <- [py_context_router:info(Pool)],
                      #{queue := Queue, max_queue := Max} = Info <- Contexts, Queue > Max],
    [{queue_over_its_bound, Info} || Info <- Queues]
    ++ [{threads, Threads} || Threads > ?MOST_THREADS]
    ++ [{files, Files} || Files > ?MOST_FILES]
    ++ [{atoms, Atoms, MostAtoms} || Atoms > MostAtoms]
    ++ [{rss_kb, Rss, Rss0} || Rss - Rss0 > ?MOST_GROWTH_KB].

-spec machine() -> map().
machine() ->
    {ok, Tasks} = file:list_dir("/proc/self/task"),
    {ok, Files} = file:list_dir("/proc/self/fd"),
    {ok, Statm} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
    #{threads => length(Tasks), files => length(Files), rss_kb => binary_to_integer(Pages) * 4,
      processes => erlang:system_info(process_count), atoms => erlang:system_info(atom_count)}.

%% ------------------------------------------------------------------ ending

-spec collect([{pid(), reference()}], map(), [term()]) -> {map(), [term()]}.
collect([], Counts, Wrong) ->
    {Counts, Wrong};
collect([{Pid, Monitor} | Actors], Counts, Wrong) ->
    receive
        {'DOWN', Monitor, process, Pid, {done, Own}} ->
            collect(Actors, sum(Counts, Own), Wrong);
        {'DOWN', Monitor, process, Pid, Reason} ->
            collect(Actors, Counts, [{actor_died, Reason} | Wrong])
    after ?SETTLE ->
        Where = process_info(Pid, current_stacktrace),
        collect(Actors, Counts, [{never_answered, Where} | Wrong])
    end.

-spec sum(map(), map()) -> map().
sum(Counts, Others) ->
    maps:merge_with(fun(_, A, B) -> A + B end, Counts, Others).

%% At rest each existing pool has its process and as many living contexts as slots, also after its
%% process was killed. The next round starts the missing pools.
-spec rest() -> [term()].
rest() ->
    Sizes = [{Pool, py_context_router:num_contexts(Pool)} || Pool <- py_context_router:pools()],
    case await_sizes(Sizes, now_ms() + ?SETTLE) of
        [] ->
            lists:foreach(fun({Pool, _}) -> kill_and_wait(Pool) end, Sizes),
            await_sizes(Sizes, now_ms() + ?SETTLE);
        Wrong ->
            Wrong
    end.

-spec kill_and_wait(atom()) -> ok.
kill_and_wait(Pool) ->
    Monitors = [monitor(process, Ctx) || Ctx <- py_context_router:contexts(Pool)],
    true = exit(py_pool_table:whereis_pool(Pool), kill),
    lists:foreach(fun(Monitor) -> receive {'DOWN', Monitor, _, _, _} -> ok end end, Monitors).

-spec await_sizes([{atom(), pos_integer()}], integer()) -> [term()].
await_sizes(Sizes, End) ->
    Wrong = [{pool_size, Pool, Size, Info} || {Pool, Size} <- Sizes,
             Info <- [py_context_router:info(Pool)], not has_size(Size, Info)],
    case Wrong =:= [] orelse now_ms() > End of
        true -> Wrong;
        false -> receive after 50 -> await_sizes(Sizes, End) end
    end.

-spec has_size(pos_integer(), map()) -> boolean().
has_size(Size, #{size := Size, alive := Size}) -> true;
has_size(_Size, _Info) -> false.

%% Stops everything. No thread, file or entry may be left.
-spec settle(map(), integer()) -> [term()].
settle(Before, End) ->
    _ = [ok = py_context_router:stop_pool(Pool) || Pool <- py_context_router:pools()],
    ok = application:stop(py_context_router),
    await_rest(Before, End).

-spec await_rest(map(), integer()) -> [term()].
await_rest(#{threads := Threads0, files := Files0} = Before, End) ->
    #{threads := Threads, files := Files} = machine(),
    Ours = [Name || Name <- thread_names(), lists:prefix("py_ctx_", Name)],
    Pools = py_context_router:pools(),
    %% The native library keeps a few threads of its own once it has needed them.
    case Ours =:= [] andalso Pools =:= [] andalso Threads =< Threads0 + 8
        andalso Files =< Files0 + 4 of
        true ->
            [];
        false ->
            case now_ms() > End of
                true -> [{left_behind, Ours, Pools, Threads - Threads0, Files - Files0}];
                false -> receive after 50 -> await_rest(Before, End) end
            end
    end.

-spec thread_names() -> [string()].
thread_names() ->
    {ok, Tasks} = file:list_dir("/proc/self/task"),
    [string:trim(binary_to_list(Name))
     || Task <- Tasks, {ok, Name} <- [file:read_file("/proc/self/task/" ++ Task ++ "/comm")]].

-spec report(map(), map(), [term()]) -> 0 | 1.
report(Counts, #{rss_kb := Rss0, threads := Threads0, files := Files0, atoms := Atoms0}, Wrong) ->
    #{rss_kb := Rss, threads := Threads, files := Files, atoms := Atoms} = machine(),
    Faults = [Name || {Name, _, _} <- py_chaos_faults:actions()],
    Injected = Faults -- [rest, look_at_everything],
    ByName = maps:fold(fun({Name, Kind}, N, Acc) ->
                 maps:update_with(Name, fun(Kinds) -> Kinds#{Kind => N} end, #{Kind => N}, Acc)
             end, #{}, Counts),
    [io:format("  ~-28ts ~0p~n", [Name, Kinds])
     || {Name, Kinds} <- lists:sort(maps:to_list(ByName))],
    Sum = fun(Wanted) -> lists:sum([N || {{Name, Kind}, N} <- maps:to_list(Counts),
                                         Wanted(Name, Kind)]) end,
    io:format("jobs: ~b done, ~b refused, interrupted or lost with their contexts; faults: ~b~n",
              [Sum(fun(Name, Kind) -> Kind =:= done andalso not lists:member(Name, Faults) end),
               Sum(fun(Name, Kind) -> Kind =/= done andalso not lists:member(Name, Faults) end),
               Sum(fun(Name, _) -> lists:member(Name, Injected) end)]),
    io:format("memory ~b -> ~b MiB, threads ~b -> ~b, files ~b -> ~b, atoms ~b -> ~b~n",
              [Rss0 div 1024, Rss div 1024, Threads0, Threads, Files0, Files, Atoms0, Atoms]),
    case Wrong of
        [] ->
            io:format("nothing was lost~n"),
            0;
        _ ->
            [io:format("WRONG: ~tp~n", [What]) || What <- Wrong],
            1
    end.
