%% What is said of wrong arguments and options: that it names the function that was called, and
%% the place in its arguments as they were given; and that other messages name what is to be
%% changed.
-module(messages_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(test_helpers, [rendered/1]).

all() ->
    [a_wrong_argument_is_named_where_it_was_given,
     a_wrong_argument_of_a_context_is_named_where_it_was_given,
     a_wrong_argument_is_found_without_the_application,
     a_pool_tells_where_its_arguments_are,
     a_wrong_option_is_named,
     a_wrong_limit_is_named,
     an_elixir_alias_is_no_name,
     a_function_of_erlang_takes_no_keywords,
     an_elixir_exception_has_its_message,
     an_environment_of_another_version_differs_from_none,
     a_program_that_is_no_python_differs_from_another_version,
     a_context_without_a_name_is_reported_by_its_pid].

init_per_suite(Config) ->
    {ok, _} = py_context_router:start(),
    %% What isn't loaded exports nothing.
    {module, py} = code:ensure_loaded(py),
    {ok, Ctx} = py_context_sup:start_context(messages, worker),
    {ok, Object} = py_context:eval(Ctx, <<"object()">>),
    [{ctx, Ctx}, {object, Object} | Config].

end_per_suite(_Config) ->
    test_helpers:stop_all().

%% ------------------------------------------------------------------ arguments

%% `{Function, Arguments, N, Words}': the function is called with the arguments, and the shell shows
%% these very ones, and what is wrong with the `N'th.
check(Module, Rows) ->
    ?assertEqual([], [{Function, Args, Text}
                      || {Function, Args, N, Words} <- Rows,
                         Text <- [rendered(fun() -> returns(apply(Module, Function, Args)) end)],
                         not is_said(Module, Function, Args, N, Words, Text)]).

%% So that the call leaves a frame.
returns(Value) -> Value.

is_said(Module, Function, Args, N, Words, Text) ->
    Called = io_lib:format("in function  ~s:~s/~b", [Module, Function, length(Args)]),
    About = io_lib:format("\\*\\*\\* argument ~b: .*~s", [N, Words]),
    Where = lists:prefix("exception error: bad argument\n  " ++ lists:flatten(Called), Text),
    Where andalso re:run(Text, About, [unicode]) =/= nomatch.

a_wrong_argument_is_named_where_it_was_given(Config) ->
    {Ctx, Object} = {?config(ctx, Config), ?config(object, Config)},
    NotText = "not text",
    NotAName = "not a name",
    NotAList = "not a list of arguments",
    NotPairs = "neither a map nor a list of pairs",
    check(py, [{F, A, N, Words}
               || {Calls, Rows} <-
                      [{[call, spawn_call, cast, stream, stream_start, stream_open],
                        [{[17, sqrt, []], 1, NotAName},
                         {[math, 17, []], 2, NotAName},
                         {[math, sqrt, foo], 3, NotAList},
                         {[math, sqrt, 16], 3, NotAList},
                         {[math, sqrt, foo, #{}], 3, NotAList},
                         {[math, sqrt, 16, #{}], 3, NotAList},
                         {[math, sqrt, 16, []], 3, NotAList},
                         {[math, sqrt, [4], foo], 4, NotPairs},
                         {[math, sqrt, [4], #{17 => 1}], 4, NotAName},
                         {[math, sqrt, [4], [{a, 1}, {a, 2}]], 4, "a name is given twice"},
                         {[default, math, sqrt, foo], 4, NotAList},
                         {[Ctx, math, sqrt, foo], 4, NotAList},
                         {[Ctx, 17, sqrt, []], 2, NotAName},
                         {[math, sqrt, 16, #{}, #{}], 3, NotAList},
                         {[default, math, sqrt, 16, #{}], 4, NotAList}]},
                       {[eval, stream_eval],
                        [{[nil], 1, NotText},
                         {[17], 1, NotText},
                         {[nil, #{}], 1, NotText},
                         {[17, #{}], 1, NotText},
                         {[default, [foo]], 2, NotText},
                         {[<<"x">>, foo], 2, NotPairs},
                         {[Ctx, [foo]], 2, NotText}]},
                       {[eval],
                        [{[nil, #{}, #{}], 1, NotText},
                         {[<<"x">>, foo, 10], 2, NotPairs},
                         {[Ctx, <<"x">>, foo], 3, NotPairs},
                         {[17, <<"x">>, #{}, #{}], 1, "neither a context nor a pool's name"}]},
                       {[exec],
                        [{[nil], 1, NotText}, {[nil, 100], 1, NotText}, {[nil, #{}], 1, NotText},
                         {[default, [foo]], 2, NotText}, {[Ctx, [foo], #{}], 2, NotText}]},
                       {[call_method],
                        [{[Object, 17, [], #{}, #{}], 2, NotAName},
                         {[Object, x, foo, #{}, #{}], 3, NotAList},
                         {[Object, x, [], foo, #{}], 4, NotPairs},
                         {[17, x, [], #{}, #{}], 1, "not a handle"}]},
                       {[getattr],
                        [{[Object, 17, #{}], 2, NotAName},
                         {[make_ref(), x, #{}], 1, "not a handle"}]},
                       {[to_term, to_buffer],
                        [{[17, #{}], 1, "not a handle"}, {[make_ref(), #{}], 1, "not a handle"}]},
                       {[parallel],
                        [{[foo, 10], 1, "not a list"},
                         {[[{math, sqrt, 1}], 10], 1, "not a list of {Module, Func, Args}"},
                         {[[{math, 17, []}], 10], 1, NotAName},
                         {[[{math, sqrt, [], foo}], 10], 1, NotPairs},
                         {[[], -1], 2, "neither a number of ms nor infinity"}]},
                       {[register_function],
                        [{[<<>>, fun() -> ok end], 1, NotAName}, {[name, foo], 2, "not a fun"},
                         {[name, fun() -> ok end, #{values => lua}], 3, "the only option"}]},
                       {[putenv], [{[17, "1"], 1, NotText}, {["A", 17], 2, NotText},
                                   {["A=B", "1"], 1, "not the name"},
                                   {[[$A, 0], "1"], 1, "NUL"}, {["A", [$1, 0]], 2, "NUL"},
                                   {["A", <<255>>], 2, "not text in UTF-8"}]},
                       {[getenv, unsetenv], [{[17], 1, NotText}, {[""], 1, "not the name"},
                                             {[<<255>>], 1, "not text in UTF-8"}]},
                       {[ensure_venv],
                        [{[17, [], #{}], 1, NotText}, {["", [], #{}], 1, "an empty path"},
                         {["v", 17, #{}], 2, "neither a list of requirements nor a path"},
                         {["v", [foo], #{}], 2, NotText},
                         {["v", ["-e ."], #{}], 2, "begins with -"},
                         {["v", [], foo], 3, "not a map"}]},
                       {[add_path, activate_venv],
                        [{[17], 1, NotText}, {[""], 1, "an empty path"}]},
                       {[import, reload],
                        [{[17], 1, NotAName}, {["1x"], 1, "not a module's name"}]}],
                  {A, N, Words} <- Rows, F <- Calls,
                  erlang:function_exported(py, F, length(A))]).

a_wrong_argument_of_a_context_is_named_where_it_was_given(Config) ->
    {Ctx, Object} = {?config(ctx, Config), ?config(object, Config)},
    NotATime = "neither a number of ms nor infinity",
    check(py_context,
          [{call, [Ctx, 17, sqrt, [], #{}, infinity, none], 2, "not a name"},
           {call, [Ctx, math, sqrt, foo, #{}, infinity, none], 4, "not a list"},
           {call, [Ctx, math, sqrt, [], foo, infinity, none], 5, "neither a map"},
           {call, [Ctx, math, sqrt, [], #{}, -1, none], 6, NotATime},
           {call, [Ctx, math, sqrt, [-1], #{}, -1, none], 6, NotATime},
           {call, [Ctx, math, sqrt, [], #{}, 1, foo], 7, "neither an environment"},
           {call, [foo, math, sqrt, [], #{}, infinity, none], 1, "not a pid"},
           {call, [Ctx, math, sqrt, foo, #{}, #{timeout => 1}], 4, "not a list"},
           {eval, [Ctx, nil, #{}, infinity, none], 2, "not text"},
           {eval, [Ctx, <<"1">>, foo, infinity, none], 3, "neither a map"},
           {eval, [Ctx, <<"1">>, #{}, soon, none], 4, NotATime},
           {exec, [Ctx, nil, infinity, none], 2, "not text"},
           {exec, [Ctx, <<"1">>, soon, none], 3, NotATime},
           {call_method, [Ctx, Object, 17, [], #{}, #{}], 3, "not a name"},
           {call_method, [Ctx, Object, x, foo, #{}, #{}], 4, "not a list"},
           {call_method, [Ctx, Object, x, [], #{}, -1], 6, NotATime},
           {getattr, [Ctx, Object, 17, #{}], 3, "not a name"},
           {getattr, [Ctx, Object, x, -1], 4, NotATime},
           {to_term, [17, #{}], 1, "not a handle"},
           {to_term, [Object, -1], 2, NotATime},
           {to_buffer, [17, #{}], 1, "not a handle"},
           {create_local_env, [foo], 1, "not a pid"},
           {stop, [foo], 1, "not a pid"},
           {info, [foo], 1, "not a pid"}]).

%% A bare `erl -pa ebin' may know nothing of it.
a_wrong_argument_is_found_without_the_application(_Config) ->
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => standard_io}),
    Raised = fun() -> try returns(py:eval(17)) catch error:Reason:Stack -> {Reason, Stack} end end,
    {badarg, [{py, eval, [17], _} | _]} = peer:call(Vm, erlang, apply, [Raised, []]),
    peer:stop(Vm).

a_pool_tells_where_its_arguments_are(_Config) ->
    check(py_context_router,
          [{register_pool, [17, math], 1, "not an atom"},
           {register_pool, [17, math, sqrt], 1, "not an atom"},
           {register_pool, [io, 17], 2, "neither an atom nor a binary"},
           {register_pool, [io, math, <<>>], 3, "an empty name"},
           {unregister_pool, [17], 1, "neither an atom nor a binary"},
           {lookup_pool, [math, 17], 2, "neither an atom nor a binary"},
           {get_context, [<<"io">>], 1, "neither a pool's name nor a slot"},
           {bind_context, [io, 17], 2, "not a pid"}]).

%% ------------------------------------------------------------------ options

said(Error) ->
    unicode:characters_to_list(py_error:format(Error)).

a_wrong_option_is_named(Config) ->
    Ctx = ?config(ctx, Config),
    Rows = [{py_context_router:start_pool(messages, #{size => 2}),
             "there is no option size: how many contexts a pool has is the option contexts"},
            {py_context_router:start_pool(messages, #{contexts => 0}),
             "option contexts can't be 0"},
            {py_context_router:start_pool(messages, #{colour => red}), "there is no option colour"},
            {py_context_router:start_pool(messages, #{<<"mode">> => worker}),
             "there is no option <<\"mode\">>"},
            {py_context_router:start(foo), "the options are a map, and not foo"},
            {py_context:new([]), "the options are a map, and not []"},
            {py:call(Ctx, math, sqrt, [4], #{colour => red}), "there is no option colour"},
            {py:call(Ctx, math, sqrt, [4], #{timeout => soon}), "option timeout can't be soon"},
            {py:call(Ctx, math, sqrt, [4], #{kwargs => foo}), "option kwargs can't be foo"},
            {py:call(math, sqrt, [4], #{}, [{timeout, 1}]),
             "the options are a map, and not [{timeout,1}]"},
            {py:stream_start(math, sqrt, [4], #{}, #{read_ahead => 0}),
             "option read_ahead can't be 0"}]
        ++ [{py:ensure_venv("v", [], #{Key => wrong}),
             "option " ++ atom_to_list(Key) ++ " can't be wrong"}
            || Key <- [installer, activate, progress, force, timeout]]
        ++ [{py:ensure_venv("v", [], #{colour => red}), "there is no option colour"}],
    ?assertEqual([],
                 [{Error, Said} || {Error, Words} <- Rows, Said <- [said(Error)], Said =/= Words]).

a_wrong_limit_is_named(Config) ->
    {Ctx, Object} = {?config(ctx, Config), ?config(object, Config)},
    [?assertEqual({error, {bad_option, {timeout, -1}}}, Call())
     || Call <- [fun() -> py:call(math, sqrt, [4], #{}, -1) end,
                 fun() -> py:call(Ctx, math, sqrt, [4], -1) end,
                 fun() -> py:call(Ctx, math, sqrt, [4], #{timeout => -1}) end,
                 fun() -> py:eval(<<"1">>, #{}, -1) end,
                 fun() -> py:exec(<<"1">>, -1) end,
                 fun() -> py:stream(Ctx, math, sqrt, [4], -1) end,
                 fun() -> py:stream_start(math, sqrt, [4], #{}, -1) end,
                 fun() -> py:cast(math, sqrt, [4], #{}, -1) end,
                 fun() -> py:await(py:spawn_call(math, sqrt, [4], #{}, -1)) end,
                 fun() -> py:parallel([], #{timeout => -1}) end,
                 fun() -> py:getattr(Object, x, -1) end,
                 fun() -> py:call_method(Object, x, [], #{}, -1) end,
                 fun() -> py:to_term(Object, -1) end,
                 fun() -> py:to_buffer(Object, -1) end]],
    ?assertEqual("option timeout can't be -1", said({bad_option, {timeout, -1}})).

%% ------------------------------------------------------------------ others

an_elixir_alias_is_no_name(Config) ->
    Ctx = ?config(ctx, Config),
    What = <<"Elixir's Foo.Math, which is no name in Python: write it as Python does">>,
    ?assertEqual({error, {unconvertible, <<"module">>, What}},
                 py:call(Ctx, 'Elixir.Foo.Math', sqrt, [4])),
    ?assertEqual({error, {unconvertible, <<"function">>, What}},
                 py:call(Ctx, math, 'Elixir.Foo.Math', [4])),
    %% As text it is a name like others.
    ?assertMatch({error, {'ModuleNotFoundError', <<"No module named 'Elixir'">>}},
                 py:call(Ctx, <<"Elixir.Math">>, sqrt, [4])).

a_function_of_erlang_takes_no_keywords(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:register_function(messages_add, fun(A, B) -> A + B end),
    ok = py_context:exec(Ctx, <<"import erlang">>),
    What = <<"the Erlang function 'messages_add' takes no keyword arguments, as all of Erlang's, "
             "but 'b' is given">>,
    [?assertEqual({error, {'TypeError', What}}, py_context:eval(Ctx, Source))
     || Source <- [<<"erlang.messages_add(1, b=2)">>, <<"erlang.messages_add(**{'b': 2})">>,
                   <<"erlang.call('messages_add', 1, b=2)">>]],
    ?assertEqual({ok, 3}, py_context:eval(Ctx, <<"erlang.messages_add(1, 2, **{})">>)),
    ok = py:unregister_function(messages_add).

%% Without Elixir, as here, it is shown as the term that it is.
an_elixir_exception_has_its_message(Config) ->
    Ctx = ?config(ctx, Config),
    Exception = #{'__struct__' => 'Elixir.ArgumentError', '__exception__' => true,
                  message => <<"no">>},
    ok = py:register_function(messages_raise, fun() -> error(Exception) end),
    {error, {<<"erlang.Error">>, Shown}} =
        py_context:eval(Ctx, <<"__import__('erlang').messages_raise()">>),
    ?assertNotEqual(nomatch, string:find(Shown, "'Elixir.ArgumentError'")),
    ok = py:unregister_function(messages_raise).

an_environment_of_another_version_differs_from_none(Config) ->
    Venv = filename:join(?config(priv_dir, Config), "venv of another"),
    Activated = fun() ->
        {error, {'FileNotFoundError', Message}} = py:activate_venv(Venv),
        unicode:characters_to_list(Message)
    end,
    ?assertEqual("no virtual environment: " ++ Venv, Activated()),
    ok = filelib:ensure_dir(filename:join([Venv, "lib", "python2.7", "site-packages", "x"])),
    ?assertMatch({match, _},
                 re:run(Activated(), "^this is Python 3\\.[0-9]+t?, and the virtual environment of "
                                     "Python 2\\.7: .*venv of another$")).

a_program_that_is_no_python_differs_from_another_version(_Config) ->
    Mismatch = #{python => <<"/bin/true">>, version => <<>>, linked => <<"3.13.0">>},
    ?assertEqual("/bin/true is no Python: asked for its version, it says nothing",
                 said({python_mismatch, Mismatch})),
    ?assertEqual("/bin/true is Python 3.9.1, but the library is linked with 3.13.0",
                 said({python_mismatch, Mismatch#{version := <<"3.9.1">>}})).

a_context_without_a_name_is_reported_by_its_pid(_Config) ->
    {ok, Ctx} = py_context:new(#{stuck_after => 20}),
    Logged = test_helpers:capture_log(fun() ->
        {error, timeout} = py_context:call(Ctx, time, sleep, [3], #{}, 10),
        _ = test_helpers:eventually(fun() -> maps:get(quarantined, py_context:info(Ctx)) > 0 end),
        %% It answers once it has logged that.
        _ = sys:get_state(Ctx)
    end),
    ?assertMatch([{warning, _}], Logged),
    [{warning, Text}] = Logged,
    ?assertNotEqual(nomatch, string:prefix(Text, "Python context " ++ pid_to_list(Ctx) ++ " was")),
    ok = py_context:stop(Ctx).
