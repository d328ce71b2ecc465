%% Runs the PropEr properties, each as a case.
-module(property_SUITE).

-export([all/0]).
-export([converted_terms_come_back_as_documented/1, integers_are_read_exactly/1,
         binaries_are_text_exactly_when_utf8/1, refusals_name_the_place/1,
         python_values_come_back_as_documented/1]).

all() ->
    [converted_terms_come_back_as_documented, integers_are_read_exactly,
     binaries_are_text_exactly_when_utf8, refusals_name_the_place,
     python_values_come_back_as_documented].

converted_terms_come_back_as_documented(_Config) ->
    holds(fun prop_convert:prop_round_trip/1).

integers_are_read_exactly(_Config) ->
    holds(fun prop_convert:prop_integers/1).

binaries_are_text_exactly_when_utf8(_Config) ->
    holds(fun prop_convert:prop_binaries/1).

refusals_name_the_place(_Config) ->
    holds(fun prop_convert:prop_refusal_names_the_place/1).

python_values_come_back_as_documented(_Config) ->
    holds(fun prop_convert:prop_python_values/1).

holds(Property) ->
    {ok, Ctx} = py_context:new(#{mode => worker}),
    ok = py_context:exec(Ctx, <<
        "def ident(*args): return args[-1]\n"
        "def hex_and_sign(n): return ('%x' % abs(n), n < 0)\n"
        "def kind_and_bytes(x):\n"
        "  raw = x.encode() if isinstance(x, str) else x\n"
        "  return (type(x).__name__, list(raw), x)\n">>),
    ok = py_context:exec(Ctx, prop_convert:python_model()),
    Result = proper:quickcheck(Property(Ctx), [{numtests, 2000}, {to_file, user}]),
    ok = py_context:stop(Ctx),
    true = Result.
