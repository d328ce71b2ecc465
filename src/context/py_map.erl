%% @private One function, called for each of many lists of arguments.
%%
%% Runs in the calling process. Each context gets a part of the lists as one job, and the next part
%% when it has answered: between two parts it serves others. A context whose time is over before it
%% has made all calls of a part answers with the results so far, and the rest of the part goes out
%% again, to whichever context is free. So a part that is too large costs no more than a copy.
%%
%% A part that a context has accepted is never submitted again: if its job fails, so does the map.
-module(py_map).

-export([run/2, run/3]).

-export_type([revive/0]).

%% How many calls the first part has at most, and any part.
-define(FIRST_SIZE, 64).
-define(MAX_SIZE, 4_000).
%% How many parts each context is to have, so that none has much to do when the others are done.
-define(SHARES, 4).
%% How long the calls of a part are to take at most, and are worth a job at least, in µs.
-define(MAX_MICROS, 1_000).
-define(MIN_MICROS, 100).

-type result() :: {ok, term()} | {error, term()}.
-type deferred() :: result() | {deferred, reference()}.
%% The result of a call; of a coroutine, its handle.
-type lists() :: [py_context:args()].
-type revive() :: fun((py_deadline:deadline()) -> {ok, [pid()]} | {error, term()}).
%% Finds other contexts when all are dead.

-record(worker, {
    ctx :: pid(),
    %% Its number, by which its answers are known.
    number :: pos_integer(),
    %% How many calls its next part has.
    size :: pos_integer(),
    %% Whether it has accepted a part.
    accepted = false :: boolean()
}).

-record(job, {
    worker :: #worker{},
    seq :: py_nif:seq(),
    %% The place of its first call among all.
    first :: non_neg_integer(),
    count :: pos_integer(),
    lists :: lists()
}).

-record(map, {
    ref :: reference(),
    request :: py_request:request(),
    deadline :: py_deadline:deadline(),
    revive :: revive(),
    %% What is to be called yet: lists, and the place of the first.
    rest :: [{non_neg_integer(), lists()}],
    %% How many calls that is.
    left :: non_neg_integer(),
    idle :: [#worker{}],
    jobs = #{} :: #{pos_integer() => #job{}},
    %% Contexts that have refused their first part, the last one first, and why.
    refused = [] :: [{#worker{}, {error, term()}}],
    %% The results, with the place of the first and how many of them are deferred.
    done = [] :: [{non_neg_integer(), pid(), non_neg_integer(), [deferred()]}]
}).

%% Runs a map in one or several contexts of this node. The results are in the order of the lists.
-spec run([pid(), ...], py_request:request()) -> {ok, [result()]} | {error, term()}.
run(Contexts, Request) ->
    run(Contexts, fun(_Deadline) -> {error, {context_died, noproc}} end, Request).

%% When all contexts are dead, `Revive' finds others.
-spec run([pid(), ...], revive(), py_request:request()) -> {ok, [result()]} | {error, term()}.
run(Contexts, Revive, Request) ->
    %% Made here, so that the compiler sees that a long message queue need not be searched for it.
    Ref = make_ref(),
    Lists = py_request:lists(Request),
    Left = length(Lists),
    Map = #map{ref = Ref, request = Request, revive = Revive, left = Left,
               deadline = py_deadline:from_timeout(py_request:timeout(Request)),
               rest = [{0, Lists} || Lists =/= []], idle = workers(Contexts, Left)},
    called(Ref, submit_all(Map)).

-spec workers([pid()], non_neg_integer()) -> [#worker{}].
workers([_] = Contexts, _Left) ->
    workers_of(Contexts, ?FIRST_SIZE);
workers(Contexts, Left) ->
    workers_of(Contexts, max(1, min(?FIRST_SIZE, Left div (?SHARES * length(Contexts))))).

-spec workers_of([pid()], pos_integer()) -> [#worker{}].
workers_of(Contexts, Size) ->
    [#worker{ctx = Ctx, number = N, size = Size}
     || {N, Ctx} <- lists:zip(lists:seq(1, length(Contexts)), Contexts)].

%% ------------------------------------------------------------------ parts

%% Gives each idle context a part, while there are calls left.
-spec submit_all(#map{}) -> #map{}.
submit_all(#map{rest = [{First, Lists} | Rest], idle = [#worker{size = Size} = Worker | Idle]}
           = Map) ->
    {Part, Count, Later} = take(Size, Lists, [], 0),
    case submit(Worker, Part, Map) of
        Seq when is_integer(Seq) ->
            Job = #job{worker = Worker, seq = Seq, first = First, count = Count, lists = Part},
            submit_all(accepted(Job, Map#map{rest = later(First + Count, Later, Rest),
                                             left = Map#map.left - Count, idle = Idle}));
        {error, {context_died, noproc}} ->
            submit_all(Map#map{idle = Idle});
        {error, _} = Error ->
            submit_all(Map#map{idle = Idle, refused = [{Worker, Error} | Map#map.refused]})
    end;
submit_all(Map) ->
    Map.

-spec submit(#worker{}, lists(), #map{}) -> py_nif:seq() | {error, term()}.
submit(#worker{ctx = Ctx, accepted = true} = Worker, Part, Map) ->
    %% The queue may have become full meanwhile, but the map was accepted.
    py_nif:submit_next(Ctx, native(Worker, Part, Map));
submit(#worker{ctx = Ctx} = Worker, Part, Map) ->
    py_nif:submit(Ctx, native(Worker, Part, Map)).

-spec native(#worker{}, lists(), #map{}) -> py_nif:request().
native(#worker{number = N}, Part, #map{request = Request, ref = Ref}) ->
    py_request:native(py_request:with_lists(Request, Part), {Ref, N}).

-spec accepted(#job{}, #map{}) -> #map{}.
accepted(#job{worker = #worker{number = N} = Worker} = Job, #map{jobs = Jobs} = Map) ->
    Map#map{jobs = Jobs#{N => Job#job{worker = Worker#worker{accepted = true}}}}.

-spec later(non_neg_integer(), lists(), [{non_neg_integer(), lists()}]) ->
    [{non_neg_integer(), lists()}].
later(_First, [], Rest) -> Rest;
later(First, Lists, Rest) -> [{First, Lists} | Rest].

%% The first elements, at most `N', how many these are, and the others.
-spec take(non_neg_integer(), lists(), lists(), non_neg_integer()) ->
    {lists(), non_neg_integer(), lists()}.
take(N, [Args | Lists], Taken, Count) when Count < N ->
    take(N, Lists, [Args | Taken], Count + 1);
take(_N, Lists, Taken, Count) ->
    {lists:reverse(Taken), Count, Lists}.

%% Waits for answers and submits what is left, until all calls have been made.
-spec called(reference(), #map{}) -> {ok, [result()]} | {error, term()}.
called(_Ref, #map{rest = [], jobs = Jobs} = Map) when Jobs =:= #{} ->
    resolved(Map);
called(Ref, #map{jobs = Jobs} = Map) when Jobs =:= #{} ->
    case without_contexts(Map) of
        #map{} = Found -> called(Ref, Found);
        {error, _} = Error -> Error
    end;
called(Ref, #map{jobs = Jobs, deadline = Deadline} = Map) ->
    case next_answer(Ref, Jobs, Deadline) of
        {ok, Answer, Job, Others} ->
            called(Ref, submit_all(answered(Answer, Job, Map#map{jobs = Others})));
        {error, _} = Error ->
            Error
    end.

%% The next answer, the job that it is of, and the others. After an error, or when the time is up,
%% no other answer comes.
-spec next_answer(reference(), #{pos_integer() => #job{}}, py_deadline:deadline()) ->
    {ok, Answer :: term(), #job{}, #{pos_integer() => #job{}}} | {error, term()}.
next_answer(Ref, Jobs, Deadline) ->
    receive
        {{Ref, N}, {ok, Answer}} ->
            {Job, Others} = maps:take(N, Jobs),
            {ok, Answer, Job, Others};
        {{Ref, N}, {error, _} = Error} ->
            ok = cancel(Ref, maps:remove(N, Jobs)),
            Error
    after py_deadline:left(Deadline) ->
        ok = cancel(Ref, Jobs),
        {error, timeout}
    end.

-spec answered({pos_integer(), non_neg_integer(), non_neg_integer(), [deferred()]}, #job{},
               #map{}) -> #map{}.
answered({Done, Deferred, Micros, Results}, Job, #map{idle = Idle} = Map) ->
    #job{worker = #worker{ctx = Ctx} = Worker, first = First, count = Count, lists = Lists} = Job,
    Left = Map#map.left + Count - Done,
    Share = Left div (?SHARES * (map_size(Map#map.jobs) + 1)),
    Size = next_size(Done, Count, max(1, Micros), Share),
    Map#map{rest = later(First + Done, lists:nthtail(Done, Lists), Map#map.rest), left = Left,
            idle = [Worker#worker{size = Size} | Idle],
            done = [{First, Ctx, Deferred, Results} | Map#map.done]}.

%% How many calls the next part of a context has, which had time for `Done' of `Count'. `Share' is
%% its share of what is left.
-spec next_size(pos_integer(), pos_integer(), pos_integer(), non_neg_integer()) -> pos_integer().
next_size(Done, Count, _Micros, _Share) when Done < Count ->
    Done;
next_size(Done, _Count, Micros, Share) ->
    Worth = max(Share, Done * ?MIN_MICROS div Micros),
    max(1, lists:min([2 * Done, Done * ?MAX_MICROS div Micros, ?MAX_SIZE, Worth])).

%% No context works. One whose queue is full may be waited for.
-spec without_contexts(#map{}) -> #map{} | {error, term()}.
without_contexts(#map{refused = [{Worker, {error, {overloaded, #{queue := _}}} = Full} | Refused],
                      rest = [{First, Lists} | Rest]} = Map) ->
    {Part, Count, Later} = take(Worker#worker.size, Lists, [], 0),
    Timeout = py_deadline:left(Map#map.deadline),
    case py_overload:submit(Worker#worker.ctx, native(Worker, Part, Map), Full, Timeout) of
        {error, {context_died, noproc}} ->
            Map#map{refused = Refused};
        {error, _} = Error ->
            Error;
        {Seq, _Left} ->
            Job = #job{worker = Worker, seq = Seq, first = First, count = Count, lists = Part},
            accepted(Job, Map#map{rest = later(First + Count, Later, Rest), refused = Refused,
                                  left = Map#map.left - Count})
    end;
without_contexts(#map{refused = [{_Worker, Error} | _]}) ->
    Error;
without_contexts(#map{revive = Revive, deadline = Deadline, left = Left} = Map) ->
    case Revive(Deadline) of
        {ok, Contexts} -> submit_all(Map#map{idle = workers(Contexts, Left)});
        {error, _} = Error -> Error
    end.

%% No answer comes from these any more.
-spec cancel(reference(), #{pos_integer() => #job{}}) -> ok.
cancel(Ref, Jobs) ->
    lists:foreach(fun({N, #job{worker = #worker{ctx = Ctx}, seq = Seq}}) ->
                      case py_nif:cancel(Ctx, Seq) of
                          true -> ok;
                          false -> receive {{Ref, N}, _} -> ok end
                      end
                  end, maps:to_list(Jobs)).

%% ------------------------------------------------------------------ coroutines

%% Coroutines have not been run yet, but wait in their contexts: in each, all run side by side.
-spec resolved(#map{}) -> {ok, [result()]} | {error, term()}.
resolved(#map{done = Done} = Map) ->
    InOrder = lists:keysort(1, Done),
    case [Part || {_, _, Deferred, _} = Part <- InOrder, Deferred > 0] of
        [] -> {ok, lists:append([Results || {_, _, _, Results} <- InOrder])};
        Parts -> awaited(Parts, InOrder, Map)
    end.

-spec awaited([Part], [Part], #map{}) -> {ok, [result()]} | {error, term()}
    when Part :: {non_neg_integer(), pid(), non_neg_integer(), [deferred()]}.
awaited(Parts, InOrder, #map{request = Request, deadline = Deadline}) ->
    Ref = make_ref(),
    Contexts = lists:usort([Ctx || {_, Ctx, _, _} <- Parts]),
    Numbered = lists:zip(lists:seq(1, length(Contexts)), Contexts),
    Handles = fun(Ctx) ->
        [Handle || {_, Its, _, Results} <- Parts, Its =:= Ctx, {deferred, Handle} <- Results]
    end,
    Jobs = [{N, gather(Ctx, Handles(Ctx), {Ref, N}, Request)} || {N, Ctx} <- Numbered],
    Accepted = maps:from_list([Each || {_, #job{}} = Each <- Jobs]),
    Gathered = case [Error || {_, {error, _} = Error} <- Jobs] of
                   [] -> gathered(Ref, Accepted, #{}, Deadline);
                   [Error | _] -> ok = cancel(Ref, Accepted), Error
               end,
    case Gathered of
        {error, _} -> Gathered;
        Values -> {ok, in_place(InOrder, Values)}
    end.

-spec gather(pid(), [reference(), ...], py_nif:key(), py_request:request()) ->
    #job{} | {error, term()}.
gather(Ctx, Handles, {_, N} = Key, Request) ->
    Options = {infinity, none, py_request:flags(Request)},
    Gather = py_request:new(Ctx, {gather, Handles}, Options),
    case py_nif:submit_next(Ctx, py_request:native(Gather, Key)) of
        Seq when is_integer(Seq) ->
            Worker = #worker{ctx = Ctx, number = N, size = 1, accepted = true},
            #job{worker = Worker, seq = Seq, first = 0, count = length(Handles), lists = []};
        {error, _} = Error ->
            Error
    end.

%% The results of coroutines, by context.
-spec gathered(reference(), #{pos_integer() => #job{}}, Results, py_deadline:deadline()) ->
    Results | {error, term()} when Results :: #{pid() => [result()]}.
gathered(_Ref, Jobs, Results, _Deadline) when Jobs =:= #{} ->
    Results;
gathered(Ref, Jobs, Results, Deadline) ->
    case next_answer(Ref, Jobs, Deadline) of
        {ok, Values, #job{worker = #worker{ctx = Ctx}}, Others} ->
            gathered(Ref, Others, Results#{Ctx => Values}, Deadline);
        {error, _} = Error ->
            Error
    end.

%% All results, those of coroutines in the places where these were.
-spec in_place([{non_neg_integer(), pid(), non_neg_integer(), [deferred()]}],
               #{pid() => [result()]}) -> [result()].
in_place([{_, _, 0, Results} | Parts], Gathered) ->
    Results ++ in_place(Parts, Gathered);
in_place([{_, Ctx, Deferred, Results} | Parts], Gathered) ->
    {Values, Others} = lists:split(Deferred, maps:get(Ctx, Gathered)),
    replaced(Results, Values) ++ in_place(Parts, Gathered#{Ctx := Others});
in_place([], _Gathered) ->
    [].

-spec replaced([deferred()], [result()]) -> [result()].
replaced([{deferred, _} | Results], [Value | Values]) -> [Value | replaced(Results, Values)];
replaced([Result | Results], Values) -> [Result | replaced(Results, Values)];
replaced([], []) -> [].
