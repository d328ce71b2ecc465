%% What Python code prints, logs and does to the OS process. Once per mode that the linked Python has.
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
        a_new_vm_shows_reports_of_the_library_and_pythons_records_if_asked_to,
        the_signal_of_children_is_left_alone_if_asked_to].

groups() ->
    test_helpers:in_each_mode(each_mode()).

each_mode() ->
    [what_is_printed_is_there_before_the_job_is_answered,
     everything_that_prints_is_redirected,
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
     what_runs_as_an_interpreter_ends_prints_to_the_application,
     output_for_a_dead_leader_goes_to_the_application,
     a_leader_that_never_answers_holds_up_only_who_prints_for_it,
     a_killed_output_process_loses_no_later_output,
     there_is_no_standard_input,
     preloaded_code_prints,
     log_levels_are_mapped,
     log_events_say_where_they_are_from,
     log_events_of_exceptions_are_reports,
     what_is_not_logged_is_not_made,
     the_level_follows_that_of_logger,
     a_level_of_pythons_own_stays,
     logging_works_in_threads_and_with_modules_loaded_later,
     erlang_log_takes_levels_text_reports_and_metadata,
     an_exception_in_the_metadata_that_is_none_is_ordinary_metadata,
     no_metadata_breaks_the_log_or_a_formatter,
     an_event_that_is_none_is_logged_as_text,
     the_module_imported_anew_has_the_same_types_and_logs_once,
     who_waits_for_the_log_keeps_no_other_context_from_logging,
     programs_are_run_and_their_ends_noticed,
     the_vm_is_neither_forked_nor_replaced].

init_per_suite(Config) ->
    test_helpers:quiet(Config).

end_per_suite(Config) ->
    test_helpers:loud(Config).

init_per_group(Mode, Config) ->
    [{mode, Mode} | Config].

end_per_group(_Mode, _Config) ->
    test_helpers:stop_all().

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
    [?assertEqual(<<"hello\n">>, printed(fun() -> ok = py_context:exec(Ctx, <<"print('hello')">>) end))
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
sys.__stdout__.write('the original\\n')
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
     || Words <- ["written\n", "complained\n", "printed\n", "one\ntwo\n", "the original\n", "bytes\n",
                  "UserWarning: a warning\n", "Traceback \\(most recent", "ZeroDivisionError: ",
                  "still open\n"]],
    ?assertEqual(nomatch, re:run(Text, "not here")).

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
    ?assertEqual(<<"no end">>, printed(fun() -> ok = py_context:exec(Ctx, <<"print('no end', end='')">>) end)),
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
        py_context:eval(Ctx, <<"(print('below', end=' '), __import__('erlang').print_above(), print('below'))[1]">>)
    end),
    ?assertEqual({ok, <<"above">>}, Above),
    ?assertEqual(<<"below below\n">>, Below).

output_of_a_failing_job_comes_too(Config) ->
    Ctx = new(Config),
    ?assertEqual({{error, {'ZeroDivisionError', <<"division by zero">>}}, <<"before">>},
                 printed_with(fun() -> py_context:exec(Ctx, <<"print('before', end=''); 1 / 0">>) end)).

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
        Distribution =:= started andalso net_kernel:stop()
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
        Distribution =:= started andalso net_kernel:stop()
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
    case proplists:get_value(mode, Config) of
        worker -> {skip, "the interpreter of workers ends with the VM"};
        _ -> prints_as_it_ends(new(Config))
    end.

prints_as_it_ends(Ctx) ->
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
    ?assertEqual(<<"fine\n">>, printed(fun() -> ok = py_context:exec(Other, <<"print('fine')">>) end)),
    ?assertEqual({error, timeout}, answer(Caller)),
    {message_queue_len, Requests} = process_info(Deaf, message_queue_len),
    ?assert(Requests < 1_000),
    %% The context itself prints for others, and logs.
    ?assertEqual(<<"fine\n">>, printed(fun() -> ok = py_context:exec(Ctx, <<"print('fine')">>) end)),
    ?assertMatch([_], logged(notice, fun() ->
        ok = py_context:exec(Ctx, <<"import erlang; erlang.log('error', 'fine')">>)
    end)),
    Deaf ! stop,
    %% Until it is there: afterwards it would go to this suite's own leader, all of it.
    eventually(fun() -> string:prefix(text(Own), <<"little\nxxx">>) =/= nomatch end),
    ?assertEqual(<<"fine\n">>, printed(fun() -> ok = py_context:exec(Ctx, <<"print('fine')">>) end)).

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
    Bytes = lists:sum([byte_size(Text) || {io_request, _, _, {put_chars, unicode, Text}} <- Requests]),
    ?assert(Bytes < 70_000_000),
    %% Once it answers, it is asked again.
    Deaf ! listen,
    [receive {heard, _} -> ok end || _ <- Requests],
    Print(<<"print('again')">>),
    receive {heard, Again} -> ?assertEqual(<<"again\n">>, Again) end,
    py_context:stop(Ctx).

listen(Test) ->
    receive
        {io_request, From, Ref, {put_chars, unicode, Text}} ->
            From ! {io_reply, Ref, ok},
            Test ! {heard, Text},
            listen(Test)
    end.

a_killed_output_process_loses_no_later_output(Config) ->
    Ctx = new(Config),
    Before = whereis(py_output),
    exit(Before, kill),
    eventually(fun() -> is_pid(whereis(py_output)) andalso whereis(py_output) =/= Before end),
    ?assertEqual(<<"again\n">>, printed(fun() -> ok = py_context:exec(Ctx, <<"print('again')">>) end)).

there_is_no_standard_input(Config) ->
    Ctx = new(Config),
    [begin
         {error, {'OSError', Message}} = py_context:exec(Ctx, Source),
         ?assertMatch({match, _}, re:run(Message, <<"no standard input">>))
     end || Source <- [<<"input()">>, <<"import sys; sys.stdin.read()">>,
                       <<"import sys; sys.stdin.readline()">>, <<"import sys; list(sys.stdin)">>]].

preloaded_code_prints(Config) ->
    _ = new(Config),
    Leader = leader(),
    with_leader(Leader, fun() ->
        {ok, _} = py_context:new(#{mode => ?config(mode, Config), preload => <<"print('preloaded')">>}),
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
           {notice, <<"at 25">>}, {info, <<"at 20">>}, {debug, <<"at 10">>}, {critical, <<"at 60">>},
           {warning, <<"at 35">>}, {debug, <<"at 15">>}],
    [?assertEqual({Level, [Each || {Its, _} = Each <- All, passes(Its, Level)]},
                  {Level, [{Its, message(Event)} || #{level := Its} = Event <- logged(Level, LogAll)]})
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
    ?assertEqual([], logged(notice, fun() -> {ok, 0} = py_context:call(Ctx, '__main__', log, []) end)),
    ?assertMatch([_, _], logged(debug, fun() -> {ok, 2} = py_context:call(Ctx, '__main__', log, []) end)).

the_level_follows_that_of_logger(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"import logging\ndef enabled(level): return logging.getLogger('a.b').isEnabledFor(level)">>),
    Enabled = fun(Level) -> element(2, {ok, _} = py_context:call(Ctx, '__main__', enabled, [Level])) end,
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
    quiet.error('heard')
">>),
    ?assertEqual([<<"heard">>],
                 [message(Event) || Event <- logged(debug, fun() ->
                     {ok, none} = py_context:call(Ctx, '__main__', log, [])
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
        ok = py_context:exec(Ctx, <<"erlang.log('notice', 'odd', time='now', gl=1, mfa=2, line='x', domain=3)">>)
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
             ok = py_context:exec(Ctx, ["import erlang\nerlang.log('error', 'text', exception=", Source, ")"])
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
values = (10**40, -10**40, 253402300799999999, -62135596800000000, -1, 1.5, 'text', b'\\xff', '', None,
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
        Formatter <- [#{}, #{legacy_header => true}, #{template => Template, time_offset => "+14:00"}]],
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
    Names = [<<"Atom">>, <<"Pid">>, <<"Ref">>, <<"Buffer">>, <<"Error">>, <<"ProcessError">>, <<"log">>],
    [?assertEqual({Name, {ok, true}},
                  {Name, py_context:eval(Ctx, <<"erlang.", Name/binary, " is old.", Name/binary>>)})
     || Name <- Names],
    %% In a worker the next context finds the new module.
    Next = new(Config),
    ok = py_context:exec(Next, <<"import erlang, logging">>),
    [begin
         ?assertEqual({ok, [ok, self(), true]},
                      py_context:eval(Each, <<"[erlang.Atom('ok'), erlang.self(), type(erlang.self()) is erlang.Pid]">>)),
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
             {<<"subprocess.check_output(['echo', 'heard'])">>, <<"heard\n">>},
             {<<"subprocess.run(['cat'], input=b'there and back', capture_output=True).stdout">>,
              <<"there and back">>},
             {<<"multiprocessing_spawn()">>, 0},
             {<<"os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 4'], {}), 0)[1])">>,
              4}]].

the_vm_is_neither_forked_nor_replaced(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"import os">>),
    [begin
         {error, {'RuntimeError', Message}} = py_context:eval(Ctx, Source),
         ?assertMatch({Source, {match, _}}, {Source, re:run(Message, <<"Erlang VM.*subprocess">>)})
     end || Source <- [<<"os.fork()">>, <<"os.execv('/bin/true', ['true'])">>,
                       <<"os.execve('/bin/true', ['true'], {})">>, <<"os.execlp('true', 'true')">>]],
    %% Nor is it for a moment, to run Python code in the child.
    ok = py_context:exec(Ctx, <<"import asyncio, subprocess, sys
def wait_for(start): return asyncio.new_event_loop().run_until_complete(start)">>),
    [begin
         {error, {'RuntimeError', Message}} = py_context:eval(Ctx, Source),
         ?assertMatch({Source, {match, _}}, {Source, re:run(Message, <<"preexec_fn.*Erlang VM">>)})
     end || Source <- [<<"subprocess.run(['true'], preexec_fn=os.setsid)">>,
                       <<"subprocess.check_output('true', shell=True, preexec_fn=lambda: print('child'))">>,
                       <<"wait_for(asyncio.create_subprocess_exec('true', preexec_fn=os.setsid))">>]],
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
                 {Shown("Python, cast from .* ValueError"), Shown("hidden"), Shown("shown"), Output}).

%% SIGCHLD is number 17: bit 16 in the mask of ignored signals.
the_signal_of_children_is_left_alone_if_asked_to(_Config) ->
    Ignored = fun(Env) ->
        stdout(Env, "{ok, S} = file:read_file(\"/proc/self/status\"), "
                    "{match, [M]} = re:run(S, \"SigIgn:\\\\s+(\\\\w+)\", [{capture, [1], list}]), "
                    "io:put_chars(integer_to_list((list_to_integer(M, 16) bsr 16) band 1))")
    end,
    ?assertEqual(<<"0">>, Ignored([])),
    ?assertEqual(<<"1">>, Ignored([{"sigchld", "leave"}])).
