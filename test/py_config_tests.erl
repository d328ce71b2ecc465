-module(py_config_tests).

-include_lib("eunit/include/eunit.hrl").

-export([log/2]).

%% The environment as it is without anybody's setting.
clean_environment_test_() ->
    Keys = [python, max_depth, spin_us, default_pool, pools],
    {foreach,
     fun() ->
         Saved = [{Key, application:get_env(py_context_router, Key)} || Key <- Keys],
         lists:foreach(fun(Key) -> application:unset_env(py_context_router, Key) end, Keys),
         Saved
     end,
     fun(Saved) ->
         lists:foreach(fun({Key, undefined}) -> application:unset_env(py_context_router, Key);
                          ({Key, {ok, Value}}) -> set(Key, Value)
                       end, Saved)
     end,
     [fun defaults/0, fun good_values/0, fun bad_values/0, fun nil_is_not_set/0,
      fun keyword_lists_are_maps/0, fun only_what_is_bad_of_a_pool_is_named/0,
      fun unknown_keys_are_logged/0]}.

defaults() ->
    ?assertEqual(ok, py_config:check()),
    ?assertEqual(undefined, py_config:value(python)),
    ?assertEqual(1000, py_config:value(max_depth)),
    ?assertEqual(20, py_config:value(spin_us)),
    ?assertEqual(64, py_config:value(callback_depth)),
    ?assertEqual(true, py_config:value(redirect_output)),
    ?assertEqual(default, py_config:value(sigchld)),
    ?assertEqual(false, py_config:value(copy_env)),
    ?assertEqual([{<<"asyncio">>, 30}], py_config:log_levels()).

good_values() ->
    lists:foreach(fun({Key, Value}) ->
        set(Key, Value),
        ?assertEqual({Key, Value, ok}, {Key, Value, py_config:check()}),
        ?assertEqual(Value, py_config:value(Key)),
        application:unset_env(py_context_router, Key)
    end, [{python, undefined}, {python, <<"/usr/bin/python3">>}, {python, "/usr/bin/python3"},
          {python, "/home/zoë/venv"}, {max_depth, 1}, {max_depth, 4000}, {spin_us, 0},
          {spin_us, 1000},
          {callback_depth, 1}, {callback_depth, 200}, {redirect_output, false}, {sigchld, default},
          {sigchld, leave}, {quarantine_limit, 1}, {logging, #{}}, {copy_env, true},
          {logging, #{asyncio => all, <<"a.b">> => none, "root" => critical}}]).

bad_values() ->
    lists:foreach(fun({Key, Value}) ->
        set(Key, Value),
        ?assertEqual({error, {bad_option, {Key, Value}}}, py_config:check()),
        application:unset_env(py_context_router, Key)
    end, [{python, 3}, {python, python3}, {python, [0, foo]}, {python, <<255>>}, {python, <<>>},
          {python, ""},
          {max_depth, 0}, {max_depth, -1}, {max_depth, 4001}, {max_depth, 10.0},
          {max_depth, infinity}, {spin_us, -1}, {spin_us, 1001}, {spin_us, 1.5},
          {spin_us, infinity},
          {callback_depth, 0}, {callback_depth, 201}, {callback_depth, infinity},
          {redirect_output, no}, {sigchld, ignore}, {sigchld, true},
          {quarantine_limit, 0}, {quarantine_limit, infinity}, {copy_env, all}, {logging, info},
          {logging, [{a, info}, {a, debug}]},
          {logging, #{a => loud}}, {logging, #{a => 30}}, {logging, #{1 => info}},
          {logging, #{<<>> => info}}]).

%% As Elixir's configuration has it.
nil_is_not_set() ->
    [begin
         Default = py_config:value(Key),
         set(Key, nil),
         ?assertEqual({Key, ok}, {Key, py_config:check()}),
         ?assertEqual({Key, Default}, {Key, py_config:value(Key)}),
         application:unset_env(py_context_router, Key)
     end || Key <- [python, max_depth, spin_us, callback_depth, redirect_output,
                    quarantine_limit, sigchld, default_pool, pools]].

keyword_lists_are_maps() ->
    set(default_pool, [{contexts, 2}, {preload, "x = 1"}]),
    set(pools, [{io, [{contexts, 8}]}, {db, #{mode => owngil}}, {plain, []}]),
    ?assertEqual(ok, py_config:check()),
    ?assertEqual(#{contexts => 2, preload => "x = 1"}, py_config:value(default_pool)),
    ?assertEqual(#{io => #{contexts => 8}, db => #{mode => owngil}, plain => #{}},
                 py_config:value(pools)),
    set(logging, [{asyncio, info}]),
    ?assertEqual(#{asyncio => info}, py_config:value(logging)),
    set(pools, []),
    ?assertEqual({ok, #{}}, {py_config:check(), py_config:value(pools)}),
    Twice = [{contexts, 2}, {contexts, 3}],
    [begin
         set(Key, Value),
         ?assertEqual({error, {bad_option, {Key, Bad}}}, py_config:check()),
         application:unset_env(py_context_router, Key)
     end || {Key, Value, Bad} <- [{default_pool, Twice, Twice},
                                  {pools, [{io, #{}}, {io, #{}}], [{io, #{}}, {io, #{}}]},
                                  {pools, [{io, Twice}], #{io => Twice}},
                                  {default_pool, [contexts], [contexts]}, {pools, [io], [io]}]].

%% The rest may hold secrets.
only_what_is_bad_of_a_pool_is_named() ->
    Bad = #{preload => "token = 'hush'", contexts => 0},
    set(default_pool, Bad),
    ?assertEqual({error, {bad_option, {default_pool, #{contexts => 0}}}}, py_config:check()),
    application:unset_env(py_context_router, default_pool),
    set(pools, #{fine => #{preload => "token = 'hush'"}, io => Bad}),
    ?assertEqual({error, {bad_option, {pools, #{io => #{contexts => 0}}}}}, py_config:check()),
    set(pools, #{"io" => Bad}),
    ?assertEqual({error, {bad_option, {pools, #{"io" => #{}}}}}, py_config:check()).

unknown_keys_are_logged() ->
    ?assertEqual([], logged(fun() -> py_config:check() end)),
    set(pythn, "/srv/venv"),
    set(num_contexts, 4),
    try logged(fun() -> ?assertEqual(ok, py_config:check()) end) of
        [{warning, Text}] ->
            ?assertMatch({match, _}, re:run(Text, "without effect: num_contexts, pythn\\. It knows "
                                                  "callback_depth, .*python, "))
    after
        [application:unset_env(py_context_router, Key) || Key <- [pythn, num_contexts]]
    end.

%% What is logged meanwhile: level and text of each event.
logged(Fun) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{pid => self()}}),
    try _ = Fun(), logged()
    after
        ok = logger:remove_handler(?MODULE)
    end.

logged() ->
    receive {?MODULE, Event} -> [Event | logged()]
    after 0 -> []
    end.

%% The logger calls this in the process that logs.
log(#{level := Level, msg := {report, Report}, meta := #{report_cb := Callback}},
    #{config := #{pid := Pid}}) ->
    {Format, Args} = Callback(Report),
    Pid ! {?MODULE, {Level, lists:flatten(io_lib:format(Format, Args))}},
    ok;
log(_Event, _Handler) ->
    ok.

set(Key, Value) ->
    application:set_env(py_context_router, Key, Value).
