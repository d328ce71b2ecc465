%% Python calls Erlang, and sends messages: module `erlang`. Once per mode that the linked Python
%% has.
-module(callback_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

-import(test_helpers, [ask/1, answer/1, leftovers/1, eventually/1, rendered/1]).

%% So many processes wait for calls, see native/py_nif/src/outbound/callback.rs.
-define(IDLE_WORKERS, 8).

all() ->
    test_helpers:mode_groups()
    ++ [misuse_is_a_badarg_with_a_sentence,
        names_of_the_module_itself_are_not_registered,
        what_another_vm_has_pickled_is_refused,
        registrations_end_with_the_application,
        registering_starts_the_application,
        the_depth_is_a_setting].

groups() ->
    test_helpers:in_each_mode(each_mode()).

each_mode() ->
    [functions_are_called_by_name_as_attributes_and_when_imported,
     names_and_functions_come_in_several_forms,
     values_cross_both_ways,
     handles_come_back_as_the_object,
     what_cannot_cross_is_a_type_error_that_names_it,
     unknown_names_are_errors_that_name_them,
     arguments_of_the_wrong_type_are_type_errors,
     keyword_arguments_are_refused_with_the_functions_name,
     values_of_erlangs_types_are_copied,
     values_of_erlangs_types_are_pickled_in_this_vm,
     a_registration_replaces_the_one_before,
     failures_arrive_as_erlang_errors,
     a_reason_without_a_python_form_is_text,
     a_killed_function_leaves_no_python_waiting,
     a_function_that_ends_its_process_leaves_no_python_waiting,
     a_killed_runner_leaves_no_python_waiting,
     functions_run_in_processes_of_their_own,
     what_a_function_leaves_behind_is_not_met_by_the_next,
     a_process_with_nothing_left_in_it_serves_again_for_a_while,
     a_stray_message_is_not_met_by_the_next_function,
     more_functions_run_at_once_than_processes_stand_by,
     processes_that_end_while_they_are_idle_are_replaced,
     a_call_that_finds_only_dead_processes_loses_nothing,
     python_erlang_python_goes_64_levels_deep,
     too_deep_is_a_recursion_error,
     a_function_may_reach_python_through_a_server,
     others_are_served_while_a_job_waits,
     what_begins_like_the_job_that_waits_comes_after_what_does_not,
     callers_at_once_do_not_pile_up_to_the_limit,
     a_timeout_ends_the_wait_and_hits_nobody_else,
     a_timeout_below_another_job_waits_for_that,
     an_interrupt_ends_the_wait,
     a_wait_in_an_except_block_keeps_its_exception,
     a_wait_in_a_generator_gives_it_no_exception_of_others,
     a_wait_in_an_event_loop_lets_another_run,
     a_killed_context_ends_while_python_waits,
     a_stopping_context_lets_python_wait_within_its_grace,
     threads_of_python_call_and_send,
     preloaded_code_calls_and_is_killed_while_it_waits,
     messages_go_to_pids_and_names,
     messages_go_to_names_beyond_latin1,
     messages_stay_in_order,
     messages_to_nobody_are_process_errors,
     a_million_messages_leave_no_memory_behind,
     messages_go_to_other_nodes].

-include("quiet_suite.hrl").
-include("mode_groups.hrl").

init_per_testcase(_Case, Config) ->
    ok = py_context_router:init_pool_registry(),
    Config.

end_per_testcase(_Case, _Config) ->
    _ = [py_context_sup:stop_context(Ctx) || Ctx <- py_context_sup:which_contexts()],
    ok.

new(Config) ->
    new(#{}, Config).

new(Options, Config) ->
    {ok, Ctx} = py_context:new(Options#{mode => ?config(mode, Config)}),
    ok = py_context:exec(Ctx, <<"import erlang">>),
    Ctx.

%% The value of an expression.
value(Ctx, Source) ->
    value(Ctx, Source, #{}).

value(Ctx, Source, Locals) ->
    {ok, Value} = py_context:eval(Ctx, Source, Locals),
    Value.

%% A function that says when it is called, and waits until it may return.
gated() ->
    Test = self(),
    fun(Result) ->
        Test ! {called, self()},
        receive go -> Result end
    end.

called() ->
    receive {called, Pid} -> Pid end.

%% ------------------------------------------------------------------ calls

functions_are_called_by_name_as_attributes_and_when_imported(Config) ->
    Ctx = new(Config),
    ok = py:register_function(add, fun(A, B) -> A + B end),
    ok = py:register_function(nothing, fun() -> nothing_at_all end),
    ?assertEqual(3, value(Ctx, <<"erlang.call('add', 1, 2)">>)),
    ?assertEqual(3, value(Ctx, <<"erlang.add(1, 2)">>)),
    ?assertEqual(<<"nothing_at_all">>, value(Ctx, <<"erlang.nothing()">>)),
    ok = py_context:exec(Ctx,
                         <<"from erlang import add as plus\nresult = list(map(plus, [1], [2]))">>),
    ?assertEqual([3], value(Ctx, <<"result">>)).

names_and_functions_come_in_several_forms(Config) ->
    Ctx = new(Config),
    [begin
         ok = py:register_function(Name, lists, reverse),
         ?assertEqual([2, 1], value(Ctx, <<"erlang.call('größe', [1, 2])"/utf8>>)),
         ok = py:unregister_function(Name),
         ?assertMatch({error, {'NameError', _}},
                      py_context:eval(Ctx, <<"erlang.call('größe', [1, 2])"/utf8>>))
     end || Name <- ['größe', <<"größe"/utf8>>, "größe"]].

values_cross_both_ways(Config) ->
    Ctx = new(Config),
    Test = self(),
    ok = py:register_function(echo, fun(Value) -> Test ! {got, Value}, Value end),
    Sizes = [N || Bits <- [31, 59, 60, 63, 64, 100], N <- [(1 bsl Bits) - 1, 1 bsl Bits]],
    Values = [1] ++ Sizes ++ [-N || N <- Sizes] ++ [1.5, nan, infinity, [neg_infinity], true, none,
              <<"text">>, <<255>>, [1, [2]], {1, {2}}, #{<<"a">> => [1]}, self(), make_ref(), []],
    [begin
         ?assertEqual(Value, value(Ctx, <<"erlang.echo(v)">>, #{v => Value})),
         receive {got, Got} -> ?assertEqual(Value, Got) end
     end || Value <- Values],
    ?assertEqual(<<"atom">>, value(Ctx, <<"erlang.echo(erlang.Atom('atom'))">>)),
    receive {got, Atom} -> ?assertEqual(atom, Atom) end.

handles_come_back_as_the_object(Config) ->
    Ctx = new(Config),
    Test = self(),
    ok = py:register_function(keep, fun(Handle) -> Test ! {kept, Handle}, Handle end),
    ok = py_context:exec(Ctx, <<"class Thing: pass\nthing = Thing()">>),
    ?assertEqual(true, value(Ctx, <<"erlang.keep(thing) is thing">>)),
    receive {kept, Handle} -> ?assertEqual(true, value(Ctx, <<"h is thing">>, #{h => Handle})) end.

what_cannot_cross_is_a_type_error_that_names_it(Config) ->
    Ctx = new(Config),
    ok = py:register_function(echo, fun(_, Value) -> Value end),
    ok = py:register_function(make_fun, fun() -> [self(), fun() -> ok end] end),
    {error, {'TypeError', There}} = py_context:eval(Ctx, <<"erlang.echo(1, {'a': '\\ud800'})">>),
    ?assertMatch({match, _}, re:run(There, <<"args\\[1\\]\\.a has no counterpart in Erlang">>)),
    {error, {'TypeError', Back}} = py_context:eval(Ctx, <<"erlang.make_fun()">>),
    ?assertMatch({match, _}, re:run(Back, <<"the result of make_fun\\[1\\] has no counterpart">>)),
    {error, {'TypeError', Names}} = py_context:eval(Ctx, <<"erlang.call(1)">>),
    ?assertMatch({match, _}, re:run(Names, <<"name">>)),
    ?assertMatch({error, {'TypeError', _}}, py_context:eval(Ctx, <<"erlang.call()">>)).

unknown_names_are_errors_that_name_them(Config) ->
    Ctx = new(Config),
    [begin
         {error, {Class, Message}} = py_context:exec(Ctx, Source),
         ?assertMatch({Source, {match, _}}, {Source, re:run(Message, <<"no_such_thing">>)})
     end || {Class, Source} <- [{'NameError', <<"erlang.call('no_such_thing', 1)">>},
                                {'AttributeError', <<"erlang.no_such_thing(1)">>},
                                {'ImportError', <<"from erlang import no_such_thing">>}]],
    %% And Python goes on asking modules for things that they haven't.
    ?assertEqual(false, value(Ctx, <<"hasattr(erlang, 'no_such_thing')">>)).

arguments_of_the_wrong_type_are_type_errors(Config) ->
    Ctx = new(Config),
    NoNames = [<<"5">>, <<"None">>, <<"True">>, <<"b'init'">>, <<"1.5">>, <<"['init']">>,
               <<"erlang">>],
    [?assertMatch({Source, {error, {'TypeError', _}}}, {Source, py_context:eval(Ctx, Source)})
     || Source <- [<<Function/binary, "(", Name/binary, More/binary, ")">>
                   || {Function, More} <- [{<<"erlang.whereis">>, <<>>}, {<<"erlang.call">>, <<>>},
                                           {<<"erlang.send">>, <<", 1">>}],
                      Name <- NoNames]
                  ++ [<<"erlang.send(('a', 5), 1)">>, <<"erlang.send(('a', 'b', 'c'), 1)">>,
                      <<"erlang.send(erlang.self())">>, <<"erlang.whereis()">>,
                      <<"erlang.self(1)">>,
                      <<"erlang.call()">>, <<"erlang.Atom(5)">>, <<"erlang.Atom()">>,
                      <<"erlang.Pid()">>, <<"erlang.Ref()">>, <<"erlang.log(None, 'x')">>,
                      <<"erlang.log([], 'x')">>, <<"getattr(erlang, '__getattr__')(5)">>,
                      <<"erlang.self() < 5">>, <<"erlang.self() < erlang.Atom('a')">>]],
    ?assertEqual(whereis(init), value(Ctx, <<"erlang.whereis('init')">>)),
    ?assertEqual(whereis(init), value(Ctx, <<"erlang.whereis(erlang.Atom('init'))">>)),
    ?assertEqual(none, value(Ctx, <<"erlang.whereis('no such name, ever')">>)),
    ?assertEqual([<<"(to, term, /)">>, <<"(name, /, *args)">>, <<"(name, /)">>, <<"()">>],
                 value(Ctx, <<"[str(__import__('inspect').signature(f)) for f in "
                              "(erlang.send, erlang.call, erlang.whereis, erlang.self)]">>)).

keyword_arguments_are_refused_with_the_functions_name(Config) ->
    Ctx = new(Config),
    ok = py:register_function(echo, fun(Value) -> Value end),
    [begin
         {error, {'TypeError', Message}} = py_context:eval(Ctx, Source),
         ?assertMatch({Source, {match, _}}, {Source, re:run(Message, Words)})
     end || {Source, Words} <- [{<<"erlang.echo(Value=1)">>, "'echo' takes no keyword .*'Value'"},
                                {<<"erlang.echo(1, more=2)">>, "'echo' takes no keyword .*'more'"},
                                {<<"erlang.call('echo', 1, more=2)">>,
                                 "'echo' takes no keyword .*'more'"},
                                {<<"erlang.send(to=1, term=2)">>, "erlang.send"},
                                {<<"erlang.whereis(name='x')">>, "erlang.whereis"}]],
    ?assertEqual(1, value(Ctx, <<"erlang.echo(*[1], **{})">>)).

values_of_erlangs_types_are_copied(Config) ->
    Ctx = new(Config),
    ok = py_context:exec(Ctx, <<"
import copy, dataclasses
@dataclasses.dataclass
class Both:
    one: object
    many: list
def copied(value):
    both = Both(value, [value])
    assert copy.copy(value) is value
    assert copy.deepcopy([value, {'a': value}]) == [value, {'a': value}]
    assert dataclasses.replace(both, one=0).many[0] is value
    return dataclasses.asdict(both)
">>),
    [?assertEqual({ok, #{<<"one">> => Value, <<"many">> => [Value]}},
                  py_context:call(Ctx, '__main__', copied, [Value]))
     || Value <- [self(), make_ref()]],
    ?assertMatch(#{}, value(Ctx, <<"copied(erlang.Atom('ok'))">>)),
    ?assertMatch(#{}, value(Ctx, <<"copied(buffer)">>, #{buffer => {buffer, <<"bytes">>}})).

values_of_erlangs_types_are_pickled_in_this_vm(Config) ->
    {Ctx, Other} = {new(Config), new(Config)},
    [ok = py_context:exec(Each, <<"import pickle, sys">>) || Each <- [Ctx, Other]],
    Table = ets:new(table, []),
    [begin
         ?assertEqual({ok, [Value || _ <- lists:seq(0, 5)]},
                      py_context:eval(Ctx, <<"[pickle.loads(pickle.dumps(value, protocol)) "
                                             "for protocol in range(6)]">>, #{value => Value})),
         {ok, {true, true}} =
             py_context:eval(Ctx, <<"(lambda back: (back == value, hash(back) == hash(value)))"
                                                     "(pickle.loads(pickle.dumps(value)))">>,
                                              #{value => Value}),
         %% In another interpreter, and with the module imported anew.
         {ok, Pickled} =
             py_context:eval(Ctx, <<"pickle.dumps([value, value])">>, #{value => Value}),
         ok = py_context:exec(Other, <<"sys.modules.pop('erlang', None); import erlang">>),
         ?assertEqual({ok, [Value, Value]},
                      py_context:eval(Other, <<"pickle.loads(data)">>, #{data => {bytes, Pickled}}))
     end || Value <- [self(), whereis(init), make_ref(), monitor(process, self()), Table]],
    ?assertEqual([nan_atom, ok],
                 value(Ctx, <<"[pickle.loads(pickle.dumps(erlang.Atom(n))) for n in ('nan_atom', "
                              "'ok')]">>)),
    ?assertEqual(<<"b: c">>,
                 value(Ctx, <<"str(pickle.loads(pickle.dumps(erlang.Error('b', 'c', []))))">>)),
    %% What isn't a pid's or a reference's encoding is not decoded.
    [?assertMatch({Source, {error, {'ValueError', _}}},
                  {Source, py_context:eval(Ctx, Source, #{term => {bytes, term_to_binary(Term)}})})
     || Term <- [ok, #{1 => 2}, [self()], {self()}],
        Source <- [<<"erlang._restore(erlang.self().__reduce__()[1][0], term)">>,
                   <<"erlang._restore(erlang.self().__reduce__()[1][0], term[:2])">>,
                   <<"erlang._restore(erlang.self().__reduce__()[1][0], 5)">>,
                   <<"erlang._restore(0, term)">>, <<"erlang._restore()">>]].

what_another_vm_has_pickled_is_refused(_Config) ->
    ok = application:ensure_started(py_context_router),
    {ok, Ctx} = py_context:new(#{}),
    ok = py_context:exec(Ctx, <<"import erlang, pickle">>),
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => standard_io}),
    try
        {ok, Own} = peer:call(Vm, ?MODULE, pickled, [], 60_000),
        [?assertMatch({error,
                       {'ValueError', <<"an erlang.Pid or erlang.Ref that was pickled in another",
                                               _/binary>>}},
                      py_context:eval(Ctx, <<"pickle.loads(data)">>, #{data => {bytes, Each}}))
         || Each <- Own]
    after
        peer:stop(Vm)
    end,
    {ok, [Pid, Ref]} = pickled(),
    ?assertMatch({ok, [_, _]}, unpickled(Ctx, [Pid, Ref])),
    %% A node that gets a name is another one to its own identifiers of before.
    case test_helpers:start_distribution() of
        started = Started ->
            [?assertMatch({error, {'ValueError', <<_:24, _/binary>>}}, unpickled(Ctx, [Each]))
             || Each <- [Pid, Ref]],
            ok = test_helpers:stop_distribution(Started),
            ?assertMatch({ok, [_, _]}, unpickled(Ctx, [Pid, Ref]));
        _Running ->
            ok
    end.

unpickled(Ctx, Pickled) ->
    py_context:eval(Ctx, <<"[pickle.loads(each) for each in data]">>,
                    #{data => [{bytes, Each} || Each <- Pickled]}).

pickled() ->
    {ok, _} = application:ensure_all_started(py_context_router),
    {ok, Ctx} = py_context:new(#{}),
    py_context:eval(Ctx, <<"[__import__('pickle').dumps(each) for each in ids]">>,
                    #{ids => [self(), make_ref()]}).

a_registration_replaces_the_one_before(Config) ->
    Ctx = new(Config),
    ok = py:register_function(which, fun() -> first end),
    ok = py_context:exec(Ctx, <<"from erlang import which">>),
    ?assertEqual(<<"first">>, value(Ctx, <<"which()">>)),
    ok = py:register_function(<<"which">>, fun() -> second end),
    ?assertEqual(<<"second">>, value(Ctx, <<"which()">>)),
    ok = py:unregister_function("which"),
    ok = py:unregister_function(which),
    ?assertMatch({error, {'NameError', _}}, py_context:eval(Ctx, <<"which()">>)).

failures_arrive_as_erlang_errors(Config) ->
    Ctx = new(Config),
    ok = py:register_function(fail, fun(<<"error">>, Reason) -> error(Reason);
                                       (<<"exit">>, Reason) -> exit(Reason);
                                       (<<"throw">>, Reason) -> throw(Reason)
                                    end),
    ok = py_context:exec(Ctx, <<"
def caught(cls, reason):
    try:
        erlang.fail(cls, reason)
    except erlang.Error as e:
        return [e.class_, getattr(e, 'class'), e.reason, e.args[:2], str(e), e.stacktrace]
">>),
    [begin
         {ok, [Class, Class, Reason, {Class, Reason}, Text, Stack]} =
             py_context:call(Ctx, '__main__', caught, [Class, Reason]),
         ?assertMatch({match, _}, re:run(Text, <<Class/binary, ": ">>)),
         [{<<"callback_SUITE">>, Function, 2, File, Line} | _] = Stack,
         ?assertMatch({match, _}, re:run(Function, <<"failures_arrive">>)),
         ?assertMatch({match, _}, re:run(File, <<"callback_SUITE.erl">>)),
         ?assert(is_integer(Line))
     end || Class <- [<<"error">>, <<"exit">>, <<"throw">>],
            Reason <- [<<"why">>, {<<"badmatch">>, 1}, <<"normal">>]],
    %% Uncaught it is an error like any other.
    ?assertEqual({error, {<<"erlang.Error">>, <<"throw: why">>}},
                 py_context:eval(Ctx, <<"erlang.fail('throw', 'why')">>)),
    %% So is a wrong number of arguments.
    {error, {<<"erlang.Error">>, Arity}} = py_context:eval(Ctx, <<"erlang.fail()">>),
    ?assertMatch({match, _}, re:run(Arity, <<"badarity">>)).

a_reason_without_a_python_form_is_text(Config) ->
    Ctx = new(Config),
    ok = py:register_function(fail, fun() -> error({odd, fun lists:map/2}) end),
    ok = py_context:exec(Ctx, <<"
try:
    erlang.fail()
except erlang.Error as e:
    reason = e.reason
">>),
    ?assertEqual(<<"{odd,fun lists:map/2}">>, value(Ctx, <<"reason">>)).

a_killed_function_leaves_no_python_waiting(Config) ->
    Ctx = new(Config),
    ok = py:register_function(gated, gated()),
    [begin
         Caller = ask(fun() -> py_context:eval(Ctx, <<"erlang.gated(1)">>) end),
         exit(called(), Reason),
         {error, {<<"erlang.Error">>, Message}} = answer(Caller),
         ?assertMatch({match, _}, re:run(Message, Expected)),
         ?assertEqual([], leftovers(Caller))
     end || {Reason, Expected} <- [{kill, <<"^exit: killed">>}, {shot, <<"^exit: shot">>}]],
    ?assertEqual(2, value(Ctx, <<"1 + 1">>)).

a_function_that_ends_its_process_leaves_no_python_waiting(Config) ->
    Ctx = new(Config),
    Unlinked = fun() ->
        {links, Links} = process_info(self(), links),
        _ = [unlink(Pid) || Pid <- Links],
        exit(self(), kill)
    end,
    %% After that nothing of the process runs but the function that it wakes up in.
    Asleep = fun() -> self() ! wake, erlang:hibernate(erlang, is_atom, [woken]) end,
    [begin
         ok = py:register_function(ends, Function),
         ?assertEqual({error, {<<"erlang.Error">>, Message}},
                      py_context:eval(Ctx, <<"erlang.ends()">>, #{}, 10_000))
     end || {Function, Message} <- [{fun() -> exit(self(), normal) end, <<"exit: normal">>},
                                    {Asleep, <<"exit: normal">>},
                                    {Unlinked, <<"exit: killed">>}]],
    ok = py:register_function(add, fun(A, B) -> A + B end),
    ?assertEqual(3, value(Ctx, <<"erlang.add(1, 2)">>)).

a_killed_runner_leaves_no_python_waiting(Config) ->
    Ctx = new(Config),
    ok = py:register_function(gated, gated()),
    Caller = ask(fun() -> py_context:eval(Ctx, <<"erlang.gated(1)">>) end),
    _ = called(),
    Runner = whereis(py_callback_pool),
    exit(Runner, kill),
    ?assertMatch({error, {<<"erlang.Error">>, <<"exit: killed">>}}, answer(Caller)),
    eventually(fun() -> is_pid(whereis(py_callback_pool)) andalso
                        whereis(py_callback_pool) =/= Runner end),
    ok = py:register_function(add, fun(A, B) -> A + B end),
    eventually(fun() -> py_context:eval(Ctx, <<"erlang.add(1, 2)">>) =:= {ok, 3} end).

functions_run_in_processes_of_their_own(Config) ->
    Ctx = new(Config),
    ok = py:register_function(who, fun() -> put(seen, get(seen)), {self(), get(seen)} end),
    {One, none} = value(Ctx, <<"erlang.who()">>),
    {Two, none} = value(Ctx, <<"erlang.who()">>),
    ?assertEqual(4, length(lists:usort([One, Two, Ctx, self()]))),
    eventually(fun() -> not is_process_alive(One) andalso not is_process_alive(Two) end).

what_a_function_leaves_behind_is_not_met_by_the_next(Config) ->
    Ctx = new(Config),
    Test = self(),
    Runner = whereis(py_callback_pool),
    ok = py:register_function(litter, fun() ->
        put(seen, true),
        true = link(Test),
        true = process_flag(trap_exit, true) =:= false,
        true = register(litter, self()),
        litter = ets:new(litter, [named_table]),
        self() ! stray,
        Test ! {litter, self()},
        self()
    end),
    ok = py:register_function(look, fun(Litterer) ->
        Ref = monitor(process, Litterer),
        receive {'DOWN', Ref, process, Litterer, _} -> ok end,
        Items = [dictionary, links, monitored_by, trap_exit, message_queue_len],
        Test ! {looked, process_info(self(), Items), ets:whereis(litter), whereis(litter)},
        ok
    end),
    Clean = [{dictionary, []}, {links, [Runner]}, {monitored_by, [Runner]},
             {trap_exit, false}, {message_queue_len, 0}],
    ok = py_context:exec(Ctx, <<"
for _ in range(20):
    erlang.look(erlang.litter())
">>),
    Litterers = [receive {litter, Pid} -> Pid end || _ <- lists:seq(1, 20)],
    ?assertEqual(20, length(lists:usort(Litterers))),
    [receive Looked -> ?assertEqual({looked, Clean, undefined, undefined}, Looked) end
     || _ <- lists:seq(1, 20)].

a_process_with_nothing_left_in_it_serves_again_for_a_while(Config) ->
    Ctx = new(Config),
    ok = py:register_function(who, fun() -> self() end),
    Pids = value(Ctx, <<"[erlang.who() for _ in range(2500)]">>),
    %% None serves for ever, nor is idle for ever.
    ?assertMatch(Different when Different > 2 andalso Different < 100, length(lists:usort(Pids))),
    [eventually(fun() -> not is_process_alive(Pid) end) || Pid <- lists:usort(Pids)].

a_stray_message_is_not_met_by_the_next_function(Config) ->
    Ctx = new(Config),
    ok = py:register_function(look, fun() -> {self(), process_info(self(), messages)} end),
    lists:foldl(fun(_, Last) ->
        [Pid ! stray || Pid <- Last],
        {New, {<<"messages">>, []}} = value(Ctx, <<"erlang.look()">>),
        [New]
    end, [], lists:seq(1, 100)).

more_functions_run_at_once_than_processes_stand_by(Config) ->
    Ctx = new(Config),
    ok = py:register_function(gated, gated()),
    Callers = [ask(fun() -> py_context:eval(Ctx, <<"erlang.gated(n)">>, #{n => N}) end)
               || N <- lists:seq(1, 24)],
    Functions = [called() || _ <- Callers],
    [Function ! go || Function <- Functions],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 24)], [answer(Caller) || Caller <- Callers]).

processes_that_end_while_they_are_idle_are_replaced(Config) ->
    Ctx = new(Config),
    ok = py:register_function(add, fun(A, B) -> A + B end),
    [begin
         Idle = idle_workers(),
         ?assertNotEqual([], Idle),
         [End(Pid) || Pid <- Idle],
         eventually(fun() -> not lists:any(fun is_process_alive/1, Idle) end),
         %% One more than these may have been idle: the one that answers as another is started.
         eventually(fun() -> length(idle_workers()) >= ?IDLE_WORKERS end),
         ?assertEqual([3 || _ <- lists:seq(1, 50)],
                      value(Ctx, <<"[erlang.add(1, 2) for _ in range(50)]">>))
     end || End <- [fun(Pid) -> true = exit(Pid, kill) end, fun(Pid) -> Pid ! stray end]].

%% They are dead already when the call is given to them, and nobody has noticed.
a_call_that_finds_only_dead_processes_loses_nothing(Config) ->
    Ctx = new(Config),
    ok = py:register_function(echo, fun(Value, More) -> [Value | More] end),
    Idle = idle_workers(),
    ok = sys:suspend(py_callback_pool),
    [true = exit(Pid, kill) || Pid <- Idle],
    eventually(fun() -> not lists:any(fun is_process_alive/1, Idle) end),
    Caller = ask(fun() -> py_context:eval(Ctx, <<"erlang.echo(('x' * 1000, 1 << 100), [2])">>) end),
    eventually(fun() ->
        {messages, Messages} = process_info(whereis(py_callback_pool), messages),
        lists:keymember(py_callback, 1, Messages)
    end),
    ok = sys:resume(py_callback_pool),
    ?assertEqual({ok, [{binary:copy(<<"x">>, 1000), 1 bsl 100}, 2]}, answer(Caller)).

idle_workers() ->
    {links, Links} = process_info(whereis(py_callback_pool), links),
    [Pid || Pid <- Links, is_pid(Pid), is_idle(process_info(Pid, current_function))].

%% Until its first call a process hibernates.
is_idle({current_function, {erlang, hibernate, 3}}) -> true;
is_idle({current_function, {py_callback_worker, idle, 4}}) -> true;
is_idle(_Other) -> false.

%% ------------------------------------------------------------------ re-entrancy

python_erlang_python_goes_64_levels_deep(Config) ->
    Ctx = new(Config),
    Turns = counters:new(1, []),
    ok = py:register_function(again, fun(N) ->
        ok = counters:add(Turns, 1, 1),
        {ok, Sum} = py_context:call(Ctx, '__main__', descend, [N]),
        Sum
    end),
    ok = py_context:exec(Ctx, <<"
turns = 0
def descend(n):
    global turns
    turns += 1
    return n + erlang.again(n - 1) if n else 0
">>),
    %% Others come and go meanwhile.
    Others = [ask(fun() -> [value(Ctx, <<"n * 2">>, #{n => N}) || N <- lists:seq(1, 200)] end)
              || _ <- [1, 2, 3]],
    ?assertEqual({ok, 64 * 65 div 2}, py_context:call(Ctx, '__main__', descend, [64])),
    [?assertEqual([N * 2 || N <- lists:seq(1, 200)], answer(Other)) || Other <- Others],
    %% Nothing has run twice.
    ?assertEqual(65, value(Ctx, <<"turns">>)),
    ?assertEqual(64, counters:get(Turns, 1)).

too_deep_is_a_recursion_error(Config) ->
    Ctx = new(Config),
    Test = self(),
    ok = py:register_function(again, fun(N) ->
        case py_context:eval(Ctx, <<"erlang.again(n + 1)">>, #{n => N}) of
            {ok, _} = Ok -> Ok;
            {error, Reason} -> Test ! {refused, N, Reason}, ok
        end
    end),
    {ok, _} = py_context:eval(Ctx, <<"erlang.again(1)">>),
    receive {refused, N, {Class, _}} -> ?assertEqual({64, 'RecursionError'}, {N, Class}) end,
    ?assertEqual(2, value(Ctx, <<"1 + 1">>)),
    {ok, _} = py_context:eval(Ctx, <<"erlang.again(60)">>).

a_function_may_reach_python_through_a_server(Config) ->
    Ctx = new(Config),
    %% Serves one after the other, as a gen_server does.
    Server = spawn_link(fun Serve() ->
        receive {From, Source} -> From ! {self(), py_context:eval(Ctx, Source)} end,
        Serve()
    end),
    ok = py:register_function(serve, fun(Source) ->
        Server ! {self(), Source},
        receive {Server, {ok, Value}} -> Value end
    end),
    %% Few or many at once: more than may be stacked.
    [begin
         Source = io_lib:format("[erlang.serve('1 + 1') for i in range(~b)]", [Times]),
         Callers = [ask(fun() -> py_context:eval(Ctx, Source) end) || _ <- lists:seq(1, Many)],
         [?assertEqual({ok, lists:duplicate(Times, 2)}, answer(Caller)) || Caller <- Callers]
     end || {Many, Times} <- [{5, 20}, {100, 3}]].

others_are_served_while_a_job_waits(Config) ->
    Ctx = new(Config),
    ok = py:register_function(gated, gated()),
    Caller = ask(fun() -> py_context:eval(Ctx, <<"erlang.gated('through')">>) end),
    Function = called(),
    ?assertEqual(lists:seq(1, 50), [value(Ctx, <<"n">>, #{n => N}) || N <- lists:seq(1, 50)]),
    Function ! go,
    ?assertEqual({ok, <<"through">>}, answer(Caller)).

%% The same beginning and length are taken for the same code: nobody is to compare megabytes.
what_begins_like_the_job_that_waits_comes_after_what_does_not(Config) ->
    Ctx = new(Config),
    {Gate, Wait} = test_helpers:gate(Config),
    ok = py_context:exec(Ctx, [Wait, "import erlang\nseen = []"]),
    ok = py:register_function(gated, gated()),
    Long = ["#", lists:duplicate(8192, $x), $\n],
    Run = fun(Source) ->
        ask(fun() -> py_context:exec(Ctx, [Long, string:pad(Source, 40)]) end)
    end,
    Waiting = Run("wait(); erlang.gated('through')"),
    _ = test_helpers:await_busy(Ctx),
    Like = Run("seen.append('like')"),
    _ = test_helpers:await_queue(Ctx, 1),
    Unlike = ask(fun() -> py_context:exec(Ctx, <<"seen.append('unlike')">>) end),
    _ = test_helpers:await_queue(Ctx, 2),
    ok = test_helpers:open_gate(Gate),
    Function = called(),
    [ok = answer(Asker) || Asker <- [Like, Unlike]],
    Function ! go,
    ok = answer(Waiting),
    ?assertEqual([<<"unlike">>, <<"like">>], value(Ctx, <<"seen">>)).

callers_at_once_do_not_pile_up_to_the_limit(Config) ->
    Ctx = new(Config),
    ok = py:register_function(slow, fun(N) -> receive after 5 -> N end end),
    Callers = [ask(fun() -> py_context:eval(Ctx, <<"erlang.slow(n)">>, #{n => N}) end)
               || N <- lists:seq(1, 300)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 300)], [answer(Caller) || Caller <- Callers]).

a_timeout_ends_the_wait_and_hits_nobody_else(Config) ->
    Ctx = new(Config),
    ok = py:register_function(gated, gated()),
    Caller = ask(fun() -> py_context:eval(Ctx, <<"erlang.gated(1)">>, #{}, 50) end),
    Function = called(),
    ?assertEqual({error, timeout}, answer(Caller)),
    eventually(fun() -> maps:get(state, py_context:info(Ctx)) =:= idle end),
    Function ! go,
    ?assertEqual(4950, value(Ctx, <<"sum(range(100))">>)),
    ?assertEqual([], leftovers(Caller)).

a_timeout_below_another_job_waits_for_that(Config) ->
    Ctx = new(Config),
    ok = py:register_function(gated, gated()),
    Below = ask(fun() -> py_context:eval(Ctx, <<"erlang.gated('below')">>, #{}, 50) end),
    FunctionBelow = called(),
    Above = ask(fun() -> py_context:eval(Ctx, <<"[erlang.gated('above'), sum(range(1000))]">>) end),
    FunctionAbove = called(),
    ?assertEqual({error, timeout}, answer(Below)),
    FunctionBelow ! go,
    FunctionAbove ! go,
    ?assertEqual({ok, [<<"above">>, 499500]}, answer(Above)),
    ?assertEqual([], leftovers(Below)),
    ?assertEqual(2, value(Ctx, <<"1 + 1">>)).

an_interrupt_ends_the_wait(Config) ->
    Ctx = new(Config),
    ok = py:register_function(gated, gated()),
    Caller = ask(fun() -> py_context:eval(Ctx, <<"erlang.gated(1)">>) end),
    _ = called(),
    ?assertEqual(ok, py_context:interrupt(Ctx)),
    ?assertEqual({error, interrupted}, answer(Caller)),
    ?assertEqual(2, value(Ctx, <<"1 + 1">>)).

a_wait_in_an_except_block_keeps_its_exception(Config) ->
    Ctx = new(Config),
    ok = py:register_function(look, fun() ->
        value(Ctx, <<"__import__('sys').exc_info()[0] is None">>)
    end),
    ok = py_context:exec(Ctx, <<"
try:
    1 / 0
except ZeroDivisionError as e:
    above = erlang.look()
    try:
        raise
    except ZeroDivisionError as again:
        below = again is e
">>),
    ?assertEqual({true, true}, value(Ctx, <<"(above, below)">>)).

a_wait_in_a_generator_gives_it_no_exception_of_others(Config) ->
    Ctx = new(Config),
    ok = py:register_function(look, fun() -> value(Ctx, <<"1">>) end),
    ok = py_context:exec(Ctx, <<"
import sys
def steps():
    yield
    erlang.look()
    yield
    yield sys.exc_info()[0]
going = steps()
next(going)
try:
    1 / 0
except ZeroDivisionError as e:
    next(going)
    below = sys.exc_info()[1] is e
">>),
    ?assertEqual({true, none}, value(Ctx, <<"(below, next(going))">>)).

a_wait_in_an_event_loop_lets_another_run(Config) ->
    Ctx = new(Config),
    ok = py:register_function(inside, fun() -> value(Ctx, <<"asyncio.run(inner())">>) end),
    ok = py_context:exec(Ctx, <<"
import asyncio
async def inner():
    await asyncio.sleep(0)
    return 'inner'
async def outer():
    loop = asyncio.get_running_loop()
    result = erlang.inside()
    await asyncio.sleep(0)
    return result, asyncio.get_running_loop() is loop
">>),
    ?assertEqual({<<"inner">>, true}, value(Ctx, <<"asyncio.run(outer())">>)).

%% ------------------------------------------------------------------ endings

a_killed_context_ends_while_python_waits(Config) ->
    ok = py:register_function(gated, gated()),
    Threads = test_helpers:context_threads(),
    {ok, Ctx} = py_context_sup:start_context(test, ?config(mode, Config)),
    Callers = [ask(fun() -> py_context:eval(Ctx, <<"__import__('erlang').gated(1)">>) end)
               || _ <- [1, 2]],
    _ = [called() || _ <- Callers],
    exit(Ctx, kill),
    [?assertEqual({error, {context_died, killed}}, answer(Caller)) || Caller <- Callers],
    [?assertEqual([], leftovers(Caller)) || Caller <- Callers],
    eventually(fun() -> test_helpers:context_threads() =< Threads end).

a_stopping_context_lets_python_wait_within_its_grace(Config) ->
    Ctx = new(#{shutdown => 30_000}, Config),
    true = unlink(Ctx),
    ok = py:register_function(gated, gated()),
    Caller = ask(fun() -> py_context:eval(Ctx, <<"erlang.gated(1)">>) end),
    Function = called(),
    Stopper = ask(fun() -> py_context:stop(Ctx) end),
    eventually(fun() -> case py_context:info(Ctx) of
                            #{state := closing} -> true;
                            Other -> Other
                        end end),
    Function ! go,
    ?assertEqual({ok, 1}, answer(Caller)),
    ?assertEqual(ok, answer(Stopper)).

%% ------------------------------------------------------------------ threads

threads_of_python_call_and_send(Config) ->
    Ctx = new(Config),
    ok = py:register_function(double, fun(N) -> N * 2 end),
    ok = py_context:exec(Ctx, <<"
import threading
from concurrent.futures import ThreadPoolExecutor

def work(me, n):
    erlang.send(me, ('thread', n))
    return erlang.double(n)

def many(me):
    with ThreadPoolExecutor(4) as pool:
        return sorted(pool.map(lambda n: work(me, n), range(20)))

def alone(me):
    results = []
    def run():
        results.append(work(me, 1))
        try:
            erlang.self()
        except RuntimeError as e:
            results.append(str(e))
        try:
            erlang.no_such_thing
        except AttributeError as e:
            results.append('refused')
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results
">>),
    ?assertEqual({ok, [N * 2 || N <- lists:seq(0, 19)]},
                 py_context:call(Ctx, '__main__', many, [self()])),
    Got = [receive {<<"thread">>, N} -> N end || _ <- lists:seq(1, 20)],
    ?assertEqual(lists:seq(0, 19), lists:sort(Got)),
    {ok, [2, WhySelf, <<"refused">>]} = py_context:call(Ctx, '__main__', alone, [self()]),
    ?assertMatch({match, _}, re:run(WhySelf, <<"erlang.self\\(\\)">>)).

preloaded_code_calls_and_is_killed_while_it_waits(Config) ->
    ok = py:register_function(gated, gated()),
    Preload = <<"import erlang\ngift = erlang.gated('from Erlang')">>,
    Starter = ask(fun() ->
        {ok, Ctx} = py_context:new(#{mode => ?config(mode, Config), preload => Preload}),
        value(Ctx, <<"gift">>)
    end),
    called() ! go,
    ?assertEqual(<<"from Erlang">>, answer(Starter)),
    Threads = test_helpers:context_threads(),
    Doomed = spawn(fun() -> py_context:new(#{mode => ?config(mode, Config),
                                             preload => Preload}) end),
    _ = called(),
    exit(Doomed, kill),
    eventually(fun() -> test_helpers:context_threads() =< Threads end).

%% ------------------------------------------------------------------ messages

messages_go_to_pids_and_names(Config) ->
    Ctx = new(Config),
    true = register(?MODULE, self()),
    [begin
         none = value(Ctx, <<"erlang.send(", To/binary, ", ('hello', [1]))">>, #{pid => self()}),
         receive {<<"hello">>, [1]} -> ok after 10_000 -> error({lost, To}) end
     end || To <- [<<"pid">>, <<"erlang.self()">>, <<"'callback_SUITE'">>,
                   <<"erlang.Atom('callback_SUITE')">>, <<"erlang.whereis('callback_SUITE')">>,
                   <<"('callback_SUITE', '", (atom_to_binary(node()))/binary, "')">>]],
    ?assertEqual(self(), value(Ctx, <<"erlang.self()">>)),
    ?assertEqual(self(), value(Ctx, <<"erlang.whereis(erlang.Atom('callback_SUITE'))">>)),
    ?assertEqual(none, value(Ctx, <<"erlang.whereis('no such name')">>)),
    ?assertMatch({error, {'TypeError', _}}, py_context:eval(Ctx, <<"erlang.send(1, 2)">>)),
    ?assertMatch({error, {'TypeError', _}}, py_context:eval(Ctx, <<"erlang.send(erlang.self())">>)),
    true = unregister(?MODULE).

messages_go_to_names_beyond_latin1(Config) ->
    Ctx = new(Config),
    true = register('имя', self()),
    Locals = #{name => <<"имя"/utf8>>, node => node()},
    ?assertEqual(self(), value(Ctx, <<"erlang.whereis(name)">>, Locals)),
    [begin
         none = value(Ctx, <<"erlang.send(", To/binary, ", to)">>, Locals#{to => To}),
         receive To -> ok after 10_000 -> error({lost, To}) end
     end || To <- [<<"name">>, <<"(name, node)">>]],
    ?assertEqual(none, value(Ctx, <<"erlang.whereis(name + name)">>, Locals)),
    true = unregister('имя').

messages_stay_in_order(Config) ->
    Ctx = new(Config),
    true = register(?MODULE, self()),
    ok = py_context:exec(Ctx, <<"
def send(me, node):
    ways = [me, 'callback_SUITE', ('callback_SUITE', node)]
    for n in range(3000):
        erlang.send(ways[n % 3], n)
">>),
    {ok, none} = py_context:call(Ctx, '__main__', send, [self(), node()]),
    Got = [receive N when is_integer(N) -> N end || _ <- lists:seq(1, 3000)],
    ?assertEqual(lists:seq(0, 2999), Got),
    true = unregister(?MODULE).

messages_to_nobody_are_process_errors(Config) ->
    Ctx = new(Config),
    {Dead, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Dead, _} -> ok end,
    {error, {<<"erlang.ProcessError">>, Gone}} =
        py_context:eval(Ctx, <<"erlang.send(pid, 1)">>, #{pid => Dead}),
    ?assertMatch({match, _}, re:run(Gone, <<"not alive">>)),
    {error, {<<"erlang.ProcessError">>, Nobody}} =
        py_context:eval(Ctx, <<"erlang.send('nobody_here', 1)">>),
    ?assertMatch({match, _}, re:run(Nobody, <<"nobody_here">>)),
    ?assertEqual(true, value(Ctx, <<"issubclass(erlang.ProcessError, Exception)">>)).

a_million_messages_leave_no_memory_behind(Config) ->
    Ctx = new(Config),
    Sink = spawn_link(fun Drop() -> receive {stop, To} -> To ! stopped; _ -> Drop() end end),
    ok = py_context:exec(Ctx, <<"
def send(pid, n):
    for i in range(n):
        erlang.send(pid, (i, 'some text', [1.5, None]))
">>),
    Send = fun(N) ->
        {ok, none} = py_context:call(Ctx, '__main__', send, [Sink, N]),
        %% Until all of them have been dropped.
        eventually(fun() -> process_info(Sink, message_queue_len) =:= {message_queue_len, 0} end),
        true = erlang:garbage_collect(Sink)
    end,
    Series = fun() -> [Send(20_000) || _ <- lists:seq(1, 10)], test_helpers:rss_kb() end,
    stays(Series, lists:reverse([Series() || _ <- lists:seq(1, 5)])),
    Sink ! {stop, self()},
    receive stopped -> ok end.

%% That the size, taken after each series (the last one first), ceases to grow. The VM keeps what
%% the highest pile took, and on a busy machine that comes late. Twenty bytes left behind for each
%% message would be 12 MB in three series, for ever.
stays(Series, Sizes) ->
    case Sizes of
        [Now, _, _, Before | _] when Now - Before < 10_000 -> ok;
        _ when length(Sizes) < 25 -> stays(Series, [Series() | Sizes]);
        _ -> error({still_grows, lists:reverse(Sizes)})
    end.

messages_go_to_other_nodes(Config) ->
    Distribution = test_helpers:start_distribution(),
    {ok, Peer, Node} = test_helpers:start_peer(#{name => peer:random_name()}),
    try
        Ctx = new(Config),
        Test = self(),
        Echo = spawn(Node, fun Loop() -> receive Message -> Test ! {echo, Message}, Loop() end end),
        true = erpc:call(Node, erlang, register, [echo, Echo]),
        ok = py_context:exec(Ctx, <<"
def send(pid, node):
    for n in range(2000):
        erlang.send(pid if n % 2 else ('echo', node), n)
">>),
        {ok, none} = py_context:call(Ctx, '__main__', send, [Echo, Node]),
        Got = [receive {echo, N} -> N end || _ <- lists:seq(1, 2000)],
        ?assertEqual(lists:seq(0, 1999), Got)
    after
        peer:stop(Peer),
        test_helpers:stop_distribution(Distribution)
    end.

%% ------------------------------------------------------------------ registering

misuse_is_a_badarg_with_a_sentence(_Config) ->
    [?assertMatch({match, _}, re:run(rendered(Misuse), Words))
     || {Misuse, Words} <- [{fun() -> py:register_function(name, not_a_fun) end, "not a fun"},
                            {fun() -> py:register_function({no, name}, fun() -> ok end) end,
                             "not a name"},
                            {fun() -> py:register_function("", fun() -> ok end) end, "not a name"},
                            {fun() -> py:register_function(name, "lists", reverse) end, "atoms"},
                            {fun() -> py:unregister_function(1) end, "not a name"}]].

names_of_the_module_itself_are_not_registered(_Config) ->
    ok = application:ensure_started(py_context_router),
    {ok, Ctx} = py_context:new(#{}),
    {ok, Names} = py_context:eval(Ctx, <<"dir(__import__('erlang'))">>),
    ?assert(lists:member(<<"call">>, Names)),
    [?assertMatch({Name, {match, _}},
                  {Name, re:run(rendered(Register), "module erlang has itself")})
     || Name <- Names,
        Register <- [fun() -> py:register_function(Name, fun() -> ok end) end,
                     fun() -> py:register_function(binary_to_atom(Name), lists, reverse) end]],
    ok = py:register_function(cal, fun() -> ok end),
    ?assertEqual({ok, <<"ok">>}, py_context:eval(Ctx, <<"__import__('erlang').cal()">>)).

registrations_end_with_the_application(_Config) ->
    ok = py:register_function(gone, fun() -> ok end),
    test_helpers:stop_all(),
    ?assertEqual([], test_helpers:published()),
    {ok, Ctx} = py_context:new(#{}),
    ?assertMatch({error, {'NameError', _}},
                 py_context:eval(Ctx, <<"__import__('erlang').call('gone')">>)).

registering_starts_the_application(_Config) ->
    test_helpers:stop_all(),
    ok = py:unregister_function(anything),
    ok = py:register_function(here, fun() -> ok end),
    {ok, Ctx} = py_context:new(#{}),
    ?assertEqual({ok, <<"ok">>}, py_context:eval(Ctx, <<"__import__('erlang').call('here')">>)).

the_depth_is_a_setting(_Config) ->
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => standard_io}),
    try
        ok = peer:call(Vm, application, load, [py_context_router]),
        ok = peer:call(Vm, application, set_env, [py_context_router, callback_depth, 200]),
        ?assertEqual({200, 'RecursionError'}, peer:call(Vm, ?MODULE, deepest, [], 60_000))
    after
        peer:stop(Vm)
    end.

%% In the other VM: how many calls were waiting when one more was refused, and how.
deepest() ->
    Test = self(),
    {ok, Ctx} = py_context:new(#{}),
    ok = py:register_function(again, fun(N) ->
        case py_context:eval(Ctx, <<"__import__('erlang').again(n + 1)">>, #{n => N}) of
            {ok, _} = Ok -> Ok;
            {error, {Class, _}} -> Test ! {refused, N, Class}, ok
        end
    end),
    {ok, _} = py_context:eval(Ctx, <<"__import__('erlang').again(1)">>),
    receive {refused, N, Class} -> {N, Class} end.
