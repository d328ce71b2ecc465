%% Python code behaves in a context as it does in plain Python: each program of test/parity ends
%% there in the same way and prints the same, in every mode, in the context's own namespace and in
%% that of a process. What plain Python makes of it is found out by running it, and kept below
%% _build.
%%
%% Where CI or PARITY_ALL is set, each program runs in each mode in both namespaces. Elsewhere it
%% runs once, in one mode and one namespace, which its name decides: so the default run stays
%% short.
%%
%% What differs by design stands in the table of docs/parity.md. A program that is in it and doesn't
%% differ (any more) is a failure, too.
-module(parity_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1]).
-export([the_table_names_programs_that_are_there/1]).
-export([in_worker/1, in_subinterp/1, in_owngil/1]).
-export([in_worker_by_py/1, in_subinterp_by_py/1, in_owngil_by_py/1]).

all() ->
    [the_table_names_programs_that_are_there, {group, modes}].

groups() ->
    [{modes, [parallel],
      [in_worker, in_worker_by_py]
      ++ [Case || py:subinterp_supported(), Case <- [in_subinterp, in_subinterp_by_py]]
      ++ [Case || py:owngil_supported(), Case <- [in_owngil, in_owngil_by_py]]}].

init_per_suite(Config) ->
    {ok, Ctx} = py_context:new(#{}),
    ok = py_context:exec(Ctx, <<"import sys">>),
    {ok, {Executable, Build, Major, Minor}} =
        py_context:eval(Ctx, <<"(sys.executable, sys.version, *sys.version_info[:2])">>),
    ok = py_context:stop(Ctx),
    Root = test_helpers:repository(),
    Programs = parity_programs:all(filename:join(Root, "test/parity"), {Major, Minor}),
    ?assert(length(Programs) >= 150),
    Python = {binary_to_list(Executable), Build},
    Kept = filename:join(test_helpers:build_folder(), "parity"),
    Expected = maps:from_list(in_parallel(fun(#{name := Name} = Program) ->
        {Name, parity_programs:plain(Python, Program, Kept)}
    end, Programs)),
    {ok, Page} = file:read_file(filename:join(Root, "docs/parity.md")),
    [{root, Root}, {programs, Programs}, {expected, Expected}, {version, {Major, Minor}},
     {table, parity_table:rows(Page)} | Config].

end_per_suite(_Config) ->
    test_helpers:stop_all().

%% As many at a time as there are schedulers; the results in any order.
in_parallel(Fun, Items) ->
    Suite = self(),
    Queue = spawn_link(fun() -> hand_out(Items) end),
    Workers = [spawn_link(fun() -> Suite ! {self(), results(Fun, Queue)} end)
               || _ <- lists:seq(1, erlang:system_info(schedulers_online))],
    lists:append([receive {Worker, Results} -> Results end || Worker <- Workers]).

hand_out([]) ->
    receive {next, From} -> From ! {self(), none}, hand_out([]) after 60_000 -> ok end;
hand_out([Item | Items]) ->
    receive {next, From} -> From ! {self(), {item, Item}}, hand_out(Items) end.

results(Fun, Queue) ->
    Queue ! {next, self()},
    receive
        {Queue, none} -> [];
        {Queue, {item, Item}} -> [Fun(Item) | results(Fun, Queue)]
    end.

%% ------------------------------------------------------------------ cases

the_table_names_programs_that_are_there(Config) ->
    Root = proplists:get_value(root, Config),
    [?assert(filelib:is_regular(filename:join([Root, "test/parity", Name ++ ".py"])), Name)
     || #{program := Name} <- proplists:get_value(table, Config)].

in_worker(Config) -> same(Config, worker, 'py_context:exec').
in_subinterp(Config) -> same(Config, subinterp, 'py_context:exec').
in_owngil(Config) -> same(Config, owngil, 'py_context:exec').
in_worker_by_py(Config) -> same(Config, worker, 'py:exec').
in_subinterp_by_py(Config) -> same(Config, subinterp, 'py:exec').
in_owngil_by_py(Config) -> same(Config, owngil, 'py:exec').

same(Config, Mode, Way) ->
    [All, Expected, Table, Version] =
        [proplists:get_value(Key, Config) || Key <- [programs, expected, table, version]],
    Programs = [Program || #{name := Name} = Program <- All, is_due(Name, Mode, Way)],
    ?assertNotEqual([], Programs),
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => 0}),
    Results =
        try peer:call(Vm, parity_context, run, [Programs, Mode, Way], infinity)
        after peer:stop(Vm)
        end,
    Allowed = parity_table:allowed(Table, Mode, Way, Version),
    Wrong = [[Name, " ", Text]
             || {Name, Result} <- Results,
                Text <- judged(maps:get(Name, Expected), Result, lists:member(Name, Allowed))],
    [io:format(user, "~n~s by ~s: ~ts", [Mode, Way, Text]) || Text <- Wrong],
    case length(Wrong) of
        0 -> {comment, io_lib:format("~b programs", [length(Results)])};
        Count -> ct:fail("~b of ~b programs: ~ts", [Count, length(Results), Wrong])
    end.

is_due(Name, Mode, Way) ->
    All = [{AMode, AWay} || {group, AMode} <- test_helpers:mode_groups(),
                            AWay <- ['py_context:exec', 'py:exec']],
    lists:any(fun(Variable) -> os:getenv(Variable, "") =/= "" end, ["CI", "PARITY_ALL"])
        orelse lists:nth(1 + erlang:phash2(Name, length(All)), All) =:= {Mode, Way}.

%% What is wrong with a program: nothing if all is well.
judged(Expected, Result, IsAllowed) ->
    case {neutral(Expected) =:= neutral(Result), IsAllowed} of
        {true, false} -> [];
        {false, true} -> [];
        {true, true} -> ["is as in plain Python, but stands in docs/parity.md\n"];
        {false, false} -> [io_lib:format("differs~n  plain: ~ts~n  here:  ~ts~n",
                                         [shown(Expected), shown(Result)])]
    end.

%% Without what is another each time: addresses, and the name of the program's file.
neutral({{Class, Message}, Output}) -> {{Class, neutral_text(Message)}, neutral_text(Output)};
neutral({ok, Output}) -> {ok, neutral_text(Output)}.

neutral_text(Text) ->
    lists:foldl(fun({Pattern, Instead}, Sofar) ->
        re:replace(Sofar, Pattern, Instead, [global, {return, binary}])
    end, Text, [{"0x[0-9a-f]+", "0x..."},
                {"<string>|<erlang-[0-9]+>|[^ \n\"]*/test/parity/[a-z_0-9]+\\.py", "<program>"}]).

shown({Outcome, Output}) ->
    [case Outcome of
         ok -> "ok";
         {Class, Message} -> [Class, ": ", Message]
     end
     | [["\n    | ", Line] || Line <- binary:split(Output, <<"\n">>, [global]), Line =/= <<>>]].
