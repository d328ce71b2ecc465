%% The soak: every feature in rotation, in windows of a tenth of all calls each, with the resident
%% memory after each window and the time that a call took in it. See bin/soak.
-module(py_soak).

-export([main/0]).

-define(CALLS, 10_000_000).
-define(CALLERS, 4).
%% Until the allocators and caches have what they need.
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
    {ok, _} = py_context_router:start(#{contexts => 2, preload => [
        <<"def echo(*args, **kwargs): return args[0]\n"
          "def fail(*args): raise ValueError(args)\n"
          "def items(n): yield from range(n)\n">>]}),
    ok = py:register_function(soak_add, fun(N) -> N + 1 end),
    ok = logger:set_primary_config(level, none),
    true = group_leader(spawn_link(fun sink/0), self()),
    ok = window(max(?WARM_UP, Calls div ?WINDOWS)),
    Figures = [begin
                   {Us, ok} = timer:tc(fun() -> window(Calls div ?WINDOWS) end),
                   %% Of one caller: they call at the same time.
                   Figure = {rss_kb(), ?CALLERS * Us / (Calls div ?WINDOWS)},
                   say("~3b %: ~b KiB resident, a call ~.2f us", [N * 100 div ?WINDOWS,
                       element(1, Figure), element(2, Figure)]),
                   Figure
               end || N <- lists:seq(2, ?WINDOWS)],
    {Rss0, _} = hd(Figures),
    {Rss, _} = lists:last(Figures),
    %% The machine is not alone: the quickest windows of both halves are compared.
    Latencies = [Latency || {_, Latency} <- Figures],
    {Early, Late} = lists:split(length(Latencies) div 2, Latencies),
    Drift = lists:min(Late) / lists:min(Early),
    say("~b calls: memory ~b KB, latency x ~.2f", [Calls, Rss - Rss0, Drift]),
    case Rss - Rss0 < ?MOST_GROWTH_KB andalso Drift < ?MOST_DRIFT of
        true -> 0;
        false -> 1
    end.

%% Past the group leader, which swallows what Python prints.
-spec say(io:format(), [term()]) -> ok.
say(Format, Args) ->
    io:format(user, Format ++ "~n", Args).

-spec sink() -> no_return().
sink() ->
    receive
        {io_request, From, As, _Request} -> From ! {io_reply, As, ok}, sink();
        _Other -> sink()
    end.

-spec window(pos_integer()) -> ok.
window(Calls) ->
    Callers = [spawn_monitor(fun() -> calls(Calls div ?CALLERS) end) || _ <- lists:seq(1, ?CALLERS)],
    _ = [receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end
         || {Pid, Monitor} <- Callers],
    _ = [garbage_collect(Pid) || Pid <- processes()],
    _ = [{ok, _} = py_context:call(Ctx, gc, collect, []) || Ctx <- py_context_router:contexts()],
    ok.

-spec calls(non_neg_integer()) -> ok.
calls(0) ->
    receive Message -> exit({late_message, Message}) after 0 -> ok end;
calls(N) ->
    ok = call(N rem 20, N, py_context_router:get_context()),
    calls(N - 1).

-spec call(0..19, pos_integer(), pid()) -> ok.
call(0, N, Ctx) -> rare(N rem 400, N, Ctx);
call(1, N, Ctx) -> echo(Ctx, N * 1_000_000_007 * 1_000_000_007);
call(2, N, Ctx) -> echo(Ctx, [N, 1.5, true, none, <<"é"/utf8>>]);
call(3, N, Ctx) -> echo(Ctx, #{<<"n">> => N, <<"list">> => lists:seq(1, 20)});
call(4, N, Ctx) -> echo(Ctx, {N, {self(), [make_ref()]}});
call(5, N, Ctx) -> expect({ok, N + 1}, py_context:eval(Ctx, <<"x + 1">>, #{x => N}));
call(6, N, Ctx) ->
    {error, {'ValueError', _}} = py_context:call(Ctx, '__main__', fail, [N]),
    ok;
call(7, N, Ctx) ->
    expect({ok, N}, py_context:call(Ctx, '__main__', echo, [N], #{a => <<"b">>, c => [1, 2]}));
call(8, N, _Ctx) -> expect({ok, N}, py:call(builtins, abs, [-N]));
call(9, _N, Ctx) -> py_context:exec(Ctx, <<"y = [1, 2, 3]">>);
call(10, N, Ctx) ->
    expect({ok, N + 1}, py_context:eval(Ctx, <<"__import__('erlang').call('soak_add', n)">>, #{n => N}));
call(_, N, Ctx) -> expect({ok, N}, py_context:call(Ctx, builtins, abs, [-N])).

%% What costs more, now and then.
-spec rare(non_neg_integer(), pos_integer(), pid()) -> ok.
rare(0, N, Ctx) -> echo(Ctx, binary:copy(integer_to_binary(N), 20_000));
rare(20, _N, Ctx) ->
    {ok, Env} = py_context:create_local_env(Ctx),
    py_context:exec(Ctx, <<"x = list(range(100))">>, Env);
rare(40, _N, Ctx) ->
    {ok, Handle} = py_context:eval(Ctx, <<"{1, 2, 3}">>),
    expect({ok, 3}, py_context:call(Ctx, builtins, len, [Handle]));
rare(60, _N, _Ctx) -> expect({ok, lists:seq(0, 19)}, py:stream(builtins, range, [20]));
rare(80, _N, _Ctx) ->
    Refs = [{I, py:spawn_call(builtins, abs, [-I])} || I <- [1, 2, 3]],
    _ = [{ok, I} = py:await(Ref) || {I, Ref} <- Refs],
    ok;
rare(100, _N, _Ctx) -> py:cast(builtins, abs, [1]);
rare(120, _N, Ctx) -> py_context:exec(Ctx, <<"print('soaked')">>);
rare(140, N, Ctx) -> expect({ok, N}, py_context:eval(Ctx, integer_to_binary(N)));
rare(160, _N, Ctx) ->
    case py_context:exec(Ctx, <<"sum(range(2000))">>, 0) of
        ok -> ok;
        {error, timeout} -> ok
    end;
rare(180, _N, Ctx) ->
    {Pid, Monitor} = spawn_monitor(fun() -> py_context:exec(Ctx, <<"sum(range(2000))">>) end),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end;
rare(200, N, Ctx) ->
    %% A process with variables of its own.
    {Pid, Monitor} = spawn_monitor(fun() ->
        ok = py:exec(Ctx, <<"mine = 1">>),
        {ok, 1} = py:eval(Ctx, <<"mine">>),
        exit(N)
    end),
    receive {'DOWN', Monitor, process, Pid, N} -> ok end;
rare(_, _N, Ctx) -> expect({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16])).

-spec echo(pid(), term()) -> ok.
echo(Ctx, Value) ->
    expect({ok, Value}, py_context:call(Ctx, '__main__', echo, [Value])).

-spec expect(Same, Same) -> ok.
expect(Same, Same) -> ok.

-spec rss_kb() -> pos_integer().
rss_kb() ->
    {ok, Statm} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
    binary_to_integer(Pages) * 4.
