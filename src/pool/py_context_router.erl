%% @doc Routes callers to Python contexts by the scheduler they run on.
%%
%% A pool is a number of contexts (see {@link py_context}). A process that asks for its context
%% gets the one of the scheduler it is running on, so that neighbours on a scheduler share a
%% context and schedulers don't contend for one; or the one that it has bound. Calls that are left
%% to the pool (`py:call/3' and the like) begin there too, and go to another context while that is
%% busy.
%%
%% Pools live under the application's supervisor, not linked to the process that starts them.
%% Contexts that die are replaced. Reads (`get_context', `contexts', `lookup_pool' …) take no lock
%% and ask no process.
%%
%% Results are `{ok, _} | {error, Reason}'; where the return type has no error (the pool
%% was never started, an index is out of range, an argument has the wrong type) it is a `badarg'
%% with an explanation for the shell (EEP 54).
%%
%% The file is over 400 lines because it is a public interface: a spec and a text for each function.
-module(py_context_router).

%% Pools.
-export([start/0, start/1, stop/0, is_started/0]).
-export([start_pool/2, start_pool/3, stop_pool/1, pool_started/1, resize_pool/2]).
-export([child_spec/1, start_link/1]).
%% Routing.
-export([get_context/0, get_context/1, contexts/0, contexts/1, num_contexts/0, num_contexts/1]).
-export([bind_context/1, bind_context/2, unbind_context/0, unbind_context/1, with_context/2]).
%% Registrations.
-export([init_pool_registry/0, register_pool/2, register_pool/3, unregister_pool/1]).
-export([unregister_pool/2, lookup_pool/2, list_pool_registrations/0]).
%% Observing.
-export([register_direct/2, unregister_direct/2, list_direct/0]).
-export([info/0, info/1, pools/0]).
%% For the other modules.
-export([bound_context/1, routed_context/1]).

-export_type([pool_name/0, start_opts/0, pool_spec/0, start_error/0]).

-type pool_name() :: default | io | atom().
-type start_opts() :: #{contexts => pos_integer(),
                        mode => py_context:context_mode(),
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
                        overload => py_context:overload(),
                        route => spread | affinity}.
%% `contexts': how many, default one per scheduler. `route': where the calls of `py' go that are
%% left to the pool: to the context of their scheduler if that is idle, else to any that is, else
%% to the one with the fewest jobs (`spread', default); or always to one of their scheduler's
%% contexts, as {@link get_context/1} chooses (`affinity'). The others are the options of each
%% context, see {@link py_context:options()}.
-type pool_spec() :: #{name := pool_name(), atom() => term()}.
%% A name, and the options of `start_opts()'.
-type start_error() :: {bad_option, {Key :: term(), Value :: term()}}
                     | {already_started, Options :: map() | pid()}
                     | {unsupported_mode, py_context:context_mode(), Why :: binary()}
                     | {no_interpreter, Why :: binary()}
                     | {context_died, Why :: term()}
                     | {pool_failed, pool_name(), start_error()}
                     | {application_failed, Application :: atom(), Why :: term()}
                     | py_context:python_error()
                     | py_boot:start_error()
                     | system_limit
                     | killed.
%% `already_started': with which other options; or, from `start_link/1', as which process.
%% `no_interpreter': Python could make none. `context_died': a context ended as it started.
%% `pool_failed': one of the pools that the application environment describes.
%% `application_failed': this application, or one that it needs, didn't start. `system_limit': the
%% operating system gave no more threads. `killed': the pool's process was, as it started.

-include("../base/py_check.hrl").

%% Where a process keeps its binding. One atom for the default pool: it is read on every call.
-define(IS_NAME(Name), (is_atom(Name) orelse is_binary(Name))).
-define(DEFAULT_BINDING, '$py_context').
-define(BINDING(Pool), {?DEFAULT_BINDING, Pool}).

%% ------------------------------------------------------------------ pools

%% @doc Starts pool `default' with one worker context per scheduler.
%% @equiv start(#{})
-spec start() -> {ok, [pid()]} | {error, start_error()}.
start() ->
    start(#{}).

%% @doc Starts pool `default', and the application if it isn't running. The pids come in the order
%% of their slots.
%%
%% If the pool runs already, with the same options as far as any are given, its pids are returned;
%% with other options it is `{error, {already_started, RunningOptions}}'. An unknown key or a bad
%% value is `{error, {bad_option, {Key, Value}}}'. All or nothing: if one context fails to start,
%% its error is returned and none is left. The pool survives the caller.
-spec start(start_opts()) -> {ok, [pid()]} | {error, start_error()}.
start(Options) when is_map(Options) ->
    start_pool(default, Options);
start(Options) ->
    {error, {bad_option, {options, Options}}}.

%% @doc Stops pool `default'. @equiv stop_pool(default)
-spec stop() -> ok.
stop() ->
    stop_pool(default).

%% @doc Whether any context of pool `default' is alive.
-spec is_started() -> boolean().
is_started() ->
    pool_started(default).

%% @doc Starts a pool of `Size' worker contexts, or with options; the rules are those of `start/1'.
-spec start_pool(pool_name(), Size :: pos_integer() | start_opts()) ->
    {ok, [pid()]} | {error, start_error()}.
start_pool(Pool, Options) when is_map(Options) ->
    case {py_options:pool_name(Pool), py_options:pool(Options)} of
        {ok, {ok, Checked}} -> start_checked(Pool, Options, Checked);
        {{error, _} = Error, _} -> Error;
        {ok, {error, _} = Error} -> Error
    end;
start_pool(Pool, Size) ->
    start_pool(Pool, #{contexts => Size}).

%% @doc Starts a pool of `Size' contexts of a mode.
-spec start_pool(pool_name(), Size :: pos_integer(), py_context:context_mode()) ->
    {ok, [pid()]} | {error, start_error()}.
start_pool(Pool, Size, Mode) ->
    start_pool(Pool, #{contexts => Size, mode => Mode}).

-spec start_checked(pool_name(), start_opts(), py_options:pool()) ->
    {ok, [pid()]} | {error, start_error()}.
start_checked(Pool, Given, #{mode := Mode} = Options) ->
    case py_app:ensure_started(Mode) of
        ok ->
            Asked = maps:with(maps:keys(Given), Options),
            start_or_join(Pool, py_options:hide(Asked), py_options:hide(Options));
        {error, _} = Error -> Error
    end.

%% The first caller starts it, and all wait for the same outcome.
-spec start_or_join(pool_name(), start_opts(), py_options:pool()) ->
    {ok, [pid()]} | {error, start_error()}.
start_or_join(Pool, Given, Options) ->
    try py_pool_sup:start_pool(Pool, Options) of
        {ok, Pid} -> join(Pid, Pool, Given, Options);
        {error, {already_started, Pid}} -> join(Pid, Pool, Given, Options);
        %% The pool's process was killed as it began; nobody has stopped it.
        {error, killed} -> restart_checked(Pool, Given, Options);
        {error, _} = Error -> Error
    catch
        %% The supervisor has just died, and the pool that it was about to start with it.
        exit:{_, {gen_server, call, [py_pool_sup | _]}} ->
            restart_checked(Pool, Given, Options)
    end.

-spec restart_checked(pool_name(), start_opts(), py_options:pool()) ->
    {ok, [pid()]} | {error, start_error()}.
restart_checked(Pool, Given, Options) ->
    start_checked(Pool, py_options:reveal(Given), py_options:reveal(Options)).

-spec join(pid(), pool_name(), start_opts(), py_options:pool()) ->
    {ok, [pid()]} | {error, start_error()}.
join(Pid, Pool, Given, Options) ->
    case py_pool:await(Pid, Given) of
        %% The pool was just being stopped; this start comes after that.
        Ended when is_atom(Ended) -> start_or_join(Pool, Given, Options);
        Outcome -> Outcome
    end.

%% @doc Stops a pool. Waiting jobs are answered `{error, {context_died, shutdown}}'; running ones
%% have the pool's `shutdown' time to finish, then are interrupted. On return its contexts and
%% their threads are gone. Idempotent.
-spec stop_pool(pool_name()) -> ok.
stop_pool(Pool) when is_atom(Pool) ->
    py_pool_stop:stop(Pool);
stop_pool(Pool) ->
    ?BADARG([Pool], {argument, 1, <<"not an atom">>}).

%% @doc Whether any context of the pool is alive, whichever slot it is in.
-spec pool_started(pool_name()) -> boolean().
pool_started(Pool) when is_atom(Pool) ->
    lists:any(fun is_process_alive/1, contexts(Pool));
pool_started(Pool) ->
    ?BADARG([Pool], {argument, 1, <<"not an atom">>}).

%% @doc Grows or shrinks a running pool. Growing returns when the new contexts serve, or undoes it
%% with their error. Shrinking returns at once: the last slots get no more callers, and their
%% contexts end when what they have accepted is done.
-spec resize_pool(pool_name(), Size :: pos_integer()) -> ok | {error, term()}.
resize_pool(Pool, Size) when is_atom(Pool) ->
    case py_options:pool(#{contexts => Size}) of
        {ok, _} -> resized(Pool, py_pool:resize(Pool, Size));
        {error, _} = Error -> Error
    end;
resize_pool(Pool, Size) ->
    ?BADARG([Pool, Size], {argument, 1, <<"not an atom">>}).

-spec resized(pool_name(), ok | {error, term()} | stopped | gone) -> ok | {error, term()}.
resized(_Pool, ok) -> ok;
resized(_Pool, {error, _} = Error) -> Error;
resized(Pool, _Ended) -> {error, {pool_not_started, Pool}}.

%% @doc A child specification for a pool in your own supervision tree. Put it after what the pool's
%% `preload' needs, and list `py_context_router' in your application's `applications'.
%%
%% It is `transient': `stop_pool/1' stops it for good, a crash is followed by a restart. In the
%% place of the source in `preload' stands a reference, so that no supervisor's report shows it.
-spec child_spec(pool_spec()) -> supervisor:child_spec().
child_spec(#{name := Name} = Spec) ->
    #{id => {?MODULE, Name},
      start => {?MODULE, start_link, [without_source(Spec)]},
      restart => transient,
      shutdown => infinity,
      type => supervisor,
      modules => [py_pool]};
child_spec(Spec) ->
    ?BADARG([Spec], {argument, 1, <<"a map with a name is needed">>}).

%% The specification gets into reports. A bad `preload' is named when the pool starts.
-spec without_source(pool_spec()) -> pool_spec().
without_source(#{preload := Preload} = Spec) ->
    case {py_nif:load(), py_options:context(#{preload => Preload})} of
        {ok, {ok, #{preload := Source}}} -> py_options:hide(Spec#{preload := Source});
        _NotLoadedOrBad -> Spec
    end;
without_source(Spec) ->
    Spec.

%% @doc Starts a pool that is linked to the caller, and waits until it serves. `ignore' is for a
%% supervisor whose pool is being stopped while it starts or restarts.
-spec start_link(pool_spec()) -> {ok, pid()} | {error, start_error()} | ignore.
start_link(#{name := Name} = Spec) ->
    Given = py_options:reveal(maps:remove(name, Spec)),
    case {py_options:pool_name(Name), py_options:pool(Given)} of
        {ok, {ok, Options}} -> start_linked(Name, Options);
        {{error, _} = Error, _} -> Error;
        {ok, {error, _} = Error} -> Error
    end;
start_link(Spec) ->
    {error, {bad_option, {name, Spec}}}.

-spec start_linked(pool_name(), py_options:pool()) ->
    {ok, pid()} | {error, start_error()} | ignore.
start_linked(Name, #{mode := Mode} = Options) ->
    case py_app:ensure_started(Mode) of
        ok -> await_linked(py_pool:start_link(Name, py_options:hide(Options)));
        {error, _} = Error -> Error
    end.

-spec await_linked({ok, pid()} | {error, term()} | ignore) ->
    {ok, pid()} | {error, start_error()} | ignore.
await_linked(ignore) ->
    %% A restart, of a pool that was stopped between its death and now.
    ignore;
await_linked({ok, Pid}) ->
    %% No options to compare: a pool that is restarted has the size that it was resized to, not
    %% the specified one.
    case py_pool:await(Pid, #{}) of
        {ok, _Contexts} -> {ok, Pid};
        {error, _} = Error -> py_context_server:unlink_flush(Pid, Error);
        stopped -> py_context_server:unlink_flush(Pid, ignore);
        gone -> py_context_server:unlink_flush(Pid, {error, killed})
    end;
await_linked({error, _} = Error) ->
    Error.

%% ------------------------------------------------------------------ routing

%% @doc The context for this process in pool `default'. @equiv get_context(default)
-spec get_context() -> pid().
get_context() ->
    case context_of(get(?DEFAULT_BINDING), default) of
        undefined -> ?BADARG([], {pool_not_started, default});
        Ctx -> Ctx
    end.

%% @doc With a pool's name: the context that this process has bound in it, if that is alive; else
%% the one of the current scheduler, slot `((SchedulerId - 1) rem N) + 1', or if that one has died
%% and isn't back yet, the next living one. With a number: the context in that slot of `default'.
%%
%% If the pool has more contexts than the VM has schedulers (S), a scheduler has the slots s, s + S,
%% s + 2S and so on: the first of them that is idle is taken, else the one with the fewest jobs.
%%
%% Nothing is bound by this: a process that moves to another scheduler gets another context next
%% time. While no context of the pool lives, the pid of the slot's last one is returned, whose
%% calls answer `{error, {context_died, _}}'.
-spec get_context(pool_name() | pos_integer()) -> pid().
get_context(default) ->
    get_context();
get_context(Pool) when is_atom(Pool) ->
    case context_of(get(?BINDING(Pool)), Pool) of
        undefined -> ?BADARG([Pool], {pool_not_started, Pool});
        Ctx -> Ctx
    end;
get_context(N) when is_integer(N) ->
    case contexts(default) of
        [] -> ?BADARG([N], {pool_not_started, default});
        Contexts when N >= 1, N =< length(Contexts) -> lists:nth(N, Contexts);
        Contexts -> ?BADARG([N], {argument, 1, slot_range(length(Contexts))})
    end;
get_context(Other) ->
    ?BADARG([Other], {argument, 1, <<"neither a pool's name nor a slot">>}).

-spec slot_range(pos_integer()) -> binary().
slot_range(Size) ->
    iolist_to_binary(io_lib:format("the slots are 1 to ~b", [Size])).

-spec context_of(undefined | pid(), pool_name()) -> pid() | undefined.
context_of(Bound, Pool) ->
    case is_usable(Bound) of
        true -> Bound;
        false -> own_context(Pool)
    end.

-spec is_usable(undefined | pid()) -> boolean().
is_usable(undefined) -> false;
is_usable(Bound) -> node(Bound) =/= node() orelse is_process_alive(Bound).

%% @private The context that this process has bound in a pool, if that is alive.
-spec bound_context(pool_name()) -> pid() | undefined.
bound_context(Pool) ->
    Bound = get(binding(Pool)),
    case is_usable(Bound) of
        true -> Bound;
        false -> undefined
    end.

%% @private Where a call goes that is left to the pool, whatever this process has bound.
-spec routed_context(pool_name()) -> pid() | undefined.
routed_context(Name) ->
    case py_pool_table:lookup(Name) of
        undefined -> undefined;
        Pool -> routed(py_nif:pool_route(Pool), Pool)
    end.

-spec routed(pid() | unknown, py_nif:pool()) -> pid().
routed(unknown, Pool) ->
    Ctx = py_nif:pool_route(Pool, erlang:system_info(scheduler_id)),
    true = is_pid(Ctx),
    Ctx;
routed(Ctx, _Pool) ->
    Ctx.

%% The context of the current scheduler.
-spec own_context(pool_name()) -> pid() | undefined.
own_context(Name) ->
    case py_pool_table:lookup(Name) of
        undefined -> undefined;
        Pool -> owned(py_nif:pool_context(Pool), Pool)
    end.

-spec owned(pid() | unknown, py_nif:pool()) -> pid().
owned(unknown, Pool) ->
    Ctx = py_nif:pool_context(Pool, erlang:system_info(scheduler_id)),
    true = is_pid(Ctx),
    Ctx;
owned(Ctx, _Pool) ->
    Ctx.

%% @doc Binds this process to a context in pool `default'. @equiv bind_context(default, Ctx)
-spec bind_context(pid()) -> ok.
bind_context(Ctx) ->
    bind_context(default, Ctx).

%% @doc Binds this process to a context: `get_context' gives it as long as it is alive. A second
%% binding replaces the first. The context may be on another node: then the binding ends when one
%% of `py''s calls finds that it is dead, which goes on in this node's pool, or that the
%% connection is lost.
-spec bind_context(pool_name(), pid()) -> ok.
bind_context(Pool, Ctx) when is_atom(Pool), is_pid(Ctx) ->
    _ = put(binding(Pool), Ctx),
    ok;
bind_context(Pool, Ctx) when is_atom(Pool) ->
    ?BADARG([Pool, Ctx], {argument, 2, <<"not a pid">>});
bind_context(Pool, Ctx) ->
    ?BADARG([Pool, Ctx], {argument, 1, <<"not an atom">>}).

%% @doc Removes this process's binding in pool `default'. @equiv unbind_context(default)
-spec unbind_context() -> ok.
unbind_context() ->
    unbind_context(default).

%% @doc Removes this process's binding in a pool. Idempotent.
-spec unbind_context(pool_name()) -> ok.
unbind_context(Pool) when is_atom(Pool) ->
    _ = erase(binding(Pool)),
    ok;
unbind_context(Pool) ->
    ?BADARG([Pool], {argument, 1, <<"not an atom">>}).

%% @doc Runs `Fun' with this process bound to a context of pool `default', and puts things back as
%% they were, also after an exception.
-spec with_context(pid(), fun(() -> Result)) -> Result.
with_context(Ctx, Fun) when is_pid(Ctx), is_function(Fun, 0) ->
    Before = put(?DEFAULT_BINDING, Ctx),
    try
        Fun()
    after
        _ = case Before of
                undefined -> erase(?DEFAULT_BINDING);
                _ -> put(?DEFAULT_BINDING, Before)
            end
    end;
with_context(Ctx, Fun) ->
    ?BADARG([Ctx, Fun], <<"a pid and a function without arguments are needed">>).

-spec binding(pool_name()) -> term().
binding(default) -> ?DEFAULT_BINDING;
binding(Pool) -> ?BINDING(Pool).

%% @doc The number of contexts in pool `default'; 0 when it isn't started.
-spec num_contexts() -> non_neg_integer().
num_contexts() ->
    num_contexts(default).

%% @doc The number of contexts in a pool; 0 when it isn't started.
-spec num_contexts(pool_name()) -> non_neg_integer().
num_contexts(Pool) ->
    length(contexts(Pool)).

%% @doc The contexts of pool `default', in the order of their slots; `[]' when it isn't started.
-spec contexts() -> [pid()].
contexts() ->
    contexts(default).

%% @doc The contexts of a pool, in the order of their slots; `[]' when it isn't started.
-spec contexts(pool_name()) -> [pid()].
contexts(Name) when is_atom(Name) ->
    case py_pool_table:lookup(Name) of
        undefined -> [];
        Pool -> py_nif:pool_contexts(Pool)
    end;
contexts(Name) ->
    ?BADARG([Name], {argument, 1, <<"not an atom">>}).

%% ------------------------------------------------------------------ registrations

%% @doc Makes registrations possible. The other functions do so too; kept for its name. Idempotent.
-spec init_pool_registry() -> ok.
init_pool_registry() ->
    ok = py_app:ensure_started_or_exit().

%% @doc Routes all functions of a Python module to a pool, which need not be running yet.
-spec register_pool(pool_name(), Module :: atom() | binary()) -> ok.
register_pool(Pool, Module) ->
    Called = {?MODULE, register_pool, [Pool, Module]},
    register_key(Pool, name(Module, 2, Called), '_', Called).

%% @doc Routes one function of a Python module to a pool. It goes before its module's registration.
-spec register_pool(pool_name(), Module :: atom() | binary(), Func :: atom() | binary()) -> ok.
register_pool(Pool, Module, Func) ->
    Called = {?MODULE, register_pool, [Pool, Module, Func]},
    register_key(Pool, name(Module, 2, Called), name(Func, 3, Called), Called).

-spec register_key(pool_name(), py_registry:name(), py_registry:name(), py_error:called()) -> ok.
register_key(Pool, Module, Func, _Called) when is_atom(Pool) ->
    ok = py_app:ensure_started_or_exit(),
    py_registry:register(Module, Func, Pool);
register_key(_Pool, _Module, _Func, Called) ->
    ?BADARG(Called, {argument, 1, <<"not an atom">>}).

%% @doc Takes a module's registration back. Idempotent.
-spec unregister_pool(Module :: atom() | binary()) -> ok.
unregister_pool(Module) ->
    ok = py_app:ensure_started_or_exit(),
    Called = {?MODULE, unregister_pool, [Module]},
    py_registry:unregister(name(Module, 1, Called), '_').

%% @doc Takes a function's registration back. Idempotent.
-spec unregister_pool(Module :: atom() | binary(), Func :: atom() | binary()) -> ok.
unregister_pool(Module, Func) ->
    Called = {?MODULE, unregister_pool, [Module, Func]},
    ok = py_app:ensure_started_or_exit(),
    py_registry:unregister(name(Module, 1, Called), name(Func, 2, Called)).

%% @doc The pool that a function is routed to: as registered for the function, else for its module,
%% else `default'.
-spec lookup_pool(Module :: atom() | binary(), Func :: atom() | binary()) -> pool_name().
lookup_pool(Module, Func) when ?IS_NAME(Module), ?IS_NAME(Func) ->
    py_registry:lookup(Module, Func);
lookup_pool(Module, Func) ->
    N = if ?IS_NAME(Module) -> 2; true -> 1 end,
    ?BADARG([Module, Func], {argument, N, <<"neither an atom nor a binary">>}).

%% @doc All registrations; ``'_''' stands for all functions of a module. A name is an atom if there
%% is one, else a binary.
-spec list_pool_registrations() ->
    [{{Module :: atom() | binary(), Func :: atom() | binary()}, pool_name()}].
list_pool_registrations() ->
    py_registry:list().

-spec name(atom() | binary(), pos_integer(), py_error:called()) -> py_registry:name().
name(Name, N, Called) when Name =:= ''; Name =:= <<>> ->
    ?BADARG(Called, {argument, N, <<"an empty name">>});
name(Name, _N, _Called) when is_atom(Name) ->
    Name;
name(Name, N, Called) when is_binary(Name) ->
    case unicode:characters_to_binary(Name) of
        Name -> Name;
        _ -> ?BADARG(Called, {argument, N, <<"not a name">>})
    end;
name(_Name, N, Called) ->
    ?BADARG(Called, {argument, N, <<"neither an atom nor a binary">>}).

%% ------------------------------------------------------------------ direct dispatch

%% @doc Permits calls of a Python function to run on their callers' schedulers, which takes a
%% fraction of the time: no thread has to wake. It is for short functions that need nothing but
%% Python, such as `math.sqrt' or a parser of small texts. While such a call runs, its scheduler
%% does nothing else, and in C code its caller can neither time out nor be killed.
%%
%% A permission, not a promise. The first 32 calls run in the queue and are measured. The function
%% becomes direct if none took longer than half of `direct_limit', waited, printed, called an
%% Erlang function or returned a coroutine. A busy context, a GIL that isn't free, a module that
%% isn't imported yet and large arguments make a call go through the queue, with the same result.
%% Contexts in mode `worker' take direct calls, and with CPython 3.12 and 3.13 those in mode
%% `owngil'.
%%
%% Idempotent; a function whose permit was revoked is measured again. The page "direct" of the
%% documentation says more.
%%
%% Errors: `error:system_limit' when 4096 functions are permitted.
-spec register_direct(Module :: atom() | binary(), Func :: atom() | binary()) -> ok.
register_direct(Module, Func) ->
    Called = {?MODULE, register_direct, [Module, Func]},
    Names = {atom(Module, 1, Called), atom(Func, 2, Called)},
    ok = py_app:ensure_started_or_exit(),
    case py_nif:direct_register(element(1, Names), element(2, Names)) of
        ok -> ok;
        system_limit -> error(system_limit)
    end.

%% @doc Takes the permission back. Idempotent.
-spec unregister_direct(Module :: atom() | binary(), Func :: atom() | binary()) -> ok.
unregister_direct(Module, Func) ->
    Called = {?MODULE, unregister_direct, [Module, Func]},
    Names = {atom(Module, 1, Called), atom(Func, 2, Called)},
    ok = py_app:ensure_started_or_exit(),
    py_nif:direct_unregister(element(1, Names), element(2, Names)).

%% @doc The functions that are registered for direct calls, and how they do: on `probation',
%% `direct', or `{revoked, Why}' for a while, because a call of it was `slow', waited (`waits'),
%% printed or logged (`output'), called an Erlang function (`callback') or returned a `coroutine'.
-spec list_direct() ->
    [{{Module :: atom(), Func :: atom()}, py_nif:direct_phase()}].
list_direct() ->
    ok = py_app:ensure_started_or_exit(),
    lists:sort(py_nif:direct_list()).

%% Python looks names up by atoms. Those of registered functions are few.
-spec atom(atom() | binary(), pos_integer(), py_error:called()) -> atom().
atom(Name, N, Called) ->
    case name(Name, N, Called) of
        Atom when is_atom(Atom) -> Atom;
        Binary ->
            try binary_to_atom(Binary)
            catch error:system_limit -> ?BADARG(Called, {argument, N, <<"too long for an atom">>})
            end
    end.

%% ------------------------------------------------------------------ observing

%% @doc The names of the running pools.
-spec pools() -> [pool_name()].
pools() ->
    py_pool_table:names().

%% @doc Per running pool what `info/1' says.
-spec info() -> #{pool_name() => map()}.
info() ->
    maps:from_list([{Pool, Info} || Pool <- pools(), Info <- [info(Pool)], Info =/= #{}]).

%% @doc What is known of a pool: `mode', `size' (slots), `alive' (contexts), `restarts' (times a
%% slot has been filled again), `quarantined' (threads that are stuck in C code and have been
%% abandoned) and `quarantine_limit' (as many, and the pool takes no new calls), its other
%% options, and `contexts': a list with {@link py_context:info/1} of each, in slot order. `#{}'
%% when it isn't started.
%%
%% Asks the pool's process for its counters, and no thread.
-spec info(pool_name()) -> map().
info(Pool) when is_atom(Pool) ->
    case py_pool:info(Pool) of
        #{contexts := Size} = Info -> described(Pool, Size, Info);
        _Ended -> #{}
    end;
info(Pool) ->
    ?BADARG([Pool], {argument, 1, <<"not an atom">>}).

-spec described(pool_name(), pos_integer(), map()) -> map().
described(Pool, Size, Info) ->
    Living = [Context || Ctx <- contexts(Pool), Context <- [py_context:info(Ctx)], is_map(Context)],
    Info#{size => Size, alive => length(Living), contexts => Living}.
