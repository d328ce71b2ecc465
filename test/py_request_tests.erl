%% Requests, on their way to the native side.
-module(py_request_tests).

-include_lib("eunit/include/eunit.hrl").

%% Their names and values, in Erlang's header and in the Rust file that reads them.
the_flags_are_the_same_on_both_sides_test() ->
    Erlang = flags("src/base/py_request_flags.hrl", "define\\(FLAG_([A-Z_]+), ([0-9]+)\\)"),
    ?assertMatch([_ | _], Erlang),
    ?assertEqual(Erlang, flags("native/py_nif/src/request/flags.rs",
                               "const ([A-Z_]+): u32 = ([0-9]+);")).

flags(File, Pattern) ->
    {ok, Text} = file:read_file(filename:join(test_helpers:repository(), File)),
    {match, Flags} = re:run(Text, Pattern, [global, {capture, all_but_first, binary}]),
    lists:sort([{Name, binary_to_integer(Bit)} || [Name, Bit] <- Flags]).
