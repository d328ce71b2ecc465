%% The machine, and the load of other programs on it. Linux only, as the library is.
-module(py_bench_machine).

-export([lines/0, others_now/0, cpu/0, others/1]).

-export_type([cpu/0]).

-type cpu() :: {All :: non_neg_integer(), Busy :: non_neg_integer(), Own :: non_neg_integer()}.
%% CPU time in clock ticks since an arbitrary moment: of all cores, the busy part, this VM's part.

%% The lines above the table.
-spec lines() -> iodata().
lines() ->
    {ok, Python} = py_context:eval(py_context_router:get_context(),
                                   <<"__import__('platform').python_version()">>),
    io_lib:format("~ts, ~b cores; OTP ~ts (erts ~ts, ~b schedulers), Python ~ts~n"
                  "emulator flags: ~ts; load average: ~ts~n",
                  [processor(), erlang:system_info(logical_processors),
                   erlang:system_info(otp_release), erlang:system_info(version),
                   erlang:system_info(schedulers_online), Python, flags(), load()]).

-spec processor() -> string().
processor() ->
    Models = [string:trim(Model) || Line <- string:split(read("/proc/cpuinfo"), "\n", all),
                                    [Key, Model] <- [string:split(Line, ":")],
                                    string:trim(Key) =:= "model name"],
    case Models of
        [Model | _] -> Model;
        [] -> erlang:system_info(system_architecture)
    end.

%% Emulator flags that the user has set: the command line of bin/bench is the same for all.
-spec flags() -> string().
flags() ->
    Set = [Name ++ "=" ++ Value || Name <- ["ERL_AFLAGS", "ERL_FLAGS", "ERL_ZFLAGS"],
                                   Value <- [os:getenv(Name, "")], Value =/= ""],
    case Set of
        [] -> "none";
        _ -> lists:join(", ", Set)
    end.

-spec load() -> string().
load() ->
    lists:join(" ", lists:sublist(string:lexemes(read("/proc/loadavg"), " "), 3)).

%% The share of the CPUs, 0 to 1, that other programs use at the moment.
-spec others_now() -> float().
others_now() ->
    Before = cpu(),
    ok = timer:sleep(500),
    others(Before).

%% The share of the CPUs that other programs have used since.
-spec others(cpu()) -> float().
others({All0, Busy0, Own0}) ->
    {All, Busy, Own} = cpu(),
    max(0, (Busy - Busy0) - (Own - Own0)) / max(1, All - All0).

-spec cpu() -> cpu().
cpu() ->
    [Total | _] = string:split(read("/proc/stat"), "\n"),
    ["cpu" | Ticks] = string:lexemes(Total, " "),
    [User, Nice, System, Idle, Wait, Irq, Soft, Steal | _] = [list_to_integer(T) || T <- Ticks],
    %% Time stolen by other virtual machines counts as load.
    Busy = User + Nice + System + Irq + Soft + Steal,
    {Busy + Idle + Wait, Busy, own()}.

%% The fields after the command, which may hold spaces and is in brackets.
-spec own() -> non_neg_integer().
own() ->
    [_, Fields] = string:split(read("/proc/self/stat"), ") ", trailing),
    [User, System] = lists:sublist(string:lexemes(Fields, " "), 12, 2),
    list_to_integer(User) + list_to_integer(System).

-spec read(file:filename()) -> string().
read(File) ->
    {ok, Content} = file:read_file(File),
    unicode:characters_to_list(Content).
