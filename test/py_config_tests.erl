-module(py_config_tests).

-include_lib("eunit/include/eunit.hrl").

%% The environment as it is without anybody's setting.
clean_environment_test_() ->
    Keys = [python, max_depth, spin_us],
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
     [fun defaults/0, fun good_values/0, fun bad_values/0]}.

defaults() ->
    ?assertEqual(ok, py_config:check()),
    ?assertEqual(undefined, py_config:value(python)),
    ?assertEqual(1000, py_config:value(max_depth)),
    ?assertEqual(20, py_config:value(spin_us)),
    ?assertEqual(64, py_config:value(callback_depth)),
    ?assertEqual(true, py_config:value(redirect_output)),
    ?assertEqual(default, py_config:value(sigchld)).

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
          {sigchld, leave}, {quarantine_limit, 1}]).

bad_values() ->
    lists:foreach(fun({Key, Value}) ->
        set(Key, Value),
        ?assertEqual({error, {bad_option, {Key, Value}}}, py_config:check()),
        application:unset_env(py_context_router, Key)
    end, [{python, 3}, {python, python3}, {python, [0, foo]}, {python, <<255>>},
          {max_depth, 0}, {max_depth, -1}, {max_depth, 4001}, {max_depth, 10.0},
          {max_depth, infinity}, {spin_us, -1}, {spin_us, 1001}, {spin_us, 1.5},
          {spin_us, infinity},
          {callback_depth, 0}, {callback_depth, 201}, {callback_depth, infinity},
          {redirect_output, no}, {sigchld, ignore}, {sigchld, true},
          {quarantine_limit, 0}, {quarantine_limit, infinity}]).

set(Key, Value) ->
    application:set_env(py_context_router, Key, Value).
