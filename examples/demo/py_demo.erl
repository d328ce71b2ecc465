%% The demo: a few hundred Erlang processes have Python analyse text. See bin/demo.
%%
%% An example of the library in use, not part of the application.
-module(py_demo).

-export([main/0]).

-import(py_demo_report, [title/1, section/1, line/2, number/1, duration/1]).

%% The approximate number of processes that analyse, and the number that measure speed.
-define(PIECES, 400).
-define(CALLERS, 200).
%% Longer tables end in a row with the number of files that are left out.
-define(MOST_ROWS, 30).

-record(job, {
    number :: pos_integer(),
    result :: term(),
    routed :: routed()
}).

-type routed() :: #{{Scheduler :: pos_integer(), Context :: pid()} => Calls :: pos_integer()}.
%% How many calls were made on which scheduler and went to which context.

-spec main() -> no_return().
main() ->
    ok = io:setopts(standard_io, [{encoding, unicode}]),
    ok = io:setopts(standard_error, [{encoding, unicode}]),
    halt(try command(init:get_plain_arguments())
         catch
             %% The output goes to a pipe that its reader has closed.
             error:terminated -> 1
         end).

-spec command([string()]) -> 0..2.
command(["-" ++ _ = Flag | _]) when Flag =:= "-h"; Flag =:= "--help" ->
    io:format("bin/demo [FILE|FOLDER]...: has Python analyse texts, by default the licences in~n"
              "/usr/share/common-licenses, from a few hundred Erlang processes, and reports.~n"),
    0;
command(["-" ++ _ = Flag | _]) ->
    complain(["there is no option ", Flag, "; for a file of that name write ./", Flag]);
command(Paths) ->
    case py_demo_texts:read(Paths) of
        {ok, Found} -> start(Found);
        {error, Why} -> complain(Why)
    end.

-spec complain(unicode:chardata()) -> 2.
complain(Why) ->
    io:format(standard_error, "bin/demo: ~ts~n", [Why]),
    2.

-spec start(py_demo_texts:found()) -> 0..2.
start(Found) ->
    case py_context_router:start() of
        {ok, Contexts} ->
            try
                demo(Found, Contexts)
            catch
                throw:{python, Reason} ->
                    complain(["Python did not do as it should: ", py_error:format(Reason)])
            after
                py_context_router:stop()
            end;
        {error, Reason} ->
            complain(["the router did not start: ", py_error:format(Reason)])
    end.

-spec demo(py_demo_texts:found(), [pid()]) -> 0.
demo(#{texts := Texts} = Found, Contexts) ->
    ok = prepare(Contexts),
    title("Python inside the BEAM"),
    ok = versions(Contexts),
    Pieces = py_demo_texts:pieces(Texts, ?PIECES),
    {Us, {Analysed, Fingerprints}} =
        timer:tc(fun() -> {parallel(fun analyse/1, Pieces),
                           parallel(fun fingerprint/1, numbered(Texts))} end),
    Rows = results(Texts, Analysed, Fingerprints),
    ok = texts(Found, length(Pieces)),
    Routed = sum_up([Some || #job{routed = Some} <- Analysed ++ Fingerprints]),
    ok = results_table(Rows),
    ok = often(Analysed),
    ok = python_error(),
    ok = endless_loop(),
    Fast = speed(lists:sum(maps:values(Routed)), Us),
    ok = routing(Contexts, Routed, Fast),
    io:nl(),
    0.

%% Each context has a namespace of its own, so each runs the file.
-spec prepare([pid()]) -> ok.
prepare(Contexts) ->
    {ok, [[Root]]} = init:get_argument(root_of_demo),
    {ok, Source} = file:read_file(filename:join([Root, "examples", "demo", "analyse.py"])),
    lists:foreach(fun(Ctx) -> value({ok, py_context:exec(Ctx, Source)}) end, Contexts).

%% ------------------------------------------------------------------ the work

%% A process for each item, all at once. Each call is routed by the scheduler that its process runs
%% on at that moment.
-spec parallel(fun((Item) -> {term(), routed()}), [{pos_integer(), Item}]) -> [#job{}].
parallel(Fun, Items) ->
    Started = [spawn_monitor(fun() -> exit(job(Fun, N, Item)) end) || {N, Item} <- Items],
    [receive
         {'DOWN', Monitor, process, Pid, #job{} = Job} -> Job;
         {'DOWN', Monitor, process, Pid, {{nocatch, {python, _} = Reason}, _}} -> throw(Reason)
     end || {Pid, Monitor} <- Started].

-spec job(fun((Item) -> {term(), routed()}), pos_integer(), Item) -> #job{}.
job(Fun, N, Item) ->
    {Result, Routed} = Fun(Item),
    #job{number = N, result = Result, routed = Routed}.

%% For the report only: the scheduler that routing used.
-spec route() -> {pos_integer(), pid()}.
route() ->
    Before = erlang:system_info(scheduler_id),
    Ctx = py_context_router:get_context(),
    case erlang:system_info(scheduler_id) of
        Before -> {Before, Ctx};
        _Moved -> route()
    end.

%% One call for each paragraph.
-spec analyse(binary()) -> {[map()], routed()}.
analyse(Piece) ->
    lists:mapfoldl(fun(Paragraph, Routed) ->
                       {_, Ctx} = Route = route(),
                       {value(py_context:call(Ctx, '__main__', analyse, [Paragraph])),
                        count_call(Route, Routed)}
                   end, #{}, py_demo_texts:paragraphs(Piece)).

-spec fingerprint(py_demo_texts:text()) -> {{binary(), non_neg_integer()}, routed()}.
fingerprint(#{content := Content}) ->
    {_, Ctx} = Route = route(),
    {value(py_context:call(Ctx, '__main__', fingerprint, [{bytes, Content}])),
     count_call(Route, #{})}.

-spec count_call({pos_integer(), pid()}, routed()) -> routed().
count_call(Route, Routed) ->
    maps:update_with(Route, fun(Calls) -> Calls + 1 end, 1, Routed).

-spec value({ok, Value} | {ok, {error, term()}} | {error, term()}) -> Value.
value({ok, {error, Reason}}) -> throw({python, Reason});
value({ok, Value}) -> Value;
value({error, Reason}) -> throw({python, Reason}).

-spec numbered([T]) -> [{pos_integer(), T}].
numbered(Items) ->
    lists:zip(lists:seq(1, length(Items)), Items).

%% ------------------------------------------------------------------ the report

-spec versions([pid()]) -> ok.
versions(Contexts) ->
    Ctx = py_context_router:get_context(),
    Version = value(py_context:eval(Ctx, <<"__import__('platform').python_version()">>)),
    line("Python ~ts in Erlang/OTP ~ts, OS process ~ts, ~b schedulers, ~b contexts in ~ts mode",
         [Version, erlang:system_info(otp_release), os:getpid(),
          erlang:system_info(schedulers_online), length(Contexts),
          maps:get(mode, py_context:info(Ctx))]).

-spec texts(py_demo_texts:found(), pos_integer()) -> ok.
texts(#{from := From, texts := Texts, skipped := Skipped, left := Left}, Pieces) ->
    Bytes = lists:sum([byte_size(Content) || #{content := Content} <- Texts]),
    section("The text"),
    line("~ts: ~ts, ~ts", [From, count(length(Texts), "file"), count(Bytes, "byte")]),
    _ = [line("~ts left out, empty or not text in UTF-8", [count(Skipped, "file")]) || Skipped > 0],
    _ = [line("~ts left out, more than this demo takes", [count(Left, "file")]) || Left > 0],
    line("~ts with a piece each (re, collections: a call for each paragraph),",
         [count(Pieces, "process")]),
    line("~ts with a file each (hashlib, zlib)", [number(length(Texts))]).

-spec count(non_neg_integer(), string()) -> string().
count(1, What) -> "1 " ++ What;
count(N, "process") -> number(N) ++ " processes";
count(N, What) -> number(N) ++ " " ++ What ++ "s".

-spec routing([pid()], routed(), routed()) -> ok.
routing(Contexts, Text, Fast) ->
    section("Which scheduler was routed to which context"),
    Slots = maps:from_list([{Ctx, N} || {N, Ctx} <- numbered(Contexts)]),
    Routes = lists:usort(maps:keys(Text) ++ maps:keys(Fast)),
    Idle = lists:seq(1, erlang:system_info(schedulers_online)) -- [S || {S, _} <- Routes],
    py_demo_report:table(
      [right, right, left, right, right, right],
      ["scheduler", "context", "process", "OS thread", "calls for the text", "calls for speed"],
      [route_cells(Route, maps:get(Ctx, Slots), Text, Fast) || {_, Ctx} = Route <- Routes]
      ++ [[number(Scheduler), "", "", "", "0", "0"] || Scheduler <- Idle]),
    %% The analysis takes only milliseconds.
    line("(The VM keeps work on few schedulers while these keep up with it.)", []).

-spec route_cells({pos_integer(), pid()}, pos_integer(), routed(), routed()) ->
    [unicode:chardata()].
route_cells({Scheduler, Ctx} = Route, Slot, Text, Fast) ->
    #{thread_id := Thread} = py_context:info(Ctx),
    [number(Scheduler), number(Slot), pid_to_list(Ctx), integer_to_list(Thread),
     number(maps:get(Route, Text, 0)), number(maps:get(Route, Fast, 0))].

-spec sum_up([#{Key => pos_integer()}]) -> #{Key => pos_integer()}.
sum_up(Maps) ->
    lists:foldl(fun(Map, Sum) -> maps:merge_with(fun(_Key, A, B) -> A + B end, Sum, Map) end,
                #{}, Maps).

-spec results([py_demo_texts:text()], [#job{}], [#job{}]) -> [map()].
results(Texts, Analysed, Fingerprints) ->
    ByText = maps:groups_from_list(fun(#job{number = N}) -> N end, fun(#job{result = R}) -> R end,
                                   Analysed),
    [text_result(Text, lists:append(maps:get(N, ByText)), Fingerprint)
     || {{N, Text}, #job{result = Fingerprint}} <- lists:zip(numbered(Texts), Fingerprints)].

%% The sums over the pieces of one text. The median needs another call of Python.
-spec text_result(py_demo_texts:text(), [map()], {binary(), non_neg_integer()}) -> map().
text_result(#{name := Name, content := Content}, Pieces, {Digest, Compressed}) ->
    Lengths = lists:append([Lengths || #{<<"sentences">> := Lengths} <- Pieces]),
    Ctx = py_context_router:get_context(),
    Median = value(py_context:eval(Ctx, <<"average(lengths)">>, #{lengths => Lengths})),
    #{name => Name, bytes => byte_size(Content), lines => sum(<<"lines">>, Pieces),
      words => sum(<<"words">>, Pieces), sentences => length(Lengths), median => Median,
      compressed => Compressed, digest => Digest}.

-spec sum(term(), [map()]) -> non_neg_integer().
sum(Key, Maps) ->
    lists:sum([maps:get(Key, Map) || Map <- Maps]).

-spec results_table([map()]) -> ok.
results_table(Rows) ->
    section("What Python found"),
    Largest = lists:sublist(lists:sort(fun(#{bytes := A}, #{bytes := B}) -> A >= B end, Rows),
                            ?MOST_ROWS),
    Left = length(Rows) - length(Largest),
    Cells = [result_cells(Row) || Row <- Largest]
        ++ [["and " ++ count(Left, "smaller file"), "", "", "", "", "", "", ""] || Left > 0]
        ++ [total_cells(Rows) || length(Rows) > 1],
    py_demo_report:table([left, right, right, right, right, right, right, left],
                         ["file", "bytes", "lines", "words", "sentences", "words/sentence",
                          "zlib", "sha256"], Cells).

-spec result_cells(map()) -> [unicode:chardata()].
result_cells(#{name := Name, bytes := Bytes, median := Median, compressed := Compressed,
               digest := Digest} = Row) ->
    [shortened(Name), number(Bytes), number(maps:get(lines, Row)), number(maps:get(words, Row)),
     number(maps:get(sentences, Row)), io_lib:format("~.1f", [float(Median)]),
     py_demo_report:percent(Compressed, Bytes), [string:slice(Digest, 0, 16), "…"]].

-spec total_cells([map()]) -> [unicode:chardata()].
total_cells(Rows) ->
    Bytes = sum(bytes, Rows),
    ["total", number(Bytes), number(sum(lines, Rows)), number(sum(words, Rows)),
     number(sum(sentences, Rows)), "", py_demo_report:percent(sum(compressed, Rows), Bytes), ""].

-spec shortened(unicode:chardata()) -> unicode:chardata().
shortened(Name) ->
    case string:length(Name) of
        Length when Length > 30 -> ["…", string:slice(Name, Length - 29)];
        _ -> Name
    end.

-spec often([#job{}]) -> ok.
often(Analysed) ->
    Counts = sum_up([Often || #job{result = Results} <- Analysed,
                              #{<<"often">> := Often} <- Results]),
    Most = lists:sublist(lists:sort(fun({V, A}, {W, B}) -> {-A, V} =< {-B, W} end,
                                    maps:to_list(Counts)), 6),
    line("~ts of five letters or more~ts",
         [count(map_size(Counts), "word"),
          [["; most frequent: ",
            lists:join(", ", [[Word, " ", number(Times)] || {Word, Times} <- Most])]
           || Most =/= []]]).

-spec python_error() -> ok.
python_error() ->
    section("A Python error, as Erlang sees it"),
    Error = {error, Reason} = py_context:call(py_context_router:get_context(), builtins, int,
                                              [<<"forty-two">>]),
    line("py_context:call(Ctx, builtins, int, [<<\"forty-two\">>])", []),
    line("~0tp", [Error]),
    line("py_error:format/1: ~ts", [py_error:format(Reason)]).

%% An endless loop, in a namespace of its own. After its timeout the counter must not change.
-spec endless_loop() -> ok.
endless_loop() ->
    section("An endless loop, with a timeout of 200 ms"),
    Ctx = py_context_router:get_context(),
    {ok, Env} = py_context:create_local_env(Ctx),
    Code = <<"turns = 0\nwhile True:\n    turns += 1\n">>,
    {Us, Result} = timer:tc(fun() -> py_context:exec(Ctx, Code, 200, Env) end),
    line("py_context:exec(Ctx, <<\"while True: turns += 1\">>, 200, Env)", []),
    line("~0tp, after ~ts", [Result, duration(Us)]),
    Turns = value(py_context:eval(Ctx, <<"turns">>, #{}, 5_000, Env)),
    ok = timer:sleep(100),
    case value(py_context:eval(Ctx, <<"turns">>, #{}, 5_000, Env)) of
        Turns -> line("it made ~ts turns, and none in the next 100 ms: it was stopped",
                      [number(Turns)]);
        More -> throw({python, {still_running, Turns, More}})
    end.

-spec speed(pos_integer(), pos_integer()) -> routed().
speed(Calls, Us) ->
    section("How fast"),
    line("the analysis: ~ts calls, all of the text, in ~ts", [number(Calls), duration(Us)]),
    {Routed, Elapsed} = calls_for(1_000),
    Count = lists:sum(maps:values(Routed)),
    line("~b processes calling math.sqrt for a second: ~ts calls per second",
         [?CALLERS, number(Count * 1_000_000 div Elapsed)]),
    Routed.

-spec calls_for(pos_integer()) -> {routed(), pos_integer()}.
calls_for(Ms) ->
    Stop = atomics:new(1, []),
    Before = process_flag(priority, high),
    Start = erlang:monotonic_time(microsecond),
    Pids = [spawn_monitor(fun() -> exit({routed, calls(Stop, #{})}) end)
            || _ <- lists:seq(1, ?CALLERS)],
    ok = timer:sleep(Ms),
    ok = atomics:put(Stop, 1, 1),
    Routed = [receive {'DOWN', Monitor, process, Pid, {routed, Some}} -> Some end
              || {Pid, Monitor} <- Pids],
    Elapsed = erlang:monotonic_time(microsecond) - Start,
    _ = process_flag(priority, Before),
    {sum_up(Routed), Elapsed}.

-spec calls(atomics:atomics_ref(), routed()) -> routed().
calls(Stop, Routed) ->
    {_, Ctx} = Route = route(),
    {ok, 3.0} = py_context:call(Ctx, math, sqrt, [9]),
    Counted = count_call(Route, Routed),
    case atomics:get(Stop, 1) of
        0 -> calls(Stop, Counted);
        1 -> Counted
    end.
