%% How many instructions a short call takes, by parts: no more than 10 % above what is recorded.
%% Only where valgrind is installed, and for the versions of VM, Python and Rust that are recorded.
-module(instructions_SUITE).

-export([all/0, a_call_takes_no_more_instructions_than_recorded/1]).

all() ->
    [a_call_takes_no_more_instructions_than_recorded].

a_call_takes_no_more_instructions_than_recorded(_Config) ->
    Program = filename:join([test_helpers:repository(), "bin", "instructions"]),
    case test_helpers:run_program(Program, []) of
        {ok, Counts} -> {comment, string:trim(Counts)};
        %% It says why it can't count.
        {error, 2, Why} -> {comment, string:trim(Why)};
        {error, 1, More} -> ct:fail(binary_to_list(More))
    end.
