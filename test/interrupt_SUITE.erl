%% Interrupted jobs clean up undisturbed, and those that go on all the same are interrupted again.
%% Once per mode that the linked Python has.
-module(interrupt_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, await_busy/1, eventually/1]).

%% Each function tells `erlang` when it runs. `log` is what its clean-up has done.
-define(PRELOAD,
"import asyncio, contextlib, erlang, time
log = []

def go():
    erlang.go()
    while True: pass

def in_finally():
    try: go()
    finally:
        time.sleep(0.05)
        for _ in range(1000): pass
        log.append('done')

@contextlib.contextmanager
def transaction():
    try: yield
    finally:
        time.sleep(0.05)
        log.append('done')

def in_a_context_manager():
    with transaction(): go()

def that_calls_erlang():
    try: go()
    finally:
        time.sleep(0.05)
        log.append(erlang.tell('done'))

def that_prints():
    try: go()
    finally:
        for _ in range(100): print('x', end='')
        time.sleep(0.05)
        log.append('done')

async def in_a_coroutine():
    try:
        erlang.go()
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.05)
        log.append('done')

async def in_a_coroutine_that_computes():
    try: go()
    finally:
        await asyncio.sleep(0.05)
        log.append('done')

def numbers():
    try:
        yield 0
        go()
    finally:
        time.sleep(0.05)
        log.append('done')

def in_a_generator():
    return sum(numbers())

def after_c_code():
    try:
        erlang.go()
        time.sleep(0.5)
        while True: pass
    finally:
        time.sleep(0.3)
        log.append('done')

def below():
    try: erlang.nested()
    finally:
        time.sleep(0.05)
        log.append(erlang.tell('done'))

def stubborn(times):
    seen = []
    while len(seen) < times:
        try: go()
        except KeyboardInterrupt: seen.append(time.monotonic())
    return [later - sooner for sooner, later in zip(seen, seen[1:])]

def endless():
    try: go()
    finally:
        erlang.go()
        while True: pass

class Waiting:
    def __del__(self, erlang=erlang):
        try: erlang.hold('finalizer')
        except KeyboardInterrupt: pass
        try: erlang.hold('finalizer again')
        except KeyboardInterrupt: erlang.go()

def hold(name):
    return erlang.hold(name)

def leaves_a_mark(where):
    try: go()
    finally:
        time.sleep(0.3)
        with open(where, 'w') as f: f.write('done')
").

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode(
      [clean_up_is_undisturbed_after_a_timeout,
       clean_up_is_undisturbed_after_an_interrupt,
       clean_up_is_undisturbed_after_the_callers_death,
       clean_up_is_undisturbed_where_the_interrupt_came_late,
       clean_up_of_a_job_that_waits_is_undisturbed,
       what_goes_on_is_interrupted_after_its_grace_and_ends,
       stuck_after_shortens_the_grace,
       an_interrupt_that_is_asked_for_again_does_not_wait,
       an_interrupt_of_a_finalizer_leaves_the_job_nested_in_it_alone,
       a_stop_waits_for_clean_up,
       a_stop_ends_what_goes_on,
       the_option_is_shown]).

init_per_suite(Config) ->
    test_helpers:quiet(Config).

end_per_suite(Config) ->
    test_helpers:stop_all(),
    test_helpers:loud(Config).

-include("mode_groups.hrl").

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all().

start(Options, Config) ->
    Self = self(),
    Defaults = #{contexts => 1, mode => ?config(mode, Config), preload => <<?PRELOAD>>},
    {ok, [Ctx]} = py_context_router:start(maps:merge(Defaults, Options)),
    ok = py:register_function(go, fun() -> Self ! go, ok end),
    ok = py:register_function(tell, fun(What) -> What end),
    ok = py:register_function(nested, fun() -> py_context:call(Ctx, '__main__', go, []) end),
    Ctx.

%% The kinds of code that clean up.
functions() ->
    [in_finally, in_a_context_manager, that_calls_erlang, that_prints, in_a_coroutine,
     in_a_coroutine_that_computes, in_a_generator].

%% A process that calls it, once it runs.
running(Ctx, Function, Args, Options) ->
    Caller = ask(fun() -> py_context:call(Ctx, '__main__', Function, Args, #{}, Options) end),
    runs(),
    Caller.

runs() ->
    receive go -> ok after 30_000 -> error(it_does_not_run) end.

%% What the job before this one has cleaned up. This one may run while that one waits for Erlang
%% in the middle of it.
cleaned_up(Ctx) ->
    _ = test_helpers:eventually(fun() ->
        py_context:eval(Ctx, <<"len(log)">>) =/= {ok, 0} orelse {nothing_cleaned_up, Ctx}
    end),
    {ok, Log} = py_context:eval(Ctx, <<"log[:]">>),
    ok = py_context:exec(Ctx, <<"log.clear()">>),
    Log.

%% ------------------------------------------------------------------ cases

clean_up_is_undisturbed_after_a_timeout(Config) ->
    Ctx = start(#{}, Config),
    [begin
         Caller = running(Ctx, Function, [], #{timeout => 100}),
         ?assertEqual({Function, {error, timeout}}, {Function, answer(Caller)}),
         ?assertEqual({Function, [<<"done">>]}, {Function, cleaned_up(Ctx)})
     end || Function <- functions()].

clean_up_is_undisturbed_after_an_interrupt(Config) ->
    Ctx = start(#{}, Config),
    [begin
         Caller = running(Ctx, Function, [], #{}),
         ok = py_context:interrupt(Ctx),
         ?assertEqual({Function, {error, interrupted}}, {Function, answer(Caller)}),
         ?assertEqual({Function, [<<"done">>]}, {Function, cleaned_up(Ctx)})
     end || Function <- functions()].

clean_up_is_undisturbed_after_the_callers_death(Config) ->
    Ctx = start(#{}, Config),
    [begin
         Caller = spawn(fun() -> py_context:call(Ctx, '__main__', Function, []) end),
         runs(),
         true = exit(Caller, kill),
         ?assertEqual({Function, [<<"done">>]}, {Function, cleaned_up(Ctx)})
     end || Function <- functions()].

%% The grace begins when Python raises the exception, which is half a second after it was sent here.
clean_up_is_undisturbed_where_the_interrupt_came_late(Config) ->
    Ctx = start(#{interrupt_grace => 600}, Config),
    Caller = running(Ctx, after_c_code, [], #{}),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Caller)),
    ?assertEqual([<<"done">>], cleaned_up(Ctx)).

%% It is interrupted when what is nested in it has ended.
clean_up_of_a_job_that_waits_is_undisturbed(Config) ->
    Ctx = start(#{}, Config),
    Caller = running(Ctx, below, [], #{timeout => 100}),
    ?assertEqual({error, timeout}, answer(Caller)),
    ok = py_context:interrupt(Ctx),
    ?assertEqual([<<"done">>], cleaned_up(Ctx)).

what_goes_on_is_interrupted_after_its_grace_and_ends(Config) ->
    Ctx = start(#{interrupt_grace => 200}, Config),
    Caller = running(Ctx, stubborn, [3], #{}),
    ok = py_context:interrupt(Ctx),
    {ok, [First, Second]} = answer(Caller),
    ?assert(First >= 0.2),
    %% From then on each second.
    ?assert(Second >= 1.0).

stuck_after_shortens_the_grace(Config) ->
    Ctx = start(#{interrupt_grace => infinity, stuck_after => 2_000}, Config),
    Caller = running(Ctx, stubborn, [2], #{}),
    ok = py_context:interrupt(Ctx),
    %% It may be taken for stuck just before it ends.
    ?assertMatch({Kind, _} when Kind =:= ok; Kind =:= error, answer(Caller)),
    _ = eventually(fun() -> {ok, 2} =:= py_context:eval(Ctx, <<"1 + 1">>) end).

%% Also where no second one comes on its own.
an_interrupt_that_is_asked_for_again_does_not_wait(Config) ->
    Ctx = start(#{interrupt_grace => infinity, stuck_after => infinity}, Config),
    Caller = running(Ctx, endless, [], #{}),
    ok = py_context:interrupt(Ctx),
    runs(),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Caller)).

%% A job waits for Erlang, nested in it a finalizer does, and nested in that another job. The
%% finalizer is interrupted once more while the job nested in it waits.
an_interrupt_of_a_finalizer_leaves_the_job_nested_in_it_alone(Config) ->
    Ctx = start(#{interrupt_grace => 50, stuck_after => infinity}, Config),
    Self = self(),
    ok = py:register_function(hold, fun(Name) ->
        Self ! {holds, Name, self()},
        receive go_on -> Name end
    end),
    Holder = spawn_link(fun() ->
        {ok, Object} = py_context:eval(Ctx, <<"Waiting()">>),
        Self ! held,
        receive release -> Object end
    end),
    receive held -> ok end,
    Below = ask(fun() -> py_context:call(Ctx, '__main__', hold, [below]) end),
    _ = holds(<<"below">>),
    Holder ! release,
    _ = holds(<<"finalizer">>),
    ok = py_context:interrupt(Ctx),
    _ = holds(<<"finalizer again">>),
    Above = ask(fun() -> py_context:call(Ctx, '__main__', hold, [above]) end),
    Function = holds(<<"above">>),
    %% The next interrupt has come by then, and nobody gets a message about it.
    receive after 500 -> ok end,
    Function ! go_on,
    ?assertEqual({ok, <<"above">>}, answer(Above)),
    %% It raises that when it is its turn.
    runs(),
    ?assertEqual({error, interrupted}, answer(Below)).

holds(Name) ->
    receive {holds, Name, Function} -> Function after 30_000 -> error({never_holds, Name}) end.

a_stop_waits_for_clean_up(Config) ->
    Mark = filename:join(?config(priv_dir, Config), atom_to_list(?config(mode, Config))),
    _ = file:delete(Mark),
    Ctx = start(#{shutdown => 0}, Config),
    Caller = running(Ctx, leaves_a_mark, [list_to_binary(Mark)], #{}),
    ok = py_context_router:stop(),
    ?assertEqual({error, {context_died, shutdown}}, answer(Caller)),
    ?assertEqual({ok, <<"done">>}, file:read_file(Mark)).

a_stop_ends_what_goes_on(Config) ->
    Ctx = start(#{shutdown => 0}, Config),
    Caller = running(Ctx, stubborn, [5], #{}),
    ok = py_context_router:stop(),
    ?assertEqual({error, {context_died, shutdown}}, answer(Caller)),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end).

the_option_is_shown(Config) ->
    _ = start(#{interrupt_grace => 77}, Config),
    ?assertMatch(#{interrupt_grace := 77}, py_context_router:info(default)),
    ?assertEqual({error, {bad_option, {interrupt_grace, soon}}},
                 py_context_router:start_pool(io, #{interrupt_grace => soon})),
    ?assertMatch({error, {already_started, #{interrupt_grace := 77}}},
                 py_context_router:start(#{interrupt_grace => 78})).
