-module(py_error_tests).

-include_lib("eunit/include/eunit.hrl").

%% Every reason that a function of this application can give, and a part of its sentence.
reasons() ->
    [{timeout, "longer than its timeout"},
     {interrupted, "interrupted"},
     {panicked, "bug"},
     {{context_died, noproc}, "no such context"},
     {{context_died, killed}, "died: killed"},
     {{context_died, {boom, [1, <<"x">>]}}, "{boom,[1,<<\"x\">>]}"},
     {{overloaded, #{queue => 7, max_queue => 5}}, "7 calls waiting and takes no more than 5"},
     {{pool_not_started, io}, "no pool named io is started"},
     {{already_started, self()}, "the pool runs already: <"},
     {{already_started, #{contexts => 2}}, "already, with other options: #{contexts => 2}"},
     {{unconvertible, <<"args[2].x">>, <<"bitstring of 3 bits">>}, "args[2].x has no counterpart"},
     {{too_deep, 1000}, "deeper than 1000 levels"},
     {{wrong_context, environment}, "environment belongs to another context"},
     {{unsupported_mode, owngil, <<"needs 3.12">>}, "owngil is not available: needs 3.12"},
     {{bad_option, {contexts, 0}}, "option contexts can't be 0"},
     {{no_interpreter, <<"no memory">>}, "no memory"},
     {{python_not_found, [<<"/a">>, <<"/b">>]}, "tried /a, /b"},
     {{python_mismatch, #{python => <<"/p">>, version => <<"3.9.1">>, linked => <<"3.11.7">>}},
      "/p is Python 3.9.1, but the library is linked with 3.11.7"},
     {{python_already_running, undefined}, "runs already"},
     {{python_already_running, <<"/usr/bin/python3">>}, "as /usr/bin/python3"},
     {{python_failed, <<"no encodings">>}, "did not start: no encodings"},
     {{'ValueError', <<"math domain error">>}, "ValueError: math domain error"},
     {{<<"MyError">>, <<"Grüße"/utf8>>}, "MyError: Grüße"},
     {{something, [other]}, "{something,[other]}"}].

every_reason_is_a_sentence_test_() ->
    [{lists:flatten(io_lib:format("~0p", [Reason])),
      fun() ->
          Sentence = py_error:format(Reason),
          ?assert(is_binary(Sentence)),
          ?assertNotEqual(nomatch, string:find(Sentence, Part)),
          ?assertEqual(Sentence, py_error:format({error, Reason}))
      end} || {Reason, Part} <- reasons()].

a_sentence_is_one_line_test_() ->
    [?_assertEqual(nomatch, binary:match(py_error:format(Reason), <<"\n">>))
     || {Reason, _} <- reasons()].

a_badarg_is_explained_at_its_argument_test() ->
    ?assertEqual(#{2 => <<"not a pid">>},
                 py_error:format_error(badarg, stack({argument, 2, <<"not a pid">>}))).

a_badarg_can_be_about_no_argument_test() ->
    ?assertEqual(#{general => <<"no pool named io is started">>},
                 py_error:format_error(badarg, stack({pool_not_started, io}))).

an_error_of_somebody_else_is_not_explained_test() ->
    ?assertEqual(#{}, py_error:format_error(badmatch, [])).

log_events_render_test() ->
    {Format1, Args1} = py_error:report(#{event => {py_context, start_failed}, pool => io, slot => 2,
                                         reason => {'ValueError', <<"é"/utf8>>}}),
    Failed = lists:flatten(io_lib:format(Format1, Args1)),
    ?assertNotEqual(nomatch, string:find(Failed, "context 2 of pool io")),
    ?assertNotEqual(nomatch, string:find(Failed, "ValueError: é")),
    {Format2, Args2} = py_error:report(#{event => {py_context, recovered}, pool => io, slot => 2,
                                         failures => 3}),
    ?assertNotEqual(nomatch, string:find(io_lib:format(Format2, Args2), "after 3 failures")).

stack(Cause) ->
    [{py_context_router, get_context, [io],
      [{error_info, #{module => py_error, cause => Cause}}]}].

%% What ends in `term()' tells neither a reader nor Dialyzer anything.
no_type_of_errors_is_any_term_test() ->
    {ok, Files} = file:list_dir(filename:dirname(code:which(py_error))),
    Types = [{Module, Name, Type}
             || File <- Files, lists:prefix("py_", File), filename:extension(File) =:= ".beam",
                Module <- [list_to_atom(filename:basename(File, ".beam"))],
                {attribute, _, Kind, {Name, Type, _}} <- forms(Module),
                Kind =:= type orelse Kind =:= opaque, lists:suffix("error", atom_to_list(Name))],
    ?assert(length(Types) > 4),
    ?assertEqual([], [{Module, Name} || {Module, Name, Type} <- Types, is_any(Type)]).

forms(Module) ->
    {ok, {Module, [{abstract_code, {_, Forms}}]}} =
        beam_lib:chunks(code:which(Module), [abstract_code]),
    Forms.

is_any({type, _, union, Types}) -> lists:any(fun is_any/1, Types);
is_any({type, _, Name, []}) -> Name =:= term orelse Name =:= any;
is_any(_Other) -> false.
