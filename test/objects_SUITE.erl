%% Handles on Python objects: made for what has no term, used, released, and refused where they
%% don't belong. Once per mode that the linked Python has.
-module(objects_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, await_busy/1, eventually/1, rendered/1]).

all() ->
    test_helpers:mode_groups()
    ++ [{group, between}, {group, remote}].

groups() ->
    test_helpers:in_each_mode(each_mode()) ++
    [{between, [],
      [workers_share_their_objects,
       an_object_of_another_interpreter_is_refused,
       numpy_arrays_become_nested_lists]},
     {remote, [], [handles_of_a_remote_context_live_as_long_as_their_user,
                   handles_that_the_front_gave_live_as_long_as_their_user,
                   calls_about_a_remote_object_have_a_timeout,
                   a_handle_of_another_node_is_no_argument]}].

each_mode() ->
    [what_has_no_term_becomes_a_handle,
     a_handle_is_the_object_again_as_an_argument,
     methods_and_attributes_are_used,
     objects_become_what_they_stand_for,
     results_are_terms_where_that_is_asked_for,
     results_are_handles_where_that_is_asked_for,
     items_of_streams_are_as_asked_for,
     durations_are_iso_8601_and_exact,
     what_stands_for_nothing_is_named,
     sequences_of_their_own_kind_end,
     a_value_that_contains_itself_is_too_deep,
     handles_that_are_dropped_let_their_objects_go,
     a_handle_keeps_its_object,
     a_handle_that_outlives_its_context_is_an_error,
     a_handle_that_outlives_its_context_moves_nobody_elsewhere,
     a_long_conversion_can_be_interrupted,
     no_handle_is_no_object,
     calls_about_objects_have_a_timeout,
     calls_of_the_front_about_objects_have_its_timeout,
     options_are_checked,
     what_results_become_is_checked].

-include("quiet_suite.hrl").

init_per_group(remote, Config) ->
    [{mode, worker}, {distribution, test_helpers:start_distribution()} | Config];
init_per_group(between, Config) ->
    [{mode, worker} | Config];
init_per_group(Mode, Config) ->
    [{mode, Mode} | Config].

end_per_group(remote, Config) ->
    test_helpers:stop_distribution(?config(distribution, Config));
end_per_group(_Group, _Config) ->
    test_helpers:stop_all().

init_per_testcase(_Case, Config) ->
    [{ctx, new(?config(mode, Config))} | Config].

end_per_testcase(_Case, Config) ->
    py_context:stop(?config(ctx, Config)).

new(Mode) ->
    {ok, Ctx} = py_context:new(#{mode => Mode}),
    Ctx.

eval(Ctx, Source) ->
    {ok, Value} = py_context:eval(Ctx, Source),
    Value.

held(Ctx) ->
    maps:get(held_objects, py_context:info(Ctx)).

%% ------------------------------------------------------------------ in one context

what_has_no_term_becomes_a_handle(Config) ->
    Ctx = ?config(ctx, Config),
    Sources = [<<"{1, 2}">>, <<"frozenset()">>, <<"object()">>, <<"1j">>, <<"range(3)">>, <<"int">>,
               <<"lambda: 1">>, <<"(x for x in 'ab')">>, <<"__import__('decimal').Decimal(1)">>,
               <<"__import__('datetime').datetime.now()">>, <<"__import__('array').array('d')">>],
    Values = [eval(Ctx, Source) || Source <- Sources],
    ?assertEqual([], [Source || {Source, Value} <- lists:zip(Sources, Values),
                                not py_context:is_ref(Value)]),
    %% Also inside a value, and different objects are different handles.
    [A, #{<<"b">> := {B}}] = eval(Ctx, <<"[object(), {'b': (object(),)}]">>),
    ?assert(py_context:is_ref(A) andalso py_context:is_ref(B) andalso A =/= B),
    ?assertNot(lists:any(fun py_context:is_ref/1, [make_ref(), self(), 1, <<>>, [A], {A}])).

a_handle_is_the_object_again_as_an_argument(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"class Thing: pass\nthing = Thing()">>),
    Thing = eval(Ctx, <<"thing">>),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"x is thing">>, #{x => Thing})),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"x[0]['k'] is thing">>,
                                             #{x => [#{k => Thing}]})),
    ?assertEqual({ok, true},
                 py_context:eval(Ctx, <<"list(x)[0] is thing">>, #{x => #{Thing => 1}})),
    ok = py_context:exec(Ctx, <<"def same(x, *, y): return x is y is thing">>),
    ?assertEqual({ok, true}, py_context:call(Ctx, '__main__', same, [Thing], #{y => Thing})).

methods_and_attributes_are_used(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"class Sum:\n"
                                "  total = 0\n"
                                "  def add(self, n, *, times=1):\n"
                                "    self.total += n * times\n"
                                "    return self\n">>),
    Sum = eval(Ctx, <<"Sum()">>),
    {ok, Same} = py_context:call_method(Ctx, Sum, add, [2]),
    {ok, _} = py_context:call_method(Ctx, Same, <<"add">>, [3], #{times => 4}),
    ?assertEqual({ok, 14}, py_context:getattr(Ctx, Sum, total)),
    ?assertEqual({ok, <<"Sum">>}, py_context:getattr(Ctx, Sum, '__class__.__name__')),
    ?assertMatch({error, {'AttributeError', _}}, py_context:getattr(Ctx, Sum, "none_such")),
    ?assertMatch({error, {'TypeError', _}}, py_context:call_method(Ctx, Sum, add, [])),
    ?assertMatch({error, {'TypeError', _, #{frames := _}}},
                 py_context:call_method(Ctx, Sum, add, [], #{}, #{traceback => true})),
    Loop = eval(Ctx, <<"type('Loop', (), {'run': lambda self: [0 for _ in iter(int, 1)]})()">>),
    ?assertEqual({error, timeout}, py_context:call_method(Ctx, Loop, run, [], #{}, 20)).

objects_become_what_they_stand_for(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<
        "import collections, dataclasses, datetime, decimal, enum, fractions, pathlib, uuid\n"
        "import types\n"
        "class Colour(enum.Enum): RED = 'r'\n"
        "@dataclasses.dataclass\n"
        "class Point:\n"
        "  x: int\n"
        "  more: object = None\n"
        "Pair = collections.namedtuple('Pair', 'a b')\n"
        "class Steps:\n"
        "  def __init__(self): self.left = 2\n"
        "  def __iter__(self): return self\n"
        "  def __next__(self):\n"
        "    if not self.left: raise StopIteration\n"
        "    self.left -= 1\n"
        "    return self.left\n"
        "def gen():\n"
        "  yield 1\n"
        "  yield {2}\n">>),
    Rows = [{"{5}", [5]}, {"frozenset()", []}, {"range(3)", [0, 1, 2]}, {"iter([1, 2])", [1, 2]},
            {"gen()", [1, [2]]}, {"Steps()", [1, 0]}, {"{1: 2}.keys()", [1]},
            {"{1: 2}.items()", [{1, 2}]}, {"collections.deque([1])", [1]},
            {"types.MappingProxyType({'a': 1})", #{<<"a">> => 1}},
            {"datetime.datetime(2020, 1, 2, 3, 4, 5)", <<"2020-01-02T03:04:05">>},
            {"datetime.date(2020, 1, 2)", <<"2020-01-02">>},
            {"datetime.time(3, 4)", <<"03:04:00">>},
            {"1.5 - 2j", {1.5, -2.0}}, {"complex('nan-infj')", {nan, neg_infinity}},
            {"decimal.Decimal('1.50')", <<"1.50">>}, {"fractions.Fraction(1, 3)", <<"1/3">>},
            {"uuid.UUID(int=1)", <<"00000000-0000-0000-0000-000000000001">>},
            {"pathlib.PurePosixPath('/a/b')", <<"/a/b">>}, {"Colour.RED", <<"r">>},
            {"Point(1)", #{<<"x">> => 1, <<"more">> => none}},
            {"Point(1, [Point(2, {3})])",
             #{<<"x">> => 1, <<"more">> => [#{<<"x">> => 2, <<"more">> => [3]}]}}],
    ?assertEqual([], [{Source, Got}
                      || {Source, Term} <- Rows,
                         Got <- [py_context:to_term(eval(Ctx, Source))], Got =/= {ok, Term}]),
    ?assertEqual({ok, {1, 2}}, py_context:eval(Ctx, <<"Pair(1, 2)">>)).

%% As a database gives them.
-define(ROWS, <<"import decimal, datetime, uuid\n"
                "def rows(n=2):\n"
                "  return [{'id': i, 'price': decimal.Decimal('1.50'), 'tags': {'a'},\n"
                "           'at': [datetime.datetime(2024, 1, 31, 12),\n"
                "                  (datetime.date(2024, 1, 1),)]}\n"
                "          for i in range(n)]\n"
                "async def later(): return rows(1)\n">>).

row(Id) ->
    #{<<"id">> => Id, <<"price">> => <<"1.50">>, <<"tags">> => [<<"a">>],
      <<"at">> => [<<"2024-01-31T12:00:00">>, {<<"2024-01-01">>}]}.

%% In one go, at any depth, by whichever function the code is run.
results_are_terms_where_that_is_asked_for(Config) ->
    Ctx = ?config(ctx, Config),
    Terms = #{result => term},
    ok = py_context:exec(Ctx, ?ROWS),
    Rows = {ok, [row(0), row(1)]},
    ?assertEqual(Rows, py_context:call(Ctx, '__main__', rows, [], #{}, Terms)),
    ?assertEqual(Rows, py_context:eval(Ctx, <<"rows()">>, #{}, Terms)),
    ?assertEqual(Rows, py:call(Ctx, '__main__', rows, [], #{}, Terms)),
    ?assertEqual(Rows, py:eval(Ctx, <<"rows()">>, #{}, Terms)),
    ?assertEqual(Rows, py:await(py:spawn_call(Ctx, '__main__', rows, [], Terms))),
    ?assertEqual({ok, [row(0)]}, py:call(Ctx, '__main__', later, [], #{}, Terms)),
    ?assertEqual({ok, #{<<"1.5">> => none}},
                 py_context:eval(Ctx, <<"{decimal.Decimal('1.5'): None}">>, #{}, Terms)),
    {ok, Object} = py_context:eval(Ctx, <<"iter(rows())">>),
    ?assertEqual({ok, row(0)}, py_context:call_method(Ctx, Object, '__next__', [], #{}, Terms)),
    ?assertEqual(0, held_by_nobody_else(Ctx, Object)),
    %% What stands for nothing is no term here either, and without the option all is as ever.
    ?assertEqual({error, {no_term, <<"object">>}},
                 py_context:eval(Ctx, <<"[1, object()]">>, #{}, Terms)),
    [begin
         {ok, [#{<<"price">> := Price}, _]} =
             py_context:call(Ctx, '__main__', rows, [], #{}, Options),
         ?assert(py_context:is_ref(Price))
     end || Options <- [#{}, #{result => auto}]].

%% How many objects are held for handles beside this one.
held_by_nobody_else(Ctx, Object) ->
    _ = eventually(fun() -> erlang:garbage_collect(), held(Ctx) =< 1 end),
    ?assert(py_context:is_ref(Object)),
    held(Ctx) - 1.

%% Whatever they are.
results_are_handles_where_that_is_asked_for(Config) ->
    Ctx = ?config(ctx, Config),
    Object = #{result => object},
    ok = py_context:exec(Ctx, ?ROWS),
    {ok, List} = py_context:call(Ctx, builtins, list, [[1, 2]], #{}, Object),
    {ok, none} = py_context:call_method(Ctx, List, append, [3]),
    ?assertEqual({ok, [1, 2, 3]}, py_context:to_term(List)),
    {ok, Same} = py_context:call_method(Ctx, List, '__iadd__', [[4]], #{}, Object),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"a is b">>, #{a => List, b => Same})),
    Sources = [<<"None">>, <<"1">>, <<"'text'">>, <<"later()">>, <<"object()">>],
    [begin
         {ok, Handle} = py:eval(Ctx, Source, #{}, Object),
         ?assert(py:is_ref(Handle))
     end || Source <- Sources],
    {ok, Nothing} = py_context:eval(Ctx, <<"None">>, #{}, Object),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"x is None">>, #{x => Nothing})).

items_of_streams_are_as_asked_for(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, ?ROWS),
    ok = py_context:exec(Ctx, <<"async def arows():\n  for row in rows(): yield row">>),
    Rows = [row(0), row(1)],
    Started = fun(Function, Options) ->
                  {ok, Ref} = py:stream_start(Ctx, '__main__', Function, [], #{}, Options),
                  items(Ref)
              end,
    {ok, Stream} = py:stream_open(Ctx, '__main__', rows, [], #{result => term}),
    {_, [First | _]} = py:stream_next(Stream, 2),
    ?assertEqual(row(0), First),
    [begin
         ?assertEqual(Rows ++ [done], Started(Function, #{result => term})),
         [One, Two, done] = Started(Function, #{result => object}),
         ?assertEqual({ok, Rows}, {ok, [Row || Each <- [One, Two],
                                               {ok, Row} <- [py_context:to_term(Each)]]}),
         [#{<<"price">> := Price}, _, done] = Started(Function, #{}),
         ?assert(py:is_ref(Price))
     end || Function <- [rows, arows]],
    ok = py_context:exec(Ctx, <<"def mixed():\n  yield 1\n  yield object()">>),
    ?assertEqual([1, {error, {no_term, <<"object">>}}], Started(mixed, #{result => term})).

items(Ref) ->
    receive
        {py_stream, Ref, {data, Item}} -> [Item | items(Ref)];
        {py_stream, Ref, End} -> [End]
    end.

what_stands_for_nothing_is_named(Config) ->
    Ctx = ?config(ctx, Config),
    ?assertEqual({error, {no_term, <<"object">>}}, py_context:to_term(eval(Ctx, <<"object()">>))),
    ?assertEqual({error, {no_term, <<"type">>}},
                 py_context:to_term(eval(Ctx, <<"iter([1, {int}])">>))),
    %% What only looks like an array is none.
    ok = py_context:exec(Ctx, <<"class Table:\n"
                                "  ndim = 1\n"
                                "  shape = (1,)\n"
                                "  dtype = 'f8'\n"
                                "  def tolist(self): return [1]\n"
                                "  def __getitem__(self, i): return [1][i]\n"
                                "  def __len__(self): return 1\n"
                                "  def item(self): return 1\n">>),
    ?assertEqual({error, {no_term, <<"Table">>}}, py_context:to_term(eval(Ctx, <<"Table()">>))),
    ?assertEqual(<<"a Python object stands for no Erlang term">>,
                 py_error:format({no_term, <<"object">>})),
    Broken = eval(Ctx, <<"(1 // 0 for _ in 'a')">>),
    ?assertMatch({error, {'ZeroDivisionError', _}}, py_context:to_term(Broken)).

%% Texts that are no `str': each letter is such a text again. Other sequences may hold their own
%% kind.
sequences_of_their_own_kind_end(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"import collections, collections.abc\n"
                                "class Letters(collections.abc.Sequence):\n"
                                "  def __init__(self, text): self.text = text\n"
                                "  def __len__(self): return len(self.text)\n"
                                "  def __getitem__(self, i): return Letters(self.text[i])\n"
                                "class Tree(collections.UserList): pass\n"
                                "class Name(collections.UserString): pass\n">>),
    Rows = [{"collections.UserString('abc')", {ok, <<"abc">>}}, {"Name('a')", {ok, <<"a">>}},
            {"{collections.UserString('')}", {ok, [<<>>]}},
            {"Letters('abc')", {error, {no_term, <<"Letters">>}}},
            {"iter([[Letters('a')]])", {error, {no_term, <<"Letters">>}}},
            {"Letters('')", {ok, []}},
            {"Tree([Tree([Tree(), 1]), Tree()])", {ok, [[[], 1], []]}},
            {"Tree([Tree([Tree([Tree([1])])])])", {ok, [[[[1]]]]}}],
    ?assertEqual([], [{Source, Got} || {Source, Expected} <- Rows,
                                       Got <- [py_context:to_term(eval(Ctx, Source))],
                                       Got =/= Expected]).

durations_are_iso_8601_and_exact(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"from datetime import timedelta\n"
                                "class Finer(timedelta):\n"
                                "  def isoformat(self): return 'PT0.000000001S'\n">>),
    Rows = [{"timedelta(0)", <<"PT0S">>}, {"timedelta(days=1, hours=2)", <<"PT93600S">>},
            {"timedelta(microseconds=-1)", <<"-PT0.000001S">>},
            {"timedelta(milliseconds=1500)", <<"PT1.5S">>},
            {"timedelta(days=-1, hours=1)", <<"-PT82800S">>},
            {"timedelta.max", <<"PT86399999999999.999999S">>}, {"Finer(1)", <<"PT0.000000001S">>}],
    ?assertEqual([], [{Source, Got} || {Source, Expected} <- Rows,
                                       Got <- [py_context:to_term(eval(Ctx, Source))],
                                       Got =/= {ok, Expected}]).

a_value_that_contains_itself_is_too_deep(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"import collections\nd = collections.deque()\nd.append(d)">>),
    ?assertEqual({error, {too_deep, 1000}}, py_context:to_term(eval(Ctx, <<"d">>))),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"len(d)">>)).

%% The count is Python's own: instances that live.
handles_that_are_dropped_let_their_objects_go(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"class Thing:\n"
                                "  living = 0\n"
                                "  def __init__(self): Thing.living += 1\n"
                                "  def __del__(self): Thing.living -= 1\n">>),
    Before = held(Ctx),
    {Pid, Monitor} = spawn_monitor(fun() ->
        [py_context:eval(Ctx, <<"Thing()">>) || _ <- lists:seq(1, 50_000)],
        {ok, Many} = py_context:eval(Ctx, <<"[Thing() for _ in range(50_000)]">>),
        50_000 = length(lists:usort(Many))
    end),
    receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
    _ = eventually(fun() -> eval(Ctx, <<"Thing.living">>) =:= 0 end),
    ?assertEqual(Before, held(Ctx)).

a_handle_keeps_its_object(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"import weakref, gc\nclass Thing: pass">>),
    Thing = eval(Ctx, <<"Thing()">>),
    Weak = py_context:call(Ctx, weakref, ref, [Thing]),
    _ = eval(Ctx, <<"gc.collect()">>),
    true = erlang:garbage_collect(),
    {ok, Ref} = Weak,
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"r() is t">>, #{r => Ref, t => Thing})).

a_handle_that_outlives_its_context_is_an_error(Config) ->
    Ctx = new(?config(mode, Config)),
    Thing = eval(Ctx, <<"{1}">>),
    ok = py_context:stop(Ctx),
    ?assertEqual({error, {context_died, noproc}}, py_context:to_term(Thing)),
    ?assertEqual({error, {context_died, noproc}}, py_context:call_method(Ctx, Thing, pop, [])),
    Other = ?config(ctx, Config),
    ?assertEqual({error, {wrong_context, object}}, py_context:eval(Other, <<"x">>, #{x => Thing})),
    %% Also when its interpreter is in use again.
    Next = new(?config(mode, Config)),
    [?assertEqual({error, {wrong_context, object}}, Call())
     || Call <- [fun() -> py_context:call(Next, builtins, len, [Thing]) end,
                 fun() -> py_context:call(Next, builtins, dict, [], #{x => [Thing]}) end,
                 fun() -> py_context:call_method(Next, eval(Next, <<"{2}">>), add, [Thing]) end]],
    ok = py_context:stop(Next).

%% What looks like a context that was dead before it took the call in is tried on the next one.
a_handle_that_outlives_its_context_moves_nobody_elsewhere(Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(others, 1, ?config(mode, Config)),
    Gone = new(?config(mode, Config)),
    Thing = eval(Gone, <<"{1}">>),
    ok = py_context:stop(Gone),
    ok = py:exec(others, <<"x = 1">>),
    #{failed := Before} = py_context:info(Ctx),
    Calls = [fun() -> py:call(others, builtins, len, [Thing], #{}) end,
             fun() -> py:eval(others, <<"t">>, #{t => Thing}) end,
             fun() -> py:stream(others, builtins, iter, [Thing], #{}) end,
             fun() -> py:await(py:spawn_call(others, builtins, len, [Thing], #{})) end],
    [?assertEqual({error, {wrong_context, object}}, Call()) || Call <- Calls],
    ?assertEqual({ok, 1}, py:eval(others, <<"x">>)),
    %% Each was tried once.
    #{failed := After} = py_context:info(Ctx),
    ?assertEqual(length(Calls), After - Before),
    ok = py_context_router:stop_pool(others).

a_long_conversion_can_be_interrupted(Config) ->
    Ctx = new(?config(mode, Config)),
    Beside = new(?config(mode, Config)),
    %% An iterator that is made in C and never ends, slow enough not to fill the memory.
    ok = py_context:exec(Ctx, <<"import functools, operator\n"
                                "look = functools.partial(operator.contains, "
                                "tuple(range(20_000)), -1)">>),
    Endless = eval(Ctx, <<"iter(look, None)">>),
    Asker = ask(fun() -> py_context:to_term(Endless) end),
    _ = await_busy(Ctx),
    ?assertEqual({ok, 2}, py_context:eval(Beside, <<"1 + 1">>)),
    _ = eventually(fun() -> py_context:interrupt(Ctx) =:= ok end),
    ?assertEqual({error, interrupted}, answer(Asker)),
    ?assertEqual({error, {'MemoryError', <<>>}},
                 py_context:to_term(eval(Ctx, <<"range(1 << 50)">>))),
    ?assertEqual({ok, lists:seq(0, 49_999)}, py_context:to_term(eval(Ctx, <<"range(50_000)">>))),
    [ok = py_context:stop(Each) || Each <- [Ctx, Beside]],
    ?assertEqual([], leftovers(Asker)).

no_handle_is_no_object(Config) ->
    Ctx = ?config(ctx, Config),
    ?assertMatch({error, {unconvertible, <<"object">>, _}},
                 py_context:call_method(Ctx, make_ref(), pop, [])),
    ?assertMatch({error, {unconvertible, <<"object">>, _}}, py_context:getattr(Ctx, 3, real)),
    ?assertMatch({match, _}, re:run(rendered(fun() -> py_context:to_term(make_ref()) end),
                                    "not a handle on a Python object")).

%% Each call about an object, in the form of `py_context' and of `py', with a timeout or options.
calls(Ctx, Object, Options) ->
    [fun() -> py_context:call_method(Ctx, Object, tobytes, [], #{}, Options) end,
     fun() -> py_context:getattr(Ctx, Object, itemsize, Options) end,
     fun() -> py_context:to_term(Object, Options) end,
     fun() -> py_context:to_buffer(Object, Options) end
     | calls_of_the_front(Object, Options)].

calls_of_the_front(Object, Options) ->
    [fun() -> py:call_method(Object, tobytes, [], #{}, Options) end,
     fun() -> py:getattr(Object, itemsize, Options) end,
     fun() -> py:to_term(Object, Options) end,
     fun() -> py:to_buffer(Object, Options) end].

calls_about_objects_have_a_timeout(Config) ->
    Ctx = ?config(ctx, Config),
    Array = eval(Ctx, <<"__import__('array').array('b', [1, 2])">>),
    ok = py_context:exec(Ctx, <<"def nothing():\n  while True: pass\n"
                                "class Slow:\n"
                                "  def __getattr__(self, name): nothing()\n"
                                "def endless():\n"
                                "  while True: yield 1">>),
    %% They end what runs too long ...
    Slow = eval(Ctx, <<"Slow()">>),
    Endless = fun() -> eval(Ctx, <<"endless()">>) end,
    [?assertEqual({error, timeout}, Call())
     || Options <- [10, #{timeout => 10}],
        Call <- [fun() -> py_context:getattr(Ctx, Slow, name, Options) end,
                 fun() -> py_context:call_method(Ctx, Slow, name, [], #{}, Options) end,
                 fun() -> py_context:to_term(Endless(), Options) end,
                 fun() -> py:getattr(Slow, name, Options) end,
                 fun() -> py:call_method(Slow, name, [], #{}, Options) end,
                 fun() -> py:to_term(Endless(), Options) end]],
    %% ... and don't wait longer for a context that is busy.
    ok = py_context:exec(Ctx, <<"pass">>),
    Busy = ask(fun() -> py_context:exec(Ctx, <<"nothing()">>) end),
    _ = await_busy(Ctx),
    [?assertEqual({error, timeout}, Call())
     || Options <- [0, 10, #{timeout => 10}], Call <- calls(Ctx, Array, Options)],
    _ = eventually(fun() -> py_context:interrupt(Ctx) =:= ok end),
    ?assertEqual({error, interrupted}, answer(Busy)),
    [?assertMatch({ok, _}, Call())
     || Options <- [infinity, 60_000, #{}, #{timeout => infinity}],
        Call <- calls(Ctx, Array, Options)],
    [?assertEqual({error, {bad_option, {env, none}}}, Call())
     || Call <- calls(Ctx, Array, #{env => none})],
    [?assertEqual({error, {bad_option, {timeout, -1}}}, Call())
     || Call <- calls(Ctx, Array, #{timeout => -1})].

%% What the front tells the context of the time.
calls_of_the_front_about_objects_have_its_timeout(Config) ->
    {ok, Array} =
        py_context:eval(?config(ctx, Config), <<"__import__('array').array('b', [1, 2])">>),
    [?assertEqual(#{timeout => 30_000}, options_of(Call))
     || Call <- calls_of_the_front(Array, #{})],
    [?assertEqual(#{timeout => 30_000}, options_of(Call))
     || Call <- [fun() -> py:call_method(Array, tobytes, []) end,
                 fun() -> py:call_method(Array, tobytes, [], #{}) end,
                 fun() -> py:getattr(Array, itemsize) end,
                 fun() -> py:to_term(Array) end,
                 fun() -> py:to_buffer(Array) end]],
    [?assertEqual(#{timeout => 7, traceback => true}, options_of(Call))
     || Call <- calls_of_the_front(Array, #{timeout => 7, traceback => true})],
    [?assertEqual(#{timeout => 7}, options_of(Call)) || Call <- calls_of_the_front(Array, 7)].

%% The last argument of the function of `py_context' that is called first.
options_of(Call) ->
    Functions = [{py_context, Name, Arity}
                 || {Name, Arity} <- [{call_method, 6}, {getattr, 4}, {to_term, 2},
                                      {to_buffer, 2}]],
    [1 = erlang:trace_pattern(Function, true, []) || Function <- Functions],
    Caller = spawn_link(fun() -> receive go -> Call() end end),
    1 = erlang:trace(Caller, true, [call]),
    Caller ! go,
    receive {trace, Caller, call, {py_context, _, Args}} -> lists:last(Args) end.

options_are_checked(Config) ->
    Ctx = ?config(ctx, Config),
    ?assertEqual({error, {bad_option, {colour, red}}},
                 py_context:eval(Ctx, <<"1">>, #{}, #{colour => red})),
    ?assertEqual({error, {bad_option, {traceback, yes}}},
                 py_context:exec(Ctx, <<"1">>, #{traceback => yes})),
    ?assertEqual({error, {bad_option, {timeout, soon}}},
                 py_context:call(Ctx, math, sqrt, [1], #{}, #{timeout => soon})),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(Ctx, <<"here = 1">>, #{env => Env, timeout => 5000}),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"here">>, #{}, #{env => Env})),
    ?assertEqual({error, timeout},
                 py_context:exec(Ctx, <<"while True: pass">>, #{timeout => 10})).

%% What has no result has no say in what becomes of it.
what_results_become_is_checked(Config) ->
    Ctx = ?config(ctx, Config),
    Bad = fun(Value) -> {error, {bad_option, {result, Value}}} end,
    ?assertEqual(Bad(yes), py_context:eval(Ctx, <<"1">>, #{}, #{result => yes})),
    ?assertEqual(Bad(yes), py:eval(Ctx, <<"1">>, #{}, #{result => yes})),
    ?assertEqual(Bad(terms), py:stream_start(Ctx, builtins, range, [1], #{}, #{result => terms})),
    [begin
         ?assertEqual(Bad(Value), py_context:exec(Ctx, <<"1">>, #{result => Value})),
         ?assertEqual(Bad(Value), py:exec(Ctx, <<"1">>, #{result => Value}))
     end || Value <- [auto, term, object]].

%% ------------------------------------------------------------------ between contexts

workers_share_their_objects(Config) ->
    Ctx = ?config(ctx, Config),
    Other = new(worker),
    Thing = eval(Ctx, <<"{1, 2}">>),
    ?assertEqual({ok, 2}, py_context:call(Other, builtins, len, [Thing])),
    {ok, none} = py_context:call_method(Other, Thing, add, [3]),
    ?assertEqual({ok, [1, 2, 3]}, py_context:to_term(Thing)),
    ok = py_context:stop(Other).

an_object_of_another_interpreter_is_refused(Config) ->
    Ctx = ?config(ctx, Config),
    Thing = eval(Ctx, <<"{1, 2}">>),
    Others = [new(Mode) || {Mode, true} <- [{subinterp, py:subinterp_supported()},
                                            {subinterp, py:subinterp_supported()},
                                            {owngil, py:owngil_supported()}]],
    Wrong = {error, {wrong_context, object}},
    [begin
         ?assertEqual(Wrong, py_context:call(Other, builtins, len, [Thing])),
         ?assertEqual(Wrong, py_context:call_method(Other, Thing, pop, [])),
         Theirs = eval(Other, <<"{1}">>),
         ?assertEqual(Wrong, py_context:call(Ctx, builtins, len, [Theirs])),
         [?assertEqual(Wrong, py_context:call(Third, builtins, len, [Theirs]))
          || Third <- Others, Third =/= Other]
     end || Other <- Others],
    [ok = py_context:stop(Other) || Other <- Others].

numpy_arrays_become_nested_lists(_Config) ->
    test_helpers:with_numpy(fun(Vm) ->
        {ok, Ctx} = peer:call(Vm, py_context_sup, start_context, [numpy, worker]),
        ok = peer:call(Vm, py_context, exec, [Ctx, <<"import numpy as np">>]),
        Plain = fun(Source) ->
                    peer:call(Vm, erlang, apply, [fun() ->
                        {ok, Array} = py_context:eval(Ctx, Source),
                        py_context:to_term(Array)
                    end, []])
                end,
        ?assertEqual({ok, [[0, 1, 2], [3, 4, 5]]}, Plain(<<"np.arange(6).reshape(2, 3)">>)),
        ?assertEqual({ok, [1.5, nan]}, Plain(<<"np.array([1.5, float('nan')])">>)),
        ?assertEqual({ok, 7}, Plain(<<"np.array(7)">>)),
        Time = <<"2020-01-02T00:00:00.000000000">>,
        Rows = [{"np.array(['2020-01-02'], 'M8[D]')", [<<"2020-01-02">>]},
                {"np.array(['2020-01-02', 'NaT'], 'M8[ns]')", [Time, none]},
                {"np.array([['2020-01-02']], 'M8[ns]')", [[Time]]},
                {"np.array('2020-01-02', 'M8[ns]')", Time},
                {"np.datetime64('2020-01-02', 'ns')", Time},
                {"np.array(['20000-01-01'], 'M8[D]')", [<<"20000-01-01">>]},
                {"np.array(['2020-01'], 'M8[M]')", [<<"2020-01">>]}, {"np.datetime64('NaT')", none},
                {"np.zeros((0, 2), 'M8[ns]')", []},
                {"np.array([1, -1500, 'NaT'], 'm8[ms]')", [<<"PT0.001S">>, <<"-PT1.5S">>, none]},
                {"np.timedelta64(-3, 'D')", <<"-P3D">>}, {"np.timedelta64(3, '25s')", <<"PT75S">>},
                {"np.timedelta64(2, 'Y')", <<"P2Y">>},
                {"np.timedelta64(7, 'ns')", <<"PT0.000000007S">>},
                {"np.array([[1 + 2j, 3]], 'c8')", [[{1.0, 2.0}, {3.0, +0.0}]]},
                {"np.array(1j)", {+0.0, 1.0}}, {"np.complex64(float('inf'))", {infinity, +0.0}},
                {"np.array(['ab'])", [<<"ab">>]}, {"np.array([b'ab'])", [<<"ab">>]},
                {"np.zeros(1, 'V3')", [<<0, 0, 0>>]}, {"np.void(b'ab')", <<"ab">>},
                {"np.zeros(2, [('t', 'M8[ns]'), ('n', 'i4', (2,))])",
                 lists:duplicate(2, {<<"1970-01-01T00:00:00.000000000">>, [0, 0]})},
                {"np.zeros((1, 1), [('x', [('y', 'm8[D]')])])", [[{{<<"P0D">>}}]]},
                {"np.ma.masked_array(np.array(['2020-01-02'] * 2, 'M8[ns]'), mask=[0, 1])",
                 [Time, none]},
                {"np.array([np.datetime64('2020-01-02', 'ns'), {1}], dtype=object)", [Time, [1]]}],
        ?assertEqual([], [{Source, Got} || {Source, Expected} <- Rows,
                                           Got <- [Plain(list_to_binary(Source))],
                                           Got =/= {ok, Expected}])
    end).

%% ------------------------------------------------------------------ on another node

handles_of_a_remote_context_live_as_long_as_their_user(_Config) ->
    {ok, Vm, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    {ok, _} = erpc:call(Node, application, ensure_all_started, [py_context_router]),
    {ok, Ctx} = erpc:call(Node, py_context_sup, start_context, [remote, worker]),
    Parent = self(),
    {User, Monitor} = spawn_monitor(fun() ->
        {ok, [Set]} = py_context:eval(Ctx, <<"[{1, 2}]">>),
        {ok, none} = py_context:call_method(Ctx, Set, add, [3]),
        {ok, 3} = py_context:call(Ctx, builtins, len, [Set]),
        {ok, [1, 2, 3]} = py_context:to_term(Set),
        Parent ! {self(), maps:get(held_objects, py_context:info(Ctx))},
        receive {Parent, go} -> ok end
    end),
    receive {User, Held} -> ?assertEqual(1, Held) end,
    User ! {self(), go},
    receive {'DOWN', Monitor, process, User, Reason} -> ?assertEqual(normal, Reason) end,
    _ = eventually(fun() -> maps:get(held_objects, py_context:info(Ctx)) =:= 0 end),
    peer:stop(Vm).

handles_that_the_front_gave_live_as_long_as_their_user(_Config) ->
    {ok, Vm, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    {ok, _} = erpc:call(Node, application, ensure_all_started, [py_context_router]),
    {ok, Ctx} = erpc:call(Node, py_context_sup, start_context, [remote, worker]),
    User = ask(fun() ->
        {ok, [Set]} = py:eval(Ctx, <<"[{1, 2}]">>),
        %% The process that called for us there has no use for it.
        _ = erpc:call(Node, fun() -> [erlang:garbage_collect(Pid) || Pid <- processes()] end),
        {ok, none} = py:call_method(Set, add, [3]),
        {ok, 3} = py:call(Ctx, builtins, len, [Set]),
        py:to_term(Set)
    end),
    ?assertEqual({ok, [1, 2, 3]}, answer(User)),
    ?assertEqual([], leftovers(User)),
    _ = eventually(fun() -> maps:get(held_objects, py_context:info(Ctx)) =:= 0 end),
    peer:stop(Vm).

calls_about_a_remote_object_have_a_timeout(_Config) ->
    {ok, Vm, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    {ok, _} = erpc:call(Node, application, ensure_all_started, [py_context_router]),
    {ok, Ctx} = erpc:call(Node, py_context_sup, start_context, [remote, worker]),
    Array = eval(Ctx, <<"__import__('array').array('b', [1, 2])">>),
    [?assertMatch({ok, _}, Call()) || Call <- calls(Ctx, Array, #{timeout => 60_000})],
    Endless = eval(Ctx, <<"__import__('itertools').count()">>),
    ?assertEqual({error, timeout}, py_context:to_term(Endless, 10)),
    ?assertEqual({error, timeout}, py:to_term(Endless, 10)),
    ?assertEqual({error, {bad_option, {colour, red}}}, py:to_term(Endless, #{colour => red})),
    peer:stop(Vm).

%% In whichever place, and in either direction. References that stand for nothing cross as ever.
a_handle_of_another_node_is_no_argument(Config) ->
    Here = ?config(ctx, Config),
    {ok, Vm, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    {ok, _} = erpc:call(Node, application, ensure_all_started, [py_context_router]),
    {ok, There} = erpc:call(Node, py_context_sup, start_context, [remote, worker]),
    {ok, Foreign} = py_context:eval(There, <<"object()">>),
    {ok, Env} = py_context:create_local_env(There),
    {ok, Own} = py_context:eval(Here, <<"object()">>),
    ok = py:register_function(foreign, fun() -> Foreign end),
    Elsewhere = {error, {wrong_context, object}},
    [?assertEqual({N, Elsewhere}, {N, Use()})
     || {N, Use} <- [{args, fun() -> py_context:call(Here, builtins, str, [Foreign]) end},
                     {nested, fun() -> py_context:call(Here, builtins, str,
                                                       [#{a => [{1, Foreign}]}]) end},
                     {kwargs, fun() -> py_context:call(Here, builtins, dict, [],
                                                       #{a => Foreign}) end},
                     {locals, fun() -> py_context:eval(Here, <<"x">>, #{x => Foreign}) end},
                     {env, fun() -> py_context:call(Here, builtins, str, [Env]) end},
                     {front, fun() -> py:call(Here, builtins, str, [Foreign]) end},
                     {await, fun() -> py:await(py:spawn_call(Here, builtins, str, [Foreign])) end},
                     {there, fun() -> py_context:call(There, builtins, str, [Own]) end},
                     {front_there, fun() -> py:call(There, builtins, str, [[Own]]) end}]],
    ?assertMatch({error, {'TypeError', _}},
                 py_context:eval(Here, <<"__import__('erlang').foreign()">>)),
    %% Where it belongs.
    ?assertMatch({ok, <<"<object object", _/binary>>},
                 py_context:call(There, builtins, str, [Foreign])),
    [?assertEqual({ok, Ref}, py_context:eval(Ctx, <<"r">>, #{r => Ref}))
     || Ctx <- [Here, There],
        Ref <- [make_ref(), monitor(process, self()), alias(),
                erpc:call(Node, erlang, make_ref, []),
                erpc:call(Node, erlang, alias, [])]],
    ok = py:unregister_function(foreign),
    peer:stop(Vm).
