%% @private The many shapes in which the front's functions can be called, each brought into one request.
%%
%% A shape is told by the types of its arguments, as they come: a pid is a context, an atom where
%% source text could be is a pool. `Module, Func, Args' and `Pool, Module, Func, Args' are told by the
%% third, which is a list in the former.
-module(py_args).

-export([call/1, eval/1, exec/1, complete/1, limit/1]).

-export_type([parsed/0]).

-type parsed() :: {py_call:request(), timeout() | py_call:options()}.
-include("../base/py_args.hrl").

%% A request, and what is still to be said about it.

-define(IS_TARGET(T), (is_pid(T) orelse is_atom(T))).
-define(NO_SOURCE, <<"not text, and there is none after it to run in a context or pool">>).
-define(IS_SOURCE(S), (is_binary(S) orelse is_list(S))).

%% The arguments of `py:call/3..6' and of what takes the same.
-spec call([term()]) -> parsed().
call([Module, Func, Args] = All) ->
    routed(Module, Func, Args, #{}, #{}, All);
call([Ctx, Module, Func, Args] = All) when is_pid(Ctx) ->
    targeted(Ctx, Module, Func, Args, #{}, #{}, All);
call([Module, Func, Args, Kwargs] = All) when is_list(Args) ->
    routed(Module, Func, Args, Kwargs, #{}, All);
call([Pool, Module, Func, Args] = All) ->
    ok = check_target(Pool, Func, Args, All),
    targeted(Pool, Module, Func, Args, #{}, #{}, All);
call([Ctx, Module, Func, Args, Options] = All) when is_pid(Ctx) ->
    targeted(Ctx, Module, Func, Args, #{}, Options, All);
call([Module, Func, Args, Kwargs, Options] = All) when is_list(Args) ->
    routed(Module, Func, Args, Kwargs, Options, All);
call([Pool, Module, Func, Args, Kwargs] = All) ->
    ok = check_target(Pool, Func, Args, All),
    targeted(Pool, Module, Func, Args, Kwargs, #{}, All);
call([Target, Module, Func, Args, Kwargs, Options] = All) ->
    targeted(Target, Module, Func, Args, Kwargs, Options, All).

%% What could be a pool, a module, a function and its arguments may be a module, a function, and no
%% arguments. It is if there is such a pool.
-spec check_target(term(), term(), term(), [term()]) -> ok.
check_target(_Pool, Func, Args, _All) when is_list(Args), (is_atom(Func) orelse is_binary(Func)) ->
    ok;
check_target(Pool, _Func, _Args, All) ->
    case is_atom(Pool) andalso (Pool =:= default orelse py_context_router:pool_started(Pool)) of
        true -> ok;
        false -> ?BADARG(All, {argument, 3, <<"not a list of arguments">>})
    end.

-spec routed(term(), term(), term(), term(), term(), [term()]) -> parsed().
routed(Module, Func, Args, Kwargs, Options, All) ->
    M = py_check:name(Module, 1, All),
    F = py_check:name(Func, 2, All),
    A = arguments(Args, 3, All),
    K = py_check:named(Kwargs, 4, All),
    {py_call:call(by_registration, M, F, A, K), Options}.

-spec targeted(term(), term(), term(), term(), term(), term(), [term()]) -> parsed().
targeted(Target, Module, Func, Args, Kwargs, Options, All) ->
    T = target(Target, All),
    M = py_check:name(Module, 2, All),
    F = py_check:name(Func, 3, All),
    A = arguments(Args, 4, All),
    K = py_check:named(Kwargs, 5, All),
    {py_call:call(T, M, F, A, K), Options}.

%% The arguments of `py:eval/1..4'.
-spec eval([term()]) -> parsed().
eval([Source] = All) ->
    evaluated(default, Source, #{}, #{}, All, 1);
eval([Source, Locals | _] = All) when ?IS_TARGET(Source), not ?IS_SOURCE(Locals) ->
    %% No target: there would be source text after it.
    ?BADARG(All, {argument, 1, ?NO_SOURCE});
eval([Target, Source] = All) when ?IS_TARGET(Target) ->
    evaluated(Target, Source, #{}, #{}, All, 2);
eval([Source, Locals] = All) ->
    evaluated(default, Source, Locals, #{}, All, 1);
eval([Target, Source, Locals] = All) when ?IS_TARGET(Target) ->
    evaluated(Target, Source, Locals, #{}, All, 2);
eval([Source, Locals, Options] = All) ->
    evaluated(default, Source, Locals, Options, All, 1);
eval([Target, Source, Locals, Options] = All) ->
    evaluated(Target, Source, Locals, Options, All, 2).

%% The source is argument `N'.
-spec evaluated(term(), term(), term(), term(), [term()], pos_integer()) -> parsed().
evaluated(Target, Source, Locals, Options, All, N) ->
    Text = py_check:text(Source, N, All),
    Named = py_check:named(Locals, N + 1, All),
    {py_call:eval(target(Target, All), Text, Named), Options}.

%% The arguments of `py:exec/1..3'.
-spec exec([term()]) -> parsed().
exec([Source] = All) ->
    executed(default, Source, #{}, All, 1);
exec([Source, Options | _] = All) when ?IS_TARGET(Source), not ?IS_SOURCE(Options) ->
    ?BADARG(All, {argument, 1, ?NO_SOURCE});
exec([Target, Source] = All) when ?IS_TARGET(Target) ->
    executed(Target, Source, #{}, All, 2);
exec([Source, Options] = All) ->
    executed(default, Source, Options, All, 1);
exec([Target, Source, Options] = All) ->
    executed(Target, Source, Options, All, 2).

-spec executed(term(), term(), term(), [term()], pos_integer()) -> parsed().
executed(Target, Source, Options, All, N) ->
    {py_call:exec(target(Target, All), py_check:text(Source, N, All)), Options}.

-spec target(term(), [term()]) -> py_call:target().
target(Ctx, _All) when is_pid(Ctx) -> py_call:in_context(Ctx);
target(Pool, _All) when is_atom(Pool) -> py_call:in_pool(Pool);
target(_Other, All) -> ?BADARG(All, {argument, 1, <<"neither a context nor a pool's name">>}).

-spec arguments(term(), pos_integer(), [term()]) -> py_context:args().
arguments(Args, _N, _All) when is_list(Args) -> Args;
arguments(_Args, N, All) -> ?BADARG(All, {argument, N, <<"not a list of arguments">>}).

%% The request with all that was said about it.
-spec complete(parsed()) -> {ok, py_call:request()} | {error, {bad_option, {term(), term()}}}.
complete({Request, Options}) when Options =:= #{} -> {ok, Request};
complete({Request, Options}) -> py_call:with_options(Request, Options).

%% The time limit that was given, of a call that nobody waits for.
-spec limit(parsed()) -> timeout().
limit({_Request, #{timeout := Timeout}}) -> Timeout;
limit({_Request, Timeout}) when is_integer(Timeout) -> Timeout;
limit({_Request, _Options}) -> infinity.
