%% @doc The front: Python from any Erlang process, without a thought about contexts.
%%
%% A call goes to the pool that its Python function is registered for
%% (`py_context_router:register_pool/2,3'), else to pool `default', which starts when it is first
%% needed, as the application environment's `default_pool' says; in the pool, to the context that
%% the process has bound, else to the one that has its state, else to that of its scheduler. A call
%% that names a pool or a context goes there.
%%
%% <b>Each process has variables of its own.</b> Code runs in a namespace that is private to the
%% calling process in that context: made when it is first needed, gone when the process dies. Behind
%% it lies the context's own namespace, with what `preload' and {@link py_context:exec/2} have put
%% there: a name that the process hasn't set itself is looked up there. Code sees it as it was when
%% its job began; assignments and `del' touch the private namespace only.
%%
%% A process that has run {@link exec/1} without naming a context has its state in one context, so
%% from then on its calls into that pool go to that one; {@link py_context_router:bind_context/1}
%% goes before that. When that context dies the state is gone and the process is routed anew.
%%
%% Results are `{ok, Value}' (or `ok') or `{error, Reason}' with the reasons of {@link
%% py_context}, `{pool_not_started, Pool}' and `{bad_option, {Key, Value}}'. Calls that are routed
%% by pool take 30 s at most by default, those into a named context as long as they take. While a
%% pool has no living context, they wait, in their time, for one to be back. An argument of the
%% wrong type is a `badarg'.
%%
%% The file is over 400 lines because it is the front's documentation: a spec and a text for each
%% shape of each function, and next to no code.
-module(py).

%% Running Python.
-export([call/3, call/4, call/5, call/6, eval/1, eval/2, eval/3, eval/4]).
-export([exec/1, exec/2, exec/3]).
%% Without waiting, and many at once.
-export([spawn_call/3, spawn_call/4, spawn_call/5, await/1, await/2]).
-export([cast/3, cast/4, cast/5, parallel/1, parallel/2, map/3, map/4, map/5]).
%% Streams.
-export([stream/3, stream/4, stream/5, stream_eval/1, stream_eval/2]).
-export([stream_start/3, stream_start/4, stream_start/5, stream_start/6, stream_cancel/1]).
-export([stream_open/3, stream_open/4, stream_open/5, stream_next/2, stream_close/1]).
%% Handles on Python objects.
-export([is_ref/1, call_method/3, call_method/4, call_method/5, getattr/2, getattr/3]).
-export([to_term/1, to_term/2, to_buffer/1, to_buffer/2]).
%% What every context has.
-export([import/1, add_path/1, reload/1, gc/0, memory_stats/0]).
-export([ensure_venv/2, ensure_venv/3, activate_venv/1, deactivate_venv/0, venv_info/0]).
%% Environment variables.
-export([putenv/2, getenv/1, unsetenv/1]).
%% Contexts and pools.
-export([context/0, context/1, start_contexts/0, start_contexts/1, stop_contexts/0]).
-export([contexts_started/0, register_pool/2, unregister_pool/1, interrupt/1]).
%% What the linked Python is, and can do.
-export([version/0, subinterp_supported/0, owngil_supported/0]).
%% What Python can call.
-export([register_function/2, register_function/3, register_function/4, unregister_function/1]).

-type target() :: pid() | py_context_router:pool_name().
%% Where: a context, or a pool.
-type options() :: #{kwargs => py_context:kwargs(),
                     timeout => timeout(),
                     env => process | none | py_context:env(),
                     traceback => boolean(),
                     values => erlang | elixir,
                     on_caller_down => interrupt | finish,
                     result => auto | term | object,
                     dispatch => direct | queue}.
%% `kwargs': keyword arguments. `timeout': in ms. `env': whose variables are used: the calling
%% process's (`process', the default), the context's own (`none'), or those of an environment made
%% by `py_context:create_local_env/1'. `traceback': whether an exception comes with its traceback.
%% `values': with `elixir', `None' is `nil' and a handle on an object the struct `Py.Object' in
%% the result, at any depth; with `erlang', the default, they are `none' and a reference.
%% `on_caller_down': what becomes of the call when the calling process dies. `result': as in
%% `py_context:call_options()'; of streams, for each item; not of `exec'. `dispatch': where the call
%% may run, of `call' only, see `py_context_router:register_direct/2'.
-type result() :: {ok, term()} | {error, error()}.
-type error() :: py_context:error()
               | {pool_not_started, py_context_router:pool_name()}
               | {remote_context, pid()}
               | {bad_option, {Key :: term(), Value :: term()}}
               | py_context_router:start_error().

-export_type([target/0, options/0, result/0, error/0]).

-include("../base/py_check.hrl").

-define(TAKEN, <<"a name that Python's module erlang has itself, and so would never find">>).
-define(NOT_A_TIMEOUT, <<"neither a number of ms nor infinity">>).

%% ------------------------------------------------------------------ running Python

%% @doc Calls `Module.Func(*Args)' in the pool that the function is registered for.
-spec call(py_context:name(), py_context:name(), py_context:args()) -> result().
call(Module, Func, Args) ->
    run(py_args:call([Module, Func, Args])).

%% @doc `call(Module, Func, Args, Kwargs)', or `call(Target, Module, Func, Args)' with a context
%% or a pool. With a pool, `Func' is an atom or a binary: a string would look like arguments.
-spec call(target() | py_context:name(), py_context:name(), py_context:name() | py_context:args(),
           py_context:args() | py_context:kwargs()) -> result().
call(A, B, C, D) ->
    run(py_args:call([A, B, C, D])).

%% @doc `call(Module, Func, Args, Kwargs, Timeout)', with a map of options in the timeout's place
%% if need be; `call(Ctx, Module, Func, Args, Options)', with `kwargs' and `timeout' among them;
%% or `call(Pool, Module, Func, Args, Kwargs)'. Keyword arguments come in one of these places: the
%% option `kwargs' beside others is a `{bad_option, _}'.
-spec call(target() | py_context:name(), py_context:name(), py_context:name() | py_context:args(),
           py_context:args() | py_context:kwargs(), timeout() | options() | py_context:kwargs()) ->
    result().
call(A, B, C, D, E) ->
    run(py_args:call([A, B, C, D, E])).

%% @doc In a context or a pool, with keyword arguments and a timeout or options.
-spec call(target(), py_context:name(), py_context:name(), py_context:args(),
           py_context:kwargs(), timeout() | options()) -> result().
call(Target, Module, Func, Args, Kwargs, Options) ->
    run(py_args:call([Target, Module, Func, Args, Kwargs, Options])).

%% @doc Evaluates a Python expression in pool `default'.
-spec eval(py_context:source()) -> result().
eval(Source) ->
    run(py_args:eval([Source])).

%% @doc `eval(Source, Locals)' with variables, or `eval(Target, Source)' in a context or a pool.
-spec eval(target() | py_context:source(), py_context:source() | py_context:locals()) -> result().
eval(A, B) ->
    run(py_args:eval([A, B])).

%% @doc `eval(Source, Locals, Timeout)', or `eval(Target, Source, Locals)'.
-spec eval(target() | py_context:source(), py_context:source() | py_context:locals(),
           timeout() | options() | py_context:locals()) -> result().
eval(A, B, C) ->
    run(py_args:eval([A, B, C])).

%% @doc In a context or a pool, with variables and a timeout or options.
-spec eval(target(), py_context:source(), py_context:locals(), timeout() | options()) -> result().
eval(Target, Source, Locals, Options) ->
    run(py_args:eval([Target, Source, Locals, Options])).

%% @doc Runs Python statements in pool `default', whose context has this process's state from then
%% on.
-spec exec(py_context:source()) -> ok | {error, error()}.
exec(Source) ->
    run(py_args:exec([Source])).

%% @doc `exec(Target, Source)' in a context or a pool, or `exec(Source, Timeout)'.
-spec exec(target() | py_context:source(), py_context:source() | timeout() | options()) ->
    ok | {error, error()}.
exec(A, B) ->
    run(py_args:exec([A, B])).

%% @doc In a context or a pool, with a timeout or options.
-spec exec(target(), py_context:source(), timeout() | options()) -> ok | {error, error()}.
exec(Target, Source, Options) ->
    run(py_args:exec([Target, Source, Options])).

-spec run(py_args:parsed()) -> term().
run(Parsed) ->
    case py_args:complete(Parsed) of
        {ok, Request} -> py_dispatch:run(Request);
        {error, _} = Error -> Error
    end.

%% ------------------------------------------------------------------ without waiting

%% @doc Calls as `call/3' does, and returns a reference at once. The result comes as the message
%% `{py_result, Ref, Result}', which {@link await/1} waits for.
-spec spawn_call(py_context:name(), py_context:name(), py_context:args()) -> reference().
spawn_call(Module, Func, Args) ->
    spawned(py_args:call([Module, Func, Args])).

%% @doc In the shapes of `call/4'.
-spec spawn_call(target() | py_context:name(), py_context:name(),
                 py_context:name() | py_context:args(), py_context:args() | py_context:kwargs()) ->
    reference().
spawn_call(A, B, C, D) ->
    spawned(py_args:call([A, B, C, D])).

%% @doc In the shapes of `call/5'. A timeout is kept although nobody waits: when it is over the call
%% is stopped, and its result is `{error, timeout}'.
-spec spawn_call(target() | py_context:name(), py_context:name(),
                 py_context:name() | py_context:args(), py_context:args() | py_context:kwargs(),
                 timeout() | options() | py_context:kwargs()) -> reference().
spawn_call(A, B, C, D, E) ->
    spawned(py_args:call([A, B, C, D, E])).

-spec spawned(py_args:parsed()) -> reference().
spawned(Parsed) ->
    case py_args:complete_queued(Parsed) of
        {ok, Request} ->
            py_async:spawn_call(Request, py_args:limit(Parsed));
        {error, _} = Error ->
            Ref = make_ref(),
            self() ! {py_result, Ref, Error},
            Ref
    end.

%% @doc Waits 30 s at most for the result of a `spawn_call'. @equiv await(Ref, 30_000)
-spec await(reference()) -> result().
await(Ref) ->
    await(Ref, 30_000).

%% @doc Waits for the result of a `spawn_call' of this process. When the time is up the call is
%% stopped, as with `call/5', and no message comes later. Like any `receive' of a message that may
%% have come already, it looks through the process's message queue; `call' and `parallel' don't.
-spec await(reference(), timeout()) -> result().
await(Ref, Timeout) when is_reference(Ref), ?IS_TIMEOUT(Timeout) ->
    py_async:await(Ref, Timeout);
await(Ref, Timeout) when is_reference(Ref) ->
    ?BADARG([Ref, Timeout], {argument, 2, ?NOT_A_TIMEOUT});
await(Ref, Timeout) ->
    ?BADARG([Ref, Timeout], {argument, 1, <<"not a reference">>}).

%% @doc Calls as `call/3' does, and forgets it: `ok' once it is queued, or while its pool has no
%% living context. What goes wrong later is logged. It runs also when this process dies meanwhile,
%% unless an option says otherwise.
-spec cast(py_context:name(), py_context:name(), py_context:args()) -> ok | {error, error()}.
cast(Module, Func, Args) ->
    forgotten(py_args:call([Module, Func, Args])).

%% @doc In the shapes of `call/4'.
-spec cast(target() | py_context:name(), py_context:name(), py_context:name() | py_context:args(),
           py_context:args() | py_context:kwargs()) -> ok | {error, error()}.
cast(A, B, C, D) ->
    forgotten(py_args:call([A, B, C, D])).

%% @doc In the shapes of `call/5'. A timeout stops it, and with `on_caller_down => interrupt' so
%% does the death of this process.
-spec cast(target() | py_context:name(), py_context:name(), py_context:name() | py_context:args(),
           py_context:args() | py_context:kwargs(),
           timeout() | options() | py_context:kwargs()) -> ok | {error, error()}.
cast(A, B, C, D, E) ->
    forgotten(py_args:call([A, B, C, D, E])).

-spec forgotten(py_args:parsed()) -> ok | {error, error()}.
forgotten(Parsed) ->
    case py_args:complete_queued(Parsed) of
        {ok, Request} -> py_async:cast(py_request:survive_caller(Request), py_args:limit(Parsed));
        {error, _} = Error -> Error
    end.

%% @doc Runs many calls side by side, for 30 s at most. @equiv parallel(Calls, 30_000)
-spec parallel([Call]) -> {ok, [result()]}
    when Call :: {py_context:name(), py_context:name(), py_context:args()}
               | {py_context:name(), py_context:name(), py_context:args(), py_context:kwargs()}.
parallel(Calls) ->
    parallel(Calls, 30_000).

%% @doc Runs many calls side by side and gives their results in order, each `{ok, Value}' or
%% `{error, Reason}': one that fails takes no other along, and when the time is up the others'
%% results are there.
%%
%% They are spread over the contexts of the pools that they are registered for; where the process
%% has bound itself to a context, or has its own functions (module `__main__'), they go there.
%% Coroutines (`async def') that come together in one context wait together.
%%
%% Options in the timeout's place hold for each call, and `timeout' (default 30 000) for all of them
%% together.
-spec parallel([Call], timeout() | options()) ->
    {ok, [result()]} | {error, {bad_option, {Key :: term(), Value :: term()}}}
    when Call :: {py_context:name(), py_context:name(), py_context:args()}
               | {py_context:name(), py_context:name(), py_context:args(), py_context:kwargs()}.
parallel(Calls, Timeout) when is_list(Calls), ?IS_TIMEOUT(Timeout) ->
    %% All are looked at before the first is made.
    Requests = py_args:calls(Calls, [Calls, Timeout]),
    {ok, py_async:parallel(Requests, Timeout)};
parallel(Calls, #{kwargs := Kwargs}) when is_list(Calls) ->
    {error, {bad_option, {kwargs, Kwargs}}};
parallel(Calls, Options) when is_list(Calls), is_map(Options) ->
    Requests = py_args:calls(Calls, [Calls, Options]),
    with_limit(Options, fun(#{timeout := Timeout} = Timed) ->
        case py_args:complete_each(Requests, Timed) of
            {ok, Complete} -> {ok, py_async:parallel(Complete, Timeout)};
            {error, _} = Error -> Error
        end
    end);
parallel(Calls, Timeout) when is_list(Calls) ->
    ?BADARG([Calls, Timeout], {argument, 2, ?NOT_A_TIMEOUT});
parallel(Calls, Timeout) ->
    ?BADARG([Calls, Timeout], {argument, 1, <<"not a list">>}).

%% @doc Calls `Module.Func(*Args)' for each `Args' of a list, for 30 s at most, and gives the
%% results in the order of the list: each is `{ok, Value}' or `{error, Reason}', and one that is an
%% error takes no other along. The calls are spread over the contexts of the pool that the function
%% is registered for, each of which makes many of them as one job: short ones cost a fraction of
%% what they would one by one.
%%
%% ```
%% 1> py:map(math, sqrt, [[16], [-1], [25]]).
%% {ok,[{ok,4.0},{error,{'ValueError',<<"math domain error">>}},{ok,5.0}]}
%% '''
%%
%% In which order calls are made in different contexts isn't known. Where the process has bound
%% itself to a context, or has its own functions (module `__main__'), all are made there, one after
%% the other. What becomes of coroutines and other results, and when the map as a whole is an error,
%% is as in {@link py_context:map/4}. For the results of those that were in time, see {@link
%% parallel/2}.
-spec map(py_context:name(), py_context:name(), [py_context:args()]) ->
    {ok, [result()]} | {error, error()}.
map(Module, Func, ListOfArgs) ->
    mapped(py_args:map([Module, Func, ListOfArgs])).

%% @doc `map(Module, Func, ListOfArgs, Options)', or a timeout for all calls together in the place
%% of the options; or `map(Target, Module, Func, ListOfArgs)' in a context or a pool. The option
%% `kwargs' are keyword arguments that every call gets.
-spec map(target() | py_context:name(), py_context:name(), py_context:name() | [py_context:args()],
          [py_context:args()] | timeout() | options()) -> {ok, [result()]} | {error, error()}.
map(A, B, C, D) ->
    mapped(py_args:map([A, B, C, D])).

%% @doc In a context or a pool, with a timeout or options.
-spec map(target(), py_context:name(), py_context:name(), [py_context:args()],
          timeout() | options()) -> {ok, [result()]} | {error, error()}.
map(Target, Module, Func, ListOfArgs, Options) ->
    mapped(py_args:map([Target, Module, Func, ListOfArgs, Options])).

-spec mapped(py_args:parsed()) -> {ok, [result()]} | {error, error()}.
mapped(Parsed) ->
    case py_args:complete(Parsed) of
        {ok, Request} -> py_dispatch:map(Request);
        {error, _} = Error -> Error
    end.

%% ------------------------------------------------------------------ streams

%% @doc Calls as `call/3' does, and gives all items of the iterable, generator or asynchronous
%% generator that the function returns. The context serves others between items. The timeout is for
%% all of it; when it is over, the generator is closed as soon as its last step has ended.
-spec stream(py_context:name(), py_context:name(), py_context:args()) ->
    {ok, [term()]} | {error, error()}.
stream(Module, Func, Args) ->
    collected(py_args:call([Module, Func, Args])).

%% @doc In the shapes of `call/4'.
-spec stream(target() | py_context:name(), py_context:name(),
             py_context:name() | py_context:args(), py_context:args() | py_context:kwargs()) ->
    {ok, [term()]} | {error, error()}.
stream(A, B, C, D) ->
    collected(py_args:call([A, B, C, D])).

%% @doc In the shapes of `call/5'.
-spec stream(target() | py_context:name(), py_context:name(),
             py_context:name() | py_context:args(), py_context:args() | py_context:kwargs(),
             timeout() | options() | py_context:kwargs()) -> {ok, [term()]} | {error, error()}.
stream(A, B, C, D, E) ->
    collected(py_args:call([A, B, C, D, E])).

%% @doc All items of what an expression gives.
-spec stream_eval(py_context:source()) -> {ok, [term()]} | {error, error()}.
stream_eval(Source) ->
    collected(py_args:eval([Source])).

%% @doc In the shapes of `eval/2'.
-spec stream_eval(target() | py_context:source(), py_context:source() | py_context:locals()) ->
    {ok, [term()]} | {error, error()}.
stream_eval(A, B) ->
    collected(py_args:eval([A, B])).

-spec collected(py_args:parsed()) -> {ok, [term()]} | {error, error()}.
collected(Parsed) ->
    case py_args:complete_queued(Parsed) of
        {ok, Request} -> py_stream:collect(Request);
        {error, _} = Error -> Error
    end.

%% @doc Starts a stream whose items come as messages: `{py_stream, Ref, {data, Item}}' for each,
%% then `{py_stream, Ref, done}' or `{py_stream, Ref, {error, Reason}}'.
%%
%% A slow consumer slows the generator: no more than 100 items (option `read_ahead') wait in its
%% message queue. Taking one out acknowledges it; there is nothing else to do. The generator is
%% closed when this process dies. When another process cancels the stream, the reason is
%% `cancelled'.
-spec stream_start(py_context:name(), py_context:name(), py_context:args()) ->
    {ok, Ref :: reference()} | {error, error()}.
stream_start(Module, Func, Args) ->
    streaming(py_args:call([Module, Func, Args])).

%% @doc In the shapes of `call/4'.
-spec stream_start(target() | py_context:name(), py_context:name(),
                   py_context:name() | py_context:args(),
                   py_context:args() | py_context:kwargs()) ->
    {ok, Ref :: reference()} | {error, error()}.
stream_start(A, B, C, D) ->
    streaming(py_args:call([A, B, C, D])).

%% @doc In the shapes of `call/5'. The options are `kwargs', `env', `traceback', `result' and
%% `read_ahead'; there is no timeout, and `on_caller_down' can't be `finish'.
-spec stream_start(target() | py_context:name(), py_context:name(),
                   py_context:name() | py_context:args(),
                   py_context:args() | py_context:kwargs(),
                   options() | #{read_ahead => pos_integer()} | py_context:kwargs()) ->
    {ok, Ref :: reference()} | {error, error()}.
stream_start(A, B, C, D, E) ->
    streaming(py_args:call([A, B, C, D, E])).

%% @doc In the shape of `call/6', with the options of `stream_start/5'.
-spec stream_start(target(), py_context:name(), py_context:name(), py_context:args(),
                   py_context:kwargs(), options() | #{read_ahead => pos_integer()}) ->
    {ok, Ref :: reference()} | {error, error()}.
stream_start(Target, Module, Func, Args, Kwargs, Options) ->
    streaming(py_args:call([Target, Module, Func, Args, Kwargs, Options])).

-spec streaming(py_args:parsed()) -> {ok, reference()} | {error, error()}.
streaming(Parsed) ->
    case py_args:complete_stream(Parsed) of
        {ok, Request, ReadAhead} -> py_stream_server:start(Request, ReadAhead);
        {error, _} = Error -> Error
    end.

%% @doc Ends a stream: on return its generator is closed (its `finally' has run), and no message
%% of the stream is left with the caller. Idempotent. When the caller isn't the process that has
%% started the stream, that one gets `{py_stream, Ref, {error, cancelled}}' after the items that
%% it has.
-spec stream_cancel(reference()) -> ok.
stream_cancel(Ref) ->
    try py_stream_server:cancel(Ref)
    catch error:badarg -> ?BADARG([Ref], {argument, 1, <<"not a stream's reference">>})
    end.

%% @doc Opens a stream whose items are asked for, with {@link stream_next/2}.
-spec stream_open(py_context:name(), py_context:name(), py_context:args()) ->
    {ok, py_stream:stream()} | {error, error()}.
stream_open(Module, Func, Args) ->
    opened(py_args:call([Module, Func, Args])).

%% @doc In the shapes of `call/4'.
-spec stream_open(target() | py_context:name(), py_context:name(),
                  py_context:name() | py_context:args(),
                  py_context:args() | py_context:kwargs()) ->
    {ok, py_stream:stream()} | {error, error()}.
stream_open(A, B, C, D) ->
    opened(py_args:call([A, B, C, D])).

%% @doc In the shapes of `call/5'.
-spec stream_open(target() | py_context:name(), py_context:name(),
                  py_context:name() | py_context:args(),
                  py_context:args() | py_context:kwargs(),
                  timeout() | options() | py_context:kwargs()) ->
    {ok, py_stream:stream()} | {error, error()}.
stream_open(A, B, C, D, E) ->
    opened(py_args:call([A, B, C, D, E])).

-spec opened(py_args:parsed()) -> {ok, py_stream:stream()} | {error, error()}.
opened(Parsed) ->
    case py_args:complete_queued(Parsed) of
        {ok, Request} -> py_stream:open(Request);
        {error, _} = Error -> Error
    end.

%% @doc The next items of a stream, at most `Max', and whether there may be `more', it is `done',
%% or it ended with an error after these items. They may be fewer, also none, while there are
%% more.
-spec stream_next(py_stream:stream(), Max :: pos_integer()) ->
    {more | done | {error, error()}, [term()]}.
stream_next(Stream, Max) when is_integer(Max), Max > 0 ->
    ok = check_stream(Stream, [Stream, Max]),
    py_stream:next(Stream, Max);
stream_next(Stream, Max) ->
    ?BADARG([Stream, Max], {argument, 2, <<"not a number of items">>}).

%% @doc Ends a stream before its time. One that is dropped is closed when its handle is garbage
%% collected.
-spec stream_close(py_stream:stream()) -> ok | {error, error()}.
stream_close(Stream) ->
    ok = check_stream(Stream, [Stream]),
    py_stream:close(Stream).

-spec check_stream(term(), [term()]) -> ok.
check_stream(Stream, All) ->
    case py_stream:is_stream(Stream) of
        true -> ok;
        false -> ?BADARG(All, {argument, 1, <<"not a stream of stream_open">>})
    end.

%% ------------------------------------------------------------------ handles on objects

%% @doc Whether a term is a handle on a Python object. @equiv py_context:is_ref(Term)
-spec is_ref(term()) -> boolean().
is_ref(Term) ->
    py_context:is_ref(Term).

%% @doc Calls a method of the object behind a handle, in the object's own context.
-spec call_method(py_context:object(), py_context:name(), py_context:args()) -> result().
call_method(Object, Method, Args) ->
    call_method(Object, Method, Args, #{}).

%% @doc With keyword arguments.
-spec call_method(py_context:object(), py_context:name(), py_context:args(),
                  py_context:kwargs()) -> result().
call_method(Object, Method, Args, Kwargs) ->
    call_method(Object, Method, Args, Kwargs, #{}).

%% @doc With a timeout, in ms, default 30 000; or with options.
-spec call_method(py_context:object(), py_context:name(), py_context:args(),
                  py_context:kwargs(), timeout() | py_context:object_options()) -> result().
call_method(Object, Method, Args, Kwargs, Options) ->
    Called = {?MODULE, call_method, [Object, Method, Args, Kwargs, Options]},
    Name = py_check:name(Method, 2, Called),
    ok = check_list(Args, 3, Called),
    Named = py_check:named(Kwargs, 4, Called),
    in_context_of(Object, Options, Called, fun(Ctx, Limited) ->
        py_context:call_method(Ctx, Object, Name, Args, Named, Limited)
    end).

%% @doc An attribute of the object behind a handle.
-spec getattr(py_context:object(), py_context:name()) -> result().
getattr(Object, Name) ->
    getattr(Object, Name, #{}).

%% @doc With a timeout, in ms, default 30 000; or with options.
-spec getattr(py_context:object(), py_context:name(), timeout() | py_context:object_options()) ->
    result().
getattr(Object, Name, Options) ->
    Called = {?MODULE, getattr, [Object, Name, Options]},
    Checked = py_check:name(Name, 2, Called),
    in_context_of(Object, Options, Called, fun(Ctx, Limited) ->
        py_context:getattr(Ctx, Object, Checked, Limited)
    end).

-spec in_context_of(py_context:object(), term(), py_error:called(),
                    fun((pid(), map()) -> Result)) -> Result | {error, error()}.
in_context_of(Object, Options, Called, Fun) when is_reference(Object), node(Object) =/= node() ->
    %% The other node is asked first, in the call's time.
    with_limit(Options, fun
        (#{timeout := Timeout} = Limited) when ?IS_TIMEOUT(Timeout) ->
            Deadline = py_deadline:from_timeout(Timeout),
            In = fun(Ctx) -> Fun(Ctx, Limited#{timeout := py_deadline:left(Deadline)}) end,
            with_context(py_context:context_of(Object, Timeout), Called, In);
        (#{timeout := Other}) ->
            {error, {bad_option, {timeout, Other}}}
    end);
in_context_of(Object, Options, Called, Fun) ->
    with_context(py_context:context_of(Object), Called, fun(Ctx) ->
        with_limit(Options, fun(Limited) -> Fun(Ctx, Limited) end)
    end).

-spec with_context(pid() | undefined | {error, error()}, py_error:called(),
                   fun((pid()) -> Result)) -> Result | {error, error()}.
with_context(undefined, Called, _Fun) ->
    ?BADARG(Called, {argument, 1, <<"not a handle on a Python object">>});
with_context({error, _} = Error, _Called, _Fun) ->
    Error;
with_context(Ctx, _Called, Fun) ->
    Fun(Ctx).

-spec check_list(term(), pos_integer(), py_error:called()) -> ok.
check_list(List, _N, _Called) when is_list(List) -> ok;
check_list(_Other, N, Called) -> ?BADARG(Called, {argument, N, <<"not a list of arguments">>}).

%% @doc The object behind a handle as a term, see {@link py_context:to_term/1}.
-spec to_term(py_context:object()) -> result().
to_term(Object) ->
    to_term(Object, #{}).

%% @doc With a timeout, in ms, default 30 000; or with options.
-spec to_term(py_context:object(), timeout() | py_context:object_options()) -> result().
to_term(Object, Options) ->
    ok = check_reference(Object, [Object, Options]),
    with_limit(Options, fun(Limited) -> py_context:to_term(Object, Limited) end).

%% @doc The memory of the object behind a handle, see {@link py_context:to_buffer/1}.
-spec to_buffer(py_context:object()) -> {ok, py_context:buffer()} | {error, error()}.
to_buffer(Object) ->
    to_buffer(Object, #{}).

%% @doc With a timeout, in ms, default 30 000; or with options, see {@link py_context:to_buffer/2}.
-spec to_buffer(py_context:object(), timeout() | py_context:buffer_options()) ->
    {ok, py_context:buffer()} | {error, error()}.
to_buffer(Object, Options) ->
    ok = check_reference(Object, [Object, Options]),
    with_limit(Options, fun(Limited) -> py_context:to_buffer(Object, Limited) end).

%% What is a reference may be a handle of another node.
-spec check_reference(term(), [term()]) -> ok.
check_reference(Object, All) ->
    case is_reference(Object) andalso (node(Object) =/= node() orelse is_ref(Object)) of
        true -> ok;
        false -> ?BADARG(All, {argument, 1, <<"not a handle on a Python object">>})
    end.

%% Options with the front's limit, if they have none.
-spec with_limit(term(), fun((map()) -> Result)) ->
    Result | {error, {bad_option, {term(), term()}}}.
with_limit(Options, Fun) when is_map(Options) ->
    Fun(maps:merge(#{timeout => py_request:pool_timeout()}, Options));
with_limit(Timeout, Fun) when ?IS_TIMEOUT(Timeout) ->
    Fun(#{timeout => Timeout});
with_limit(Other, _Fun) ->
    {error, {bad_option, py_request:not_options(Other)}}.

%% ------------------------------------------------------------------ what every context has

%% @doc Imports a module in every context, also in those that start later, as if each had run
%% `import Module': its name is known to all processes.
-spec import(py_context:name()) -> ok | {error, error()}.
import(Module) ->
    Name = py_check:module_name(Module, [Module]),
    set_up({import, Name}, py_context_setup:import(Name)).

%% @doc Puts a folder at the front of Python's path in every context, also in those that start
%% later.
-spec add_path(file:name_all()) -> ok | {error, error()}.
add_path(Path) ->
    Folder = filename:absname(py_check:path(Path, 1, [Path])),
    set_up({path, Folder}, py_context_setup:path(Folder)).

-spec set_up(py_context_setup:key(), {binary(), term()}) -> ok | {error, error()}.
set_up(Key, Step) ->
    case py_app:ensure_started(worker) of
        ok -> py_each_context:add(Key, Step);
        {error, _} = Error -> Error
    end.

%% @doc Loads a module anew wherever it is imported, with `importlib.reload'.
-spec reload(py_context:name()) -> ok | {error, error()}.
reload(Module) ->
    Name = py_check:module_name(Module, [Module]),
    Code = <<"__import__('importlib').reload(__import__('sys').modules[name]) and True "
             "if name in __import__('sys').modules else False">>,
    case py_each_context:in_each_interpreter(Code, #{name => Name}) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc Has Python collect its garbage, in every interpreter; how many objects that were.
-spec gc() -> {ok, non_neg_integer()} | {error, error()}.
gc() ->
    Code = <<"__import__('gc').collect()">>,
    case py_each_context:in_each_interpreter(Code, #{}) of
        {ok, Collected} -> {ok, lists:sum([N || {_, N} <- Collected])};
        {error, _} = Error -> Error
    end.

%% @doc What Python says of its memory: `allocated_blocks', in all; and `interpreters', for each
%% `contexts' (whose it is), `allocated_blocks', and of its garbage collector `gc_count',
%% `gc_threshold' and `gc_stats'.
-spec memory_stats() -> {ok, #{allocated_blocks := non_neg_integer(), interpreters := [map()]}}
                      | {error, error()}.
memory_stats() ->
    Code = <<"(lambda gc, sys: (sys.getallocatedblocks(), list(gc.get_count()),"
             " list(gc.get_threshold()), gc.get_stats()))(__import__('gc'), __import__('sys'))">>,
    case py_each_context:in_each_interpreter(Code, #{}) of
        {ok, Values} ->
            Each = [#{contexts => Contexts, allocated_blocks => Blocks, gc_count => Count,
                      gc_threshold => Threshold, gc_stats => Stats}
                    || {Contexts, {Blocks, Count, Threshold, Stats}} <- Values],
            {ok, #{allocated_blocks => lists:sum([N || #{allocated_blocks := N} <- Each]),
                   interpreters => Each}};
        {error, _} = Error ->
            Error
    end.

%% ------------------------------------------------------------------ virtual environments

%% @doc Makes a virtual environment at `Path' unless there is one, installs what is required, and
%% has every context use it. @equiv ensure_venv(Path, Requirements, #{})
-spec ensure_venv(file:name_all(), py_venv:requirements()) -> ok | {error, py_venv:error()}.
ensure_venv(Path, Requirements) ->
    ensure_venv(Path, Requirements, #{}).

%% @doc `Requirements' is a list of what `pip install' takes, or the path of a `requirements.txt'
%% or of a project. If it is what was installed last time, nothing is installed: the files that it
%% names (also those behind `-r' and `-c', and those of projects) are compared, too. A path at
%% which there are files already that are no virtual environment is `{error, {not_a_venv, Path}}'.
%% Takes as long as it takes, in the calling process. For the options see {@link
%% py_venv:options()}.
-spec ensure_venv(file:name_all(), py_venv:requirements(), py_venv:options()) ->
    ok | {error, py_venv:error()}.
ensure_venv(Path, Requirements, Options) when is_map(Options) ->
    Called = {?MODULE, ensure_venv, [Path, Requirements, Options]},
    Folder = py_check:path(Path, 1, Called),
    ok = py_requirements:check(Requirements, Called),
    case py_app:ensure_started(worker) of
        ok -> py_venv:ensure(Folder, Requirements, Options);
        {error, _} = Error -> Error
    end;
ensure_venv(Path, Requirements, Options) ->
    ?BADARG([Path, Requirements, Options], {argument, 3, <<"not a map">>}).

%% @doc Has every context use the packages of a virtual environment, also those that start later:
%% its `site-packages' go to the front of Python's path. It must be of the same minor version of
%% Python. One takes the place of another. Contexts that were started with a `venv' of their own
%% keep that.
-spec activate_venv(file:name_all()) -> ok | {error, error()}.
activate_venv(Path) ->
    Folder = py_check:path(Path, 1, [Path]),
    case py_app:ensure_started(worker) of
        ok -> py_venv:activate(Folder);
        {error, _} = Error -> Error
    end.

%% @doc Takes the environment's packages off Python's path again. Modules that are imported already
%% stay.
-spec deactivate_venv() -> ok | {error, error()}.
deactivate_venv() ->
    case py_app:ensure_started(worker) of
        ok -> py_venv:deactivate();
        {error, _} = Error -> Error
    end.

%% @doc The environment that contexts use: `active', and if so `venv_path' and `site_packages'. It
%% is the one that was activated, else the one whose Python the application runs as, by the setting
%% `python' or as it was built.
-spec venv_info() ->
    {ok, #{active := boolean(), venv_path => binary(), site_packages => binary()}}.
venv_info() ->
    {ok, py_venv:info()}.

%% ------------------------------------------------------------------ environment variables

%% @doc Sets an environment variable for Erlang (`os:getenv') and for Python: in `os.environ' of
%% every interpreter, of those that start later, and for their children. Neither side sees what
%% the other one sets by itself. A context in mode `subinterp' or `owngil' that is busy is waited
%% for.
-spec putenv(Name :: unicode:chardata(), Value :: unicode:chardata()) -> ok | {error, error()}.
putenv(Name, Value) ->
    Called = {?MODULE, putenv, [Name, Value]},
    Text = py_check:without_nul(py_check:utf8(Value, 2, Called), 2, Called),
    with_variable(Name, Called, fun(Known) -> py_environment:put(Known, Text) end).

%% @doc Takes an environment variable away from both sides. Idempotent.
-spec unsetenv(Name :: unicode:chardata()) -> ok | {error, error()}.
unsetenv(Name) ->
    with_variable(Name, {?MODULE, unsetenv, [Name]}, fun py_environment:unset/1).

%% @doc What `os.environ' of the main interpreter has, in which workers run; if it has none, what
%% `os:getenv' has.
-spec getenv(Name :: unicode:chardata()) -> {ok, binary() | false} | {error, error()}.
getenv(Name) ->
    with_variable(Name, {?MODULE, getenv, [Name]}, fun py_environment:get/1).

-spec with_variable(term(), py_error:called(), fun((binary()) -> Result)) ->
    Result | {error, error()}.
with_variable(Name, Called, Do) ->
    Known = py_check:without_nul(py_check:utf8(Name, 1, Called), 1, Called),
    _ = (Known =:= <<>> orelse binary:match(Known, <<"=">>) =/= nomatch)
        andalso ?BADARG(Called, {argument, 1, <<"not the name of an environment variable">>}),
    case py_app:ensure_started(worker) of
        ok -> Do(Known);
        {error, _} = Error -> Error
    end.

%% ------------------------------------------------------------------ contexts and pools

%% @doc The context that this process's calls go to in pool `default', which starts if need be.
-spec context() -> pid().
context() ->
    context(default).

%% @doc In a pool; or the context in a slot of pool `default'.
-spec context(py_context_router:pool_name() | pos_integer()) -> pid().
context(Pool) when is_atom(Pool) ->
    case py_target:context(Pool) of
        {ok, Ctx} -> Ctx;
        {error, Reason} -> ?BADARG([Pool], Reason)
    end;
context(N) ->
    _ = py_configured_pools:start_default(),
    py_context_router:get_context(N).

%% @doc Starts pool `default'. @equiv py_context_router:start()
-spec start_contexts() -> {ok, [pid()]} | {error, py_context_router:start_error()}.
start_contexts() ->
    py_context_router:start().

%% @doc Starts pool `default' with options. @equiv py_context_router:start(Options)
-spec start_contexts(py_context_router:start_opts()) ->
    {ok, [pid()]} | {error, py_context_router:start_error()}.
start_contexts(Options) ->
    py_context_router:start(Options).

%% @doc Stops pool `default'. @equiv py_context_router:stop()
-spec stop_contexts() -> ok.
stop_contexts() ->
    py_context_router:stop().

%% @doc Whether any context of pool `default' is alive. @equiv py_context_router:is_started()
-spec contexts_started() -> boolean().
contexts_started() ->
    py_context_router:is_started().

%% @doc Routes a module, or with `{Module, Func}' one function, to a pool.
-spec register_pool(py_context_router:pool_name(), Key | {Key, Key}) -> ok
    when Key :: atom() | binary().
register_pool(Pool, {Module, Func}) ->
    py_context_router:register_pool(Pool, Module, Func);
register_pool(Pool, Module) ->
    py_context_router:register_pool(Pool, Module).

%% @doc Takes the registration of a module, or of one function, back.
-spec unregister_pool(Key | {Key, Key}) -> ok when Key :: atom() | binary().
unregister_pool({Module, Func}) ->
    py_context_router:unregister_pool(Module, Func);
unregister_pool(Module) ->
    py_context_router:unregister_pool(Module).

%% @doc Interrupts the running job of a context. @equiv py_context:interrupt(Ctx)
-spec interrupt(pid()) -> ok | not_running | {error, {context_died, term()}}.
interrupt(Ctx) ->
    py_context:interrupt(Ctx).

%% ------------------------------------------------------------------ the linked Python

%% @doc The version of the Python that the library is linked with, such as `{ok, <<"3.13.0">>}'.
%% Starts nothing. `{error, {python_not_found, Tried}}' if its libpython is missing.
-spec version() -> {ok, binary()} | {error, py_boot:start_error()}.
version() ->
    case py_boot:load() of
        ok -> {ok, py_nif:version()};
        {error, _} = Error -> Error
    end.

%% @doc Whether contexts can have an interpreter of their own that shares the GIL.
-spec subinterp_supported() -> boolean().
subinterp_supported() ->
    supports(subinterp).

%% @doc Whether contexts can have an interpreter with a GIL of its own: from CPython 3.12 (PEP 684).
-spec owngil_supported() -> boolean().
owngil_supported() ->
    supports(owngil).

-spec supports(py_context:context_mode()) -> boolean().
supports(Mode) ->
    py_boot:load() =:= ok andalso py_nif:check_mode(Mode) =:= ok.

%% @doc Lets Python code call `Fun' as `erlang.call("Name", *args)', as `erlang.Name(*args)', or
%% after `from erlang import Name', with as many arguments as the fun takes. It runs in a process of
%% its own, and Python waits for its result; an exception arrives as `erlang.Error'. A function that
%% had the name is replaced. Register at start, not per call: each time the VM scans all processes
%% for the old function.
-spec register_function(py_callback_registry:name(), fun()) -> ok.
register_function(Name, Fun) when is_function(Fun) ->
    register_checked(Name, Fun, #{}, {?MODULE, register_function, [Name, Fun]});
register_function(Name, Fun) ->
    ?BADARG([Name, Fun], {argument, 2, <<"not a fun">>}).

%% @doc `register_function(Name, Module, Function)', or `register_function(Name, Fun, Options)'.
%% With the option `values => elixir', `None' and objects are in its arguments what they are in
%% results of calls with that option.
-spec register_function(py_callback_registry:name(), module(), Function :: atom()) -> ok;
                       (py_callback_registry:name(), fun(), #{values => erlang | elixir}) -> ok.
register_function(Name, Module, Function) when is_atom(Module), is_atom(Function) ->
    Called = {?MODULE, register_function, [Name, Module, Function]},
    register_checked(Name, {Module, Function}, #{}, Called);
register_function(Name, Fun, Options) when is_function(Fun) ->
    register_checked(Name, Fun, Options, {?MODULE, register_function, [Name, Fun, Options]});
register_function(Name, Module, Function) ->
    ?BADARG([Name, Module, Function], <<"module and function must be atoms">>).

%% @doc `Module:Function' with options.
-spec register_function(py_callback_registry:name(), module(), Function :: atom(),
                        #{values => erlang | elixir}) -> ok.
register_function(Name, Module, Function, Options) when is_atom(Module), is_atom(Function) ->
    Called = {?MODULE, register_function, [Name, Module, Function, Options]},
    register_checked(Name, {Module, Function}, Options, Called);
register_function(Name, Module, Function, Options) ->
    ?BADARG([Name, Module, Function, Options], <<"module and function must be atoms">>).

%% @doc Python code can't call it any more. Idempotent.
-spec unregister_function(py_callback_registry:name()) -> ok.
unregister_function(Name) ->
    Known = py_check:function_name(Name, [Name]),
    case whereis(py_context_router_sup) of
        undefined -> ok;
        _ -> py_callback_registry:unregister(Known)
    end.

-spec register_checked(py_callback_registry:name(), py_callback_registry:target(), term(),
                       py_error:called()) -> ok.
register_checked(Name, Function, Options, {_, _, Args} = Called) ->
    Known = py_check:function_name(Name, Called),
    _ = py_callback_registry:is_taken(Known) andalso ?BADARG(Called, {argument, 1, ?TAKEN}),
    Values = values(Options, Called),
    case application:ensure_all_started(py_context_router) of
        {ok, _} -> py_callback_registry:register(Known, Function, Values);
        {error, {_, Reason}} -> erlang:error(Reason, Args)
    end.

-spec values(term(), py_error:called()) -> py_callback_registry:values().
values(#{values := Values} = Options, _Called)
  when map_size(Options) =:= 1, (Values =:= erlang orelse Values =:= elixir) ->
    Values;
values(Options, _Called) when Options =:= #{} ->
    erlang;
values(_Options, {_, _, Args} = Called) ->
    ?BADARG(Called, {argument, length(Args), <<"the only option is values => erlang | elixir">>}).
