%% @private One request: what a context is asked to do, where, and what its caller wants beyond
%% the result.
%%
%% Data and pure functions, for the calling process. Every request is made here, of arguments
%% that have been checked, and brought here into the form that the native side takes; py_submit
%% sends it.
-module(py_request).

%% Making one.
-export([new/3, call/5, map/5, eval/3, exec/2, eval_shared/3, exec_shared/2, with_options/2]).
-export([in_context/1, in_pool/1, pool_timeout/0, not_options/1]).
%% Changing one.
-export([with_target/2, with_timeout/2, with_lists/2, on_behalf/2, as_stream/1,
         survive_caller/1]).
%% Asking one.
-export([target/1, timeout/1, flags/1, env/1, lists/1]).
-export([survives_caller/1, leaves_state/1, is_of_process/1]).
-export([describe/1, describe_native/1]).
%% Sending one.
-export([native/2, native_call/5]).

-export_type([request/0, target/0, work/0]).

-include("../base/py_check.hrl").
-include("../base/py_request_flags.hrl").

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
              | {map, name(), name(), [py_context:args()], #{name() => term()}}
              | {eval, binary(), #{name() => term()}}
              | {exec, binary()}
              | {call_method, Object :: term(), name(), py_context:args(), #{name() => term()}}
              | {getattr, Object :: term(), name()}
              | {to_term, Object :: term()}
              | {to_buffer, Object :: term(), Share :: boolean()}
              | {stream_next, Stream :: reference(), Max :: pos_integer()}
              | {stream_push, Stream :: reference(), Max :: pos_integer(), Tag :: reference(),
                 Consumer :: pid()}
              | {stream_close, Stream :: reference()}
              | {gather, Coroutines :: [reference()]}
              | new_env.
-type name() :: atom() | binary().

%% How long a pool has to answer, in ms, unless the caller says otherwise.
-define(POOL_TIMEOUT, 30_000).
%% How much of a source text describes it, in characters.
-define(MAX_DESCRIPTION, 80).

%% ------------------------------------------------------------------ making one

-spec in_context(pid()) -> target().
in_context(Ctx) -> {context, Ctx}.

-spec in_pool(atom()) -> target().
in_pool(Pool) -> {pool, Pool}.

%% For a context, with all that its options say.
-spec new(pid(), work(), py_options:call()) -> request().
new(Ctx, Work, {Timeout, Env, Flags}) ->
    ends_with_caller(#request{target = {context, Ctx}, work = Work, timeout = Timeout, env = Env,
                              flags = Flags}).

-spec call(target(), name(), name(), py_context:args(), #{name() => term()}) -> request().
call(Target, Module, Func, Args, Kwargs) ->
    request(Target, {call, Module, Func, Args, Kwargs}).

-spec map(target(), name(), name(), [py_context:args()], #{name() => term()}) -> request().
map(Target, Module, Func, Lists, Kwargs) ->
    ends_with_caller(request(Target, {map, Module, Func, Lists, Kwargs})).

%% A map does in any case: its caller submits it part by part.
-spec ends_with_caller(request()) -> request().
ends_with_caller(#request{work = {map, _, _, _, _}} = Request) ->
    flag(?FLAG_INTERRUPT_ON_CALLER_DOWN, Request);
ends_with_caller(Request) ->
    Request.

-spec eval(target(), binary(), #{name() => term()}) -> request().
eval(Target, Source, Locals) ->
    request(Target, {eval, Source, Locals}).

-spec exec(target(), binary()) -> request().
exec(Target, Source) ->
    (request(Target, {exec, Source}))#request{pins = true}.

%% In the context's own namespace, which its processes share.
-spec exec_shared(pid(), binary()) -> request().
exec_shared(Ctx, Source) ->
    new(Ctx, {exec, Source}, {infinity, none, 0}).

-spec eval_shared(pid(), binary(), #{name() => term()}) -> request().
eval_shared(Ctx, Source, Locals) ->
    new(Ctx, {eval, Source, Locals}, {infinity, none, 0}).

-spec request(target(), work()) -> request().
request({pool, _} = Target, Work) ->
    #request{target = Target, work = Work, timeout = ?POOL_TIMEOUT};
request({context, _} = Target, Work) ->
    #request{target = Target, work = Work, timeout = infinity}.

%% A timeout, or a map of options. An unknown or bad one is named.
-spec with_options(request(), timeout() | py:options()) ->
    {ok, request()} | {error, {bad_option, {term(), term()}}}.
with_options(Request, Timeout) when ?IS_TIMEOUT(Timeout) ->
    {ok, Request#request{timeout = Timeout}};
with_options(#request{work = {call, _, _, _, Given}}, #{kwargs := Kwargs}) when Given =/= #{} ->
    %% There are some already, as an argument: one of the two would be lost.
    {error, {bad_option, {kwargs, Kwargs}}};
with_options(#request{work = {Call, Module, Func, Args, _}} = Request, #{kwargs := Kwargs} = Rest)
  when Call =:= call; Call =:= map ->
    case is_map(Kwargs) orelse is_list(Kwargs) of
        true ->
            Named = py_check:named(Kwargs, 1, [Kwargs]),
            Work = {Call, Module, Func, Args, Named},
            with_options(Request#request{work = Work}, maps:remove(kwargs, Rest));
        false ->
            {error, {bad_option, {kwargs, Kwargs}}}
    end;
with_options(#request{work = {map, _, _, _, _}}, #{on_caller_down := finish}) ->
    %% Nobody would make the calls that are left.
    {error, {bad_option, {on_caller_down, finish}}};
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
checked({call, _, _, _, _}, Options, Defaults) -> py_options:function(Options, Defaults);
checked(_Work, Options, Defaults) -> py_options:call(Options, Defaults).

%% How long a pool has to answer, in ms, unless the caller says otherwise.
-spec pool_timeout() -> timeout().
pool_timeout() ->
    ?POOL_TIMEOUT.

%% ------------------------------------------------------------------ changing one

-spec with_target(request(), target()) -> request().
with_target(Request, Target) ->
    Request#request{target = Target}.

-spec with_timeout(request(), timeout()) -> request().
with_timeout(Request, Timeout) ->
    Request#request{timeout = Timeout}.

%% The same function with other arguments.
-spec with_lists(request(), [py_context:args()]) -> request().
with_lists(#request{work = {map, Module, Func, _, Kwargs}} = Request, Lists) ->
    Request#request{work = {map, Module, Func, Lists, Kwargs}}.

%% Run by another process, in the namespace of this one.
-spec on_behalf(pid(), request()) -> request().
on_behalf(Pid, #request{env = process} = Request) -> Request#request{env = Pid};
on_behalf(_Pid, Request) -> Request.

%% Its result comes as a handle on an iterator.
-spec as_stream(request()) -> request().
as_stream(Request) ->
    flag(?FLAG_STREAM, Request).

%% It runs to its end also when the calling process dies, unless the options say otherwise.
-spec survive_caller(request()) -> request().
survive_caller(#request{flags = Flags} = Request)
  when Flags band ?FLAG_INTERRUPT_ON_CALLER_DOWN =/= 0 ->
    Request;
survive_caller(Request) ->
    flag(?FLAG_FINISH_ON_CALLER_DOWN, Request).

-spec flag(py_nif:flags(), request()) -> request().
flag(Bit, #request{flags = Flags} = Request) ->
    Request#request{flags = Flags bor Bit}.

%% ------------------------------------------------------------------ asking one

-spec target(request()) -> target().
target(#request{target = Target}) ->
    Target.

-spec timeout(request()) -> timeout().
timeout(#request{timeout = Timeout}) ->
    Timeout.

%% What its caller wants beyond the result, also of the requests that follow from this one.
-spec flags(request()) -> py_nif:flags().
flags(#request{flags = Flags}) ->
    Flags.

%% Whose globals.
-spec env(request()) -> py_nif:env().
env(#request{env = Env}) ->
    Env.

%% The arguments of all calls of a map. `undefined': it is something else.
-spec lists(request()) -> [py_context:args()] | undefined.
lists(#request{work = {map, _, _, Lists, _}}) -> Lists;
lists(_Request) -> undefined.

-spec survives_caller(request()) -> boolean().
survives_caller(#request{flags = Flags}) ->
    Flags band ?FLAG_FINISH_ON_CALLER_DOWN =/= 0.

%% Whether it leaves variables behind in the calling process's namespace.
-spec leaves_state(request()) -> boolean().
leaves_state(#request{pins = Pins, env = Env}) ->
    Pins andalso Env =:= process.

%% Whether it may need what the calling process has defined.
-spec is_of_process(request()) -> boolean().
is_of_process(#request{work = {Call, Module, _, _, _}}) when Call =:= call; Call =:= map ->
    Module =:= '__main__' orelse Module =:= <<"__main__">>;
is_of_process(_Request) ->
    true.

%% What it does, in short, for people.
-spec describe(request()) -> iodata().
describe(Request) ->
    describe_native(native(Request, make_ref())).

-spec describe_native(py_nif:request()) -> iodata().
describe_native({call, _, _, Module, Func, _, _, _}) -> io_lib:format("~ts.~ts", [Module, Func]);
describe_native({map, _, _, Module, Func, _, _, _}) -> io_lib:format("~ts.~ts", [Module, Func]);
describe_native({eval, _, _, Source, _, _}) -> string:slice(Source, 0, ?MAX_DESCRIPTION);
describe_native({exec, _, _, Source, _}) -> string:slice(Source, 0, ?MAX_DESCRIPTION);
describe_native(Request) -> atom_to_list(element(1, Request)).

%% ------------------------------------------------------------------ sending one

%% As the native side takes it. Its result comes with the key.
-spec native(request(), py_nif:key()) -> py_nif:request().
native(#request{work = Work, env = Env, flags = Flags}, Key) ->
    case Work of
        {call, Module, Func, Args, Kwargs} -> {call, Key, Flags, Module, Func, Args, Kwargs, Env};
        {map, Module, Func, Lists, Kwargs} -> {map, Key, Flags, Module, Func, Lists, Kwargs, Env};
        {eval, Source, Locals} -> {eval, Key, Flags, Source, Locals, Env};
        {exec, Source} -> {exec, Key, Flags, Source, Env};
        {call_method, Object, Method, Args, Kwargs} ->
            {call_method, Key, Flags, Object, Method, Args, Kwargs};
        {getattr, Object, Name} -> {getattr, Key, Flags, Object, Name};
        {to_term, Object} -> {to_term, Key, Flags, Object};
        {to_buffer, Object, Share} -> {to_buffer, Key, Flags, Object, Share};
        {stream_next, Stream, Max} -> {stream_next, Key, Flags, Stream, Max};
        {stream_push, Stream, Max, Tag, Consumer} ->
            {stream_push, Key, Flags, Stream, Max, Tag, Consumer};
        {stream_close, Stream} -> {stream_close, Key, Flags, Stream};
        {gather, Coroutines} -> {gather, Key, Flags, Coroutines};
        new_env -> {new_env, Key, Flags}
    end.

%% The same of a call with neither keyword arguments nor options: the most frequent request, which
%% needs no record on its way.
-spec native_call(py_nif:key(), name(), name(), py_context:args(), py_nif:env()) ->
    py_nif:request().
native_call(Key, Module, Func, Args, Env) ->
    {call, Key, 0, Module, Func, Args, #{}, Env}.
