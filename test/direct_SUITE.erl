%% Calls that run on their callers' schedulers.
-module(direct_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2]).
-export([init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

%% In microseconds. So long that a function which takes a few proves itself on the busiest machine.
-define(LIMIT, 10_000).

-import(test_helpers, [ask/1, answer/1, await_busy/1, eventually/1]).

%% Functions of a module that is imported, as most are.
-define(MODULE_SOURCE,
"import decimal, erlang, gc, json, logging, os, sys, threading, time, types
m = types.ModuleType('fast')
def exported(function):
    setattr(m, function.__name__, function)
    return function
m.slow = False
m.waits = False
m.printing = m.logging = m.calling = m.sending = None
m.nested = []
@exported
def add(a, b): return a + b
@exported
def echo(x): return x
@exported
def fail(): raise ValueError('on purpose')
@exported
def thread(): return threading.get_native_id()
@exported
def me(): return erlang.self()
@exported
def sometimes_slow(us):
    end = time.thread_time() + us / 1e6
    while time.thread_time() < end: pass
    return us
@exported
def sometimes_sleeps(seconds):
    if seconds: time.sleep(seconds)
    return seconds
@exported
def sometimes_prints(text):
    if text: print(text)
    return text
@exported
def sometimes_logs(text):
    if text: logging.getLogger('fast').error(text)
    return text
@exported
def sometimes_calls(name):
    return erlang.call(name) if name else None
@exported
def sometimes_sends(to):
    if to: erlang.send(to, 'sent')
    return True
@exported
def sometimes_async(yes):
    async def later(): return 'later'
    return later() if yes else 'now'
@exported
def sometimes_endless(tell):
    if tell:
        erlang.send(tell, 'endless')
        while True: pass
    return None
@exported
def sometimes_deep(how):
    nested = []
    if how:
        for _ in range(100_000): nested = [nested]
    try: return len(repr(nested) if how == 'repr' else json.dumps(nested))
    finally:
        while nested: nested = nested.pop()
@exported
def deep_result(depth):
    nested = []
    for _ in range(depth): nested = [nested]
    return nested
@exported
def precision(): return str(decimal.Decimal(1) / 3)
@exported
def new(): return object()
@exported
def kind(x): return type(x).__name__
@exported
def cyclic():
    cycle = []
    cycle.append(cycle)
    return None
@exported
def starts_thread(yes):
    if yes:
        m.stop = threading.Event()
        threading.Thread(target=m.stop.wait).start()
    return None
# Only now: in worker contexts others call its functions while this runs.
sys.modules['fast'] = m
").

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Mode} || Mode <- [worker | own()]]
    ++ [beside_a_neighbour_that_computes_calls_go_to_the_queue,
        beside_a_thread_of_a_job_that_waits_calls_go_to_the_queue,
        with_one_scheduler_nothing_waits_for_itself, bad_names_are_named].

groups() ->
    [{Mode, [], each()} || Mode <- [worker, owngil]].

%% The modes, beside `worker', of contexts that take direct calls.
own() ->
    {ok, _} = application:ensure_all_started(py_context_router),
    {ok, {Major, Minor}} = py:eval(<<"__import__('sys').version_info[:2]">>),
    [owngil || {Major, Minor} =:= {3, 12} orelse {Major, Minor} =:= {3, 13}].

each() ->
    [values_and_errors_are_as_those_of_the_queue, a_traceback_is_that_of_the_queue
     ,it_runs_on_the_callers_scheduler, python_sees_the_caller, handles_are_those_of_the_context
     ,environments_are_those_of_the_queue, binaries_name_the_same_function
     ,keyword_arguments_and_options_are_heeded, order_of_one_caller_is_kept
     ,a_function_proves_itself_first, unregistered_it_runs_in_the_queue
     ,an_option_permits_or_forbids_it_for_one_call
     ,a_module_that_is_not_imported_is_imported_in_the_queue, large_arguments_go_to_the_queue
     ,pools_route_and_dispatch, a_function_that_begins_to_take_long_is_revoked
     ,one_call_that_takes_long_revokes_nothing, a_function_that_begins_to_sleep_is_revoked
     ,a_scheduler_that_is_preempted_revokes_nothing, a_limit_is_an_option_of_the_context
     ,what_prints_has_arrived_with_the_result_and_runs_in_the_queue_then
     ,what_logs_has_arrived_with_the_result_and_runs_in_the_queue_then
     ,what_calls_erlang_is_refused_once_and_runs_in_the_queue_then
     ,what_gives_a_coroutine_is_refused_once_and_runs_in_the_queue_then
     ,what_is_unfit_never_becomes_direct, a_revoked_function_is_measured_again_later
     ,messages_are_sent_in_the_name_of_the_caller, an_endless_call_is_interrupted
     ,an_endless_call_is_stopped_by_its_timeout, deep_recursion_is_an_exception
     ,contexts_stop_and_resize_under_direct_calls, beside_python_threads_calls_go_to_the_queue
     ,decimals_have_the_precision_of_the_context, garbage_in_cycles_is_collected
     ,registrations_end_with_the_application
     ,schedulers_go_offline_and_come_back, many_callers_on_many_contexts_get_their_own_results].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(py_context_router),
    Config.

end_per_suite(_Config) ->
    ok = application:stop(py_context_router).

init_per_group(Mode, Config) ->
    [{mode, Mode} | Config].

end_per_group(_Mode, _Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = py_context:new(#{mode => mode(Config), direct_limit => ?LIMIT}),
    ok = py_context:exec(Ctx, <<?MODULE_SOURCE>>),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_context:destroy(ctx(Config)),
    [ok = py_context_router:unregister_direct(M, F)
     || {{M, F}, _} <- py_context_router:list_direct()],
    ok.

ctx(Config) ->
    ?config(ctx, Config).

mode(Config) ->
    proplists:get_value(mode, Config, worker).

%% A pool whose contexts have the module.
start_pool(N, Config) ->
    Options = #{contexts => N, mode => mode(Config), preload => <<?MODULE_SOURCE>>,
                direct_limit => ?LIMIT},
    {ok, Contexts} = py_context_router:start_pool(direct_pool, Options),
    Contexts.

%% ------------------------------------------------------------------ helpers

%% Registers a function and has it prove itself.
prove(Ctx, Func, Args) ->
    prove(Ctx, fast, Func, Args).

prove(Ctx, Module, Func, Args) ->
    ok = py_context_router:register_direct(Module, Func),
    eventually(fun() ->
        {ok, _} = py_context:call(Ctx, Module, Func, Args),
        case phase(Module, Func) of direct -> true; Other -> {Module, Func, Other} end
    end),
    %% The context's thread has lent the context.
    eventually(fun() -> is_direct(Ctx, fun() -> py_context:call(Ctx, Module, Func, Args) end) end).

phase(Module, Func) ->
    proplists:get_value({Module, Func}, py_context_router:list_direct()).

count(Ctx) ->
    maps:get(direct, py_context:info(Ctx)).

is_direct(Ctx, Fun) ->
    Before = count(Ctx),
    _ = Fun(),
    count(Ctx) =:= Before + 1.

%% The same result, but from this scheduler.
direct(Ctx, Func, Args) ->
    eventually(fun() ->
        Before = count(Ctx),
        Result = py_context:call(Ctx, fast, Func, Args),
        put(result, Result),
        count(Ctx) =:= Before + 1
    end),
    erase(result).

%% ------------------------------------------------------------------ results

values_and_errors_are_as_those_of_the_queue(Config) ->
    Ctx = ctx(Config),
    Values = [1, -1, 1 bsl 100, 1.5, true, none, <<"text">>, {1, 2}, [1, [2]], #{<<"k">> => [1]},
              self(), make_ref(), [], <<>>, {<<"a">>, #{}}],
    Queued = [py_context:call(Ctx, fast, echo, [Value]) || Value <- Values],
    Failed = py_context:call(Ctx, fast, fail, []),
    Bad = py_context:call(Ctx, fast, echo, [<<1:3>>]),
    Wrong = py_context:call(Ctx, fast, echo, []),
    prove(Ctx, echo, [1]),
    ?assertEqual(Queued, [direct(Ctx, echo, [Value]) || Value <- Values]),
    ?assertEqual(Bad, direct(Ctx, echo, [<<1:3>>])),
    ?assertEqual(Wrong, direct(Ctx, echo, [])),
    prove_failing(Ctx),
    ?assertEqual(Failed, direct(Ctx, fail, [])),
    ?assertMatch({error, {'ValueError', <<"on purpose">>}}, Failed).

prove_failing(Ctx) ->
    ok = py_context_router:register_direct(fast, fail),
    eventually(fun() ->
        {error, _} = py_context:call(Ctx, fast, fail, []),
        phase(fast, fail) =:= direct
    end).

a_traceback_is_that_of_the_queue(Config) ->
    Ctx = ctx(Config),
    Call = fun() -> py_context:call(Ctx, fast, fail, [], #{}, #{traceback => true}) end,
    Queued = Call(),
    ?assertMatch({error, {'ValueError', _, #{frames := [_ | _]}}}, Queued),
    prove_failing(Ctx),
    eventually(fun() -> is_direct(Ctx, fun() -> ?assertEqual(Queued, Call()) end) end).

it_runs_on_the_callers_scheduler(Config) ->
    Ctx = ctx(Config),
    {ok, Own} = py_context:call(Ctx, fast, thread, []),
    ?assertEqual(Own, maps:get(thread_id, py_context:info(Ctx))),
    prove(Ctx, thread, []),
    {ok, Scheduler} = direct(Ctx, thread, []),
    ?assertNotEqual(Own, Scheduler),
    {ok, Name} = file:read_file("/proc/self/task/" ++ integer_to_list(Scheduler) ++ "/comm"),
    ?assertMatch({match, _}, re:run(Name, "sched")).

python_sees_the_caller(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, me, []),
    [?assertEqual({ok, Pid}, answer(Pid))
     || Pid <- [ask(fun() -> direct(Ctx, me, []) end) || _ <- lists:seq(1, 20)]],
    ?assertEqual({ok, self()}, direct(Ctx, me, [])).

handles_are_those_of_the_context(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, new, []),
    prove(Ctx, kind, [1]),
    {ok, Object} = direct(Ctx, new, []),
    ?assertEqual(Ctx, py_context:context_of(Object)),
    ?assertEqual({ok, <<"object">>}, direct(Ctx, kind, [Object])),
    {ok, Other} = py_context:new(#{mode => mode(Config)}),
    {ok, Foreign} = py_context:eval(Other, <<"object()">>),
    Queued = py_context:call(Ctx, fast, kind, [Foreign], #{}, #{dispatch => queue}),
    ?assertEqual(Queued, direct(Ctx, kind, [Foreign])),
    ok = py_context:destroy(Other).

environments_are_those_of_the_queue(Config) ->
    Ctx = ctx(Config),
    {ok, Env} = py_context:create_local_env(Ctx),
    Source = <<"def f(): return where">>,
    ok = py_context:exec(Ctx, <<"where = 'shared'\n", Source/binary>>),
    ok = py_context:exec(Ctx, <<"where = 'mine'\n", Source/binary>>, Env),
    prove(Ctx, '__main__', f, []),
    Call = fun(E) -> py_context:call(Ctx, '__main__', f, [], #{}, infinity, E) end,
    [eventually(fun() ->
         is_direct(Ctx, fun() -> ?assertEqual({ok, Where}, Call(E)) end)
     end) || {E, Where} <- [{none, <<"shared">>}, {Env, <<"mine">>}]].

binaries_name_the_same_function(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, add, [1, 2]),
    Call = fun() -> ?assertEqual({ok, 3}, py_context:call(Ctx, <<"fast">>, "add", [1, 2])) end,
    eventually(fun() -> is_direct(Ctx, Call) end),
    ok = py_context_router:register_direct(<<"fast">>, <<"echo">>),
    ?assert(lists:keymember({fast, echo}, 1, py_context_router:list_direct())).

keyword_arguments_and_options_are_heeded(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, add, [1, 2]),
    Call = fun() ->
        ?assertEqual({ok, 7}, py_context:call(Ctx, fast, add, [3], #{b => 4}, #{timeout => 1000}))
    end,
    eventually(fun() -> is_direct(Ctx, Call) end),
    prove(Ctx, echo, [1]),
    Elixir = fun() ->
        ?assertEqual({ok, nil}, py_context:call(Ctx, fast, echo, [none], #{},
                                                #{values => elixir}))
    end,
    eventually(fun() -> is_direct(Ctx, Elixir) end).

order_of_one_caller_is_kept(Config) ->
    Ctx = ctx(Config),
    ok = py_context:exec(Ctx, <<"import fast\nfast.log = []\n"
                                "def append(x): fast.log.append(x)\n"
                                "fast.append = append">>),
    prove(Ctx, append, [none]),
    ok = py_context:exec(Ctx, <<"fast.log.clear()">>),
    Numbers = lists:seq(1, 2000),
    [case N rem 3 of
         0 -> ok = py_context:exec(Ctx, ["fast.log.append(", integer_to_list(N), ")"]);
         _ -> {ok, none} = py_context:call(Ctx, fast, append, [N])
     end || N <- Numbers],
    ?assertEqual({ok, Numbers}, py_context:eval(Ctx, <<"fast.log">>)).

%% ------------------------------------------------------------------ permission

a_function_proves_itself_first(Config) ->
    Ctx = ctx(Config),
    ok = py_context_router:register_direct(fast, add),
    ?assertEqual(probation, phase(fast, add)),
    [begin
         {ok, 3} = py_context:call(Ctx, fast, add, [1, 2]),
         ?assertEqual(0, count(Ctx))
     end || _ <- lists:seq(1, 31)],
    eventually(fun() ->
        {ok, 3} = py_context:call(Ctx, fast, add, [1, 2]),
        phase(fast, add) =:= direct
    end).

unregistered_it_runs_in_the_queue(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, add, [1, 2]),
    ok = py_context_router:unregister_direct(fast, add),
    ok = py_context_router:unregister_direct(fast, add),
    ?assertNot(is_direct(Ctx, fun() -> py_context:call(Ctx, fast, add, [1, 2]) end)),
    ?assertEqual([], py_context_router:list_direct()).

an_option_permits_or_forbids_it_for_one_call(Config) ->
    Ctx = ctx(Config),
    Call = fun(Where) ->
        ?assertEqual({ok, 3}, py_context:call(Ctx, fast, add, [1, 2], #{}, #{dispatch => Where}))
    end,
    [Call(direct) || _ <- lists:seq(1, 40)],
    eventually(fun() -> is_direct(Ctx, fun() -> Call(direct) end) end),
    ?assertEqual([], py_context_router:list_direct()),
    ?assertNot(is_direct(Ctx, fun() -> py_context:call(Ctx, fast, add, [1, 2]) end)),
    prove(Ctx, add, [1, 2]),
    ?assertNot(is_direct(Ctx, fun() -> Call(queue) end)),
    [?assertEqual({error, {bad_option, {dispatch, Bad}}},
                  py_context:call(Ctx, fast, add, [1, 2], #{}, #{dispatch => Bad}))
     || Bad <- [scheduler, true, 1]],
    ?assertEqual({error, {bad_option, {dispatch, direct}}},
                 py_context:eval(Ctx, <<"1">>, #{}, #{dispatch => direct})).

bad_names_are_named(_Config) ->
    [?assertError(badarg, py_context_router:register_direct(M, F))
     || {M, F} <- [{'', f}, {m, <<>>}, {1, f}, {m, "f"}, {<<255>>, f}]].

a_module_that_is_not_imported_is_imported_in_the_queue(Config) ->
    Ctx = ctx(Config),
    ok = py_context:exec(Ctx, <<"import sys; sys.modules.pop('colorsys', None)">>),
    prove(Ctx, colorsys, rgb_to_hsv, [1.0, 0.0, 0.0]),
    ok = py_context:exec(Ctx, <<"sys.modules.pop('colorsys')">>),
    Refused = maps:get(direct_refused, py_context:info(Ctx)),
    ?assertEqual({ok, {0.0, 1.0, 1.0}},
                 py_context:call(Ctx, colorsys, rgb_to_hsv, [1.0, 0.0, 0.0])),
    ?assert(maps:get(direct_refused, py_context:info(Ctx)) > Refused),
    ?assertEqual(direct, phase(colorsys, rgb_to_hsv)).

large_arguments_go_to_the_queue(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, kind, [[1]]),
    [?assertNot(is_direct(Ctx, fun() ->
         ?assertEqual({ok, Type}, py_context:call(Ctx, fast, kind, [Large]))
     end)) || {Large, Type} <- [{lists:seq(1, 5000), <<"list">>},
                                {binary:copy(<<"x">>, 1_000_000), <<"str">>}]].

pools_route_and_dispatch(Config) ->
    Ctx = ctx(Config),
    Contexts = start_pool(2, Config),
    ok = py_context_router:register_pool(direct_pool, fast),
    prove(Ctx, add, [1, 2]),
    Direct = fun() -> lists:sum([count(C) || C <- Contexts]) end,
    eventually(fun() ->
        Before = Direct(),
        {ok, 3} = py:call(fast, add, [1, 2]),
        Direct() =:= Before + 1
    end),
    ok = py_context_router:unregister_pool(fast),
    ok = py_context_router:stop_pool(direct_pool).

%% ------------------------------------------------------------------ what revokes it

a_function_that_begins_to_take_long_is_revoked(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, sometimes_slow, [1]),
    eventually(fun() ->
        {ok, 20_000} = py_context:call(Ctx, fast, sometimes_slow, [20_000]),
        phase(fast, sometimes_slow) =:= {revoked, slow}
    end),
    ?assertNot(is_direct(Ctx, fun() -> py_context:call(Ctx, fast, sometimes_slow, [1]) end)).

one_call_that_takes_long_revokes_nothing(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, sometimes_slow, [1]),
    {ok, 50_000} = direct(Ctx, sometimes_slow, [50_000]),
    [{ok, 1} = direct(Ctx, sometimes_slow, [1]) || _ <- lists:seq(1, 20)],
    ?assertEqual(direct, phase(fast, sometimes_slow)).

a_function_that_begins_to_sleep_is_revoked(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, sometimes_sleeps, [0]),
    eventually(fun() ->
        {ok, 0.02} = py_context:call(Ctx, fast, sometimes_sleeps, [0.02]),
        phase(fast, sometimes_sleeps) =:= {revoked, waits}
    end).

%% On a busy machine a short call takes long now and then.
a_scheduler_that_is_preempted_revokes_nothing(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, sometimes_slow, [20]),
    Busy = [open_port({spawn_executable, os:find_executable("python3")},
                      [{args, ["-c", "import os\nwhile os.getppid() > 1: pass"]}, use_stdio])
            || _ <- lists:seq(1, 4)],
    try [{ok, 20} = py_context:call(Ctx, fast, sometimes_slow, [20]) || _ <- lists:seq(1, 20_000)]
    after
        [begin
             {os_pid, Pid} = erlang:port_info(Port, os_pid),
             os:cmd("kill -9 " ++ integer_to_list(Pid))
         end || Port <- Busy]
    end,
    ?assertEqual(direct, phase(fast, sometimes_slow)).

a_limit_is_an_option_of_the_context(Config) ->
    {ok, Ctx} = py_context:new(#{mode => mode(Config), direct_limit => 100_000}),
    ok = py_context:exec(Ctx, <<?MODULE_SOURCE>>),
    prove(Ctx, sometimes_slow, [1]),
    [{ok, 20_000} = direct(Ctx, sometimes_slow, [20_000]) || _ <- lists:seq(1, 20)],
    ?assertEqual(direct, phase(fast, sometimes_slow)),
    ok = py_context:destroy(Ctx),
    [?assertEqual({error, {bad_option, {direct_limit, Bad}}},
                  py_context:new(#{direct_limit => Bad}))
     || Bad <- [0, -1, 1.5, infinity, 100_001]].

what_prints_has_arrived_with_the_result_and_runs_in_the_queue_then(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, sometimes_prints, [<<>>]),
    Text = captured(fun() -> {ok, <<"hello">>} = direct(Ctx, sometimes_prints, [<<"hello">>]) end),
    ?assertEqual("hello\n", Text),
    ?assertEqual({revoked, output}, phase(fast, sometimes_prints)).

what_logs_has_arrived_with_the_result_and_runs_in_the_queue_then(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, sometimes_logs, [<<>>]),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{pid => self()}}),
    {ok, <<"mistake">>} = direct(Ctx, sometimes_logs, [<<"mistake">>]),
    %% It is here: the handler is called in the process that logs, before the result is given.
    receive {logged, #{msg := Message}} ->
        ?assertNotEqual(nomatch, string:find(io_lib:format("~p", [Message]), "mistake"))
    after 0 -> ct:fail(no_event)
    end,
    ok = logger:remove_handler(?MODULE),
    ?assertEqual({revoked, output}, phase(fast, sometimes_logs)).

what_calls_erlang_is_refused_once_and_runs_in_the_queue_then(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(direct_answer, fun() -> 42 end),
    prove(Ctx, sometimes_calls, [none]),
    ?assertMatch({error, {'RuntimeError', _}}, direct(Ctx, sometimes_calls, [<<"direct_answer">>])),
    ?assertEqual({revoked, callback}, phase(fast, sometimes_calls)),
    ?assertEqual({ok, 42}, py_context:call(Ctx, fast, sometimes_calls, [<<"direct_answer">>])),
    ok = py:unregister_function(direct_answer).

what_gives_a_coroutine_is_refused_once_and_runs_in_the_queue_then(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, sometimes_async, [false]),
    ?assertMatch({error, {'RuntimeError', _}}, direct(Ctx, sometimes_async, [true])),
    ?assertEqual({revoked, coroutine}, phase(fast, sometimes_async)),
    ?assertEqual({ok, <<"later">>}, py_context:call(Ctx, fast, sometimes_async, [true])).

what_is_unfit_never_becomes_direct(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(direct_answer, fun() -> 42 end),
    Unfit = [{sometimes_prints, [<<"x">>], output},
             {sometimes_calls, [<<"direct_answer">>], callback},
             {sometimes_async, [true], coroutine}, {sometimes_sleeps, [0.0001], waits},
             {sometimes_slow, [20_000], slow}],
    _ = captured(fun() ->
        [begin
             ok = py_context_router:register_direct(fast, Func),
             %% On a busy machine the pause of one that is revoked may be over at the end.
             Phases = [begin
                           {ok, _} = py_context:call(Ctx, fast, Func, Args),
                           phase(fast, Func)
                       end || _ <- lists:seq(1, 40)],
             ?assertEqual({Func, true}, {Func, lists:member({revoked, Why}, Phases)}),
             ?assertEqual([], lists:usort(Phases) -- [probation, {revoked, Why}])
         end || {Func, Args, Why} <- Unfit]
    end),
    ?assertEqual(0, count(Ctx)),
    ok = py:unregister_function(direct_answer).

a_revoked_function_is_measured_again_later(Config) ->
    Ctx = ctx(Config),
    ok = py_context_router:register_direct(fast, sometimes_slow),
    [{ok, 20_000} = py_context:call(Ctx, fast, sometimes_slow, [20_000])
     || _ <- lists:seq(1, 9)],
    ?assertEqual({revoked, slow}, phase(fast, sometimes_slow)),
    eventually(fun() ->
        {ok, 1} = py_context:call(Ctx, fast, sometimes_slow, [1]),
        phase(fast, sometimes_slow) =:= direct
    end).

messages_are_sent_in_the_name_of_the_caller(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, sometimes_sends, [none]),
    {ok, true} = direct(Ctx, sometimes_sends, [self()]),
    receive <<"sent">> -> ok after 0 -> ct:fail(no_message) end,
    ?assertEqual(direct, phase(fast, sometimes_sends)).

%% ------------------------------------------------------------------ what doesn't return

an_endless_call_is_interrupted(Config) ->
    answer(test_helpers:ask_on(1, fun() -> interrupt_endless(ctx(Config)) end)).

interrupt_endless(Ctx) ->
    prove(Ctx, sometimes_endless, [none]),
    Asked = endless(Ctx, infinity),
    ?assertMatch(#{state := busy}, py_context:info(Ctx)),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Asked)),
    ?assertEqual({ok, none}, py_context:call(Ctx, fast, sometimes_endless, [none])).

an_endless_call_is_stopped_by_its_timeout(Config) ->
    answer(test_helpers:ask_on(1, fun() -> stop_endless(ctx(Config)) end)).

stop_endless(Ctx) ->
    prove(Ctx, sometimes_endless, [none]),
    Before = maps:get(timed_out, py_context:info(Ctx)),
    ?assertEqual({error, timeout}, answer(endless(Ctx, 50))),
    ?assertEqual(Before + 1, maps:get(timed_out, py_context:info(Ctx))),
    ?assertEqual({ok, none}, py_context:call(Ctx, fast, sometimes_endless, [none])).

%% Begins a call that says so and doesn't end. It holds its scheduler, and so would this process if
%% it were on the same one.
endless(Ctx, Timeout) ->
    Self = self(),
    Asked = test_helpers:ask_on(2, fun() -> endless_call(Ctx, Self, Timeout) end),
    receive <<"endless">> -> ok end,
    Asked.

endless_call(Ctx, Tell, Timeout) ->
    py_context:call(Ctx, fast, sometimes_endless, [Tell], #{}, Timeout).

deep_recursion_is_an_exception(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, sometimes_deep, [none]),
    [?assertMatch({error, {'RecursionError', _}}, direct(Ctx, sometimes_deep, [How]))
     || How <- [<<"repr">>, <<"json">>]],
    prove(Ctx, deep_result, [1]),
    ?assertMatch({error, {too_deep, _}}, direct(Ctx, deep_result, [100_000])).

contexts_stop_and_resize_under_direct_calls(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, add, [1, 2]),
    _ = start_pool(3, Config),
    Until = erlang:monotonic_time(millisecond) + 1000,
    Callers = [ask(fun() -> call_until(Until) end) || _ <- lists:seq(1, 8)],
    [begin
         ok = py_context_router:resize_pool(direct_pool, N),
         exit(lists:nth(1, py_context_router:contexts(direct_pool)), kill)
     end || N <- [1, 4, 2, 3, 1, 4]],
    [?assertEqual(ok, answer(Caller)) || Caller <- Callers],
    ok = py_context_router:stop_pool(direct_pool).

call_until(Until) ->
    case py:call(direct_pool, fast, add, [1, 2], #{}, 30_000) of
        {ok, 3} -> ok;
        {error, {context_died, _}} -> ok
    end,
    case erlang:monotonic_time(millisecond) < Until of
        true -> call_until(Until);
        false -> ok
    end.

%% ------------------------------------------------------------------ beside others

beside_python_threads_calls_go_to_the_queue(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, add, [1, 2]),
    {ok, none} = py_context:call(Ctx, fast, starts_thread, [true]),
    [?assertNot(is_direct(Ctx, fun() -> py_context:call(Ctx, fast, add, [1, 2]) end))
     || _ <- lists:seq(1, 50)],
    ok = py_context:exec(Ctx, <<"import fast\nfast.stop.set()\n"
                                "while threading.active_count() > 1 and any(t.name.startswith("
                                "'Thread-') for t in threading.enumerate()): time.sleep(0.001)">>),
    eventually(fun() -> is_direct(Ctx, fun() -> py_context:call(Ctx, fast, add, [1, 2]) end) end).

beside_a_thread_of_a_job_that_waits_calls_go_to_the_queue(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, add, [1, 2]),
    {ok, Neighbour} = py_context:new(#{mode => worker}),
    Self = self(),
    ok = py:register_function(direct_answer, fun() ->
        Self ! {waits, self()},
        receive go_on -> ok end
    end),
    Asked = ask(fun() ->
        py_context:exec(Neighbour, <<"import erlang, threading\nstop = threading.Event()\n"
                                     "def compute():\n  while not stop.is_set(): pass\n"
                                     "thread = threading.Thread(target=compute)\nthread.start()\n"
                                     "erlang.call('direct_answer')\nstop.set()\nthread.join()">>)
    end),
    Waiting = receive {waits, Pid} -> Pid end,
    [?assertNot(is_direct(Ctx, fun() -> py_context:call(Ctx, fast, add, [1, 2]) end))
     || _ <- lists:seq(1, 10)],
    Waiting ! go_on,
    ?assertEqual(ok, answer(Asked)),
    ok = py:unregister_function(direct_answer),
    ok = py_context:destroy(Neighbour),
    eventually(fun() -> is_direct(Ctx, fun() -> py_context:call(Ctx, fast, add, [1, 2]) end) end).

beside_a_neighbour_that_computes_calls_go_to_the_queue(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, add, [1, 2]),
    {ok, Neighbour} = py_context:new(#{mode => worker}),
    Endless = ask(fun() -> py_context:exec(Neighbour, <<"while True: pass">>) end),
    await_busy(Neighbour),
    [?assertNot(is_direct(Ctx, fun() -> py_context:call(Ctx, fast, add, [1, 2]) end))
     || _ <- lists:seq(1, 20)],
    ok = py_context:interrupt(Neighbour),
    {error, interrupted} = answer(Endless),
    eventually(fun() -> is_direct(Ctx, fun() -> py_context:call(Ctx, fast, add, [1, 2]) end) end),
    ok = py_context:destroy(Neighbour).

decimals_have_the_precision_of_the_context(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, precision, []),
    ok = py_context:exec(Ctx, <<"decimal.getcontext().prec = 4">>),
    ?assertEqual({ok, <<"0.3333">>}, direct(Ctx, precision, [])).

garbage_in_cycles_is_collected(Config) ->
    Ctx = ctx(Config),
    ok = py_context:exec(Ctx, <<"alive = 0\n"
                                "class Cycle:\n"
                                " def __init__(self):\n"
                                "  global alive\n  alive += 1\n  self.itself = self\n"
                                " def __del__(self):\n  global alive\n  alive -= 1\n"
                                "def cycle(): Cycle()">>),
    prove(Ctx, '__main__', cycle, []),
    [{ok, none} = py_context:call(Ctx, '__main__', cycle, []) || _ <- lists:seq(1, 30_000)],
    {ok, Alive} = py_context:eval(Ctx, <<"alive">>),
    ?assert(Alive < 15_000, Alive),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"gc.isenabled()">>)).

registrations_end_with_the_application(Config) ->
    prove(ctx(Config), add, [1, 2]),
    ok = application:stop(py_context_router),
    ok = application:start(py_context_router),
    ?assertEqual([], py_context_router:list_direct()),
    {ok, Ctx} = py_context:new(#{mode => mode(Config), direct_limit => ?LIMIT}),
    ok = py_context:exec(Ctx, <<?MODULE_SOURCE>>),
    ?assertNot(is_direct(Ctx, fun() -> {ok, 3} = py_context:call(Ctx, fast, add, [1, 2]) end)),
    prove(Ctx, add, [1, 2]),
    ok = py_context:destroy(Ctx).

schedulers_go_offline_and_come_back(Config) ->
    Ctx = ctx(Config),
    prove(Ctx, thread, []),
    Online = erlang:system_info(schedulers_online),
    Call = fun() -> {ok, _} = py_context:call(Ctx, fast, thread, []) end,
    [begin
         erlang:system_flag(schedulers_online, N),
         [answer(ask(fun() -> [Call() || _ <- lists:seq(1, 200)], ok end)) || _ <- lists:seq(1, 8)],
         eventually(fun() -> is_direct(Ctx, Call) end)
     end || N <- [1, Online, 1, Online]].

many_callers_on_many_contexts_get_their_own_results(Config) ->
    prove(ctx(Config), add, [1, 2]),
    _ = start_pool(4, Config),
    Callers = [ask(fun() ->
        [begin
             Sum = N + I,
             {ok, Sum} = py:call(direct_pool, fast, add, [N, I], #{}, 30_000)
         end || I <- lists:seq(1, 500)],
        ok
    end) || N <- lists:seq(1, 50)],
    [?assertEqual(ok, answer(Caller)) || Caller <- Callers],
    Infos = [py_context:info(C) || C <- py_context_router:contexts(direct_pool)],
    ?assertEqual(25_000, lists:sum([Done || #{done := Done} <- Infos])),
    ?assert(lists:sum([Direct || #{direct := Direct} <- Infos]) > 0),
    ok = py_context_router:stop_pool(direct_pool).

%% With one scheduler nothing could be awaited on it.
with_one_scheduler_nothing_waits_for_itself(_Config) ->
    Program =
        "{ok, _} = application:ensure_all_started(py_context_router),"
        "{ok, C} = py_context:new(#{mode => worker, direct_limit => 10000}),"
        "ok = py_context:exec(C, <<\"import logging\\n"
        "def f(n):\\n"
        "  if n: print(n); logging.warning(n); logging.getLogger('x').isEnabledFor(10)\\n"
        "  return n\">>),"
        "Call = fun(N) -> {ok, N} = py_context:call(C, '__main__', f, [N], #{},"
        "                                           #{dispatch => direct}) end,"
        "Prove = fun F() ->"
        "    Call(0), maps:get(direct, py_context:info(C)) > 0 orelse F() end,"
        "Prove(),"
        "[Call(N) || N <- lists:seq(1, 100)],"
        "io:format(\"fine~n\"), halt().",
    Ebin = filename:dirname(code:which(py)),
    Args = ["+S", "1", "-noinput", "-pa", Ebin, "-eval", Program],
    {ok, Output} = test_helpers:run_program(os:find_executable("erl"), Args),
    ?assertMatch({match, _}, re:run(Output, "fine")).

%% Called by `logger'.
log(Event, #{config := #{pid := Pid}}) ->
    Pid ! {logged, Event},
    ok.

%% What a function prints goes to this process's group leader.
captured(Fun) ->
    Self = self(),
    Leader = spawn_link(fun() -> leader(Self, []) end),
    Old = group_leader(),
    group_leader(Leader, Self),
    try Fun() after group_leader(Old, Self) end,
    Leader ! {stop, Self},
    receive {Leader, Text} -> lists:flatten(Text) end.

leader(Owner, Text) ->
    receive
        {io_request, From, As, Request} ->
            From ! {io_reply, As, ok},
            leader(Owner, [Text, printed(Request)]);
        {stop, Owner} ->
            Owner ! {self(), Text}
    end.

printed({put_chars, _Encoding, Chars}) -> unicode:characters_to_list(Chars);
printed({requests, Requests}) -> [printed(Each) || Each <- Requests];
printed(_Other) -> [].
