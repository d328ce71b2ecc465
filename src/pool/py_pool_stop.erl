%% @private Stopping pools, also those whose process is dead, has just been killed, or is being
%% restarted.
%%
%% Runs in the process that stops the pool, or the application. It never ends a pool's contexts
%% itself: the pool's process does, or the end of that process.
-module(py_pool_stop).

-export([stop/1, forget_dead/0]).

%% How long a supervisor may take to restart a pool that was killed, in ms.
-define(RESTART_TIMEOUT, 1_000).

%% Stops a pool; returns when its contexts and their threads are gone. Idempotent.
-spec stop(atom()) -> ok.
stop(Name) ->
    Pool = py_pool_table:lookup(Name),
    %% Its process may just have been killed, and be about to be restarted.
    _ = [py_nif:pool_close(Pool) || Pool =/= undefined],
    ok = unlink_from(py_pool_table:whereis_pool(Name)),
    try
        %% A normal exit ends no process that is linked to it, see
        %% `py_context_server:stop/1'.
        gen_server:stop(py_pool_table:registered_name(Name), normal, infinity)
    catch
        exit:Reason -> not_stopped(Reason, Name, Pool)
    end.

%% The process was dead, or has just been killed, or another process stops it.
-spec not_stopped(term(), atom(), undefined | py_nif:pool()) -> ok.
not_stopped({Reason, {sys, terminate, _}}, Name, Pool) ->
    not_stopped(Reason, Name, Pool);
not_stopped(Reason, Name, Pool) ->
    IsKilled = Reason =/= noproc andalso py_pool:is_crash(Reason),
    case IsKilled andalso (Pool =:= undefined orelse not py_pool_table:is_published(Name, Pool)) of
        true ->
            %% It was killed as it ended, when its entry was erased: a process that is
            %% started in its place can't know that it is to end.
            ok = await_process(Name, ?RESTART_TIMEOUT),
            stop(Name);
        false ->
            forget(Name, Pool)
    end.

-spec await_process(atom(), non_neg_integer()) -> ok.
await_process(Name, Ms) ->
    case py_pool_table:whereis_pool(Name) of
        undefined when Ms > 0 -> receive after 1 -> await_process(Name, Ms - 1) end;
        _ -> ok
    end.

%% The caller may be the one that started the pool, and must survive the end that it asked for.
-spec unlink_from(pid() | undefined) -> ok.
unlink_from(undefined) -> ok;
unlink_from(Pid) -> py_context_server:unlink_flush(Pid, ok).

%% The pool's process was dead and its contexts are dying. A process that is started in its place
%% finds the native pool closed, erases the entry and ends. If its tree doesn't restart it, the
%% entry is erased here.
-spec forget(atom(), undefined | py_nif:pool()) -> ok.
forget(_Name, undefined) ->
    ok;
forget(Name, Pool) ->
    case py_pool_table:is_published(Name, Pool) of
        true ->
            lists:foreach(fun await_death/1, py_nif:pool_contexts(Pool)),
            await_restart(Name, Pool, ?RESTART_TIMEOUT);
        false ->
            ok
    end.

-spec await_death(pid()) -> ok.
await_death(Pid) ->
    Monitor = monitor(process, Pid),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

-spec await_restart(atom(), py_nif:pool(), non_neg_integer()) -> ok.
await_restart(Name, Pool, Ms) ->
    case py_pool_table:is_published(Name, Pool) of
        true when Ms > 0 ->
            receive after 1 -> await_restart(Name, Pool, Ms - 1) end;
        true ->
            py_pool_table:erase(Name);
        false ->
            ok
    end.

%% After the application's stop: a pool that has just crashed is not restarted any more, and one
%% that had lost its supervisor is waited for like the others.
-spec forget_dead() -> ok.
forget_dead() ->
    Persisted = py_pool_table:persisted(),
    lists:foreach(fun py_pool_table:forget/1, Persisted),
    Ending = [Pid || Name <- Persisted, Pid <- [py_pool_table:whereis_pool(Name)], is_pid(Pid)],
    lists:foreach(fun await_death/1, Ending),
    lists:foreach(fun py_pool_table:erase/1,
                  [Name || Name <- py_pool_table:names(),
                           py_pool_table:whereis_pool(Name) =:= undefined]).
