%% The features that the soak goes through. To add a rare one: an element of `rare/0', and its
%% function.
-module(py_soak_features).

-export([start/0, call/2]).

-export_type([pools/0]).

-type pools() :: tuple().
%% The names of the pools that most calls go to, one of each mode.

%% Frequent features in one round; in each, one rare one.
-define(ROUND, 20).
%% A stuck context takes long: it is made in one of so many rounds.
-define(STUCK_EVERY, 20).

%% Starts the pools, and registers the functions.
-spec start() -> pools().
start() ->
    Preload = <<"def echo(*args, **kwargs): return args[0]\n"
                "def fail(*args): raise ValueError(args)\n">>,
    Modes = [worker] ++ [subinterp || py:subinterp_supported()]
        ++ [owngil || py:owngil_supported()],
    _ = [{ok, _} = py_context_router:start_pool(Mode, #{contexts => 2, mode => Mode,
                                                        preload => Preload})
         || Mode <- Modes],
    {ok, _} = py_context_router:start(#{contexts => 2, preload => Preload}),
    {ok, _} = py_context_router:start_pool(soak_resized, #{contexts => 1}),
    {ok, _} = py_context_router:start_pool(soak_narrow, #{contexts => 1, max_queue => 1,
                                                          overload => {wait, 60_000}}),
    {ok, _} = py_context_router:start_pool(soak_stuck, #{contexts => 1, stuck_after => 20}),
    ok = py:register_function(soak_add, fun(N) -> N + 1 end),
    ok = py:register_function(soak_eval, fun(Ctx, N) ->
        {ok, N} = py_context:eval(Ctx, <<"n">>, #{n => N}),
        N
    end),
    list_to_tuple(Modes).

%% The next feature, in the next pool.
-spec call(pos_integer(), pools()) -> ok.
call(N, Pools) ->
    %% 7 and ?ROUND have no common divisor: every feature comes to every pool.
    Pool = element(N div 7 rem tuple_size(Pools) + 1, Pools),
    Ctx = py_context_router:get_context(Pool),
    case N rem ?ROUND of
        0 ->
            Rare = rare(),
            (element(N div ?ROUND rem tuple_size(Rare) + 1, Rare))(N, Ctx);
        Turn ->
            frequent(Turn, N, Ctx)
    end.

-spec frequent(1..19, pos_integer(), pid()) -> ok.
frequent(1, N, Ctx) -> echo(Ctx, N * 1_000_000_007 * 1_000_000_007);
frequent(2, N, Ctx) -> echo(Ctx, [N, 1.5, true, none, <<"é"/utf8>>]);
frequent(3, N, Ctx) -> echo(Ctx, #{<<"n">> => N, <<"list">> => lists:seq(1, 20)});
frequent(4, N, Ctx) -> echo(Ctx, {N, {self(), [make_ref()]}});
frequent(5, N, Ctx) -> expect({ok, N + 1}, py_context:eval(Ctx, <<"x + 1">>, #{x => N}));
frequent(6, N, Ctx) ->
    {error, {'ValueError', _}} = py_context:call(Ctx, '__main__', fail, [N]),
    ok;
frequent(7, N, Ctx) ->
    expect({ok, N}, py_context:call(Ctx, '__main__', echo, [N], #{a => <<"b">>, c => [1, 2]}));
frequent(8, N, _Ctx) -> expect({ok, N}, py:call(builtins, abs, [-N]));
frequent(9, _N, Ctx) -> py_context:exec(Ctx, <<"y = [1, 2, 3]">>);
frequent(10, N, Ctx) ->
    expect({ok, N + 1},
           py_context:eval(Ctx, <<"__import__('erlang').call('soak_add', n)">>, #{n => N}));
frequent(11, N, Ctx) ->
    expect({ok, N}, py_context:call(Ctx, builtins, abs, [-N], #{}, #{dispatch => direct}));
frequent(_, N, Ctx) -> expect({ok, N}, py_context:call(Ctx, builtins, abs, [-N])).

%% Features that cost more, and run rarely.
-spec rare() -> tuple().
rare() ->
    {fun large/2, fun environment/2, fun handle/2, fun buffer/2, fun compiled/2,
     fun unconvertible/2, fun variables_of_a_process/2, fun front/2, fun printed/2,
     fun logged/2, fun sent/2,
     fun nested/2, fun called_by_a_thread/2, fun function_of_a_moment/2, fun asynchronous/2,
     fun coroutine/2, fun coroutines/2, fun late_coroutine/2, fun awaited_function/2,
     fun program/2, fun spawned/2, fun parallel/2, fun cast/2,
     fun stream/2, fun closed_stream/2, fun stream_of_messages/2, fun cancelled_stream/2,
     fun timed_out/2, fun stopped/2, fun caller_that_dies/2, fun interrupted/2, fun killed/2,
     fun routed/2, fun bound/2, fun resized/2, fun waiting_for_capacity/2, fun stuck/2}.

%% ------------------------------------------------------------------ values

-spec large(pos_integer(), pid()) -> ok.
large(N, Ctx) -> echo(Ctx, binary:copy(integer_to_binary(N), 20_000)).

-spec environment(pos_integer(), pid()) -> ok.
environment(_N, Ctx) ->
    {ok, Env} = py_context:create_local_env(Ctx),
    py_context:exec(Ctx, <<"x = list(range(100))">>, Env).

-spec handle(pos_integer(), pid()) -> ok.
handle(N, Ctx) ->
    {ok, Handle} = py_context:eval(Ctx, <<"{n}">>, #{n => N}),
    {ok, 1} = py_context:call(Ctx, builtins, len, [Handle]),
    {ok, none} = py_context:call_method(Ctx, Handle, add, [1]),
    {ok, <<"set">>} = py_context:getattr(Ctx, Handle, '__class__.__name__'),
    {ok, Iterator} = py_context:call_method(Ctx, Handle, '__iter__', []),
    true = py_context:is_ref(Iterator),
    ok.

-spec buffer(pos_integer(), pid()) -> ok.
buffer(N, Ctx) ->
    {ok, Handle} = py_context:eval(Ctx, <<"__import__('array').array('B', bytes(n))">>,
                                   #{n => N rem 100_000 + 1}),
    {ok, #{dtype := <<"uint8">>}} = py_context:to_buffer(Handle, #{share => N rem 2 =:= 1}),
    ok.

-spec compiled(pos_integer(), pid()) -> ok.
compiled(N, Ctx) -> expect({ok, N}, py_context:eval(Ctx, integer_to_binary(N))).

-spec unconvertible(pos_integer(), pid()) -> ok.
unconvertible(_N, Ctx) ->
    {error, {unconvertible, _, _}} = py_context:call(Ctx, builtins, id, [fun() -> ok end]),
    {error, {too_deep, _}} = py_context:eval(Ctx, <<"(lambda l: l.append(l) or l)([])">>),
    {error, {'RecursionError', _}} = py_context:eval(Ctx, <<"(lambda f: f(f))(lambda f: f(f))">>),
    ok.

%% ------------------------------------------------------------------ the front, and Erlang

-spec variables_of_a_process(pos_integer(), pid()) -> ok.
variables_of_a_process(N, Ctx) ->
    in_a_process(fun() ->
        ok = py:exec(Ctx, <<"mine = 1">>),
        {ok, 1} = py:eval(Ctx, <<"mine">>),
        exit(N)
    end, N).

-spec front(pos_integer(), pid()) -> ok.
front(N, Ctx) ->
    {ok, N} = py:eval(<<"n">>, #{n => N}),
    expect({ok, <<"[1]">>}, py:call(Ctx, json, dumps, [[1]])).

-spec printed(pos_integer(), pid()) -> ok.
printed(_N, Ctx) -> py_context:exec(Ctx, <<"print('soaked')">>).

-spec logged(pos_integer(), pid()) -> ok.
logged(N, Ctx) ->
    py_context:exec(Ctx, <<"import erlang, logging\n"
                           "erlang.log('error', {'soaked': 1}, by='soak')\n"
                           "logging.error('soaked')">>, N + 60_000).

-spec sent(pos_integer(), pid()) -> ok.
sent(N, Ctx) ->
    {ok, _} = py_context:eval(Ctx, <<"__import__('erlang').send(to, ('soak', n))">>,
                              #{to => self(), n => N}),
    receive {<<"soak">>, N} -> ok end.

%% A nested call into the same context.
-spec nested(pos_integer(), pid()) -> ok.
nested(N, Ctx) ->
    expect({ok, N}, py_context:eval(Ctx, <<"__import__('erlang').call('soak_eval', ctx, n)">>,
                                    #{ctx => Ctx, n => N})).

-spec called_by_a_thread(pos_integer(), pid()) -> ok.
called_by_a_thread(_N, Ctx) ->
    py_context:exec(Ctx, <<"import threading, erlang\n"
                           "out = []\n"
                           "def add(): out.append(erlang.call('soak_add', 1))\n"
                           "t = threading.Thread(target=add)\n"
                           "t.start()\n"
                           "t.join()\n"
                           "assert out == [2]">>).

-spec function_of_a_moment(pos_integer(), pid()) -> ok.
function_of_a_moment(N, Ctx) ->
    Name = lists:nth(N rem 4 + 1, [soak_f1, soak_f2, soak_f3, soak_f4]),
    ok = py:register_function(Name, fun(X) -> X end),
    case py_context:eval(Ctx, <<"__import__('erlang').call(f, n)">>, #{f => Name, n => N}) of
        {ok, N} -> ok;
        %% Another caller has unregistered it.
        {error, {'NameError', _}} -> ok
    end,
    py:unregister_function(Name).

-spec coroutine(pos_integer(), pid()) -> ok.
coroutine(N, Ctx) ->
    expect({ok, N}, py_context:eval(Ctx, <<"await __import__('asyncio').sleep(0.001, n)">>,
                                    #{n => N})).

%% Beside one another in one context.
-spec coroutines(pos_integer(), pid()) -> ok.
coroutines(N, Ctx) ->
    Parent = self(),
    Pids = [spawn_link(fun() -> ok = coroutine(N + I, Ctx), Parent ! {done, self()} end)
            || I <- lists:seq(1, 50)],
    _ = [receive {done, Pid} -> ok end || Pid <- Pids],
    ok.

-spec late_coroutine(pos_integer(), pid()) -> ok.
late_coroutine(_N, Ctx) ->
    expect({error, timeout},
           py_context:eval(Ctx, <<"await __import__('asyncio').sleep(60)">>, #{}, 1)).

-spec awaited_function(pos_integer(), pid()) -> ok.
awaited_function(N, Ctx) ->
    expect({ok, N + 1},
           py_context:eval(Ctx, <<"await __import__('erlang').async_call('soak_add', n)">>,
                           #{n => N})).

-spec asynchronous(pos_integer(), pid()) -> ok.
asynchronous(N, Ctx) ->
    Code = <<"(lambda a: a.run(a.sleep(0, n)))(__import__('asyncio'))">>,
    expect({ok, N}, py_context:eval(Ctx, Code, #{n => N})).

-spec program(pos_integer(), pid()) -> ok.
program(_N, Ctx) ->
    expect({ok, 0}, py_context:eval(Ctx, <<"__import__('subprocess').call(['true'])">>)).

%% ------------------------------------------------------------------ many at once, streams

-spec spawned(pos_integer(), pid()) -> ok.
spawned(_N, _Ctx) ->
    Refs = [{I, py:spawn_call(builtins, abs, [-I])} || I <- [1, 2, 3]],
    _ = [{ok, I} = py:await(Ref) || {I, Ref} <- Refs],
    ok.

-spec parallel(pos_integer(), pid()) -> ok.
parallel(_N, _Ctx) ->
    expect({ok, [{ok, 1}, {ok, 2}]}, py:parallel([{builtins, abs, [-1]}, {builtins, abs, [-2]}])).

-spec cast(pos_integer(), pid()) -> ok.
cast(_N, Ctx) -> py:cast(Ctx, builtins, abs, [1]).

-spec stream(pos_integer(), pid()) -> ok.
stream(_N, Ctx) -> expect({ok, lists:seq(0, 19)}, py:stream(Ctx, builtins, range, [20])).

-spec closed_stream(pos_integer(), pid()) -> ok.
closed_stream(_N, Ctx) ->
    {ok, Stream} = py:stream_open(Ctx, itertools, count, []),
    {more, Items} = py:stream_next(Stream, 2),
    %% There may be fewer.
    true = lists:prefix(Items, [0, 1]),
    py:stream_close(Stream).

-spec stream_of_messages(pos_integer(), pid()) -> ok.
stream_of_messages(_N, Ctx) ->
    {ok, Ref} = py:stream_start(Ctx, builtins, range, [20]),
    _ = [receive {py_stream, Ref, {data, I}} -> ok end || I <- lists:seq(0, 19)],
    receive {py_stream, Ref, done} -> ok end.

-spec cancelled_stream(pos_integer(), pid()) -> ok.
cancelled_stream(_N, Ctx) ->
    {ok, Ref} = py:stream_start(Ctx, itertools, count, []),
    receive {py_stream, Ref, {data, 0}} -> ok end,
    py:stream_cancel(Ref).

%% ------------------------------------------------------------------ ends before the end

-spec timed_out(pos_integer(), pid()) -> ok.
timed_out(_N, Ctx) ->
    case py_context:exec(Ctx, <<"sum(range(2000))">>, 0) of
        ok -> ok;
        {error, timeout} -> ok
    end.

-spec stopped(pos_integer(), pid()) -> ok.
stopped(_N, Ctx) -> expect({error, timeout}, py_context:exec(Ctx, <<"while True: pass">>, 1)).

-spec caller_that_dies(pos_integer(), pid()) -> ok.
caller_that_dies(_N, Ctx) ->
    {Pid, Monitor} = spawn_monitor(fun() -> py_context:exec(Ctx, <<"sum(range(2000))">>) end),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% In a context of its own: an interrupt must not reach another caller's job.
-spec interrupted(pos_integer(), pid()) -> ok.
interrupted(N, _Ctx) ->
    {ok, Ctx} = py_context:new(#{mode => worker}),
    Caller = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        Code = <<"__import__('erlang').send(to, 'begun') or all(x == 0 for x in iter(int, 1))">>,
        {error, interrupted} = py_context:eval(Ctx, Code, #{to => Caller}),
        exit(N)
    end),
    receive <<"begun">> -> ok end,
    ok = py_context:interrupt(Ctx),
    receive {'DOWN', Monitor, process, Pid, N} -> ok end,
    py_context:stop(Ctx).

-spec killed(pos_integer(), pid()) -> ok.
killed(N, _Ctx) ->
    {ok, Ctx} = py_context_sup:start_context({soak, N}, worker),
    exit(Ctx, kill),
    {error, {context_died, _}} = py_context:exec(Ctx, <<"while True: pass">>),
    ok.

%% ------------------------------------------------------------------ pools

-spec routed(pos_integer(), pid()) -> ok.
routed(_N, _Ctx) ->
    ok = py_context_router:register_pool(worker, cmath, sqrt),
    {ok, _} = py:call(cmath, isnan, [1.0]),
    _ = py_context_router:lookup_pool(cmath, sqrt),
    py_context_router:unregister_pool(cmath, sqrt).

-spec bound(pos_integer(), pid()) -> ok.
bound(_N, Ctx) ->
    ok = py_context_router:bind_context(Ctx),
    Ctx = py_context_router:get_context(),
    py_context_router:unbind_context().

-spec resized(pos_integer(), pid()) -> ok.
resized(N, _Ctx) ->
    ok = py_context_router:resize_pool(soak_resized, N div ?ROUND rem 3 + 1),
    case py_context:call(py_context_router:get_context(soak_resized), builtins, abs, [-N]) of
        {ok, N} -> ok;
        %% Another caller has resized it.
        {error, {context_died, _}} -> ok
    end.

-spec waiting_for_capacity(pos_integer(), pid()) -> ok.
waiting_for_capacity(_N, _Ctx) ->
    Ctx = py_context_router:get_context(soak_narrow),
    Callers = [spawn_monitor(fun() -> {ok, I} = py_context:call(Ctx, builtins, abs, [-I]) end)
               || I <- lists:seq(1, 5)],
    _ = [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Callers],
    ok.

%% A job in C for longer than the pool's `stuck_after': its context is replaced.
-spec stuck(pos_integer(), pid()) -> ok.
stuck(N, _Ctx) when N div ?ROUND div 33 rem ?STUCK_EVERY =:= 0 ->
    Ctx = py_context_router:get_context(soak_stuck),
    {error, timeout} = py_context:call(Ctx, time, sleep, [0.1], #{}, 1),
    expect({ok, N}, py_context:call(Ctx, builtins, abs, [-N]));
stuck(_N, _Ctx) ->
    ok.

%% ------------------------------------------------------------------ helpers

-spec in_a_process(fun(() -> term()), term()) -> ok.
in_a_process(Fun, Expected) ->
    {Pid, Monitor} = spawn_monitor(Fun),
    receive {'DOWN', Monitor, process, Pid, Reason} -> expect(Expected, Reason) end.

-spec echo(pid(), term()) -> ok.
echo(Ctx, Value) ->
    expect({ok, Value}, py_context:call(Ctx, '__main__', echo, [Value])).

-spec expect(Same, Same) -> ok.
expect(Same, Same) -> ok.
