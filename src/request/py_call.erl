%% One request of the front: which context, what to run there, for how long.
%%
%% `py' brings the many shapes of its functions into a request; from here all go one way: look-up,
%% context, submit, await. Runs in the calling process, and asks no other one.
-module(py_call).

-export([call/5, eval/3, exec/2, own_exec/2, own_eval/3, in_context/1, in_pool/1]).
-export([with_options/2, outliving/1, outlives/1, as_stream/1, parking/1, on_behalf/2]).
-export([flags/1, timeout/1, in_time/2, pool_timeout/0, not_options/1]).
-export([settle/1, settle_patiently/2, patience/1, native/2]).
-export([run/1, submit/2, submit_patiently/2, submit_spread/3, describe/1, describe_native/1]).
-export([context/1]).

-export_type([request/0, target/0, work/0, options/0]).

-record(request, {
    target :: target(),
    work :: work(),
    timeout :: timeout(),
    env = process :: py_nif:env(),
    flags = 0 :: py_nif:flags(),
    %% Leaves state behind: the process shall find it again.
    pins = false :: boolean()
}).

-opaque request() :: #request{}.
-type target() :: {pool, atom()} | {context, pid()}.
-type work() :: {call, name(), name(), py_context:args(), #{name() => term()}}
              | {eval, binary(), #{name() => term()}}
              | {exec, binary()}.
-type name() :: atom() | binary().
-type options() :: #{kwargs => py_context:kwargs(),
                     timeout => timeout(),
                     env => process | none | py_context:env(),
                     traceback => boolean(),
                     values => erlang | elixir,
                     on_caller_down => interrupt | finish,
                     result => auto | term | object}.
-include("../base/py_args.hrl").
-include("../base/py_request_flags.hrl").

%% `kwargs': keyword arguments. `timeout': in ms. `env': whose variables are used: the calling
%% process's (`process', the default), the context's own (`none'), or those of an environment made by
%% `py_context:create_local_env/1'. `traceback': whether an exception comes with its traceback.
%% `values': with `elixir', `None' is `nil' and a handle on an object the struct `Py.Object' in the
%% result, at any depth; with `erlang', the default, they are `none' and a reference.
%% `on_caller_down': what becomes of the call when the calling process dies. `result': as in
%% `py_context:call_options()'; of streams, for each item; not of `exec'.

%% How long a pool has to answer, in ms, unless the caller says otherwise.
-define(POOL_TIMEOUT, 30_000).
%% How long to wait before looking for a dead context's replacement again, in ms: at first, at most.
-define(FIRST_LOOK, 1).
-define(LAST_LOOK, 20).
%% Where a process keeps the context that holds its state. One atom for the default pool, which is
%% asked for on nearly every call.
-define(DEFAULT_PIN, '$py_pin').
-define(PIN(Pool), {?DEFAULT_PIN, Pool}).

%% ------------------------------------------------------------------ making requests

-spec in_context(pid()) -> target().
in_context(Ctx) -> {context, Ctx}.

-spec in_pool(atom()) -> target().
in_pool(Pool) -> {pool, Pool}.

%% `Target' is `by_registration' where the function decides.
-spec call(target() | by_registration, name(), name(), py_context:args(), #{name() => term()}) ->
    request().
call(by_registration, Module, Func, Args, Kwargs) ->
    Pool = py_context_router:lookup_pool(Module, Func),
    #request{target = {pool, Pool}, work = {call, Module, Func, Args, Kwargs},
             timeout = ?POOL_TIMEOUT};
call(Target, Module, Func, Args, Kwargs) ->
    request(Target, {call, Module, Func, Args, Kwargs}).

-spec eval(target(), binary(), #{name() => term()}) -> request().
eval(Target, Source, Locals) ->
    request(Target, {eval, Source, Locals}).

-spec exec(target(), binary()) -> request().
exec(Target, Source) ->
    (request(Target, {exec, Source}))#request{pins = true}.

%% In the context's own namespace, which its processes share.
-spec own_exec(pid(), binary()) -> request().
own_exec(Ctx, Source) ->
    (request({context, Ctx}, {exec, Source}))#request{env = none}.

-spec own_eval(pid(), binary(), #{name() => term()}) -> request().
own_eval(Ctx, Source, Locals) ->
    (request({context, Ctx}, {eval, Source, Locals}))#request{env = none}.

-spec request(target(), work()) -> request().
request({pool, _} = Target, Work) ->
    #request{target = Target, work = Work, timeout = ?POOL_TIMEOUT};
request({context, _} = Target, Work) ->
    #request{target = Target, work = Work, timeout = infinity}.

%% A timeout, or a map of options. An unknown or bad one is named.
-spec with_options(request(), timeout() | options()) ->
    {ok, request()} | {error, {bad_option, {term(), term()}}}.
with_options(Request, Timeout) when ?IS_TIMEOUT(Timeout) ->
    {ok, Request#request{timeout = Timeout}};
with_options(#request{work = {call, _, _, _, Given}}, #{kwargs := Kwargs}) when Given =/= #{} ->
    %% There are some already, as an argument: one of the two would be lost.
    {error, {bad_option, {kwargs, Kwargs}}};
with_options(#request{work = {call, Module, Func, Args, _}} = Request, #{kwargs := Kwargs} = Rest) ->
    case is_map(Kwargs) orelse is_list(Kwargs) of
        true ->
            Named = py_check:named(Kwargs, 1, [Kwargs]),
            Work = {call, Module, Func, Args, Named},
            with_options(Request#request{work = Work}, maps:remove(kwargs, Rest));
        false ->
            {error, {bad_option, {kwargs, Kwargs}}}
    end;
with_options(Request, #{env := process} = Options) ->
    with_options(Request#request{env = process}, maps:remove(env, Options));
with_options(#request{timeout = T, env = E, flags = F} = Request, Options) when is_map(Options) ->
    case checked(Request#request.work, Options, {T, E, F}) of
        {ok, {Timeout, Env, Flags}} ->
            {ok, Request#request{timeout = Timeout, env = Env, flags = Flags}};
        {error, _} = Error ->
            Error
    end;
with_options(_Request, Other) ->
    {error, {bad_option, not_options(Other)}}.

%% What is neither a timeout nor options was probably meant to be one of the two.
-spec not_options(term()) -> {timeout | options, term()}.
not_options(Timeout) when is_number(Timeout) -> {timeout, Timeout};
not_options(Other) -> {options, Other}.

-spec checked(work(), map(), py_options:call()) ->
    {ok, py_options:call()} | {error, py_options:error()}.
checked({exec, _}, Options, Defaults) -> py_options:statements(Options, Defaults);
checked(_Work, Options, Defaults) -> py_options:call(Options, Defaults).

%% It runs to its end also when the calling process dies, unless the options say otherwise.
-spec outliving(request()) -> request().
outliving(#request{flags = Flags} = Request) when Flags band ?FLAG_STOP_ORPHAN =/= 0 ->
    Request;
outliving(Request) ->
    flag(?FLAG_FINISH_ORPHAN, Request).

-spec outlives(request()) -> boolean().
outlives(#request{flags = Flags}) ->
    Flags band ?FLAG_FINISH_ORPHAN =/= 0.

%% Its result comes as a handle on an iterator.
-spec as_stream(request()) -> request().
as_stream(Request) ->
    flag(?FLAG_STREAM, Request).

%% A coroutine is not run but comes as `{parked, Handle}'.
-spec parking(request()) -> request().
parking(Request) ->
    flag(?FLAG_PARK, Request).

%% Run by this process in the namespace of another.
-spec on_behalf(pid(), request()) -> request().
on_behalf(Pid, #request{env = process} = Request) -> Request#request{env = Pid};
on_behalf(_Pid, Request) -> Request.

%% What its caller wants beyond the result, also of the jobs that follow from this one.
-spec flags(request()) -> py_nif:flags().
flags(#request{flags = Flags}) ->
    Flags.

-spec timeout(request()) -> timeout().
timeout(#request{timeout = Timeout}) ->
    Timeout.

%% How long a pool has to answer, in ms, unless the caller says otherwise.
-spec pool_timeout() -> timeout().
pool_timeout() ->
    ?POOL_TIMEOUT.

-spec in_time(request(), timeout()) -> request().
in_time(Request, Timeout) ->
    Request#request{timeout = Timeout}.

-spec flag(py_nif:flags(), request()) -> request().
flag(Bit, #request{flags = Flags} = Request) ->
    Request#request{flags = Flags bor Bit}.

%% ------------------------------------------------------------------ running them

%% Runs a request and waits for its result.
-spec run(request()) -> term().
run(#request{target = {context, Ctx}} = Request) when node(Ctx) =/= node() ->
    py_remote_proxy:run(Ctx, Request);
run(#request{target = {context, Ctx}} = Request) ->
    submit_and_await(Ctx, Request);
run(#request{target = {pool, Pool}} = Request) ->
    case context(Pool) of
        {ok, Ctx} when node(Ctx) =/= node() ->
            run_in_binding(Ctx, Request);
        {ok, Ctx} ->
            ok = pin(Ctx, Request),
            case submit_and_await(Ctx, Request) of
                {error, {context_died, noproc}} -> run_in_replacement(Ctx, Request);
                Result -> Result
            end;
        {error, _} = Error ->
            Error
    end.

%% The process is bound to a context of another node. Whether that is alive is known when it is asked.
-spec run_in_binding(pid(), request()) -> term().
run_in_binding(Ctx, #request{target = {pool, Pool}} = Request) ->
    case py_remote_proxy:run(Ctx, Request#request{target = {context, Ctx}}) of
        {error, {context_died, noproc}} ->
            ok = py_context_router:unbind_context(Pool),
            run_in_replacement(Ctx, Request);
        {error, {context_died, noconnection}} = Lost ->
            %% It may have run.
            ok = py_context_router:unbind_context(Pool),
            Lost;
        Result ->
            Result
    end.

-spec submit_and_await(pid(), request()) -> term().
submit_and_await(Ctx, #request{timeout = Timeout} = Request) ->
    py_context:request(Ctx, fun(Ref) -> native(Request, Ref) end, Timeout).

-spec native(request(), reference()) -> py_nif:request().
native(#request{work = Work, env = Env, flags = Flags}, Ref) ->
    case Work of
        {call, Module, Func, Args, Kwargs} -> {call, Ref, Flags, Module, Func, Args, Kwargs, Env};
        {eval, Source, Locals} -> {eval, Ref, Flags, Source, Locals, Env};
        {exec, Source} -> {exec, Ref, Flags, Source, Env}
    end.

%% The context was dead before it took the request in, so the request has not run and another
%% context may have it.
-spec run_in_replacement(pid(), request()) -> term().
run_in_replacement(Dead, #request{timeout = Timeout} = Request) ->
    Retry = fun(Ctx, Left) -> submit_and_await(Ctx, Request#request{timeout = Left}) end,
    replaced(Dead, Request, py_deadline:from_timeout(Timeout), ?FIRST_LOOK, Retry).

-spec replaced(pid(), request(), py_deadline:deadline(), pos_integer(),
               fun((pid(), timeout()) -> term())) -> term().
replaced(Dead, #request{target = {pool, Pool}} = Request, Deadline, Wait, Try) ->
    ok = unpin(Pool, Dead),
    case context(Pool) of
        {ok, Ctx} when node(Ctx) =:= node() ->
            ok = pin(Ctx, Request),
            case Try(Ctx, py_deadline:left(Deadline)) of
                {error, {context_died, noproc}} = Died ->
                    case py_deadline:left(Deadline) of
                        0 ->
                            Died;
                        _ ->
                            receive after Wait -> ok end,
                            replaced(Ctx, Request, Deadline, min(Wait * 2, ?LAST_LOOK), Try)
                    end;
                Result ->
                    Result
            end;
        {ok, Ctx} ->
            py_remote_proxy:run(Ctx, Request#request{target = {context, Ctx},
                                                     timeout = py_deadline:left(Deadline)});
        {error, _} = Error ->
            Error
    end.

%% Hands a request to its context in the way of `Submit', without waiting for anything.
-spec submit(request(), fun((pid(), py_nif:request()) -> Taken | {error, term()})) ->
    Taken | {error, term()}.
submit(#request{target = {context, Ctx}} = Request, Submit) ->
    submit_to(Ctx, Request, Submit);
submit(#request{target = {pool, Pool}} = Request, Submit) ->
    case context(Pool) of
        {ok, Ctx} -> submit_to(Ctx, Request, Submit);
        {error, _} = Error -> Error
    end.

%% As `submit', but waits for a context, in the request's time, if its pool has none just now.
-spec submit_patiently(request(), fun((pid(), py_nif:request()) -> Taken | {error, term()})) ->
    Taken | {error, term()}.
submit_patiently(Request, Submit) ->
    patiently(Request, fun(Ctx, _Left) -> submit_to(Ctx, Request, Submit) end).

%% Has `Try' do it, with the context that the request goes to and the request decided for that; waits
%% for a context, in the request's time, if its pool has none just now.
-spec settle_patiently(request(), fun((pid(), request()) -> Result | {error, term()})) ->
    Result | {error, term()}.
settle_patiently(Request, Try) ->
    patiently(Request, fun(Ctx, Left) ->
        case settled(Ctx, Request#request{timeout = Left}) of
            {ok, Ctx, Settled} -> Try(Ctx, Settled);
            {error, _} = Error -> Error
        end
    end).

-spec patiently(request(), fun((pid(), timeout()) -> Result | {error, term()})) ->
    Result | {error, term()}.
patiently(#request{target = {context, Ctx}, timeout = Timeout}, Try) ->
    Try(Ctx, Timeout);
patiently(#request{target = {pool, Pool}, timeout = Timeout} = Request, Try) ->
    case context(Pool) of
        {ok, Ctx} ->
            case Try(Ctx, Timeout) of
                {error, {context_died, noproc}} ->
                    replaced(Ctx, Request, py_deadline:from_timeout(Timeout), ?FIRST_LOOK, Try);
                Result ->
                    Result
            end;
        {error, _} = Error ->
            Error
    end.

%% How long a request waits for a context. One that names its context has that one or none.
-spec patience(request()) -> timeout().
patience(#request{target = {context, _}}) -> 0;
patience(#request{timeout = Timeout}) -> Timeout.

%% As `submit_patiently', but the `N'th of many: each to another context of the pool, unless the
%% process has bound itself to one, or the function is one of its own.
-spec submit_spread(request(), pos_integer(),
                    fun((pid(), py_nif:request()) -> Taken | {error, term()})) ->
    Taken | {error, term()}.
submit_spread(#request{target = {context, _}} = Request, _N, Submit) ->
    submit_patiently(Request, Submit);
submit_spread(#request{target = {pool, Pool}} = Request, N, Submit) ->
    case is_tied(Pool, Request) orelse py_context_router:contexts(Pool) of
        Contexts when is_list(Contexts), Contexts =/= [] ->
            Ctx = lists:nth((N - 1) rem length(Contexts) + 1, Contexts),
            case submit_to(Ctx, Request, Submit) of
                {error, {context_died, noproc}} -> submit_patiently(Request, Submit);
                Taken -> Taken
            end;
        [] ->
            %% Starts the default pool, whose contexts the next ones are spread over.
            submit_patiently(Request, Submit);
        true ->
            submit_patiently(Request, Submit)
    end.

-spec is_tied(atom(), request()) -> boolean().
is_tied(Pool, #request{work = Work}) ->
    py_context_router:bound_context(Pool) =/= undefined
        orelse (is_of_process(Work) andalso pinned(Pool) =/= undefined).

-spec is_of_process(work()) -> boolean().
is_of_process({call, Module, _, _, _}) -> Module =:= '__main__' orelse Module =:= <<"__main__">>;
is_of_process(_) -> true.

%% What a request does, in short, for people.
-spec describe(request()) -> iodata().
describe(Request) ->
    describe_native(native(Request, make_ref())).

-spec describe_native(py_nif:request()) -> iodata().
describe_native({call, _, _, Module, Func, _, _, _}) -> io_lib:format("~ts.~ts", [Module, Func]);
describe_native({eval, _, _, Source, _, _}) -> string:slice(Source, 0, 80);
describe_native({exec, _, _, Source, _}) -> string:slice(Source, 0, 80);
describe_native(Request) -> atom_to_list(element(1, Request)).

-spec submit_to(pid(), request(), fun((pid(), py_nif:request()) -> Taken | {error, term()})) ->
    Taken | {error, term()}.
submit_to(Ctx, _Request, _Submit) when node(Ctx) =/= node() ->
    {error, {remote_context, Ctx}};
submit_to(Ctx, Request, Submit) ->
    Submit(Ctx, native(Request, make_ref())).

%% The context that a request goes to, decided for good.
-spec settle(request()) -> {ok, pid(), request()} | {error, term()}.
settle(#request{target = {context, Ctx}} = Request) ->
    settled(Ctx, Request);
settle(#request{target = {pool, Pool}} = Request) ->
    case context(Pool) of
        {ok, Ctx} -> settled(Ctx, Request);
        {error, _} = Error -> Error
    end.

-spec settled(pid(), request()) -> {ok, pid(), request()} | {error, term()}.
settled(Ctx, _Request) when node(Ctx) =/= node() -> {error, {remote_context, Ctx}};
settled(Ctx, Request) -> {ok, Ctx, Request#request{target = {context, Ctx}}}.

%% ------------------------------------------------------------------ contexts

%% The calling process's context in a pool: the bound one, else the one that has its state, else its
%% scheduler's. The default pool starts when it is first asked for.
-spec context(atom()) -> {ok, pid()} | {error, term()}.
context(Pool) ->
    case py_context_router:bound_context(Pool) of
        undefined -> pinned_context(pinned(Pool), Pool);
        Bound -> {ok, Bound}
    end.

-spec pinned_context(pid() | undefined, atom()) -> {ok, pid()} | {error, term()}.
pinned_context(undefined, Pool) ->
    routed_context(py_context_router:routed_context(Pool), Pool);
pinned_context(Pinned, Pool) ->
    case is_process_alive(Pinned) of
        true ->
            {ok, Pinned};
        false ->
            ok = unpin(Pool),
            pinned_context(undefined, Pool)
    end.

-spec routed_context(pid() | undefined, atom()) -> {ok, pid()} | {error, term()}.
routed_context(undefined, default) ->
    case py_configured_pools:start_default() of
        %% By now it may have been stopped again.
        ok -> found_context(py_context_router:routed_context(default), default);
        {error, _} = Error -> Error
    end;
routed_context(Found, Pool) ->
    found_context(Found, Pool).

-spec found_context(pid() | undefined, atom()) -> {ok, pid()} | {error, term()}.
found_context(undefined, Pool) -> {error, {pool_not_started, Pool}};
found_context(Ctx, _Pool) -> {ok, Ctx}.

%% If the request leaves state behind, the process has that in this context from now on. Where it has
%% bound itself it needs no pin.
-spec pin(pid(), request()) -> ok.
pin(Ctx, #request{pins = true, env = process, target = {pool, Pool}}) ->
    _ = case py_context_router:bound_context(Pool) of
            undefined -> put(pin_key(Pool), Ctx);
            _ -> unpinned
        end,
    ok;
pin(_Ctx, _Request) ->
    ok.

-spec pinned(atom()) -> pid() | undefined.
pinned(Pool) ->
    get(pin_key(Pool)).

-spec unpin(atom()) -> ok.
unpin(Pool) ->
    _ = erase(pin_key(Pool)),
    ok.

-spec unpin(atom(), pid()) -> ok.
unpin(Pool, Ctx) ->
    case pinned(Pool) of
        Ctx -> unpin(Pool);
        _ -> ok
    end.

-spec pin_key(atom()) -> term().
pin_key(default) -> ?DEFAULT_PIN;
pin_key(Pool) -> ?PIN(Pool).
