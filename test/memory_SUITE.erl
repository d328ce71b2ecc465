%% Calls leave no memory behind. Not in load_SUITE: other suites beside this one do no harm.
-module(memory_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, leftovers/1]).

suite() ->
    [{timetrap, {minutes, 10}}].

%% For each mode that the linked Python has.
all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode([a_great_many_calls_do_not_grow_the_vm,
                               a_call_of_many_arguments_keeps_no_memory_for_as_many,
                               what_there_is_no_memory_for_is_an_error]).

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

-define(WARM_UP, 100_000).
-define(TRIES, 3).
-define(MOST_GROWTH_KB, 5 * 1024).

%% In a VM of its own: in this one, memory that earlier cases have left could hide a leak.
a_great_many_calls_do_not_grow_the_vm(Config) ->
    {ok, Peer, _} = test_helpers:start_peer(#{connection => standard_io}),
    {Before, After} = peer:call(Peer, ?MODULE, many_calls, [?config(mode, Config)], infinity),
    ok = peer:stop(Peer),
    ct:comment("~b KiB before, ~b KiB after: ~b KiB", [Before, After, After - Before]),
    ?assert(After - Before < ?MOST_GROWTH_KB).

many_calls(Mode) ->
    {ok, [Ctx | _]} = py_context_router:start(#{contexts => 2, mode => Mode}),
    [ok = py_context:exec(Pid, <<"def echo(*args, **kwargs): return args[0]\n"
                                 "def fail(*args): raise ValueError(args)">>)
     || Pid <- py_context_router:contexts()],
    ok = make_calls(?WARM_UP),
    Measured = measured_calls(calls(Mode), rss_at_rest(), ?TRIES),
    ?assertMatch(#{queue := 0}, py_context:info(Ctx)),
    ok = py_context_router:stop(),
    Measured.

%% The memory before and after. What leaks is missing each time; what the allocators keep is not,
%% and on a busy machine they may keep more at any time.
measured_calls(Number, Before, Tries) ->
    ok = make_calls(Number),
    case rss_at_rest() of
        After when After - Before >= ?MOST_GROWTH_KB, Tries > 1 ->
            measured_calls(Number, After, Tries - 1);
        After ->
            {Before, After}
    end.

%% Elsewhere fewer, because they take half a minute. The modes differ in little of what could leak
%% per call.
calls(Mode) ->
    case {os:getenv("CI", ""), Mode} of
        {"", _} -> 100_000;
        {_, worker} -> 1_000_000;
        {_, _} -> 300_000
    end.

rss_at_rest() ->
    _ = [garbage_collect(Pid) || Pid <- processes()],
    [{ok, _} = py_context:call(Ctx, gc, collect, []) || Ctx <- py_context_router:contexts()],
    test_helpers:rss_kb().

make_calls(Number) ->
    Callers = 4,
    Askers = [ask(fun() -> mixed_calls(Number div Callers) end) || _ <- lists:seq(1, Callers)],
    [ok = wait_for(Asker) || Asker <- Askers],
    [[] = leftovers(Asker) || Asker <- Askers],
    ok.

%% Longer than `answer/1' waits.
wait_for(Asker) ->
    receive {Asker, answer, Answer} -> Answer end.

mixed_calls(0) ->
    ok;
mixed_calls(N) ->
    Ctx = py_context_router:get_context(),
    ok = mixed_call(N rem 10, N, Ctx),
    mixed_calls(N - 1).

mixed_call(0, _, Ctx) -> expect({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16]));
mixed_call(1, N, Ctx) -> echo(Ctx, N * 1_000_000_007 * 1_000_000_007);
mixed_call(2, N, Ctx) -> echo(Ctx, integer_to_binary(N));
mixed_call(3, N, Ctx) -> echo(Ctx, [N, 1.5, true, none, <<"é"/utf8>>]);
mixed_call(4, N, Ctx) -> echo(Ctx, #{<<"n">> => N, <<"list">> => lists:seq(1, 20)});
mixed_call(5, N, Ctx) -> echo(Ctx, {N, {self(), [make_ref()]}});
mixed_call(6, N, Ctx) ->
    expect({ok, N}, py_context:call(Ctx, '__main__', echo, [N], #{a => <<"b">>, c => [1, 2]}));
mixed_call(7, N, Ctx) -> expect({ok, N + 1}, py_context:eval(Ctx, <<"x + 1">>, #{x => N}));
mixed_call(8, N, Ctx) ->
    {error, {'ValueError', _}} = py_context:call(Ctx, '__main__', fail, [N]),
    ok;
mixed_call(9, N, Ctx) ->
    %% Code that is new each time, now and then a large binary and an environment.
    case N rem 100 of
        9 ->
            expect({ok, N}, py_context:eval(Ctx, integer_to_binary(N)));
        19 ->
            echo(Ctx, binary:copy(<<"x">>, 70_000));
        29 ->
            {ok, Env} = py_context:create_local_env(Ctx),
            ok = py_context:exec(Ctx, <<"x = list(range(100))">>, Env);
        _ ->
            ok = py_context:exec(Ctx, <<"y = [1, 2, 3]">>)
    end.

echo(Ctx, Value) ->
    expect({ok, Value}, py_context:call(Ctx, '__main__', echo, [Value])).

expect(Same, Same) -> ok.

%% What the contexts keep for themselves goes with them; what the allocators keep stays. In a VM
%% of its own, for the latter's sake.
a_call_of_many_arguments_keeps_no_memory_for_as_many(Config) ->
    Contexts = 6,
    Arguments = 2_000_000,
    {ok, Peer, _} = test_helpers:start_peer(#{connection => standard_io}),
    Kept = peer:call(Peer, ?MODULE, kept, [?config(mode, Config), Contexts, Arguments], infinity),
    ok = peer:stop(Peer),
    ct:comment("~b KiB", [Kept]),
    %% Half of what as many would take, at a word each.
    ?assert(Kept < Contexts * Arguments * 8 div 1024 div 2).

kept(Mode, Number, Arguments) ->
    {ok, Contexts} = py_context_router:start(#{contexts => Number, mode => Mode}),
    [ok = largest(Ctx, N) || N <- [Arguments, 2], Ctx <- Contexts],
    Before = test_helpers:rss_kb(),
    ok = py_context_router:stop(),
    Before - test_helpers:rss_kb().

%% In a process of its own, which takes the arguments with it.
largest(Ctx, N) ->
    Asker = ask(fun() -> py_context:call(Ctx, builtins, max, lists:seq(1, N)) end),
    {ok, N} = wait_for(Asker),
    [] = leftovers(Asker),
    ok.

%% Each makes something that there is memory for once, but not twice. In a VM of its own, which
%% may have 300 MB more than it has by then.
what_there_is_no_memory_for_is_an_error(Config) ->
    {ok, Peer, _} = test_helpers:start_peer(#{connection => standard_io}),
    Results = peer:call(Peer, ?MODULE, without_memory, [?config(mode, Config)], 60_000),
    ok = peer:stop(Peer),
    [?assertMatch({Code, {error, {_, Text}}} when byte_size(Text) < 1_000, Result)
     || {Code, _} = Result <- Results],
    %% An exception is what it is, whatever becomes of its text.
    {Own, Others} = lists:split(2, [Class || {_, {error, {Class, _}}} <- Results]),
    ?assertEqual(['ValueError', <<"Loud">>], Own),
    ?assertEqual(['MemoryError'], lists:usort(Others)).

without_memory(Mode) ->
    {ok, [Ctx]} = py_context_router:start(#{contexts => 1, mode => Mode}),
    ok = py_context:exec(Ctx, <<"import erlang, resource\n"
                                "large = 200 << 20\n"
                                "class Loud(Exception):\n"
                                "    def __str__(self): return 'x' * large\n"
                                "def fail(error): raise error\n"
                                "def limit():\n"
                                "    with open('/proc/self/statm') as file:\n"
                                "        used = int(file.read().split()[0]) * "
                                "resource.getpagesize()\n"
                                "    hard = resource.getrlimit(resource.RLIMIT_AS)[1]\n"
                                "    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), "
                                "hard))\n">>),
    {ok, none} = py_context:call(Ctx, '__main__', limit, []),
    Codes = [<<"fail(ValueError('x' * large))">>, <<"fail(Loud())">>,
             <<"fail(SyntaxError('x' * large, ('f', 1, 2, 'x')))">>,
             <<"fail(ImportError('x' * large))">>,
             <<"erlang.call('x' * large)">>, <<"getattr(erlang, 'x' * large)">>,
             <<"'x' * large">>, <<"bytearray(large)">>, <<"memoryview(bytearray(large))">>,
             <<"[0] * (large // 8)">>, <<"(0,) * (large // 16)">>,
             <<"compile('x ' * (large // 2), 'f', 'eval')">>],
    Results = [{Code, py_context:eval(Ctx, Code)} || Code <- Codes],
    %% What is left is enough to go on with.
    {ok, 2} = py_context:eval(Ctx, <<"1 + 1">>),
    Results.
