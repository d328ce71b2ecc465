%% One context: calls, names, namespaces, timeouts, interrupts, deaths. Once per mode that the
%% linked Python has; what doesn't depend on the mode, once.
-module(py_context_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, await_queue/2, eventually/1,
                       rendered/1]).

-define(LOOP, <<"while True: pass">>).

%% The same cases for each mode that the linked Python has (modes_SUITE tests that it says which).
all() ->
    test_helpers:mode_groups()
    ++ [{group, lifecycle}, {group, remote}, {group, misuse}].

groups() ->
    Modes = test_helpers:in_each_mode(each_mode()),
    Modes ++
    [{lifecycle, [],
      [a_context_is_linked_to_its_caller,
       a_stop_by_another_process_does_not_end_who_has_started_it,
       a_context_under_the_application_outlives_its_caller,
       a_context_under_the_application_is_not_replaced,
       starting_brings_the_application_up,
       bad_options_are_named,
       a_context_that_cannot_start_leaves_nothing,
       a_failure_is_reported_however_fast_it_comes,
       a_caller_that_traps_exits_gets_no_message_about_a_failed_start,
       stopping_leaves_processes_that_are_no_contexts_alone,
       modules_are_shared_by_workers_and_by_nobody_else]},
     {remote, [],
      [a_remote_context_is_used_as_a_local_one,
       a_remote_context_gives_the_same_errors,
       an_environment_of_a_remote_context_lives_as_long_as_its_user,
       a_remote_job_whose_caller_dies_is_interrupted,
       a_lost_node_is_a_dead_context,
       a_process_can_be_bound_to_a_remote_context]},
     {misuse, [],
      [misuse_is_a_badarg_with_a_sentence,
       what_is_no_context_is_a_dead_one]}].

each_mode() ->
    [names_are_atoms_binaries_or_strings,
     names_may_be_dotted,
     keyword_arguments_are_a_map_or_pairs,
     names_that_python_does_not_know_are_errors,
     names_given_as_text_are_not_interned,
     functions_are_looked_up_afresh,
     a_module_that_is_being_imported_is_waited_for,
     a_module_may_have_an_odd_spec,
     exceptions_have_type_and_message,
     system_exit_is_an_error_like_any_other,
     endless_recursion_is_an_error,
     locals_are_seen_inside_comprehensions_and_left_behind_nowhere,
     code_is_text_however_it_is_given,
     statements_keep_their_state,
     main_is_the_namespace_in_use,
     environments_are_separate,
     an_environment_is_freed_with_its_reference,
     an_environment_of_another_context_is_refused,
     an_environment_may_outlive_its_context,
     preloaded_code_runs_once,
     callers_at_once_get_their_own_answers,
     a_timeout_stops_an_endless_loop,
     a_timeout_of_zero_does_not_wait,
     a_waiting_job_that_timed_out_never_runs,
     timeouts_that_race_replies_hit_nobody_and_leave_no_message,
     an_endless_loop_is_stopped_at_its_next_bytecode,
     code_that_catches_an_interrupt_is_interrupted_again,
     an_interrupt_ends_the_running_job,
     an_interrupt_does_not_hit_the_next_job,
     a_keyboard_interrupt_of_its_own_is_an_exception,
     a_full_queue_refuses_at_once,
     a_killed_context_answers_everybody_once,
     a_dying_context_answers_everybody_once,
     a_stopped_context_answers_everybody_once,
     stopping_waits_for_the_running_job_and_no_longer,
     a_waiting_job_whose_caller_dies_never_runs,
     a_running_job_whose_caller_dies_is_interrupted,
     a_job_whose_caller_dies_may_be_finished,
     info_tells_what_it_is_doing,
     ids_are_unique].

-include("quiet_suite.hrl").

init_per_group(Mode, Config) when Mode =:= worker; Mode =:= subinterp; Mode =:= owngil ->
    ok = py_context_router:init_pool_registry(),
    [{mode, Mode} | Config];
init_per_group(remote, Config) ->
    Distribution = test_helpers:start_distribution(),
    [{distribution, Distribution} | Config];
init_per_group(_Group, Config) ->
    Config.

end_per_group(remote, Config) ->
    test_helpers:stop_distribution(?config(distribution, Config));
end_per_group(_Group, _Config) ->
    test_helpers:stop_all().

init_per_testcase(_Case, Config) ->
    ok = py_context_router:init_pool_registry(),
    Config.

end_per_testcase(_Case, _Config) ->
    _ = [py_context_sup:stop_context(Ctx) || Ctx <- py_context_sup:which_contexts()],
    ok.

%% A context of the group's mode, linked to the test case.
new(Config) ->
    new(#{}, Config).

new(Options, Config) ->
    {ok, Ctx} = py_context:new(Options#{mode => ?config(mode, Config)}),
    Ctx.

%% ------------------------------------------------------------------ calls

names_are_atoms_binaries_or_strings(Config) ->
    Ctx = new(Config),
    [?assertEqual({ok, 4.0}, py_context:call(Ctx, Module, Func, [16]))
     || Module <- [math, <<"math">>, "math", ["ma", <<"th">>]],
        Func <- [sqrt, <<"sqrt">>, "sqrt"]],
    ok = py_context:exec(Ctx, <<"def größe(x): return x"/utf8>>),
    [?assertEqual({ok, 1}, py_context:call(Ctx, "__main__", Name, [1]))
     || Name <- ['größe', <<"größe"/utf8>>, "größe"]].

names_may_be_dotted(Config) ->
    Ctx = new(Config),
    [?assertEqual({ok, <<"a/b">>}, py_context:call(Ctx, Module, join, [<<"a">>, <<"b">>]))
     || Module <- ['os.path', <<"os.path">>, "os.path"]],
    ?assertEqual({ok, #{<<"a">> => none}},
                 py_context:call(Ctx, builtins, 'dict.fromkeys', [[<<"a">>]])),
    ?assertEqual({ok, true}, py_context:call(Ctx, builtins, <<"str.isdigit">>, [<<"42">>])),
    ok = py_context:exec(Ctx,
                         <<"class A:\n  class B:\n    @staticmethod\n    def f(x): return x">>),
    ?assertEqual({ok, 7}, py_context:call(Ctx, '__main__', 'A.B.f', [7])),
    %% A module inside packages that nobody has imported yet.
    ?assertEqual({ok, <<"&lt;">>}, py_context:call(Ctx, 'xml.sax.saxutils', escape, [<<"<">>])).

keyword_arguments_are_a_map_or_pairs(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"def f(*args, **kwargs): return [list(args), kwargs]">>),
    [?assertEqual({ok, [[1], #{<<"a">> => 2, <<"b">> => 3}]},
                  py_context:call(Ctx, '__main__', f, [1], Kwargs))
     || Kwargs <- [#{a => 2, b => 3}, #{<<"a">> => 2, "b" => 3}, [{a, 2}, {b, 3}],
                   [{"a", 2}, {<<"b">>, 3}]]],
    [?assertEqual({ok, [[], #{}]}, py_context:call(Ctx, '__main__', f, [], None))
     || None <- [#{}, []]],
    %% A name is a name, whatever the atom would be as a value.
    ?assertEqual({ok, [[], #{<<"none">> => none, <<"true">> => true}]},
                 py_context:call(Ctx, '__main__', f, [], #{none => none, true => true})).

names_that_python_does_not_know_are_errors(Config) ->
    Ctx = new(Config),
    ?assertEqual({error, {'ModuleNotFoundError', <<"No module named 'no_such_module'">>}},
                 py_context:call(Ctx, no_such_module, f, [])),
    ?assertMatch({error, {'AttributeError', _}}, py_context:call(Ctx, math, no_such_function, [])),
    ?assertMatch({error, {'AttributeError', _}}, py_context:call(Ctx, math, 'sqrt.no.such', [])),
    ?assertMatch({error, {'NameError', _}}, py_context:call(Ctx, '__main__', no_such, [])),
    ?assertMatch({error, {'TypeError', _}}, py_context:call(Ctx, math, pi, [])),
    ?assertMatch({error, {'ValueError', _}}, py_context:call(Ctx, '', sqrt, [])),
    ?assertMatch({error, {'AttributeError', _}}, py_context:call(Ctx, math, '', [])),
    ?assertMatch({error, {unconvertible, <<"module">>, _}},
                 py_context:call(Ctx, <<255>>, sqrt, [])),
    ?assertMatch({error, {unconvertible, <<"args">>, _}},
                 py_context:call(Ctx, math, sqrt, [1 | 2])),
    ?assertEqual({ok, 1.0}, py_context:call(Ctx, math, sqrt, [1])).

%% Of atoms there is an end, of texts there is none, and CPython 3.12 keeps for ever what is
%% interned.
names_given_as_text_are_not_interned(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"import sys\n"
                                "class Module:\n"
                                "  def __getattr__(self, name):\n"
                                "    return lambda: sys.intern(''.join(list(name))) is name\n"
                                "sys.modules['whatever'] = Module()">>),
    IsInterned = fun(Name) -> py_context:call(Ctx, whatever, Name, []) end,
    ?assertEqual({ok, true}, IsInterned(is_this_name_interned)),
    ?assertEqual({ok, false}, IsInterned(<<"is_that_name_interned">>)).

a_module_may_have_an_odd_spec(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"import sys, types\n"
                                "class Odd:\n"
                                "  def __bool__(self): raise ValueError('odd')\n"
                                "odd = types.ModuleType('odd')\n"
                                "odd.__spec__ = types.SimpleNamespace(_initializing=Odd())\n"
                                "odd.five = lambda: 5\n"
                                "sys.modules['odd'] = odd">>),
    %% From 3.13.1 on Python's own import asks it too.
    Expected = case py_context:exec(Ctx, <<"import odd">>) of
                   ok -> {ok, 5};
                   {error, {'ValueError', <<"odd">>}} = Error -> Error
               end,
    ?assertEqual(Expected, py_context:call(Ctx, odd, five, [])).

functions_are_looked_up_afresh(Config) ->
    Ctx = new(Config),
    [begin
         ok = py_context:exec(Ctx, [<<"def f(): return ">>, integer_to_list(N)]),
         ?assertEqual({ok, N}, py_context:call(Ctx, '__main__', f, []))
     end || N <- [1, 2, 3]],
    ok = py_context:exec(Ctx, <<"import sys, types\n"
                                "m = types.ModuleType('made_by_hand')\n"
                                "m.f = lambda: 1\n"
                                "sys.modules['made_by_hand'] = m">>),
    ?assertEqual({ok, 1}, py_context:call(Ctx, made_by_hand, f, [])),
    ok = py_context:exec(Ctx, <<"m.f = lambda: 2">>),
    ?assertEqual({ok, 2}, py_context:call(Ctx, made_by_hand, f, [])),
    ok = py_context:exec(Ctx, <<"other = types.ModuleType('made_by_hand')\n"
                                "other.f = lambda: 3\n"
                                "sys.modules['made_by_hand'] = other">>),
    ?assertEqual({ok, 3}, py_context:call(Ctx, made_by_hand, f, [])),
    ok = py_context:exec(Ctx, <<"del other.f\n"
                                "other.__getattr__ = lambda name: lambda: name">>),
    ?assertEqual({ok, <<"f">>}, py_context:call(Ctx, made_by_hand, f, [])),
    [begin
         ok = py_context:exec(Ctx, <<"sys.modules['made_by_hand'] = None">>),
         ?assertMatch({error, {'ModuleNotFoundError', _}},
                      py_context:call(Ctx, made_by_hand, f, [])),
         ok = py_context:exec(Ctx, <<"del sys.modules['made_by_hand']">>),
         ?assertMatch({error, {'ModuleNotFoundError', _}},
                      py_context:call(Ctx, made_by_hand, f, []))
     end || _ <- [1, 2]],
    %% The class of modules has this one, whatever the module's own dictionary says.
    ok = py_context:exec(Ctx, <<"m.__dir__ = lambda: ['own']\n"
                                "m.__dict__['__class__'] = len\n"
                                "sys.modules['made_by_hand'] = m">>),
    ?assertEqual({ok, <<"a">>}, py_context:call(Ctx, made_by_hand, '__class__.__name__.join',
                                                [[<<"a">>]])),
    ?assertEqual({ok, [<<"own">>]}, py_context:call(Ctx, made_by_hand, '__dir__', [])).

%% By a thread of Python, which is not done with it when the calls come.
a_module_that_is_being_imported_is_waited_for(Config) ->
    Ctx = new(Config),
    Folder = filename:join(?config(priv_dir, Config), "slow_modules"),
    Gate = filename:join(Folder, "gate"),
    ok = filelib:ensure_dir(Gate),
    _ = file:delete(Gate),
    ok = file:write_file(filename:join(Folder, "slow_import.py"),
                         ["import os, time\n"
                          "while not os.path.exists('", Gate, "'): time.sleep(0.001)\n"
                          "def f(): return 7\n"]),
    ok = py_context:exec(Ctx, [<<"import sys, threading, time\nsys.path.insert(0, '">>, Folder,
                               <<"')\ndef load(): import slow_import\n"
                                 "loader = threading.Thread(target=load)\nloader.start()\n"
                                 "while 'slow_import' not in sys.modules: time.sleep(0.001)">>]),
    Asker = test_helpers:ask(fun() ->
        [py_context:call(Ctx, Module, f, []) || Module <- [slow_import, <<"slow_import">>]]
    end),
    _ = test_helpers:await_busy(Ctx),
    ok = file:write_file(Gate, <<>>),
    ?assertEqual([{ok, 7}, {ok, 7}], test_helpers:answer(Asker)),
    ok = py_context:exec(Ctx, <<"loader.join(); del sys.path[0], sys.modules['slow_import']">>).

exceptions_have_type_and_message(Config) ->
    Ctx = new(Config),
    ?assertEqual({error, {'ZeroDivisionError', <<"division by zero">>}},
                 py_context:eval(Ctx, <<"1/0">>)),
    ?assertEqual({error, {'KeyError', <<"'é'"/utf8>>}}, py_context:eval(Ctx, "{}['é']")),
    ?assertEqual({error, {'ValueError', <<>>}}, py_context:exec(Ctx, <<"raise ValueError">>)),
    ?assertMatch({error, {'SyntaxError', _}}, py_context:exec(Ctx, <<"x = = 1">>)),
    ?assertMatch({error, {'IndentationError', _}}, py_context:exec(Ctx, <<" x = 1\ny = 2">>)),
    ?assertMatch({error, {'SyntaxError', _}}, py_context:eval(Ctx, <<"x = 1">>)),
    ?assertMatch({error, {'SyntaxError', _}}, py_context:eval(Ctx, <<>>)),
    ?assertMatch({error, {'ValueError', _}}, py_context:eval(Ctx, <<"1", 0, "+1">>)),
    %% Not an atom of ours, and it must not become one.
    Name = <<"ErrorOfThisTest", (integer_to_binary(erlang:unique_integer([positive])))/binary>>,
    Raise = [<<"class ">>, Name, <<"(Exception): pass\nraise ">>, Name, <<"('why')">>],
    ?assertEqual({error, {Name, <<"why">>}}, py_context:exec(Ctx, Raise)),
    ?assertError(badarg, binary_to_existing_atom(Name)),
    %% An exception that can't even say what it is.
    ?assertEqual({error, {<<"Mute">>, <<"<the exception's __str__ raised OSError>">>}},
                 py_context:exec(Ctx, <<"class Mute(Exception):\n"
                                        "  def __str__(self): raise OSError\n"
                                        "raise Mute()">>)),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)).

system_exit_is_an_error_like_any_other(Config) ->
    Ctx = new(Config),
    ?assertEqual({error, {'SystemExit', <<"3">>}}, py_context:call(Ctx, sys, exit, [3])),
    ?assertMatch({error, {'SystemExit', _}}, py_context:exec(Ctx, <<"exit()">>)),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)).

endless_recursion_is_an_error(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"def f(n): return f(n + 1)">>),
    ?assertMatch({error, {'RecursionError', _}}, py_context:call(Ctx, '__main__', f, [0])),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)).

locals_are_seen_inside_comprehensions_and_left_behind_nowhere(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"x = 1\ny = 10">>),
    [?assertEqual({ok, [12, 12]}, py_context:eval(Ctx, <<"[x + y for _ in range(2)]">>, Locals))
     || Locals <- [#{x => 2}, #{<<"x">> => 2}, #{"x" => 2}, [{x, 2}]]],
    ?assertEqual({ok, 7}, py_context:eval(Ctx, <<"(lambda: x + z)()">>, #{x => 3, z => 4})),
    ?assertEqual({ok, 9}, py_context:eval(Ctx, <<"max(w for w in [v])">>, #{v => 9}, 5000)),
    ?assertEqual({ok, 11}, py_context:eval(Ctx, <<"x + y">>)),
    ?assertMatch({error, {'NameError', _}}, py_context:eval(Ctx, <<"z">>)).

code_is_text_however_it_is_given(Config) ->
    Ctx = new(Config),
    [?assertEqual({ok, <<"é"/utf8>>}, py_context:eval(Ctx, Code))
     || Code <- [<<"'é'"/utf8>>, "'é'", ["'", <<"é"/utf8>>, [$']]]],
    ?assertMatch({error, {'SyntaxError', _}}, py_context:eval(Ctx, <<"'", 255, "'">>)),
    Long = [<<"1">>, lists:duplicate(20_000, <<" + 1">>)],
    %% Whether CPython's parser takes so deep an expression is its business; the answer is ours.
    ?assertMatch({_, _}, py_context:eval(Ctx, Long)),
    Many = lists:duplicate(5_000, <<"n = 1\n">>),
    ?assertEqual(ok, py_context:exec(Ctx, Many)).

statements_keep_their_state(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"counter = 0\ndef up():\n  global counter\n  counter += 1">>),
    [{ok, none} = py_context:call(Ctx, '__main__', up, []) || _ <- [1, 2, 3]],
    ?assertEqual({ok, 3}, py_context:eval(Ctx, <<"counter">>)),
    %% All callers of a context share its namespace.
    Other = ask(fun() -> py_context:eval(Ctx, <<"counter">>) end),
    ?assertEqual({ok, 3}, answer(Other)),
    %% Other contexts don't.
    ?assertMatch({error, {'NameError', _}}, py_context:eval(new(Config), <<"counter">>)).

main_is_the_namespace_in_use(Config) ->
    Ctx = new(Config),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(Ctx, <<"def f(): return 'own'">>),
    ok = py_context:exec(Ctx, <<"def f(): return 'env'">>, Env),
    ?assertEqual({ok, <<"own">>}, py_context:call(Ctx, '__main__', f, [])),
    ?assertEqual({ok, <<"env">>},
                 py_context:call(Ctx, '__main__', f, [], #{}, infinity, Env)),
    ?assertEqual({ok, <<"own">>},
                 py_context:call(Ctx, '__main__', f, [], #{}, infinity, none)).

environments_are_separate(Config) ->
    Ctx = new(Config),
    {ok, Env1} = py_context:create_local_env(Ctx),
    {ok, Env2} = py_context:create_local_env(Ctx),
    ?assert(is_reference(Env1)),
    ok = py_context:exec(Ctx, <<"x = 0">>),
    ok = py_context:exec(Ctx, <<"x = 1">>, Env1),
    ok = py_context:exec(Ctx, <<"x = 2">>, 5000, Env2),
    %% The other order of the last two arguments is understood too.
    ok = py_context:exec(Ctx, <<"y = x + 1">>, Env2, 5000),
    ?assertEqual({ok, 0}, py_context:eval(Ctx, <<"x">>)),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"x">>, #{}, infinity, Env1)),
    ?assertEqual({ok, [2, 3]}, py_context:eval(Ctx, <<"[x, y]">>, #{}, infinity, Env2)),
    ?assertEqual({ok, 7}, py_context:eval(Ctx, <<"x + z">>, #{z => 5}, infinity, Env2)),
    ?assertMatch({error, {'NameError', _}}, py_context:eval(Ctx, <<"y">>, #{}, infinity, Env1)),
    ?assertMatch({error, {'NameError', _}}, py_context:eval(Ctx, <<"z">>, #{}, infinity, Env2)).

an_environment_is_freed_with_its_reference(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"import sys\nsys.probes = []">>),
    Probe = <<"import sys, weakref\n"
              "class Probe: pass\n"
              "probe = Probe()\n"
              "sys.probes.append(weakref.ref(probe))">>,
    Users = [ask(fun() ->
                 {ok, Env} = py_context:create_local_env(Ctx),
                 ok = py_context:exec(Ctx, Probe, Env),
                 receive done ->
                     py_context:eval(Ctx, <<"probe is not None">>, #{}, infinity, Env) end
             end) || _ <- lists:seq(1, 10)],
    Alive = fun() ->
        py_context:eval(Ctx, <<"sum(probe() is not None for probe in sys.probes)">>) end,
    _ = eventually(fun() -> Alive() =:= {ok, 10} end),
    [User ! done || User <- Users],
    ?assertEqual([{ok, true}], lists:usort([answer(User) || User <- Users])),
    ?assertEqual([[]], lists:usort([leftovers(User) || User <- Users])),
    _ = eventually(fun() -> Alive() =:= {ok, 0} end).

an_environment_of_another_context_is_refused(Config) ->
    [First, Second] = [new(Config), new(Config)],
    {ok, Env} = py_context:create_local_env(First),
    ?assertEqual({error, {wrong_context, environment}}, py_context:exec(Second, <<"x = 1">>, Env)),
    ?assertEqual({error, {wrong_context, environment}},
                 py_context:eval(Second, <<"1">>, #{}, infinity, Env)),
    ?assertMatch({error, {wrong_context, _}}, py_context:exec(First, <<"x = 1">>, make_ref())),
    %% Also where it makes no difference.
    [?assertMatch({error, {wrong_context, _}},
                  py_context:call(Second, Module, Function, [1], #{}, infinity, Wrong))
     || {Module, Function} <- [{math, sqrt}, {'__main__', abs}], Wrong <- [Env, make_ref()]],
    ?assertEqual({ok, 1.0}, py_context:call(First, math, sqrt, [1], #{}, infinity, Env)).

an_environment_may_outlive_its_context(Config) ->
    Ctx = new(Config),
    true = unlink(Ctx),
    User = ask(fun() ->
        {ok, Env} = py_context:create_local_env(Ctx),
        ok = py_context:exec(Ctx, <<"x = [1]">>, Env),
        ok = py_context:stop(Ctx),
        py_context:exec(Ctx, <<"x = 2">>, Env)
    end),
    ?assertEqual({error, {context_died, noproc}}, answer(User)),
    ?assertEqual([], leftovers(User)),
    %% Its namespace is released in a VM that lives on.
    ?assertEqual({ok, 2}, py_context:eval(new(Config), <<"1 + 1">>)).

preloaded_code_runs_once(Config) ->
    Ctx = new(#{preload => ["import os\n", <<"counter = globals().get('counter', 0) + 1">>]},
              Config),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"counter">>)),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"counter">>)),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"os.path.exists('/')">>)),
    %% An environment is fresh: it has nothing of the context's own namespace.
    {ok, Env} = py_context:create_local_env(Ctx),
    ?assertMatch({error, {'NameError', _}},
                 py_context:eval(Ctx, <<"counter">>, #{}, infinity, Env)).

callers_at_once_get_their_own_answers(Config) ->
    Ctx = new(Config),
    Callers = [ask(fun() ->
                   [{ok, X} = py_context:call(Ctx, builtins, abs, [-X])
                    || X <- lists:seq(N * 1000, N * 1000 + 199)],
                   ok
               end) || N <- lists:seq(1, 50)],
    ?assertEqual([ok], lists:usort([answer(Caller) || Caller <- Callers])),
    ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- Callers])).

%% ------------------------------------------------------------------ time

a_timeout_stops_an_endless_loop(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"def loop():\n  while True: pass">>),
    ?assertEqual({error, timeout}, py_context:exec(Ctx, ?LOOP, 20)),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertEqual({error, timeout}, py_context:call(Ctx, '__main__', loop, [], #{}, 20)),
    ?assertEqual({error, timeout}, py_context:eval(Ctx, <<"loop()">>, #{}, 20)),
    {ok, Env} = py_context:create_local_env(Ctx),
    ?assertEqual({error, timeout}, py_context:exec(Ctx, ?LOOP, 20, Env)),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertEqual([], test_helpers:messages()).

a_timeout_of_zero_does_not_wait(Config) ->
    Ctx = new(Config),
    [begin
         ?assertEqual({error, timeout}, py_context:exec(Ctx, ?LOOP, 0)),
         ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>))
     end || _ <- [1, 2]],
    ?assertEqual([], test_helpers:messages()).

a_waiting_job_that_timed_out_never_runs(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"ran = []">>),
    Busy = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    Late = [ask(fun() ->
                py_context:exec(Ctx, [<<"ran.append(">>, integer_to_list(Timeout), <<")">>],
                                Timeout)
            end) || Timeout <- [0, 1, 10]],
    ?assertEqual([{error, timeout}], lists:usort([answer(Pid) || Pid <- Late])),
    ?assertMatch(#{queue := 0, timed_out := 3}, py_context:info(Ctx)),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Busy)),
    ?assertEqual({ok, []}, py_context:eval(Ctx, <<"ran">>)),
    ?assertEqual([[]], lists:usort([leftovers(Pid) || Pid <- [Busy | Late]])).

%% Timeouts that end around the time when the reply comes, 10 000 of them, beside two callers that
%% have none.
timeouts_that_race_replies_hit_nobody_and_leave_no_message(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"import time\n"
                                "def nap(us):\n"
                                "  end = time.perf_counter() + us / 1e6\n"
                                "  while time.perf_counter() < end: pass\n"
                                "  return us">>),
    Over = atomics:new(1, []),
    Neighbours = [ask(fun() -> be_innocent(Ctx, Over, 0) end) || _ <- [1, 2]],
    Callers = [ask(fun() -> race(Ctx, N, 1250, {0, 0}) end) || N <- lists:seq(1, 8)],
    {Replies, Timeouts} = lists:unzip([answer(Caller) || Caller <- Callers]),
    ok = atomics:put(Over, 1, 1),
    %% Nobody else is ever hit.
    [?assertMatch({ok, Calls} when Calls > 0, answer(Neighbour)) || Neighbour <- Neighbours],
    ?assertEqual([[], []], [leftovers(Neighbour) || Neighbour <- Neighbours]),
    ?assertEqual(10_000, lists:sum(Replies) + lists:sum(Timeouts)),
    %% It has been a race.
    ct:comment("~b replies, ~b timeouts", [lists:sum(Replies), lists:sum(Timeouts)]),
    ?assert(lists:sum(Replies) > 0),
    ?assert(lists:sum(Timeouts) > 0),
    %% Replies leave in order: after this one nothing is on its way.
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertEqual([[]], lists:usort([leftovers(Caller) || Caller <- Callers])).

%% Calls of its own, without a timeout, in Python code that an interrupt could hit.
be_innocent(Ctx, Over, Calls) ->
    case {atomics:get(Over, 1), py_context:call(Ctx, '__main__', nap, [50])} of
        {0, {ok, 50}} -> be_innocent(Ctx, Over, Calls + 1);
        {1, {ok, 50}} -> {ok, Calls + 1};
        {_, Other} -> {hit, Other}
    end.

race(_Ctx, _N, 0, Counts) ->
    Counts;
race(Ctx, N, Left, {Replies, Timeouts}) ->
    {Us, Timeout} = case (N + Left) rem 4 of
                        0 -> {0, 0};
                        1 -> {1, 0};
                        2 -> {100, 1};
                        3 -> {rand:uniform(200), 1}
                    end,
    case py_context:call(Ctx, '__main__', nap, [Us], #{}, Timeout) of
        {ok, Us} -> race(Ctx, N, Left - 1, {Replies + 1, Timeouts});
        {error, timeout} -> race(Ctx, N, Left - 1, {Replies, Timeouts + 1})
    end.

%% Sooner than one that spends some 100 ms in C at a time, whatever else the machine is doing.
an_endless_loop_is_stopped_at_its_next_bytecode(Config) ->
    Ctx = new(Config),
    Soon = time_to_stop(Ctx, ?LOOP),
    Late = time_to_stop(Ctx, <<"while True: sum(range(5_000_000))">>),
    ct:comment("stopped after ~.1f and ~.1f ms (medians)", [Soon / 1000, Late / 1000]),
    ?assert(Soon < Late, {Soon, Late}).

time_to_stop(Ctx, Loop) ->
    Times = [begin
                 Looping = ask(fun() -> py_context:exec(Ctx, Loop) end),
                 %% It may not have begun yet.
                 _ = eventually(fun() -> py_context:interrupt(Ctx) =:= ok end),
                 Began = erlang:monotonic_time(microsecond),
                 {error, interrupted} = answer(Looping),
                 erlang:monotonic_time(microsecond) - Began
             end || _ <- lists:seq(1, 21)],
    lists:nth(11, lists:sort(Times)).

code_that_catches_an_interrupt_is_interrupted_again(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"def stubborn():\n"
                                "  for n in range(3):\n"
                                "    try:\n"
                                "      while True: pass\n"
                                "    except BaseException: pass\n"
                                "  while True: pass">>),
    Stubborn = ask(fun() -> py_context:call(Ctx, '__main__', stubborn, []) end),
    _ = await_busy(Ctx),
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Stubborn)),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)).

an_interrupt_ends_the_running_job(Config) ->
    Ctx = new(Config),
    ?assertEqual(not_running, py_context:interrupt(Ctx)),
    Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    Waiting = ask(fun() -> py_context:eval(Ctx, <<"1 + 1">>) end),
    _ = await_queue(Ctx, 1),
    ?assertEqual(ok, py_context:interrupt(Ctx)),
    ?assertEqual({error, interrupted}, answer(Looping)),
    ?assertEqual({ok, 2}, answer(Waiting)),
    ?assertEqual([[], []], [leftovers(Pid) || Pid <- [Looping, Waiting]]),
    _ = eventually(fun() -> py_context:interrupt(Ctx) =:= not_running end),
    ?assertMatch(#{cancelled := 1, timed_out := 0}, py_context:info(Ctx)).

an_interrupt_does_not_hit_the_next_job(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"def work():\n"
                                "  n = 0\n"
                                "  for i in range(2000): n += i\n"
                                "  return n">>),
    Interrupter = spawn_link(fun() -> interrupt_for_ever(Ctx) end),
    Outcomes = [py_context:call(Ctx, '__main__', work, []) || _ <- lists:seq(1, 300)],
    unlink(Interrupter),
    exit(Interrupter, kill),
    [?assert(lists:member(Outcome, [{ok, 1999000}, {error, interrupted}]), Outcome)
     || Outcome <- Outcomes],
    %% A job that comes when the interrupter is gone isn't interrupted.
    _ = eventually(fun() -> py_context:call(Ctx, '__main__', work, []) =:= {ok, 1999000} end),
    ?assertEqual([{ok, 1999000}],
                 lists:usort([py_context:call(Ctx, '__main__', work, [])
                              || _ <- lists:seq(1, 300)])).

interrupt_for_ever(Ctx) ->
    _ = py_context:interrupt(Ctx),
    receive after 1 -> interrupt_for_ever(Ctx) end.

a_keyboard_interrupt_of_its_own_is_an_exception(Config) ->
    Ctx = new(Config),
    ?assertEqual({error, {'KeyboardInterrupt', <<"mine">>}},
                 py_context:exec(Ctx, <<"raise KeyboardInterrupt('mine')">>)).

%% ------------------------------------------------------------------ load and death

a_full_queue_refuses_at_once(Config) ->
    Ctx = new(#{max_queue => 2}, Config),
    Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    Waiting = [ask(fun() -> py_context:eval(Ctx, <<"1 + 1">>) end) || _ <- [1, 2]],
    _ = await_queue(Ctx, 2),
    Overloaded = {error, {overloaded, #{queue => 2, max_queue => 2}}},
    [?assertEqual(Overloaded, Refused)
     || Refused <- [py_context:call(Ctx, math, sqrt, [1]),
                    py_context:eval(Ctx, <<"1">>, #{}, 0),
                    py_context:exec(Ctx, <<"x = 1">>),
                    py_context:create_local_env(Ctx)]],
    ok = py_context:interrupt(Ctx),
    ?assertEqual({error, interrupted}, answer(Looping)),
    ?assertEqual([{ok, 2}, {ok, 2}], [answer(Pid) || Pid <- Waiting]),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertEqual([[], [], []], [leftovers(Pid) || Pid <- [Looping | Waiting]]).

a_killed_context_answers_everybody_once(Config) ->
    everybody_is_answered_once(Config, fun(Ctx) -> exit(Ctx, kill) end, killed).

a_dying_context_answers_everybody_once(Config) ->
    everybody_is_answered_once(Config, fun(Ctx) -> exit(Ctx, {boom, [1]}) end, {boom, [1]}).

a_stopped_context_answers_everybody_once(Config) ->
    everybody_is_answered_once(Config, fun(Ctx) -> py_context:stop(Ctx) end, shutdown).

everybody_is_answered_once(Config, End, Reason) ->
    Threads = test_helpers:context_threads(),
    Ctx = new(#{shutdown => 10}, Config),
    true = unlink(Ctx),
    Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    Waiting = [ask(fun() -> py_context:call(Ctx, math, sqrt, [1], #{}, Timeout) end)
               || Timeout <- [infinity, 30_000], _ <- lists:seq(1, 20)],
    _ = await_queue(Ctx, 40),
    Monitor = monitor(process, Ctx),
    _ = End(Ctx),
    receive {'DOWN', Monitor, process, Ctx, _} -> ok end,
    ?assertEqual([{error, {context_died, Reason}}],
                 lists:usort([answer(Pid) || Pid <- [Looping | Waiting]])),
    ?assertEqual({error, {context_died, noproc}}, py_context:call(Ctx, math, sqrt, [1])),
    %% The thread is gone: nobody is left to answer a second time.
    _ = eventually(fun() -> test_helpers:context_threads() =< Threads end),
    ?assertEqual([[]], lists:usort([leftovers(Pid) || Pid <- [Looping | Waiting]])).

stopping_waits_for_the_running_job_and_no_longer(Config) ->
    {Gate, Wait} = test_helpers:gate(Config),
    Ctx = new(#{shutdown => infinity, preload => Wait}, Config),
    true = unlink(Ctx),
    Running = ask(fun() -> py_context:call(Ctx, '__main__', wait, []) end),
    _ = await_busy(Ctx),
    Waiting = ask(fun() -> py_context:eval(Ctx, <<"1 + 1">>) end),
    _ = await_queue(Ctx, 1),
    Stopper = ask(fun() -> py_context:stop(Ctx) end),
    %% The waiting one gets its answer while the running one still runs.
    ?assertEqual({error, {context_died, shutdown}}, answer(Waiting)),
    ?assert(is_process_alive(Ctx)),
    test_helpers:open_gate(Gate),
    ?assertEqual({ok, <<"finished">>}, answer(Running)),
    ?assertEqual(ok, answer(Stopper)),
    ?assertNot(is_process_alive(Ctx)).

a_waiting_job_whose_caller_dies_never_runs(Config) ->
    {Gate, Wait} = test_helpers:gate(Config),
    Ctx = new(#{preload => Wait}, Config),
    ok = py_context:exec(Ctx, <<"ran = []">>),
    Running = ask(fun() -> py_context:call(Ctx, '__main__', wait, []) end),
    _ = await_busy(Ctx),
    kill_callers([fun() -> py_context:exec(Ctx, <<"ran.append('abandoned')">>) end || _ <- [1, 2]],
                 fun() -> await_queue(Ctx, 2) end),
    Next = ask(fun() -> py_context:eval(Ctx, <<"ran">>) end),
    _ = await_queue(Ctx, 3),
    test_helpers:open_gate(Gate),
    ?assertEqual({ok, <<"finished">>}, answer(Running)),
    ?assertEqual({ok, []}, answer(Next)),
    ?assertMatch(#{cancelled := 2, queue := 0}, py_context:info(Ctx)).

a_running_job_whose_caller_dies_is_interrupted(Config) ->
    Ctx = new(Config),
    kill_callers([fun() -> py_context:exec(Ctx, ?LOOP) end], fun() -> await_busy(Ctx) end),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertMatch(#{cancelled := 1, timed_out := 0}, py_context:info(Ctx)).

%% The context's option is for calls that don't say.
a_job_whose_caller_dies_may_be_finished(Config) ->
    {Gate, Wait} = test_helpers:gate(Config),
    Ctx = new(#{preload => Wait, on_caller_down => finish}, Config),
    ok = py_context:exec(Ctx, <<"ran = []">>),
    kill_callers([fun() -> py_context:exec(Ctx, <<"wait(); ran.append(0)">>) end],
                 fun() -> await_busy(Ctx) end),
    Options = [#{}, #{on_caller_down => finish}, #{on_caller_down => interrupt}],
    kill_callers([fun() -> py_context:exec(Ctx, io_lib:format("ran.append(~b)", [N]), Option) end
                  || {N, Option} <- lists:zip([1, 2, 3], Options)],
                 fun() -> await_queue(Ctx, 3) end),
    Next = ask(fun() -> py_context:eval(Ctx, <<"sorted(ran)">>) end),
    _ = await_queue(Ctx, 4),
    test_helpers:open_gate(Gate),
    ?assertEqual({ok, [0, 1, 2]}, answer(Next)),
    ?assertMatch(#{cancelled := 1}, py_context:info(Ctx)).

%% Kills the callers once what they have asked for is where it should be.
kill_callers(Calls, Await) ->
    Callers = [spawn_monitor(Call) || Call <- Calls],
    _ = Await(),
    [exit(Caller, kill) || {Caller, _} <- Callers],
    [receive {'DOWN', Monitor, process, Caller, killed} -> ok end
     || {Caller, Monitor} <- Callers].

%% ------------------------------------------------------------------ info

info_tells_what_it_is_doing(Config) ->
    Ctx = new(#{max_queue => infinity}, Config),
    Mode = ?config(mode, Config),
    ?assertMatch(#{pid := Ctx, mode := Mode, state := idle, busy_ms := undefined, queue := 0,
                   max_queue := infinity, done := 0, failed := 0, timed_out := 0,
                   cancelled := 0}, py_context:info(Ctx)),
    Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    #{busy_ms := Before} = py_context:info(Ctx),
    _ = eventually(fun() -> maps:get(busy_ms, py_context:info(Ctx)) > Before end),
    ok = py_context:interrupt(Ctx),
    {error, interrupted} = answer(Looping),
    {ok, _} = py_context:eval(Ctx, <<"1">>),
    _ = eventually(fun() ->
        maps:with([state, done, cancelled], py_context:info(Ctx)) =:=
            #{state => idle, done => 1, cancelled => 1}
    end).

ids_are_unique(Config) ->
    Contexts = [new(Config) || _ <- [1, 2, 3]],
    Ids = [Id || Ctx <- Contexts, {ok, Id} <- [py_context:get_interp_id(Ctx)]],
    ?assertEqual(3, length(lists:usort(Ids))),
    IsSubinterp = ?config(mode, Config) =/= worker,
    ?assertEqual([IsSubinterp], lists:usort([py_context:is_subinterp(Ctx) || Ctx <- Contexts])),
    Numbers = lists:usort([maps:get(python_interp, py_context:info(Ctx)) || Ctx <- Contexts]),
    case IsSubinterp of
        true -> ?assertEqual({3, false}, {length(Numbers), lists:member(0, Numbers)});
        false -> ?assertEqual([0], Numbers)
    end.

%% ------------------------------------------------------------------ lifecycle

%% A process that traps exits gets that message alone.
a_stop_by_another_process_does_not_end_who_has_started_it(_Config) ->
    Self = self(),
    Starts = [{context, fun() -> py_context:new(#{}) end, fun py_context:stop/1},
              {context, fun() -> py_context:start_link(my_context, worker) end,
               fun py_context:destroy/1},
              {pool, fun() -> py_context_router:start_link(#{name => linked, contexts => 1}) end,
               fun(_) -> py_context_router:stop_pool(linked) end}],
    [begin
         Starter = ask(fun() ->
             _ = process_flag(trap_exit, Traps),
             {ok, Pid} = Start(),
             Self ! {started, Pid},
             receive stopped -> Pid end
         end),
         Pid = receive {started, Started} -> Started end,
         ok = Stop(Pid),
         ?assertNot(is_process_alive(Pid)),
         Starter ! stopped,
         ?assertEqual({What, Pid}, {What, answer(Starter)}),
         ?assertEqual([{'EXIT', Pid, normal} || Traps], leftovers(Starter))
     end || {What, Start, Stop} <- Starts, Traps <- [false, true]].

a_context_is_linked_to_its_caller(_Config) ->
    Self = self(),
    [begin
         {Caller, Monitor} = spawn_monitor(fun() ->
             {ok, Ctx} = Start(),
             Self ! {started, Ctx},
             receive {leave, Reason} -> exit(Reason) end
         end),
         Ctx = receive {started, Pid} -> Pid end,
         CtxMonitor = monitor(process, Ctx),
         Caller ! {leave, Why},
         receive {'DOWN', Monitor, process, Caller, Why} -> ok end,
         receive {'DOWN', CtxMonitor, process, Ctx, Why} -> ok end
     end || Start <- [fun() -> py_context:new(#{}) end,
                      fun() -> py_context:start_link(my_context, worker) end],
            Why <- [normal, shutdown, crashed]],
    %% And the other way round.
    {Caller, Monitor} = spawn_monitor(fun() ->
        {ok, Ctx} = py_context:new(#{}),
        exit(Ctx, kill),
        receive never -> ok end
    end),
    receive {'DOWN', Monitor, process, Caller, killed} -> ok end,
    %% An end that was asked for takes nobody along.
    {ok, Ctx} = py_context:new(#{}),
    ok = py_context:destroy(Ctx),
    ok = py_context:stop(Ctx),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end).

a_context_under_the_application_outlives_its_caller(_Config) ->
    Starter = ask(fun() -> py_context_sup:start_context(<<"any term">>, worker) end),
    {ok, Ctx} = answer(Starter),
    ?assertEqual([], leftovers(Starter)),
    _ = eventually(fun() -> not is_process_alive(Starter) end),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    {ok, Other} = py_context_sup:start_context({my, id}, worker),
    ?assertEqual(lists:sort([Ctx, Other]), lists:sort(py_context_sup:which_contexts())),
    ?assertEqual([ok, ok], [py_context_sup:stop_context(Ctx) || _ <- [1, 2]]),
    ?assertEqual([Other], py_context_sup:which_contexts()),
    ?assertNot(is_process_alive(Ctx)).

a_context_under_the_application_is_not_replaced(_Config) ->
    {ok, Ctx} = py_context_sup:start_context(x, worker),
    Monitor = monitor(process, Ctx),
    exit(Ctx, kill),
    receive {'DOWN', Monitor, process, Ctx, killed} -> ok end,
    _ = eventually(fun() -> py_context_sup:which_contexts() =:= [] end).

starting_brings_the_application_up(_Config) ->
    [begin
         ok = test_helpers:stop_all(),
         ?assertEqual([], py_context_sup:which_contexts()),
         {ok, Ctx} = Start(),
         ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
         ok = py_context:stop(Ctx)
     end || Start <- [fun() -> py_context:new(#{}) end,
                      fun() -> py_context:start_link(x, worker) end,
                      fun() -> py_context_sup:start_context(x, worker) end]].

bad_options_are_named(_Config) ->
    [?assertEqual({error, {bad_option, {mode, Mode}}}, Start(Mode))
     || Mode <- [thread, undefined, <<"worker">>, 1],
        Start <- [fun(M) -> py_context:new(#{mode => M}) end,
                  fun(M) -> py_context:start_link(x, M) end,
                  fun(M) -> py_context_sup:start_context(x, M) end]],
    [?assertEqual({error, {bad_option, {Key, Value}}}, py_context:new(#{Key => Value}))
     || {Key, Value} <- [{contexts, 1}, {max_queue, 0}, {shutdown, -1}, {preload, x}, {id, 1}]],
    ?assertMatch({error, {bad_option, _}}, py_context:new([])),
    [?assertEqual(Error, py_context:new(#{mode => Mode}))
     || Mode <- [subinterp, owngil], {error, _} = Error <- [py_nif:check_mode(Mode)]].

a_context_that_cannot_start_leaves_nothing(_Config) ->
    Threads = test_helpers:context_threads(),
    ?assertEqual({error, {'ZeroDivisionError', <<"division by zero">>}},
                 py_context:new(#{preload => <<"1/0">>})),
    ?assertMatch({error, {'SyntaxError', _}}, py_context:new(#{preload => "x = = 1"})),
    _ = eventually(fun() -> test_helpers:context_threads() =:= Threads end),
    {links, Links} = process_info(self(), links),
    ?assertEqual([], [Pid || Pid <- Links, is_pid(Pid), is_map(py_context:info(Pid))]).

%% The thread may have failed before anybody waits for it.
a_failure_is_reported_however_fast_it_comes(_Config) ->
    Starts = [fun() -> py_context:new(#{preload => <<"x = = 1">>}) end || _ <- lists:seq(1, 500)],
    [?assertMatch({error, {'SyntaxError', _}}, Start()) || Start <- Starts],
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end).

a_caller_that_traps_exits_gets_no_message_about_a_failed_start(_Config) ->
    Caller = ask(fun() ->
        true = process_flag(trap_exit, true) =:= false,
        py_context:new(#{preload => <<"1/0">>})
    end),
    ?assertMatch({error, {'ZeroDivisionError', _}}, answer(Caller)),
    _ = eventually(fun() -> test_helpers:context_threads() =:= 0 end),
    ?assertEqual([], leftovers(Caller)).

stopping_leaves_processes_that_are_no_contexts_alone(_Config) ->
    Plain = ask(fun() -> ok end),
    ok = answer(Plain),
    ?assertEqual(ok, py_context:stop(Plain)),
    ?assertEqual(ok, py_context:stop(whereis(py_registry))),
    ?assert(is_process_alive(Plain)),
    ?assert(is_process_alive(whereis(py_registry))),
    ?assertEqual([], leftovers(Plain)).

modules_are_shared_by_workers_and_by_nobody_else(_Config) ->
    {ok, Writer} = py_context:new(#{}),
    ok = py_context:exec(Writer, <<"import json\njson.seen = 1">>),
    [begin
         {ok, Reader} = py_context:new(#{mode => Mode}),
         Seen = py_context:eval(Reader, <<"hasattr(__import__('json'), 'seen')">>),
         ?assertEqual({Mode, {ok, Mode =:= worker}}, {Mode, Seen})
     end || Mode <- [worker, subinterp, owngil], py_nif:check_mode(Mode) =:= ok].

%% ------------------------------------------------------------------ remote

start_node() ->
    {ok, Peer, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    {ok, _} = erpc:call(Node, application, ensure_all_started, [py_context_router]),
    {ok, Ctx} = erpc:call(Node, py_context_sup, start_context, [remote, worker]),
    ?assertEqual(Node, node(Ctx)),
    {Peer, Ctx}.

a_remote_context_is_used_as_a_local_one(_Config) ->
    {Peer, Ctx} = start_node(),
    ?assertEqual({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16])),
    ?assertEqual({ok, 5}, py_context:call(Ctx, "builtins", <<"int">>, [<<"5">>], #{})),
    ?assertEqual({ok, 255}, py_context:call(Ctx, builtins, int, [<<"ff">>], [{base, 16}], 5000)),
    ok = py_context:exec(Ctx, <<"import os\nx = 20">>),
    ?assertEqual({ok, 22}, py_context:eval(Ctx, <<"x + y">>, #{y => 2})),
    ?assertNotEqual({ok, list_to_integer(os:getpid())}, py_context:eval(Ctx, <<"os.getpid()">>)),
    ?assertEqual({ok, self()}, py_context:eval(Ctx, <<"p">>, #{p => self()})),
    ?assertMatch(#{pid := Ctx, mode := worker, state := idle}, py_context:info(Ctx)),
    ?assertMatch({ok, _}, py_context:get_interp_id(Ctx)),
    ?assertEqual(false, py_context:is_subinterp(Ctx)),
    ?assertEqual(not_running, py_context:interrupt(Ctx)),
    Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    ?assertEqual(ok, py_context:interrupt(Ctx)),
    ?assertEqual({error, interrupted}, answer(Looping)),
    ?assertEqual(ok, py_context:stop(Ctx)),
    ?assertEqual({error, {context_died, noproc}}, py_context:eval(Ctx, <<"1">>)),
    ?assertEqual(ok, py_context:stop(Ctx)),
    ok = peer:stop(Peer).

a_remote_context_gives_the_same_errors(_Config) ->
    {Peer, Ctx} = start_node(),
    ?assertEqual({error, {'ZeroDivisionError', <<"division by zero">>}},
                 py_context:eval(Ctx, <<"1/0">>)),
    ?assertEqual({error, timeout}, py_context:exec(Ctx, ?LOOP, 20)),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertMatch({error, {unconvertible, _, _}},
                 py_context:call(Ctx, math, sqrt, [fun() -> 1 end])),
    ?assertError(badarg, py_context:call(Ctx, math, sqrt, not_a_list)),
    ?assertError(badarg, py_context:call(Ctx, 1, sqrt, [])),
    ?assertError(badarg, py_context:eval(Ctx, not_text)),
    ?assertError(badarg, py_context:exec(Ctx, <<"x = 1">>, -1)),
    Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    exit(Ctx, kill),
    ?assertEqual({error, {context_died, killed}}, answer(Looping)),
    ?assertEqual([], leftovers(Looping)),
    ?assertEqual([], test_helpers:messages()),
    ok = peer:stop(Peer).

an_environment_of_a_remote_context_lives_as_long_as_its_user(_Config) ->
    {Peer, Ctx} = start_node(),
    ok = py_context:exec(Ctx, <<"import sys">>),
    User = ask(fun() ->
        {ok, Env} = py_context:create_local_env(Ctx),
        ok = py_context:exec(Ctx, <<"import sys, weakref\n"
                                    "class Probe: pass\n"
                                    "probe = Probe()\n"
                                    "sys.probe = weakref.ref(probe)">>, Env),
        %% What is held there must survive a collection there.
        _ = [erpc:call(node(Ctx), erlang, garbage_collect, [Pid])
             || Pid <- erpc:call(node(Ctx), erlang, processes, [])],
        py_context:eval(Ctx, <<"isinstance(probe, Probe)">>, #{}, 5000, Env)
    end),
    ?assertEqual({ok, true}, answer(User)),
    ?assertEqual({ok, false}, py_context:eval(Ctx, <<"sys.probe() is None">>)),
    ?assertEqual([], leftovers(User)),
    _ = eventually(fun() ->
        _ = erpc:call(node(Ctx), erlang, garbage_collect, [Ctx]),
        py_context:eval(Ctx, <<"sys.probe() is None">>) =:= {ok, true}
    end),
    ok = peer:stop(Peer).

a_remote_job_whose_caller_dies_is_interrupted(Config) ->
    {Peer, Ctx} = start_node(),
    kill_callers([fun() -> py_context:exec(Ctx, ?LOOP) end], fun() -> await_busy(Ctx) end),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertMatch(#{cancelled := 1, timed_out := 0}, py_context:info(Ctx)),
    %% Unless it said otherwise.
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, [Wait, "ran = []"]),
    Finish = #{on_caller_down => finish},
    kill_callers([fun() -> py_context:exec(Ctx, <<"ran.append(wait())">>, Finish) end],
                 fun() -> await_busy(Ctx) end),
    test_helpers:open_gate(Gate),
    ?assertEqual({ok, [<<"finished">>]}, py_context:eval(Ctx, <<"ran">>)),
    ok = peer:stop(Peer).

a_lost_node_is_a_dead_context(_Config) ->
    {Peer, Ctx} = start_node(),
    Looping = ask(fun() -> py_context:exec(Ctx, ?LOOP) end),
    _ = await_busy(Ctx),
    ok = peer:stop(Peer),
    ?assertEqual({error, {context_died, noconnection}}, answer(Looping)),
    ?assertEqual({error, {context_died, noconnection}}, py_context:eval(Ctx, <<"1">>)),
    ?assertMatch({error, {context_died, noconnection}}, py_context:info(Ctx)),
    ?assertMatch({error, {context_died, noconnection}}, py_context:interrupt(Ctx)),
    ?assertMatch({error, {context_died, noconnection}}, py_context:create_local_env(Ctx)),
    ?assertEqual(ok, py_context:stop(Ctx)).

a_process_can_be_bound_to_a_remote_context(_Config) ->
    {Peer, Ctx} = start_node(),
    ok = py_context_router:bind_context(Ctx),
    ?assertEqual(Ctx, py_context_router:get_context()),
    ?assertEqual({ok, 2}, py_context:eval(py_context_router:get_context(), <<"1 + 1">>)),
    ok = peer:stop(Peer).

%% ------------------------------------------------------------------ misuse

misuse_is_a_badarg_with_a_sentence(_Config) ->
    {ok, Ctx} = py_context:new(#{}),
    Wrong = [{fun() -> py_context:call(ctx, math, sqrt, []) end, "not a pid"},
             {fun() -> py_context:call(Ctx, 1, sqrt, []) end, "not a name"},
             {fun() -> py_context:call(Ctx, math, {sqrt}, []) end, "not a name"},
             {fun() -> py_context:call(Ctx, [foo], sqrt, []) end, "not a name"},
             {fun() -> py_context:call(Ctx, math, sqrt, {1}) end, "not a list"},
             {fun() -> py_context:call(Ctx, math, sqrt, [], x) end, "neither a map nor a list"},
             {fun() -> py_context:call(Ctx, math, sqrt, [], [x]) end, "neither a map nor a list"},
             {fun() -> py_context:call(Ctx, math, sqrt, [], [{x, 1} | y]) end, "neither a map"},
             {fun() -> py_context:call(Ctx, math, sqrt, [], [{1, 1}]) end, "not a name"},
             {fun() -> py_context:call(Ctx, math, sqrt, [], [{x, 1}, {x, 2}]) end, "twice"},
             {fun() -> py_context:call(Ctx, math, sqrt, [], #{"x" => 1, <<"x">> => 2}) end,
              "twice"},
             {fun() -> py_context:call(Ctx, math, sqrt, [1], #{}, -1) end, "the timeout is"},
             {fun() -> py_context:call(Ctx, math, sqrt, [1], #{}, 1.0) end, "the timeout is"},
             {fun() -> py_context:call(Ctx, math, sqrt, [1], #{}, 1 bsl 32) end, "the timeout is"},
             {fun() -> py_context:call(Ctx, math, sqrt, [1], #{}, 1, env) end, "environment"},
             {fun() -> py_context:eval(Ctx, 1) end, "not text"},
             {fun() -> py_context:eval(Ctx, [foo]) end, "not text"},
             {fun() -> py_context:eval(Ctx, [<<255>>]) end, "not text in UTF-8"},
             {fun() -> py_context:eval(Ctx, <<"1">>, x) end, "neither a map nor a list of pairs"},
             {fun() -> py_context:eval(Ctx, <<"1">>, #{}, never) end, "the timeout is"},
             {fun() -> py_context:eval(Ctx, <<"1">>, #{}, 1, undefined) end, "environment"},
             {fun() -> py_context:exec(undefined, <<"1">>) end, "not a pid"},
             {fun() -> py_context:exec(Ctx, <<"1">>, never) end, "the timeout is"},
             {fun() -> py_context:exec(Ctx, <<"1">>, 1, undefined) end, "environment"},
             {fun() -> py_context:exec(Ctx, <<"1">>, make_ref(), make_ref()) end, "the timeout is"},
             {fun() -> py_context:create_local_env(1) end, "not a pid"},
             {fun() -> py_context:interrupt(1) end, "not a pid"},
             {fun() -> py_context:info(1) end, "not a pid"},
             {fun() -> py_context:get_interp_id(1) end, "not a pid"},
             {fun() -> py_context:is_subinterp(1) end, "not a pid"},
             {fun() -> py_context:stop(1) end, "not a pid"},
             {fun() -> py_context:destroy(1) end, "not a pid"},
             {fun() -> py_context_sup:stop_context(1) end, "not a pid"}],
    [begin
         Text = rendered(Fun),
         ?assertNotEqual({nomatch, Text}, {string:find(Text, Part), Text})
     end || {Fun, Part} <- Wrong],
    %% None of them has sent anything that comes back.
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    ?assertEqual([], test_helpers:messages()),
    %% The same name in two forms that only Python can tell to be one.
    ?assertMatch({error, {unconvertible, <<"kwargs.x">>, _}},
                 py_context:call(Ctx, math, sqrt, [], #{x => 1, <<"x">> => 2})).

what_is_no_context_is_a_dead_one(_Config) ->
    {ok, Dead} = py_context:new(#{}),
    ok = py_context:stop(Dead),
    NoProc = {error, {context_died, noproc}},
    [begin
         [?assertEqual(NoProc, Outcome)
          || Outcome <- [py_context:call(Pid, math, sqrt, [1]),
                         py_context:call(Pid, math, sqrt, [1], #{a => 1}, 0),
                         py_context:eval(Pid, <<"1">>),
                         py_context:exec(Pid, <<"x = 1">>),
                         py_context:create_local_env(Pid),
                         py_context:interrupt(Pid),
                         py_context:get_interp_id(Pid),
                         py_context:info(Pid)]],
         ?assertEqual(false, py_context:is_subinterp(Pid)),
         ?assertEqual(ok, py_context:stop(Pid))
     end || Pid <- [Dead, self(), whereis(py_registry)]],
    ?assertEqual([], test_helpers:messages()).
