%% Faults that have to be made: a bug in the native library, and an OS that gives no more memory. In
%% VMs of their own; the first with a library that is built for this, with a fault point in it.
-module(fault_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, await_queue/2, eventually/1]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [a_bug_in_the_library_is_contained_and_answered,
     a_bug_at_a_contexts_start_is_an_error,
     a_shipped_library_has_no_fault_point,
     an_os_that_gives_no_more_memory_is_an_error
     | test_helpers:mode_groups()].

groups() ->
    test_helpers:in_each_mode([a_pool_is_whole_again_once_there_is_memory]).

-include("mode_groups.hrl").

%% ------------------------------------------------------------------ bugs

a_bug_in_the_library_is_contained_and_answered(Config) ->
    with_bugs(Config, [], hit_bugs).

a_bug_at_a_contexts_start_is_an_error(Config) ->
    with_bugs(Config, [{"PY_FAULT_AT_START", "1"}], start_in_vain).

with_bugs(Config, Env, Function) ->
    App = faulty_application(Config),
    {ok, Vm, _} = test_helpers:start_peer(#{connection => standard_io,
                                            env => [{"RUST_BACKTRACE", "0"} | Env],
                                            args => ["-pa", filename:join(App, "ebin")]}),
    try
        true = peer:call(Vm, code, add_patha, [filename:join(App, "ebin")]),
        ok = peer:call(Vm, ?MODULE, Function, [], 120_000)
    after
        peer:stop(Vm)
    end.

start_in_vain() ->
    {ok, _} = application:ensure_all_started(py_context_router),
    [begin
         Error = {error, {context_died, thread_ended}},
         ?assertEqual(Error, py_context_router:start(#{contexts => 2, mode => Mode})),
         ?assertEqual(Error, py_context:new(#{mode => Mode})),
         eventually(fun() -> test_helpers:context_threads() =:= 0 end)
     end || Mode <- [worker, subinterp, owngil], py_nif:check_mode(Mode) =:= ok],
    ok.

hit_bugs() ->
    {ok, _} = application:ensure_all_started(py_context_router),
    [begin
         {ok, [Ctx, _]} = py_context_router:start(#{contexts => 2, mode => Mode}),
         ok = py_context:exec(Ctx, <<"kept = 1">>),
         Askers = [ask(fun() ->
                       [{py_context:call(Ctx, <<"_fault">>, f, []),
                         py_context:eval(Ctx, <<"kept">>)}
                        || _ <- lists:seq(1, 20)]
                   end) || _ <- lists:seq(1, 5)],
         %% Each caller has one answer, and the next job has its own exceptions only.
         ?assertEqual([{{error, panicked}, {ok, 1}}],
                      lists:usort(lists:append([answer(Asker) || Asker <- Askers]))),
         ?assertEqual([[]], lists:usort([leftovers(Asker) || Asker <- Askers])),
         ?assertMatch(#{failed := 100, done := Done} when Done >= 100, py_context:info(Ctx)),
         ?assertMatch(#{alive := 2, restarts := 0}, py_context_router:info(default)),
         ok = py_context_router:stop()
     end || Mode <- [worker, subinterp, owngil], py_nif:check_mode(Mode) =:= ok],
    hit_a_bug_directly().

%% On a scheduler a panic would end the VM.
hit_a_bug_directly() ->
    {ok, Ctx} = py_context:new(#{mode => worker, direct_limit => 10_000}),
    ok = py_context:exec(Ctx, <<"import sys, types\nfault = types.ModuleType('_fault')\n"
                                "fault.f = lambda: 1\nsys.modules['_fault'] = fault">>),
    ok = py_context_router:register_direct('_fault', f),
    Direct = fun(Module) ->
        Before = maps:get(direct, py_context:info(Ctx)),
        Result = py_context:call(Ctx, Module, f, []),
        {Result, maps:get(direct, py_context:info(Ctx)) - Before}
    end,
    test_helpers:eventually(fun() -> Direct('_fault') =:= {{ok, 1}, 1} end),
    %% The fault point knows the module by its text.
    test_helpers:eventually(fun() -> Direct(<<"_fault">>) =:= {{error, panicked}, 1} end),
    test_helpers:eventually(fun() -> Direct('_fault') =:= {{ok, 1}, 1} end),
    ok = py_context_router:unregister_direct('_fault', f),
    ok = py_context:destroy(Ctx).

%% The application's code beside a library built with the feature `faults'.
faulty_application(Config) ->
    Root = test_helpers:repository(),
    App = filename:join(?config(priv_dir, Config), "py_context_router"),
    Target = filename:join([Root, "target", "faults"]),
    {ok, Python} =
        test_helpers:run_program(filename:join([Root, "native", "build.sh"]), ["--python"]),
    Cargo = case os:find_executable("cargo") of
                false -> filename:join([os:getenv("HOME"), ".cargo", "bin", "cargo"]);
                Found -> Found
            end,
    true = os:putenv("PYO3_PYTHON", binary_to_list(string:trim(Python))),
    {ok, _} = test_helpers:run_program(Cargo, ["build", "--locked", "-p", "py_nif", "--features",
                                               "faults", "--target-dir", Target, "--manifest-path",
                                               filename:join(Root, "Cargo.toml")]),
    [ok = filelib:ensure_dir(filename:join([App, Dir, "x"])) || Dir <- ["ebin", "priv"]],
    Ebin = filename:dirname(code:which(py_nif)),
    [{ok, _} = file:copy(File, filename:join([App, "ebin", filename:basename(File)]))
     || File <- filelib:wildcard(filename:join(Ebin, "*"))],
    {ok, _} = file:copy(filename:join([Target, "debug", "libpy_nif.so"]),
                        filename:join([App, "priv", "py_nif.so"])),
    App.

a_shipped_library_has_no_fault_point(_Config) ->
    {ok, Ctx} = py_context:new(#{}),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py_context:call(Ctx, <<"_fault">>, f, [])),
    ok = py_context:stop(Ctx).

%% ------------------------------------------------------------------ memory

an_os_that_gives_no_more_memory_is_an_error(_Config) ->
    with_little_memory(run_out_of_memory, []).

a_pool_is_whole_again_once_there_is_memory(Config) ->
    with_little_memory(heal, [?config(mode, Config)]).

%% Address space for some contexts but not for hundreds, each of which reserves its stack.
with_little_memory(Function, Args) ->
    Limited = {"/bin/sh", ["-c", "ulimit -v 6000000; exec erl \"$@\"", "sh"]},
    {ok, Vm, _} = test_helpers:start_peer(#{connection => standard_io, exec => Limited}),
    try
        ok = peer:call(Vm, ?MODULE, Function, Args, 120_000)
    after
        peer:stop(Vm)
    end.

run_out_of_memory() ->
    ok = logger:set_primary_config(level, none),
    {ok, [Ctx, _]} = py_context_router:start(#{contexts => 2}),
    ?assertMatch({error, {'MemoryError', _}},
                 py_context:eval(Ctx, <<"len(bytearray(1 << 40))">>)),
    {error, _} = Error = py_context_router:start_pool(many, 2000),
    ?assertEqual({error, system_limit}, Error),
    ?assertMatch(<<"the operating system gives no more threads", _/binary>>,
                 py_error:format(Error)),
    %% Nothing is left of it, and there is memory again.
    ?assertEqual([], py_context_router:contexts(many)),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 2 end),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    {ok, [Other, _, _]} = py_context_router:start_pool(few, 3),
    ?assertEqual({ok, 2}, py_context:eval(Other, <<"1 + 1">>)),
    ok.

%% What is left is too little for a context's stack, and enough for Erlang.
-define(EATER, "import mmap, resource\n"
               "def eat():\n"
               "    global eaten\n"
               "    limit, _ = resource.getrlimit(resource.RLIMIT_AS)\n"
               "    with open('/proc/self/statm') as file: pages = int(file.read().split()[0])\n"
               "    free = limit - pages * mmap.PAGESIZE\n"
               "    eaten = mmap.mmap(-1, free - (6 << 20), prot=mmap.PROT_READ,\n"
               "                      flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
               "def give_back(): eaten.close()\n").

heal(Mode) ->
    ok = logger:remove_handler(default),
    {ok, [_, _] = Contexts} = py_context_router:start(#{contexts => 2, mode => Mode}),
    {ok, Eater} = py_context:new(#{preload => <<?EATER>>}),
    Log = test_helpers:capture_log(fun() ->
        %% They keep their stacks when they are killed.
        Sleepers = [ask(fun() -> py_context:call(Ctx, time, sleep, [60]) end) || Ctx <- Contexts],
        _ = [await_busy(Ctx) || Ctx <- Contexts],
        {ok, none} = py_context:call(Eater, '__main__', eat, []),
        [exit(Ctx, kill) || Ctx <- Contexts],
        [?assertEqual({error, {context_died, killed}}, answer(Sleeper)) || Sleeper <- Sleepers],
        _ = await_messages(2),
        ?assertMatch(#{size := 2, alive := 0}, py_context_router:info(default)),
        {ok, none} = py_context:call(Eater, '__main__', give_back, []),
        %% Nobody has started anything.
        _ = eventually(fun() -> maps:get(alive, py_context_router:info(default)) =:= 2 end),
        _ = await_messages(4)
    end),
    [?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>))
     || Ctx <- py_context_router:contexts()],
    ?assertMatch([{error, _}, {error, _}, {notice, _}, {notice, _}], lists:sort(Log)),
    [{error, Failed}, _, {notice, Recovered}, _] = lists:sort(Log),
    ?assertNotEqual(nomatch, string:find(Failed, "of pool default can't start"), Failed),
    ?assertNotEqual(nomatch, string:find(Recovered, "of pool default has started"), Recovered),
    ok.

%% In the queue of this process: events that are being logged.
await_messages(Number) ->
    eventually(fun() ->
        process_info(self(), message_queue_len) =:= {message_queue_len, Number}
    end).
