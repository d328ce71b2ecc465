%% @doc One Python context: an OS thread of its own with a namespace (or interpreter) of its own.
%%
%% A context is a `pid()': a supervised process that owns the lifecycle. Calls don't pass through
%% that process; they go from the caller to the thread's mailbox and the reply comes back as a
%% message that the function waits for. The calling scheduler never waits for Python.
%%
%% All functions that run Python return `{ok, Value}' (or `ok') or `{error, Reason}' with `Reason':
%%
%% <ul>
%% <li>`{Type, Message}': a Python exception; `Type' is the name of its class: an atom for Python's
%%     built-in classes, for every other one a binary with its module, such as
%%     `<<"json.decoder.JSONDecodeError">>', or without for classes of `__main__'. `Message' is
%%     `str(exception)'. With the option `traceback' it is `{Type, Message, Traceback}'.</li>
%% <li>`timeout': the time ran out. The job is stopped (a waiting one never runs, a running one is
%%     interrupted at its next bytecode) and no message arrives later.</li>
%% <li>`interrupted': by `interrupt/1'.</li>
%% <li>`{context_died, Why}': the context was dead (`noproc') or died during the call.</li>
%% <li>`{overloaded, #{queue, max_queue}}': the context's queue is full; nothing was queued.</li>
%% <li>`{overloaded, #{tasks, max_tasks}}': the context has as many coroutines as it takes; this one
%%     has not begun.</li>
%% <li>`{overloaded, #{quarantined, limit}}': too many threads of its pool are stuck in C code (see
%%     the application's setting `quarantine_limit'); nothing was queued.</li>
%% <li>`{unconvertible, Path, What}', `{too_deep, Limit}': a value couldn't cross.</li>
%% <li>`{wrong_context, What}': the environment or object belongs to another context.</li>
%% <li>`{no_library, Node}': the context is of a node that hasn't this application.</li>
%% </ul>
%%
%% Timeouts are in ms or `infinity'; `0' doesn't wait. With a context on another node, the same
%% call runs there through `erpc', with the same results; a lost connection is `{error,
%% {context_died, noconnection}}'. A timeout is over in its time also when that node doesn't
%% answer; what it has begun it stops itself. An argument of the wrong type is a `badarg'.
%%
%% The file is over 400 lines because it is a public interface: types, a spec and a text for each
%% arity.
-module(py_context).

%% Lifecycle.
-export([new/1, start_link/2, stop/1, destroy/1]).
%% Running Python.
-export([call/4, call/5, call/6, call/7, map/4, map/5]).
-export([eval/2, eval/3, eval/4, eval/5]).
-export([exec/2, exec/3, exec/4]).
-export([create_local_env/1, interrupt/1]).
%% Objects.
-export([call_method/4, call_method/5, call_method/6, getattr/3, getattr/4, to_term/1, to_term/2]).
-export([to_buffer/1, to_buffer/2, is_ref/1]).
%% What it is.
-export([get_interp_id/1, is_subinterp/1, info/1]).
%% For py.
-export([context_of/1, context_of/2]).

-export_type([context_mode/0, options/0, overload/0]).
-export_type([call_options/0, map_options/0, object_options/0, buffer_options/0]).
-export_type([name/0, args/0, kwargs/0, locals/0, env/0,
              source/0, object/0, buffer/0, python_error/0, traceback/0, error/0]).

-type context_mode() :: worker | subinterp | owngil.
%% `worker': a namespace in the main interpreter. `subinterp': an interpreter of its own that
%% shares the GIL. `owngil': one with a GIL of its own (PEP 684), CPython 3.12 and newer.
-type options() :: #{mode => context_mode(),
                     max_queue => pos_integer() | infinity,
                     preload => iodata(),
                     venv => file:name_all(),
                     shutdown => timeout(),
                     on_caller_down => interrupt | finish,
                     stuck_after => timeout(),
                     interrupt_grace => timeout(),
                     direct_limit => pos_integer(),
                     max_tasks => pos_integer(),
                     cancel_grace => timeout(),
                     event_loop => atom(),
                     overload => overload()}.
%% `mode': default `worker'. `max_queue': how many jobs may wait, default 10 000. `preload':
%% Python source that is run once in the new context. `venv': a virtual environment whose packages
%% it uses (workers share theirs, as they share the interpreter). `shutdown': ms that a running
%% job has to finish when the context stops, default 5 000; then it is interrupted.
%% `on_caller_down': whether a job whose caller is gone is cancelled (a waiting one never runs, a
%% running one is interrupted), default, or done all the same. `stuck_after': ms that an
%% interrupted job may take to end, default 5 000; then its thread, which must be stuck in C code,
%% is abandoned and a fresh one takes over behind the same pid. `interrupt_grace': ms that an
%% interrupted job may clean up before it is interrupted again, default 1 000, at most
%% `stuck_after'. `direct_limit': microseconds that a call which is dispatched directly may take,
%% default 200, at most 100 000; see {@link py_context_router:register_direct/2}. `max_tasks': how
%% many coroutines may wait in the context, default 10 000. `cancel_grace': ms that a cancelled
%% coroutine may clean up before it is cancelled again, default 1 000. `event_loop': the Python
%% module whose `new_event_loop()' makes the loop of coroutines, default `asyncio'. `overload':
%% whether a call is refused at once when the queue is full, default,
%% or waits so many ms for capacity, first come, first served (only calls that wait for their
%% results do).
-type overload() :: refuse | {wait, non_neg_integer()}.
-type call_options() :: #{timeout => timeout(), env => env() | none, traceback => boolean(),
                          values => erlang | elixir,
                          on_caller_down => interrupt | finish,
                          result => auto | term | object,
                          dispatch => direct | queue}.
%% `timeout': in ms, default `infinity'. `env': an environment made by `create_local_env/1'.
%% `traceback': whether an exception comes with its traceback; default false. `on_caller_down':
%% whether the job is cancelled or done all the same when the calling process dies; default as the
%% context's option. `values': with `elixir', `None' is `nil' and a handle on an object the struct
%% `Py.Object' in the result, at any depth; default `erlang', `none' and a reference. `result':
%% what objects in the result become that have no term: handles (`auto', the default), what they
%% stand for as `to_term/1' says (`term'), or the whole result one handle, whatever it is
%% (`object'); not of `exec', which has no result. `dispatch': where a call of a function may run,
%% as {@link py_context_router:register_direct/2} says for all calls of it; this goes before that.
-type map_options() :: #{kwargs => kwargs(), timeout => timeout(), env => env() | none,
                         traceback => boolean(), values => erlang | elixir,
                         on_caller_down => interrupt, result => auto | term | object}.
%% `kwargs': keyword arguments of every call. `timeout': for all calls together. The others as
%% `call_options()', for each call.
-type object_options() :: #{timeout => timeout(), traceback => boolean(),
                            values => erlang | elixir, on_caller_down => interrupt | finish}.
%% As `call_options()', without the environment: an object has its own.
-type buffer_options() :: #{share => boolean(), timeout => timeout(), traceback => boolean(),
                            on_caller_down => interrupt | finish}.
-type name() :: atom() | binary() | string().
%% A dotted Python name: `math', ``'os.path''', `<<"datetime.now">>'.
-type args() :: [term()].
-type kwargs() :: #{name() => term()} | [{name(), term()}].
-type locals() :: #{name() => term()} | [{name(), term()}].
-type env() :: reference().
%% A namespace made by `create_local_env/1'.
-type source() :: iodata() | string().
-type object() :: reference().
%% A handle on a Python object, which lives as long as the handle does, or until its context ends.
%% It is made for each result that has no term of its own. That of a context on another node keeps
%% its object until the process that got it ends.
-type buffer() :: #{dtype := binary() | map(), shape := [non_neg_integer()], data := binary()}.
%% `dtype' is numpy's name, such as `<<"float64">>', or of structures what `numpy.dtype' takes: a
%% map of `names', `formats', `offsets' and `itemsize'.
-type python_error() :: {Type :: atom() | binary(), Message :: binary()}
                      | {Type :: atom() | binary(), Message :: binary(), traceback()}.
-type traceback() :: #{frames := [#{file := binary(), line := integer(), function := binary()}],
                       formatted := binary()}.
%% The calls that led to the exception, the outermost first; and what Python prints for it, with its
%% causes.
-type error() :: python_error()
               | timeout
               | interrupted
               | panicked
               | {context_died, term()}
               | {overloaded, #{queue := non_neg_integer(), max_queue := pos_integer()}
                            | #{tasks := pos_integer(), max_tasks := pos_integer()}
                            | #{quarantined := pos_integer(), limit := pos_integer()}}
               | {unconvertible, Path :: binary(), What :: binary()}
               | {too_deep, pos_integer()}
               | {wrong_context, atom()}
               | {no_term, Type :: binary()}
               | {no_library, node()}
               | {bad_option, {term(), term()}}.

-include("../base/py_check.hrl").

-define(IS_ENV(E), (E =:= none orelse is_reference(E))).
-define(IS_NAME(N), (is_atom(N) orelse is_binary(N))).
-define(NOT_AN_ENV, <<"neither an environment of create_local_env/1 nor none">>).

%% ------------------------------------------------------------------ lifecycle

%% @doc Starts a context that is linked to the caller, and waits until it serves. Starts the
%% application first if it isn't running.
-spec new(options()) -> {ok, pid()} | {error, term()}.
new(Options) ->
    case py_options:context(Options) of
        {ok, Checked} -> start_checked(undefined, Checked);
        {error, _} = Error -> Error
    end.

%% @doc As `new/1', with a name for reports (any term) and a mode.
-spec start_link(Id :: term(), context_mode()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode) ->
    case py_options:context(#{mode => Mode}) of
        {ok, Checked} -> start_checked(Id, Checked);
        {error, _} = Error -> Error
    end.

-spec start_checked(term(), py_options:context()) -> {ok, pid()} | {error, term()}.
start_checked(Id, Options) ->
    Start = fun() -> py_context_server:spawn_link(Id, py_options:hide(Options)) end,
    py_context_server:start_and_await(Start, Options).

%% @doc Stops a context. Waiting jobs are answered `{error, {context_died, shutdown}}', the running
%% one has its grace, then is interrupted. On return the process and its thread are gone.
%% Idempotent; a process that is no context is left alone. A context of a pool is replaced by a
%% new one.
-spec stop(pid()) -> ok.
stop(Ctx) when is_pid(Ctx) ->
    case info(Ctx) of
        {error, _} ->
            ok;
        #{} ->
            %% The end that was asked for must not take the caller along.
            true = unlink(Ctx),
            py_context_server:stop(Ctx)
    end;
stop(Ctx) ->
    ?BADARG([Ctx], {argument, 1, <<"not a pid">>}).

%% @equiv stop(Ctx)
-spec destroy(pid()) -> ok.
destroy(Ctx) ->
    stop(Ctx).

%% ------------------------------------------------------------------ running Python

%% @doc Calls `Module.Func(*Args)' and waits for the result.
%%
%% `Module' is imported in the context if need be; ``'__main__''' stands for the namespace in use.
%% Both may be dotted: ``call(Ctx, 'os.path', join, [<<"a">>, <<"b">>])'',
%% ``call(Ctx, datetime, 'datetime.now', [])''.
-spec call(pid(), name(), name(), args()) -> {ok, term()} | {error, error()}.
call(Ctx, Module, Func, Args) ->
    call(Ctx, Module, Func, Args, #{}, infinity, none).

%% @doc With keyword arguments: a map or list of pairs; keys are atoms, binaries or strings.
-spec call(pid(), name(), name(), args(), kwargs()) -> {ok, term()} | {error, error()}.
call(Ctx, Module, Func, Args, Kwargs) ->
    call(Ctx, Module, Func, Args, Kwargs, infinity, none).

%% @doc With a timeout, in ms, default `infinity'; or with options.
-spec call(pid(), name(), name(), args(), kwargs(), timeout() | call_options()) ->
    {ok, term()} | {error, error()}.
call(Ctx, Module, Func, Args, Kwargs, Options) when is_map(Options) ->
    All = [Ctx, Module, Func, Args, Kwargs, Options],
    with_checked(py_options:function(Options), fun(Call) -> call_checked(All, Call) end);
call(Ctx, Module, Func, Args, Kwargs, Timeout) ->
    call(Ctx, Module, Func, Args, Kwargs, Timeout, none).

%% @doc In an environment made by `create_local_env/1'; it is where ``'__main__''' finds functions.
-spec call(pid(), name(), name(), args(), kwargs(), timeout(), env() | none) ->
    {ok, term()} | {error, error()}.
call(Ctx, Module, Func, Args, Kwargs, Timeout, Env)
  when ?IS_NAME(Module), ?IS_NAME(Func), Kwargs =:= #{}, is_pid(Ctx), node(Ctx) =:= node(),
       is_list(Args), ?IS_TIMEOUT(Timeout), ?IS_ENV(Env) ->
    py_submit:call(Ctx, Module, Func, Args, Env, Timeout);
call(Ctx, Module, Func, Args, Kwargs, Timeout, Env) when ?IS_ENV(Env) ->
    call_checked([Ctx, Module, Func, Args, Kwargs, Timeout, Env], {Timeout, Env, 0});
call(Ctx, Module, Func, Args, Kwargs, Timeout, Env) ->
    ?BADARG([Ctx, Module, Func, Args, Kwargs, Timeout, Env], {argument, 7, ?NOT_AN_ENV}).

-spec call_checked([term()], py_options:call()) -> {ok, term()} | {error, error()}.
call_checked([Ctx, Module, Func, Args, Kwargs | _] = All, Options) when is_list(Args) ->
    Called = {?MODULE, call, All},
    M = py_check:name(Module, 2, Called),
    F = py_check:name(Func, 3, Called),
    K = py_check:named(Kwargs, 5, Called),
    run(Ctx, {call, M, F, Args, K}, Options, Called);
call_checked(All, _Options) ->
    ?BADARG({?MODULE, call, All}, {argument, 4, <<"not a list">>}).

%% @doc Calls `Module.Func(*Args)' for each `Args' of a list, and gives the results in the order of
%% the list: each is `{ok, Value}' or `{error, Reason}', and one that is an error takes no other
%% along. One after the other, in that order; so that many short calls cost a fraction of what they
%% would one by one.
%%
%% ```
%% 1> py_context:map(Ctx, math, sqrt, [[16], [-1], [25]]).
%% {ok,[{ok,4.0},{error,{'ValueError',<<"math domain error">>}},{ok,5.0}]}
%% '''
%%
%% Other jobs of the context have their turn at least every 5 ms, unless a single call takes longer.
%% The function is looked up each time that the map goes on after that. Coroutines (`async def')
%% wait beside one another, once all have been made. Any other result is as `call/4' gives it: a
%% generator is a handle, with `result => term' the list of its items.
%%
%% An error of the map as a whole is `{error, Reason}', and then there are no results: the time ran
%% out, it was interrupted, the context died or was overloaded, or has no such function. What has
%% been called by then has been called. When the calling process dies, no further calls are made.
-spec map(pid(), name(), name(), [args()]) ->
    {ok, [{ok, term()} | {error, error()}]} | {error, error()}.
map(Ctx, Module, Func, ListOfArgs) ->
    map(Ctx, Module, Func, ListOfArgs, #{}).

%% @doc With a timeout for all calls together, in ms, default `infinity'; or with options. The
%% option `kwargs' are keyword arguments that every call gets.
-spec map(pid(), name(), name(), [args()], timeout() | map_options()) ->
    {ok, [{ok, term()} | {error, error()}]} | {error, error()}.
map(Ctx, Module, Func, ListOfArgs, Options) ->
    Called = {?MODULE, map, [Ctx, Module, Func, ListOfArgs, Options]},
    M = py_check:name(Module, 2, Called),
    F = py_check:name(Func, 3, Called),
    Lists = py_check:lists(ListOfArgs, 4, Called),
    with_map_options(Options, fun(Kwargs, Call) ->
        Work = {map, M, F, Lists, py_check:named(Kwargs, 5, Called)},
        run(fun(Local, Request) -> py_map:run([Local], Request) end, Ctx, Work, Call, Called)
    end).

%% Nobody would make the calls that are left when the caller is gone.
-spec with_map_options(timeout() | map_options(), fun((term(), py_options:call()) -> Result)) ->
    Result | {error, {bad_option, term()}}.
with_map_options(#{on_caller_down := finish}, _Fun) ->
    {error, {bad_option, {on_caller_down, finish}}};
with_map_options(#{kwargs := Kwargs} = Options, Fun) when is_map(Kwargs); is_list(Kwargs) ->
    with_options(maps:remove(kwargs, Options), fun(Call) -> Fun(Kwargs, Call) end);
with_map_options(Options, Fun) ->
    with_options(Options, fun(Call) -> Fun(#{}, Call) end).

%% @doc Evaluates a Python expression in the context's own namespace.
-spec eval(pid(), source()) -> {ok, term()} | {error, error()}.
eval(Ctx, Source) ->
    eval(Ctx, Source, #{}, infinity, none).

%% @doc With variables: a map or list of names and values, visible to this expression only.
-spec eval(pid(), source(), locals()) -> {ok, term()} | {error, error()}.
eval(Ctx, Source, Locals) ->
    eval(Ctx, Source, Locals, infinity, none).

%% @doc With a timeout, in ms, default `infinity'; or with options.
-spec eval(pid(), source(), locals(), timeout() | call_options()) ->
    {ok, term()} | {error, error()}.
eval(Ctx, Source, Locals, Options) when is_map(Options) ->
    All = [Ctx, Source, Locals, Options],
    with_options(Options, fun(Call) -> eval_checked(All, Call) end);
eval(Ctx, Source, Locals, Timeout) ->
    eval(Ctx, Source, Locals, Timeout, none).

%% @doc In an environment made by `create_local_env/1'.
-spec eval(pid(), source(), locals(), timeout(), env() | none) -> {ok, term()} | {error, error()}.
eval(Ctx, Source, Locals, Timeout, Env) when not ?IS_ENV(Env) ->
    ?BADARG([Ctx, Source, Locals, Timeout, Env], {argument, 5, ?NOT_AN_ENV});
eval(Ctx, Source, Locals, Timeout, Env) ->
    eval_checked([Ctx, Source, Locals, Timeout, Env], {Timeout, Env, 0}).

-spec eval_checked([term()], py_options:call()) -> {ok, term()} | {error, error()}.
eval_checked([Ctx, Source, Locals | _] = All, Options) ->
    Called = {?MODULE, eval, All},
    Text = py_check:text(Source, 2, Called),
    Names = py_check:named(Locals, 3, Called),
    run(Ctx, {eval, Text, Names}, Options, Called).

%% @doc Runs Python statements in the context's own namespace.
-spec exec(pid(), source()) -> ok | {error, error()}.
exec(Ctx, Source) ->
    exec(Ctx, Source, infinity, none).

%% @doc In an environment (a reference), with a timeout in ms, or with options.
-spec exec(pid(), source(), env() | timeout() | call_options()) -> ok | {error, error()}.
exec(Ctx, Source, Env) when is_reference(Env) ->
    exec(Ctx, Source, infinity, Env);
exec(Ctx, Source, Options) when is_map(Options) ->
    case py_options:statements(Options) of
        {ok, Call} -> exec_checked([Ctx, Source, Options], Call);
        {error, _} = Error -> Error
    end;
exec(Ctx, Source, Timeout) ->
    exec(Ctx, Source, Timeout, none).

%% @doc With a timeout, in ms, in an environment. Either order.
-spec exec(pid(), source(), timeout() | env(), env() | none | timeout()) -> ok | {error, error()}.
exec(Ctx, Source, Env, Timeout) when is_reference(Env), not is_reference(Timeout) ->
    exec(Ctx, Source, Timeout, Env);
exec(Ctx, Source, Timeout, Env) when not ?IS_ENV(Env) ->
    ?BADARG([Ctx, Source, Timeout, Env], {argument, 4, ?NOT_AN_ENV});
exec(Ctx, Source, Timeout, Env) ->
    exec_checked([Ctx, Source, Timeout, Env], {Timeout, Env, 0}).

-spec exec_checked([term()], py_options:call()) -> ok | {error, error()}.
exec_checked([Ctx, Source | _] = All, Options) ->
    Called = {?MODULE, exec, All},
    Text = py_check:text(Source, 2, Called),
    run(Ctx, {exec, Text}, Options, Called).

%% ------------------------------------------------------------------ objects

%% @doc Calls a method of the object behind a handle: `Object.Method(*Args)'. `Method' may be
%% dotted.
-spec call_method(pid(), object(), name(), args()) -> {ok, term()} | {error, error()}.
call_method(Ctx, Object, Method, Args) ->
    call_method(Ctx, Object, Method, Args, #{}, #{}).

%% @doc With keyword arguments.
-spec call_method(pid(), object(), name(), args(), kwargs()) -> {ok, term()} | {error, error()}.
call_method(Ctx, Object, Method, Args, Kwargs) ->
    call_method(Ctx, Object, Method, Args, Kwargs, #{}).

%% @doc With a timeout, in ms, default `infinity'; or with options.
-spec call_method(pid(), object(), name(), args(), kwargs(), timeout() | object_options()) ->
    {ok, term()} | {error, error()}.
call_method(Ctx, Object, Method, Args, Kwargs, Options) when is_list(Args) ->
    Called = {?MODULE, call_method, [Ctx, Object, Method, Args, Kwargs, Options]},
    Name = py_check:name(Method, 3, Called),
    K = py_check:named(Kwargs, 5, Called),
    with_object_options(Options, fun(Checked) ->
        run(Ctx, {call_method, Object, Name, Args, K}, Checked, Called)
    end);
call_method(Ctx, Object, Method, Args, Kwargs, Options) ->
    ?BADARG([Ctx, Object, Method, Args, Kwargs, Options], {argument, 4, <<"not a list">>}).

%% @doc An attribute of the object behind a handle. `Name' may be dotted.
-spec getattr(pid(), object(), name()) -> {ok, term()} | {error, error()}.
getattr(Ctx, Object, Name) ->
    getattr(Ctx, Object, Name, #{}).

%% @doc With a timeout, in ms, default `infinity'; or with options.
-spec getattr(pid(), object(), name(), timeout() | object_options()) ->
    {ok, term()} | {error, error()}.
getattr(Ctx, Object, Name, Options) ->
    Called = {?MODULE, getattr, [Ctx, Object, Name, Options]},
    Attribute = py_check:name(Name, 3, Called),
    with_object_options(Options, fun(Checked) ->
        run(Ctx, {getattr, Object, Attribute}, Checked, Called)
    end).

%% @doc The object behind a handle as a term: what has no counterpart becomes what it stands for, at
%% any depth. Sets, ranges, iterators and other collections become lists; mappings and dataclasses
%% maps; dates, times and durations ISO 8601 text; complex numbers pairs; Decimal, Fraction, UUID
%% and paths text; members of an enum their values; numpy arrays nested lists. For anything else
%% `{error, {no_term, TypeName}}'.
%%
%% An iterator is used up by this.
-spec to_term(object()) -> {ok, term()} | {error, error()}.
to_term(Object) ->
    to_term(Object, #{}).

%% @doc With a timeout, in ms, default `infinity'; or with options.
-spec to_term(object(), timeout() | object_options()) -> {ok, term()} | {error, error()}.
to_term(Object, Options) when is_reference(Object), node(Object) =/= node() ->
    py_erpc:on_node(node(Object), ?MODULE, to_term, [Object, Options], timeout_in(Options));
to_term(Object, Options) ->
    Called = {?MODULE, to_term, [Object, Options]},
    with_context_of(Object, Called, fun(Ctx) ->
        with_object_options(Options, fun(Checked) ->
            run(Ctx, {to_term, Object}, Checked, Called)
        end)
    end).

%% @doc The memory of an object that offers the buffer protocol, such as a numpy array: `#{dtype,
%% shape, data}', which `{ndarray, DType, Shape, Data}' as an argument makes an array again.
%% @equiv to_buffer(Object, #{})
-spec to_buffer(object()) -> {ok, buffer()} | {error, error()}.
to_buffer(Object) ->
    to_buffer(Object, #{}).

%% @doc With a timeout, in ms, default `infinity'; or with options.
%%
%% With `share => true' contiguous memory of 64 KiB and more is not copied: the binary is the
%% object's own memory, and you promise that nothing in Python changes it any more. Without it, only
%% memory that can't change is shared.
-spec to_buffer(object(), timeout() | buffer_options()) -> {ok, buffer()} | {error, error()}.
to_buffer(Object, Options) when is_reference(Object), node(Object) =/= node() ->
    py_erpc:on_node(node(Object), ?MODULE, to_buffer, [Object, Options], timeout_in(Options));
to_buffer(Object, Options) ->
    Called = {?MODULE, to_buffer, [Object, Options]},
    with_context_of(Object, Called, fun(Ctx) ->
        with_buffer_options(Options, fun(Share, Checked) ->
            run(Ctx, {to_buffer, Object, Share}, Checked, Called)
        end)
    end).

%% What is in a buffer is neither `None' nor an object.
-spec with_buffer_options(term(), fun((boolean(), py_options:call()) -> Result)) ->
    Result | {error, {bad_option, term()}}.
with_buffer_options(#{share := Share}, _Fun) when not is_boolean(Share) ->
    {error, {bad_option, {share, Share}}};
with_buffer_options(#{values := Values}, _Fun) ->
    {error, {bad_option, {values, Values}}};
with_buffer_options(#{share := Share} = Options, Fun) ->
    with_object_options(maps:remove(share, Options), fun(Checked) -> Fun(Share, Checked) end);
with_buffer_options(Options, Fun) ->
    with_object_options(Options, fun(Checked) -> Fun(false, Checked) end).

%% @doc Whether a term is a handle on a Python object in a context of this node.
-spec is_ref(term()) -> boolean().
is_ref(Term) ->
    py_nif:object_context(Term) =/= undefined.

%% @private The context of the object behind a handle.
-spec context_of(term()) -> pid() | undefined | {error, error()}.
context_of(Object) ->
    context_of(Object, infinity).

%% @private With a timeout, in ms, for an object of another node.
-spec context_of(term(), timeout()) -> pid() | undefined | {error, error()}.
context_of(Object, Timeout) when is_reference(Object), node(Object) =/= node() ->
    py_erpc:on_node(node(Object), ?MODULE, context_of, [Object], Timeout);
context_of(Object, _Timeout) ->
    py_nif:object_context(Object).

-spec with_context_of(object(), py_error:called(), fun((pid()) -> Result)) -> Result.
with_context_of(Object, Called, Fun) ->
    case py_nif:object_context(Object) of
        undefined -> ?BADARG(Called, {argument, 1, <<"not a handle on a Python object">>});
        Ctx -> Fun(Ctx)
    end.

%% @doc Makes a fresh namespace inside the context, separate from the context's own. It is freed
%% when the reference is garbage collected, or with the context; that of a context on another node,
%% where a reference here keeps nothing alive, when the calling process ends.
-spec create_local_env(pid()) -> {ok, env()} | {error, error()}.
create_local_env(Ctx) when is_pid(Ctx), node(Ctx) =/= node() ->
    py_erpc:on_node(node(Ctx), ?MODULE, create_local_env, [Ctx], infinity);
create_local_env(Ctx) ->
    run(Ctx, new_env, {infinity, none, 0}, {?MODULE, create_local_env, [Ctx]}).

%% @doc Interrupts the running job: its caller gets `{error, interrupted}'. Python sees a
%% `KeyboardInterrupt' at its next bytecode; code that is blocked in C sees it when it returns. A
%% finalizer that has held up the next job for 5 ms or more is interrupted likewise. If nothing
%% runs, the coroutine is cancelled that has been waiting longest. `not_running': there is none,
%% also if jobs wait.
-spec interrupt(pid()) -> ok | not_running | {error, {context_died, term()}}.
interrupt(Ctx) when is_pid(Ctx), node(Ctx) =:= node() ->
    alive_or_died(py_nif:interrupt(Ctx));
interrupt(Ctx) when is_pid(Ctx) ->
    py_erpc:on_node(node(Ctx), ?MODULE, interrupt, [Ctx], infinity);
interrupt(Ctx) ->
    ?BADARG([Ctx], {argument, 1, <<"not a pid">>}).

%% ------------------------------------------------------------------ what it is

%% @doc The context's number, unique among the contexts of this VM's life.
-spec get_interp_id(pid()) -> {ok, pos_integer()} | {error, {context_died, term()}}.
get_interp_id(Ctx) ->
    case info(Ctx) of
        #{interp_id := Id} -> {ok, Id};
        {error, _} = Error -> Error
    end.

%% @doc Whether the context has an interpreter of its own: not in worker mode, and not if dead.
-spec is_subinterp(pid()) -> boolean().
is_subinterp(Ctx) ->
    case info(Ctx) of
        #{mode := Mode} -> Mode =/= worker;
        {error, _} -> false
    end.

%% @doc What is known of a context, without asking its thread: `mode'; `interp_id' (as
%% `get_interp_id/1'); `python_interp' (CPython's own number of the interpreter, 0 is the main
%% one); `thread_id' (the OS's); `state' (`idle', `busy', `stuck' or `closing'); `queue' (jobs
%% waiting) and `max_queue'; `busy_ms' (how long the running job has been running, or `undefined');
%% and how its jobs ended: `done', `failed', `timed_out', `cancelled' (interrupted, or their
%% callers were gone); `tasks' (coroutines that wait or run) and `abandoned_tasks' (those of them
%% that were cancelled and go on although their `cancel_grace' is over); `quarantined' (its former
%% threads that are stuck in C code); `direct' (calls that ran on their callers' schedulers),
%% `direct_refused' (those that might have, but something wasn't free).
-spec info(pid()) -> map() | {error, {context_died, term()}}.
info(Ctx) when is_pid(Ctx), node(Ctx) =:= node() ->
    case alive_or_died(py_nif:context_info(Ctx)) of
        Info when is_map(Info) -> Info#{pid => Ctx};
        {error, _} = Error -> Error
    end;
info(Ctx) when is_pid(Ctx) ->
    py_erpc:on_node(node(Ctx), ?MODULE, info, [Ctx], infinity);
info(Ctx) ->
    ?BADARG([Ctx], {argument, 1, <<"not a pid">>}).

-spec alive_or_died(undefined | T) -> T | {error, {context_died, noproc}}.
alive_or_died(undefined) -> {error, {context_died, noproc}};
alive_or_died(Answer) -> Answer.

%% ------------------------------------------------------------------ inside

%% Options of one call, or just its timeout.
-spec with_options(timeout() | call_options(), fun((py_options:call()) -> Result)) ->
    Result | {error, {bad_option, term()}}.
with_options(Options, Fun) when is_map(Options) ->
    with_checked(py_options:call(Options), Fun);
with_options(Timeout, Fun) ->
    Fun({Timeout, none, 0}).

-spec with_checked({ok, py_options:call()} | {error, Error}, fun((py_options:call()) -> Result)) ->
    Result | {error, Error}.
with_checked({ok, Call}, Fun) -> Fun(Call);
with_checked({error, _} = Error, _Fun) -> Error.

%% Options of a call about an object, or just its timeout.
-spec with_object_options(timeout() | object_options(), fun((py_options:call()) -> Result)) ->
    Result | {error, {bad_option, term()}}.
with_object_options(#{env := Env}, _Fun) ->
    {error, {bad_option, {env, Env}}};
with_object_options(Options, Fun) ->
    with_options(Options, Fun).

%% Submits a request and waits. `Called' is what is to be run where the context is.
-spec run(pid(), py_request:work(), py_options:call(), {module(), atom(), [term()]}) -> term().
run(Ctx, Work, Options, Called) ->
    run(fun py_submit:run/2, Ctx, Work, Options, Called).

-spec run(fun((pid(), py_request:request()) -> term()), pid(), py_request:work(),
          py_options:call(), {module(), atom(), [term()]}) -> term().
run(Run, Ctx, Work, {Timeout, _, _} = Options, _Called)
  when is_pid(Ctx), node(Ctx) =:= node(), ?IS_TIMEOUT(Timeout) ->
    Run(Ctx, py_request:new(Ctx, Work, Options));
run(_Run, Ctx, _Work, {Timeout, _, _}, {?MODULE, Func, Args})
  when is_pid(Ctx), ?IS_TIMEOUT(Timeout) ->
    py_erpc:on_node(node(Ctx), ?MODULE, Func, Args, Timeout);
run(_Run, Ctx, _Work, _Options, Called) when not is_pid(Ctx) ->
    ?BADARG(Called, {argument, 1, <<"not a pid">>});
run(_Run, _Ctx, _Work, {Timeout, _, _}, {_Module, _Func, Args} = Called) ->
    %% The last one that is it: the arguments before can be anything.
    {N, Timeout} = lists:last([Each || {_, Arg} = Each <- lists:enumerate(Args), Arg =:= Timeout]),
    ?BADARG(Called, {argument, N, <<"the timeout is neither a number of ms nor infinity">>}).

%% Of options that the other node checks.
-spec timeout_in(term()) -> timeout().
timeout_in(Timeout) when ?IS_TIMEOUT(Timeout) -> Timeout;
timeout_in(#{timeout := Timeout}) when ?IS_TIMEOUT(Timeout) -> Timeout;
timeout_in(_) -> infinity.
