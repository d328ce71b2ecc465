%% What every context has, also later ones: imports, folders, virtual environments; and what is
%% asked of every interpreter. Once per mode that the linked Python has.
-module(py_setup_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [eventually/1]).

all() ->
    test_helpers:mode_groups()
    ++ [{group, venvs}].

groups() ->
    test_helpers:in_each_mode(each_mode())
    ++ [{venvs, [],
         [a_virtual_environment_is_made_filled_and_used,
          what_has_not_changed_is_not_installed_again,
          what_a_requirement_names_is_noticed_when_it_changes,
          files_that_are_no_environment_are_left_alone,
          a_failed_installation_says_what_the_program_said,
          a_program_that_takes_too_long_is_ended,
          the_last_line_is_reported_though_it_has_no_end,
          nothing_of_a_program_stays_in_the_mailbox,
          bad_options_are_named,
          misuse_of_environment_variables_is_a_badarg,
          misuse_is_a_badarg_before_anything_is_made]}].

each_mode() ->
    [an_import_is_in_every_context_and_in_later_ones,
     an_import_that_fails_is_forgotten,
     what_fails_while_no_context_runs_is_forgotten_too,
     what_is_set_up_while_no_context_runs_is_tried_as_in_the_default_pool,
     names_that_are_no_modules_are_refused,
     a_folder_is_on_the_path_of_every_context_and_of_later_ones,
     a_folder_that_is_no_text_is_refused,
     a_folder_is_on_the_path_once_though_contexts_share_it,
     a_module_is_loaded_anew_everywhere,
     a_context_that_dies_comes_back_with_all_of_it,
     setting_up_starts_the_application_and_ends_with_it,
     garbage_is_collected_everywhere,
     memory_is_shown_for_each_interpreter,
     packages_of_a_virtual_environment_come_and_go,
     python_is_started_as_that_of_the_environment,
     one_virtual_environment_takes_the_place_of_another,
     a_pool_has_a_virtual_environment_of_its_own,
     what_is_no_virtual_environment_is_refused,
     environment_variables_are_set_on_both_sides,
     a_later_interpreter_has_the_variables_of_the_process].

-include("quiet_suite.hrl").

init_per_group(venvs, Config) ->
    [{made, made_venv()} | Config];
init_per_group(Mode, Config) ->
    [{mode, Mode} | Config].

end_per_group(_Group, _Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    {ok, _} = application:ensure_all_started(py_context_router),
    Config.

%% Workers of all cases share one interpreter, which must not keep what a case has put there.
end_per_testcase(_Case, _Config) ->
    _ = py:deactivate_venv(),
    test_helpers:stop_all(),
    {ok, Ctx} = py_context:new(#{}),
    ok = py_context:exec(Ctx, <<"import sys\n"
                                "sys.path[:] = [p for p in sys.path if 'py_setup' not in p]\n"
                                "for name in [n for n in sys.modules if n.startswith('setup_')]:\n"
                                "    del sys.modules[name]\n">>),
    ok = py_context:stop(Ctx),
    test_helpers:stop_all().

start(Pool, Options, Config) ->
    {ok, Pids} = py_context_router:start_pool(Pool, Options#{mode => ?config(mode, Config)}),
    Pids.

start(Config) ->
    start(default, #{contexts => 2}, Config).

%% A folder with a module that says who it is.
folder(Name, Module, Value, Config) ->
    Folder = filename:join([?config(priv_dir, Config), "py_setup", Name]),
    ok = write_module(Folder, Module, Value),
    unicode:characters_to_binary(Folder).

write_module(Folder, Module, Value) ->
    File = filename:join(Folder, Module ++ ".py"),
    ok = filelib:ensure_dir(File),
    file:write_file(File, ["value = ", integer_to_list(Value), "\n"]).

values(Contexts, Code) ->
    [py_context:eval(Ctx, Code) || Ctx <- Contexts].

%% ------------------------------------------------------------------ imports and folders

an_import_is_in_every_context_and_in_later_ones(Config) ->
    Contexts = start(Config),
    ?assertEqual(ok, py:import('email.utils')),
    Io = start(io, #{contexts => 1}, Config),
    {ok, Single} = py_context:new(#{mode => ?config(mode, Config)}),
    Code = <<"email.utils.formataddr(('a', 'b@c'))">>,
    [?assertEqual({ok, <<"a <b@c>">>}, Value) || Value <- values(Contexts ++ Io ++ [Single], Code)],
    %% Every process sees it.
    ?assertEqual({ok, <<"a <b@c>">>}, py:eval(Code)),
    ok = py_context:stop(Single).

an_import_that_fails_is_forgotten(Config) ->
    _ = start(Config),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:import(setup_nowhere)),
    Later = start(io, #{contexts => 1}, Config),
    ?assertEqual([{ok, 1}], values(Later, <<"1">>)).

what_fails_while_no_context_runs_is_forgotten_too(Config) ->
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:import(setup_nowhere)),
    ?assertMatch({error, {'FileNotFoundError', _}},
                 py:activate_venv(filename:join(?config(priv_dir, Config), "nothing"))),
    ?assertEqual({ok, #{active => false}}, py:venv_info()),
    ?assertEqual([], py_nif:contexts()),
    ?assertEqual([{ok, 1}, {ok, 1}], values(start(Config), <<"1">>)).

what_is_set_up_while_no_context_runs_is_tried_as_in_the_default_pool(Config) ->
    Own = venv("tried", "setup_tried", 5, Config),
    Options = #{contexts => 1, mode => ?config(mode, Config), venv => Own},
    ok = application:set_env(py_context_router, default_pool, Options),
    try
        ?assertEqual(ok, py:import(setup_tried)),
        ?assertEqual({ok, 5}, py:eval(<<"setup_tried.value">>)),
        ok = py:exec(<<"import sys; del sys._py_context_venv">>)
    after
        ok = application:unset_env(py_context_router, default_pool)
    end.

names_that_are_no_modules_are_refused(_Config) ->
    [?assertError(badarg, py:import(Name))
     || Name <- ["os; import sys", "os, sys", "os\n", "", "1x", "a..b", ".a", 17]],
    ?assertNotEqual(nomatch, string:find(test_helpers:rendered(fun() -> py:import(<<255>>) end),
                                         "not text in UTF-8")),
    ?assertEqual(ok, py:import("xml.dom")).

a_folder_is_on_the_path_of_every_context_and_of_later_ones(Config) ->
    Contexts = start(Config),
    Folder = folder("with ' and ü", "setup_a", 1, Config),
    ?assertEqual(ok, py:add_path(Folder)),
    ?assertEqual(ok, py:add_path(Folder)),
    Io = start(io, #{contexts => 1}, Config),
    [?assertEqual({ok, 1}, Value)
     || Value <- values(Contexts ++ Io, <<"__import__('setup_a').value">>)],
    [?assertEqual({ok, 1}, Count)
     || Count <- [py_context:eval(Ctx, <<"__import__('sys').path.count(p)">>, #{p => Folder})
                  || Ctx <- Contexts ++ Io]],
    ?assertEqual([{error, {'NameError', <<"name 'sys' is not defined">>}}],
                 lists:usort(values(Io, <<"sys">>))).

a_folder_that_is_no_text_is_refused(Config) ->
    Contexts = start(Config),
    ?assertMatch({match, _},
                 re:run(test_helpers:rendered(fun() -> py:add_path(<<"/tmp/", 255>>) end),
                                    "not text in UTF-8")),
    Io = start(io, #{contexts => 1}, Config),
    ?assertEqual([{ok, 1}, {ok, 1}, {ok, 1}], values(Contexts ++ Io, <<"1">>)).

%% Workers look and insert at the same time; here the look takes a while.
a_folder_is_on_the_path_once_though_contexts_share_it(Config) ->
    Contexts = start(Config),
    Slow = <<"import sys, time\n"
             "class Slow(list):\n"
             "    def __contains__(self, item):\n"
             "        found = super().__contains__(item)\n"
             "        time.sleep(0.05)\n"
             "        return found\n"
             "sys.path = Slow(sys.path)">>,
    [?assertEqual(ok, py_context:exec(Ctx, Slow)) || Ctx <- Contexts],
    Folder = folder("once", "setup_once", 1, Config),
    ?assertEqual(ok, py:add_path(Folder)),
    ?assertEqual([{ok, 1}, {ok, 1}], values(Contexts, <<"sys.path.count(p)">>, #{p => Folder})),
    [?assertEqual(ok, py_context:exec(Ctx, <<"sys.path = list(sys.path)">>)) || Ctx <- Contexts].

a_module_is_loaded_anew_everywhere(Config) ->
    Contexts = start(Config),
    Folder = folder("reload", "setup_b", 1, Config),
    ok = py:add_path(Folder),
    %% Nowhere imported yet: nothing to do.
    ?assertEqual(ok, py:reload(setup_b)),
    ok = py:import(setup_b),
    Value = <<"setup_b.value">>,
    ?assertEqual([{ok, 1}, {ok, 1}], values(Contexts, Value)),
    %% Of another size, so that Python doesn't take the compiled file for current.
    ok = write_module(Folder, "setup_b", 200),
    ?assertEqual(ok, py:reload(<<"setup_b">>)),
    ?assertEqual([{ok, 200}, {ok, 200}], values(Contexts, Value)),
    ok = file:write_file(filename:join(Folder, "setup_b.py"), <<"1/0">>),
    ?assertMatch({error, {'ZeroDivisionError', _}}, py:reload(setup_b)).

a_context_that_dies_comes_back_with_all_of_it(Config) ->
    [First | _] = start(Config),
    ok = py:add_path(folder("back", "setup_c", 3, Config)),
    ok = py:import(setup_c),
    exit(First, kill),
    _ = eventually(fun() ->
        [New | _] = py_context_router:contexts(),
        New =/= First andalso is_process_alive(New)
    end),
    [New | _] = py_context_router:contexts(),
    ?assertEqual({ok, 3}, py_context:eval(New, <<"setup_c.value">>)).

setting_up_starts_the_application_and_ends_with_it(Config) ->
    test_helpers:stop_all(),
    ?assertEqual(ok, py:import(colorsys)),
    ?assertMatch([{ok, _}, {ok, _}], values(start(Config), <<"colorsys.ONE_THIRD">>)),
    test_helpers:stop_all(),
    ?assertEqual([], test_helpers:published()),
    ?assertMatch([{error, {'NameError', _}}, {error, {'NameError', _}}],
                 values(start(Config), <<"colorsys.ONE_THIRD">>)).

garbage_is_collected_everywhere(Config) ->
    Contexts = start(Config),
    {ok, _} = py:gc(),
    [ok = py_context:exec(Ctx, <<"import gc\ngc.disable()\n"
                                 "for _ in range(100):\n"
                                 "    cycle = []\n"
                                 "    cycle.append(cycle)\n"
                                 "del cycle\n">>) || Ctx <- Contexts],
    {ok, Collected} = py:gc(),
    [ok = py_context:exec(Ctx, <<"gc.enable()">>) || Ctx <- Contexts],
    ?assert(Collected >= 200, {collected, Collected}),
    test_helpers:stop_all(),
    ?assertEqual({ok, 0}, py:gc()).

memory_is_shown_for_each_interpreter(Config) ->
    Contexts = start(Config),
    {ok, #{allocated_blocks := All, interpreters := Interpreters}} = py:memory_stats(),
    ?assertEqual(lists:sort(Contexts),
                 lists:sort(lists:append([Of || #{contexts := Of} <- Interpreters]))),
    ?assertEqual(case ?config(mode, Config) of worker -> 1; _ -> 2 end, length(Interpreters)),
    ?assertEqual(All, lists:sum([Blocks || #{allocated_blocks := Blocks} <- Interpreters])),
    [?assertMatch(#{gc_count := [_, _, _], gc_threshold := [_, _, _],
                    gc_stats := [#{<<"collections">> := _} | _]}, Interpreter)
     || Interpreter <- Interpreters],
    [Ctx | _] = Contexts,
    ok = py_context:exec(Ctx, <<"kept = [object() for _ in range(100_000)]">>),
    {ok, #{allocated_blocks := More}} = py:memory_stats(),
    ?assert(More - All > 90_000, {blocks, More - All}).

%% ------------------------------------------------------------------ using environments

%% What looks like an environment of the linked Python, with one package.
venv(Name, Module, Value, Config) ->
    {ok, Version} = py:version(),
    [Major, Minor | _] = binary:split(Version, <<".">>, [global]),
    Venv = filename:join([?config(priv_dir, Config), "py_setup", Name]),
    Lib = io_lib:format("python~s.~s", [Major, Minor]),
    ok = write_module(filename:join([Venv, "lib", Lib, "site-packages"]), Module, Value),
    unicode:characters_to_binary(Venv).

packages_of_a_virtual_environment_come_and_go(Config) ->
    Contexts = start(Config),
    Venv = venv("venv", "setup_d", 4, Config),
    {ok, Path} = py_context:eval(hd(Contexts), <<"__import__('sys').path[:]">>),
    ?assertEqual({ok, #{active => false}}, py:venv_info()),
    ?assertEqual(ok, py:activate_venv(Venv)),
    Io = start(io, #{contexts => 1}, Config),
    [?assertEqual({ok, 4}, Value)
     || Value <- values(Contexts ++ Io, <<"__import__('setup_d').value">>)],
    [?assertEqual({ok, Venv}, Prefix)
     || Prefix <- values(Contexts ++ Io, <<"__import__('sys').prefix">>)],
    {ok, #{active := true, venv_path := Venv, site_packages := Packages}} = py:venv_info(),
    ?assert(filelib:is_regular(filename:join(Packages, "setup_d.py"))),
    ?assertEqual(ok, py:deactivate_venv()),
    ?assertEqual(ok, py:deactivate_venv()),
    ?assertEqual({ok, #{active => false}}, py:venv_info()),
    [?assertEqual({ok, Path}, Now) || Now <- values(Contexts, <<"__import__('sys').path[:]">>)],
    Db = start(db, #{contexts => 1}, Config),
    [?assertEqual({ok, false}, Found)
     || Found <- values(Contexts ++ Db, <<"__import__('sys').prefix == p">>, #{p => Venv})].

values(Contexts, Code, Locals) ->
    [py_context:eval(Ctx, Code, Locals) || Ctx <- Contexts].

python_is_started_as_that_of_the_environment(Config) ->
    Contexts = start(Config),
    [Ctx | _] = Contexts,
    Venv = venv("runs_" ++ atom_to_list(?config(mode, Config)), "setup_child", 9, Config),
    Python = with_executable(Venv, Ctx),
    ok = py_context:exec(Ctx, <<"
import multiprocessing.spawn, os, subprocess, sys
def child():
    code = 'import setup_child; print(setup_child.value)'
    out = subprocess.check_output([sys.executable, '-c', code])
    return int(out)
def as_now():
    executable = multiprocessing.spawn.get_executable()
    return sys.executable, os.fsdecode(executable), sys.prefix, sys.exec_prefix
before = as_now()
">>),
    ?assertMatch({error, _}, py_context:eval(Ctx, <<"child()">>)),
    ?assertEqual(ok, py:activate_venv(Venv)),
    ?assertEqual({ok, {Python, Python, Venv, Venv}}, py_context:eval(Ctx, <<"as_now()">>)),
    ?assertEqual({ok, 9}, py_context:eval(Ctx, <<"child()">>)),
    %% One without an executable changes nothing about that; another takes its place.
    Bare = venv("bare", "setup_bare", 1, Config),
    ?assertEqual(ok, py:activate_venv(Bare)),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"as_now()[:2] == before[:2]">>)),
    ?assertEqual(ok, py:activate_venv(Venv)),
    %% In contexts that start later, too.
    Later = start(db, #{contexts => 1}, Config),
    [?assertEqual({ok, Python}, Executable)
     || Executable <- values(Contexts ++ Later, <<"__import__('sys').executable">>)],
    ?assertEqual(ok, py:deactivate_venv()),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"as_now() == before">>)),
    [?assertEqual({ok, true}, Differs)
     || Differs <- values(Later, <<"__import__('sys').executable != p">>, #{p => Python})].

%% Has a Python in an environment; its path.
with_executable(Venv, Ctx) ->
    {ok, Base} = py_context:eval(Ctx, <<"__import__('sys').executable">>),
    Python = filename:join([Venv, "bin", "python"]),
    ok = filelib:ensure_dir(Python),
    ok = file:make_symlink(Base, Python),
    ok = file:write_file(filename:join(Venv, "pyvenv.cfg"),
                         ["home = ", filename:dirname(Base), "\n"]),
    Python.

one_virtual_environment_takes_the_place_of_another(Config) ->
    Contexts = start(Config),
    ok = py:activate_venv(venv("first", "setup_e", 1, Config)),
    ok = py:activate_venv(venv("second", "setup_f", 2, Config)),
    [?assertEqual({ok, 2}, Value) || Value <- values(Contexts, <<"__import__('setup_f').value">>)],
    [?assertMatch({error, {'ModuleNotFoundError', _}}, Value)
     || Value <- values(Contexts, <<"__import__('setup_e')">>)].

a_pool_has_a_virtual_environment_of_its_own(Config) ->
    _ = start(Config),
    Own = venv("own", "setup_g", 7, Config),
    Io = start(io, #{contexts => 2, venv => Own}, Config),
    Value = <<"__import__('setup_g').value">>,
    ?assertEqual([{ok, 7}, {ok, 7}], values(Io, Value)),
    %% It keeps it, whatever the others use.
    ok = py:activate_venv(venv("all", "setup_h", 8, Config)),
    ?assertEqual([{ok, 7}, {ok, 7}], values(Io, Value)),
    ok = py:deactivate_venv(),
    ?assertEqual([{ok, 7}, {ok, 7}], values(Io, Value)),
    case ?config(mode, Config) of
        worker ->
            %% Workers share their interpreter.
            ok;
        _ ->
            ?assertMatch([{error, {'ModuleNotFoundError', _}}, {error, {'ModuleNotFoundError', _}}],
                         values(py_context_router:contexts(), Value))
    end,
    [ok = py_context:exec(Ctx, <<"import sys; del sys._py_context_venv">>) || Ctx <- [hd(Io)]].

what_is_no_virtual_environment_is_refused(Config) ->
    [Ctx | _] = start(Config),
    Nothing = filename:join(?config(priv_dir, Config), "nothing"),
    ?assertMatch({error, {'FileNotFoundError', <<"no virtual environment: ", _/binary>>}},
                 py:activate_venv(Nothing)),
    ?assertEqual({ok, #{active => false}}, py:venv_info()),
    ?assertMatch({error, {'FileNotFoundError', _}},
                 py_context_router:start_pool(io,
                                              #{venv => Nothing, mode => ?config(mode, Config)})),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"1">>)).

%% ------------------------------------------------------------------ environment variables

-define(VARIABLE, "PY_SETUP_größe").

environment_variables_are_set_on_both_sides(Config) ->
    Contexts = start(Config),
    Io = start(io, #{contexts => 1}, Config),
    Seen = fun() ->
        Here = <<"__import__('os').environ.get(name)">>,
        Child = <<"__import__('subprocess').check_output(['printenv', name]).decode() "
                  "if name in __import__('os').environ else None">>,
        Locals = #{name => <<?VARIABLE/utf8>>},
        lists:usort([Value
                     || Code <- [Here, Child], {ok, Value} <- values(Contexts ++ Io, Code, Locals)])
    end,
    ?assertEqual({ok, false}, py:getenv(?VARIABLE)),
    ?assertEqual(ok, py:putenv(?VARIABLE, <<"größer"/utf8>>)),
    ?assertEqual("größer", os:getenv(?VARIABLE)),
    ?assertEqual([<<"größer"/utf8>>, <<"größer\n"/utf8>>], Seen()),
    ?assertEqual({ok, <<"größer"/utf8>>}, py:getenv(<<?VARIABLE/utf8>>)),
    ?assertEqual(ok, py:putenv(?VARIABLE, "")),
    ?assertEqual({ok, <<>>}, py:getenv(?VARIABLE)),
    ?assertEqual([<<>>, <<"\n">>], Seen()),
    %% A later context has it, and what Python code has set since isn't undone by one that starts.
    ok = py:putenv(?VARIABLE, "a"),
    ok = py_context:exec(hd(Contexts), <<"import os; os.environ['PY_SETUP_größe'] = 'b'"/utf8>>),
    Db = start(db, #{contexts => 1}, Config),
    ?assertEqual([{ok, <<"b">>}],
                 values(Db, <<"__import__('os').environ['PY_SETUP_größe']"/utf8>>)),
    ?assertEqual("a", os:getenv(?VARIABLE)),
    ?assertEqual(ok, py:unsetenv(?VARIABLE)),
    ?assertEqual(ok, py:unsetenv(?VARIABLE)),
    ?assertEqual([ok, ok], [py:putenv(?VARIABLE, <<>>), py:unsetenv(?VARIABLE)]),
    ?assertEqual([none], Seen()),
    ?assertEqual({false, {ok, false}}, {os:getenv(?VARIABLE), py:getenv(?VARIABLE)}),
    %% What only one side has is found, too.
    true = os:putenv(?VARIABLE, "c"),
    ?assertEqual({ok, <<"c">>}, py:getenv(?VARIABLE)),
    true = os:unsetenv(?VARIABLE).

a_later_interpreter_has_the_variables_of_the_process(Config) ->
    %% Where interpreters are kept, this one is taken up again.
    [Ctx] = start(first, #{contexts => 1}, Config),
    {ok, none} = py_context:eval(Ctx, <<"__import__('os').environ.get('PY_SETUP_LATER')">>),
    ok = py_context_router:stop_pool(first),
    ok = py:putenv("PY_SETUP_LATER", "x"),
    try
        Later = start(second, #{contexts => 1}, Config),
        ?assertEqual([{ok, {<<"x">>, <<"x">>}}],
                     values(Later, <<"(__import__('os').environ['PY_SETUP_LATER'], "
                                     "__import__('os').environb[b'PY_SETUP_LATER'].decode())">>))
    after
        ok = py:unsetenv("PY_SETUP_LATER")
    end.

misuse_of_environment_variables_is_a_badarg(_Config) ->
    [?assertMatch({Sentence, {match, _}},
                  {Sentence, re:run(test_helpers:rendered(Misuse), Sentence)})
     || {Misuse, Sentence} <- [{fun() -> py:putenv("", "x") end,
                                "not the name of an environment variable"},
                               {fun() -> py:putenv("a=b", "x") end, "not the name of"},
                               {fun() -> py:getenv("a=b") end, "not the name of"},
                               {fun() -> py:unsetenv(<<>>) end, "not the name of"},
                               {fun() -> py:putenv("a", "x\0y") end, "text with a NUL"},
                               {fun() -> py:putenv("a\0", "x") end, "text with a NUL"},
                               {fun() -> py:putenv(a, "x") end, "not text"},
                               {fun() -> py:putenv("a", 1) end, "not text"},
                               {fun() -> py:getenv(<<255>>) end, "not text in UTF-8"}]].

%% ------------------------------------------------------------------ making environments

%% Made once per build folder, like that of `test_helpers:numpy_venv/0'.
made_venv() ->
    {ok, _} = application:ensure_all_started(py_context_router),
    {ok, Version} = py:version(),
    Made = filename:join(test_helpers:build_folder(), "venv-" ++ binary_to_list(Version)),
    ok = py:ensure_venv(Made, [], #{installer => pip, activate => false}),
    Made.

%% A virtual environment that is there already. To copy one takes less time than to make one.
made_venv(Name, Config) ->
    Venv = filename:join([?config(priv_dir, Config), "py_setup", Name]),
    ok = filelib:ensure_dir(Venv),
    {ok, _} = test_helpers:run_program("/bin/cp", ["-a", ?config(made, Config), Venv]),
    Venv.

%% A package that installs without a network: a wheel made here.
wheel(Name, Version, Config) ->
    File = filename:join(?config(priv_dir, Config),
                         lists:concat([Name, "-", Version, "-py3-none-any.whl"])),
    Info = lists:concat([Name, "-", Version, ".dist-info/"]),
    Files = [{Name ++ ".py", list_to_binary(["version = '", Version, "'\n"])},
             {Info ++ "METADATA", list_to_binary(["Metadata-Version: 2.1\nName: ", Name,
                                                  "\nVersion: ", Version, "\n"])},
             {Info ++ "WHEEL", <<"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                                 "Tag: py3-none-any\n">>}],
    Record = [[File0, ",,\n"] || {File0, _} <- Files] ++ [Info, "RECORD,,\n"],
    {ok, _} = zip:create(File, Files ++ [{Info ++ "RECORD", iolist_to_binary(Record)}]),
    File.

lines(Sofar) ->
    receive {py_venv, _, Line} -> lines([Line | Sofar])
    after 0 -> lists:reverse(Sofar)
    end.

a_virtual_environment_is_made_filled_and_used(Config) ->
    {ok, [Ctx]} = py:start_contexts(#{contexts => 1}),
    Venv = filename:join([?config(priv_dir, Config), "py_setup", "it's a venv"]),
    Wheel = wheel("setup_i", "1.0", Config),
    ?assertEqual(ok, py:ensure_venv(Venv, [Wheel], #{progress => self(), installer => pip})),
    ?assertEqual({ok, <<"1.0">>}, py_context:eval(Ctx, <<"__import__('setup_i').version">>)),
    Lines = lines([]),
    ?assert(lists:any(fun(Line) -> string:find(Line,
                                               "Successfully installed setup") =/= nomatch end,
                      Lines), Lines),
    {ok, #{active := true}} = py:venv_info().

what_has_not_changed_is_not_installed_again(Config) ->
    Venv = made_venv("again", Config),
    Requirements = filename:join(?config(priv_dir, Config), "requirements.txt"),
    ok = file:write_file(Requirements, wheel("setup_j", "1.0", Config)),
    Parent = self(),
    Ensure = fun(Options) ->
        Count = fun(Line) -> Parent ! {py_venv, Venv, Line} end,
        ok = py:ensure_venv(Venv, Requirements, Options#{progress => Count, activate => false}),
        length(lines([]))
    end,
    ?assert(Ensure(#{}) > 0),
    ?assertEqual({ok, #{active => false}}, py:venv_info()),
    ?assertEqual(0, Ensure(#{})),
    ?assert(Ensure(#{force => true}) > 0),
    ok = file:write_file(Requirements, wheel("setup_j", "2.0", Config)),
    ?assert(Ensure(#{}) > 0),
    {ok, [Ctx]} = py:start_contexts(#{contexts => 1}),
    ok = py:activate_venv(Venv),
    ?assertEqual({ok, <<"2.0">>}, py_context:eval(Ctx, <<"__import__('setup_j').version">>)).

%% Also behind another file, and in a project. What an installation makes in a project is no change.
what_a_requirement_names_is_noticed_when_it_changes(Config) ->
    Venv = made_venv("named", Config),
    Dir = filename:join(?config(priv_dir, Config), "named_by"),
    Project = filename:join(Dir, "project"),
    Write = fun(Name, Text) ->
        File = filename:join(Dir, Name),
        ok = filelib:ensure_dir(File),
        ok = file:write_file(File, Text)
    end,
    Write("requirements.txt",
          "-r other.txt  # more\n--constraint=limits.txt\n-r requirements.txt\n"),
    Write("other.txt", "first\n-e ./editable[extra]\n"),
    Write("limits.txt", "first<2\n"),
    Write("editable/pyproject.toml", "[project]\n"),
    Write("project/setup.py", "a = 1\n"),
    Write("project/pkg/module.py", "a = 1\n"),
    Write("project/.venv/pyvenv.cfg", ""),
    Write("none/pkg/module.py", "a = 1\n"),
    %% In the place of the environment's Python, so that nothing is looked for: it says what it is
    %% to install.
    Python = filename:join([Venv, "bin", "python"]),
    ok = file:delete(Python),
    ok = file:write_file(Python, "#!/bin/sh\necho \"$@\"\nmkdir -p '" ++ Project ++ "/build'\n"
                                 "date >'" ++ Project ++ "/build/made'\n"),
    ok = file:change_mode(Python, 8#755),
    Installs = fun(Requirements) ->
        ok = py:ensure_venv(Venv, Requirements,
                            #{progress => self(), activate => false, installer => pip}),
        lines([]) =/= []
    end,
    File = filename:join(Dir, "requirements.txt"),
    [begin
         _ = Installs(Requirements),
         ?assertEqual({Name, false}, {Name, Installs(Requirements)}),
         Write(Name, Text),
         ?assertEqual({Name, true, false}, {Name, Installs(Requirements), Installs(Requirements)})
     end || {Requirements, Name, Text} <- [{File, "other.txt", "second\n-e ./editable[extra]\n"},
                                           {File, "limits.txt", "first<3\n"},
                                           {File, "editable/pyproject.toml", "[Project]\n"},
                                           {Project, "project/pkg/module.py", "a = 2\n"},
                                           {[Project ++ "[extra]"], "project/pkg/module.py",
                                            "a = 3\n"},
                                           {["named @ file://" ++ Project], "project/pkg/new.py",
                                            ""},
                                           {["first", Project ++ "/"], "project/setup.py",
                                            "a = 2\n"}]],
    Write("project/__pycache__/module.pyc", "other"),
    Write("project/project.egg-info/PKG-INFO", "other"),
    Write("project/.venv/lib/more.py", "other"),
    ?assertNot(Installs(["first", Project ++ "/"])).

files_that_are_no_environment_are_left_alone(Config) ->
    Dir = filename:join(?config(priv_dir, Config), "of_somebody"),
    File = filename:join(Dir, "letter.txt"),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, "dear\n"),
    [begin
         {error, Reason} = py:ensure_venv(Path, [], #{installer => pip}),
         ?assertEqual({not_a_venv, unicode:characters_to_binary(Path)}, Reason),
         ?assertMatch({match, _}, re:run(py_error:format(Reason), "is no virtual environment"))
     end || Path <- [Dir, File]],
    ?assertEqual({ok, ["letter.txt"]}, file:list_dir(Dir)).

a_failed_installation_says_what_the_program_said(Config) ->
    Venv = made_venv("failed", Config),
    Missing = filename:join(?config(priv_dir, Config), "no_such_thing-1.0-py3-none-any.whl"),
    {error, Reason} = py:ensure_venv(Venv, [Missing]),
    ?assertMatch({venv_failed, _, Status, _} when Status > 0, Reason),
    Text = py_error:format(Reason),
    ?assertNotEqual(nomatch, string:find(Text, "no_such_thing")),
    ?assertEqual({ok, #{active => false}}, py:venv_info()),
    ?assertMatch({error, {venv_failed, <<"/no/such/python">>, enoent, _}},
                 py:ensure_venv(filename:join(?config(priv_dir, Config), "other"), [],
                                #{python => "/no/such/python", installer => pip})).

a_program_that_takes_too_long_is_ended(Config) ->
    Slow = filename:join(?config(priv_dir, Config), "slow"),
    Mark = filename:join(?config(priv_dir, Config), "mark"),
    ok = file:write_file(Slow,
                         ["#!/bin/sh\necho $$ > '", Mark, "'\necho working\nexec sleep 600\n"]),
    ok = file:change_mode(Slow, 8#755),
    Venv = filename:join(?config(priv_dir, Config), "slow_venv"),
    ?assertMatch({error, {venv_failed, _, timeout, <<"working">>}},
                 py:ensure_venv(Venv, [], #{python => Slow, installer => pip, timeout => 3_000})),
    {ok, Pid} = file:read_file(Mark),
    Proc = filename:join("/proc", string:trim(binary_to_list(Pid))),
    _ = eventually(fun() -> not filelib:is_dir(Proc) end),
    ?assertEqual([], test_helpers:messages()).

%% Makes an environment with a shell script in Python's place, in a process that traps exits: what
%% came of it, and what is in the mailbox then.
ensure_with(Script, Options, Config) ->
    Program = filename:join(?config(priv_dir, Config), "script"),
    ok = file:write_file(Program, ["#!/bin/sh\n", Script]),
    ok = file:change_mode(Program, 8#755),
    Venv = filename:join(?config(priv_dir, Config), "script_venv"),
    Pid = test_helpers:ask(fun() ->
        _ = process_flag(trap_exit, true),
        py:ensure_venv(Venv, [], Options#{python => Program, installer => pip})
    end),
    {test_helpers:answer(Pid), test_helpers:leftovers(Pid)}.

the_last_line_is_reported_though_it_has_no_end(Config) ->
    {Result, []} = ensure_with("printf 'begun\\nboom'\nexit 3\n", #{progress => self()}, Config),
    ?assertMatch({error, {venv_failed, _, 3, <<"begun\nboom">>}}, Result),
    ?assertMatch([_Command, <<"begun">>, <<"boom">>], lines([])).

nothing_of_a_program_stays_in_the_mailbox(Config) ->
    [?assertMatch({_, {{error, {venv_failed, _, _, <<"begun">>}}, []}},
                  {Script, ensure_with(["echo begun\n", Script], Options, Config)})
     || {Script, Options} <- [{"exit 3\n", #{}},
                              {"exec sleep 600\n", #{timeout => 1_000}},
                              %% A child has the pipe open when the program has ended.
                              {"sleep 20 &\nexit 3\n", #{timeout => 1_000}}]].

bad_options_are_named(_Config) ->
    [?assertEqual({error, {bad_option, {Key, Value}}},
                  py:ensure_venv(<<"/nowhere">>, [], #{Key => Value}))
     || {Key, Value} <- [{installer, conda}, {color, red}, {progress, 1}, {timeout, 0},
                         {activate, 1}, {python, 1}]].

misuse_is_a_badarg_before_anything_is_made(Config) ->
    Venv = filename:join(?config(priv_dir, Config), "never_made"),
    [?assertNotEqual(nomatch, string:find(test_helpers:rendered(Misuse), Sentence), Sentence)
     || {Misuse, Sentence} <- [{fun() -> py:ensure_venv(Venv, foo) end, "a list of requirements"},
                               {fun() -> py:ensure_venv(Venv, [<<"a">> | b]) end,
                                "a list of requirements"},
                               {fun() -> py:ensure_venv(Venv, [foo]) end, "not text"},
                               {fun() -> py:ensure_venv(Venv, [<<"a">>, $b]) end, "not text"},
                               {fun() -> py:ensure_venv(Venv, [<<255>>]) end, "not text in UTF-8"},
                               {fun() -> py:ensure_venv(Venv, <<255>>) end, "not text in UTF-8"},
                               {fun() -> py:ensure_venv(<<255>>, []) end, "not text in UTF-8"},
                               {fun() -> py:activate_venv(<<255>>) end, "not text in UTF-8"},
                               {fun() -> py:ensure_venv("", []) end, "an empty path"},
                               {fun() -> py:ensure_venv(<<>>, []) end, "an empty path"},
                               {fun() -> py:ensure_venv("a\0b", []) end, "contains a NUL"},
                               {fun() -> py:activate_venv(<<>>) end, "an empty path"},
                               {fun() -> py:add_path("") end, "an empty path"},
                               {fun() -> py:ensure_venv(Venv, <<>>) end, "an empty path"},
                               {fun() -> py:ensure_venv(Venv, ["a", ""]) end,
                                "an empty requirement"},
                               {fun() -> py:ensure_venv(Venv, [<<" ">>]) end,
                                "an empty requirement"},
                               {fun() -> py:ensure_venv(Venv, ["a\0b"]) end, "contains a NUL"},
                               {fun() -> py:ensure_venv(Venv, ["--index-url=http://x"]) end,
                                "begins with -"},
                               {fun() -> py:ensure_venv(Venv, [<<"a">>, <<" -r b">>]) end,
                                "begins with -"},
                               {fun() -> py:ensure_venv(Venv, [], foo) end, "not a map"}]],
    ?assertNot(filelib:is_file(Venv)).
