%% Whose conventions values follow: `None' and objects in results are Erlang's or Elixir's, as the
%% caller says, at any depth and on every way to the caller; structs don't go to Python. Once per
%% mode that the linked Python has.
-module(values_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-define(ELIXIR, #{values => elixir}).
%% `None' wherever a value can be, and an object inside of one.
-define(SOURCE, <<"[None, (None, {'k': [None], None: 1}), object()]">>).

all() ->
    test_helpers:mode_groups()
    ++ [{group, remote}].

groups() ->
    test_helpers:in_each_mode(each_mode()) ++
    [{remote, [], [a_result_of_another_node_follows_the_callers_conventions,
                   a_struct_holds_an_object_of_another_node]}].

each_mode() ->
    [results_are_erlangs_unless_said_otherwise,
     results_of_a_context_follow_the_callers_conventions,
     results_of_the_front_follow_the_callers_conventions,
     results_without_waiting_follow_the_callers_conventions,
     streams_follow_their_callers_conventions,
     coroutines_follow_their_callers_conventions,
     a_job_that_runs_meanwhile_has_conventions_of_its_own,
     arguments_follow_the_conventions_of_their_function,
     conventions_are_checked,
     a_struct_is_refused_wherever_it_is,
     a_struct_around_a_handle_is_the_object,
     a_struct_that_a_function_returns_is_refused,
     whatever_else_python_gives_is_no_struct].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = py_context:new(#{mode => ?config(mode, Config)}),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, Config) ->
    py_context:stop(?config(ctx, Config)).

%% What SOURCE is by Erlang's conventions, and by Elixir's.
is_erlangs([none, {none, #{<<"k">> := [none], none := 1} = Map}, Object]) ->
    map_size(Map) =:= 2 andalso py:is_ref(Object);
is_erlangs(_Other) ->
    false.

is_elixirs([nil, {nil, #{<<"k">> := [nil], nil := 1} = Map},
            #{'__struct__' := 'Elixir.Py.Object', ref := Ref} = Object]) ->
    map_size(Map) =:= 2 andalso map_size(Object) =:= 2 andalso is_reference(Ref);
is_elixirs(_Other) ->
    false.

erlangs({ok, Value} = Result) -> {Result, is_erlangs(Value)};
erlangs(Other) -> {Other, false}.

elixirs({ok, Value} = Result) -> {Result, is_elixirs(Value)};
elixirs(Other) -> {Other, false}.

%% ------------------------------------------------------------------ None and objects

results_are_erlangs_unless_said_otherwise(Config) ->
    Ctx = ?config(ctx, Config),
    {_, true} = erlangs(py_context:eval(Ctx, ?SOURCE)),
    {_, true} = erlangs(py_context:eval(Ctx, ?SOURCE, #{}, #{values => erlang})),
    {_, true} = erlangs(py:eval(Ctx, ?SOURCE)).

results_of_a_context_follow_the_callers_conventions(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"class Thing:\n"
                                "  def give(self): return ", ?SOURCE/binary, "\n"
                                "  @property\n"
                                "  def value(self): return ", ?SOURCE/binary, "\n"
                                "def give(): return ", ?SOURCE/binary>>),
    {ok, Thing} = py_context:eval(Ctx, <<"Thing()">>),
    {ok, Items} = py_context:eval(Ctx, <<"iter([None, {None}])">>),
    {_, true} = elixirs(py_context:eval(Ctx, ?SOURCE, #{}, ?ELIXIR)),
    {_, true} = elixirs(py_context:call(Ctx, '__main__', give, [], #{}, ?ELIXIR)),
    {_, true} = elixirs(py_context:call_method(Ctx, Thing, give, [], #{}, ?ELIXIR)),
    {_, true} = elixirs(py_context:getattr(Ctx, Thing, value, ?ELIXIR)),
    ?assertEqual({ok, [nil, [nil]]}, py_context:to_term(Items, ?ELIXIR)),
    ?assertEqual({ok, nil}, py_context:eval(Ctx, <<"None">>, #{}, ?ELIXIR)),
    ?assertMatch({ok, #{'__struct__' := 'Elixir.Py.Object'}},
                 py_context:eval(Ctx, <<"object()">>, #{}, ?ELIXIR)).

results_of_the_front_follow_the_callers_conventions(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:exec(Ctx, <<"class Thing:\n"
                        "  def give(self): return ", ?SOURCE/binary, "\n"
                        "def give(): return ", ?SOURCE/binary, "\n"
                        "Thing.value = give()">>),
    {ok, Thing} = py:eval(Ctx, <<"Thing()">>),
    {_, true} = elixirs(py:eval(Ctx, ?SOURCE, #{}, ?ELIXIR)),
    {_, true} = elixirs(py:call(Ctx, '__main__', give, [], ?ELIXIR)),
    {_, true} = elixirs(py:call_method(Thing, give, [], #{}, ?ELIXIR)),
    {_, true} = elixirs(py:getattr(Thing, value, ?ELIXIR)),
    {ok, Items} = py:eval(Ctx, <<"iter([None])">>),
    ?assertEqual({ok, [nil]}, py:to_term(Items, ?ELIXIR)).

results_without_waiting_follow_the_callers_conventions(Config) ->
    {ok, _} = py_context_router:start_pool(values, 2, ?config(mode, Config)),
    ok = py_context_router:register_pool(values, operator),
    %% One of each call that `parallel' makes, and what Elixir asks of it.
    Item = {operator, getitem, [[none], 0]},
    ?assertEqual({ok, [{ok, nil}, {ok, nil}]}, py:parallel([Item, Item], ?ELIXIR)),
    ?assertEqual({ok, [{ok, none}]}, py:parallel([Item], #{})),
    ?assertEqual({ok, [{ok, none}]}, py:parallel([Item], 5_000)),
    Waiting = py:spawn_call(operator, getitem, [[none], 0], #{}, ?ELIXIR),
    ?assertEqual({ok, nil}, py:await(Waiting)),
    Spawned = py:spawn_call(operator, getitem, [[none], 0], #{}, ?ELIXIR),
    ?assertEqual({ok, nil}, receive {py_result, Spawned, Result} -> Result end),
    ok = py_context_router:unregister_pool(operator),
    ok = py_context_router:stop_pool(values).

streams_follow_their_callers_conventions(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:exec(Ctx, <<"def gen():\n  yield None\n  yield [None]\n  yield {1}\n"
                        "async def agen():\n  yield None\n  yield [None]\n  yield {1}">>),
    [begin
         {ok, [nil, [nil], #{'__struct__' := 'Elixir.Py.Object'}]} =
             py:stream(Ctx, '__main__', Generator, [], ?ELIXIR),
         {ok, [none, [none], _]} = py:stream(Ctx, '__main__', Generator, []),
         {ok, Ref} = py:stream_start(Ctx, '__main__', Generator, [], ?ELIXIR),
         [nil, [nil], #{'__struct__' := 'Elixir.Py.Object'}] = pushed(Ref),
         {ok, Stream} = py:stream_open(Ctx, '__main__', Generator, [], ?ELIXIR),
         ?assertMatch([nil, [nil], #{}], asked(Stream, py:stream_next(Stream, 10)))
     end || Generator <- [gen, agen]].

pushed(Ref) ->
    receive
        {py_stream, Ref, {data, Item}} -> [Item | pushed(Ref)];
        {py_stream, Ref, done} -> []
    end.

asked(_Stream, {done, Items}) -> Items;
asked(Stream, {more, Items}) -> Items ++ asked(Stream, py:stream_next(Stream, 10)).

coroutines_follow_their_callers_conventions(Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(values, 1, ?config(mode, Config)),
    ok = py_context_router:bind_context(values, Ctx),
    ok = py_context_router:register_pool(values, '__main__'),
    ok = py:exec(values, <<"async def give(): return ", ?SOURCE/binary, "\n"
                           "async def fail(): return 1 // 0">>),
    {_, true} = elixirs(py:call('__main__', give, [], #{}, ?ELIXIR)),
    {_, true} = erlangs(py:call('__main__', give, [])),
    Give = {'__main__', give, []},
    {ok, [First, Second]} = py:parallel([Give, Give], ?ELIXIR),
    [{_, true}, {_, true}] = [elixirs(First), elixirs(Second)],
    {ok, [Third, Failed]} = py:parallel([Give, {'__main__', fail, []}], #{traceback => true}),
    {_, true} = erlangs(Third),
    ?assertMatch({error, {'ZeroDivisionError', _, #{frames := [_ | _]}}}, Failed),
    ok = py_context_router:unregister_pool('__main__'),
    ok = py_context_router:unbind_context(values),
    ok = py_context_router:stop_pool(values).

%% A call that waits for Erlang has others run in its context meanwhile.
a_job_that_runs_meanwhile_has_conventions_of_its_own(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:register_function(values_meanwhile, fun() ->
        {_, true} = erlangs(py_context:eval(Ctx, ?SOURCE)),
        true
    end),
    Source = <<"(__import__('erlang').values_meanwhile(), ", ?SOURCE/binary, ")[1]">>,
    {_, true} = elixirs(py_context:eval(Ctx, Source, #{}, ?ELIXIR)),
    ok = py:unregister_function(values_meanwhile).

arguments_follow_the_conventions_of_their_function(Config) ->
    Ctx = ?config(ctx, Config),
    Self = self(),
    Tell = fun(Value) -> Self ! {given, Value} end,
    Given = fun(Options) ->
        {ok, _} = py_context:eval(Ctx, <<"__import__('erlang').values_tell(", ?SOURCE/binary, ")">>,
                                  #{}, Options),
        receive {given, Value} -> {ok, Value} end
    end,
    %% Whatever process calls: a function doesn't know.
    [begin
         ok = py:register_function(values_tell, Tell),
         {_, true} = erlangs(Given(Options)),
         ok = py:register_function(values_tell, Tell, ?ELIXIR),
         {_, true} = elixirs(Given(Options)),
         ok = py:register_function(values_tell, Tell, #{values => erlang}),
         {_, true} = erlangs(Given(Options))
     end || Options <- [#{}, ?ELIXIR]],
    ok = py:register_function(values_tell, lists, reverse, ?ELIXIR),
    ?assertEqual({ok, [2, 1]},
                 py_context:eval(Ctx, <<"__import__('erlang').values_tell([1, 2])">>)),
    ok = py:unregister_function(values_tell),
    [?assertError(badarg, Register())
     || Register <- [fun() -> py:register_function(values_tell, Tell, #{values => lua}) end,
                     fun() -> py:register_function(values_tell, Tell, #{value => elixir}) end,
                     fun() -> py:register_function(values_tell, Tell, [elixir]) end,
                     fun() -> py:register_function(values_tell, lists, reverse, elixir) end]].

conventions_are_checked(Config) ->
    Ctx = ?config(ctx, Config),
    Bad = #{values => lua},
    {ok, Object} = py_context:eval(Ctx, <<"object()">>),
    [?assertEqual({error, {bad_option, {values, lua}}}, Call())
     || Call <- [fun() -> py_context:call(Ctx, math, sqrt, [4], #{}, Bad) end,
                 fun() -> py_context:eval(Ctx, <<"1">>, #{}, Bad) end,
                 fun() -> py_context:call_method(Ctx, Object, '__hash__', [], #{}, Bad) end,
                 fun() -> py_context:getattr(Ctx, Object, '__class__', Bad) end,
                 fun() -> py_context:to_term(Object, Bad) end,
                 fun() -> py_context:to_buffer(Object, Bad) end,
                 fun() -> py:call(Ctx, math, sqrt, [4], Bad) end,
                 fun() -> py:eval(Ctx, <<"1">>, #{}, Bad) end,
                 fun() -> py:parallel([], Bad) end,
                 fun() -> py:parallel([{math, sqrt, [4]}], Bad) end]],
    %% No part of a buffer is `None' or an object.
    ?assertEqual({error, {bad_option, {values, elixir}}}, py_context:to_buffer(Object, ?ELIXIR)).

a_result_of_another_node_follows_the_callers_conventions(_Config) ->
    on_another_node(fun(Ctx) ->
        {_, true} = elixirs(py_context:eval(Ctx, ?SOURCE, #{}, ?ELIXIR)),
        {ok, [nil, _, #{ref := Ref}]} = py:eval(Ctx, ?SOURCE, #{}, ?ELIXIR),
        ?assertEqual(node(Ctx), node(Ref)),
        {ok, [none, _, _]} = py:eval(Ctx, ?SOURCE),
        {ok, Items} = py:eval(Ctx, <<"iter([None])">>),
        ?assertEqual({ok, [nil]}, py:to_term(Items, ?ELIXIR))
    end).

%% ------------------------------------------------------------------ structs

-define(STRUCT, #{'__struct__' => 'Elixir.MapSet', map => #{1 => []}}).

a_struct_is_refused_wherever_it_is(Config) ->
    Ctx = ?config(ctx, Config),
    Rows = [{<<"args[0]">>, [?STRUCT]},
            {<<"args[1][0]">>, [1, [?STRUCT]]},
            {<<"args[0].a.b">>, [#{a => #{<<"b">> => ?STRUCT}}]},
            {<<"args[0][1]">>, [{1, ?STRUCT}]}],
    [?assertEqual({error, {unconvertible, Path, <<"struct MapSet">>}},
                  py_context:call(Ctx, builtins, repr, Args)) || {Path, Args} <- Rows],
    %% As a key, and among so many that the map is no array any more.
    ?assertMatch({error, {unconvertible, <<"args[0].key(", _/binary>>, <<"struct MapSet">>}},
                 py_context:call(Ctx, builtins, repr, [#{?STRUCT => 1}])),
    Many = maps:from_list([{N, N} || N <- lists:seq(1, 100)]),
    ?assertEqual({error, {unconvertible, <<"args[0]">>, <<"struct MapSet">>}},
                 py_context:call(Ctx, builtins, repr, [maps:merge(Many, ?STRUCT)])),
    ?assertEqual({error, {unconvertible, <<"locals.x">>, <<"struct MapSet">>}},
                 py_context:eval(Ctx, <<"x">>, #{x => ?STRUCT})),
    ?assertEqual({error, {unconvertible, <<"kwargs.x">>, <<"struct MapSet">>}},
                 py_context:call(Ctx, builtins, dict, [], #{x => ?STRUCT})),
    ?assertEqual({error, {unconvertible, <<"args[0]">>, <<"struct MapSet">>}},
                 py:await(py:spawn_call(Ctx, builtins, repr, [?STRUCT]))),
    %% Whatever is under the key.
    [?assertEqual({error, {unconvertible, <<"args[0]">>, What}},
                  py_context:call(Ctx, builtins, repr, [#{'__struct__' => Name}]))
     || {Name, What} <- [{date, <<"struct date">>}, {<<"Date">>, <<"struct">>},
                         {[], <<"struct">>}]],
    %% As names and values it isn't even looked at.
    ?assertError(badarg, py_context:eval(Ctx, <<"x">>, ?STRUCT)),
    ?assertError(badarg, py_context:call(Ctx, builtins, dict, [], ?STRUCT)),
    %% What isn't the atom is a key like others.
    ?assertEqual({ok, <<"{'__struct__': 1}">>},
                 py_context:call(Ctx, builtins, repr, [#{<<"__struct__">> => 1}])).

a_struct_around_a_handle_is_the_object(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"thing = object()\ndef same(x, *, y): return x is y is thing">>),
    {ok, Thing} = py_context:eval(Ctx, <<"thing">>, #{}, ?ELIXIR),
    ?assertEqual({ok, true}, py_context:call(Ctx, '__main__', same, [Thing], #{y => Thing})),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"x[0]['k'][1] is thing">>,
                                             #{x => [#{k => {1, Thing}}]})),
    ?assertEqual({ok, true},
                 py_context:eval(Ctx, <<"list(x)[0] is thing">>, #{x => #{Thing => 1}})),
    NoHandle = {error, {unconvertible, <<"args[0]">>,
                        <<"struct Py.Object, without a handle of this node">>}},
    [?assertEqual(NoHandle, py_context:call(Ctx, builtins, repr, [maps:merge(Thing, Other)]))
     || Other <- [#{ref => make_ref()}, #{ref => 1}]],
    ?assertEqual(NoHandle, py_context:call(Ctx, builtins, repr, [maps:remove(ref, Thing)])),
    {ok, Ended} = py_context:new(#{mode => ?config(mode, Config)}),
    {ok, Gone} = py_context:eval(Ended, <<"object()">>, #{}, ?ELIXIR),
    ok = py_context:stop(Ended),
    ?assertEqual({error, {wrong_context, object}}, py_context:call(Ctx, builtins, repr, [Gone])).

a_struct_that_a_function_returns_is_refused(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:register_function(values_give, fun() -> [?STRUCT] end),
    ?assertEqual({error,
                  {'TypeError', <<"the result of values_give[0] has no counterpart in Python: "
                                         "struct MapSet">>}},
                 py_context:eval(Ctx, <<"__import__('erlang').values_give()">>)),
    {ok, Thing} = py_context:eval(Ctx, <<"int">>, #{}, ?ELIXIR),
    ok = py:register_function(values_give, fun() -> [Thing] end),
    ?assertEqual({ok, true},
                 py_context:eval(Ctx, <<"__import__('erlang').values_give() == [int]">>)),
    ok = py:unregister_function(values_give).

%% A dictionary becomes a struct only where it names the atom.
whatever_else_python_gives_is_no_struct(Config) ->
    Ctx = ?config(ctx, Config),
    ?assertEqual({ok, #{<<"__struct__">> => <<"Elixir.MapSet">>}},
                 py_context:eval(Ctx, <<"{'__struct__': 'Elixir.MapSet'}">>, #{}, ?ELIXIR)).

a_struct_holds_an_object_of_another_node(_Config) ->
    on_another_node(fun(Ctx) ->
        {ok, #{ref := Ref} = Set} = py:eval(Ctx, <<"{1, 2}">>, #{}, ?ELIXIR),
        ?assertEqual({ok, [1, 2]}, py:to_term(Ref)),
        ?assertEqual({ok, 2}, py:call(Ctx, builtins, len, [Set])),
        ?assertEqual({ok, 2}, py_context:call(Ctx, builtins, len, [Set])),
        %% Here it isn't.
        {ok, Own} = py_context:new(#{}),
        ?assertEqual({error, {wrong_context, object}}, py_context:call(Own, builtins, len, [Set])),
        ok = py_context:stop(Own)
    end).

on_another_node(Fun) ->
    {ok, Vm, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    {ok, _} = erpc:call(Node, application, ensure_all_started, [py_context_router]),
    {ok, Ctx} = erpc:call(Node, py_context_sup, start_context, [remote, worker]),
    Fun(Ctx),
    peer:stop(Vm).
