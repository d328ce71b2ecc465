%% Bytes that cross without a copy, arrays, and what becomes of memory that both sides use. Once per
%% mode that the linked Python has; numpy in a worker.
-module(buffers_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [eventually/1]).

all() ->
    test_helpers:mode_groups()
    ++ [large_terms_are_copied_on_dirty_schedulers, small_terms_are_copied_where_they_are,
        copies_are_charged, a_caller_that_is_killed_as_its_term_is_copied_leaves_nothing,
        numpy_arrays_cross_both_ways, element_types_come_back, numpy_is_needed_for_arrays].

groups() ->
    test_helpers:in_each_mode(each_mode()).

each_mode() ->
    [a_buffer_is_bytes_like,
     a_buffer_cannot_be_written_to,
     a_buffer_shares_the_binarys_memory,
     a_buffer_comes_back_as_the_binary,
     a_buffer_keeps_its_binary,
     large_bytes_are_shared,
     a_subclass_of_bytes_is_its_bytes,
     a_bytearray_that_others_have_is_copied,
     views_are_shared_where_nothing_can_change,
     strided_views_are_put_in_order,
     shared_bytes_outlive_their_context,
     shared_bytes_are_freed_in_the_end,
     memory_of_objects_is_described,
     what_has_no_memory_is_refused,
     a_large_value_holds_no_scheduler_up].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config, worker)}),
    %% Where the bytes of an object are, by Python's own account. In CPython 3.12 ctypes refuses
    %% to be imported where there is a GIL of its own.
    HasCtypes = py_context:exec(Ctx, <<"import ctypes\n"
                                "def address(x):\n"
                                "  class View(ctypes.Structure):\n"
                                "    _fields_ = [('buf', ctypes.c_void_p), ('rest', ctypes.c_char "
                                "* 200)]\n"
                                "  view = View()\n"
                                "  get = ctypes.pythonapi.PyObject_GetBuffer\n"
                                "  get.argtypes = [ctypes.py_object, ctypes.c_void_p, "
                                "ctypes.c_int]\n"
                                "  get(x, ctypes.addressof(view), 0)\n"
                                "  found = view.buf\n"
                                "  ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))\n"
                                "  return found\n">>) =:= ok,
    ?assert(HasCtypes orelse proplists:get_value(mode, Config) =:= owngil),
    [{ctx, Ctx}, {has_ctypes, HasCtypes} | Config].

end_per_testcase(_Case, Config) ->
    py_context:stop(?config(ctx, Config)).

large() ->
    << <<(N rem 251)>> || N <- lists:seq(1, 200_000) >>.

eval(Ctx, Source, Locals) ->
    {ok, Value} = py_context:eval(Ctx, Source, Locals),
    Value.

%% The address of an object's bytes; the same for all where nothing can tell it.
address(Source, Config) when is_binary(Source) ->
    address(none, Source, Config);
address({buffer, _} = Buffer, Config) ->
    address(Buffer, <<"b">>, Config).

address(Value, Source, Config) ->
    case ?config(has_ctypes, Config) of
        true -> eval(?config(ctx, Config), <<"address(", Source/binary, ")">>, #{b => Value});
        false -> 0
    end.

%% How far apart two addresses then seem less than they are.
moved(Bytes, Config) ->
    case ?config(has_ctypes, Config) of
        true -> 0;
        false -> Bytes
    end.

%% ------------------------------------------------------------------ in

a_buffer_is_bytes_like(Config) ->
    Ctx = ?config(ctx, Config),
    Rows = [{"type(b).__name__", <<"Buffer">>}, {"len(b)", 3}, {"bytes(b)", <<1, 2, 255>>},
            {"memoryview(b)[2]", 255}, {"bytes(memoryview(b)[1:])", <<2, 255>>},
            {"__import__('zlib').crc32(b)", erlang:crc32(<<1, 2, 255>>)},
            {"int.from_bytes(b, 'big')", 16#0102ff}, {"isinstance(b, bytes)", false},
            {"b''.join([b, b])", <<1, 2, 255, 1, 2, 255>>}],
    ?assertEqual([], [{Source, Got}
                      || {Source, Value} <- Rows,
                         Got <- [py_context:eval(Ctx, Source, #{b => {buffer, <<1, 2, 255>>}})],
                         Got =/= {ok, Value}]),
    ?assertEqual({ok, 0}, py_context:eval(Ctx, <<"len(b)">>, #{b => {buffer, <<>>}})),
    %% What isn't a binary is a tuple as ever; a bitstring is refused.
    ?assertEqual({ok, {<<"buffer">>, [1]}}, py_context:eval(Ctx, <<"b">>, #{b => {buffer, [1]}})),
    ?assertMatch({error, {unconvertible, <<"locals.b", _/binary>>, _}},
                 py_context:eval(Ctx, <<"b">>, #{b => {buffer, <<1:3>>}})).

a_buffer_cannot_be_written_to(Config) ->
    Ctx = ?config(ctx, Config),
    Binary = large(),
    ?assertMatch({error, {'TypeError', _}},
                 py_context:eval(Ctx, <<"memoryview(b).__setitem__(0, 1)">>,
                                 #{b => {buffer, Binary}})),
    ?assertMatch({error, {'TypeError', _}}, py_context:eval(Ctx, <<"type(b)()">>,
                                                            #{b => {buffer, <<>>}})),
    ?assertEqual(large(), Binary).

a_buffer_shares_the_binarys_memory(Config) ->
    Ctx = ?config(ctx, Config),
    Binary = large(),
    Part = binary:part(Binary, 1000, 100_000),
    Where = address({buffer, Binary}, Config),
    ?assertEqual(Where, address({buffer, Binary}, Config)),
    ?assertEqual(Where + 1000, address({buffer, Part}, Config) + moved(1000, Config)),
    ?assertEqual({ok, Part}, py_context:eval(Ctx, <<"bytes(b)">>, #{b => {buffer, Part}})).

a_buffer_comes_back_as_the_binary(Config) ->
    Ctx = ?config(ctx, Config),
    Binary = large(),
    Back = eval(Ctx, <<"b">>, #{b => {buffer, Binary}}),
    ?assertEqual(Binary, Back),
    ?assertEqual(address({buffer, Binary}, Config), address({buffer, Back}, Config)),
    ?assertEqual([<<"a">>, <<>>], eval(Ctx, <<"[a, b]">>, #{a => {buffer, <<"a">>},
                                                            b => {buffer, <<>>}})).

a_buffer_keeps_its_binary(Config) ->
    Ctx = ?config(ctx, Config),
    {Pid, Monitor} = spawn_monitor(fun() ->
        ok = py_context:exec(Ctx, <<"kept = []\ndef keep(b): kept.append(b)">>),
        {ok, none} = py_context:call(Ctx, '__main__', keep, [{buffer, large()}]),
        {ok, none} = py_context:call(Ctx, '__main__', keep, [{buffer, <<"small">>}])
    end),
    receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
    _ = [binary:copy(<<N>>, 200_000) || N <- lists:seq(1, 50)],
    ?assertEqual({ok, [large(), <<"small">>]},
                 py_context:eval(Ctx, <<"[bytes(b) for b in kept]">>)).

%% ------------------------------------------------------------------ out

large_bytes_are_shared(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"data = bytes(range(250)) * 1000">>),
    {ok, Data} = py_context:eval(Ctx, <<"data">>),
    ?assertEqual(250_000, byte_size(Data)),
    ?assertEqual(address(<<"data">>, Config), address({buffer, Data}, Config)),
    {ok, [Inside]} = py_context:eval(Ctx, <<"[data]">>),
    ?assertEqual(address(<<"data">>, Config), address({buffer, Inside}, Config)),
    %% The object lives as long as the binary does.
    ok = py_context:exec(Ctx, <<"del data\nimport gc\ngc.collect()">>),
    ?assertEqual(binary:copy(list_to_binary(lists:seq(0, 249)), 1000), Data).

%% Whatever it says that its memory is, which it can from CPython 3.12 on.
a_subclass_of_bytes_is_its_bytes(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"class Other(bytes):\n"
                                "  def __buffer__(self, flags): return "
                                "memoryview(bytearray(200_000))">>),
    ?assertEqual({ok, binary:copy(<<"x">>, 200_000)},
                 py_context:eval(Ctx, <<"Other(b'x' * 200_000)">>)).

a_bytearray_that_others_have_is_copied(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"data = bytearray(100_000)">>),
    {ok, Data} = py_context:eval(Ctx, <<"data">>),
    {ok, [Inside]} = py_context:eval(Ctx, <<"[bytearray(100_000)]">>),
    %% Nothing but the tuples refers to these, and to the tuples others do.
    ok = py_context:exec(Ctx, <<"import collections\n"
                                "pair = (bytearray(100_000), 1)\n"
                                "named = collections.namedtuple('Named', "
                                "'data')(bytearray(100_000))">>),
    {ok, {InPair, 1}} = py_context:eval(Ctx, <<"pair">>),
    {ok, {InNamed}} = py_context:eval(Ctx, <<"named">>),
    ok = py_context:exec(Ctx, <<"for each in data, pair[0], named.data:\n"
                                "  each[:] = b'x' * 100_000\n"
                                "  each.append(1)">>),
    [?assertEqual(<<0:800_000>>, Each) || Each <- [Data, Inside, InPair, InNamed]],
    ?assertEqual({ok, <<0:800_000>>}, py_context:eval(Ctx, <<"bytearray(100_000)">>)).

views_are_shared_where_nothing_can_change(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"data = bytes(range(250)) * 1000\nview = memoryview(data)[10:]\n"
                                "other = bytearray(data)\n"
                                "loose = memoryview(other).toreadonly()">>),
    {ok, View} = py_context:eval(Ctx, <<"view">>),
    ?assertEqual(address(<<"data">>, Config) + 10,
                 address({buffer, View}, Config) + moved(10, Config)),
    {ok, Loose} = py_context:eval(Ctx, <<"loose">>),
    Before = binary:copy(Loose),
    ok = py_context:exec(Ctx, <<"other[0] = 77">>),
    ?assertEqual(Before, Loose).

strided_views_are_put_in_order(Config) ->
    Ctx = ?config(ctx, Config),
    ?assertEqual({ok, <<3, 2, 1>>}, py_context:eval(Ctx, <<"memoryview(b'\\1\\2\\3')[::-1]">>)),
    {ok, Large} = py_context:eval(Ctx, <<"memoryview(bytes(range(200)) * 1000)[::2]">>),
    ?assertEqual(binary:copy(list_to_binary(lists:seq(0, 198, 2)), 1000), Large).

shared_bytes_outlive_their_context(Config) ->
    {ok, Ctx} = py_context:new(#{mode => ?config(mode, Config)}),
    {ok, Data} = py_context:eval(Ctx, <<"b'ab' * 500_000">>),
    {ok, View} = py_context:eval(Ctx, <<"memoryview(b'cd' * 500_000)[2:]">>),
    ok = py_context:stop(Ctx),
    %% The interpreter of the context may be in use again by now.
    {ok, Next} = py_context:new(#{mode => ?config(mode, Config)}),
    {ok, _} = py_context:eval(Next, <<"len([b'xy' * 500_000 for _ in range(20)])">>),
    ?assertEqual(binary:copy(<<"ab">>, 500_000), Data),
    ?assertEqual(binary:copy(<<"cd">>, 499_999), View),
    ok = py_context:stop(Next).

shared_bytes_are_freed_in_the_end(Config) ->
    Before = test_helpers:rss_kb(),
    lists:foreach(fun(_) ->
        {Pid, Monitor} = spawn_monitor(fun() ->
            {ok, Ctx} = py_context:new(#{mode => ?config(mode, Config)}),
            {ok, Data} = py_context:eval(Ctx, <<"b'a' * 20_000_000">>),
            ok = py_context:stop(Ctx),
            $a = binary:last(Data)
        end),
        receive {'DOWN', Monitor, process, Pid, normal} -> ok end
    end, lists:seq(1, 20)),
    %% 400 MB have come and gone. A few are on their way.
    _ = eventually(fun() -> test_helpers:rss_kb() - Before < 100_000 end).

%% ------------------------------------------------------------------ arrays

memory_of_objects_is_described(Config) ->
    Ctx = ?config(ctx, Config),
    Memory = fun(Source) ->
                 {ok, Object} = py_context:eval(Ctx, Source),
                 py_context:to_buffer(Object)
             end,
    ?assertEqual({ok, #{dtype => <<"float64">>, shape => [2],
                        data => <<1.0/float-native, 2.5/float-native>>}},
                 Memory(<<"__import__('array').array('d', [1.0, 2.5])">>)),
    ?assertEqual({ok, #{dtype => <<"int16">>, shape => [1], data => <<7:16/native>>}},
                 Memory(<<"__import__('array').array('h', [7])">>)),
    _ = [?assertEqual({ok, #{dtype => <<"int32">>, shape => [2, 3], data => <<0:192>>}},
                      Memory(<<"((ctypes.c_int32 * 3) * 2)()">>)) || ?config(has_ctypes, Config)],
    %% Copied: what changes later makes no difference.
    ok = py_context:exec(Ctx, <<"import array\nlive = array.array('B', bytes(100_000))">>),
    {ok, Live} = py_context:eval(Ctx, <<"live">>),
    {ok, #{data := Copy}} = py_context:to_buffer(Live),
    {ok, #{data := Shared}} = py_context:to_buffer(Live, #{share => true}),
    ok = py_context:exec(Ctx, <<"live[0] = 9">>),
    ?assertEqual(0, binary:first(Copy)),
    ?assertEqual(9, binary:first(Shared)).

what_has_no_memory_is_refused(Config) ->
    Ctx = ?config(ctx, Config),
    {ok, Object} = py_context:eval(Ctx, <<"object()">>),
    ?assertMatch({error, {'TypeError', _}}, py_context:to_buffer(Object)),
    ?assertEqual({error, {bad_option, {share, yes}}},
                 py_context:to_buffer(Object, #{share => yes})),
    ?assertEqual({error, {bad_option, {wrong, 1}}}, py_context:to_buffer(Object, #{wrong => 1})).

%% The VM itself tells of processes that ran for a millisecond without a break. A busy machine may
%% make it take so long, so that several tries are granted; what needs so long never passes.
a_large_value_holds_no_scheduler_up(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"def echo(x): return [x]">>),
    Values = [lists:seq(1, 50_000), [N * 1.5 || N <- lists:seq(1, 25_000)],
              maps:from_list([{integer_to_binary(N), N} || N <- lists:seq(1, 10_000)]),
              binary:copy(<<1>>, 16_000_000), {buffer, binary:copy(<<255>>, 16_000_000)}],
    [_ = eventually(fun() -> long_schedules(Ctx, Value) =:= [] end) || Value <- Values].

long_schedules(Ctx, Value) ->
    {Caller, Monitor} = spawn_monitor(fun() ->
        receive go -> ok end,
        {ok, [_]} = py_context:call(Ctx, '__main__', echo, [Value])
    end),
    _ = erlang:system_monitor(self(), [{long_schedule, 1}]),
    Caller ! go,
    receive {'DOWN', Monitor, process, Caller, Reason} -> ?assertEqual(normal, Reason) end,
    _ = erlang:system_monitor(undefined),
    [Info || {monitor, Pid, long_schedule, Info} <- test_helpers:messages(), Pid =:= Caller].

%% By every function that copies a term: on no scheduler that others wait for.
large_terms_are_copied_on_dirty_schedulers(Config) ->
    Ctx = ?config(ctx, Config),
    Values = [lists:seq(1, 100_000), [N * 1.5 || N <- lists:seq(1, 50_000)],
              [{N, [<<"x">>], #{a => N}} || N <- lists:seq(1, 20_000)],
              maps:from_list([{N, N} || N <- lists:seq(1, 50_000)]),
              [(1 bsl 100) + N || N <- lists:seq(1, 5_000)],
              lists:foldl(fun(_, Inner) -> [Inner] end, [], lists:seq(1, 500)),
              list_to_tuple(lists:seq(1, 50_000))],
    [begin
         ?assertEqual({Function, dirty}, {Function, copied_on(Function, Request, Ctx)}),
         ok
     end || Value <- Values, {Function, Request} <- copying(Value)],
    ok = py:register_function(give, fun() -> hd(Values) end),
    Answers = [callback_answer, callback_answer_and_idle],
    Length = <<"len(__import__('erlang').give())">>,
    Give = fun() -> {ok, 100_000} = py_context:eval(Ctx, Length) end,
    ?assert(lists:any(fun({Function, _}) -> lists:member(Function, Answers) end, dirty_runs(Give))),
    ok = py:unregister_function(give),
    %% What can't cross is refused as ever.
    ?assertMatch({error, {unconvertible, <<"args[0]">>, <<"fun">>}},
                 py_context:call(Ctx, builtins, len, [fun() -> Values end])).

small_terms_are_copied_where_they_are(Config) ->
    Ctx = ?config(ctx, Config),
    Values = [2.0, [], #{}, lists:seq(1, 5_000), <<0:1_000_000>>, [<<0:1_000_000>>],
              #{a => [1, 2.5, {none, <<"x">>}]}, [1 bsl 100]],
    [?assertEqual({Function, here}, {Function, copied_on(Function, Request, Ctx)})
     || Value <- Values, {Function, Request} <- copying(Value)],
    ok = py:register_function(give, fun() -> [1] end),
    Give = fun() -> {ok, 1} = py_context:eval(Ctx, <<"len(__import__('erlang').give())">>) end,
    ?assertEqual([], dirty_runs(Give)),
    ok = py:unregister_function(give).

%% Requests that have the value copied, by the function of py_nif that takes them.
copying(Value) ->
    [{Function, {call, make_ref(), 0, builtins, id, [Value], #{}, none}}
     || Function <- [submit_sync, submit, submit_next, submit_as_waiter, submit_async,
                     submit_cast]]
    ++ [{submit, {call, make_ref(), 0, builtins, dict, [], #{x => Value}, none}},
        {submit, {eval, make_ref(), 0, <<"x">>, #{x => Value}, none}}].

copied_on(Function, Request, Ctx) ->
    Submit = fun() ->
                 _ = submitted(Function, Ctx, Request),
                 %% The jobs of one caller are done one after the other.
                 {ok, 1} = py_context:eval(Ctx, <<"1">>)
             end,
    case dirty_runs(Submit) of
        [] -> here;
        Runs -> [] = [Other || {Other, _} <- Runs, Other =/= Function], dirty
    end.

submitted(submit_cast, Ctx, Request) -> py_nif:submit_cast(Ctx, Request, py_async);
submitted(submit_sync, Ctx, Request) -> py_nif:submit_sync(Ctx, Request, infinity);
submitted(Function, Ctx, Request) -> py_nif:Function(Ctx, Request).

%% The functions of py_nif that a fun runs on dirty schedulers, as the VM's trace tells.
dirty_runs(Fun) ->
    Schedulers = erlang:system_info(schedulers),
    {Runner, Monitor} = spawn_monitor(fun() -> receive go -> Fun() end end),
    _ = erlang:trace(existing_processes, true, [running, scheduler_id]),
    Runner ! go,
    receive {'DOWN', Monitor, process, Runner, Reason} -> ?assertEqual(normal, Reason) end,
    _ = erlang:trace(existing_processes, false, [running, scheduler_id]),
    Delivered = erlang:trace_delivered(all),
    receive {trace_delivered, all, Delivered} -> ok end,
    [{Function, Arity} || {trace, _, in, {py_nif, Function, Arity}, Id} <- test_helpers:messages(),
                          Id =:= 0 orelse Id > Schedulers].

%% More for more.
copies_are_charged(Config) ->
    Ctx = ?config(ctx, Config),
    Charged = fun(Length) ->
                  Request = {call, make_ref(), 0, builtins, id, [lists:seq(1, Length)], #{}, none},
                  {reductions, Before} = process_info(self(), reductions),
                  Seq = py_nif:submit(Ctx, Request),
                  {reductions, After} = process_info(self(), reductions),
                  ?assert(is_integer(Seq)),
                  After - Before
              end,
    [One, Thousand, Thousands] = [Charged(Length) || Length <- [1, 1_000, 8_000]],
    ?assert(One + 50 < Thousand),
    ?assert(Thousand + 500 < Thousands).

a_caller_that_is_killed_as_its_term_is_copied_leaves_nothing(Config) ->
    Ctx = ?config(ctx, Config),
    Value = lists:seq(1, 300_000),
    [begin
         Call = fun() -> py_context:call(Ctx, builtins, len, [Value]) end,
         {Caller, Monitor} = spawn_monitor(Call),
         _ = [erlang:yield() || _ <- lists:seq(1, Turns)],
         exit(Caller, kill),
         receive {'DOWN', Monitor, process, Caller, _} -> ok end
     end || Turns <- lists:seq(0, 60, 3)],
    ?assertEqual({ok, 300_000}, py_context:call(Ctx, builtins, len, [Value])),
    ?assertMatch(#{queue := 0}, py_context:info(Ctx)).

numpy_arrays_cross_both_ways(_Config) ->
    test_helpers:with_numpy(fun(Vm) ->
        Check = fun() ->
            {ok, Ctx} = py_context:new(#{}),
            ok = py_context:exec(Ctx, <<
                "import numpy as np\n"
                "def describe(a):\n"
                "  return type(a).__name__, a.dtype.name, list(a.shape), a.flags.writeable, "
                "a.tolist()\n"
                "def mean(a): return float(a.mean())\n">>),
            Data = << <<(N / 1):64/float-little>> || N <- lists:seq(0, 5) >>,
            Array = {ndarray, float64, [2, 3], Data},
            {ok, {<<"ndarray">>, <<"float64">>, [2, 3], false,
                  [[+0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]}} =
                py_context:call(Ctx, '__main__', describe, [Array]),
            {ok, {_, <<"uint8">>, [4], false, [1, 2, 3, 4]}} =
                py_context:call(Ctx, '__main__', describe,
                                [{ndarray, <<"u1">>, {4}, <<1, 2, 3, 4>>}]),
            %% Too few bytes, too many, no such type, no shape.
            {error, {'TypeError', _}} =
                py_context:call(Ctx, '__main__', describe, [{ndarray, float64, [3, 3], Data}]),
            {error, {unconvertible, <<"args[0]">>, <<"binary of 48 bytes for an array of 32">>}} =
                py_context:call(Ctx, '__main__', describe, [{ndarray, float64, [2, 2], Data}]),
            {error, {'TypeError', _}} =
                py_context:call(Ctx, '__main__', describe, [{ndarray, no_such, [6], Data}]),
            {ok, Doubled} = py_context:eval(Ctx, <<"a * 2">>, #{a => Array}),
            true = py_context:is_ref(Doubled),
            {ok, #{dtype := <<"float64">>, shape := [2, 3], data := Twice}} =
                py_context:to_buffer(Doubled),
            [+0.0, 2.0, 4.0, 6.0, 8.0, 10.0] = [F || <<F:64/float-little>> <= Twice],
            {ok, Swapped} = py_context:eval(Ctx, <<"np.arange(3, dtype='>i2')">>),
            {ok, #{dtype := <<">i2">>, data := <<0, 0, 0, 1, 0, 2>>}} =
                py_context:to_buffer(Swapped),
            {ok, Turned} = py_context:eval(Ctx, <<"np.arange(6, dtype='i1').reshape(2, 3).T">>),
            {ok, #{shape := [3, 2], data := <<0, 3, 1, 4, 2, 5>>}} = py_context:to_buffer(Turned),
            {ok, Flag} = py_context:eval(Ctx, <<"np.array([True, False])">>),
            {ok, #{dtype := <<"bool">>, data := <<1, 0>>}} = py_context:to_buffer(Flag),
            %% What consists of Python objects is not made of bytes, and no bytes are made of it.
            [{error, {unconvertible, <<"args[0]">>, <<"array of Python objects">>}} =
                 py_context:call(Ctx, '__main__', describe, [{ndarray, DType, [1], <<1:64>>}])
             || DType <- [<<"O">>, object, [{<<"x">>, <<"O">>}],
                          [{<<"x">>, <<"i4">>}, {<<"y">>, <<"O">>}]]],
            [begin
                 {ok, Objects} = py_context:eval(Ctx, Source),
                 {error, {unconvertible, <<"object">>, <<"memory that holds Python objects">>}} =
                     py_context:to_buffer(Objects),
                 {error, {unconvertible, <<"object">>, _}} =
                     py_context:to_buffer(Objects, #{share => true}),
                 {error, {unconvertible, <<"result">>, _}} =
                     py_context:eval(Ctx, <<"memoryview(a)">>, #{a => Objects})
             end || Source <- [<<"np.array(['a', 2], dtype=object)">>,
                               <<"np.zeros(2, dtype=[('n', 'i4'), ('o', 'O')])">>]],
            {ok, Named} = py_context:eval(Ctx, <<"np.zeros(2, dtype=[('OO', 'i4')])">>),
            {ok, #{shape := [2]}} = py_context:to_buffer(Named),
            %% A million numbers there, used, and their own memory back.
            Big = binary:copy(<<1.5:64/float-little>>, 1_000_000),
            {ok, 1.5} = py_context:call(Ctx, '__main__', mean,
                                        [{ndarray, float64, [1_000_000], Big}]),
            {ok, Same} =
                py_context:eval(Ctx, <<"a">>, #{a => {ndarray, float64, [1000, 1000], Big}}),
            {ok, #{data := Big, shape := [1000, 1000]}} = py_context:to_buffer(Same),
            ok
        end,
        ?assertEqual(ok, peer:call(Vm, erlang, apply, [Check, []], 60_000))
    end).

%% What `to_buffer' says of an array's memory makes the same array again.
element_types_come_back(_Config) ->
    test_helpers:with_numpy(fun(Vm) ->
        Check = fun() ->
            {ok, Ctx} = py_context:new(#{}),
            ok = py_context:exec(Ctx, <<
                "import numpy as np, warnings\n"
                "warnings.simplefilter('ignore')\n"
                "def same(a, b):\n"
                "  alike = a.dtype == b.dtype and a.shape == b.shape\n"
                "  return alike and a.tobytes() == b.tobytes()\n"
                "def filled(dtype, shape):\n"
                "  dtype = np.dtype(dtype)\n"
                "  count = int(np.prod(shape)) * dtype.itemsize\n"
                "  memory = (np.arange(count) % 60).astype('u1')\n"
                "  if dtype.kind == 'U' or dtype.names: memory[:] = 0\n"
                "  return memory.view(dtype).reshape(shape)\n"
                "def ones(dtype, shape): return np.ones(shape, dtype)\n"
                "inner = [('u', '>U2'), ('f', '<f4', (2,))]\n"
                "nested = np.dtype([('t', 'M8[ns]'), ('s', inner)])\n"
                "live = np.zeros(20_000, 'M8[s]')\n">>),
            Simple = [{"'U2'", <<"<U2">>}, {"'S2'", <<"|S2">>}, {"'V12'", <<"|V12">>},
                      {"'M8[ns]'", <<"datetime64[ns]">>}, {"'M8[D]'", <<"datetime64[D]">>},
                      {"'m8[25s]'", <<"timedelta64[25s]">>}, {"'>M8[us]'", <<">M8[us]">>},
                      {"'>i2'", <<">i2">>}, {"'f4'", <<"float32">>}, {"'c16'", <<"complex128">>},
                      {"'?'", <<"bool">>}, {"'longlong'", <<"int64">>}],
            Structures = ["[('a', 'i1'), ('b', 'f8')]", "nested",
                          "np.dtype([('a', 'i1'), ('b', 'f8')], align=True)",
                          "{'names': ['x', 'y'], 'formats': ['u2', 'u1'],"
                          " 'offsets': [0, 1], 'itemsize': 4}"],
            There = fun(Source) ->
                        {ok, Array} = py_context:eval(Ctx, Source),
                        {ok, #{dtype := DType, shape := Shape, data := Data}} =
                            py_context:to_buffer(Array),
                        {ok, true} = py_context:call(Ctx, '__main__', same,
                                                     [Array, {ndarray, DType, Shape, Data}]),
                        DType
                    end,
            [begin
                 Name = There(["filled(", DType, ", (2, 3))"]),
                 %% Neither in one piece nor an array.
                 Name = There(["filled(", DType, ", (2, 3)).T"]),
                 Name = There(["np.zeros((), ", DType, ")"])
             end || {DType, Name} <- Simple],
            [#{<<"names">> := _, <<"formats">> := _, <<"offsets">> := _, <<"itemsize">> := _} =
                 There([Made, "(", DType, ", (2, 3))"])
             || DType <- Structures, Made <- ["filled", "ones"]],
            {ok, Day} = py_context:eval(Ctx, <<"np.datetime64('1970-01-02', 'D')">>),
            {ok, #{dtype := <<"datetime64[D]">>, shape := [], data := <<1:64/little>>}} =
                py_context:to_buffer(Day),
            %% Shared, not copied, where it is large and asked for.
            {ok, Live} = py_context:eval(Ctx, <<"live">>),
            {ok, #{data := Shared}} = py_context:to_buffer(Live, #{share => true}),
            {ok, #{data := Copy}} = py_context:to_buffer(Live),
            ok = py_context:exec(Ctx, <<"live[0] = np.datetime64(7, 's')">>),
            {<<7, 0>>, <<0, 0>>} = {binary:part(Shared, 0, 2), binary:part(Copy, 0, 2)},
            %% What numpy knows no description of is refused, and what it doesn't know isn't
            %% guessed.
            {ok, Titled} = py_context:eval(Ctx, <<"np.zeros(1, [(('title', 'a'), 'i4')])">>),
            {error, {unconvertible, <<"object">>, _}} = py_context:to_buffer(Titled),
            [{error, {'TypeError', _}} =
                 py_context:eval(Ctx, <<"a">>, #{a => {ndarray, DType, [1], <<0:64>>}})
             || DType <- [<<"str64">>, <<"T{i:a:f:b:}">>, no_such]],
            ok
        end,
        ?assertEqual(ok, peer:call(Vm, erlang, apply, [Check, []], 60_000))
    end).

numpy_is_needed_for_arrays(Config) ->
    Ctx = ?config(ctx, Config),
    case py_context:exec(Ctx, <<"import numpy">>) of
        ok ->
            {comment, "this Python has numpy"};
        {error, _} ->
            ?assertMatch({error, {'ModuleNotFoundError', _}},
                         py_context:eval(Ctx, <<"a">>, #{a => {ndarray, float64, [0], <<>>}}))
    end.
