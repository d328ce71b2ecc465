%% Coroutines of all callers beside one another on their context's event loop: what runs meanwhile,
%% who is cancelled, for whom each of them speaks. Once per mode that the linked Python has.
-module(coroutine_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, eventually/1]).

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

%% `gate' is open once `opened' has run; `seen' is what has happened.
-define(PRELOAD, <<"
import asyncio, erlang, sys, threading, time
gate = asyncio.Event()
seen = []

async def one():
    return 1

async def wait_at_gate(value):
    try:
        await gate.wait()
        return value
    except asyncio.CancelledError:
        seen.append(('cancelled', value))
        raise

def open_gate():
    gate.set()

async def meet(many):
    seen.append('here')
    if len(seen) == many: gate.set()
    await gate.wait()
    return len(seen)

async def spin():
    erlang.go()
    while True: pass

async def spin_later():
    await asyncio.sleep(0)
    erlang.go()
    while True: pass

async def cleans_up(seconds):
    try:
        erlang.go()
        await gate.wait()
    finally:
        await asyncio.sleep(seconds)
        seen.append('cleaned up')

async def goes_on():
    erlang.go()
    while not gate.is_set():
        try:
            await gate.wait()
        except asyncio.CancelledError:
            seen.append('went on')

async def who():
    first = erlang.self()
    await asyncio.sleep(0)
    print('said by', first, flush=True)
    return first, erlang.self(), await asyncio.create_task(who_too())

async def who_too():
    await asyncio.sleep(0)
    return erlang.self()

async def leave(pid):
    async def later():
        await gate.wait()
        erlang.send(pid, ('later', erlang.self()))
    global kept
    kept = asyncio.create_task(later())
    return erlang.self()
">>).

suite() ->
    [{timetrap, {minutes, 1}}].

all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode(
      [coroutines_of_all_callers_wait_beside_one_another,
       jobs_run_while_coroutines_wait,
       a_coroutine_that_computes_and_jobs_take_turns,
       a_timeout_cancels_that_task_and_no_other,
       the_callers_death_cancels_that_task_and_no_other,
       a_caller_may_leave_its_task_behind,
       an_interrupt_cancels_the_oldest_task,
       a_step_that_computes_is_interrupted_and_no_task_is_lost,
       a_cancelled_task_may_clean_up,
       a_task_that_goes_on_is_cancelled_again_and_counted,
       a_stop_answers_each_task_once,
       a_killed_context_answers_each_task_once,
       a_drained_context_lets_its_tasks_end,
       each_task_speaks_for_its_caller,
       what_is_left_of_a_call_speaks_for_the_context,
       namespaces_and_tracebacks_are_those_of_each_caller,
       too_many_tasks_are_refused_and_do_not_begin,
       statements_and_expressions_may_wait,
       the_preload_may_wait,
       a_job_that_waits_for_erlang_lets_tasks_run,
       erlang_functions_can_be_awaited,
       a_thousand_erlang_functions_are_awaited_at_once,
       an_awaited_function_may_call_the_same_context,
       an_awaited_function_is_given_up,
       erlang_functions_are_awaited_on_other_loops,
       what_plain_asyncio_has_works,
       any_loop_of_the_users_choice_runs_tasks,
       exceptions_that_end_a_program_end_one_call,
       the_options_are_checked_and_shown]).

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = start(#{}, Config),
    Self = self(),
    ok = py:register_function(go, fun() -> Self ! go, ok end),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all(),
    [] = [Message || {py_result, _, _} = Message <- test_helpers:messages()].

start(Options, Config) ->
    _ = application:ensure_all_started(py_context_router),
    py_context:new(maps:merge(#{mode => ?config(mode, Config), preload => ?PRELOAD,
                                shutdown => 100}, Options)).

call(Ctx, Func, Args) ->
    py_context:call(Ctx, '__main__', Func, Args).

call(Ctx, Func, Args, Timeout) ->
    py_context:call(Ctx, '__main__', Func, Args, #{}, Timeout).

seen(Ctx) ->
    {ok, Seen} = py_context:eval(Ctx, <<"seen">>),
    Seen.

await_tasks(Ctx, Count) ->
    _ = eventually(fun() ->
        case py_context:info(Ctx) of
            #{tasks := Count} -> true;
            #{tasks := Other} -> Other
        end
    end),
    ok.

gone() ->
    receive go -> ok end.

%% ------------------------------------------------------------------ beside one another

coroutines_of_all_callers_wait_beside_one_another(Config) ->
    Ctx = ?config(ctx, Config),
    %% None returns before all have come.
    Callers = [ask(fun() -> call(Ctx, meet, [200]) end) || _ <- lists:seq(1, 200)],
    [?assertEqual({ok, 200}, answer(Caller)) || Caller <- Callers],
    _ = eventually(fun() ->
        #{tasks := Tasks, done := Done} = py_context:info(Ctx),
        Tasks =:= 0 andalso Done >= 200 orelse {Tasks, Done}
    end),
    [?assertEqual([], leftovers(Caller)) || Caller <- Callers].

jobs_run_while_coroutines_wait(Config) ->
    Ctx = ?config(ctx, Config),
    Callers = [ask(fun() -> call(Ctx, wait_at_gate, [N]) end) || N <- lists:seq(1, 50)],
    ok = await_tasks(Ctx, 50),
    %% They hold nothing.
    _ = eventually(fun() ->
        Info = py_context:info(Ctx),
        Info =:= maps:merge(Info, #{tasks => 50, state => idle, queue => 0})
    end),
    ?assertEqual({ok, 2.0}, py_context:call(Ctx, math, sqrt, [4])),
    ?assertEqual({ok, 1}, call(Ctx, one, [])),
    ?assertEqual({ok, none}, call(Ctx, open_gate, [])),
    [?assertEqual({ok, N}, answer(Caller)) || {N, Caller} <- lists:zip(lists:seq(1, 50), Callers)].

a_coroutine_that_computes_and_jobs_take_turns(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"
async def busy():
    global turns
    turns = 0
    while not gate.is_set():
        turns += 1
        await asyncio.sleep(0)
">>),
    Busy = [ask(fun() -> call(Ctx, busy, []) end) || _ <- lists:seq(1, 100)],
    ok = await_tasks(Ctx, 100),
    [?assertEqual({ok, 2.0}, py_context:call(Ctx, math, sqrt, [4])) || _ <- lists:seq(1, 100)],
    %% A caller that never stops doesn't keep the loop from its turns.
    Caller = spawn_link(fun Again() -> py_context:call(Ctx, math, sqrt, [4]), Again() end),
    {ok, Turns} = py_context:eval(Ctx, <<"turns">>),
    _ = eventually(fun() ->
        {ok, Now} = py_context:eval(Ctx, <<"turns">>),
        Now > Turns + 1000 orelse Now
    end),
    true = unlink(Caller),
    exit(Caller, kill),
    {ok, none} = call(Ctx, open_gate, []),
    [?assertEqual({ok, none}, answer(Each)) || Each <- Busy].

%% ------------------------------------------------------------------ that task and no other

a_timeout_cancels_that_task_and_no_other(Config) ->
    Ctx = ?config(ctx, Config),
    Other = ask(fun() -> call(Ctx, wait_at_gate, [other]) end),
    ok = await_tasks(Ctx, 1),
    Late = ask(fun() -> call(Ctx, wait_at_gate, [late], 300) end),
    ?assertEqual({error, timeout}, answer(Late)),
    ok = await_tasks(Ctx, 1),
    ?assertEqual([{<<"cancelled">>, <<"late">>}], seen(Ctx)),
    {ok, none} = call(Ctx, open_gate, []),
    ?assertEqual({ok, <<"other">>}, answer(Other)),
    ?assertMatch(#{timed_out := 1, cancelled := 0}, py_context:info(Ctx)),
    ?assertEqual([[], []], [leftovers(Each) || Each <- [Late, Other]]).

the_callers_death_cancels_that_task_and_no_other(Config) ->
    Ctx = ?config(ctx, Config),
    Other = ask(fun() -> call(Ctx, wait_at_gate, [other]) end),
    Dying = [spawn(fun() -> call(Ctx, wait_at_gate, [N]) end) || N <- lists:seq(1, 20)],
    ok = await_tasks(Ctx, 21),
    [exit(Each, kill) || Each <- Dying],
    ok = await_tasks(Ctx, 1),
    ?assertEqual([{<<"cancelled">>, N} || N <- lists:seq(1, 20)], lists:sort(seen(Ctx))),
    {ok, none} = call(Ctx, open_gate, []),
    ?assertEqual({ok, <<"other">>}, answer(Other)),
    ?assertMatch(#{cancelled := 20, done := _}, py_context:info(Ctx)).

a_caller_may_leave_its_task_behind(Config) ->
    Ctx = ?config(ctx, Config),
    Options = #{on_caller_down => finish},
    Caller = spawn(fun() -> py:call(Ctx, '__main__', cleans_up, [0], Options) end),
    ok = gone(),
    ok = await_tasks(Ctx, 1),
    exit(Caller, kill),
    _ = eventually(fun() -> not is_process_alive(Caller) end),
    {ok, none} = call(Ctx, open_gate, []),
    ok = await_tasks(Ctx, 0),
    ?assertEqual([<<"cleaned up">>], seen(Ctx)).

an_interrupt_cancels_the_oldest_task(Config) ->
    Ctx = ?config(ctx, Config),
    ?assertEqual(not_running, py_context:interrupt(Ctx)),
    [First, Second] = [begin
                           Caller = ask(fun() -> call(Ctx, wait_at_gate, [N]) end),
                           ok = await_tasks(Ctx, N),
                           Caller
                       end || N <- [1, 2]],
    ?assertEqual(ok, py_context:interrupt(Ctx)),
    ?assertEqual({error, interrupted}, answer(First)),
    ok = await_tasks(Ctx, 1),
    {ok, none} = call(Ctx, open_gate, []),
    ?assertEqual({ok, 2}, answer(Second)),
    _ = eventually(fun() -> maps:get(cancelled, py_context:info(Ctx)) =:= 1 end),
    ?assertEqual([[], []], [leftovers(Each) || Each <- [First, Second]]).

%% The asynchronous exception hits the step that computes, and nothing of the loop.
a_step_that_computes_is_interrupted_and_no_task_is_lost(Config) ->
    Ctx = ?config(ctx, Config),
    Others = [ask(fun() -> call(Ctx, wait_at_gate, [N]) end) || N <- lists:seq(1, 20)],
    ok = await_tasks(Ctx, 20),
    [begin
         Late = ask(fun() -> call(Ctx, Func, [], 300) end),
         ok = gone(),
         ?assertEqual({error, timeout}, answer(Late)),
         ok = await_tasks(Ctx, 20)
     end || Func <- [spin, spin_later], _ <- lists:seq(1, 5)],
    Interrupted = ask(fun() -> call(Ctx, spin_later, []) end),
    ok = gone(),
    ?assertEqual(ok, py_context:interrupt(Ctx)),
    ?assertEqual({error, interrupted}, answer(Interrupted)),
    Dying = spawn(fun() -> call(Ctx, spin_later, []) end),
    ok = gone(),
    exit(Dying, kill),
    ok = await_tasks(Ctx, 20),
    ?assertEqual([], seen(Ctx)),
    {ok, none} = call(Ctx, open_gate, []),
    ?assertEqual(lists:seq(1, 20), [N || Each <- Others, {ok, N} <- [answer(Each)]]).

a_cancelled_task_may_clean_up(Config) ->
    Ctx = ?config(ctx, Config),
    Late = ask(fun() -> call(Ctx, cleans_up, [0.1], 300) end),
    ok = gone(),
    ?assertEqual({error, timeout}, answer(Late)),
    _ = eventually(fun() -> seen(Ctx) =:= [<<"cleaned up">>] end),
    ok = await_tasks(Ctx, 0),
    Interrupted = ask(fun() -> call(Ctx, cleans_up, [0.1]) end),
    ok = gone(),
    ok = await_tasks(Ctx, 1),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Interrupted)),
    ?assertEqual([<<"cleaned up">>, <<"cleaned up">>], seen(Ctx)).

a_task_that_goes_on_is_cancelled_again_and_counted(Config) ->
    {ok, Ctx} = start(#{cancel_grace => 20}, Config),
    ok = logger:set_primary_config(level, warning),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{pid => self()}}),
    Late = ask(fun() -> call(Ctx, goes_on, [], 1_000) end),
    ?assertEqual({error, timeout}, answer(Late)),
    ok = gone(),
    _ = eventually(fun() -> length(seen(Ctx)) >= 3 end),
    ?assertMatch(#{tasks := 1, abandoned_tasks := 1}, py_context:info(Ctx)),
    ?assertEqual([], leftovers(Late)),
    receive {logged, First} -> ?assertMatch({match, _}, re:run(First, "goes on")) end,
    ?assertEqual([], [Text || {logged, Text} <- test_helpers:messages()]),
    {ok, none} = call(Ctx, open_gate, []),
    ok = await_tasks(Ctx, 0),
    ?assertMatch(#{abandoned_tasks := 0}, py_context:info(Ctx)),
    ok = logger:remove_handler(?MODULE),
    ok = logger:set_primary_config(level, none).

%% The logger calls this in the process that logs.
log(#{msg := {Format, Args}}, #{config := #{pid := Pid}}) when is_list(Args) ->
    Pid ! {logged, unicode:characters_to_binary(io_lib:format(Format, Args))},
    ok;
log(_Event, _Handler) ->
    ok.

a_stop_answers_each_task_once(Config) ->
    {ok, Ctx} = start(#{shutdown => 1_000}, Config),
    ok = py_context:exec(Ctx, <<"
async def ends_soon():
    erlang.go()
    await asyncio.sleep(0.1)
    return 'ended'
">>),
    Waiting = [ask(fun() -> call(Ctx, wait_at_gate, [N]) end) || N <- lists:seq(1, 20)],
    ok = await_tasks(Ctx, 20),
    Ending = ask(fun() -> call(Ctx, ends_soon, []) end),
    ok = gone(),
    ok = py_context:stop(Ctx),
    %% Within `shutdown' it may end.
    ?assertEqual({ok, <<"ended">>}, answer(Ending)),
    [?assertEqual({error, {context_died, shutdown}}, answer(Each)) || Each <- Waiting],
    [?assertEqual([], leftovers(Each)) || Each <- Waiting].

a_killed_context_answers_each_task_once(Config) ->
    {ok, Ctx} = start(#{}, Config),
    true = unlink(Ctx),
    Threads = test_helpers:context_threads(),
    Waiting = [ask(fun() -> call(Ctx, wait_at_gate, [N]) end) || N <- lists:seq(1, 20)],
    ok = await_tasks(Ctx, 20),
    exit(Ctx, kill),
    [?assertEqual({error, {context_died, killed}}, answer(Each)) || Each <- Waiting],
    _ = eventually(fun() -> test_helpers:context_threads() < Threads end),
    [?assertEqual([], leftovers(Each)) || Each <- Waiting].

a_drained_context_lets_its_tasks_end(Config) ->
    {ok, [_, Second]} = py_context_router:start_pool(drained, #{contexts => 2,
                                                                mode => ?config(mode, Config),
                                                                preload => ?PRELOAD}),
    ok = py_context:exec(Second, <<"
async def ends_soon():
    erlang.go()
    await asyncio.sleep(0.1)
    return 'ended'
">>),
    Ending = ask(fun() -> call(Second, ends_soon, []) end),
    ok = gone(),
    ok = await_tasks(Second, 1),
    Monitor = monitor(process, Second),
    ok = py_context_router:resize_pool(drained, 1),
    ?assertEqual({ok, <<"ended">>}, answer(Ending)),
    receive {'DOWN', Monitor, process, Second, _} -> ok end.

%% ------------------------------------------------------------------ who is who

each_task_speaks_for_its_caller(Config) ->
    Ctx = ?config(ctx, Config),
    Callers = [ask(fun() ->
                       Self = self(),
                       Leader = spawn_link(fun() -> leader(Self) end),
                       true = group_leader(Leader, Self),
                       {ok, Who} = call(Ctx, who, []),
                       receive {said, Said} ->
                           {Self, Who, unicode:characters_to_binary(Said)}
                       end
                   end) || _ <- lists:seq(1, 20)],
    [begin
         {Self, Who, Said} = answer(Caller),
         ?assertEqual({Self, Self, Self}, Who),
         ?assertMatch(<<"said by ", _/binary>>, Said),
         ?assertEqual([], leftovers(Caller))
     end || Caller <- Callers].

leader(To) ->
    receive
        {io_request, From, Ref, {put_chars, _, Text}} ->
            To ! {said, Text},
            From ! {io_reply, Ref, ok},
            leader(To)
    end.

what_is_left_of_a_call_speaks_for_the_context(Config) ->
    Ctx = ?config(ctx, Config),
    Self = self(),
    ?assertEqual({ok, Self}, call(Ctx, leave, [Self])),
    {ok, none} = call(Ctx, open_gate, []),
    receive {<<"later">>, Pid} -> ?assertEqual(Ctx, Pid) end.

namespaces_and_tracebacks_are_those_of_each_caller(Config) ->
    Ctx = ?config(ctx, Config),
    Callers = [ask(fun() ->
                       Source = io_lib:format("import asyncio~nasync def mine():~n"
                                              "  await asyncio.sleep(0)~n"
                                              "  return x, __import__('__main__').x~n"
                                              "x = ~b~n", [N]),
                       ok = py:exec(Ctx, Source),
                       py:call(Ctx, '__main__', mine, [])
                   end) || N <- lists:seq(1, 10)],
    ?assertEqual([{ok, {N, N}} || N <- lists:seq(1, 10)], [answer(Each) || Each <- Callers]),
    ok = py:exec(Ctx, <<"async def inner():\n  await __import__('asyncio').sleep(0)\n  1 // 0\n"
                        "async def outer():\n  await inner()\n">>),
    {error, {'ZeroDivisionError', _, #{frames := Frames}}} =
        py:call(Ctx, '__main__', outer, [], #{traceback => true}),
    ?assertMatch([#{function := <<"outer">>}, #{function := <<"inner">>}], Frames).

%% ------------------------------------------------------------------ bounds

too_many_tasks_are_refused_and_do_not_begin(Config) ->
    {ok, Ctx} = start(#{max_tasks => 3}, Config),
    Waiting = [ask(fun() -> call(Ctx, wait_at_gate, [N]) end) || N <- [1, 2, 3]],
    ok = await_tasks(Ctx, 3),
    Refused = {error, {overloaded, #{tasks => 3, max_tasks => 3}}},
    ?assertEqual(Refused, call(Ctx, meet, [1])),
    ?assertEqual([], seen(Ctx)),
    ?assertMatch({match, _}, re:run(py_error:format(Refused), "3 coroutines")),
    {ok, none} = call(Ctx, open_gate, []),
    [?assertMatch({ok, _}, answer(Each)) || Each <- Waiting],
    ?assertEqual({ok, 1}, call(Ctx, meet, [1])).

%% ------------------------------------------------------------------ await outside of functions

statements_and_expressions_may_wait(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"loop = asyncio.get_running_loop() if False else None\n"
                                "lock = asyncio.Lock()\n"
                                "async with lock: x = await one()\n"
                                "y = [await one() async for _ in numbers()] if x == 0 else 2\n">>),
    ?assertEqual({ok, 3}, py_context:eval(Ctx, <<"x + y">>)),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"await one() + x">>)),
    Waiting = ask(fun() -> py_context:exec(Ctx, <<"await gate.wait()\nz = 5">>) end),
    ok = await_tasks(Ctx, 1),
    {ok, none} = call(Ctx, open_gate, []),
    ?assertEqual(ok, answer(Waiting)),
    ?assertEqual({ok, 5}, py_context:eval(Ctx, <<"z">>)),
    ?assertMatch({error, {'ZeroDivisionError', _}},
                 py_context:exec(Ctx, <<"await one()\n1 // 0">>)).

the_preload_may_wait(Config) ->
    {ok, Ctx} = start(#{preload => <<"import asyncio\nawait asyncio.sleep(0)\n"
                                     "loop = asyncio.get_running_loop()\n"
                                     "async def same():\n"
                                     "  return asyncio.get_running_loop() is loop">>}, Config),
    %% What it has made belongs to the loop of the tasks.
    ?assertEqual({ok, true}, call(Ctx, same, [])),
    true = unlink(Ctx),
    ?assertMatch({error, {'ZeroDivisionError', _}},
                 start(#{preload => <<"import asyncio\nawait asyncio.sleep(0)\n1 // 0">>}, Config)).

%% ------------------------------------------------------------------ beside Erlang

%% The function that a job calls waits for a task of the same context.
a_job_that_waits_for_erlang_lets_tasks_run(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"
async def soon():
    for _ in range(10): await asyncio.sleep(0.001)
    return 'task'
def ask():
    return erlang.wait_for_task()
">>),
    Task = ask(fun() -> receive start -> call(Ctx, soon, []) end end),
    ok = py:register_function(wait_for_task, fun() ->
        Parent = self(),
        Pid = spawn_link(fun() -> Parent ! {done, call(Ctx, soon, [])} end),
        receive {done, {ok, Value}} -> unlink(Pid), Value end
    end),
    ?assertEqual({ok, <<"task">>}, call(Ctx, ask, [])),
    Waiting = ask(fun() -> call(Ctx, wait_at_gate, [1]) end),
    ok = await_tasks(Ctx, 1),
    ok = py:register_function(wait_for_task, fun() -> answer_of(Waiting) end),
    Task ! start,
    ?assertEqual({ok, <<"task">>}, answer(Task)),
    %% One that has begun before goes on, too.
    ok = py_context:exec(Ctx, <<"
async def opens():
    await asyncio.sleep(0.01)
    gate.set()
">>),
    Opening = ask(fun() -> call(Ctx, opens, []) end),
    Self = self(),
    ok = py:register_function(wait_for_task, fun() ->
        Self ! waits,
        receive answered -> ok end
    end),
    Asking = ask(fun() -> call(Ctx, ask, []) end),
    receive waits -> ok end,
    ?assertEqual({ok, none}, answer(Opening)),
    ?assertEqual({ok, 1}, answer(Waiting)),
    ?assertEqual(ok, py_context:interrupt(Ctx)),
    ?assertEqual({error, interrupted}, answer(Asking)).

answer_of(Pid) ->
    is_process_alive(Pid).

erlang_functions_can_be_awaited(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:register_function(double, fun(N) -> N * 2 end),
    ok = py:register_function(fails, fun() -> error(reason) end),
    ok = py:register_function(dies, fun() -> exit(self(), kill) end),
    ok = py_context:exec(Ctx, <<"
async def double(n): return await erlang.async_call('double', n)
async def beside(n): return await asyncio.create_task(double(n))
async def call(name): return await erlang.async_call(name)
">>),
    ?assertEqual({ok, 42}, call(Ctx, double, [21])),
    ?assertEqual({ok, 8}, call(Ctx, beside, [4])),
    ?assertMatch({error, {<<"erlang.Error">>, <<"error: reason">>}}, call(Ctx, call, [fails])),
    ?assertMatch({error, {<<"erlang.Error">>, <<"exit: killed">>}}, call(Ctx, call, [dies])),
    ?assertEqual({error, {'NameError', <<"no Erlang function is registered as 'none'">>}},
                 call(Ctx, call, [<<"none">>])),
    ?assertMatch({error, {'TypeError', _}}, py_context:exec(Ctx, <<"erlang.async_call()">>)),
    ?assertError(badarg, py:register_function(async_call, fun() -> ok end)).

%% None returns before all are called.
a_thousand_erlang_functions_are_awaited_at_once(Config) ->
    Ctx = ?config(ctx, Config),
    Gate = spawn_link(fun() -> open_after(1_000, []) end),
    ok = py:register_function(meet, fun(N) ->
        Gate ! {self(), here},
        receive open -> N end
    end),
    ok = py_context:exec(Ctx, <<"
async def many(n):
    return await asyncio.gather(*(erlang.async_call('meet', i) for i in range(n)))
">>),
    ?assertEqual({ok, lists:seq(0, 999)}, call(Ctx, many, [1_000])).

open_after(0, Waiting) -> [Pid ! open || Pid <- Waiting];
open_after(N, Waiting) -> receive {Pid, here} -> open_after(N - 1, [Pid | Waiting]) end.

an_awaited_function_may_call_the_same_context(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:register_function(again, fun
        (0) -> [];
        (N) ->
            {ok, 2.0} = py_context:call(Ctx, math, sqrt, [4]),
            {ok, Rest} = call(Ctx, count, [N - 1]),
            [N | Rest]
    end),
    ok = py_context:exec(Ctx, <<"async def count(n): return await erlang.async_call('again', n)">>),
    ?assertEqual({ok, lists:seq(20, 1, -1)}, call(Ctx, count, [20])).

an_awaited_function_is_given_up(Config) ->
    Ctx = ?config(ctx, Config),
    Self = self(),
    ok = py:register_function(slow, fun() -> Self ! {slow, self()}, receive go_on -> late end end),
    ok = py_context:exec(Ctx, <<"async def slow(): return await erlang.async_call('slow')">>),
    ?assertEqual({error, timeout}, call(Ctx, slow, [], 300)),
    ok = await_tasks(Ctx, 0),
    receive {slow, Pid} -> Pid ! go_on end,
    ?assertEqual({ok, 1}, call(Ctx, one, [])).

erlang_functions_are_awaited_on_other_loops(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:register_function(double, fun(N) -> {ok, _} = call(Ctx, one, []), N * 2 end),
    ok = py:register_function(plain, fun(N) -> N * 2 end),
    ok = py_context:exec(Ctx, <<"
async def both(name):
    return await asyncio.gather(*(erlang.async_call(name, n) for n in range(3)))
def in_job(): return asyncio.run(both('double'))
async def in_thread(): return await asyncio.to_thread(asyncio.run, both('plain'))
">>),
    ?assertEqual({ok, [0, 2, 4]}, call(Ctx, in_job, [])),
    ?assertEqual({ok, [0, 2, 4]}, call(Ctx, in_thread, [])).

%% ------------------------------------------------------------------ asyncio

what_plain_asyncio_has_works(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"
import contextvars
name = contextvars.ContextVar('name', default='nobody')
async def in_thread():
    name.set('me')
    return await asyncio.to_thread(lambda: (threading.get_ident() != main, name.get()))
main = threading.get_ident()
async def in_time():
    try:
        await asyncio.wait_for(asyncio.sleep(60), 0.01)
    except asyncio.TimeoutError:
        return 'late'
async def child():
    process = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)
    out, _ = await process.communicate(b'text')
    return out, process.returncode
async def together():
    if sys.version_info < (3, 11): return 3
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(3)]
    return sum(task.result() for task in tasks)
async def served():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
    server = await asyncio.start_server(echo, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b'line\\n')
    line = await reader.readline()
    writer.close()
    server.close()
    return line
async def signals():
    try:
        asyncio.get_running_loop().add_signal_handler(10, print)
    except (RuntimeError, ValueError) as error:
        return type(error).__name__
async def nested_run():
    try:
        asyncio.run(one())
    except RuntimeError as error:
        return str(error)
def run():
    return asyncio.run(one())
async def again():
    task = asyncio.current_task()
    return repr(task)[:5], task.get_coro().__name__, len(task.get_stack()) > 0
">>),
    ?assertEqual({ok, {true, <<"me">>}}, call(Ctx, in_thread, [])),
    ?assertEqual({ok, <<"late">>}, call(Ctx, in_time, [])),
    ?assertEqual({ok, 3}, call(Ctx, together, [])),
    ?assertEqual({ok, <<"line\n">>}, call(Ctx, served, [])),
    ?assertEqual({ok, <<"RuntimeError">>}, call(Ctx, signals, [])),
    {ok, Text} = call(Ctx, nested_run, []),
    ?assertMatch({match, _}, re:run(Text, "running event loop")),
    Waiting = ask(fun() -> call(Ctx, wait_at_gate, [1]) end),
    ok = await_tasks(Ctx, 1),
    ?assertEqual({ok, 1}, call(Ctx, run, [])),
    ?assertEqual({ok, {<<"<Task">>, <<"again">>, true}}, call(Ctx, again, [])),
    ?assertEqual({ok, {<<"text">>, 0}}, call(Ctx, child, [])),
    {ok, none} = call(Ctx, open_gate, []),
    ?assertEqual({ok, 1}, answer(Waiting)).

%% As `uvloop' has: a loop of another class, of which nothing is known.
any_loop_of_the_users_choice_runs_tasks(Config) ->
    Folder = ?config(priv_dir, Config),
    Module = "loops_" ++ atom_to_list(?config(mode, Config)),
    ok = file:write_file(filename:join(Folder, Module ++ ".py"),
                         <<"import asyncio\nclass Other(asyncio.SelectorEventLoop): pass\n"
                           "def new_event_loop(): return Other()\n">>),
    Path = iolist_to_binary(io_lib:format("import sys\nsys.path.append(~p)\n", [Folder])),
    {ok, Ctx} = start(#{event_loop => list_to_atom(Module), cancel_grace => 50,
                        preload => <<Path/binary, ?PRELOAD/binary>>}, Config),
    ?assertEqual({ok, <<"Other">>},
                 py_context:eval(Ctx, <<"type((await asyncio.sleep(0)) or "
                                        "asyncio.get_running_loop()).__name__">>)),
    Callers = [ask(fun() -> call(Ctx, meet, [50]) end) || _ <- lists:seq(1, 50)],
    [?assertEqual({ok, 50}, answer(Each)) || Each <- Callers],
    ok = py_context:exec(Ctx, <<"gate.clear()\nseen.clear()">>),
    Waiting = ask(fun() -> call(Ctx, wait_at_gate, [1]) end),
    ok = await_tasks(Ctx, 1),
    ?assertEqual({error, timeout}, call(Ctx, spin_later, [], 300)),
    ok = gone(),
    ?assertEqual({error, timeout}, call(Ctx, wait_at_gate, [2], 300)),
    ?assertEqual({ok, 2.0}, py_context:call(Ctx, math, sqrt, [4])),
    {ok, none} = call(Ctx, open_gate, []),
    ?assertEqual({ok, 1}, answer(Waiting)),
    _ = ask(fun() -> call(Ctx, goes_on, []) end),
    ok = py_context:stop(Ctx).

exceptions_that_end_a_program_end_one_call(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"
async def ends(name):
    await asyncio.sleep(0)
    raise getattr(__import__('builtins'), name)('now')
">>),
    Waiting = ask(fun() -> call(Ctx, wait_at_gate, [1]) end),
    ok = await_tasks(Ctx, 1),
    [?assertEqual({error, {Name, <<"now">>}}, call(Ctx, ends, [Name]))
     || Name <- ['SystemExit', 'KeyboardInterrupt', 'GeneratorExit', 'ValueError']],
    {ok, none} = call(Ctx, open_gate, []),
    ?assertEqual({ok, 1}, answer(Waiting)).

the_options_are_checked_and_shown(Config) ->
    Mode = ?config(mode, Config),
    Options = #{contexts => 1, mode => Mode, max_tasks => 7, cancel_grace => 8},
    {ok, _} = py_context_router:start_pool(optional, Options),
    ?assertMatch(#{max_tasks := 7, cancel_grace := 8, event_loop := asyncio},
                 py_context_router:info(optional)),
    [?assertEqual({error, {bad_option, Bad}}, py_context:new(maps:from_list([Bad])))
     || Bad <- [{max_tasks, 0}, {max_tasks, infinity}, {cancel_grace, -1}, {cancel_grace, soon},
                {event_loop, <<"uvloop">>}, {event_loop, undefined}]],
    {ok, Ctx} = start(#{event_loop => there_is_no_such_module}, Config),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, call(Ctx, one, [])).
