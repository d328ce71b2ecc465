%% @private The shapes in which the front's functions can be called, each brought into one
%% request.
%%
%% Pure functions for the calling process; they never send anything. The types of the arguments,
%% as they come, tell a shape: a pid is a context, an atom where source text could be is a pool.
%% `Module, Func, Args' and `Pool, Module, Func, Args' differ in the third, which is a list in
%% the former.
-module(py_args).

-export([call/1, map/1, eval/1, exec/1, complete/1, complete_queued/1, limit/1]).
-export([calls/2, complete_each/2, complete_stream/1]).

-export_type([parsed/0]).

-type parsed() :: {py_request:request(), timeout() | py:options()}.
-include("../base/py_check.hrl").

%% A request, and the options that are still to be applied to it.

-define(IS_TARGET(T), (is_pid(T) orelse is_atom(T))).
%% How many items of a stream at most wait for their consumer, unless the caller says otherwise.
-define(READ_AHEAD, 100).
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

%% The first of four arguments may be a pool; or a module, and then the arguments are no list. It
%% is a pool if there is one of that name.
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
    {py_request:call(py_target:of_function(M, F), M, F, A, K), Options}.

-spec targeted(term(), term(), term(), term(), term(), term(), [term()]) -> parsed().
targeted(Target, Module, Func, Args, Kwargs, Options, All) ->
    T = target(Target, All),
    M = py_check:name(Module, 2, All),
    F = py_check:name(Func, 3, All),
    A = arguments(Args, 4, All),
    K = py_check:named(Kwargs, 5, All),
    {py_request:call(T, M, F, A, K), Options}.

%% The arguments of `py:map/3..5'.
-spec map([term()]) -> parsed().
map([Module, Func, Lists] = All) ->
    routed_map(Module, Func, Lists, #{}, All);
map([Target, Module, Func, Lists] = All) when is_pid(Target); is_list(Lists) ->
    targeted_map(Target, Module, Func, Lists, #{}, All);
map([Module, Func, Lists, Options] = All) ->
    routed_map(Module, Func, Lists, Options, All);
map([Target, Module, Func, Lists, Options] = All) ->
    targeted_map(Target, Module, Func, Lists, Options, All).

-spec routed_map(term(), term(), term(), term(), [term()]) -> parsed().
routed_map(Module, Func, Lists, Options, All) ->
    M = py_check:name(Module, 1, All),
    F = py_check:name(Func, 2, All),
    L = py_check:lists(Lists, 3, All),
    {Kwargs, Others} = keywords(Options, 4, All),
    {py_request:map(py_target:of_function(M, F), M, F, L, Kwargs), Others}.

-spec targeted_map(term(), term(), term(), term(), term(), [term()]) -> parsed().
targeted_map(Target, Module, Func, Lists, Options, All) ->
    T = target(Target, All),
    M = py_check:name(Module, 2, All),
    F = py_check:name(Func, 3, All),
    L = py_check:lists(Lists, 4, All),
    {Kwargs, Others} = keywords(Options, 5, All),
    {py_request:map(T, M, F, L, Kwargs), Others}.

%% The keyword arguments among options, and the other options. The options are argument `N'.
-spec keywords(term(), pos_integer(), [term()]) -> {#{atom() | binary() => term()}, term()}.
keywords(#{kwargs := Kwargs} = Options, N, All) when is_map(Kwargs); is_list(Kwargs) ->
    {py_check:named(Kwargs, N, All), maps:remove(kwargs, Options)};
keywords(Options, _N, _All) ->
    {#{}, Options}.

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
    {py_request:eval(target(Target, All), Text, Named), Options}.

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
    {py_request:exec(target(Target, All), py_check:text(Source, N, All)), Options}.

-spec target(term(), [term()]) -> py_request:target().
target(Ctx, _All) when is_pid(Ctx) -> py_request:in_context(Ctx);
target(Pool, _All) when is_atom(Pool) -> py_request:in_pool(Pool);
target(_Other, All) -> ?BADARG(All, {argument, 1, <<"neither a context nor a pool's name">>}).

-spec arguments(term(), pos_integer(), [term()]) -> py_context:args().
arguments(Args, _N, _All) when is_list(Args) -> Args;
arguments(_Args, N, All) -> ?BADARG(All, {argument, N, <<"not a list of arguments">>}).

%% The request with its options.
-spec complete(parsed()) -> {ok, py_request:request()} | {error, {bad_option, {term(), term()}}}.
complete({Request, Options}) when Options =:= #{} -> {ok, Request};
complete({Request, Options}) -> py_request:with_options(Request, Options).

%% The same of a request whose caller doesn't wait for it, so that it can't be dispatched directly.
-spec complete_queued(parsed()) ->
    {ok, py_request:request()} | {error, {bad_option, {term(), term()}}}.
complete_queued({_Request, #{dispatch := Where}}) -> {error, {bad_option, {dispatch, Where}}};
complete_queued(Parsed) -> complete(Parsed).

%% The time limit that was given, of a call that nobody waits for.
-spec limit(parsed()) -> timeout().
limit({_Request, #{timeout := Timeout}}) -> Timeout;
limit({_Request, Timeout}) when is_integer(Timeout) -> Timeout;
limit({_Request, _Options}) -> infinity.

%% ------------------------------------------------------------------ many calls

%% The requests of `py:parallel/1': all are checked before the first is made.
-spec calls([term()], [term()]) -> [py_request:request()].
calls(Calls, All) ->
    [begin
         {ok, Request} = complete(call(tuple_to_list(Call))),
         Request
     end || Call <- checked(Calls, All)].

-spec checked(term(), [term()]) -> [tuple()].
checked([{Module, Func, Args} | Calls], All) when is_list(Args) ->
    checked([{Module, Func, Args, #{}} | Calls], All);
checked([{Module, Func, Args, Kwargs} | Calls], All) when is_list(Args) ->
    Call = {py_check:name(Module, 1, All), py_check:name(Func, 1, All), Args,
            py_check:named(Kwargs, 1, All)},
    [Call | checked(Calls, All)];
checked([], _All) -> [];
checked(_Other, All) -> ?BADARG(All, {argument, 1, <<"not a list of {Module, Func, Args}">>}).

%% Bad options are bad without calls, too.
-spec complete_each([py_request:request()], map()) ->
    {ok, [py_request:request()]} | {error, {bad_option, {term(), term()}}}.
complete_each(Requests, Options) ->
    case py_options:call(maps:without([env], Options)) of
        {ok, _} -> complete_each(Requests, Options, []);
        {error, _} = Error -> Error
    end.

-spec complete_each([py_request:request()], map(), [py_request:request()]) ->
    {ok, [py_request:request()]} | {error, {bad_option, {term(), term()}}}.
complete_each([Request | Requests], Options, Complete) ->
    case py_request:with_options(Request, Options) of
        {ok, Each} -> complete_each(Requests, Options, [Each | Complete]);
        {error, _} = Error -> Error
    end;
complete_each([], _Options, Complete) ->
    {ok, lists:reverse(Complete)}.

%% ------------------------------------------------------------------ streams

%% The request of a stream that comes as messages, and how many items at most are made before they
%% are wanted.
-spec complete_stream({py_request:request(), term()}) ->
    {ok, py_request:request(), ReadAhead :: pos_integer()}
  | {error, {bad_option, {term(), term()}}}.
complete_stream({_Request, #{timeout := Timeout}}) ->
    %% A stream takes as long as its consumer does.
    {error, {bad_option, {timeout, Timeout}}};
complete_stream({_Request, #{on_caller_down := finish}}) ->
    %% No process would take the items.
    {error, {bad_option, {on_caller_down, finish}}};
complete_stream({Request, #{read_ahead := N} = Options}) when is_integer(N), N > 0 ->
    case complete_queued({Request, maps:remove(read_ahead, Options)}) of
        {ok, Complete} -> {ok, Complete, N};
        {error, _} = Error -> Error
    end;
complete_stream({_Request, #{read_ahead := N}}) ->
    {error, {bad_option, {read_ahead, N}}};
complete_stream({Request, Options}) when is_map(Options) ->
    complete_stream({Request, Options#{read_ahead => ?READ_AHEAD}});
complete_stream({_Request, Other}) ->
    %% A timeout, perhaps.
    {error, {bad_option, py_request:not_options(Other)}}.
