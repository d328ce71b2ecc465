%% What Python code prints, logs and does to the OS process. Once per mode that the linked Python
%% has.
-module(output_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([log/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, eventually/1]).

all() ->
    test_helpers:mode_groups()
    ++ [what_a_leader_that_never_answers_is_asked_is_bounded,
        nothing_reaches_the_standard_output_of_the_vm,
        output_is_left_alone_if_asked_to,
        what_is_written_to_the_original_streams_is_not_lost,
        closed_descriptors_break_nothing,
        levels_of_loggers_are_settings,
        a_new_vm_shows_reports_of_the_library_and_pythons_records_if_asked_to,
        the_signal_of_children_is_left_alone_if_asked_to].

%% The interpreter of workers ends with the VM.
groups() ->
    [{Mode, Options, Cases ++ [what_runs_as_an_interpreter_ends_prints_to_the_application
                               || Mode =/= worker]}
     || {Mode, Options, Cases} <- test_helpers:in_each_mode(each_mode())].

each_mode() ->
    [what_is_printed_is_there_before_the_job_is_answered,
     everything_that_prints_is_redirected,
     streams_have_what_pythons_own_have,
     streams_take_text_and_their_buffers_bytes,
     the_streams_that_python_made_stay,
     children_write_to_the_standard_output_of_the_vm,
     a_redirection_is_of_one_interpreter,
     lines_come_as_they_are_finished,
     unfinished_lines_come_at_the_end,
     text_is_unicode_and_bytes_are_text,
     callers_have_their_own_output,
     a_job_on_top_of_another_prints_for_its_own_caller,
     output_of_a_failing_job_comes_too,
     output_goes_to_a_leader_on_another_node,
     output_from_another_node_goes_to_the_leader_of_the_time,
     output_of_a_caller_that_is_gone_goes_to_the_application,
     output_of_threads_goes_to_the_application,
     output_of_a_job_and_its_threads_keeps_its_order,
     output_for_a_dead_leader_goes_to_the_application,
     a_leader_that_never_answers_holds_up_only_who_prints_for_it,
     a_killed_output_process_loses_no_later_output,
     nobody_waits_for_what_a_killed_sender_had,
     there_is_no_standard_input,
     standard_input_refuses_in_every_layer,
     preloaded_code_prints,
     log_levels_are_mapped,
     log_events_say_where_they_are_from,
     log_events_of_exceptions_are_reports,
     what_is_not_logged_is_not_made,
     the_level_follows_that_of_logger,
     a_level_of_pythons_own_stays,
     basic_config_does_what_it_does_in_python,
     attributes_of_records_are_metadata,
     asyncio_says_nothing_of_its_loops,
     logging_works_in_threads_and_with_modules_loaded_later,
     erlang_log_takes_levels_text_reports_and_metadata,
     an_exception_in_the_metadata_that_is_none_is_ordinary_metadata,
     no_metadata_breaks_the_log_or_a_formatter,
     an_event_that_is_none_is_logged_as_text,
     the_module_imported_anew_has_the_same_types_and_logs_once,
     who_waits_for_the_log_keeps_no_other_context_from_logging,
     a_handler_that_blocks_holds_up_one_job_once,
     programs_are_run_and_their_ends_noticed,
     processes_are_spawned_unless_asked_otherwise,
     daemon_threads_are_there_or_the_error_names_where_they_are,
     the_vm_is_neither_forked_nor_replaced].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    ok = py_context_router:init_pool_registry(),
    Config.

end_per_testcase(_Case, _Config) ->
    _ = [py_context_sup:stop_context(Ctx) || Ctx <- py_context_sup:which_contexts()],
    ok.

new(Config) ->
    {ok, Ctx} = py_context:new(#{mode => ?config(mode, Config)}),
    Ctx.

%% ------------------------------------------------------------------ leaders

%% A group leader that takes text down.
leader() ->
    spawn_link(fun() -> lead(<<>>) end).

lead(Text) ->
    receive
        {io_request, From, Ref, {put_chars, unicode, Chars}} ->
            From ! {io_reply, Ref, ok},
            lead(<<Text/binary, (unicode:characters_to_binary(Chars))/binary>>);
        {text, From} ->
            From ! {self(), Text},
            lead(Text);
        stop ->
            ok
    end.

%% What it has by now.
text(Leader) ->
    Leader ! {text, self()},
    receive {Leader, Text} -> Text end.

await_text(Leader, Expected) ->
    eventually(fun() -> case text(Leader) of
                            Expected -> true;
                            Other -> Other
                        end end).

%% Runs the fun with a leader of its own; what it printed by the time that it returned.
printed(Fun) ->
    {_, Text} = printed_with(Fun),
    Text.

printed_with(Fun) ->
    Leader = leader(),
    Pid = ask(fun() ->
        true = group_leader(Leader, self()),
        Result = Fun(),
        {Result, text(Leader)}
    end),
    answer(Pid).

%% Runs the fun while the application's own leader is another.
with_leader(Leader, Fun) ->
    Output = whereis(py_output),
    {group_leader, Before} = process_info(Output, group_leader),
    true = group_leader(Leader, Output),
    try Fun()
    after
        group_leader(Before, Output)
    end.

%% ------------------------------------------------------------------ output

what_is_printed_is_there_before_the_job_is_answered(Config) ->
    Ctx = new(Config),
    [?assertEqual(<<"hello\n">>,
                  printed(fun() -> ok = py_context:exec(Ctx, <<"print('hello')">>) end))
     || _ <- lists:seq(1, 100)],
    ?assertEqual(iolist_to_binary([[integer_to_list(N), $\n] || N <- lists:seq(0, 9_999)]),
                 printed(fun() ->
                     ok = py_context:exec(Ctx, <<"for n in range(10_000): print(n)">>)
                 end)).

everything_that_prints_is_redirected(Config) ->
    Ctx = new(Config),
    Text = printed(fun() ->
        ok = py_context:exec(Ctx, <<"
import sys, traceback, warnings, contextlib, io
sys.stdout.write('written\\n')
sys.stderr.write('complained\\n')
print('printed', file=sys.stderr, flush=True)
sys.stdout.writelines(['one\\n', 'two\\n'])
sys.stdout.buffer.write(b'bytes\\n')
warnings.warn('a warning')
try:
    1 / 0
except ZeroDivisionError:
    traceback.print_exc()
with contextlib.redirect_stdout(io.StringIO()) as elsewhere:
    print('not here')
assert elsewhere.getvalue() == 'not here\\n'
assert not sys.stdout.isatty() and sys.stdout.encoding == 'utf-8' and sys.stdout.writable()
sys.stdout.close()
print('still open')
">>)
    end),
    [?assertMatch({Words, {match, _}}, {Words, re:run(Text, Words)})
     || Words <- ["written\n", "complained\n", "printed\n", "one\ntwo\n", "bytes\n",
                  "UserWarning: a warning\n", "Traceback \\(most recent", "ZeroDivisionError: ",
                  "still open\n"]],
    ?assertEqual(nomatch, re:run(Text, "not here")).

streams_have_what_pythons_own_have(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"
import io, os, sys
def raises(f, *args):
    try: f(*args)
    except Exception as e: return type(e).__name__
">>),
    [?assertEqual({Source, {ok, Expected}}, {Source, py_context:eval(Ctx, Source)})
     || {Source, Expected} <-
            [{<<"[s.fileno() for s in (sys.stdout, sys.stdout.buffer, sys.stdout.buffer.raw)]">>,
              [1, 1, 1]},
             {<<"[s.fileno() for s in (sys.stderr, sys.stderr.buffer, sys.stderr.buffer.raw)]">>,
              [2, 2, 2]},
             {<<"[s.name for s in (sys.stdin, sys.stdout, sys.stderr)]">>,
              [<<"<stdin>">>, <<"<stdout>">>, <<"<stderr>">>]},
             {<<"[(s.mode, s.buffer.mode, s.buffer.raw.mode) for s in (sys.stdin, sys.stdout)]">>,
              [{<<"r">>, <<"rb">>, <<"rb">>}, {<<"w">>, <<"wb">>, <<"wb">>}]},
             {<<"[(s.encoding, s.errors, s.newlines) for s in (sys.stdin, sys.stdout)]">>,
              [{<<"utf-8">>, <<"strict">>, none}, {<<"utf-8">>, <<"backslashreplace">>, none}]},
             {<<"[s.isatty() or s.closed for s in (sys.stdin, sys.stdout, sys.stderr)]">>,
              [false, false, false]},
             {<<"[(s.readable(), s.writable(), s.seekable()) for s in (sys.stdin, sys.stdout)]">>,
              [{true, false, false}, {false, true, false}]},
             {<<"sys.stdout.detach() is sys.stdout.buffer">>, true},
             {<<"sys.stdout.buffer.detach() is sys.stdout.buffer.raw">>, true},
             {<<"sys.stdout.reconfigure(encoding='utf-8', errors='replace', line_buffering=True)">>,
              none},
             {<<"raises(sys.stdout.read), raises(sys.stdin.write, 'x')">>,
              {<<"UnsupportedOperation">>, <<"UnsupportedOperation">>}}]],
    %% What is put in their place writes through them, and closes nothing as it goes.
    ?assertEqual(<<"wrapped\ndetached\nraw\nstill there\n">>, printed(fun() ->
        ok = py_context:exec(Ctx, <<"
wrapper = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')
print('wrapped', file=wrapper)
del wrapper
wrapper = io.TextIOWrapper(sys.stdout.detach(), encoding='utf-8', write_through=True)
print('detached', file=wrapper)
del wrapper
wrapper = io.BufferedWriter(sys.stdout.buffer.raw)
wrapper.write(b'raw\\n')
del wrapper
print('still there')">>)
    end)).

streams_take_text_and_their_buffers_bytes(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"import sys, array">>),
    [?assertEqual({Source, {error, {'TypeError', Message}}}, {Source, py_context:eval(Ctx, Source)})
     || {Source, Message} <-
            [{<<"sys.stdout.write(1)">>, <<"write() argument must be str, not int">>},
             {<<"sys.stdout.write(b'x')">>, <<"write() argument must be str, not bytes">>},
             {<<"sys.stderr.write(None)">>, <<"write() argument must be str, not NoneType">>},
             {<<"sys.stderr.writelines(['', b'x'])">>,
              <<"write() argument must be str, not bytes">>},
             {<<"sys.stdout.buffer.write('x')">>, <<"a bytes-like object is required, not 'str'">>},
             {<<"sys.stdout.buffer.write(5)">>, <<"a bytes-like object is required, not 'int'">>},
             {<<"sys.stdout.buffer.raw.write([65])">>,
              <<"a bytes-like object is required, not 'list'">>}]],
    ?assertEqual({{ok, [4, 2, 1, 3]}, <<"AAAAbbc", "dö"/utf8>>}, printed_with(fun() ->
        py_context:eval(Ctx, <<"[sys.stdout.buffer.write(data) for data in "
                               "(array.array('I', [0x41414141]), memoryview(b'bb'), "
                               "bytearray(b'c'), "
                               "'d\\u00f6'.encode())]">>)
    end)).

the_streams_that_python_made_stay(Config) ->
    Ctx = new(Config),
    ?assertEqual({ok,
                  [{<<"TextIOWrapper">>, 0}, {<<"TextIOWrapper">>, 1}, {<<"TextIOWrapper">>, 2}]},
                 py_context:eval(Ctx, <<"[(type(s).__name__, s.fileno()) for s in "
                                        "(lambda sys: (sys.__stdin__, sys.__stdout__, "
                                        "sys.__stderr__))"
                                        "(__import__('sys'))]">>)).

children_write_to_the_standard_output_of_the_vm(Config) ->
    Ctx = new(Config),
    ?assertEqual(<<>>, printed(fun() ->
        ok = py_context:exec(Ctx, <<"
import subprocess, sys
for stream in (sys.stdout, sys.stderr, sys.stdout.buffer):
    assert subprocess.run(['true'], stdout=stream).returncode == 0">>)
    end)),
    ?config(mode, Config) =:= worker andalso
        ?assertEqual(ok, py_context:exec(Ctx, <<"
import faulthandler
assert not faulthandler.is_enabled()
faulthandler.enable()
faulthandler.disable()">>)).

%% Workers share one, and so what each of them prints, as docs/callbacks.md says.
a_redirection_is_of_one_interpreter(Config) ->
    [Ctx, Other] = [new(Config), new(Config)],
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, Wait),
    ok = py_context:exec(Ctx, <<"
import contextlib, erlang, io, sys
def redirected(test):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        print('own')
        erlang.send(test, 'redirected')
        wait()
    return text.getvalue()
">>),
    Test = self(),
    Caller = ask(fun() ->
        printed_with(fun() -> py_context:call(Ctx, '__main__', redirected, [Test]) end)
    end),
    receive <<"redirected">> -> ok end,
    {Taken, Left} = case ?config(mode, Config) of
                        worker -> {<<"own\nother\n">>, <<>>};
                        _ -> {<<"own\n">>, <<"other\n">>}
                    end,
    ?assertEqual(Left, printed(fun() -> ok = py_context:exec(Other, <<"print('other')">>) end)),
    test_helpers:open_gate(Gate),
    ?assertEqual({{ok, Taken}, <<>>}, answer(Caller)),
    %% Afterwards all is as it was; an assignment stays until it is taken back.
    [?assertEqual(<<"after\n">>,
                  printed(fun() -> ok = py_context:exec(Each, <<"print('after')">>) end))
     || Each <- [Ctx, Other]],
    ok = py_context:exec(Ctx, <<"ours, sys.stdout = sys.stdout, io.StringIO()">>),
    try
        ?assertEqual(<<>>, printed(fun() -> ok = py_context:exec(Ctx, <<"print('kept')">>) end)),
        ?assertEqual({ok, <<"kept\n">>}, py_context:eval(Ctx, <<"sys.stdout.getvalue()">>))
    after
        ok = py_context:exec(Ctx, <<"sys.stdout = ours">>)
    end.

lines_come_as_they_are_finished(Config) ->
    Ctx = new(Config),
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, Wait),
    Leader = leader(),
    Caller = ask(fun() ->
        true = group_leader(Leader, self()),
        py_context:exec(Ctx, <<"print('begun'); print('not yet', end=''); wait(); print(', now')">>)
    end),
    await_text(Leader, <<"begun\n">>),
    test_helpers:open_gate(Gate),
    ?assertEqual(ok, answer(Caller)),
    ?assertEqual(<<"begun\nnot yet, now\n">>, text(Leader)).

unfinished_lines_come_at_the_end(Config) ->
    Ctx = new(Config),
    ?assertEqual(<<"no end">>,
                 printed(fun() -> ok = py_context:exec(Ctx, <<"print('no end', end='')">>) end)),
    %% Each stream has its own lines.
    ?assertEqual(<<"error\nout">>, printed(fun() ->
        ok = py_context:exec(Ctx, <<"
import sys
print('out', end='')
print('error', file=sys.stderr)">>)
    end)),
    ?assertEqual(<<"flushed, and\n">>, printed(fun() ->
        ok = py_context:exec(Ctx, <<"print('flushed', end='', flush=True); print(', and')">>)
    end)).

text_is_unicode_and_bytes_are_text(Config) ->
    Ctx = new(Config),
    ?assertEqual(<<"größe → 猫\n"/utf8>>, printed(fun() ->
        ok = py_context:exec(Ctx, <<"print('größe → 猫')"/utf8>>)
    end)),
    ?assertEqual(<<"lone \\ud800\n">>, printed(fun() ->
        ok = py_context:exec(Ctx, <<"print('lone \\ud800')">>)
    end)),
    ?assertEqual(<<"half a ", 16#fffd/utf8, "\n">>, printed(fun() ->
        ok = py_context:exec(Ctx, <<"import sys; sys.stdout.buffer.write(b'half a \\xc3\\n')">>)
    end)),
    ?assertMatch({error, {'TypeError', _}},
                 py_context:exec(Ctx, <<"import sys; sys.stdout.write(1)">>)).

callers_have_their_own_output(Config) ->
    Ctx = new(Config),
    Callers = [{N, ask(fun() ->
                   Leader = leader(),
                   true = group_leader(Leader, self()),
                   Source = io_lib:format("for i in range(20): print(~b, i)", [N]),
                   [ok = py_context:exec(Ctx, Source) || _ <- lists:seq(1, 10)],
                   text(Leader)
               end)} || N <- lists:seq(1, 10)],
    [?assertEqual(iolist_to_binary(lists:duplicate(10, [io_lib:format("~b ~b~n", [N, I])
                                                        || I <- lists:seq(0, 19)])),
                  answer(Caller)) || {N, Caller} <- Callers].

a_job_on_top_of_another_prints_for_its_own_caller(Config) ->
    Ctx = new(Config),
    ok = py:register_function(print_above, fun() ->
        printed(fun() -> ok = py_context:exec(Ctx, <<"print('above', end='')">>) end)
    end),
    {Above, Below} = printed_with(fun() ->
        py_context:eval(Ctx,
                        <<"(print('below', end=' '), __import__('erlang').print_above(), "
                          "print('below'))[1]">>)
    end),
    ?assertEqual({ok, <<"above">>}, Above),
    ?assertEqual(<<"below below\n">>, Below).

output_of_a_failing_job_comes_too(Config) ->
    Ctx = new(Config),
    ?assertEqual({{error, {'ZeroDivisionError', <<"division by zero">>}}, <<"before">>},
                 printed_with(fun() -> py_context:exec(Ctx,
                                                       <<"print('before', end=''); 1 / 0">>) end)).

output_goes_to_a_leader_on_another_node(Config) ->
    Distribution = test_helpers:start_distribution(),
    {ok, Peer, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    try
        Ctx = new(Config),
        Leader = spawn(Node, fun() -> lead(<<>>) end),
        Caller = ask(fun() ->
            true = group_leader(Leader, self()),
            ok = py_context:exec(Ctx, <<"for n in range(100): print('far', n)">>),
            text(Leader)
        end),
        ?assertEqual(iolist_to_binary([io_lib:format("far ~b~n", [N]) || N <- lists:seq(0, 99)]),
                     answer(Caller)),
        %% And a caller on another node has its output there.
        Test = self(),
        spawn(Node, fun() ->
            Own = spawn(fun() -> lead(<<>>) end),
            true = group_leader(Own, self()),
            ok = py_context:exec(Ctx, <<"print('away')">>),
            Test ! {away, text(Own)}
        end),
        receive {away, Text} -> ?assertEqual(<<"away\n">>, Text) end
    after
        peer:stop(Peer),
        test_helpers:stop_distribution(Distribution)
    end.

output_from_another_node_goes_to_the_leader_of_the_time(Config) ->
    Distribution = test_helpers:start_distribution(),
    {ok, Peer, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    try
        {ok, [Ctx]} = erpc:call(Node, py_context_router, start,
                                [#{contexts => 1, mode => ?config(mode, Config)}]),
        Print = fun(Text) ->
            Leader = leader(),
            true = group_leader(Leader, self()),
            ok = py:exec(Ctx, ["print('", Text, "')"]),
            await_text(Leader, iolist_to_binary([Text, "\n"]))
        end,
        Caller = ask(fun() -> [Print("first"), Print("second")] end),
        _ = answer(Caller)
    after
        peer:stop(Peer),
        test_helpers:stop_distribution(Distribution)
    end.

output_of_a_caller_that_is_gone_goes_to_the_application(Config) ->
    Ctx = new(Config),
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, Wait),
    Leader = leader(),
    with_leader(Leader, fun() ->
        Caller = spawn(fun() ->
            py_context:exec(Ctx, <<"
try:
    wait()
finally:
    print('last words')
">>)
        end),
        test_helpers:await_busy(Ctx),
        exit(Caller, kill),
        eventually(fun() -> not is_process_alive(Caller) end),
        test_helpers:open_gate(Gate),
        await_text(Leader, <<"last words\n">>)
    end).

output_of_threads_goes_to_the_application(Config) ->
    Ctx = new(Config),
    Leader = leader(),
    with_leader(Leader, fun() ->
        ?assertEqual(<<>>, printed(fun() ->
            ok = py_context:exec(Ctx, <<"
import threading
thread = threading.Thread(target=lambda: print('from a thread\\nwithout an', end=' end'))
thread.start()
thread.join()
">>)
        end)),
        await_text(Leader, <<"from a thread\nwithout an end">>)
    end).

%% While it is suspended, all that they print comes together.
output_of_a_job_and_its_threads_keeps_its_order(Config) ->
    Ctx = new(Config),
    Output = whereis(py_output),
    Leader = leader(),
    with_leader(Leader, fun() ->
        ok = sys:suspend(Output),
        Caller = ask(fun() ->
            true = group_leader(Leader, self()),
            ok = py_context:exec(Ctx, <<"
import threading
for n in range(0, 20, 2):
    print(n)
    thread = threading.Thread(target=print, args=(n + 1,))
    thread.start()
    thread.join()">>),
            text(Leader)
        end),
        eventually(fun() -> element(2, process_info(Output, message_queue_len)) >= 20 end),
        ok = sys:resume(Output),
        Expected = [[integer_to_list(N), "\n"] || N <- lists:seq(0, 19)],
        ?assertEqual(iolist_to_binary(Expected), answer(Caller))
    end).

what_runs_as_an_interpreter_ends_prints_to_the_application(Config) ->
    Ctx = new(Config),
    Leader = leader(),
    with_leader(Leader, fun() ->
        ok = py_context:exec(Ctx, <<"
import atexit, gc
class Last:
    def __del__(self): print('finalized')
last = Last()
last.itself = last
gc.disable()
atexit.register(int, 'x')
atexit.register(print, 'exit')">>),
        ok = py_context:stop(Ctx),
        eventually(fun() ->
            case text(Leader) of
                <<"exit\nException ignored in atexit callback", Rest/binary>> ->
                    {match, _} = re:run(Rest, "ValueError: .*'x'\n.*finalized\n$", [dotall]),
                    %% No code of the library in its traceback.
                    nomatch = re:run(Rest, "File"),
                    true;
                Other ->
                    Other
            end
        end)
    end),
    ok.

output_for_a_dead_leader_goes_to_the_application(Config) ->
    Ctx = new(Config),
    Own = leader(),
    with_leader(Own, fun() ->
        Dead = leader(),
        Dead ! stop,
        eventually(fun() -> not is_process_alive(Dead) end),
        Caller = ask(fun() ->
            true = group_leader(Dead, self()),
            py_context:exec(Ctx, <<"print('one\\ntwo')">>)
        end),
        ?assertEqual(ok, answer(Caller)),
        await_text(Own, <<"one\ntwo\n">>)
    end).

a_leader_that_never_answers_holds_up_only_who_prints_for_it(Config) ->
    %% What it hasn't written by its end is the application's.
    Own = leader(),
    with_leader(Own, fun() -> print_for_the_deaf(Own, Config) end).

print_for_the_deaf(Own, Config) ->
    {Ctx, Other} = {new(Config), new(Config)},
    Deaf = spawn_link(fun() -> receive stop -> ok end end),
    Caller = ask(fun() ->
        true = group_leader(Deaf, self()),
        %% Little goes through: it is on its way.
        ok = py_context:exec(Ctx, <<"print('little')">>),
        %% More than may be on its way.
        py_context:exec(Ctx, <<"while True: print('x' * 10_000)">>, 500)
    end),
    ?assertEqual(<<"fine\n">>,
                 printed(fun() -> ok = py_context:exec(Other, <<"print('fine')">>) end)),
    ?assertEqual({error, timeout}, answer(Caller)),
    {message_queue_len, Requests} = process_info(Deaf, message_queue_len),
    ?assert(Requests < 1_000),
    %% The context itself prints for others, and logs.
    ?assertEqual(<<"fine\n">>,
                 printed(fun() -> ok = py_context:exec(Ctx, <<"print('fine')">>) end)),
    ?assertMatch([_], logged(notice, fun() ->
        ok = py_context:exec(Ctx, <<"import erlang; erlang.log('error', 'fine')">>)
    end)),
    Deaf ! stop,
    %% Until it is there: afterwards it would go to this suite's own leader, all of it.
    eventually(fun() -> string:prefix(text(Own), <<"little\nxxx">>) =/= nomatch end),
    ?assertEqual(<<"fine\n">>,
                 printed(fun() -> ok = py_context:exec(Ctx, <<"print('fine')">>) end)).

what_a_leader_that_never_answers_is_asked_is_bounded(_Config) ->
    ok = application:ensure_started(py_context_router),
    {ok, Ctx} = py_context:new(#{}),
    Test = self(),
    Deaf = spawn_link(fun() -> receive listen -> listen(Test) end end),
    Print = fun(Source) ->
        ok = answer(ask(fun() ->
            true = group_leader(Deaf, self()),
            py_context:exec(Ctx, Source)
        end))
    end,
    %% Each job has less than a job may have under way, and so none waits.
    Events = test_helpers:capture_log(fun() ->
        [Print(<<"print('x' * 1_000_000)">>) || _ <- lists:seq(1, 80)],
        eventually(fun() -> process_info(self(), message_queue_len) =/= {message_queue_len, 0} end)
    end),
    ?assertMatch([{warning, "The group leader " ++ _}], Events),
    {messages, Requests} = process_info(Deaf, messages),
    Bytes = lists:sum([byte_size(Text)
                       || {io_request, _, _, {put_chars, unicode, Text}} <- Requests]),
    ?assert(Bytes < 70_000_000),
    %% Once it answers, it is asked again.
    Deaf ! listen,
    [receive {logged, _} -> ok end || _ <- Requests],
    Print(<<"print('again')">>),
    receive {logged, Again} -> ?assertEqual(<<"again\n">>, Again) end,
    py_context:stop(Ctx).

listen(Test) ->
    receive
        {io_request, From, Ref, {put_chars, unicode, Text}} ->
            From ! {io_reply, Ref, ok},
            Test ! {logged, Text},
            listen(Test)
    end.

%% With text on its way, so much that its job waits: what the process had is lost, and nobody
%% waits for it.
a_killed_output_process_loses_no_later_output(Config) ->
    Ctx = new(Config),
    Killed = whereis(py_output),
    ok = sys:suspend(Killed),
    Job = ask(fun() ->
        true = group_leader(leader(), self()),
        py_context:exec(Ctx, <<"for _ in range(4): print('x' * (1 << 20))">>)
    end),
    _ = eventually(fun() -> element(2, process_info(Killed, message_queue_len)) >= 2 end),
    ok = killed(Killed, py_output),
    ?assertEqual(ok, answer(Job)),
    ?assertEqual(<<"again\n">>,
                 printed(fun() -> ok = py_context:exec(Ctx, <<"print('again')">>) end)).

%% As above, with messages for other nodes on its way, which what is sent to this node waits for.
nobody_waits_for_what_a_killed_sender_had(Config) ->
    Ctx = new(Config),
    Killed = whereis(py_sender),
    ok = sys:suspend(Killed),
    ok = py_context:exec(Ctx, <<"import erlang\n"
                                "def send(far, near, count):\n"
                                "    for n in range(count): erlang.send(far, n)\n"
                                "    erlang.send(near, 'kept')\n">>),
    Send = fun(Count) ->
        {ok, none} = py_context:call(Ctx, '__main__', send, [{nobody, 'no@where'}, self(), Count]),
        receive <<"kept">> -> kept end
    end,
    Job = ask(fun() -> Send(1) end),
    _ = eventually(fun() -> element(2, process_info(Killed, message_queue_len)) >= 1 end),
    ok = killed(Killed, py_sender),
    ?assertEqual(kept, answer(Job)),
    ?assertEqual(kept, answer(ask(fun() -> Send(10_000) end))).

killed(Pid, Name) ->
    true = exit(Pid, kill),
    _ = eventually(fun() -> not lists:member(whereis(Name), [Pid, undefined]) end),
    ok.

there_is_no_standard_input(Config) ->
    Ctx = new(Config),
    [begin
         {error, {'OSError', Message}} = py_context:exec(Ctx, Source),
         ?assertMatch({match, _}, re:run(Message, <<"no standard input">>))
     end || Source <- [<<"input()">>, <<"import sys; sys.stdin.read()">>,
                       <<"import sys; sys.stdin.readline()">>, <<"import sys; list(sys.stdin)">>]].

standard_input_refuses_in_every_layer(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"import sys">>),
    {error, Refusal} = py_context:eval(Ctx, <<"input()">>),
    [?assertEqual({Source, {error, Refusal}}, {Source, py_context:eval(Ctx, Source)})
     || Source <- [<<"sys.stdin.", Rest/binary>>
                   || Rest <- [<<"read(1)">>, <<"readlines()">>, <<"fileno()">>,
                               <<"buffer.read()">>,
                               <<"buffer.read1()">>, <<"buffer.readline()">>, <<"buffer.peek()">>,
                               <<"buffer.readinto(bytearray(1))">>, <<"buffer.__next__()">>,
                               <<"buffer.fileno()">>, <<"buffer.raw.read()">>,
                               <<"buffer.raw.readall()">>, <<"buffer.raw.readinto(bytearray(1))">>,
                               <<"detach().read()">>]]].

preloaded_code_prints(Config) ->
    _ = new(Config),
    Leader = leader(),
    with_leader(Leader, fun() ->
        {ok, _} = py_context:new(#{mode => ?config(mode, Config),
                                   preload => <<"print('preloaded')">>}),
        await_text(Leader, <<"preloaded\n">>)
    end).

%% ------------------------------------------------------------------ logging

%% What reaches a handler while the fun runs, at least of that level.
logged(Level, Fun) ->
    #{level := Before} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, Level),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{pid => self()}}),
    try Fun()
    after
        ok = logger:remove_handler(?MODULE),
        ok = logger:set_primary_config(level, Before)
    end,
    events().

events() ->
    receive {?MODULE, Event} -> [Event | events()]
    after 0 -> []
    end.

%% The logger's callback.
log(_Event, #{config := #{block := Test}}) ->
    Monitor = monitor(process, Test),
    receive
        go_on -> ok;
        {'DOWN', Monitor, process, Test, _} -> ok
    end,
    true = demonitor(Monitor, [flush]),
    ok;
log(#{meta := #{domain := [python]}} = Event, #{config := #{pid := Pid}}) ->
    Pid ! {?MODULE, Event},
    ok;
log(_Event, _Handler) ->
    ok.

message(#{msg := {Format, Args}}) when is_list(Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args));
message(#{msg := {string, Text}}) ->
    unicode:characters_to_binary(Text).

log_levels_are_mapped(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"
import logging
logger = logging.getLogger('some.logger')
def log_all():
    for level in (50, 40, 30, 25, 20, 10, 60, 35, 15):
        logger.log(level, 'at %d', level)
">>),
    LogAll = fun() -> {ok, none} = py_context:call(Ctx, '__main__', log_all, []) end,
    All = [{critical, <<"at 50">>}, {error, <<"at 40">>}, {warning, <<"at 30">>},
           {notice, <<"at 25">>}, {info, <<"at 20">>}, {debug, <<"at 10">>},
           {critical, <<"at 60">>},
           {warning, <<"at 35">>}, {debug, <<"at 15">>}],
    [?assertEqual({Level, [Each || {Its, _} = Each <- All, passes(Its, Level)]},
                  {Level, [{Its, message(Event)}
                           || #{level := Its} = Event <- logged(Level, LogAll)]})
     || Level <- [all, debug, info, notice, warning, error, critical, alert, none, debug]].

passes(_Its, all) -> true;
passes(_Its, none) -> false;
passes(Its, Level) -> logger:compare_levels(Its, Level) =/= lt.

log_events_say_where_they_are_from(Config) ->
    Ctx = new(Config),
    Test = self(),
    [#{level := warning, meta := Meta} = Event] = logged(notice, fun() ->
        ok = py_context:exec(Ctx, <<"
import logging
logging.getLogger('web.requests').warning('%s took %d ms', 'größe', 12)"/utf8>>)
    end),
    ?assertEqual(<<"größe took 12 ms"/utf8>>, message(Event)),
    #{domain := [python], logger := <<"web.requests">>, file := File, line := 3, context := Ctx,
      pid := Test, thread := Thread, time := Time} = Meta,
    ?assert(is_list(File)),
    ?assert(is_binary(Thread)),
    ?assert(abs(Time - erlang:system_time(microsecond)) < 600_000_000).

log_events_of_exceptions_are_reports(Config) ->
    Ctx = new(Config),
    [#{level := error, msg := {report, Report}, meta := #{report_cb := Callback}}] =
        logged(notice, fun() ->
            ok = py_context:exec(Ctx, <<"
import logging
try:
    [][0]
except IndexError:
    logging.exception('it went wrong')">>)
        end),
    #{message := <<"it went wrong">>, class := <<"IndexError">>,
      text := <<"list index out of range">>, traceback := Traceback} = Report,
    ?assertMatch({match, _}, re:run(Traceback, "Traceback.*IndexError: list index", [dotall])),
    {Format, Args} = Callback(Report),
    ?assertMatch({match, _}, re:run(io_lib:format(Format, Args),
                                    "^it went wrong\n.*IndexError: list", [dotall])).

what_is_not_logged_is_not_made(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"
import logging
class Counted:
    made = 0
    def __str__(self):
        Counted.made += 1
        return 'made'
def log():
    logging.debug('%s', Counted())
    logging.info('%s', Counted())
    return Counted.made
">>),
    ?assertEqual([],
                 logged(notice, fun() -> {ok, 0} = py_context:call(Ctx, '__main__', log, []) end)),
    ?assertMatch([_, _],
                 logged(debug, fun() -> {ok, 2} = py_context:call(Ctx, '__main__', log, []) end)).

the_level_follows_that_of_logger(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx,
                         <<"import logging\ndef enabled(level): return "
                           "logging.getLogger('a.b').isEnabledFor(level)">>),
    Enabled = fun(Level) ->
        element(2, {ok, _} = py_context:call(Ctx, '__main__', enabled, [Level])) end,
    [begin
         _ = logged(Level, fun() ->
             ?assertEqual({Level, Expected}, {Level, [Enabled(N) || N <- [10, 20, 25, 30, 40, 50]]})
         end)
     end || {Level, Expected} <- [{debug, [true, true, true, true, true, true]},
                                  {warning, [false, false, false, true, true, true]},
                                  {none, [false, false, false, false, false, false]},
                                  {info, [false, true, true, true, true, true]}]].

a_level_of_pythons_own_stays(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"
import logging
quiet = logging.getLogger('quiet')
quiet.setLevel(logging.ERROR)
def log():
    quiet.warning('unheard')
    quiet.error('logged')
">>),
    ?assertEqual([<<"logged">>],
                 [message(Event) || Event <- logged(debug, fun() ->
                     {ok, none} = py_context:call(Ctx, '__main__', log, [])
                 end)]).

basic_config_does_what_it_does_in_python(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"
import io, logging
root = logging.getLogger()
before = root.level, root.handlers[:]
def configured(**options):
    logging.basicConfig(**options)
    logging.getLogger('a').info('informed')
    logging.getLogger('a').warning('warned')
    return len(root.handlers), root.level
def undo():
    root.setLevel(before[0])
    root.handlers[:] = before[1]
">>),
    Configured = fun(Options) ->
        Test = self(),
        Events = logged(notice, fun() ->
            Test ! printed_with(fun() -> py_context:call(Ctx, '__main__', configured, [],
                                                         Options) end)
        end),
        %% Erlang's logger has what its level allows, in any case.
        ?assertEqual([<<"warned">>], [message(Event) || Event <- Events]),
        receive {Result, Printed} -> {Result, Printed} end
    end,
    try
        ?assertEqual({{ok, {2, 20}}, <<"INFO:a:informed\nWARNING:a:warned\n">>},
                     Configured(#{level => 20})),
        %% There is a handler by now.
        ?assertEqual({{ok, {2, 20}}, <<"INFO:a:informed\nWARNING:a:warned\n">>},
                     Configured(#{level => 30})),
        ?assertEqual({{ok, {2, 30}}, <<"warned!\n">>},
                     Configured(#{level => 30, force => true, format => <<"%(message)s!">>})),
        %% A level that Python code has set is its own, and `logger' has the last word on its own
        %% side.
        ?assertEqual({{ok, {2, 20}}, <<"informed\nwarned\n">>},
                     Configured(#{level => <<"INFO">>, force => true,
                                  format => <<"%(message)s">>})),
        ?assertMatch({{error, {'ValueError', _}}, _},
                     printed_with(fun() ->
                         py_context:call(Ctx, '__main__', configured, [],
                                         #{level => <<"LOUD">>, force => true})
                     end)),
        ok = py_context:exec(Ctx, <<"
root.handlers[1:] = []
text = io.StringIO()
logging.basicConfig(stream=text, format='%(message)s')
logging.warning('elsewhere')
assert text.getvalue() == 'elsewhere\\n', text.getvalue()">>)
    after
        ok = py_context:exec(Ctx, <<"undo()">>)
    end,
    %% Nothing else adds a handler.
    ?assertEqual(<<>>, printed(fun() ->
        ok = py_context:exec(Ctx, <<"logging.warning('quiet'); assert root.handlers == before[1]">>)
    end)).

attributes_of_records_are_metadata(Config) ->
    Ctx = new(Config),
    Id = binary_to_atom(<<"request_id">>),
    [#{meta := Meta, level := warning} = Event] = logged(notice, fun() ->
        ok = py_context:exec(Ctx, <<"
import datetime, erlang, logging
class Odd:
    def __repr__(self): return 'Odd()'
logging.warning('x', stack_info=True, extra={
    'request_id': 17, 'no such atom yet': 1.5, 'who': erlang.self(),
    'nested': {'odd': [Odd(), (1, None)]},
    'odd': Odd(), 'context': 'mine', 'line': 3, 'pid': 4, 'time': 5, 'domain': 6,
    'gl': 7, 'logger': 8})">>)
    end),
    Self = self(),
    ?assertEqual(<<"x">>, message(Event)),
    ?assertMatch(#{Id := 17, <<"no such atom yet">> := 1.5, <<"context">> := <<"mine">>,
                   context := Ctx,
                   <<"line">> := 3, line := 5, <<"pid">> := 4, pid := Self, <<"time">> := 5,
                   <<"domain">> := 6, domain := [python], <<"gl">> := 7, <<"logger">> := 8,
                   logger := <<"root">>,
                   stack_info := <<"Stack (most recent call last):", _/binary>>},
                 Meta),
    Named = fun(Name) -> maps:get(Name, Meta, maps:get(binary_to_atom(Name), Meta, none)) end,
    ?assertEqual(Self, Named(<<"who">>)),
    ?assertEqual(<<"Odd()">>, Named(<<"odd">>)),
    ?assertEqual(#{<<"odd">> => [<<"Odd()">>, {1, none}]}, Named(<<"nested">>)),
    %% What can't be a term is shown as Python shows it, and the record isn't lost.
    [#{meta := Shown} = Other] = logged(notice, fun() ->
        ok = py_context:exec(Ctx, <<"
logging.warning('lone \\ud800', extra={'half': '\\ud800', 'both': {'a': 1, b'a': 2},
                                       'atom': erlang.Atom('no such atom, ever')})">>)
    end),
    ?assertEqual(<<"lone \\ud800">>, message(Other)),
    ?assert(lists:member(<<"'\\ud800'">>, maps:values(Shown))),
    ?assert(lists:member(<<"{'a': 1, b'a': 2}">>, maps:values(Shown))).

asyncio_says_nothing_of_its_loops(Config) ->
    Ctx = new(Config),
    ?assertEqual([<<"debug">>, <<"slow">>], [message(Event) || Event <- logged(debug, fun() ->
        ok = py_context:exec(Ctx, <<"
import asyncio, logging
asyncio.new_event_loop().close()
logging.debug('debug')
logging.getLogger('asyncio').warning('slow')">>)
    end)]).

logging_works_in_threads_and_with_modules_loaded_later(Config) ->
    Ctx = new(Config),
    [#{meta := Meta} = Event] = logged(notice, fun() ->
        ok = py_context:exec(Ctx, <<"
import threading
def work():
    import logging
    logging.getLogger('threaded').warning('from afar')
thread = threading.Thread(target=work, name='worker-7')
thread.start()
thread.join()
import logging
assert logging.__spec__.loader is logging.__loader__
assert len(logging.getLogger().handlers) == 1
import erlang
class Late: pass
">>),
        %% A thread's event comes when it comes.
        receive {?MODULE, Early} -> self() ! {?MODULE, Early} after 10_000 -> error(no_event) end
    end),
    ?assertEqual(<<"from afar">>, message(Event)),
    ?assertMatch(#{thread := <<"worker-7">>, logger := <<"threaded">>}, Meta).

erlang_log_takes_levels_text_reports_and_metadata(Config) ->
    Ctx = new(Config),
    Events = logged(debug, fun() ->
        ok = py_context:exec(Ctx, <<"
import erlang
for level in ('emergency', 'alert', 'critical', 'error', 'warning', 'notice', 'info', 'debug'):
    erlang.log(level, 'text', level=level, request_id=17)
erlang.log(30, {'what': 'report'})
erlang.log(erlang.Atom('notice'), 'atom')
">>),
        {error, {'ValueError', Message}} = py_context:exec(Ctx, <<"erlang.log('loud', 'text')">>),
        ?assertMatch({match, _}, re:run(Message, <<"loud.*emergency, alert">>))
    end),
    {Named, [Report, Atom]} = lists:split(8, Events),
    Levels = [emergency, alert, critical, error, warning, notice, info, debug],
    ?assertEqual(Levels, [Level || #{level := Level} <- Named]),
    [?assertMatch({<<"text">>, #{line := 4, file := [_ | _], domain := [python]}},
                  {message(Event), Meta}) || #{meta := Meta} = Event <- Named],
    ?assertMatch(#{level := warning, msg := {report, #{<<"what">> := <<"report">>}}}, Report),
    ?assertMatch(#{level := notice}, Atom),
    Id = binary_to_atom(<<"request_id">>),
    [#{meta := #{Id := 17}}] = logged(notice, fun() ->
        ok = py_context:exec(Ctx, <<"erlang.log('notice', 'known', request_id=17)">>)
    end),
    %% What would break a handler stays text.
    [#{meta := Odd}] = logged(notice, fun() ->
        ok = py_context:exec(Ctx,
                             <<"erlang.log('notice', 'odd', time='now', gl=1, mfa=2, line='x', "
                               "domain=3)">>)
    end),
    ?assertMatch(#{<<"time">> := <<"now">>, <<"gl">> := 1, <<"mfa">> := 2, <<"line">> := <<"x">>,
                   <<"domain">> := 3, domain := [python], time := Time} when is_integer(Time), Odd),
    ?assertEqual([], logged(error, fun() ->
        ok = py_context:exec(Ctx, <<"erlang.log('warning', 'unheard')">>)
    end)).

an_exception_in_the_metadata_that_is_none_is_ordinary_metadata(Config) ->
    Ctx = new(Config),
    Log = whereis(py_log),
    Exceptions = [{<<"str(ValueError('boom'))">>, <<"boom">>},
                  {<<"('a', 'b')">>, {<<"a">>, <<"b">>}},
                  {<<"('a', 'b', 3)">>, {<<"a">>, <<"b">>, 3}},
                  {<<"None">>, none}],
    [begin
         [#{meta := #{exception := Value} = Meta} = Event] = logged(notice, fun() ->
             ok = py_context:exec(Ctx, ["import erlang\nerlang.log('error', 'text', exception=",
                                        Source, ")"])
         end),
         ?assertEqual(<<"text">>, message(Event)),
         ?assertNot(is_map_key(report_cb, Meta))
     end || {Source, Value} <- Exceptions],
    %% The exception's report is of a text.
    [#{msg := {report, #{<<"a">> := 1}}}] = logged(notice, fun() ->
        ok = py_context:exec(Ctx, <<"erlang.log('error', {'a': 1}, exception=('a', 'b', 'c'))">>)
    end),
    ?assertEqual(Log, whereis(py_log)).

no_metadata_breaks_the_log_or_a_formatter(Config) ->
    Ctx = new(Config),
    Log = whereis(py_log),
    Keys = [time, pid, gl, mfa, file, line, domain, report_cb, error_logger, logger_formatter,
            ansi_color, crash_reason, exception, logger, thread, function, context, msg, level],
    Events = logged(notice, fun() ->
        ok = py_context:exec(Ctx, ["
import erlang
atom = erlang.Atom
values = (10**40, -10**40, 253402300799999999, -62135596800000000, -1, 1.5, 'text', b'\\xff', '',
    None,
          True, [], [1, [2]], ['a', {}], (), (1,), ('a', 'b', 3), (atom('io'), atom('format'), 1),
          (atom('io'), atom('format'), []), {}, {'a': 1}, {atom('title'): 1}, atom('error'),
          {atom('tag'): 1, atom('type'): 2}, erlang.self())
for key in (", lists:join($,, [["'", atom_to_list(Key), "'"] || Key <- Keys]), "):
    for value in values:
        erlang.log('error', 'text', **{key: value})
for report in values:
    erlang.log('error', {atom('label'): (atom('error_logger'), 1), atom('report'): report})
    erlang.log('error', {atom('label'): report, atom('format'): report, atom('args'): report})
    erlang.log('error', report)
"])
    end),
    ?assertEqual((length(Keys) + 3) * 25, length(Events)),
    Template = [logger_formatter, time, level, msg | Keys -- [time, level, msg]],
    [?assert(is_list(format(Event, Formatter)))
     || Event <- Events,
        Formatter <- [#{}, #{legacy_header => true},
                      #{template => Template, time_offset => "+14:00"}]],
    ?assertEqual(Log, whereis(py_log)).

%% Other than in a handler, what crashes is seen here.
format(#{meta := Meta} = Event, Formatter) ->
    Text = unicode:characters_to_list(logger_formatter:format(Event, Formatter)),
    ?assertEqual({Meta, nomatch}, {Meta, string:find(Text, "CRASH")}),
    Text.

an_event_that_is_none_is_logged_as_text(Config) ->
    Ctx = new(Config),
    Log = whereis(py_log),
    [_, #{level := error, meta := #{context := Ctx}} = Event] = logged(notice, fun() ->
        %% Past what `erlang.log' makes of its arguments, once that has asked for the level.
        ok = py_context:exec(Ctx, <<"
import erlang
erlang.log('error', 'text')
erlang.log.__globals__['_log'](4, 'text', 'no metadata')">>)
    end),
    ?assertEqual(<<"{4,<<\"text\">>,<<\"no metadata\">>}">>, message(Event)),
    ?assertEqual(Log, whereis(py_log)).

the_module_imported_anew_has_the_same_types_and_logs_once(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"
import erlang, logging, sys
old = erlang
def import_anew():
    global erlang
    del sys.modules['erlang']
    import erlang
import_anew()
import_anew()">>),
    Names = [<<"Atom">>, <<"Pid">>, <<"Ref">>, <<"Buffer">>, <<"Error">>, <<"ProcessError">>,
             <<"log">>],
    [?assertEqual({Name, {ok, true}},
                  {Name, py_context:eval(Ctx, <<"erlang.", Name/binary, " is old.", Name/binary>>)})
     || Name <- Names],
    %% In a worker the next context finds the new module.
    Next = new(Config),
    ok = py_context:exec(Next, <<"import erlang, logging">>),
    [begin
         ?assertEqual({ok, [ok, self(), true]},
                      py_context:eval(Each,
                                      <<"[erlang.Atom('ok'), erlang.self(), type(erlang.self()) "
                                        "is erlang.Pid]">>)),
         ?assertMatch([_], logged(notice, fun() ->
             ok = py_context:exec(Each, <<"logging.warning('once')">>)
         end))
     end || Each <- [Ctx, Next]],
    ?assertEqual({ok, ok}, py_context:eval(Ctx, <<"old.Atom('ok')">>)).

who_waits_for_the_log_keeps_no_other_context_from_logging(Config) ->
    [Far, Other] = [new(Config), new(Config)],
    Log = whereis(py_log),
    [ok = py_context:exec(Ctx, <<"
import erlang, logging
def flood():
    while True: logging.warning('flood')
def once(to):
    logging.warning('once')
    erlang.send(to, 'logged')">>) || Ctx <- [Far, Other]],
    _ = logged(warning, fun() ->
        %% By this the level is known.
        ok = py_context:exec(Far, <<"logging.warning('first')">>),
        ok = sys:suspend(Log),
        Flood = ask(fun() -> py_context:call(Far, '__main__', flood, []) end),
        eventually(fun() -> element(2, process_info(Log, message_queue_len)) > 5_000 end),
        Once = ask(fun() -> py_context:call(Other, '__main__', once, [self()]) end),
        eventually(fun() -> lists:member(<<"logged">>, messages(Once)) end),
        ok = sys:resume(Log),
        ok = py_context:interrupt(Far),
        ?assertEqual({error, interrupted}, answer(Flood)),
        ?assertEqual({ok, none}, answer(Once))
    end).

%% Jobs differ in whether they wait for the events that they have logged: one does, for as long as
%% jobs do, and the 20 after it together take less time than that one.
a_handler_that_blocks_holds_up_one_job_once(Config) ->
    [Ctx, Other] = [new(Config), new(Config)],
    [ok = py_context:exec(Each, <<"
import logging
def log(times=1):
    for _ in range(times): logging.warning('x')
    return times">>) || Each <- [Ctx, Other]],
    Log = fun(Each, Times) -> {ok, Times} = py_context:call(Each, '__main__', log, [Times]) end,
    Timed = fun(Do) -> element(1, timer:tc(Do)) end,
    _ = logged(warning, fun() ->
        _ = Log(Ctx, 1),
        Blocked = whereis(py_log),
        ok = logger:add_handler(blocking, ?MODULE, #{config => #{block => self()}}),
        First = Timed(fun() -> Log(Ctx, 1) end),
        Next = Timed(fun() -> [Log(Each, 1) || _ <- lists:seq(1, 10), Each <- [Ctx, Other]] end),
        ?assert(First > Next, {First, Next}),
        %% What is more than may wait is dropped, and nobody waits for that either.
        Many = Timed(fun() -> Log(Other, 6_000) end),
        ?assert(First > Many, {First, Many}),
        ?assert(is_process_alive(Blocked)),
        %% Once it is back, so is everything.
        ok = logger:remove_handler(blocking),
        ?assertMatch([{warning, "Handlers of logger held up Python's log events, and " ++ _}],
                     [Event || {_, Text} = Event <- test_helpers:capture_log(fun() ->
                          Blocked ! go_on,
                          eventually(fun() -> process_info(Blocked, [message_queue_len, status])
                                                  =:= [{message_queue_len, 0}, {status, waiting}]
                                     end)
                      end), string:prefix(Text, "Handlers of logger") =/= nomatch]),
        _ = events(),
        [begin
             _ = Log(Each, 1),
             ?assertMatch([_], events())
         end || Each <- [Ctx, Other, Ctx]]
    end).

messages(Pid) ->
    {messages, Messages} = process_info(Pid, messages),
    Messages.

%% ------------------------------------------------------------------ the OS process

programs_are_run_and_their_ends_noticed(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"
import subprocess, os, time, multiprocessing
def multiprocessing_spawn():
    process = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    return process.exitcode
">>),
    [?assertEqual({Source, {ok, Expected}}, {Source, py_context:eval(Ctx, Source, #{}, 60_000)})
     || {Source, Expected} <-
            [{<<"subprocess.run(['sh', '-c', 'exit 3']).returncode">>, 3},
             {<<"subprocess.run(['sh', '-c', 'kill -9 $$']).returncode">>, -9},
             {<<"subprocess.check_output(['echo', 'sent'])">>, <<"sent\n">>},
             {<<"subprocess.run(['cat'], input=b'there and back', capture_output=True).stdout">>,
              <<"there and back">>},
             {<<"multiprocessing_spawn()">>, 0},
             {<<"os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', "
                "'exit 4'], {}), 0)[1])">>,
              4}]].

processes_are_spawned_unless_asked_otherwise(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"
import multiprocessing as mp
def run():
    process = mp.Process(target=print, args=())
    process.start()
    process.join()
    return process.exitcode
">>),
    %% Nobody has chosen yet, so that a program still may.
    [?assertEqual({Source, {ok, Expected}}, {Source, py_context:eval(Ctx, Source, #{}, 60_000)})
     || {Source, Expected} <-
            [{<<"mp.set_start_method(None, force=True)">>, none},
             {<<"mp.get_start_method(allow_none=True)">>, none},
             {<<"mp.get_all_start_methods()">>, [<<"spawn">>, <<"forkserver">>]},
             {<<"run()">>, 0},
             {<<"mp.get_start_method()">>, <<"spawn">>},
             {<<"mp.set_start_method('forkserver', force=True)">>, none},
             {<<"mp.get_start_method()">>, <<"forkserver">>},
             {<<"mp.set_start_method(None, force=True)">>, none}]].

daemon_threads_are_there_or_the_error_names_where_they_are(Config) ->
    Ctx = new(Config),
    {ok, Allowed} =
        py_context:eval(Ctx, <<"getattr(__import__('_thread'), 'daemon_threads_allowed', "
                                           "lambda: True)()">>),
    {ok, Recent} = py_context:eval(Ctx, <<"__import__('sys').version_info >= (3, 12)">>),
    ?assertEqual(?config(mode, Config) =:= worker orelse not Recent, Allowed),
    ok = py_context:exec(Ctx, <<"
import concurrent.futures, http.server, logging.handlers, multiprocessing, multiprocessing.dummy
import queue, threading
def thread(): threading.Thread(target=int, daemon=True).start()
def made_daemon():
    made = threading.Thread(target=int)
    made.daemon = True
    made.start()
def listener():
    it = logging.handlers.QueueListener(queue.Queue())
    it.start()
    it.stop()
def processes():
    with concurrent.futures.ProcessPoolExecutor(1) as pool: assert list(pool.map(abs, [-1])) == [1]
def pool():
    with multiprocessing.Pool(1) as pool: assert pool.map(abs, [-1]) == [1]
def threads():
    with multiprocessing.dummy.Pool(1) as pool: assert pool.map(abs, [-1]) == [1]
def others():
    with concurrent.futures.ThreadPoolExecutor(1) as pool: assert list(pool.map(abs, [-1])) == [1]
    assert threading.current_thread().name and not threading.Thread(target=int, daemon=False).daemon
">>),
    [case {Allowed, py_context:call(Ctx, '__main__', Name, [], #{}, 60_000)} of
         {true, Result} ->
             ?assertEqual({Name, {ok, none}}, {Name, Result});
         {false, Result} ->
             ?assertMatch({Name, {error, {'RuntimeError', _}}}, {Name, Result}),
             {error, {_, Message}} = Result,
             ?assertMatch({match, _},
                          re:run(Message, "daemon threads .* mode worker .*register_pool"))
     end || Name <- [thread, made_daemon, listener, processes, pool, threads]],
    ?assertEqual({ok, none}, py_context:call(Ctx, '__main__', others, [])).

the_vm_is_neither_forked_nor_replaced(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"import os">>),
    [begin
         {error, {'RuntimeError', Message}} = py_context:eval(Ctx, Source),
         ?assertMatch({Source, {match, _}}, {Source, re:run(Message, <<"Erlang VM.*subprocess">>)})
     end || Source <- [<<"os.fork()">>, <<"os.execv('/bin/true', ['true'])">>,
                       <<"os.execve('/bin/true', ['true'], {})">>,
                       <<"os.execlp('true', 'true')">>]],
    %% Nor is it for a moment, to run Python code in the child.
    ok = py_context:exec(Ctx, <<"import asyncio, subprocess, sys
def wait_for(start): return asyncio.new_event_loop().run_until_complete(start)">>),
    [begin
         {error, {'RuntimeError', Message}} = py_context:eval(Ctx, Source),
         ?assertMatch({Source, {match, _}}, {Source, re:run(Message, <<"preexec_fn.*Erlang VM">>)})
     end || Source <- [<<"subprocess.run(['true'], preexec_fn=os.setsid)">>,
                       <<"subprocess.check_output('true', shell=True, preexec_fn=lambda: "
                         "print('child'))">>,
                       <<"wait_for(asyncio.create_subprocess_exec('true', "
                         "preexec_fn=os.setsid))">>]],
    ?assertEqual({ok, 0}, py_context:eval(Ctx, <<"subprocess.run(['true'], preexec_fn=None, "
                                                 "start_new_session=True).returncode">>)),
    %% In a sub-interpreter some versions of CPython refuse this in their own words.
    ?assertMatch({error, {'RuntimeError', _}}, py_context:eval(Ctx, <<"os.forkpty()">>)),
    %% These are exceptions like any other.
    ?assertMatch({error, {'SystemExit', _}}, py_context:exec(Ctx, <<"import sys; sys.exit(3)">>)),
    ?assertMatch({error, {'SystemExit', _}}, py_context:exec(Ctx, <<"exit()">>)).

%% ------------------------------------------------------------------ VMs of their own

%% What a VM with this application environment writes to its standard output.
stdout(Env, Code) ->
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), Path =/= "."]),
    Settings = lists:append([["-py_context_router", Key, Value] || {Key, Value} <- Env]),
    Eval = "{ok, C} = py_context:new(#{}), " ++ Code ++ ", halt(0).",
    {ok, Output} = test_helpers:run_program(os:find_executable("erl"),
                                            ["-noinput"] ++ Paths ++ Settings ++ ["-eval", Eval]),
    Output.

-define(TO_A_DEAF_LEADER,
        "Deaf = spawn(fun L() -> receive {io_request, From, Ref, _} -> From ! {io_reply, Ref, ok} "
        "end, L() end), group_leader(Deaf, self()), ").

nothing_reaches_the_standard_output_of_the_vm(_Config) ->
    ?assertEqual(<<>>, stdout([], ?TO_A_DEAF_LEADER
                                  "ok = py_context:exec(C, \"import sys; print('out', flush=True); "
                                  "print('err', file=sys.stderr)\")")).

output_is_left_alone_if_asked_to(_Config) ->
    ?assertEqual(<<"out\nerr\n">>,
                 stdout([{"redirect_output", "false"}],
                        ?TO_A_DEAF_LEADER
                        "ok = py_context:exec(C, \"import sys; print('out', flush=True); "
                        "print('err', file=sys.stderr)\")")).

what_is_written_to_the_original_streams_is_not_lost(_Config) ->
    Write = "ok = py_context:exec(C, \"import sys; print('direct', file=sys.__stdout__)\"), "
            "ok = application:stop(py_context_router)",
    ?assertEqual(<<"direct\n">>, stdout([], ?TO_A_DEAF_LEADER ++ Write)),
    ?assertEqual(<<"direct\nprinted\n">>,
                 stdout([{"redirect_output", "false"}],
                        "ok = py_context:exec(C, \"import sys; print('direct', "
                        "file=sys.__stdout__); "
                        "print('printed')\"), ok = application:stop(py_context_router)")).

closed_descriptors_break_nothing(Config) ->
    File = filename:join(?config(priv_dir, Config), "closed"),
    {ok, _} = test_helpers:run_program(
        os:find_executable("sh"),
        ["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-", os:find_executable("erl"), "-noinput"]
        ++ lists:append([["-pa", Path] || Path <- code:get_path(), Path =/= "."])
        ++ ["-eval", "{ok, C} = py_context:new(#{}), "
            "R = py_context:exec(C, \"import sys; print('x'); sys.stdout.fileno(); "
            "sys.stderr.flush()\"), "
            "ok = application:stop(py_context_router), "
            "ok = file:write_file(\"" ++ File ++ "\", io_lib:format(\"~0p\", [R])), halt(0)."]),
    ?assertEqual({ok, <<"ok">>}, file:read_file(File)).

levels_of_loggers_are_settings(_Config) ->
    Levels = fun(Env) ->
        stdout(Env, "ok = py_context:exec(C, \"import logging\"), "
                    "{ok, Ls} = py_context:eval(C, \"[logging.getLogger(n).level for n in "
                    "('asyncio', 'a', 'a.b', 'c', 'root')]\"), io:format(\"~0p\", [Ls])")
    end,
    ?assertEqual(<<"[30,0,0,0,25]">>, Levels([])),
    ?assertEqual(<<"[30,40,100,1,25]">>,
                 Levels([{"logging", "#{a=>error,<<\"a.b\">>=>none,\"c\"=>all}"}])),
    ?assertEqual(<<"[10,0,0,0,20]">>, Levels([{"logging", "#{asyncio=>debug,root=>info}"}])).

a_new_vm_shows_reports_of_the_library_and_pythons_records_if_asked_to(_Config) ->
    Output = stdout([], "Seen = {fun(Event, Pid) -> Pid ! seen, Event end, self()}, "
                        "ok = logger:add_primary_filter(seen, Seen), "
                        "ok = py:cast(C, math, sqrt, [-1]), "
                        "receive seen -> sys:get_state(py_async) end, "
                        "ok = py_context:exec(C, \"import logging; logging.error('hidden')\"), "
                        "receive seen -> sys:get_state(py_log) end, "
                        "Python = {fun logger_filters:domain/2, {log, sub, [python]}}, "
                        "ok = logger:add_handler_filter(default, python, Python), "
                        "ok = py_context:exec(C, \"logging.error('shown')\"), "
                        "receive seen -> sys:get_state(py_log) end, "
                        "ok = logger_std_h:filesync(default)"),
    Shown = fun(Words) -> re:run(Output, Words, [{capture, none}]) end,
    ?assertEqual({match, nomatch, match, Output},
                 {Shown("Python, cast from .* ValueError"), Shown("hidden"), Shown("shown"),
                  Output}).

%% SIGCHLD is number 17: bit 16 in the mask of ignored signals.
the_signal_of_children_is_left_alone_if_asked_to(_Config) ->
    Ignored = fun(Env) ->
        stdout(Env, "{ok, S} = file:read_file(\"/proc/self/status\"), "
                    "{match, [M]} = re:run(S, \"SigIgn:\\\\s+(\\\\w+)\", [{capture, [1], list}]), "
                    "io:put_chars(integer_to_list((list_to_integer(M, 16) bsr 16) band 1))")
    end,
    ?assertEqual(<<"0">>, Ignored([])),
    ?assertEqual(<<"1">>, Ignored([{"sigchld", "leave"}])).
