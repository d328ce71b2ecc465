%% Exceptions as errors: type, message, traceback; the awkward ones; and that the context is as well
%% as before after each. Once per mode that the linked Python has.
-module(errors_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

all() ->
    test_helpers:mode_groups().

groups() ->
    test_helpers:in_each_mode(each_mode()).

each_mode() ->
    [exceptions_have_type_and_message,
     a_built_in_class_is_an_atom,
     a_class_that_goes_by_a_built_in_name_is_no_atom,
     other_classes_have_their_qualified_names,
     a_class_is_named_alike_whatever_atoms_exist,
     awkward_exceptions_are_plain_errors,
     memory_errors_leave_the_context_well,
     endless_recursion_leaves_the_context_well,
     a_syntax_error_tells_file_line_and_column,
     a_traceback_has_frames_and_source_lines,
     a_traceback_has_the_chain_of_causes,
     a_traceback_has_the_members_of_a_group,
     a_traceback_of_an_endless_recursion_is_bounded,
     a_traceback_that_cannot_be_formatted_is_left_out,
     source_lines_go_with_their_context,
     conversion_errors_have_tracebacks_too,
     an_error_with_traceback_is_rendered].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config, worker)}),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, Config) ->
    Ctx = ?config(ctx, Config),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"1 + 1">>)),
    py_context:stop(Ctx).

%% ------------------------------------------------------------------ type and message

exceptions_have_type_and_message(Config) ->
    Rows = [{"raise ValueError('no')", 'ValueError', <<"no">>},
            {"raise ValueError", 'ValueError', <<>>},
            {"raise ValueError('a', 1)", 'ValueError', <<"('a', 1)">>},
            {"{}['k']", 'KeyError', <<"'k'">>},
            {"assert 0, 'sure'", 'AssertionError', <<"sure">>},
            {"class OddOne17(Exception): pass\nraise OddOne17('x')", <<"OddOne17">>, <<"x">>},
            {"class OddTwo(OSError): pass\nraise OddTwo(2, 'gone')", <<"OddTwo">>,
             <<"[Errno 2] gone">>},
            {"raise UnicodeError('\\ud800')", 'UnicodeError', <<"\\ud800">>}],
    ?assertEqual([], [{Source, Got} || {Source, Type, Message} <- Rows,
                                       Got <- [run(Config, Source)],
                                       Got =/= {error, {Type, Message}}]).

%% Also where `builtins' says something else. (Those with an underscore are CPython's own affair.)
a_built_in_class_is_an_atom(Config) ->
    Ctx = ?config(ctx, Config),
    ok = run(Config, "import builtins\n"
                     "known = {n: c for n, c in vars(builtins).items()\n"
                     "         if isinstance(c, type) and issubclass(c, BaseException)\n"
                     "         and n[0] != '_'}\n"
                     "arguments = {'UnicodeDecodeError': ('utf-8', b'a', 0, 1, 'no'),\n"
                     "             'UnicodeEncodeError': ('utf-8', 'a', 0, 1, 'no'),\n"
                     "             'UnicodeTranslateError': ('a', 0, 1, 'no'),\n"
                     "             'ExceptionGroup': ('no', [ValueError()]),\n"
                     "             'BaseExceptionGroup': ('no', [KeyboardInterrupt()])}\n"
                     "def fail(name): raise known[name](*arguments.get(name, ()))\n"
                     "mine = type('Mine', (Exception,), {})"),
    {ok, Known} = py_context:eval(Ctx, <<"{n: c.__name__ for n, c in known.items()}">>),
    ?assert(map_size(Known) > 60),
    All = fun() ->
        [{Name, Type} || {Name, Expected} <- maps:to_list(Known),
                         {error, {Type, _}} <- [py_context:call(Ctx, '__main__', fail, [Name])],
                         Type =/= binary_to_atom(Expected)]
    end,
    ?assertEqual([], All()),
    ok = run(Config, "for n in known: setattr(builtins, n, mine)"),
    try
        ?assertEqual([], All())
    after
        ok = run(Config, "for n in known: setattr(builtins, n, known[n])")
    end.

a_class_that_goes_by_a_built_in_name_is_no_atom(Config) ->
    Sources = ["class ~s(Exception): pass",
               "~s = type('~s', (Exception,), {'__module__': 'builtins'})",
               "~s = type('~s', (ConnectionError, ValueError), {'__module__': 'builtins'})",
               "class Named(type):\n  __name__ = __qualname__ = '~s'\n"
               "~s = Named('~s', (Exception,), {})"],
    [begin
         ok = run(Config, lists:flatten(string:replace(Source, "~s", Name, all))),
         ?assertEqual({Source, {error, {list_to_binary(Name), <<"x">>}}},
                      {Source, run(Config, ["raise ", Name, "('x')"])}),
         ok = run(Config, ["del ", Name])
     end || Source <- Sources, Name <- ["ConnectionError", "ExceptionGroup", "KeyboardInterrupt"]].

other_classes_have_their_qualified_names(Config) ->
    Rows = [{"import json; json.loads('{')", <<"json.decoder.JSONDecodeError">>},
            {"import subprocess; raise subprocess.CalledProcessError(1, 'x')",
             <<"subprocess.CalledProcessError">>},
            {"import binascii; binascii.unhexlify(b'x')", <<"binascii.Error">>},
            {"import erlang; erlang.send('nobody_here', 1)", <<"erlang.ProcessError">>},
            {"class Outer:\n  class Inner(OSError): pass\nraise Outer.Inner", <<"Outer.Inner">>},
            {"def f():\n  class Local(Exception): pass\n  raise Local\nf()",
             <<"f.<locals>.Local">>},
            {"raise type('Größe', (Exception,), {})", <<"Größe"/utf8>>},
            {"raise type('Odd', (Exception,), {'__module__': 17})", <<"Odd">>},
            {"raise type('Odd', (Exception,), {'__module__': 'a.b'})", <<"a.b.Odd">>},
            {"raise type('Odd', (Exception,), {'__qualname__': 'x.\\ud800'})", <<"x.\\ud800">>}],
    ?assertEqual([], [{Source, Got} || {Source, Type} <- Rows,
                                       Got <- [run(Config, unicode:characters_to_binary(Source))],
                                       element(1, element(2, Got)) =/= Type]).

a_class_is_named_alike_whatever_atoms_exist(Config) ->
    %% There are these atoms.
    Names = [ok, timeout, 'json.decoder.JSONDecodeError', 'Error', 'OddOne17', 'OddAtom17'],
    [?assertMatch({error, {Name, _}},
                  run(Config, ["raise type('", atom_to_list(Atom), "', (Exception,), {})"]))
     || Atom <- Names, Name <- [atom_to_binary(Atom)]],
    ?assertMatch({error, {<<"json.decoder.JSONDecodeError">>, _}},
                 run(Config, "import json; json.loads('{')")).

awkward_exceptions_are_plain_errors(Config) ->
    Rows = [{"import sys; sys.exit(3)", 'SystemExit', <<"3">>},
            {"raise SystemExit", 'SystemExit', <<>>},
            {"raise KeyboardInterrupt('mine')", 'KeyboardInterrupt', <<"mine">>},
            {"raise GeneratorExit('g')", 'GeneratorExit', <<"g">>},
            {"raise StopIteration(1)", 'StopIteration', <<"1">>},
            {"class Mute17(Exception):\n  def __str__(self): raise TypeError('no words')\n"
             "raise Mute17",
             <<"Mute17">>, <<"<the exception's __str__ raised TypeError>">>},
            {"class Rude17(Exception):\n  def __str__(self): raise KeyboardInterrupt\nraise Rude17",
             'KeyboardInterrupt', <<>>},
            {"class Odd17(Exception):\n  def __str__(self): return 3\nraise Odd17",
             <<"Odd17">>, <<"<the exception's __str__ raised TypeError>">>}],
    ?assertEqual([], [{Source, Got} || {Source, Type, Message} <- Rows,
                                       Got <- [run(Config, Source)],
                                       Got =/= {error, {Type, Message}}]).

memory_errors_leave_the_context_well(Config) ->
    ?assertMatch({error, {'MemoryError', _}}, run(Config, "b'x' * (1 << 62)")),
    ?assertMatch({error, {'MemoryError', _, #{formatted := _}}},
                 run(Config, "b'x' * (1 << 62)", #{traceback => true})),
    ?assertMatch({error, {'OverflowError', _}}, run(Config, "b'x' * (1 << 70)")).

endless_recursion_leaves_the_context_well(Config) ->
    [?assertMatch({error, {'RecursionError', _}}, run(Config, "def f(): f()\nf()"))
     || _ <- lists:seq(1, 20)].

a_syntax_error_tells_file_line_and_column(Config) ->
    {error, {'SyntaxError', Message}} = run(Config, "x = 1\ny = = 2\n"),
    ?assertMatch({match, _}, re:run(Message, "\\(<erlang-[0-9]+>, line 2, column 5\\)$")),
    {error, {'IndentationError', Indent}} = run(Config, "if 1:\nx = 1\n"),
    ?assertMatch({match, _}, re:run(Indent, "line 2, column [0-9]+\\)$")),
    %% One of somebody's making need not know.
    ?assertEqual({error, {'SyntaxError', <<"odd (x)">>}},
                 run(Config, "raise SyntaxError('odd (x)')")).

%% ------------------------------------------------------------------ tracebacks

a_traceback_has_frames_and_source_lines(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"def outer(x):\n  return inner(x)\n\n\ndef inner(x):\n"
                                "  return 1 / x\n">>),
    {error, {'ZeroDivisionError', <<"division by zero">>, Traceback}} =
        py_context:call(Ctx, '__main__', outer, [0], #{}, #{traceback => true}),
    #{frames := [#{file := File, line := 2, function := <<"outer">>},
                 #{file := File, line := 6, function := <<"inner">>}],
      formatted := Formatted} = Traceback,
    ?assertMatch({match, _}, re:run(File, "^<erlang-[0-9]+>$")),
    [?assertMatch({match, _}, re:run(Formatted, Line, [multiline]))
     || Line <- ["^Traceback \\(most recent call last\\):$", "^    return inner\\(x\\)$",
                 "^    return 1 / x$", "^ZeroDivisionError: division by zero$"]],
    %% A module's own file and lines.
    {error, {_, _, #{frames := Frames}}} =
        py_context:call(Ctx, json, loads, [<<"{">>], #{}, #{traceback => true}),
    ?assertMatch([_ | _], [1 || #{file := Path, function := <<"decode">>, line := L} <- Frames,
                                L > 0, filename:basename(Path) =:= <<"decoder.py">>]),
    %% Without the option there is none.
    ?assertMatch({error, {_, _}}, py_context:call(Ctx, json, loads, [<<"{">>])),
    %% A longer source, used once.
    Long = ["pass\n" || _ <- lists:seq(1, 5000)],
    {error, {_, _, #{formatted := Late}}} =
        py_context:exec(Ctx, [Long, "nobody_knows_this_name\n"], #{traceback => true}),
    ?assertMatch({match, _}, re:run(Late, "line 5001.*\n    nobody_knows_this_name")).

a_traceback_has_the_chain_of_causes(Config) ->
    {error, {'RuntimeError', <<"third">>, #{formatted := Formatted}}} =
        run(Config, "try:\n  try:\n    raise KeyError('first')\n"
                    "  except KeyError as e:\n    raise ValueError('second') from e\n"
                    "except ValueError:\n  raise RuntimeError('third')\n", #{traceback => true}),
    ?assertMatch({match, _},
                 re:run(Formatted, "KeyError: 'first'.*direct cause.*ValueError: second.*"
                                   "another exception.*RuntimeError: third", [dotall])).

a_traceback_has_the_members_of_a_group(Config) ->
    Ctx = ?config(ctx, Config),
    case py_context:eval(Ctx, <<"'ExceptionGroup' in vars(__builtins__)">>) of
        {ok, true} ->
            {error, {'ExceptionGroup', <<"both (2 sub-exceptions)">>, #{formatted := Formatted}}} =
                run(Config, "raise ExceptionGroup('both', [ValueError('a'), KeyError('b')])",
                    #{traceback => true}),
            ?assertMatch({match, _}, re:run(Formatted, "ValueError: a.*KeyError: 'b'", [dotall]));
        {ok, false} ->
            {comment, "this Python has no exception groups"}
    end.

a_traceback_of_an_endless_recursion_is_bounded(Config) ->
    {error, {'RecursionError', _, #{frames := Frames, formatted := Formatted}}} =
        run(Config, "import sys\nsys.setrecursionlimit(3000)\ndef f(): f()\nf()",
            #{traceback => true}),
    ?assert(length(Frames) =< 1000),
    ?assertMatch({match, _}, re:run(Formatted, "repeated [0-9]+ more times")),
    ok = run(Config, "sys.setrecursionlimit(1000)").

a_traceback_that_cannot_be_formatted_is_left_out(Config) ->
    ok = run(Config, "import traceback\nkept = traceback.format_exception\n"
                     "def broken(*a, **k): raise OSError('no')\n"
                     "traceback.format_exception = broken"),
    ?assertMatch({error, {'ValueError', <<"x">>, #{formatted := <<>>, frames := [_]}}},
                 run(Config, "raise ValueError('x')", #{traceback => true})),
    ok = run(Config, "traceback.format_exception = kept").

%% Workers share the place where the lines are.
source_lines_go_with_their_context(Config) ->
    Ctx = ?config(ctx, Config),
    Lines = fun() ->
        {ok, Names} =
            py_context:eval(Ctx,
                            <<"[k for k in __import__('linecache').cache if '<erlang-' in k]">>),
        lists:sort(Names)
    end,
    %% The question itself has lines too, once somebody wants a traceback.
    _ = Lines(),
    {error, {'ZeroDivisionError', _, _}} =
        py_context:eval(Ctx, <<"1 / 0">>, #{}, #{traceback => true}),
    Before = Lines(),
    [begin
         {ok, Other} = py_context:new(#{mode => ?config(mode, Config)}),
         [{error, {'ZeroDivisionError', _, _}} = Run(Other, <<"1 / 0 # once">>,
                                                     #{traceback => true})
          || Run <- [fun py_context:exec/3, fun(C, S, O) -> py_context:eval(C, S, #{}, O) end]],
         ok = py_context:stop(Other)
     end || _ <- [1, 2, 3]],
    ?assertEqual(Before, Lines()).

conversion_errors_have_tracebacks_too(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_context:exec(Ctx, <<"class Bad(dict):\n  pass\n"
                                "def gen():\n  yield 1\n  raise OSError('half way')\n">>),
    {ok, Iterator} = py_context:eval(Ctx, <<"gen()">>),
    {error, {'OSError', <<"half way">>}} = py_context:to_term(Iterator),
    {error, {'ModuleNotFoundError', _, #{formatted := Formatted}}} =
        py_context:call(Ctx, no_such_module, f, [], #{}, #{traceback => true}),
    ?assertMatch({match, _}, re:run(Formatted, "ModuleNotFoundError")).

an_error_with_traceback_is_rendered(Config) ->
    {error, Reason} = run(Config, "raise ValueError('no')", #{traceback => true}),
    Text = py_error:format(Reason),
    ?assertMatch({match, _}, re:run(Text, "^Traceback.*ValueError: no$", [dotall])),
    ?assertEqual(<<"ValueError: no">>, py_error:format({'ValueError', <<"no">>})).

run(Config, Source) ->
    run(Config, Source, #{}).

run(Config, Source, Options) ->
    py_context:exec(?config(ctx, Config), Source, Options).
