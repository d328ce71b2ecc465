%% Whatever the native functions get, they return or raise `badarg', and the VM goes on: no module
%% of this application is trusted with what it passes. The functions are read from py_nif, so that
%% new ones are included. In a VM of their own, which a crash would end.
-module(fuzz_nif_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([native_functions_return_or_raise_badarg/1, functions/1,
         requests_of_any_shape_are_answered/1, requests/1,
         a_context_is_handed_over_only_to_another_one_of_its_process/1]).

-define(SEED, 42).
%% For an answer, on a busy machine.
-define(DEADLINE, 30_000).

all() ->
    [native_functions_return_or_raise_badarg, requests_of_any_shape_are_answered,
     a_context_is_handed_over_only_to_another_one_of_its_process].

init_per_suite(Config) -> Config.

end_per_suite(_Config) -> ok.

native_functions_return_or_raise_badarg(Config) ->
    fuzz_helpers:passes(?MODULE, functions, Config).

requests_of_any_shape_are_answered(Config) ->
    fuzz_helpers:passes(?MODULE, requests, Config).

a_context_is_handed_over_only_to_another_one_of_its_process(_Config) ->
    {ok, _} = application:ensure_all_started(py_context_router),
    One = handle(),
    Others = test_helpers:answer(test_helpers:ask(fun handle/0)),
    [?assertError(badarg, py_nif:context_take_over(From, To))
     || {From, To} <- [{One, One}, {One, Others}, {Others, One}]],
    %% It isn't stuck.
    ?assertNot(py_nif:context_take_over(One, handle())),
    ok = application:stop(py_context_router).

%% ------------------------------------------------------------------ in the other VM

functions(Progress) ->
    Ctx = started(),
    Outcome = fuzz_helpers:run(#{functions => fuzz_helpers:exports(py_nif),
                                 samples => samples(Ctx), accepts => fun accepts/2,
                                 leaves_out => fun(_, _) -> false end,
                                 survives => fun() -> serves(Ctx) end,
                                 progress => Progress, seed => ?SEED}),
    %% Some of these have taken over from processes of the application. It starts anew.
    ok = application:stop(py_context_router),
    New = started(),
    ok = py:register_function(fuzzed, fun(X) -> X + 1 end),
    {ok, 3} = py_context:eval(New, <<"__import__('erlang').call('fuzzed', 2)">>),
    Outcome.

started() ->
    ok = logger:set_primary_config(level, none),
    {ok, _} = application:ensure_all_started(py_context_router),
    {ok, Ctx} = py_context:new(#{mode => worker}),
    Ctx.

accepts(_MFA, {returned, _, _}) -> true;
accepts(_MFA, {error, badarg, _}) -> true;
accepts(_MFA, _Outcome) -> false.

serves(Ctx) ->
    {ok, 2} =:= py_context:eval(Ctx, <<"1 + 1">>, #{}, ?DEADLINE) orelse no_answer.

samples(Ctx) ->
    #{{builtin, pid} => fun() -> Ctx end,
      {builtin, reference} => fun make_ref/0,
      %% Of a request whose result comes as a message.
      {annotated, 'RequestId'} => fun() -> py_nif:submit_async(Ctx, eval()) end,
      {annotated, 'Tag'} => fun() -> py_nif:process_ref(self()) end,
      {py_nif, handle} => fun handle/0,
      {py_nif, pool} => fun() -> pool(Ctx) end,
      {py_nif, request} => fun eval/0,
      {py_nif, settings} => fun settings/0,
      {py_nif, callback_ref} => fun callback_ref/0,
      {py_context, context_mode} => fun() -> worker end}.

eval() ->
    {eval, make_ref(), 0, <<"1">>, #{}, none}.

%% The context ends with the process that has it.
handle() ->
    Options = #{mode => worker, max_queue => 10, preload => [], on_caller_down => interrupt,
                stuck_after => 5_000, interrupt_grace => 1_000, direct_limit => 200,
                max_tasks => 100, cancel_grace => 1_000, event_loop => asyncio,
                overload => refuse, pool => undefined},
    py_nif:context_start(make_ref(), Options).

pool(Ctx) ->
    Pool = py_nif:pool_new(3, 2, true),
    ok = py_nif:pool_set(Pool, 2, Ctx),
    Pool.

%% A service gets references, as long as none of its workers is idle.
callback_ref() ->
    ok = py_nif:register_service(py_callbacks),
    py_nif:callback_new_ref().

settings() ->
    #{max_depth => 1000, spin_us => 20, callback_depth => 64,
      redirect_output => true, quarantine_limit => 32, logging => [], variables => nil}.

%% ------------------------------------------------------------------ requests

%% Each element of each kind of request in turn is something else, by each way of asking.
requests(Progress) ->
    Ctx = started(),
    Shapes = [fun() -> shape(Kind, Ctx) end || Kind <- kinds()],
    Calls = [{Shape, N, Wrong} || Shape <- Shapes, N <- lists:seq(1, tuple_size(Shape())),
                                  Wrong <- fuzz_helpers:wrong()],
    Short = [{fun() -> list_to_tuple(lists:sublist(tuple_to_list(Shape()), Size)) end, 0, none}
             || Shape <- Shapes, Size <- lists:seq(0, 6)],
    Failures = [Failure || Call <- Calls ++ Short, Failure <- [asked(Ctx, Call, Progress)],
                           Failure =/= ok],
    {length(Calls) + length(Short), Failures}.

kinds() ->
    [call, map, eval, exec, call_method, getattr, to_term, to_buffer, stream_next, stream_push,
     stream_close, gather, new_env].

shape(call, _) -> {call, make_ref(), 0, math, sqrt, [4], #{}, none};
shape(map, _) -> {map, make_ref(), 0, math, sqrt, [[4], [9]], #{}, none};
shape(eval, _) -> {eval, make_ref(), 0, <<"1">>, #{x => 1}, process};
shape(exec, _) -> {exec, make_ref(), 0, <<"x = 1">>, none};
shape(call_method, Ctx) -> {call_method, make_ref(), 0, object(Ctx), append, [1], #{}};
shape(getattr, Ctx) -> {getattr, make_ref(), 0, object(Ctx), append};
shape(to_term, Ctx) -> {to_term, make_ref(), 0, object(Ctx)};
shape(to_buffer, Ctx) -> {to_buffer, make_ref(), 0, object(Ctx), false};
shape(stream_next, Ctx) -> {stream_next, make_ref(), 0, stream(Ctx), 2};
shape(stream_push, Ctx) -> {stream_push, make_ref(), 0, stream(Ctx), 2, make_ref(), self()};
shape(stream_close, Ctx) -> {stream_close, make_ref(), 0, stream(Ctx)};
shape(gather, Ctx) -> {gather, make_ref(), 0, [deferred(Ctx)]};
shape(new_env, _) -> {new_env, make_ref(), 0}.

%% Bytes of its own, which it appends to.
object(Ctx) ->
    {ok, Object} = py_context:eval(Ctx, <<"__import__('array').array('b', b'1')">>),
    Object.

stream(Ctx) ->
    Result = answer(py_nif:submit(Ctx, {eval, make_ref(), 32, <<"range(3)">>, #{}, none})),
    {ok, Stream} = Result,
    Stream.

deferred(Ctx) ->
    ok = py_context:exec(Ctx, <<"async def coroutine(): return 1">>),
    {ok, [Coroutine]} = py_context:eval(Ctx, <<"[coroutine()]">>),
    Coroutine.

asked(Ctx, {Shape, N, Wrong}, Progress) ->
    Request = case {Shape(), N} of
                  {Whole, 0} -> Whole;
                  {Whole, _} -> setelement(N, Whole, Wrong)
              end,
    ok = file:write_file(Progress, io_lib:format("~0tP~n", [Request, 50]), [raw]),
    Answers = [{Asked, catch_badarg(fun() -> result(Asked, Ctx, Request) end)}
               || Asked <- [submit, submit_next, submit_sync, submit_as_waiter, submit_async,
                            submit_cast]],
    case {[Answer || {_, Result} = Answer <- Answers, not is_right(Result)], serves(Ctx)} of
        {[], true} -> ok;
        Other -> {Request, Other}
    end.

result(submit_async, Ctx, Request) -> answer(py_nif:submit_async(Ctx, Request));
%% Whether there was an error and a report of it, or neither: both are looked for by asking again.
result(submit_cast, Ctx, Request) ->
    RequestId = py_nif:submit_cast(Ctx, Request, ?MODULE),
    true = serves(Ctx),
    %% A coroutine is done after the next job.
    _ = test_helpers:eventually(fun() ->
        not is_reference(RequestId) orelse py_nif:request_is_settled(RequestId)
    end),
    _ = test_helpers:messages(),
    ok;
result(submit_sync, Ctx, Request) -> answer(py_nif:submit_sync(Ctx, Request, infinity));
result(Function, Ctx, Request) -> answer(py_nif:Function(Ctx, Request)).

answer({spin, Seq}) -> answer(Seq);
answer({error, _} = Error) -> Error;
answer(_Asked) ->
    receive
        {py_result, _RequestId, Result} -> Result;
        {py_stream, _Tag, {data, _}} -> answer(next);
        {_Ref, Result} -> Result
    after ?DEADLINE -> no_answer
    end.

catch_badarg(Fun) ->
    try Fun()
    catch error:badarg -> {error, badarg}
    end.

is_right(ok) -> true;
is_right({Tag, _}) -> lists:member(Tag, [ok, error]);
is_right(_) -> false.
