%% @private Starts the application's pools again when their supervisor was killed, because the
%% supervisor that follows knows nothing of them. It finds them in py_pool_table.
%%
%% A process of its own. It never touches a pool in a user's supervision tree.
-module(py_pool_restorer).

-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

%% How long to wait for the next supervisor, and for pools to end, before looking again, in ms.
-define(WAIT, 10).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% The state is the monitor of the supervisor.
-spec init([]) -> {ok, reference(), {continue, look}}.
init([]) ->
    %% This process may have been killed, too, so there may be pools to restore now.
    {ok, watch(), {continue, look}}.

-spec watch() -> reference().
watch() ->
    monitor(process, py_pool_sup).

-spec handle_continue(look, reference()) -> {noreply, reference()}.
handle_continue(look, Monitor) ->
    _ = lists:all(fun is_restored/1, py_pool_table:persisted())
        orelse erlang:send_after(?WAIT, self(), look),
    {noreply, Monitor}.

-spec handle_call(term(), gen_server:from(), reference()) -> {noreply, reference()}.
handle_call(_Request, _From, Monitor) ->
    {noreply, Monitor}.

-spec handle_cast(term(), reference()) -> {noreply, reference()}.
handle_cast(_Message, Monitor) ->
    {noreply, Monitor}.

-spec handle_info(term(), reference()) ->
    {noreply, reference()} | {noreply, reference(), {continue, look}}.
handle_info({'DOWN', Monitor, process, _, _}, Monitor) ->
    _ = erlang:send_after(?WAIT, self(), watch),
    {noreply, Monitor};
handle_info(watch, _Monitor) ->
    %% If there is none yet, the monitor says so at once.
    {noreply, watch(), {continue, look}};
handle_info(look, Monitor) ->
    {noreply, Monitor, {continue, look}};
handle_info(_Message, Monitor) ->
    {noreply, Monitor}.

%% Starts a pool again if it has no process. A process that the supervisor doesn't know is about to
%% end.
-spec is_restored(atom()) -> boolean().
is_restored(Name) ->
    try
        case py_pool_table:whereis_pool(Name) of
            undefined -> element(1, py_pool_sup:restore_pool(Name)) =:= ok;
            Pid -> lists:keymember(Pid, 2, supervisor:which_children(py_pool_sup))
        end
    catch
        %% The supervisor is gone.
        exit:_ -> false
    end.
