%% The whole conversion table, both ways, and every way of refusing: row by row, on a context.
%%
%% A case compares lists of rows that came out wrong with the empty list, so that a failure shows
%% all of them. What Python made of a term is asked of Python (`shown'), not concluded from what
%% comes back.
-module(convert_SUITE).

-export([all/0, groups/0, init_per_group/2, end_per_group/2]).
-export([init_per_testcase/2, end_per_testcase/2]).
-export([terms_become_the_documented_objects/1, objects_become_the_documented_terms/1,
         terms_survive_the_round_trip/1, integers_are_exact_at_any_size/1,
         integers_beyond_erlangs_limit_are_refused/1, subclasses_convert_as_their_base/1,
         floats_beyond_erlangs_cross_wherever_values_do/1, numpy_scalars_become_numbers/1,
         views_become_binaries/1, atoms_beyond_latin1_cross_both_ways/1]).
-export([terms_without_a_counterpart_are_refused_by_path/1,
         objects_without_a_counterpart_are_refused_by_path/1,
         keys_that_would_become_one_are_refused_both_ways/1,
         keys_that_python_cannot_hash_are_refused/1, atoms_are_never_minted/1,
         names_and_messages_mint_no_atoms/1, log/2,
         python_exceptions_on_the_way_are_passed_on/1]).
-export([depth_is_bounded_both_ways/1, conversions_that_nest_share_one_stack/1,
         nest_conversions/3, depth_is_bounded_on_small_stacks/1,
         flat_values_of_any_length_convert/1,
         large_maps_convert/1, oversized_tuples_are_refused/1, lists_of_mixed_numbers_convert/1,
         code_at_a_results_end_runs_before_the_reply/1,
         containers_that_change_meanwhile_are_refused/1]).
-export([pids_and_references_round_trip/1, remote_pids_and_references_round_trip/1,
         pids_and_references_compare_and_hash_as_in_erlang/1,
         references_outlive_their_process_heap/1, identities_cannot_be_forged/1,
         atom_objects_are_values/1, conversion_leaks_no_python_objects/1]).

%% The same cases for each mode that the linked Python has.
all() ->
    test_helpers:mode_groups().

groups() ->
    Each = [{group, values}, {group, refusals}, {group, size}, {group, identities}],
    test_helpers:in_each_mode(Each) ++
    [{values, [terms_become_the_documented_objects, objects_become_the_documented_terms,
               terms_survive_the_round_trip, integers_are_exact_at_any_size,
               integers_beyond_erlangs_limit_are_refused, subclasses_convert_as_their_base,
               numpy_scalars_become_numbers, views_become_binaries,
               floats_beyond_erlangs_cross_wherever_values_do,
               atoms_beyond_latin1_cross_both_ways]},
     {refusals, [terms_without_a_counterpart_are_refused_by_path,
                 objects_without_a_counterpart_are_refused_by_path,
                 keys_that_would_become_one_are_refused_both_ways,
                 keys_that_python_cannot_hash_are_refused, atoms_are_never_minted,
                 names_and_messages_mint_no_atoms,
                 python_exceptions_on_the_way_are_passed_on]},
     {size, [depth_is_bounded_both_ways, conversions_that_nest_share_one_stack,
             depth_is_bounded_on_small_stacks, flat_values_of_any_length_convert,
             large_maps_convert, oversized_tuples_are_refused, lists_of_mixed_numbers_convert,
             code_at_a_results_end_runs_before_the_reply,
             containers_that_change_meanwhile_are_refused]},
     {identities, [pids_and_references_round_trip, remote_pids_and_references_round_trip,
                   pids_and_references_compare_and_hash_as_in_erlang,
                   references_outlive_their_process_heap, identities_cannot_be_forged,
                   atom_objects_are_values, conversion_leaks_no_python_objects]}].

-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    ok = py_context:exec(Ctx, <<
        "import erlang\n"
        "def ident(x): return x\n"
        "def shown(x): return f'{type(x).__name__} {x!r}'\n">>),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, Config) ->
    py_context:stop(proplists:get_value(ctx, Config)).

%% ------------------------------------------------------------------ values

terms_become_the_documented_objects(Config) ->
    Long = lists:duplicate(255, $a),
    Rows = [{0, "int 0"}, {-1, "int -1"}, {-(1 bsl 64), "int -18446744073709551616"},
            {1.5, "float 1.5"}, {-0.0, "float -0.0"}, {1.0e308, "float 1e+308"},
            {true, "bool True"}, {false, "bool False"},
            {none, "NoneType None"}, {nil, "NoneType None"}, {undefined, "NoneType None"},
            {nan, "float nan"}, {infinity, "float inf"}, {neg_infinity, "float -inf"},
            {[nan, {infinity, [neg_infinity]}], "list [nan, (inf, [-inf])]"},
            {#{x => infinity}, "dict {'x': inf}"},
            %% As keys they are names; within a tuple that is a key they are values.
            {#{nan => nan}, "dict {'nan': nan}"}, {#{infinity => 1}, "dict {'infinity': 1}"},
            {#{neg_infinity => 1}, "dict {'neg_infinity': 1}"},
            {#{{infinity, 1} => 1}, "dict {(inf, 1): 1}"},
            {ok, "str 'ok'"}, {'', "str ''"}, {'a b', "str 'a b'"},
            {list_to_atom(Long), "str '" ++ Long ++ "'"},
            {<<"ab">>, "str 'ab'"}, {<<>>, "str ''"}, {<<"a", 0, "b">>, "str 'a\\x00b'"},
            {<<229, 165, 189>>, [$s, $t, $r, $\s, $', 16#597D, $']},
            {<<255, 0>>, "bytes b'\\xff\\x00'"},
            %% An encoded surrogate and an overlong NUL are not UTF-8.
            {<<16#ED, 16#A0, 16#80>>, "bytes b'\\xed\\xa0\\x80'"},
            {<<16#C0, 16#80>>, "bytes b'\\xc0\\x80'"},
            {{bytes, <<"ab">>}, "bytes b'ab'"}, {{bytes, <<>>}, "bytes b''"},
            {{bytes, "ab"}, "tuple ('bytes', [97, 98])"},
            {{bytes, <<"a">>, 1}, "tuple ('bytes', 'a', 1)"}, {{bytes}, "tuple ('bytes',)"},
            {"ab", "list [97, 98]"}, {[], "list []"}, {[[]], "list [[]]"},
            {{}, "tuple ()"}, {{1}, "tuple (1,)"}, {{1, {2}}, "tuple (1, (2,))"},
            {#{}, "dict {}"}, {#{a => 1}, "dict {'a': 1}"}, {#{1 => nil}, "dict {1: None}"},
            {#{{1, <<"x">>} => [true]}, "dict {(1, 'x'): [True]}"},
            {#{{bytes, <<"k">>} => {bytes, <<"v">>}}, "dict {b'k': b'v'}"}],
    [] = wrong([{T, {ok, unicode:characters_to_binary(Shown)}} || {T, Shown} <- Rows],
               fun(T) -> call(Config, shown, [T]) end).

objects_become_the_documented_terms(Config) ->
    Rows = [{"None", none}, {"True", true}, {"False", false},
            {"0", 0}, {"-2**63", -(1 bsl 63)}, {"2**63", 1 bsl 63},
            {"1.5", 1.5}, {"5e-324", 5.0e-324},
            {"float('nan')", nan}, {"float('inf')", infinity}, {"float('-inf')", neg_infinity},
            {"'ab'", <<"ab">>}, {"''", <<>>}, {"'a\\0b'", <<"a", 0, "b">>},
            {"'\\u597d'", <<229, 165, 189>>}, {"'\\U0001f600'", <<240, 159, 152, 128>>},
            {"b'ab'", <<"ab">>}, {"b'\\xff'", <<255>>}, {"b''", <<>>},
            {"bytearray(b'ab')", <<"ab">>}, {"bytearray()", <<>>},
            {"[]", []}, {"[1, [2]]", [1, [2]]}, {"()", {}}, {"(1,)", {1}}, {"(1, (2,))", {1, {2}}},
            {"{}", #{}}, {"{'a': {}}", #{<<"a">> => #{}}}, {"{None: 1}", #{none => 1}},
            {"{(1, 2): [3]}", #{{1, 2} => [3]}}, {"{1.5: 1, 2: 2}", #{1.5 => 1, 2 => 2}},
            {"erlang.Atom('ok')", ok}, {"erlang.Atom('')", ''},
            {"{erlang.Atom('ok'): 1, 'ok': 2}", #{ok => 1, <<"ok">> => 2}}],
    [] = wrong([{E, {ok, T}} || {E, T} <- Rows], fun(E) -> eval(Config, E) end).

terms_survive_the_round_trip(Config) ->
    Terms = [0, 1.5, -0.0, 5.0e-324, nan, infinity, neg_infinity, [1.0, nan, infinity, 2],
             {neg_infinity, #{<<"x">> => [infinity]}}, true, false, none,
             <<>>, <<"text">>, <<255, 254>>,
             <<0:80000>>, [], {}, #{}, [[[]]], {{{}}}, #{<<"a">> => #{<<"b">> => []}}, "string",
             [1, {2.5, [<<"x">>, #{{1} => [none, true]}]}],
             #{7 => a_is_text(), 1.5 => 3, {1, <<"x">>} => [], true => false, none => none}],
    [] = wrong([{T, {ok, T}} || T <- Terms], fun(T) -> call(Config, ident, [T]) end).

a_is_text() -> <<"a">>.

integers_are_exact_at_any_size(Config) ->
    %% Around every power of two where a representation changes: small, word, one-byte length.
    Edges = [(1 bsl Bits) + Off
             || Bits <- [7, 8, 15, 29, 30, 31, 32, 58, 59, 60, 62, 63, 64, 65, 127,
                                            128, 2039, 2040, 2041, 4096],
                                   Off <- [-1, 0, 1]],
    Long = [digits(N) || N <- [4299, 4300, 4301, 100_000]],
    All = Edges ++ Long,
    [] = wrong([{N, {ok, N}} || N <- All ++ [-N || N <- All]],
               fun(N) -> call(Config, ident, [N]) end),
    ok = py_context:exec(ctx(Config), <<"def hexed(n): return '%x' % n">>),
    [] = wrong([{N, {ok, hexed(N)}} || N <- All ++ [-N || N <- All]],
               fun(N) -> call(Config, hexed, [N]) end),
    [] = wrong([{N, {ok, N}} || N <- All ++ [-N || N <- All]],
               fun(N) -> eval(Config, ["int('", hexed(N), "', 16)"]) end).

hexed(N) when N < 0 -> <<"-", (hexed(-N))/binary>>;
hexed(N) -> string:lowercase(integer_to_binary(N, 16)).

digits(N) ->
    %% Not a power of anything, and the same at every run.
    binary_to_integer(binary:copy(<<"1234567">>, N div 7 + 1), 10) div pow10(N rem 7).

pow10(N) -> binary_to_integer(iolist_to_binary([$1 | lists:duplicate(7 - N, $0)])).

integers_beyond_erlangs_limit_are_refused(Config) ->
    {error, {unconvertible, <<"result[1]">>, What}} = eval(Config, "[0, 1 << 8 * 600_000_000]"),
    <<"int of 600000001 bytes: more than Erlang can hold">> = What.

subclasses_convert_as_their_base(Config) ->
    ok = py_context:exec(ctx(Config), <<
        "import enum, collections\n"
        "class Colour(enum.IntEnum):\n  RED = 5\n"
        "class Level(str, enum.Enum):\n  LOW = 'low'\n"
        "class Text(str): pass\n"
        "class Real(float): pass\n"
        "class Data(bytes): pass\n"
        "class Rows(list): pass\n"
        "class Table(dict): pass\n"
        "Point = collections.namedtuple('Point', 'x y')\n"
        %% What an instance says of itself is not asked: its value is what it is.
        "class Liar(int):\n"
        "  def __neg__(self): return 0\n"
        "  __index__ = __int__ = __abs__ = __neg__\n">>),
    Rows = [{"Colour.RED", 5}, {"Level.LOW", <<"low">>}, {"Text('x')", <<"x">>},
            {"Real(2.5)", 2.5}, {"Real('nan')", nan}, {"Data(b'x')", <<"x">>},
            {"Rows([1])", [1]}, {"Table(a=1)", #{<<"a">> => 1}}, {"Point(1, 2)", {1, 2}},
            {"collections.OrderedDict(a=1)", #{<<"a">> => 1}},
            {"collections.Counter('aab')", #{<<"a">> => 2, <<"b">> => 1}},
            {"Liar(7)", 7}, {"Liar(-2**70)", -(1 bsl 70)}],
    [] = wrong([{E, {ok, T}} || {E, T} <- Rows], fun(E) -> eval(Config, E) end).

numpy_scalars_become_numbers(_Config) ->
    test_helpers:with_numpy(fun(Vm) ->
        {ok, _} = peer:call(Vm, py_context_router, start, [], 60_000),
        Ctx = peer:call(Vm, py_context_router, get_context, [1]),
        Eval = fun(E) -> peer:call(Vm, py_context, eval, [Ctx, E], 60_000) end,
        ok = peer:call(Vm, py_context, exec, [Ctx, <<"import numpy as np">>], 60_000),
        Rows = [{"np.int64(5)", 5}, {"np.int8(-5)", -5}, {"np.uint64(2**64-1)", (1 bsl 64) - 1},
                {"np.float64(1.5)", 1.5}, {"np.float32(0.5)", 0.5}, {"np.float32('nan')", nan},
                {"np.float32('-inf')", neg_infinity}, {"np.bool_(True)", true},
                {"np.longdouble(2)", 2.0}, {"np.str_('x')", <<"x">>},
                {"{np.int8(1): np.float16(2)}", #{1 => 2.0}}],
        [] = wrong([{E, {ok, T}} || {E, T} <- Rows], Eval),
        {error, {unconvertible, <<"result">>, <<"longdouble that no float can hold">>}} =
            Eval("np.longdouble(1) / 3")
    end).

views_become_binaries(Config) ->
    Rows = [{"memoryview(b'abc')", <<"abc">>}, {"memoryview(b'')", <<>>},
            {"memoryview(b'abcdef')[::2]", <<"ace">>}, {"memoryview(b'abc')[::-1]", <<"cba">>},
            {"memoryview(bytearray(b'abc'))[1:]", <<"bc">>},
            {"memoryview(b'abcd').cast('B', (2, 2))", <<"abcd">>},
            {"memoryview(__import__('array').array('H', [258]))",
             <<258:16/native>>}],
    [] = wrong([{E, {ok, T}} || {E, T} <- Rows], fun(E) -> eval(Config, E) end).

%% `nan', `infinity' and `neg_infinity': as arguments, variables, items and messages, and in what
%% comes back. Names stay names.
floats_beyond_erlangs_cross_wherever_values_do(Config) ->
    Ctx = ctx(Config),
    All = [1.0, nan, infinity, neg_infinity],
    ok = py_context:exec(Ctx, <<
        "import math\n"
        "def kinds(*args, **given):\n"
        "  return [type(x).__name__ for x in (*args, *given.values())], sorted(given)\n"
        "def send(x): erlang.send(erlang.self(), ('sent', x))\n"
        "class Box:\n"
        "  def __init__(self, x): self.infinity = x\n">>),
    Floats = lists:duplicate(4, <<"float">>),
    {ok, {Floats, [<<"infinity">>, <<"nan">>]}} =
        py_context:call(Ctx, '__main__', kinds, [nan, infinity],
                        #{nan => neg_infinity, infinity => infinity}),
    {ok, true} = eval(Config, "math.isnan(nan) and infinity == math.inf",
                      #{nan => nan, infinity => infinity}),
    {ok, none} = call(Config, send, [All]),
    receive {<<"sent">>, All} -> ok end,
    {ok, Box} = call(Config, 'Box', [All]),
    {ok, All} = py_context:getattr(Ctx, Box, infinity),
    {ok, Items} = eval(Config, "iter(xs)", #{xs => All}),
    {ok, All} = py_context:to_term(Items),
    {ok, All} = py:stream(Ctx, builtins, iter, [All]),
    %% An `erlang.Atom' is an atom wherever it goes.
    {ok, infinity} = eval(Config, "erlang.Atom('infinity')").

atoms_beyond_latin1_cross_both_ways(Config) ->
    Atoms = [list_to_atom(Name) || Name <- [[16#E6], [16#65E5, 16#672C], [16#1F600],
                                            lists:duplicate(255, 16#65E5),
                                            lists:duplicate(255, 16#E6)]],
    [] = wrong([{A, {ok, atom_to_binary(A)}} || A <- Atoms],
               fun(A) -> call(Config, ident, [A]) end),
    ok = py_context:exec(ctx(Config), <<"def atom(name): return erlang.Atom(name)">>),
    [] = wrong([{A, {ok, A}} || A <- Atoms],
               fun(A) -> call(Config, atom, [atom_to_binary(A)]) end).

%% ------------------------------------------------------------------ refusals

terms_without_a_counterpart_are_refused_by_path(Config) ->
    Port = hd(erlang:ports()),
    Fun = fun() -> ok end,
    Bits = <<"bitstring of 3 bits">>,
    Rows = [{<<1:1>>, "", <<"bitstring of 1 bit">>}, {<<1:3>>, "", Bits},
            {<<1:17>>, "", <<"bitstring of 17 bits">>},
            {Fun, "", <<"fun">>}, {fun lists:map/2, "", <<"fun">>}, {Port, "", <<"port">>},
            {[1 | 2], "", <<"improper list">>}, {[1, [2 | <<>>]], "[1]", <<"improper list">>},
            {[1, {2, <<1:3>>}], "[1][1]", Bits},
            {#{x => [<<1:3>>]}, ".x[0]", Bits}, {#{<<"x_1">> => Port}, ".x_1", <<"port">>},
            {#{<<"a b">> => Fun}, "[<<\"a b\">>]", <<"fun">>}, {#{5 => Fun}, "[5]", <<"fun">>},
            {#{{a, b} => Fun}, "[{a,b}]", <<"fun">>},
            {#{<<1:3>> => 1}, ".key(<<1:3>>)", Bits},
            {#{{1, <<1:3>>} => 1}, ".key({1,<<1:3>>})[1]", Bits},
            {{bytes, <<1:3>>}, "[1]", Bits}],
    [] = wrong([{T, {error, {unconvertible, iolist_to_binary(["args[0]", Path]), What}}}
                || {T, Path, What} <- Rows],
               fun(T) -> call(Config, ident, [T]) end),
    {error, {unconvertible, <<"args[2].x">>, Bits}} =
        call(Config, ident, [1, 2, #{x => <<1:3>>}]).

objects_without_a_counterpart_are_refused_by_path(Config) ->
    Surrogate = <<"str with a lone surrogate">>,
    Rows = [{"'\\ud800'", "", Surrogate}, {"[1, {'x': 'a\\udfff'}]", "[1].x", Surrogate},
            {"{'\\ud800': 1}", ".key('\\ud800')", Surrogate},
            {"{'a b': '\\ud800'}", "['a b']", Surrogate}, {"{5: '\\ud800'}", "[5]", Surrogate},
            {"{(1, 2): '\\ud800'}", "[tuple]", Surrogate},
            {"('\\ud800',)", "[0]", Surrogate}],
    [] = wrong([{E, {error, {unconvertible, iolist_to_binary(["result", Path]), What}}}
                || {E, Path, What} <- Rows],
               fun(E) -> eval(Config, E) end).

keys_that_would_become_one_are_refused_both_ways(Config) ->
    Maps = [#{a => 1, <<"a">> => 2}, #{1 => 1, 1.0 => 2}, #{true => 1, 1 => 2},
            #{false => 1, 0.0 => 2}, #{none => 1, nil => 2}, #{nil => 1, undefined => 2},
            #{{1} => 1, {1.0} => 2},
            maps:from_list([{a, 1}, {<<"a">>, 2} | [{N, N} || N <- lists:seq(1, 100)]])],
    [] = [{M, Got} || M <- Maps, Got <- [call(Config, ident, [[M]])],
                      not is_collision(Got, <<"args[0][0]">>)],
    Dicts = [{"{'a': 1, b'a': 2}", "<<\"a\">>"},
             {"{None: 1, erlang.Atom('none'): 2}", "none"},
             {"{True: 1, erlang.Atom('true'): 2}", "true"},
             {"{float('nan'): 1, float('nan'): 2}", "nan"},
             {"{('a',): 1, (b'a',): 2}", "{<<\"a\">>}"},
             {"dict([(i, i) for i in range(40)] + [('a', 1), (b'a', 2)])", "<<\"a\">>"},
             {"dict([('a', 1), (b'a', 2)] + [(i, i) for i in range(31)])", "<<\"a\">>"},
             {"dict([('a', 1), (b'a', 2)] + [(i, i) for i in range(400)])", "<<\"a\">>"},
             {"dict([('a', 1)] + [(i, i) for i in range(400)] + [(b'a', 2)])", "<<\"a\">>"}],
    [] = wrong([{E, {error, {unconvertible, <<"result[0]">>, iolist_to_binary(
                    ["dict with two keys that are both ", Key, " in Erlang"])}}}
                || {E, Key} <- Dicts],
               fun(E) -> eval(Config, ["[", E, "]"]) end).

is_collision({error, {unconvertible, Path, <<"key that equals another one in Python">>}}, Root) ->
    string:prefix(Path, Root) =/= nomatch;
is_collision(_, _) ->
    false.

keys_that_python_cannot_hash_are_refused(Config) ->
    Rows = [{#{[1] => 1}, "[[1]]", "list"}, {#{#{} => 1}, "[#{}]", "dict"},
            {#{{[]} => 1}, "[{[]}]", "tuple with a list or dict in it"}],
    [] = wrong([{M, {error, {unconvertible, iolist_to_binary(["args[0]", Path]), iolist_to_binary(
                    [What, " as a key, which Python can't hash"])}}}
                || {M, Path, What} <- Rows],
               fun(M) -> call(Config, ident, [M]) end).

atoms_are_never_minted(Config) ->
    ok = py_context:exec(ctx(Config), <<
        "def unheard_of(prefix): return [erlang.Atom(f'{prefix} {i}') for i in range(3)]">>),
    Before = erlang:system_info(atom_count),
    [{error, {unconvertible, <<"result[0]">>, _}} = call(Config, unheard_of, [Prefix])
     || Prefix <- [<<"unheard of">>, <<230, 151, 165>>, <<195, 166>>]],
    {error, {unconvertible, <<"result[0]">>,
             <<"erlang.Atom(\"unheard of 0\"): no such atom exists">>}} =
        call(Config, unheard_of, [<<"unheard of">>]),
    {ok, _} = eval(Config, "['never seen before', {'nor this': b'or that'}]"),
    Before = erlang:system_info(atom_count).

%% Each way is gone once before the atoms are counted, because code that is loaded brings its own.
names_and_messages_mint_no_atoms(Config) ->
    ok = py:register_function(known_here, fun(X) -> X end),
    ok = py_context:exec(ctx(Config), <<
        "import logging\n"
        "def fail(name): raise type(name, (Exception,), {})(name)\n"
        "def fail_below(name): erlang.call('known_here', name, **{name: name})\n"
        "def send(name): erlang.send(erlang.self(), (name, {name: name}))\n"
        "def log(name): erlang.log('error', name, **{name: name})\n"
        "def log_as(name): logging.getLogger(name).error(name)\n"
        "def kwargs(**given): return given\n">>),
    Go = fun() -> [Way(unheard_of()) || Way <- ways_of_names(Config), _ <- [1, 2, 3]] end,
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{pid => self()}}),
    try
        _ = Go(),
        Before = erlang:system_info(atom_count),
        _ = Go(),
        Before = erlang:system_info(atom_count)
    after
        ok = logger:remove_handler(?MODULE),
        ok = py:unregister_function(known_here)
    end.

unheard_of() ->
    iolist_to_binary(io_lib:format("unheard_of_~b", [erlang:unique_integer([positive])])).

ways_of_names(Config) ->
    Ctx = ctx(Config),
    {ok, Object} = eval(Config, "logging.getLogger()"),
    %% From Python: as a class, a message, a key, what is called, or whom it is for.
    [fun(Name) -> {error, {Name, Name}} = call(Config, fail, [Name]) end,
     fun(Name) ->
         {error, {Name, Name, _}} = py:call(Ctx, '__main__', fail, [Name], #{traceback => true})
     end,
     fun(Name) ->
         {error, {'NameError', _}} = eval(Config, "erlang.call(name, name)", #{name => Name}) end,
     fun(Name) -> {error, {'AttributeError', _}} = eval(Config, ["erlang.", Name, "(1)"]) end,
     fun(Name) -> {error, {'TypeError', _}} = call(Config, fail_below, [Name]) end,
     fun(Name) -> {ok, Name} = eval(Config, "erlang.call('known_here', name)", #{name => Name}) end,
     fun(Name) ->
         {ok, none} = call(Config, send, [Name]),
         receive {Name, #{Name := Name}} -> ok end
     end,
     fun(Name) -> {error, {<<"erlang.ProcessError">>, _}} =
         eval(Config, "erlang.send(name, 1)", #{name => Name}) end,
     fun(Name) -> {ok, none} = eval(Config, "erlang.whereis(name)", #{name => Name}) end,
     fun(Name) ->
         {error, {'ValueError', _}} = eval(Config, "erlang.log(name, 1)", #{name => Name}) end,
     fun(Name) ->
         {ok, none} = call(Config, log, [Name]),
         receive {?MODULE, #{level := error, meta := #{Name := Name}}} -> ok end
     end,
     fun(Name) ->
         {ok, none} = call(Config, log_as, [Name]),
         receive {?MODULE, #{level := error, meta := #{logger := Name}}} -> ok end
     end,
     %% From Erlang: as a module, a function, a keyword, an attribute, a variable.
     fun(Name) -> {error, {'ModuleNotFoundError', _}} = py_context:call(Ctx, Name, Name, []) end,
     fun(Name) -> {error, {'AttributeError', _}} = py_context:call(Ctx, <<"math">>, Name, []) end,
     fun(Name) -> {error, _} = py:call(Name, Name, []) end,
     fun(Name) ->
         {ok, #{Name := 1}} = py_context:call(Ctx, '__main__', kwargs, [], #{Name => 1})
     end,
     fun(Name) -> {error, {'AttributeError', _}} = py_context:getattr(Ctx, Object, Name) end,
     fun(Name) -> {error, {'AttributeError', _}} = py:call_method(Object, Name, []) end,
     fun(Name) -> {ok, 1} = eval(Config, Name, #{Name => 1}) end].

%% The logger calls this.
log(#{meta := #{domain := [python]}} = Event, #{config := #{pid := Pid}}) ->
    Pid ! {?MODULE, Event},
    ok;
log(_Event, _Handler) ->
    ok.

python_exceptions_on_the_way_are_passed_on(Config) ->
    ok = py_context:exec(ctx(Config), <<
        "def released():\n  view = memoryview(b'x')\n  view.release()\n  return [view]">>),
    {error, {'ValueError', _}} = call(Config, released, []),
    %% And is not left behind for the next one.
    {ok, 1} = eval(Config, "1").

%% ------------------------------------------------------------------ size

depth_is_bounded_both_ways(Config) ->
    ok = py_context:exec(ctx(Config), <<
        "def nested(n, wrap):\n"
        "  value = wrap()\n"
        "  for _ in range(n - 1): value = wrap([value])\n"
        "  return value\n"
        "loop = []\n"
        "loop.append({'x': (loop,)})\n"
        "def lists(n): return nested(n, list)\n"
        "def tuples(n): return nested(n, tuple)\n">>),
    Limit = 1000,
    TooDeep = {error, {too_deep, Limit}},
    Wraps = [fun(T) -> [T] end, fun(T) -> {T} end, fun(T) -> #{k => T} end],
    [{ok, _} = call(Config, ident, [nested(Limit, 0, Wrap)]) || Wrap <- Wraps],
    [TooDeep = call(Config, ident, [nested(N, 0, Wrap)])
     || Wrap <- Wraps, N <- [Limit + 1, 1_000_000]],
    [{ok, _} = call(Config, F, [Limit]) || F <- [lists, tuples]],
    [TooDeep = call(Config, F, [N]) || F <- [lists, tuples], N <- [Limit + 1, 1_000_000]],
    TooDeep = eval(Config, "loop"),
    {ok, 1} = eval(Config, "1").

nested(0, T, _Wrap) -> T;
nested(N, T, Wrap) -> nested(N - 1, Wrap(T), Wrap).

%% A conversion runs Python code, which calls Erlang, which has the next value converted on the same
%% stack. In other VMs: a stack that is too small ends them.
conversions_that_nest_share_one_stack(Config) ->
    Mode = proplists:get_value(mode, Config),
    [begin
         {ok, Vm, _Node} = test_helpers:start_peer(#{connection => standard_io}),
         try
             ok = peer:call(Vm, application, load, [py_context_router]),
             [ok = peer:call(Vm, application, set_env, [py_context_router, Key, Value])
              || {Key, Value} <- Settings],
             {Outermost, Innermost} =
                 peer:call(Vm, ?MODULE, nest_conversions, [Mode, Depth, Levels], 60_000),
             {ok, Depth} = Outermost,
             {error, {too_deep, DepthLeft}} = Innermost,
             true = DepthLeft < Depth
         after
             peer:stop(Vm)
         end
     end || {Depth, Levels, Settings} <- [{980, 62, []},
                                          {3900, 190, [{max_depth, 4000}, {callback_depth, 200}]}]].

%% In the other VM: how deep the outermost value was, and what became of the innermost.
nest_conversions(Mode, Depth, Levels) ->
    Test = self(),
    {ok, Ctx} = py_context:new(#{mode => Mode}),
    ok = py:register_function(convert, fun(Value) ->
        Result = py_context:to_term(Value),
        Test ! {converted, Result},
        element(1, Result)
    end),
    ok = py_context:exec(Ctx, <<"
import erlang, sys
sys.setrecursionlimit(100_000)
class Outer:
    def __init__(self, depth, levels): self.depth, self.levels, self.done = depth, levels, False
    def __iter__(self): return self
    def __next__(self):
        if self.done: raise StopIteration
        self.done = True
        return self.item()
    def item(self):
        value = Inner(self.depth, self.levels)
        for _ in range(self.depth - 4): value = {0: value}
        return value
class Inner(Outer):
    def item(self):
        if self.levels: erlang.convert(Outer(self.depth, self.levels - 1))
        return 1
">>),
    {ok, Value} = py_context:call(Ctx, '__main__', 'Outer', [Depth, Levels]),
    {ok, Term} = py_context:to_term(Value),
    receive {converted, {error, _} = Innermost} -> {{ok, levels(Term)}, Innermost} end.

%% What has an iterator around it is a level more on the way here.
levels([Value]) -> 2 + levels(Value);
levels(#{0 := Value}) -> 1 + levels(Value);
levels(1) -> 0.

depth_is_bounded_on_small_stacks(Config) ->
    ok = py_context:exec(ctx(Config), <<"
import threading
def nested(depth):
    value = 1
    for _ in range(depth): value = {0: value}
    return value
def send(to, depths):
    for depth in depths:
        try: erlang.send(to, (depth, nested(depth)))
        except RecursionError: erlang.send(to, (depth, 'too deep'))
def send_from_thread(to, depths):
    before = threading.stack_size(160 << 10)
    try:
        thread = threading.Thread(target=send, args=(to, depths))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
">>),
    {ok, none} = call(Config, send_from_thread, [self(), [50, 1000]]),
    Shallow = nested(50, 1, fun(T) -> #{0 => T} end),
    receive {50, Shallow} -> ok end,
    receive {1000, <<"too deep">>} -> ok end.

flat_values_of_any_length_convert(Config) ->
    List = lists:seq(1, 1_000_000),
    {ok, List} = call(Config, ident, [List]),
    Tuple = list_to_tuple(List),
    {ok, Tuple} = call(Config, ident, [Tuple]),
    Binary = binary:copy(<<"0123456789abcdef">>, 1 bsl 20),
    {ok, Binary} = call(Config, ident, [Binary]),
    %% Common Test logs what a case returns: not that.
    ok.

large_maps_convert(Config) ->
    %% Around where the VM changes a map's shape, and where building one used to crash it.
    Sizes = [31, 32, 33, 127, 128, 129, 1000, 1 bsl 14, 1 bsl 14 + 1, 100_000],
    Maps = [maps:from_list([{Key(N), N} || N <- lists:seq(1, Size)])
            || Size <- Sizes, Key <- [fun(N) -> N end, fun integer_to_binary/1, fun(N) -> {N} end]],
    [] = wrong([{M, {ok, M}} || M <- Maps], fun(M) -> call(Config, ident, [M]) end),
    %% In every place and way that a result can come.
    Ctx = proplists:get_value(ctx, Config),
    [begin
         {ok, #{1 := M}} = call(Config, ident, [#{1 => M}]),
         {ok, [{ok, M}, {ok, M}]} = py_context:map(Ctx, copy, copy, [[M], [M]]),
         {ok, [{ok, M}]} = py:parallel([{copy, copy, [M]}]),
         {ok, M} = py:await(py:spawn_call(Ctx, copy, copy, [M]))
     end || M <- Maps, map_size(M) =:= 129 orelse map_size(M) =:= 1000],
    %% A value that changes the keys while it is converted.
    ok = py_context:exec(Ctx, <<"import collections\n"
                                "class Swap(collections.UserString):\n"
                                "  def __str__(self):\n"
                                "    swapped.pop('1', None); swapped[b'2'] = 2\n"
                                "    return 'x'\n"
                                "def swaps():\n"
                                "  global swapped\n"
                                "  swapped = {str(n): n or Swap('') for n in range(500)}\n"
                                "  return swapped\n">>),
    {error, {unconvertible, <<"result">>, _}} =
        py_context:call(Ctx, '__main__', swaps, [], #{}, #{result => term}),
    Nested = maps:from_list([{N, maps:from_list([{M, {[M]}} || M <- lists:seq(1, 40)])}
                             || N <- lists:seq(1, 40)]),
    {ok, [Nested, Nested]} = call(Config, ident, [[Nested, Nested]]),
    ok.

%% Neighbours in a list are taken to be of one type until they are not.
lists_of_mixed_numbers_convert(Config) ->
    Big = 1 bsl 64,
    Lists = [[1, 2.5, 3, Big, -Big, 4.5, <<"x">>, 5, [6, 7.5], 8.5, none, 9],
             [1 bsl 62, -(1 bsl 63), 1 bsl 63, 0.0, 1.0e308, 1, true, 2]],
    lists:foreach(fun(List) -> {ok, List} = call(Config, ident, [List]) end, Lists),
    {ok, [1, nan, 2.5, infinity, 3, neg_infinity, Big, 4.5]} =
        eval(Config, "[1, float('nan'), 2.5, float('inf'), 3, -float('inf'), 1 << 64, 4.5]"),
    ok.

%% Plain results are freed when the caller has its reply; not those whose end says something.
code_at_a_results_end_runs_before_the_reply(Config) ->
    ok = py_context:exec(proplists:get_value(ctx, Config), <<
        "class Last(str):\n"
        "    def __del__(self): erlang.send(self.to, 'freed')\n"
        "def last(to):\n"
        "    value = Last('x')\n"
        "    value.to = to\n"
        "    return [1, {'key': (value,)}]\n"
        "def too_deep(to):\n"
        "    deep = []\n"
        "    for _ in range(2000): deep = [deep]\n"
        "    return [deep, last(to)]\n">>),
    Freed = fun() -> receive <<"freed">> -> freed after 0 -> still_there end end,
    lists:foreach(fun(_) ->
        {ok, [1, #{<<"key">> := {<<"x">>}}]} = call(Config, last, [self()]),
        freed = Freed(),
        {error, {too_deep, _}} = call(Config, too_deep, [self()]),
        freed = Freed()
    end, lists:seq(1, 100)).

oversized_tuples_are_refused(Config) ->
    Most = 1 bsl 24 - 1,
    {ok, T} = eval(Config, ["(0,) * ", integer_to_list(Most)]),
    Most = tuple_size(T),
    {error, {unconvertible, <<"result">>, <<"tuple of 16777216 elements", _/binary>>}} =
        eval(Config, ["(0,) * ", integer_to_list(Most + 1)]).

%% Converting a numpy scalar runs Python code; a class by that name does as well as the real one.
containers_that_change_meanwhile_are_refused(Config) ->
    ok = py_context:exec(ctx(Config), <<
        "def scalar(change):\n"
        "  def index(self):\n"
        "    change()\n"
        "    return 7\n"
        "  return type('numpy.integer', (), {'__index__': index})()\n"
        "def in_list(change, others=3):\n"
        "  items = [str(x) for x in range(others)]\n"
        "  items.insert(1, scalar(lambda: change(items)))\n"
        "  return items\n"
        "def in_dict(change, others=3):\n"
        "  table = {str(x): str(x) for x in range(others)}\n"
        "  table['1'] = scalar(lambda: change(table))\n"
        "  return table\n">>),
    List = {error, {unconvertible, <<"result">>, <<"list that changed while it was converted">>}},
    Dict = {error, {unconvertible, <<"result">>, <<"dict that changed while it was converted">>}},
    Rows = [{"in_list(lambda l: None)", {ok, [<<"0">>, 7, <<"1">>, <<"2">>]}},
            {"in_list(lambda l: l.clear())", List}, {"in_list(lambda l: l.pop())", List},
            {"in_list(lambda l: l.append(1))", List},
            {"in_list(lambda l: l.extend(range(100000)))", List},
            {"in_dict(lambda d: None)",
             {ok, #{<<"0">> => <<"0">>, <<"1">> => 7, <<"2">> => <<"2">>}}},
            {"in_dict(lambda d: d.clear())", Dict}, {"in_dict(lambda d: d.pop('2'))", Dict},
            {"in_dict(lambda d: d.update({'3': 1}))", Dict},
            {"in_dict(lambda d: d.update({str(i): i for i in range(100000)}))", Dict},
            {"in_dict(lambda d: d.clear(), 1000)", Dict},
            %% The scalar itself goes away while it is being converted.
            {"in_list(lambda l: l.__setitem__(1, None))", {ok, [<<"0">>, 7, <<"1">>, <<"2">>]}},
            {"in_dict(lambda d: d.__setitem__('1', None))",
             {ok, #{<<"0">> => <<"0">>, <<"1">> => 7, <<"2">> => <<"2">>}}}],
    [] = wrong(Rows, fun(E) -> eval(Config, E) end).

%% ------------------------------------------------------------------ identities

pids_and_references_round_trip(Config) ->
    Terms = [self(), make_ref(), monitor(process, self()), [self(), {make_ref()}],
             #{self() => make_ref()}, #{make_ref() => self()}, alias()],
    [] = wrong([{T, {ok, T}} || T <- Terms], fun(T) -> call(Config, ident, [T]) end).

remote_pids_and_references_round_trip(Config) ->
    Terms = [remote_pid(), remote_ref(), [{remote_pid(), remote_ref()}], #{remote_ref() => 1}],
    [] = wrong([{T, {ok, T}} || T <- Terms], fun(T) -> call(Config, ident, [T]) end).

remote_pid() ->
    binary_to_term(<<131, 88, 119, 3, "a@b", 0, 0, 0, 77, 0, 0, 0, 1, 0, 0, 0, 9>>).

remote_ref() ->
    binary_to_term(<<131, 90, 0, 3, 119, 3, "a@b", 0, 0, 0, 5,
                     0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3>>).

pids_and_references_compare_and_hash_as_in_erlang(Config) ->
    ok = py_context:exec(ctx(Config), <<
        "def relate(a, b): return (a == b, a != b, a < b, a <= b, a > b, a >= b, len({a, b}))\n"
        "def alike(a, b): return a == b or hash(a) == hash(b)\n">>),
    Other = spawn(fun() -> ok end),
    Pairs = [{A, B} || Group <- [[self(), Other, remote_pid()],
                                 [make_ref(), make_ref(), remote_ref()]],
                       A <- Group, B <- Group],
    [] = wrong([{{A, B}, {ok, {A =:= B, A =/= B, A < B, A =< B, A > B, A >= B,
                               length(lists:usort([A, B]))}}} || {A, B} <- Pairs],
               fun({A, B}) -> call(Config, relate, [A, B]) end),
    {error, {'TypeError', _}} = call(Config, relate, [self(), make_ref()]),
    {ok, false} = call(Config, alike, [self(), <<"a">>]).

references_outlive_their_process_heap(Config) ->
    ok = py_context:exec(ctx(Config), <<"kept = []\ndef keep(x): kept.append(x)">>),
    Make = fun() -> [{make_ref(), remote_pid()} || _ <- lists:seq(1, 1000)] end,
    Keep = fun() ->
                   Refs = Make(),
                   {ok, none} = call(Config, keep, [Refs]),
                   exit({kept, Refs})
           end,
    {Pid, Monitor} = spawn_monitor(Keep),
    Refs = receive {'DOWN', Monitor, process, Pid, {kept, R}} -> R end,
    true = garbage_collect(),
    %% Whatever memory they came in is by now used for others of the same size.
    [{ok, Others} = call(Config, ident, [Others]) || _ <- lists:seq(1, 50), Others <- [Make()]],
    {ok, Refs} = eval(Config, "kept.pop()"),
    ok.

identities_cannot_be_forged(Config) ->
    ok = py_context:exec(ctx(Config), <<
        "import copy, pickle\n"
        "class Empty: pass\n"
        "def attempt(code, pid, ref):\n"
        "  try: exec(code, dict(globals(), pid=pid, ref=ref))\n"
        "  except Exception as error: return type(error).__name__\n">>),
    Rows = [{"erlang.Pid()", 'TypeError'}, {"erlang.Ref(1)", 'TypeError'},
            {"type(pid)()", 'TypeError'}, {"object.__new__(erlang.Pid)", 'TypeError'},
            {"object.__new__(erlang.Atom)", 'TypeError'},
            {"class Mine(erlang.Pid): pass", 'TypeError'},
            {"class Mine(erlang.Atom): pass", 'TypeError'},
            {"pid.x = 1", 'AttributeError'}, {"erlang.Pid.x = 1", 'TypeError'},
            {"Empty().__class__ = erlang.Pid", 'TypeError'},
            {"pid.__class__ = erlang.Ref", 'TypeError'},
            {"erlang._restore(1, b'junk')", 'ValueError'},
            {"erlang._restore(pid.__reduce__()[1][0], b'junk')", 'ValueError'},
            {"erlang._restore(pid.__reduce__()[1][0], b'\\x83a\\x01')", 'ValueError'}],
    [] = wrong([{Code, {ok, atom_to_binary(Error)}} || {Code, Error} <- Rows],
               fun(Code) -> call(Config, attempt, [list_to_binary(Code), self(), make_ref()]) end),
    {ok, <<"<erlang.Pid <0.", _/binary>>} = eval(Config, "repr(it)", #{it => self()}),
    Printed = list_to_binary(pid_to_list(self())),
    {ok, Printed} = eval(Config, "str(it)", #{it => self()}).

atom_objects_are_values(Config) ->
    Rows = [{"erlang.Atom('ok') == erlang.Atom('ok')", true},
            {"erlang.Atom('ok') != erlang.Atom('error')", true},
            {"erlang.Atom('ok') == 'ok'", false},
            {"erlang.Atom('a') < erlang.Atom('b')", true},
            {"len({erlang.Atom('ok'), erlang.Atom('ok'), 'ok'})", 2},
            {"erlang.Atom('ok').name", <<"ok">>}, {"str(erlang.Atom('ok'))", <<"ok">>},
            {"repr(erlang.Atom('ok'))", <<"erlang.Atom('ok')">>}],
    [] = wrong([{E, {ok, T}} || {E, T} <- Rows], fun(E) -> eval(Config, E) end),
    {error, {'TypeError', _}} = eval(Config, "erlang.Atom(1)"),
    {error, {'TypeError', _}} = eval(Config, "erlang.Atom()"),
    {error, {'ValueError', _}} = eval(Config, "erlang.Atom('a' * 256)"),
    {error, {'AttributeError', _}} = eval(Config, "setattr(erlang.Atom('a'), 'name', 'b')").

conversion_leaks_no_python_objects(Config) ->
    Good = [1, 1 bsl 100, -(1 bsl 3000), 1.5, <<"a">>, <<255>>, hello, {1, 2}, {bytes, <<"x">>},
            #{a => 1, b => [self(), make_ref(), remote_pid()]},
            maps:from_list([{N, N} || N <- lists:seq(1, 50)])],
    Bad = [#{a => [<<1:3>>]}, #{a => 1, <<"a">> => 2}, #{[1] => 2}, [1, [2 | 3]],
           {self(), make_ref(), <<1:3>>}, nested(1001, 0, fun(T) -> [T] end)],
    Refused = ["'\\ud800'", "[1, {'a': 1, b'a': 2}]", "[erlang.Atom('there is no such one')]",
               "dict([(i, i) for i in range(50)] + [('a', 1), (b'a', 2)])"],
    ok = py_context:exec(ctx(Config), <<
        "import gc, sys\n"
        "def count():\n"
        "  gc.collect()\n"
        "  return (sys.getallocatedblocks(),\n"
        "          *(sys.getrefcount(it) for it in (erlang.Atom, erlang.Pid, erlang.Ref)))\n">>),
    Rounds = fun(N) -> [round_of(Config, Good, Bad, Refused) || _ <- lists:seq(1, N)] end,
    _ = Rounds(200),
    {ok, Before} = call(Config, count, []),
    _ = Rounds(1000),
    {ok, After} = call(Config, count, []),
    %% 20 000 conversions; caches may come and go, a leak of one object each may not.
    true = abs(element(1, After) - element(1, Before)) < 500,
    true = erlang:delete_element(1, After) =:= erlang:delete_element(1, Before).

round_of(Config, Good, Bad, Refused) ->
    {ok, _} = call(Config, ident, [Good]),
    [{error, _} = call(Config, ident, [T]) || T <- Bad],
    [{error, _} = eval(Config, E) || E <- Refused],
    ok.

%% ------------------------------------------------------------------ helpers

ctx(Config) -> proplists:get_value(ctx, Config).

call(Config, Func, Args) -> py_context:call(ctx(Config), '__main__', Func, Args).

eval(Config, Source) -> py_context:eval(ctx(Config), iolist_to_binary(Source)).

eval(Config, Source, Locals) -> py_context:eval(ctx(Config), iolist_to_binary(Source), Locals).

%% The rows that came out wrong. `=:=' tells 1 from 1.0, and 0.0 from -0.0 on newer systems.
wrong(Rows, Fun) ->
    [{In, {expected, Expected}, {got, Got}}
     || {In, Expected} <- Rows, Got <- [Fun(In)], Got =/= Expected].
