%% Streams and coroutines. Once per mode that the linked Python has.
-module(py_stream_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, eventually/1]).

all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode(streams() ++ coroutines()).

streams() ->
    [any_iterable_is_collected,
     items_come_as_messages_in_order,
     many_items_come_as_messages,
     a_failure_comes_after_the_items_before_it,
     what_does_not_start_is_an_error,
     a_slow_consumer_slows_the_generator,
     other_messages_do_not_hold_a_stream_up,
     a_cancelled_stream_is_closed,
     a_cancelled_stream_stops_what_runs,
     a_stream_that_another_process_cancels_ends_for_its_consumer,
     the_death_of_the_consumer_closes_the_generator,
     a_dropped_stream_is_closed,
     a_close_is_done_though_its_caller_dies,
     items_are_asked_for,
     others_are_served_between_items,
     others_are_served_while_an_asynchronous_generator_waits,
     a_stream_runs_in_the_namespace_of_its_process,
     python_knows_whom_a_stream_is_for,
     a_dying_context_ends_its_streams,
     no_item_comes_after_the_end_of_a_dying_context,
     streams_wait_for_a_context_in_their_time,
     a_stream_that_waits_for_a_context_is_cancelled,
     time_is_for_all_items,
     a_step_that_does_not_end_costs_no_time_beyond_the_timeout,
     a_stream_that_fails_tells_where,
     a_stream_takes_its_pool_and_keywords_and_options,
     bad_options_are_named,
     misuse_is_a_badarg_with_a_sentence].

coroutines() ->
    [a_coroutine_is_run_to_its_end,
     a_failed_coroutine_is_an_exception,
     the_loop_is_kept,
     coroutines_run_on_top_of_one_that_waits,
     a_stream_waits_for_a_coroutine_that_waits_below,
     a_stop_that_was_left_behind_ends_no_coroutine,
     coroutines_wait_together,
     coroutines_fail_one_by_one,
     late_coroutines_are_cancelled_and_lose_nobody_else,
     a_timeout_cancels_a_coroutine,
     an_interrupt_cancels_a_coroutine,
     the_loop_ends_with_its_context].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

-define(PRELOAD,
        "import asyncio\n"
        "log = []\n"
        "def count(n):\n"
        "    try:\n"
        "        for i in range(n):\n"
        "            log.append(i)\n"
        "            yield i\n"
        "    finally:\n"
        "        log.append('closed')\n"
        "async def acount(n, pause=0):\n"
        "    try:\n"
        "        for i in range(n):\n"
        "            await asyncio.sleep(pause)\n"
        "            log.append(i)\n"
        "            yield i\n"
        "    finally:\n"
        "        log.append('closed')\n"
        "def failing(n):\n"
        "    yield from range(n)\n"
        "    raise ValueError('enough')\n"
        "async def afailing(n):\n"
        "    for i in range(n): yield i\n"
        "    raise ValueError('enough')\n"
        "def endless():\n"
        "    try:\n"
        "        yield 1\n"
        "        while True: pass\n"
        "    finally:\n"
        "        log.append('closed')\n"
        "async def aendless():\n"
        "    try:\n"
        "        yield 1\n"
        "        await asyncio.sleep(3600)\n"
        "    finally:\n"
        "        log.append('closed')\n"
        "async def nap(seconds, value):\n"
        "    try:\n"
        "        await asyncio.sleep(seconds)\n"
        "        return value\n"
        "    except asyncio.CancelledError:\n"
        "        log.append('cancelled')\n"
        "        raise\n"
        "async def fails():\n"
        "    await asyncio.sleep(0)\n"
        "    raise ValueError('enough')\n").

init_per_testcase(_Case, Config) ->
    {ok, [Ctx]} = py:start_contexts(#{contexts => 1, mode => ?config(mode, Config),
                                      preload => ?PRELOAD}),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, _Config) ->
    test_helpers:stop_all(),
    erase('$py_pin').

logged(Config) ->
    {ok, Log} = py_context:eval(?config(ctx, Config), <<"log">>),
    Log.

receive_all(Ref) ->
    receive
        {py_stream, Ref, {data, Item}} ->
            {Items, End} = receive_all(Ref),
            {[Item | Items], End};
        {py_stream, Ref, End} ->
            {[], End}
    end.

is_closed(Config) ->
    fun() -> lists:member(<<"closed">>, logged(Config)) end.

%% ------------------------------------------------------------------ streams

any_iterable_is_collected(Config) ->
    Ctx = ?config(ctx, Config),
    To9 = {ok, lists:seq(0, 9)},
    ?assertEqual(To9, py:stream(builtins, range, [10])),
    ?assertEqual(To9, py:stream('__main__', count, [10])),
    ?assertEqual(To9, py:stream('__main__', acount, [10])),
    ?assertEqual(To9, py:stream(Ctx, '__main__', count, [10], #{timeout => 5000})),
    ?assertEqual(To9, py:stream('__main__', acount, [10], #{pause => 0})),
    ?assertEqual(To9, py:stream(default, '__main__', count, [], #{n => 10})),
    ?assertEqual(To9, py:stream_eval(<<"(n for n in range(10))">>)),
    ?assertEqual(To9, py:stream_eval(Ctx, <<"[n for n in range(10)]">>)),
    ?assertEqual({ok, [<<"a">>, <<"b">>]}, py:stream_eval(<<"x">>, #{x => <<"ab">>})),
    ?assertEqual({ok, []}, py:stream_eval(<<"()">>)),
    ?assertEqual({ok, lists:seq(0, 99_999)}, py:stream(builtins, range, [100_000])),
    ?assertEqual({ok, lists:seq(0, 9_999)}, py:stream('__main__', acount, [10_000])).

items_come_as_messages_in_order(_Config) ->
    [begin
         {ok, Ref} = py:stream_start('__main__', Func, [200]),
         ?assertEqual({lists:seq(0, 199), done}, receive_all(Ref))
     end || Func <- [count, acount]],
    {ok, First} = py:stream_start(builtins, range, [100]),
    {ok, Second} = py:stream_start(builtins, range, [100], #{}),
    ?assertEqual({lists:seq(0, 99), done}, receive_all(Second)),
    ?assertEqual({lists:seq(0, 99), done}, receive_all(First)),
    {ok, Empty} = py:stream_start(builtins, range, [0]),
    ?assertEqual({[], done}, receive_all(Empty)),
    ?assertEqual([], test_helpers:messages()).

many_items_come_as_messages(_Config) ->
    Consume = fun() ->
        {ok, Ref} = py:stream_start(builtins, range, [10_000]),
        receive_all(Ref)
    end,
    Askers = [ask(Consume) || _ <- lists:seq(1, 5)],
    [?assertEqual({lists:seq(0, 9_999), done}, answer(Asker)) || Asker <- Askers],
    [?assertEqual([], leftovers(Asker)) || Asker <- Askers].

a_failure_comes_after_the_items_before_it(_Config) ->
    Error = {error, {'ValueError', <<"enough">>}},
    [begin
         {ok, Ref} = py:stream_start('__main__', Func, [3]),
         ?assertEqual({[0, 1, 2], Error}, receive_all(Ref)),
         ?assertEqual(Error, py:stream('__main__', Func, [3]))
     end || Func <- [failing, afailing]],
    ?assertMatch({error, {unconvertible, _, _}}, py:stream_eval(<<"[1, '\\ud800']">>)).

what_does_not_start_is_an_error(_Config) ->
    Cases = [{{'ModuleNotFoundError', <<"No module named 'no_such'">>}, [no_such, f, []]},
             {{'TypeError', <<"'int' object is not iterable">>}, [builtins, int, [1]]},
             {{pool_not_started, nowhere}, [nowhere, builtins, range, [3]]}],
    [begin
         ?assertEqual({error, Reason}, apply(py, stream, Args)),
         {ok, Ref} = apply(py, stream_start, Args),
         ?assertEqual({[], {error, Reason}}, receive_all(Ref))
     end || {Reason, Args} <- Cases].

a_slow_consumer_slows_the_generator(Config) ->
    [begin
         ok = py_context:exec(?config(ctx, Config), <<"log.clear()">>),
         {ok, Ref} = py:stream_start(?config(ctx, Config), '__main__', Func, [100_000],
                                     #{read_ahead => 10}),
         Made = fun() -> length(logged(Config)) end,
         %% Those of a step that ran out of time may be fewer, but not so few that there are more
         %% to come.
         _ = eventually(fun() -> case Made() of M when M > 5, M =< 10 -> true; M -> M end end),
         [?assert(Made() =< 10) || _ <- lists:seq(1, 50)],
         [receive {py_stream, Ref, {data, N}} -> ok end || N <- lists:seq(0, 24)],
         _ = eventually(fun() -> case Made() of M when M > 25, M =< 35 -> true; M -> M end end),
         %% It stays so, however often one looks.
         [?assert(Made() =< 35) || _ <- lists:seq(1, 50)],
         ok = py:stream_cancel(Ref)
     end || Func <- [count, acount]].

other_messages_do_not_hold_a_stream_up(_Config) ->
    [self() ! {other, N} || N <- lists:seq(1, 200)],
    {ok, Ref} = py:stream_start(builtins, range, [1000]),
    ?assertEqual({lists:seq(0, 999), done}, receive_all(Ref)),
    ?assertEqual(200, length(test_helpers:messages())).

a_cancelled_stream_is_closed(Config) ->
    [begin
         ok = py_context:exec(?config(ctx, Config), <<"log.clear()">>),
         {ok, Ref} = py:stream_start('__main__', Func, [100_000]),
         receive {py_stream, Ref, {data, 0}} -> ok end,
         ?assertEqual(ok, py:stream_cancel(Ref)),
         ?assert((is_closed(Config))()),
         ?assertEqual([], test_helpers:messages()),
         ?assertEqual(ok, py:stream_cancel(Ref))
     end || Func <- [count, acount]],
    ?assertError(badarg, py:stream_cancel(make_ref())),
    ?assertError(badarg, py:stream_cancel(1)).

a_cancelled_stream_stops_what_runs(Config) ->
    [begin
         ok = py_context:exec(?config(ctx, Config), <<"log.clear()">>),
         {ok, Ref} = py:stream_start('__main__', Func, []),
         receive {py_stream, Ref, {data, 1}} -> ok end,
         _ = Func =:= endless andalso await_busy(?config(ctx, Config)),
         ?assertEqual(ok, py:stream_cancel(Ref)),
         ?assertEqual([<<"closed">>], logged(Config)),
         ?assertEqual([], test_helpers:messages())
     end || Func <- [aendless, endless]].

%% In whatever the stream is doing: it waits for its consumer, for Python, or for a context.
a_stream_that_another_process_cancels_ends_for_its_consumer(Config) ->
    Cancelled = {error, cancelled},
    [begin
         {ok, Ref} = py:stream_start('__main__', Func, Args),
         First = receive {py_stream, Ref, {data, Item}} -> Item end,
         Canceller = ask(fun() -> py:stream_cancel(Ref) end),
         ?assertEqual(ok, answer(Canceller)),
         ?assert((is_closed(Config))()),
         {Rest, End} = receive_all(Ref),
         ?assertEqual(Cancelled, End),
         ?assertEqual(lists:seq(First, First + length(Rest)), [First | Rest]),
         ?assertEqual([], test_helpers:messages()),
         ?assertEqual([], leftovers(Canceller)),
         %% It was sent once.
         ?assertEqual(ok, py:stream_cancel(Ref)),
         ?assertEqual([], test_helpers:messages()),
         ok = py_context:exec(?config(ctx, Config), <<"log.clear()">>)
     end || {Func, Args} <- [{count, [100_000]}, {acount, [100_000]}, {endless, []},
                             {aendless, []}]],
    Flag = without_life(Config),
    {ok, Waiting} = py:stream_start('__main__', count, [3]),
    ?assertEqual(ok, answer(ask(fun() -> py:stream_cancel(Waiting) end))),
    ?assertEqual({[], Cancelled}, receive_all(Waiting)),
    ok = test_helpers:revive(Flag),
    %% One that has ended by itself has had its end.
    {ok, Done} = py:stream_start('__main__', count, [3]),
    ?assertEqual({[0, 1, 2], done}, receive_all(Done)),
    ?assertEqual(ok, answer(ask(fun() -> py:stream_cancel(Done) end))),
    ?assertEqual([], test_helpers:messages()).

the_death_of_the_consumer_closes_the_generator(Config) ->
    [begin
         ok = py_context:exec(?config(ctx, Config), <<"log.clear()">>),
         Parent = self(),
         Consumer = spawn(fun() ->
             {ok, Ref} = py:stream_start('__main__', Func, Args),
             receive {py_stream, Ref, {data, _}} -> Parent ! started end,
             receive never -> ok end
         end),
         receive started -> ok end,
         exit(Consumer, kill),
         _ = eventually(is_closed(Config))
     end || {Func, Args} <- [{count, [100_000]}, {acount, [100_000]}, {endless, []}]].

a_dropped_stream_is_closed(Config) ->
    [begin
         ok = py_context:exec(?config(ctx, Config), <<"log.clear()">>),
         Asker = spawn(fun() ->
             {ok, Stream} = py:stream_open('__main__', Func, [100]),
             {more, [0 | _]} = asked(Stream, 2)
         end),
         _ = eventually(fun() -> not is_process_alive(Asker) end),
         _ = eventually(is_closed(Config))
     end || Func <- [count, acount]].

%% While it waits in the queue. The stream's handle is still held, so nothing else closes it.
a_close_is_done_though_its_caller_dies(Config) ->
    Ctx = ?config(ctx, Config),
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, Wait),
    {ok, Stream} = py:stream_open(Ctx, '__main__', count, [100]),
    {more, [0]} = asked(Stream, 1),
    Gated = ask(fun() -> py_context:call(Ctx, '__main__', wait, []) end),
    _ = await_busy(Ctx),
    Closer = spawn(fun() -> py:stream_close(Stream) end),
    _ = test_helpers:await_queue(Ctx, 1),
    exit(Closer, kill),
    test_helpers:open_gate(Gate),
    ?assertEqual({ok, <<"finished">>}, answer(Gated)),
    ?assert((is_closed(Config))()),
    ?assertEqual({done, []}, asked(Stream, 1)).

items_are_asked_for(Config) ->
    {ok, Stream} = py:stream_open('__main__', count, [5]),
    ?assertEqual([], logged(Config)),
    ?assertEqual({more, [0, 1]}, asked(Stream, 2)),
    ?assertEqual([0, 1], logged(Config)),
    ?assertEqual({done, [2, 3, 4]}, asked(Stream, 10)),
    ?assertEqual({done, []}, asked(Stream, 10)),
    {ok, Other} = py:stream_open(?config(ctx, Config), '__main__', count, [5]),
    ?assertEqual({more, [0]}, asked(Other, 1)),
    ?assertEqual(ok, py:stream_close(Other)),
    ?assertEqual({done, []}, asked(Other, 1)).

%% A step that runs out of time gives fewer.
asked(Stream, Most) ->
    case py:stream_next(Stream, Most) of
        {more, Items} when length(Items) < Most ->
            {More, Others} = asked(Stream, Most - length(Items)),
            {More, Items ++ Others};
        Asked ->
            Asked
    end.

others_are_served_between_items(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"import time\ndef slow():\n"
                                "    while True:\n        time.sleep(0.005)\n        yield 1\n">>),
    {ok, Ref} = py:stream_start(Ctx, '__main__', slow, [], #{read_ahead => 1000}),
    receive {py_stream, Ref, {data, 1}} -> ok end,
    [?assertEqual({ok, 4.0}, py:call(math, sqrt, [16], #{}, 10_000)) || _ <- lists:seq(1, 20)],
    ok = py:stream_cancel(Ref).

others_are_served_while_an_asynchronous_generator_waits(Config) ->
    {ok, Ref} = py:stream_start('__main__', aendless, []),
    receive {py_stream, Ref, {data, 1}} -> ok end,
    [?assertEqual({ok, 4.0}, py:call(math, sqrt, [16], #{}, 10_000)) || _ <- lists:seq(1, 20)],
    %% So are other streams, and coroutines.
    ?assertEqual({ok, [0, 1, 2]}, py:stream('__main__', acount, [3])),
    ?assertEqual({ok, 7}, py:call('__main__', nap, [0.01, 7])),
    ok = py:stream_cancel(Ref),
    ?assert((is_closed(Config))()).

a_stream_runs_in_the_namespace_of_its_process(_Config) ->
    Run = fun(N) ->
        fun() ->
            ok = py:exec(["base = ", integer_to_list(N), "\n",
                          "def mine():\n    for i in range(3): yield base + i\n"]),
            {ok, Ref} = py:stream_start('__main__', mine, []),
            {receive_all(Ref), py:stream('__main__', mine, []), py:stream_eval("[base]")}
        end
    end,
    Askers = [{N, ask(Run(N))} || N <- [10, 20, 30]],
    [?assertEqual({{[N, N + 1, N + 2], done}, {ok, [N, N + 1, N + 2]}, {ok, [N]}}, answer(Asker))
     || {N, Asker} <- Askers].

python_knows_whom_a_stream_is_for(Config) ->
    ok = py_context:exec(?config(ctx, Config), <<"import erlang\ndef me():\n"
                                                 "    yield erlang.self()\n"
                                                 "    print('printed')\n"
                                                 "    yield erlang.self()\n">>),
    ?assertEqual({ok, [self(), self()]}, py:stream('__main__', me, [])),
    {ok, Ref} = py:stream_start('__main__', me, []),
    ?assertEqual({[self(), self()], done}, receive_all(Ref)).

a_dying_context_ends_its_streams(Config) ->
    {ok, Ref} = py:stream_start('__main__', count, [1_000_000]),
    receive {py_stream, Ref, {data, 0}} -> ok end,
    exit(?config(ctx, Config), kill),
    {_, End} = receive_all(Ref),
    ?assertMatch({error, {context_died, _}}, End).

no_item_comes_after_the_end_of_a_dying_context(Config) ->
    Beside = ?config(ctx, Config),
    {ok, {Read, Write}} = py_context:call(Beside, os, pipe, []),
    Put = fun() -> py_context:call(Beside, os, write, [Write, {bytes, <<"x">>}]) end,
    Threads = test_helpers:context_threads(),
    {ok, Ctx} = py_context_sup:start_context(dying, ?config(mode, Config)),
    %% Made in C all of it, so that no interrupt comes between the items.
    ok = py_context:exec(Ctx, <<"import os\n"
                                "def reads(fd): return map(os.read, [fd] * 2, [1] * 2)">>),
    {ok, Ref} = py:stream_start(Ctx, '__main__', reads, [Read]),
    {ok, 1} = Put(),
    receive {py_stream, Ref, {data, <<"x">>}} -> ok end,
    exit(Ctx, kill),
    %% `killed', or `noproc' if a step has just ended.
    receive {py_stream, Ref, End} -> ?assertMatch({error, {context_died, _}}, End) end,
    ok = py:stream_cancel(Ref),
    {ok, 1} = Put(),
    eventually(fun() -> test_helpers:context_threads() =< Threads end),
    ?assertEqual([], test_helpers:messages()).

without_life(Config) ->
    ok = py:stop_contexts(),
    test_helpers:pool_without_life(#{mode => ?config(mode, Config), preload => ?PRELOAD}, Config).

streams_wait_for_a_context_in_their_time(Config) ->
    Ways = [fun() -> py:stream('__main__', count, [3]) end,
            fun() ->
                {ok, Stream} = py:stream_open('__main__', count, [3]),
                {done, Items} = py:stream_next(Stream, 10),
                {ok, Items}
            end,
            fun() ->
                {ok, Ref} = py:stream_start('__main__', count, [3]),
                {Items, done} = receive_all(Ref),
                {ok, Items}
            end],
    [begin
         Flag = without_life(Config),
         Waiting = ask(Way),
         ok = test_helpers:revive(Flag),
         ?assertEqual({ok, [0, 1, 2]}, answer(Waiting))
     end || Way <- Ways],
    _ = without_life(Config),
    ?assertMatch({error, {context_died, _}}, py:stream('__main__', count, [3], #{}, 20)),
    ?assertMatch({error, {context_died, _}}, py:stream_open('__main__', count, [3], #{}, 20)).

a_stream_that_waits_for_a_context_is_cancelled(Config) ->
    Flag = without_life(Config),
    {ok, Ref} = py:stream_start('__main__', count, [3]),
    ?assertEqual(ok, py:stream_cancel(Ref)),
    ok = test_helpers:revive(Flag),
    ?assertEqual({ok, []}, py:eval(<<"log">>)),
    ?assertEqual([], test_helpers:messages()).

time_is_for_all_items(Config) ->
    Ctx = ?config(ctx, Config),
    %% What has asyncio imported first takes as long as it takes.
    {ok, 7} = py:call('__main__', nap, [0, 7]),
    ?assertEqual({error, timeout}, py:stream(Ctx, '__main__', endless, [], #{timeout => 50})),
    ?assertEqual([<<"closed">>], logged(Config)),
    ?assertEqual({error, timeout}, py:stream('__main__', aendless, [], #{}, 50)),
    %% Closed by a task, so that jobs run meanwhile.
    _ = eventually(fun() -> logged(Config) =:= [<<"closed">>, <<"closed">>] end),
    ?assertEqual([], test_helpers:messages()).

%% In C code, which sees no interrupt: the generator can be closed only after that.
a_step_that_does_not_end_costs_no_time_beyond_the_timeout(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"import time\n"
                                "def sleepy():\n"
                                "    try:\n"
                                "        yield 1\n"
                                "        time.sleep(2)\n"
                                "        yield 2\n"
                                "    finally:\n"
                                "        log.append('closed')">>),
    Streaming = ask(fun() -> py:stream(Ctx, '__main__', sleepy, [], #{timeout => 50}) end),
    _ = await_busy(Ctx),
    %% One who has twenty times as much time, and needs it, is later.
    Waiting = ask(fun() -> py_context:eval(Ctx, <<"1">>, #{}, 1000) end),
    receive
        {Waiting, answer, Answer} -> error({first, Answer});
        {Streaming, answer, Answer} -> ?assertEqual({error, timeout}, Answer)
    end,
    ?assertEqual({error, timeout}, answer(Waiting)),
    ?assertEqual([<<"closed">>], logged(Config)),
    ?assertEqual({[], []}, {leftovers(Streaming), leftovers(Waiting)}).

a_stream_that_fails_tells_where(Config) ->
    Ctx = ?config(ctx, Config),
    Options = #{traceback => true},
    Collect = fun(Func) -> py:stream(Ctx, '__main__', Func, [2], Options) end,
    Ask = fun(Func) ->
        {ok, Stream} = py:stream_open(Ctx, '__main__', Func, [2], Options),
        {Error, [0, 1]} = py:stream_next(Stream, 10),
        Error
    end,
    Receive = fun(Func) ->
        {ok, Ref} = py:stream_start(Ctx, '__main__', Func, [2], Options),
        {[0, 1], Error} = receive_all(Ref),
        Error
    end,
    [?assertMatch({error, {'ValueError', <<"enough">>, #{frames := [_ | _]}}}, Way(Func))
     || Way <- [Collect, Ask, Receive], Func <- [failing, afailing]].

a_stream_takes_its_pool_and_keywords_and_options(Config) ->
    [begin
         {ok, Ref} = py:stream_start(Target, '__main__', count, [], #{n => 3}, #{read_ahead => 1}),
         ?assertEqual({[0, 1, 2], done}, receive_all(Ref))
     end || Target <- [default, ?config(ctx, Config)]].

bad_options_are_named(Config) ->
    Ctx = ?config(ctx, Config),
    [?assertEqual({error, {bad_option, Bad}},
                  py:stream_start(Ctx, builtins, range, [1], maps:from_list([Bad])))
     || Bad <- [{read_ahead, 0}, {read_ahead, x}, {color, red}, {timeout, 1000},
                {on_caller_down, finish}]].

misuse_is_a_badarg_with_a_sentence(_Config) ->
    {ok, Stream} = py:stream_open(builtins, range, [1]),
    [?assertNotEqual(nomatch, string:find(test_helpers:rendered(Misuse), Sentence), Sentence)
     || {Misuse, Sentence} <- [{fun() -> py:stream_next(Stream, -1) end, "not a number of items"},
                               {fun() -> py:stream_next(Stream, 0) end, "not a number of items"},
                               {fun() -> py:stream_next(Stream, foo) end, "not a number of items"},
                               {fun() -> py:stream_next(foo, 1) end, "not a stream"},
                               {fun() -> py:stream_close(foo) end, "not a stream"},
                               {fun() -> py:stream_cancel(foo) end, "not a stream's reference"}]],
    ?assertEqual({done, [0]}, py:stream_next(Stream, 2)).

%% ------------------------------------------------------------------ coroutines

a_coroutine_is_run_to_its_end(Config) ->
    Ctx = ?config(ctx, Config),
    ?assertEqual({ok, 7}, py:call('__main__', nap, [0.001, 7])),
    ?assertEqual({ok, 7}, py_context:call(Ctx, '__main__', nap, [0.001, 7])),
    ?assertEqual({ok, 7}, py:eval(<<"nap(0, 7)">>)),
    ?assertEqual({ok, 7}, py:await(py:spawn_call('__main__', nap, [0.001, 7]))),
    ok = py:exec(<<"async def mine(): return await nap(0, x)\nx = 8">>),
    ?assertEqual({ok, 8}, py:call('__main__', mine, [])).

a_failed_coroutine_is_an_exception(_Config) ->
    ?assertEqual({error, {'ValueError', <<"enough">>}}, py:call('__main__', fails, [])),
    ?assertEqual({ok, 1}, py:call('__main__', nap, [0, 1])).

the_loop_is_kept(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"async def here(): return id(asyncio.get_running_loop())\n"
                                "async def later():\n"
                                "    global task\n"
                                "    task = asyncio.ensure_future(nap(0.001, 3))\n"
                                "async def then(): return await task\n">>),
    Ids = [py:call('__main__', here, []) || _ <- [1, 2, 3]],
    ?assertMatch([{ok, _}], lists:usort(Ids)),
    %% What one call has started another finds.
    {ok, none} = py:call('__main__', later, []),
    ?assertEqual({ok, 3}, py:call('__main__', then, [])).

coroutines_run_on_top_of_one_that_waits(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:register_function(again, fun(Deeper) ->
        ok = py_context_router:bind_context(Ctx),
        {ok, Value} = py:call('__main__', outer, [Deeper - 1]),
        {ok, [{ok, One}, {ok, Two}]} = py:parallel([{'__main__', nap, [0, N]} || N <- [1, 2]]),
        {ok, Items} = py:stream('__main__', acount, [3]),
        [Value, One, Two | Items]
    end),
    ok = py_context:exec(Ctx, <<"import erlang\n"
                                "async def outer(deeper):\n"
                                "    got = erlang.again(deeper) if deeper else 0\n"
                                "    return await nap(0, got)\n">>),
    Beside = [1, 2, 0, 1, 2],
    ?assertEqual({ok, [[0 | Beside] | Beside]}, py:call('__main__', outer, [2])),
    ?assertEqual({ok, 7}, py:call('__main__', nap, [0, 7])).

a_stream_waits_for_a_coroutine_that_waits_below(Config) ->
    Ctx = ?config(ctx, Config),
    Test = self(),
    ok = py:register_function(gate, fun() -> Test ! {at_gate, self()}, receive go -> 1 end end),
    ok = py_context:exec(Ctx, <<"import erlang\nasync def waits(): return erlang.gate()">>),
    {ok, Stream} = py:stream_open('__main__', acount, [3]),
    ?assertEqual({more, [0]}, asked(Stream, 1)),
    Waiting = ask(fun() -> py:call('__main__', waits, []) end),
    Gate = receive {at_gate, Pid} -> Pid end,
    %% Nested in it, in vain: the loop is its.
    ?assertEqual({more, []}, py:stream_next(Stream, 1)),
    Gate ! go,
    ?assertEqual({ok, 1}, answer(Waiting)),
    ?assertEqual({done, [1, 2]}, asked(Stream, 10)).

a_stop_that_was_left_behind_ends_no_coroutine(Config) ->
    Ctx = ?config(ctx, Config),
    %% As an interrupted run of the loop leaves one.
    ok = py_context:exec(Ctx, <<"async def leave():\n"
                                "    loop = asyncio.get_running_loop()\n"
                                "    loop.call_soon(loop.call_soon, loop.stop)\n">>),
    {ok, none} = py:call('__main__', leave, []),
    ?assertEqual({ok, 7}, py:call('__main__', nap, [0.01, 7])),
    {ok, none} = py:call('__main__', leave, []),
    ?assertEqual({ok, [0, 1, 2]}, py:stream('__main__', acount, [3, 0.01])).

coroutines_wait_together(_Config) ->
    %% One after the other these would take 100 s.
    Calls = [{'__main__', nap, [0.5, N]} || N <- lists:seq(1, 200)],
    ?assertEqual({ok, [{ok, N} || N <- lists:seq(1, 200)]}, py:parallel(Calls, 20_000)).

coroutines_fail_one_by_one(_Config) ->
    ?assertEqual({ok, [{ok, 1}, {error, {'ValueError', <<"enough">>}}, {ok, 2.0}, {ok, 3}]},
                 py:parallel([{'__main__', nap, [0, 1]}, {'__main__', fails, []},
                              {math, sqrt, [4]}, {'__main__', nap, [0.01, 3]}])).

late_coroutines_are_cancelled_and_lose_nobody_else(Config) ->
    ?assertEqual({ok, [{ok, 1}, {error, timeout}, {ok, 3}]},
                 py:parallel([{'__main__', nap, [0, 1]}, {'__main__', nap, [3600, 2]},
                              {'__main__', nap, [0.01, 3]}], 500)),
    ?assertEqual([<<"cancelled">>], logged(Config)).

a_timeout_cancels_a_coroutine(Config) ->
    ?assertEqual({error, timeout}, py:call('__main__', nap, [3600, 1], #{}, 500)),
    ?assertEqual([<<"cancelled">>], logged(Config)),
    ?assertEqual({ok, 1}, py:call('__main__', nap, [0, 1])).

an_interrupt_cancels_a_coroutine(Config) ->
    Ctx = ?config(ctx, Config),
    %% Sent by the loop, once `nap' waits.
    ok = py_context:exec(Ctx, <<"import erlang\nasync def begin(pid):\n"
                                "    asyncio.get_running_loop().call_soon(erlang.send, pid, "
                                "'begun')\n"
                                "    await nap(3600, 1)\n">>),
    Self = self(),
    Asker = ask(fun() -> py:call('__main__', 'begin', [Self]) end),
    receive <<"begun">> -> ok end,
    ok = py:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Asker)),
    ?assertEqual([<<"cancelled">>], logged(Config)).

the_loop_ends_with_its_context(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"async def leave():\n"
                                "    asyncio.ensure_future(nap(3600, 1))\n"
                                "    await asyncio.sleep(0)\n">>),
    {ok, none} = py:call('__main__', leave, []),
    Files = test_helpers:files(),
    ok = py:stop_contexts(),
    Left = test_helpers:files(),
    %% Its selector and its pair of sockets.
    ?assert(Left =< Files - 3, {Files, Left}).
