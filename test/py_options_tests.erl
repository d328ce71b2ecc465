-module(py_options_tests).

-include_lib("eunit/include/eunit.hrl").

the_defaults_are_the_documented_ones_test() ->
    Schedulers = erlang:system_info(schedulers),
    ?assertEqual({ok, #{contexts => Schedulers, mode => worker, max_queue => 10_000,
                        preload => undefined, venv => undefined, shutdown => 5_000,
                        stuck_after => 5_000,
                        interrupt_grace => 1_000, direct_limit => 200, overload => refuse,
                        route => spread, max_tasks => 10_000, cancel_grace => 1_000,
                        event_loop => asyncio,
                        on_caller_down => interrupt}},
                 py_options:pool(#{})).

a_single_context_has_no_number_of_contexts_test() ->
    {ok, Options} = py_options:context(#{}),
    ?assertNot(is_map_key(contexts, Options)),
    ?assertEqual({error, {bad_option, {contexts, 1}}}, py_options:context(#{contexts => 1})),
    ?assertEqual({error, {bad_option, {route, spread}}}, py_options:context(#{route => spread})).

given_values_are_kept_test() ->
    Given = #{contexts => 3, mode => owngil, max_queue => infinity, preload => <<"x = 1">>,
              venv => <<"/srv/venv">>, shutdown => 0, stuck_after => 1, interrupt_grace => 0,
              direct_limit => 1, max_tasks => 1, cancel_grace => infinity, event_loop => uvloop,
              overload => {wait, 10}, on_caller_down => finish, route => affinity},
    ?assertEqual({ok, Given}, py_options:pool(Given)).

every_mode_is_known_test_() ->
    [?_assertMatch({ok, #{mode := Mode}}, py_options:pool(#{mode => Mode}))
     || Mode <- [worker, subinterp, owngil]].

preload_is_text_however_it_is_given_test_() ->
    [?_assertMatch({ok, #{preload := <<"x = 'é'"/utf8>>}}, py_options:pool(#{preload => Preload}))
     || Preload <- [<<"x = 'é'"/utf8>>, "x = 'é'", [<<"x = ">>, $', [<<"é"/utf8>>], "'"]]].

a_bad_value_is_named_test_() ->
    [?_assertEqual({error, {bad_option, {Key, Value}}}, py_options:pool(#{Key => Value}))
     || {Key, Value} <- [{contexts, 0}, {contexts, -1}, {contexts, 1.5}, {contexts, two},
                         {contexts, infinity}, {contexts, 1 bsl 70},
                         {max_tasks, 0}, {max_tasks, infinity}, {max_tasks, 1.0},
                         {cancel_grace, -1}, {cancel_grace, soon},
                         {event_loop, <<"uvloop">>}, {event_loop, undefined},
                         {mode, thread}, {mode, undefined}, {mode, <<"worker">>},
                         {max_queue, 0}, {max_queue, -1}, {max_queue, none}, {max_queue, 1.0},
                         {max_queue, 1 bsl 70},
                         {preload, 42}, {preload, [foo]}, {preload, <<255>>},
                         {preload, [1 bsl 30]}, {preload, ["x" | foo]},
                         {venv, 42}, {venv, <<>>}, {venv, <<255>>}, {venv, <<"a\0b">>},
                         {shutdown, -1}, {shutdown, 1.0}, {shutdown, brutal_kill},
                         {shutdown, 1 bsl 32},
                         {stuck_after, 0}, {stuck_after, never}, {stuck_after, 1 bsl 32},
                         {interrupt_grace, -1}, {interrupt_grace, 1.0}, {interrupt_grace, never},
                         {interrupt_grace, 1 bsl 32},
                         {direct_limit, 0}, {direct_limit, 100_001}, {direct_limit, 1.0},
                         {direct_limit, infinity},
                         {on_caller_down, kill}, {overload, wait}, {overload, {wait, -1}},
                         {route, random}]].

an_unknown_key_is_named_test_() ->
    [?_assertEqual({error, {bad_option, {Key, 1}}}, py_options:pool(#{Key => 1}))
     || Key <- [context, size, <<"contexts">>, {mode}, name]].

one_bad_option_among_good_ones_is_found_test() ->
    ?assertEqual({error, {bad_option, {size, 2}}},
                 py_options:pool(#{contexts => 2, size => 2, mode => worker})).

something_that_is_no_map_is_refused_test_() ->
    [?_assertEqual({error, {bad_option, {options, Options}}}, py_options:pool(Options))
     || Options <- [[], [{contexts, 2}], 4, worker]].

a_pools_name_is_an_atom_test_() ->
    [?_assertEqual(ok, py_options:pool_name(Name)) || Name <- [default, io, sup, '', 'a b']] ++
    [?_assertEqual({error, {bad_option, {name, Name}}}, py_options:pool_name(Name))
     || Name <- [undefined, <<"io">>, "io", 1, list_to_atom(lists:duplicate(255, $a))]].

options_differ_only_where_they_were_given_test() ->
    {ok, Running} = py_options:pool(#{contexts => 2, max_queue => 7}),
    ?assertNot(py_options:differ(#{}, Running)),
    ?assertNot(py_options:differ(#{max_queue => 7}, Running)),
    ?assertNot(py_options:differ(#{contexts => 2, mode => worker}, Running)),
    ?assert(py_options:differ(#{contexts => 3}, Running)),
    ?assert(py_options:differ(#{contexts => 2, mode => subinterp}, Running)).

the_same_preload_written_differently_does_not_differ_test() ->
    {ok, Running} = py_options:pool(#{preload => "x = 1"}),
    ?assertNot(py_options:differ(#{preload => [<<"x ">>, "= 1"]}, Running)),
    ?assert(py_options:differ(#{preload => "x = 2"}, Running)).
