%% -*- coding: utf-8 -*-
%% Properties of the conversion, against a model of the documented mapping.
%%
%% The model says, for any term, what comes back from Python's identity function, or that it is
%% refused. It is written from the documentation: from what Python calls equal and hashable, not
%% from what the code does.
-module(prop_convert).

-include_lib("proper/include/proper.hrl").

-export([prop_round_trip/1, prop_integers/1, prop_binaries/1, prop_refusal_names_the_place/1]).
-export([prop_python_values/1, python_model/0]).

%% Any term comes back as the documentation says, or is refused if it says so.
prop_round_trip(Ctx) ->
    ?FORALL(T, value(),
            begin
                Got = py_context:call(Ctx, '__main__', ident, [T]),
                Expected = model(T),
                ?WHENFAIL(io:format("~p~n  expected ~p~n  got ~p~n", [T, Expected, Got]),
                          agrees(Expected, Got))
            end).

%% Python reads the very number that Erlang wrote.
prop_integers(Ctx) ->
    ?FORALL(N, integer_of_any_size(),
            begin
                Hex = string:lowercase(integer_to_binary(abs(N), 16)),
                {ok, {Hex, N < 0}} =:= py_context:call(Ctx, '__main__', hex_and_sign, [N])
            end).

%% A binary is text exactly when it is UTF-8, and no byte is lost or changed either way.
prop_binaries(Ctx) ->
    ?FORALL(B, oneof([binary(), unicode_text(), almost_utf8()]),
            begin
                Kind = case is_utf8(B) of true -> <<"str">>; false -> <<"bytes">> end,
                Bytes = binary_to_list(B),
                {ok, {Kind, Bytes, B}} =:= py_context:call(Ctx, '__main__', kind_and_bytes, [B])
            end).

%% However deep something that can't cross is hidden, the error says where.
prop_refusal_names_the_place(Ctx) ->
    ?FORALL({Steps, {Culprit, What}}, {resize(12, list(step())), culprit()},
            begin
                T = lists:foldr(fun({Wrap, _}, Inner) -> Wrap(Inner) end, Culprit, Steps),
                Path = iolist_to_binary(["args[1]" | [Step || {_, Step} <- Steps]]),
                {error, {unconvertible, Path, What}}
                    =:= py_context:call(Ctx, '__main__', ident, [0, T])
            end).

%% Any value that Python makes comes back to it as the documentation says, or is refused if it says
%% so. Python makes it from the seed once more, and compares.
prop_python_values(Ctx) ->
    ?FORALL({Seed, Size}, {non_neg_integer(), range(0, 60)},
            begin
                Made = py_context:call(Ctx, '__main__', make, [Seed, Size]),
                Verdict = case Made of
                              {ok, Value} -> [Seed, Size, true, Value];
                              {error, {unconvertible, _, _}} -> [Seed, Size, false, none];
                              {error, _} -> [Seed, Size, other, none]
                          end,
                ?WHENFAIL(io:format("~p~n~p~n", [Made, py_context:call(Ctx, '__main__', shown,
                                                                       [Seed, Size])]),
                          {ok, true} =:= py_context:call(Ctx, '__main__', agrees, Verdict))
            end).

%% What Python needs for it: `make' is the generator, `back' the model.
python_model() -> <<"
import random

class Refused(Exception): pass

def make(seed, size):
    return value(random.Random(seed), size)

def value(r, size):
    kind = r.randrange(12 if size > 1 else 8)
    if kind >= 8:
        smaller = size // 3
        some = range(r.randrange(1 + size // 4 + 1))
        if kind == 8: return [value(r, smaller) for _ in some]
        if kind == 9: return tuple([value(r, smaller) for _ in some])
        return {key(r, smaller): value(r, smaller) for _ in some}
    if kind == 0: return r.choice([None, True, False])
    if kind == 1: return r.randrange(-300, 300)
    if kind == 2: return r.getrandbits(r.randrange(1, 3000)) * r.choice([1, -1])
    if kind == 3: return r.choice([0.0, -0.0, 1.5, 1e308, 5e-324, r.random(), r.gauss(0, 1e9),
                                   float('inf'), float('-inf'), float('nan')])
    if kind == 4: return text(r)
    if kind == 5: return bytes(r.randrange(256) for _ in range(r.randrange(6)))
    if kind == 6: return bytearray(r.choice([b'', b'ab', b'\\xff\\x00', b'\\xe5\\xa5\\xbd']))
    return memoryview(bytes(r.randrange(256) for _ in range(r.randrange(6))))

def text(r):
    if r.random() < 0.02: return 'a\\ud800'
    return ''.join(chr(r.choice([r.randrange(128), r.randrange(0xd800),
                                 r.randrange(0xe000, 0x110000)]))
                   for _ in range(r.randrange(6)))

def key(r, size):
    kind = r.randrange(6)
    if kind == 0: return r.choice([None, True, False, 'a', b'a', 1, 1.5, 'none', b'\\xff'])
    if kind == 1: return tuple([key(r, 0) for _ in range(r.randrange(3))])
    if kind == 2: return r.randrange(-5, 5)
    if kind == 3: return r.choice([r.random(), float('inf'), float('-inf')])
    if kind == 4: return bytes(r.randrange(256) for _ in range(r.randrange(3)))
    return text(r)

def back_key(x):
    if isinstance(x, float) and x in (float('inf'), float('-inf')):
        return 'infinity' if x > 0 else 'neg_infinity'
    return back(x)

def back(x):
    if isinstance(x, (bytes, bytearray, memoryview)):
        raw = bytes(x)
        try: return raw.decode()
        except UnicodeDecodeError: return raw
    if isinstance(x, str):
        try: x.encode()
        except UnicodeEncodeError: raise Refused
        return x
    if isinstance(x, list): return [back(e) for e in x]
    if isinstance(x, tuple): return tuple([back(e) for e in x])
    if isinstance(x, dict):
        d = {back_key(k): back(v) for k, v in x.items()}
        if len(d) != len(x): raise Refused
        return d
    return x

def same(a, b):
    if type(a) is not type(b): return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(k in b and same(v, b[k]) for k, v in a.items())
    return repr(a) == repr(b)

def agrees(seed, size, accepted, value):
    try: expected = back(make(seed, size))
    except Refused: return accepted is False
    return accepted is True and same(expected, value)

def shown(seed, size): return repr(make(seed, size))
">>.

%% ------------------------------------------------------------------ generators

value() -> ?SIZED(Size, value(Size)).

value(0) -> scalar();
value(Size) ->
    %% Fewer elements the deeper, or most of the time goes into values of a hundred thousand parts.
    Smaller = Size div 3,
    Elements = fun(Element) -> ?LAZY(resize(Smaller, list(Element))) end,
    frequency([{4, scalar()},
               {2, Elements(value(Smaller))},
               {2, ?LET(L, Elements(value(Smaller)), list_to_tuple(L))},
               {2, ?LET(L, Elements({key(Smaller), value(Smaller)}), maps:from_list(L))}]).

%% Keys are mostly of the kinds that are used, and a few that collide or can't be hashed.
key(Size) ->
    frequency([{6, scalar()},
               {2, oneof([0, 1, 0.0, 1.0, true, false, a, <<"a">>, {bytes, <<"a">>}])},
               {2, ?LAZY(?LET(L, resize(3, list(scalar())), list_to_tuple(L)))},
               {1, value(min(Size, 2))}]).

scalar() ->
    oneof([integer_of_any_size(), integer(), float(), binary(), unicode_text(), known_atom(),
           boolean(),
           {bytes, binary()}]).

integer_of_any_size() ->
    ?LET({Bits, Off, Sign}, {range(0, 5000), range(-3, 3), oneof([1, -1])},
         Sign * ((1 bsl Bits) + Off)).

%% Property tests must not fill the atom table: a few are enough.
known_atom() ->
    oneof([none, nil, undefined, ok, error, a, bytes, '', 'a b', nan, infinity, neg_infinity, 'æ',
           '日本', 'Elixir.String']).

unicode_text() ->
    ?LET(L, list(oneof([range(0, 127), range(128, 16#D7FF), range(16#E000, 16#10FFFF)])),
         unicode:characters_to_binary(L)).

%% UTF-8 with one byte gone or changed: what decoders get wrong.
almost_utf8() ->
    ?LET({Text, At, Byte}, {unicode_text(), non_neg_integer(), byte()},
         case byte_size(Text) of
             0 -> <<Byte>>;
             Size ->
                 Before = At rem Size,
                 <<Head:Before/binary, _, Tail/binary>> = Text,
                 <<Head/binary, Byte, Tail/binary>>
         end).

culprit() ->
    oneof([{<<5:3>>, <<"bitstring of 3 bits">>}, {<<1:9>>, <<"bitstring of 9 bits">>},
           {fun lists:map/2, <<"fun">>}, {[1 | 2], <<"improper list">>}]).

%% A way of wrapping something, and what it adds to the path.
step() ->
    oneof([?LET(N, range(0, 5), {fun(T) -> lists:duplicate(N, 0) ++ [T, 0] end, index(N)}),
           ?LET(N, range(0, 5),
                {fun(T) -> list_to_tuple(lists:duplicate(N, 0) ++ [T]) end, index(N)}),
           ?LET(K, oneof([x, <<"key">>, 'name_1']),
                {fun(T) -> #{K => T, <<"other">> => 0} end,
                 [$., if is_atom(K) -> atom_to_binary(K); true -> K end]}),
           ?LET(N, integer(), {fun(T) -> #{N => T} end, index(N)})]).

index(N) -> io_lib:format("[~b]", [N]).

%% ------------------------------------------------------------------ model

agrees(refused, {error, {unconvertible, Path, What}}) -> is_binary(Path) andalso is_binary(What);
agrees(Expected, Got) -> Expected =:= Got.

%% Atoms that stand for a float.
-define(IS_FLOAT(A), (A =:= nan orelse A =:= infinity orelse A =:= neg_infinity)).

model(T) ->
    try {ok, back(T)} catch throw:refused -> refused end.

back(nil) -> none;
back(undefined) -> none;
back(A) when is_boolean(A); A =:= none; ?IS_FLOAT(A) -> A;
back(A) when is_atom(A) -> atom_to_binary(A);
back({bytes, B}) when is_binary(B) -> B;
back(T) when is_tuple(T) -> list_to_tuple([back(E) || E <- tuple_to_list(T)]);
back(L) when is_list(L) -> [back(E) || E <- L];
back(M) when is_map(M) ->
    Pairs = maps:to_list(M),
    distinct([key_in_python(K) || {K, _} <- Pairs]),
    Back = [{back_key(K), back(V)} || {K, V} <- Pairs],
    distinct([K || {K, _} <- Back]),
    maps:from_list(Back);
back(Other) -> Other.

%% Where they are keys themselves they are names.
back_key(A) when ?IS_FLOAT(A) -> atom_to_binary(A);
back_key(K) -> back(K).

distinct(Keys) ->
    length(lists:usort(Keys)) =:= length(Keys) orelse throw(refused).

key_in_python(A) when ?IS_FLOAT(A) -> {str, atom_to_binary(A)};
key_in_python(K) -> in_python(K).

%% A key as Python tells it from others: numbers by value, text from bytes. Lists and dicts can't
%% be keys.
in_python(true) -> {number, 1};
in_python(false) -> {number, 0};
in_python(A) when A =:= none; A =:= nil; A =:= undefined -> none;
in_python(A) when ?IS_FLOAT(A) -> {number, A};
in_python(A) when is_atom(A) -> {str, atom_to_binary(A)};
in_python(I) when is_integer(I) -> {number, I};
in_python(F) when is_float(F), F == trunc(F) -> {number, trunc(F)};
in_python(F) when is_float(F) -> {number, F};
in_python({bytes, B}) when is_binary(B) -> {bytes, B};
in_python(B) when is_binary(B) ->
    case is_utf8(B) of true -> {str, B}; false -> {bytes, B} end;
in_python(T) when is_tuple(T) -> {tuple, [in_python(E) || E <- tuple_to_list(T)]};
in_python(_ListOrMap) -> throw(refused).

is_utf8(B) -> is_list(unicode:characters_to_list(B)).
