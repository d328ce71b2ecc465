%% What bin/instructions counts: short calls, one after the other, in a VM under callgrind.
-module(py_instructions).

-export([run/1]).

%% Calls before the counting, in which everything is made that is made once.
-define(WARM_UP, 200).

%% Prints what the library and the VM are, then makes so many calls.
-spec run([string()]) -> no_return().
run([Calls]) ->
    {ok, _} = application:ensure_all_started(py_context_router),
    {ok, Ctx} = py_context:new(#{}),
    ok = call(Ctx, ?WARM_UP),
    {ok, Python} = py:version(),
    io:format("~s ~s~n", [erlang:system_info(version), Python]),
    %% Callgrind counts from here on: see `--zero-before' in bin/instructions.
    Ref = make_ref(),
    _ = py_nif:submit(Ctx, {eval, Ref, 0, <<"1">>, #{}, none}),
    receive {Ref, {ok, 1}} -> ok end,
    ok = call(Ctx, list_to_integer(Calls)),
    halt(0).

-spec call(pid(), non_neg_integer()) -> ok.
call(_Ctx, 0) ->
    ok;
call(Ctx, N) ->
    {ok, _} = py_context:call(Ctx, math, sqrt, [2.0]),
    call(Ctx, N - 1).
