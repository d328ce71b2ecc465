%% @private Takes what Python code prints to the group leader of the process whose job it is, by
%% the I/O protocol; that leader may be on another node. Text of no job, or of a process that is
%% gone, goes to the application's own leader.
%%
%% One process, which never waits for a leader. It passes on what has come in as soon as its
%% message queue is empty, each run of text of one caller in one request, in the order in which
%% it came. It acknowledges text to the native side twice: when the text is on its way, because a
%% job is answered only then, and when the leader has it, because a job may have only so much in
%% flight. A leader may not answer while job after job prints: text beyond the leader's bound is
%% dropped, and the log says so once.
-module(py_output).

-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    %% What has come in, newest first.
    waiting = [] :: [run()],
    bytes = 0 :: non_neg_integer(),
    %% Requests that haven't been answered.
    requests = #{} :: #{reference() => request()},
    leaders = #{} :: #{pid() => leader()}
}).

-record(leader, {
    monitor :: reference(),
    requests = 0 :: non_neg_integer(),
    %% Memory of what it was asked and hasn't answered.
    bytes = 0 :: non_neg_integer(),
    %% Whether anything was dropped since it last had answered everything.
    dropping = false :: boolean()
}).

-type caller() :: pid() | none.
%% Text of one caller and native thread with nothing of another in between, newest first. A job and
%% the threads that it has started have different callers and often the same leader.
-type run() :: {{caller(), py_nif:in_flight()}, [binary()], Count :: pos_integer()}.
-type leader() :: #leader{}.
-type request() :: {Leader :: pid(), Order :: integer(), py_nif:in_flight(), Text :: iodata()}.

%% How much may come together in one request.
-define(MAX_REQUEST_BYTES, 65_536).
%% How much may be in flight to one leader, of all jobs. A slow one with many jobs doesn't come
%% near: each waits at 1 MiB.
-define(MAX_LEADER_BYTES, 67_108_864).
%% What a request takes beside its text.
-define(REQUEST_OVERHEAD, 500).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, #state{}}.
init([]) ->
    %% Trapped, so that text that has come in is passed on before the end.
    _ = process_flag(trap_exit, true),
    ok = py_nif:register_service(py_output),
    {ok, #state{}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, ok, #state{}} | {noreply, #state{}, 0}.
%% All text that has come in before is on its way when the answer comes.
handle_call(sync, _From, State) ->
    {reply, ok, pass_on(State)};
handle_call(_Request, _From, State) ->
    {noreply, State, 0}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}, 0}.
handle_cast(_Message, State) ->
    {noreply, State, 0}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, 0}.
handle_info({py_output, InFlight, Caller, Text}, State) ->
    case take_in({Caller, InFlight}, Text, State) of
        #state{bytes = Bytes} = Full when Bytes >= ?MAX_REQUEST_BYTES ->
            {noreply, pass_on(Full), 0};
        More ->
            {noreply, More, 0}
    end;
handle_info(timeout, State) ->
    {noreply, pass_on(State)};
handle_info({io_reply, Ref, _Reply}, State) ->
    {noreply, answered(Ref, State), 0};
handle_info({'DOWN', _Monitor, process, Leader, _Reason}, State) ->
    {noreply, gone(Leader, State), 0};
handle_info(_Message, State) ->
    {noreply, State, 0}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) ->
    _ = pass_on(State),
    ok.

-spec take_in({caller(), py_nif:in_flight()}, binary(), #state{}) -> #state{}.
take_in(Key, Text, #state{waiting = Waiting, bytes = Bytes} = State) ->
    State#state{waiting = longer(Key, Text, Waiting), bytes = Bytes + byte_size(Text)}.

-spec longer({caller(), py_nif:in_flight()}, binary(), [run()]) -> [run()].
longer(Key, Text, [{Key, Texts, Count} | Earlier]) -> [{Key, [Text | Texts], Count + 1} | Earlier];
longer(Key, Text, Earlier) -> [{Key, [Text], 1} | Earlier].

-spec pass_on(#state{}) -> #state{}.
pass_on(#state{waiting = Waiting} = State) ->
    lists:foldr(fun pass_on/2, State#state{waiting = [], bytes = 0}, Waiting).

-spec pass_on(run(), #state{}) -> #state{}.
pass_on({{Caller, InFlight}, Texts, Count}, State) ->
    Asking = ask(leader(Caller), InFlight, lists:reverse(Texts), State),
    ok = py_nif:ack(InFlight, Count, 0, 0),
    Asking.

-spec leader(caller()) -> pid().
leader(none) ->
    group_leader();
leader(Caller) ->
    case process_info(Caller, group_leader) of
        {group_leader, Leader} -> Leader;
        undefined -> group_leader()
    end.

-spec ask(pid(), py_nif:in_flight(), iodata(), #state{}) -> #state{}.
ask(Pid, InFlight, Text, #state{requests = Requests, leaders = Leaders} = State) ->
    case known(Pid, Leaders) of
        #leader{bytes = Bytes} = Full when Bytes >= ?MAX_LEADER_BYTES ->
            ok = report_dropped(Pid, Full),
            ok = py_nif:ack(InFlight, 0, 0, iolist_size(Text)),
            State#state{leaders = Leaders#{Pid := Full#leader{dropping = true}}};
        #leader{requests = Count, bytes = Bytes} = Leader ->
            Ref = make_ref(),
            Pid ! {io_request, self(), Ref, {put_chars, unicode, iolist_to_binary(Text)}},
            Order = erlang:unique_integer([monotonic]),
            State#state{requests = Requests#{Ref => {Pid, Order, InFlight, Text}},
                        leaders = Leaders#{Pid => Leader#leader{requests = Count + 1,
                                                                bytes = Bytes + memory(Text)}}}
    end.

-spec known(pid(), #{pid() => leader()}) -> leader().
known(Pid, Leaders) ->
    case Leaders of
        #{Pid := Leader} -> Leader;
        #{} -> #leader{monitor = monitor(process, Pid)}
    end.

-spec memory(iodata()) -> pos_integer().
memory(Text) ->
    iolist_size(Text) + ?REQUEST_OVERHEAD.

%% In a process of its own, because a handler of `logger' may wait for that very leader.
-spec report_dropped(pid(), leader()) -> ok.
report_dropped(Pid, #leader{dropping = false}) ->
    _ = spawn(logger, warning, [#{event => {py_output, dropped}, leader => Pid},
                                #{report_cb => fun py_error:report/1}]),
    ok;
report_dropped(_Pid, _Leader) ->
    ok.

-spec answered(reference(), #state{}) -> #state{}.
answered(Ref, #state{requests = Requests} = State) ->
    case maps:take(Ref, Requests) of
        {{Leader, _Order, InFlight, Text}, Others} ->
            ok = py_nif:ack(InFlight, 0, 0, iolist_size(Text)),
            request_done(Leader, memory(Text), State#state{requests = Others});
        error ->
            State
    end.

-spec request_done(pid(), pos_integer(), #state{}) -> #state{}.
request_done(Pid, Memory, #state{leaders = Leaders} = State) ->
    case Leaders of
        #{Pid := #leader{monitor = Monitor, requests = 1}} ->
            true = demonitor(Monitor, [flush]),
            State#state{leaders = maps:remove(Pid, Leaders)};
        #{Pid := #leader{requests = Count, bytes = Bytes} = Leader} ->
            Less = Leader#leader{requests = Count - 1, bytes = Bytes - Memory},
            State#state{leaders = Leaders#{Pid := Less}}
    end.

%% A dead leader may not have written its text: the application's own leader gets it, unless that
%% is the dead one.
-spec gone(pid(), #state{}) -> #state{}.
gone(Leader, #state{requests = Requests, leaders = Leaders} = State) ->
    Lost = maps:filter(fun(_Ref, {To, _, _, _}) -> To =:= Leader end, Requests),
    Left = State#state{requests = maps:without(maps:keys(Lost), Requests),
                       leaders = maps:remove(Leader, Leaders)},
    %% Sorted by `Order': a later reference may be smaller, if it was made on another
    %% scheduler.
    lists:foldl(fun({_, _Order, InFlight, Text}, Sofar) ->
                    ask_own(Leader, InFlight, Text, Sofar)
                end, Left, lists:keysort(2, maps:values(Lost))).

-spec ask_own(pid(), py_nif:in_flight(), iodata(), #state{}) -> #state{}.
ask_own(Gone, InFlight, Text, State) ->
    case group_leader() of
        Gone ->
            ok = py_nif:ack(InFlight, 0, 0, iolist_size(Text)),
            State;
        Own ->
            ask(Own, InFlight, Text, State)
    end.
