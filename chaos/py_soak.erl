%% The soak: every feature in rotation, in windows of a tenth of all calls each, with the resident
%% memory after each window and the time that a call took in it. See bin/soak.
-module(py_soak).

-export([main/0]).

-define(CALLS, 10_000_000).
-define(CALLERS, 4).
%% Calls until the allocators and caches are filled.
-define(WARM_UP, 1_500_000).
-define(WINDOWS, 10).
%% Growth from the first window to the last, in KB; drift of the latency.
-define(MOST_GROWTH_KB, 10_000).
-define(MOST_DRIFT, 2.0).

-spec main() -> no_return().
main() ->
    halt(case init:get_plain_arguments() of
             [] -> run(?CALLS);
             [Calls] ->
                 case string:to_integer(Calls) of
                     {N, ""} when N >= 1000 -> run(N);
                     _ -> usage()
                 end;
             _ -> usage()
         end).

-spec usage() -> 2.
usage() ->
    io:format("bin/soak [CALLS], at least 1000~n"),
    2.

-spec run(pos_integer()) -> 0 | 1.
run(Calls) ->
    Pools = py_soak_features:start(),
    %% Log events are made, and no handler shows them.
    ok = logger:remove_handler(default),
    true = group_leader(spawn_link(fun sink/0), self()),
    ok = window(max(?WARM_UP, Calls div ?WINDOWS), Pools),
    Figures = [begin
                   {Us, ok} = timer:tc(fun() -> window(Calls div ?WINDOWS, Pools) end),
                   %% Per caller: they call at the same time.
                   Figure = {rss_kb(), ?CALLERS * Us / (Calls div ?WINDOWS)},
                   say("~3b %: ~b KiB resident, a call ~.2f us", [N * 100 div ?WINDOWS,
                       element(1, Figure), element(2, Figure)]),
                   Figure
               end || N <- lists:seq(2, ?WINDOWS)],
    {Rss0, _} = hd(Figures),
    {Rss, _} = lists:last(Figures),
    %% Other programs disturb the machine: the quickest windows of both halves are compared.
    Latencies = [Latency || {_, Latency} <- Figures],
    {Early, Late} = lists:split(length(Latencies) div 2, Latencies),
    Drift = lists:min(Late) / lists:min(Early),
    say("~b calls: memory ~b KB, latency x ~.2f", [Calls, Rss - Rss0, Drift]),
    case Rss - Rss0 < ?MOST_GROWTH_KB andalso Drift < ?MOST_DRIFT of
        true -> 0;
        false -> 1
    end.

%% To `user': the group leader discards what Python prints.
-spec say(io:format(), [term()]) -> ok.
say(Format, Args) ->
    io:format(user, Format ++ "~n", Args).

-spec sink() -> no_return().
sink() ->
    receive
        {io_request, From, As, _Request} -> From ! {io_reply, As, ok}, sink();
        _Other -> sink()
    end.

-spec window(pos_integer(), py_soak_features:pools()) -> ok.
window(Calls, Pools) ->
    Callers = [spawn_monitor(fun() -> calls(Calls div ?CALLERS, Pools) end)
               || _ <- lists:seq(1, ?CALLERS)],
    _ = [receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end
         || {Pid, Monitor} <- Callers],
    _ = [garbage_collect(Pid) || Pid <- processes()],
    {ok, _} = py:gc(),
    ok.

-spec calls(non_neg_integer(), py_soak_features:pools()) -> ok.
calls(0, _Pools) ->
    receive Message -> exit({late_message, Message}) after 0 -> ok end;
calls(N, Pools) ->
    ok = py_soak_features:call(N, Pools),
    calls(N - 1, Pools).

-spec rss_kb() -> pos_integer().
rss_kb() ->
    {ok, Statm} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
    binary_to_integer(Pages) * 4.
