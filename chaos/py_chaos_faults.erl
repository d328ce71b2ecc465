%% Injected faults. To add one: a line in `actions/0' and its function.
-module(py_chaos_faults).

-export([begin_with/1, actions/0]).

-import(py_chaos, [one_of/1]).

-type outcome() :: ok | {failed, atom()} | {wrong, term()}.

-spec actions() -> [{atom(), Weight :: pos_integer(), fun((py_chaos:world()) -> outcome())}].
actions() ->
    [{rest, 12, fun(_) -> pause(20) end},
     {kill_context, 4, fun kill_context/1},
     {stop_context, 1, fun stop_context/1},
     {interrupt, 8, fun interrupt/1},
     {kill_pool, 1, fun kill_pool/1},
     {kill_slot_supervisor, 1, fun kill_slot_supervisor/1},
     {kill_service, 1, fun kill_service/1},
     {stop_application, 1, fun stop_application/1},
     {resize, 3, fun resize/1},
     {stop_and_start, 1, fun stop_and_start/1},
     {single_context, 2, fun single_context/1},
     {context_that_cannot_start, 1, fun broken_context/1},
     {bad_option, 1, fun bad_option/1},
     {look_at_everything, 3, fun look/1},
     {collect_garbage, 1, fun collect/1}].

%% The pools and functions that the users use.
-spec begin_with(py_chaos:world()) -> ok.
begin_with(#{pools := Pools} = World) ->
    ok = functions(),
    lists:foreach(fun(Pool) -> ok = start(Pool, World) end, Pools).

-spec functions() -> ok.
functions() ->
    ok = py:register_function(chaos_add, fun(N) -> N + 1 end),
    ok = py:register_function(chaos_nest, fun(Ctx, N) -> nest(Ctx, N) end).

-spec nest(pid(), non_neg_integer()) -> term().
nest(_Ctx, 0) ->
    0;
nest(Ctx, N) ->
    Code = <<"__import__('erlang').call('chaos_nest', ctx, n)">>,
    case py_context:eval(Ctx, Code, #{ctx => Ctx, n => N - 1}, 10_000) of
        {ok, Depth} when is_integer(Depth) -> Depth + 1;
        _ -> <<"lost">>
    end.

-spec start(atom(), py_chaos:world()) -> ok | {error, term()}.
start(Pool, #{modes := Modes}) ->
    Options = #{contexts => rand:uniform(4), mode => one_of(Modes), max_queue => 50, shutdown => 50,
                stuck_after => 100, overload => one_of([refuse, {wait, 20}])},
    case py_context_router:start_pool(Pool, Options) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, _} = Error -> Error
    end.

-spec pause(non_neg_integer()) -> ok.
pause(Ms) ->
    receive after Ms -> ok end.

-spec with_context(py_chaos:world(), fun((pid()) -> outcome())) -> outcome().
with_context(World, Fun) ->
    case py_chaos:context(World) of
        none -> {failed, nobody};
        Ctx -> Fun(Ctx)
    end.

-spec kill_context(py_chaos:world()) -> outcome().
kill_context(World) ->
    Reason = one_of([kill, shutdown, {shutdown, chaos}, boom, {boom, [1]}, normal, noconnection]),
    with_context(World, fun(Ctx) -> exit(Ctx, Reason), ok end).

-spec stop_context(py_chaos:world()) -> outcome().
stop_context(World) ->
    with_context(World, fun py_context:stop/1).

-spec interrupt(py_chaos:world()) -> outcome().
interrupt(World) ->
    with_context(World, fun(Ctx) ->
        case py_context:interrupt(Ctx) of
            ok -> ok;
            not_running -> {failed, nobody};
            {error, {context_died, _}} -> {failed, nobody}
        end
    end).

-spec kill_pool(py_chaos:world()) -> outcome().
kill_pool(#{pools := Pools}) ->
    Pool = one_of(Pools),
    %% Sometimes between the death and the restart.
    Then = one_of([fun py_context_router:stop_pool/1, fun(_) -> ok end, fun(_) -> ok end]),
    case py_pool_table:whereis_pool(Pool) of
        undefined -> {failed, nobody};
        Pid -> exit(Pid, kill), Then(Pool)
    end.

-spec kill_slot_supervisor(py_chaos:world()) -> outcome().
kill_slot_supervisor(#{pools := Pools}) ->
    Reason = one_of([kill, boom, shutdown]),
    Pids = [Link || Pid <- [py_pool_table:whereis_pool(one_of(Pools))], Pid =/= undefined,
                    {links, Links} <- [process_info(Pid, links)], Link <- Links, is_pid(Link),
                    Link =/= whereis(py_pool_sup)],
    lists:foreach(fun(Pid) -> exit(Pid, Reason) end, Pids).

%% Rarely enough to stay below the restart intensity of the application's supervisor.
-spec kill_service(py_chaos:world()) -> outcome().
kill_service(_World) ->
    ok = pause(3_000),
    case whereis(one_of([py_registry, py_context_sup, py_pool_sup, py_pool_restorer])) of
        undefined -> {failed, nobody};
        Pid -> exit(Pid, kill), pause(50)
    end.

%% Another process may stop it at the same time, and any user of the application starts it.
-spec stop_application(py_chaos:world()) -> outcome().
stop_application(#{stops := Stops} = World) ->
    Pause = one_of([0, 1, 10, 50]),
    ok = pause(3_000),
    ok = atomics:add(Stops, 1, 1),
    _ = application:stop(py_context_router),
    ok = pause(Pause),
    {ok, _} = application:ensure_all_started(py_context_router),
    %% Or another process has stopped it again, and counts it itself.
    ok = try functions() catch exit:_ -> ok end,
    ok = atomics:add(Stops, 2, 1),
    restart_all(World).

-spec restart_all(py_chaos:world()) -> outcome().
restart_all(#{pools := Pools} = World) ->
    started([try start(Pool, World) catch exit:_ -> ok end || Pool <- Pools]).

-spec started([ok | {error, term()}]) -> outcome().
started(Outcomes) ->
    case [Error || {error, _} = Error <- Outcomes, not is_fault(Error)] of
        [] -> ok;
        Wrong -> {wrong, Wrong}
    end.

%% The errors that a start may have while processes are being killed.
-spec is_fault({error, term()}) -> boolean().
is_fault({error, {context_died, _}}) -> true;
is_fault({error, {overloaded, _}}) -> true;
is_fault({error, {pool_not_started, _}}) -> true;
is_fault({error, killed}) -> true;
is_fault({error, interrupted}) -> true;
is_fault({error, {'KeyboardInterrupt', _}}) -> true;
is_fault({error, {no_interpreter, _}}) -> true;
is_fault(_) -> false.

-spec resize(py_chaos:world()) -> outcome().
resize(#{pools := Pools}) ->
    case py_context_router:resize_pool(one_of(Pools), rand:uniform(6)) of
        ok -> ok;
        Error -> case is_fault(Error) of true -> {failed, nobody}; false -> {wrong, Error} end
    end.

-spec stop_and_start(py_chaos:world()) -> outcome().
stop_and_start(#{pools := Pools} = World) ->
    Pool = one_of(Pools),
    ok = py_context_router:stop_pool(Pool),
    started([try start(Pool, World) catch exit:_ -> ok end]).

-spec single_context(py_chaos:world()) -> outcome().
single_context(#{modes := Modes}) ->
    Started = try py_context_sup:start_context(chaos, one_of(Modes))
              catch exit:_ -> {error, killed}
              end,
    case Started of
        {ok, Ctx} ->
            Outcome = case py_context:eval(Ctx, <<"6 * 7">>) of
                          {ok, 42} -> ok;
                          {error, {context_died, _}} -> {failed, died};
                          Other -> {wrong, Other}
                      end,
            ok = py_context_sup:stop_context(Ctx),
            Outcome;
        Error ->
            case is_fault(Error) orelse element(1, element(2, Error)) =:= noproc of
                true -> {failed, died};
                false -> {wrong, Error}
            end
    end.

-spec broken_context(py_chaos:world()) -> outcome().
broken_context(#{modes := Modes}) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
        exit({answer, py_context:new(#{mode => one_of(Modes), preload => <<"1 / 0">>})})
    end),
    receive
        {'DOWN', Monitor, process, Pid, {answer, {error, {'ZeroDivisionError', _}}}} -> ok;
        {'DOWN', Monitor, process, Pid, Other} -> {wrong, Other}
    end.

-spec bad_option(py_chaos:world()) -> outcome().
bad_option(#{pools := Pools}) ->
    {Key, Value} = one_of([{contexts, 0}, {mode, thread}, {max_queue, -1}, {nonsense, 1}]),
    case py_context_router:start_pool(one_of(Pools), #{Key => Value}) of
        {error, {bad_option, {Key, Value}}} -> ok;
        Other -> {wrong, Other}
    end.

-spec look(py_chaos:world()) -> outcome().
look(#{pools := Pools}) ->
    true = is_map(py_context_router:info()),
    lists:foreach(fun(Pool) ->
        true = is_boolean(py_context_router:pool_started(Pool)),
        true = py_context_router:num_contexts(Pool) >= 0
    end, Pools).

-spec collect(py_chaos:world()) -> outcome().
collect(_World) ->
    lists:foreach(fun(Pid) -> true = is_boolean(garbage_collect(Pid)) end, processes()).
