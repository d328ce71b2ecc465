%% Starting Python in a VM of its own: which executable, which settings, and what goes wrong. Each
%% case has a child VM, because Python starts once per OS process. How that ends is in
%% shutdown_SUITE.
-module(boot_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0]).
-export([starts_from_a_bare_shell/1, acts_as_the_executable_it_was_built_with/1,
         acts_as_the_configured_virtual_environment/1,
         variables_of_the_vm_are_copied_if_asked_for/1, missing_executable_is_named/1,
         executable_of_another_version_is_refused/1, missing_libpython_is_an_error/1,
         bad_setting_stops_the_start/1, another_executable_needs_another_vm/1,
         an_unknown_setting_is_reported_and_the_start_goes_on/1, settings_as_elixir_writes_them/1,
         pythons_environment_variables_are_honoured/1, the_working_directory_is_not_on_the_path/1,
         too_deep_is_a_setting/1]).

all() ->
    [starts_from_a_bare_shell, acts_as_the_executable_it_was_built_with,
     acts_as_the_configured_virtual_environment, variables_of_the_vm_are_copied_if_asked_for,
     missing_executable_is_named,
     executable_of_another_version_is_refused, missing_libpython_is_an_error,
     bad_setting_stops_the_start, another_executable_needs_another_vm,
     an_unknown_setting_is_reported_and_the_start_goes_on, settings_as_elixir_writes_them,
     pythons_environment_variables_are_honoured, the_working_directory_is_not_on_the_path,
     too_deep_is_a_setting].

%% ------------------------------------------------------------------ cases

starts_from_a_bare_shell(_Config) ->
    with_vm(fun(Vm) ->
        ?assertEqual(false, peer:call(Vm, py_context_router, is_started, [])),
        {ok, [_ | _]} = peer:call(Vm, py_context_router, start, []),
        %% The caller is gone by now; the pool isn't.
        ?assertEqual(true, peer:call(Vm, py_context_router, is_started, []))
    end).

acts_as_the_executable_it_was_built_with(_Config) ->
    with_vm(fun(Vm) ->
        {ok, Prefix} = eval(Vm, <<"__import__('sys').prefix">>),
        {ok, Executable} = eval(Vm, <<"__import__('sys').executable">>),
        ?assert(filelib:is_dir(Prefix)),
        ?assert(filelib:is_regular(Executable))
    end).

acts_as_the_configured_virtual_environment(Config) ->
    {Base, _Version} = linked_python(),
    Venv = filename:join(proplists:get_value(priv_dir, Config), "venv"),
    ok = run(Base, ["-m", "venv", "--without-pip", Venv]),
    with_vm(#{python => Venv}, fun(Vm) ->
        %% It is reported as the one that is in use, until another one is; before the application
        %% is started, too.
        {ok, #{active := true, venv_path := Prefix, site_packages := Packages}} = Info =
            peer:call(Vm, py, venv_info, []),
        ?assertEqual({ok, Prefix}, eval(Vm, <<"__import__('sys').prefix">>)),
        ?assertEqual(unicode:characters_to_binary(Venv), Prefix),
        ?assertEqual(Info, peer:call(Vm, py, venv_info, [])),
        ?assert(filelib:is_dir(Packages)),
        ok = peer:call(Vm, application, stop, [py_context_router]),
        {ok, #{active := true, venv_path := Prefix}} = peer:call(Vm, py, venv_info, [])
    end),
    with_vm(#{python => Base}, fun(Vm) ->
        ?assertEqual({ok, #{active => false}}, peer:call(Vm, py, venv_info, []))
    end).

variables_of_the_vm_are_copied_if_asked_for(_Config) ->
    Seen = fun(Settings) ->
        with_vm(Settings, fun(Vm) ->
            true = peer:call(Vm, os, putenv, ["PY_BOOT_SET", "größe"]),
            true = peer:call(Vm, os, unsetenv, ["HOME"]),
            {ok, Value} = eval(Vm, <<"(lambda e: (e.get('PY_BOOT_SET'), 'HOME' in e, 'PATH' in e))"
                                     "(__import__('os').environ)">>),
            Value
        end)
    end,
    ?assertEqual({none, os:getenv("HOME") =/= false, true}, Seen(#{})),
    ?assertEqual({none, os:getenv("HOME") =/= false, true}, Seen(#{copy_env => false})),
    ?assertEqual({<<"größe"/utf8>>, false, true}, Seen(#{copy_env => true})),
    %% Python itself starts with them.
    with_vm(#{copy_env => true}, fun(Vm) ->
        true = peer:call(Vm, os, putenv, ["PYTHONPATH", "/of/the/vm"]),
        ?assertEqual({ok, true}, eval(Vm, <<"'/of/the/vm' in __import__('sys').path">>))
    end).

missing_executable_is_named(_Config) ->
    with_vm(#{python => "/no/such/python"}, fun(Vm) ->
        {error, {python_not_found, [First | _]}} = start(Vm),
        ?assertEqual(<<"/no/such/python">>, First)
    end).

executable_of_another_version_is_refused(Config) ->
    Fake = filename:join(proplists:get_value(priv_dir, Config), "python-of-old"),
    ok = file:write_file(Fake, <<"#!/bin/sh\necho 2.7.18\n">>),
    ok = file:change_mode(Fake, 8#755),
    with_vm(#{python => Fake}, fun(Vm) ->
        {error, {python_mismatch, Versions}} = start(Vm),
        {_Base, Linked} = linked_python(),
        ?assertMatch(#{version := <<"2.7.18">>, linked := Linked}, Versions)
    end).

%% A copy of the library that looks for a libpython which doesn't exist.
missing_libpython_is_an_error(Config) ->
    App = filename:join([proplists:get_value(priv_dir, Config), "py_context_router"]),
    ok = filelib:ensure_dir(filename:join([App, "priv", "x"])),
    ok = filelib:ensure_dir(filename:join([App, "ebin", "x"])),
    [{ok, _} = file:copy(File, filename:join([App, "ebin", filename:basename(File)]))
     || File <- filelib:wildcard(filename:join(ebin(), "*"))],
    {ok, Library} = file:read_file(filename:join(code:priv_dir(py_context_router), "py_nif.so")),
    Broken = binary:replace(Library, <<"libpython3">>, <<"libpythonX">>, [global]),
    ok = file:write_file(filename:join([App, "priv", "py_nif.so"]), Broken),
    with_vm(#{}, filename:join(App, "ebin"), fun(Vm) ->
        {error, {python_not_found, [Why]}} = start(Vm),
        ?assertMatch({_, _}, binary:match(Why, <<"libpythonX">>)),
        {error, {python_not_found, _}} = peer:call(Vm, py, version, []),
        ?assertEqual(false, peer:call(Vm, py_context_router, is_started, []))
    end).

bad_setting_stops_the_start(_Config) ->
    with_vm(#{max_depth => 0}, fun(Vm) ->
        ?assertEqual({error, {bad_option, {max_depth, 0}}}, start(Vm))
    end).

another_executable_needs_another_vm(Config) ->
    {Base, _Version} = linked_python(),
    Venv = filename:join(proplists:get_value(priv_dir, Config), "venv2"),
    ok = run(Base, ["-m", "venv", "--without-pip", Venv]),
    with_vm(fun(Vm) ->
        {ok, _} = start(Vm),
        ok = peer:call(Vm, application, stop, [py_context_router]),
        ok = peer:call(Vm, application, set_env, [py_context_router, python, Venv]),
        ?assertMatch({error, {python_already_running, _}}, start(Vm))
    end).

an_unknown_setting_is_reported_and_the_start_goes_on(_Config) ->
    with_vm(#{pythn => "/srv/venv"}, fun(Vm) ->
        Log = peer:call(Vm, test_helpers, capture_log,
                        [fun() -> {ok, _} = py_context_router:start() end]),
        ?assertMatch([{warning, _}], Log),
        [{warning, Text}] = Log,
        ?assertMatch({match, _}, re:run(Text, "without effect: pythn\\. It knows .*python"))
    end).

settings_as_elixir_writes_them(_Config) ->
    with_vm(#{python => nil, default_pool => [{contexts, 2}], pools => [{io, [{contexts, 3}]}]},
            fun(Vm) ->
        {ok, 4.0} = peer:call(Vm, py, call, [math, sqrt, [16]], 60_000),
        ?assertEqual({2, 3}, {peer:call(Vm, py_context_router, num_contexts, []),
                              peer:call(Vm, py_context_router, num_contexts, [io])})
    end).

%% In each mode, as python3 does.
pythons_environment_variables_are_honoured(Config) ->
    {Base, _Version} = linked_python(),
    Folder = filename:absname(proplists:get_value(priv_dir, Config)),
    Env = [{"PYTHONPATH", Folder}, {"PYTHONHASHSEED", "7"}, {"PYTHONDONTWRITEBYTECODE", "1"}],
    Source = "(__import__('sys').path.count('" ++ Folder ++ "'), hash('a'),"
             " __import__('sys').dont_write_bytecode)",
    {0, Printed} = output(Base, ["-c", "print(" ++ Source ++ ", end='')"], Env),
    with_vm(#{}, ebin(), Env, fun(Vm) ->
        [begin
             {ok, Ctx} = peer:call(Vm, py_context_sup, start_context, [Mode, Mode], 60_000),
             Repr = list_to_binary(["repr(", Source, ")"]),
             ?assertEqual({Mode, {ok, Printed}},
                          {Mode, peer:call(Vm, py_context, eval, [Ctx, Repr])})
         end || Mode <- modes()]
    end).

%% Unlike that of python3 -c.
the_working_directory_is_not_on_the_path(_Config) ->
    with_vm(fun(Vm) ->
        {ok, _} = start(Vm),
        [begin
             {ok, Ctx} = peer:call(Vm, py_context_sup, start_context, [Mode, Mode], 60_000),
             Source = <<"[p for p in __import__('sys').path if p in ('', '.', "
                        "__import__('os').getcwd())]">>,
             ?assertEqual({ok, []}, peer:call(Vm, py_context, eval, [Ctx, Source]))
         end || Mode <- modes()]
    end).

modes() ->
    [worker] ++ [subinterp || py:subinterp_supported()] ++ [owngil || py:owngil_supported()].

too_deep_is_a_setting(_Config) ->
    with_vm(#{max_depth => 3}, fun(Vm) ->
        ?assertEqual({ok, [[[1]]]}, eval(Vm, <<"[[[1]]]">>)),
        ?assertEqual({error, {too_deep, 3}}, eval(Vm, <<"[[[[1]]]]">>))
    end).

%% ------------------------------------------------------------------ helpers

linked_python() ->
    {ok, Version} = py:version(),
    with_vm(fun(Vm) ->
        {ok, Base} = eval(Vm, <<"__import__('sys').executable">>),
        {binary_to_list(Base), Version}
    end).

run(Executable, Args) ->
    {0, _} = output(Executable, Args, []),
    ok.

output(Executable, Args, Env) ->
    Port = open_port({spawn_executable, Executable},
                     [{args, Args}, {env, Env}, exit_status, stderr_to_stdout, binary]),
    collect(Port, <<>>).

collect(Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    after 60_000 ->
        error({no_end, Output})
    end.

start(Vm) ->
    peer:call(Vm, py_context_router, start, [], 60_000).

eval(Vm, Source) ->
    {ok, _} = start(Vm),
    Ctx = peer:call(Vm, py_context_router, get_context, [1]),
    peer:call(Vm, py_context, eval, [Ctx, Source]).

with_vm(Fun) ->
    with_vm(#{}, Fun).

with_vm(Settings, Fun) ->
    with_vm(Settings, ebin(), Fun).

with_vm(Settings, Ebin, Fun) ->
    with_vm(Settings, Ebin, [], Fun).

with_vm(Settings, Ebin, Env, Fun) ->
    Tests = filename:dirname(code:which(?MODULE)),
    {ok, Vm, _Node} = peer:start(#{connection => standard_io, env => Env,
                                   args => ["-pa", Ebin, "-pa", Tests]}),
    try
        _ = peer:call(Vm, application, load, [py_context_router]),
        [ok = peer:call(Vm, application, set_env, [py_context_router, Key, Value])
         || {Key, Value} <- maps:to_list(Settings)],
        Fun(Vm)
    after
        peer:stop(Vm)
    end.

ebin() ->
    filename:dirname(code:which(py_context_router)).
