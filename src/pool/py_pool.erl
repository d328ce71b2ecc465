%% @private The process of one pool: it starts and stops the pool's contexts, fills the native
%% slots, and is the one writer of the pool's entries in py_pool_table. Calls never pass through
%% it, and it never waits for a context to start, so that dead contexts are replaced meanwhile.
%%
%% The entry is written once all contexts serve, and erased when the pool stops. A context that
%% dies is restarted by the supervisor below and put into the native slot here; the entry stays.
%% It also stays when this process crashes below the application's supervisor, or that one does,
%% for the process that follows: py_pool_restorer starts pools that no supervisor knows any more,
%% and finds their options in an entry beside it.
-module(py_pool).

-behaviour(gen_server).

-export([start_link/2, await/2, resize/2, info/1, is_crash/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    name :: atom(),
    options :: py_options:pool(),
    pool :: undefined | py_nif:pool(),
    sup :: pid(),
    %% The child of each slot that is in use.
    slots = #{} :: #{pos_integer() => key()},
    %% Slots whose first start is being waited for, and what is to be done then.
    pending = #{} :: #{key() => []},
    change :: undefined | starting | {growing, gen_server:from(), OldSize :: non_neg_integer()}
            | {failed, {error, term()}},
    %% Callers waiting for the first start, and resizes waiting for their turn.
    waiting = [] :: [gen_server:from()],
    resizes = [] :: [{gen_server:from(), pos_integer()}],
    %% Times that a slot has been filled again.
    restarts = 0 :: non_neg_integer()
}).

-type key() :: {Slot :: pos_integer(), integer()}.
%% Unique per child, so that a slot that is drained and one that has taken its number differ.

%% How long the error of a failed start is kept for the process that started it, in ms.
-define(AWAIT_TIMEOUT, 5_000).

%% Starts the process; the contexts come up on their own, see `await/2'. The options may be those
%% that are `persisted' of the pool.
-spec start_link(atom(), py_options:pool() | persisted) ->
    {ok, pid()} | {error, {already_started, pid()} | term()} | ignore.
start_link(Name, Options) ->
    Registered = py_pool_table:registered_name(Name),
    gen_server:start_link({local, Registered}, ?MODULE, {Name, Options}, []).

%% Waits until all contexts serve. `Given' are the options that the caller asked for.
-spec await(pid(), map()) -> {ok, [pid()]} | {error, term()} | stopped | gone.
await(Pid, Given) ->
    case ask(Pid, {await, Given}) of
        {failed, Error} ->
            %% Its name is free again when the caller gets the error.
            Monitor = monitor(process, Pid),
            receive {'DOWN', Monitor, process, Pid, _} -> Error end;
        Outcome ->
            Outcome
    end.

-spec resize(atom(), pos_integer()) -> ok | {error, term()} | stopped | gone.
resize(Name, Size) ->
    ask(py_pool_table:registered_name(Name), {resize, Size}).

-spec info(atom()) -> map() | stopped | gone.
info(Name) ->
    ask(py_pool_table:registered_name(Name), info).

-spec ask(pid() | atom(), term()) -> term().
ask(Server, Request) ->
    try
        gen_server:call(Server, Request, infinity)
    catch
        exit:{shutdown, _} -> stopped;
        exit:{normal, _} -> stopped;
        exit:_ -> gone
    end.

-spec init({atom(), py_options:pool() | persisted}) -> {ok, #state{}} | ignore.
init({Name, persisted}) ->
    case py_pool_table:persisted_options(Name) of
        undefined -> ignore;
        Options -> init({Name, Options})
    end;
init({Name, Options}) ->
    _ = process_flag(trap_exit, true),
    case py_pool_table:lookup(Name) of
        undefined ->
            {ok, started(undefined, Name, Options)};
        Pool ->
            case {py_nif:pool_is_closed(Pool), py_pool_table:is_restart(Name)} of
                {false, true} ->
                    {ok, started(Pool, Name, Options)};
                {false, false} ->
                    %% What is left of a pool that was killed in a user's tree
                    %% and not started again there.
                    ok = py_pool_table:erase(Name),
                    {ok, started(undefined, Name, Options)};
                {true, _} ->
                    %% Stopped after its process had been killed, see py_pool_stop.
                    ok = py_pool_table:erase(Name),
                    ignore
            end
    end.

-spec started(undefined | py_nif:pool(), atom(), py_options:pool()) -> #state{}.
started(Pool, Name, Options) ->
    {ok, Sup} = py_slot_sup:start_link(),
    fill(Pool, #state{name = Name, options = Options, sup = Sup}).

-spec fill(undefined | py_nif:pool(), #state{}) -> #state{}.
fill(undefined, #state{options = #{contexts := Size, route := Route}} = State) ->
    Pool = py_nif:pool_new(Size, erlang:system_info(schedulers), Route =:= spread),
    (add_slots(1, Size, State#state{pool = Pool}))#state{change = starting};
fill(Pool, #state{options = Options} = State) ->
    %% A pool that was killed and is started again: no caller waits, and its slots fill as they
    %% can. They are the native slots of before, at the size they had, so the entry needn't
    %% change.
    Size = length(py_nif:pool_contexts(Pool)),
    Known = State#state{pool = Pool, options = Options#{contexts := Size}},
    ok = py_pool_table:persist(State#state.name, Known#state.options),
    (add_slots(1, Size, Known))#state{pending = #{}}.

-spec add_slots(pos_integer(), non_neg_integer(), #state{}) -> #state{}.
add_slots(From, To, State) ->
    lists:foldl(fun add_slot/2, State, lists:seq(From, To)).

-spec add_slot(pos_integer(), #state{}) -> #state{}.
add_slot(N, #state{name = Name, sup = Sup, options = Options} = State) ->
    Key = {N, erlang:unique_integer()},
    Slot = #{pool => Name, slot => N, key => Key, owner => self()},
    {ok, _} = py_slot_sup:start_slot(Sup, maps:without([contexts, route], Options), Slot),
    State#state{slots = (State#state.slots)#{N => Key},
                pending = (State#state.pending)#{Key => []}}.

-spec handle_call({await, map()} | {resize, pos_integer()} | info, gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}} | {stop, normal, term(), #state{}}.
handle_call({await, _Given}, _From, #state{change = {failed, _} = Failed} = State) ->
    {stop, normal, Failed, State};
handle_call({await, Given}, From, #state{options = Options} = State) ->
    case py_options:differ(Given, Options) of
        true -> {reply, {error, {already_started, public(Options)}}, State};
        false when State#state.change =:= starting ->
            {noreply, State#state{waiting = [From | State#state.waiting]}};
        false -> {reply, {ok, py_nif:pool_contexts(State#state.pool)}, State}
    end;
handle_call({resize, Size}, From, State) ->
    {noreply, next_change(State#state{resizes = State#state.resizes ++ [{From, Size}]})};
handle_call(info, _From, #state{name = Name, options = Options, restarts = Restarts} = State) ->
    {reply, (public(Options))#{restarts => Restarts, quarantined => py_nif:quarantined(Name),
                               quarantine_limit => py_config:value(quarantine_limit)}, State}.

-spec public(py_options:pool()) -> map().
public(Options) ->
    maps:remove(preload, Options).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(nobody_awaited, State) ->
    {stop, normal, State};
handle_info(_Message, #state{change = {failed, _}} = State) ->
    %% An event of a context that is gone.
    {noreply, State};
handle_info({slot, {N, _} = Key, Pid, Event}, #state{slots = Slots} = State) ->
    case Slots of
        #{N := Key} -> slot_event(Event, Key, Pid, State);
        _ -> {noreply, old_slot_event(Event, Key, State)}
    end;
handle_info({'EXIT', Sup, Reason}, #state{sup = Sup} = State) ->
    {stop, Reason, State};
handle_info({'EXIT', _From, normal}, State) ->
    {noreply, State};
handle_info({'EXIT', _From, Reason}, State) ->
    {stop, Reason, State};
handle_info(_Message, State) ->
    {noreply, State}.

-spec slot_event(starting | started | {error, term(), non_neg_integer()} | drained, key(), pid(),
                 #state{}) ->
    {noreply, #state{}} | {stop, normal, #state{}}.
slot_event(started, {N, _} = Key, Pid, #state{pool = Pool, pending = Pending} = State) ->
    ok = py_nif:pool_set(Pool, N, Pid),
    case maps:take(Key, Pending) of
        {[], Rest} when map_size(Rest) =:= 0 -> {noreply, all_started(State#state{pending = Rest})};
        {[], Rest} -> {noreply, State#state{pending = Rest}};
        error -> {noreply, State#state{restarts = State#state.restarts + 1}}
    end;
slot_event({error, Reason, Before}, {N, _} = Key, _Pid, #state{pending = Pending} = State) ->
    case is_map_key(Key, Pending) of
        true ->
            start_failed({error, Reason}, State);
        false ->
            %% The slot had been filled before, and its context keeps trying.
            ok = report_failure(N, Reason, Before, State),
            {noreply, State}
    end;
slot_event(_StartingOrDrained, _Key, _Pid, State) ->
    {noreply, State}.

%% One report per streak. A failure while the pool starts or grows goes to the caller instead.
-spec report_failure(pos_integer(), term(), non_neg_integer(), #state{}) -> ok.
report_failure(Slot, Reason, 0, #state{name = Name}) ->
    logger:error(#{event => {py_context, start_failed}, pool => Name, slot => Slot,
                   reason => Reason},
                 #{report_cb => fun py_error:report/1});
report_failure(_Slot, _Reason, _Before, _State) ->
    ok.

%% An event of a slot that a resize has removed: its context is drained, or was killed while it
%% drained and has been restarted. The slot is removed now.
-spec old_slot_event(term(), key(), #state{}) -> #state{}.
old_slot_event(_Event, Key, #state{sup = Sup} = State) ->
    ok = py_slot_sup:stop_slot(Sup, Key),
    State.

-spec all_started(#state{}) -> #state{}.
all_started(#state{change = starting, name = Name, pool = Pool} = State) ->
    ok = py_pool_table:publish(Name, Pool),
    ok = py_pool_table:persist(Name, State#state.options),
    ok = reply_all(State#state.waiting, {ok, py_nif:pool_contexts(Pool)}),
    next_change(State#state{change = undefined, waiting = []});
all_started(#state{change = {growing, From, OldSize}, slots = Slots, options = Options} = State) ->
    Size = map_size(Slots),
    ok = open_slots(OldSize, Size, State),
    ok = gen_server:reply(From, ok),
    next_change(State#state{change = undefined, options = Options#{contexts := Size}});
all_started(State) ->
    State.

%% New slots are routed to from now on, and not before all of them serve: a process that follows
%% this one takes the slots that it finds for the pool's size.
-spec open_slots(pos_integer(), pos_integer(), #state{}) -> ok.
open_slots(OldSize, Size, #state{pool = Pool, sup = Sup, slots = Slots}) ->
    ok = py_nif:pool_resize(Pool, Size),
    lists:foreach(fun({N, Pid}) -> ok = py_nif:pool_set(Pool, N, Pid) end,
                  [{N, Pid} || {{N, _} = Key, Pid, _, _} <- supervisor:which_children(Sup),
                               is_pid(Pid), N > OldSize, maps:get(N, Slots, none) =:= Key]).

%% All or nothing: one failure undoes the rest.
-spec start_failed({error, term()}, #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
start_failed(Error, #state{change = starting, waiting = []} = State) ->
    %% So fast that nobody has asked yet. The process that starts it is about to, if it lives.
    ok = stop_contexts(State),
    _ = erlang:send_after(?AWAIT_TIMEOUT, self(), nobody_awaited),
    {noreply, State#state{change = {failed, Error}}};
start_failed(Error, #state{change = starting} = State) ->
    %% The contexts go before the callers get the error: nothing is left then.
    ok = stop_contexts(State),
    ok = reply_all(State#state.waiting, {failed, Error}),
    ok = reply_all([From || {From, _} <- State#state.resizes], Error),
    {stop, normal, State#state{waiting = [], resizes = []}};
start_failed(Error, #state{change = {growing, From, OldSize}} = State) ->
    ok = gen_server:reply(From, Error),
    {noreply, next_change((shrink(OldSize, State))#state{change = undefined, pending = #{}})}.

-spec reply_all([gen_server:from()], term()) -> ok.
reply_all(Froms, Reply) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Reply) end, Froms).

%% One change at a time, in order.
-spec next_change(#state{}) -> #state{}.
next_change(#state{change = undefined, resizes = [{From, Size} | Rest]} = State) ->
    change_size(From, Size, State#state{resizes = Rest});
next_change(State) ->
    State.

-spec change_size(gen_server:from(), pos_integer(), #state{}) -> #state{}.
change_size(From, Size, #state{slots = Slots} = State) ->
    case map_size(Slots) of
        Old when Size > Old ->
            (add_slots(Old + 1, Size, State))#state{change = {growing, From, Old}};
        _ ->
            Shrunk = shrink(Size, State),
            ok = gen_server:reply(From, ok),
            next_change(Shrunk)
    end.

%% Takes the slots beyond `Size' out of routing; they end once what waits in them has run.
-spec shrink(non_neg_integer(), #state{}) -> #state{}.
shrink(Size, #state{slots = Slots, pool = Pool, sup = Sup, options = Options} = State) ->
    ok = py_nif:pool_resize(Pool, Size),
    Gone = maps:filter(fun(N, _) -> N > Size end, Slots),
    _ = [py_context_server:drain(Pid)
         || {{N, _} = Key, Pid, _, _} <- supervisor:which_children(Sup), is_pid(Pid),
            maps:get(N, Gone, none) =:= Key],
    State#state{slots = maps:without(maps:keys(Gone), Slots), options = Options#{contexts := Size}}.

-spec terminate(term(), #state{}) -> ok.
terminate(Reason, #state{name = Name} = State) ->
    _ = (is_crash(Reason) andalso py_pool_table:is_persisted(Name))
        orelse py_pool_table:erase(Name),
    ok = stop_contexts(State),
    %% The application may have stopped meanwhile, and then nothing starts it again.
    _ = py_pool_table:is_persisted(Name) orelse py_pool_table:erase(Name),
    ok.

%% Whether a process that ended for this reason is started again.
-spec is_crash(term()) -> boolean().
is_crash(normal) -> false;
is_crash(shutdown) -> false;
is_crash({shutdown, _}) -> false;
is_crash(_Reason) -> true.

%% All contexts begin to stop at once; then the supervisor terminates them one after the other. So
%% they share one grace.
-spec stop_contexts(#state{}) -> ok.
stop_contexts(#state{sup = Sup}) ->
    try [py_context_server:stop_soon(Pid)
         || {_, Pid, _, _} <- supervisor:which_children(Sup), is_pid(Pid)] of
        _ -> ok
    catch
        %% The supervisor is gone, and its children with it.
        exit:_ -> ok
    end,
    Monitor = monitor(process, Sup),
    exit(Sup, shutdown),
    receive
        {'DOWN', Monitor, process, Sup, _} -> ok
    end.
