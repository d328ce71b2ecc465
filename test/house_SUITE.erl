%% Facts that stand in several places agree, and the rules of CONTRIBUTING.md about words, sizes and
%% the code map are kept. A failing check prints the places as file:line.
-module(house_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([the_version_stands_in_one_place/1, the_workflow_has_the_cells_of_the_matrix/1,
         the_changelog_begins_with_what_is_unreleased/1]).
-export([the_map_has_every_source_file/1, the_words_of_the_glossary_are_used/1,
         no_word_is_a_metaphor/1, no_line_is_too_long/1, a_long_file_says_why/1]).
-export([every_test_case_is_in_a_list/1, every_group_is_in_a_list/1]).

%% Characters of a line.
-define(MAX_COLUMNS, 100).
%% A source file of more lines says "over 400 lines" and why within its first HEAD_LINES lines.
-define(MAX_LINES, 400).
-define(HEAD_LINES, 40).

%% Metaphors for things that have a standard word. They are found as whole words in text, and as
%% parts of names in snake_case and CamelCase.
-define(BANNED, ["blow", "blows", "strike", "strikes", "striking", "struck", "parry", "parries",
                 "parried", "victim", "victims", "lobby", "lobbies", "desk", "desks", "ward",
                 "wards", "bed", "beds", "backstage", "chore", "chores", "nudge", "nudges",
                 "nudged", "nudging", "tally", "tallies", "voice", "voices", "patience",
                 "patient", "patiently", "linger", "lingers", "lingering", "seldom", "ticket",
                 "tickets", "spare", "spares", "spared", "room", "rooms", "told", "heard",
                 "hears", "orphan", "orphans", "kinship", "backdrop", "whoever", "aim", "aims",
                 "aimed", "mend", "mends", "mended"]).
-define(BANNED_PHRASES, "\\b(?:(?:let|lets|letting)[ _]go(?:es)?|on[ _]top"
                        "|(?:look|looks|looked|looking)[ _]after"
                        "|(?:give|gives|given|gave|giving)[ _]up"
                        "|left[ _]to[ _](?:itself|themselves)"
                        "|(?:stand|stands|standing|stood)[ _]by"
                        "|hand(?:s|ed|ing)?[ _-]?over)\\b").

%% {File, Word, Why}: the places where a banned word has its plain meaning.
-define(EXCEPTIONS, [{"test/house_SUITE.erl", any, "the list itself"}]).

all() ->
    [the_version_stands_in_one_place, the_workflow_has_the_cells_of_the_matrix,
     the_changelog_begins_with_what_is_unreleased, the_map_has_every_source_file,
     the_words_of_the_glossary_are_used, no_word_is_a_metaphor, no_line_is_too_long,
     a_long_file_says_why, every_test_case_is_in_a_list, every_group_is_in_a_list].

init_per_suite(Config) ->
    [{root, root(proplists:get_value(data_dir, Config))} | Config].

end_per_suite(_Config) ->
    ok.

root(Folder) ->
    case filelib:is_regular(filename:join(Folder, "README.md")) of
        true -> Folder;
        false -> root(filename:dirname(Folder))
    end.

%% ------------------------------------------------------------------ facts in several places

%% The version stands in the .app.src; mix.exs reads it there, and the crates have none.
the_version_stands_in_one_place(Config) ->
    ?assertMatch([_], version(Config)),
    ?assertEqual([], matches("version: \"([^\"]+)\"", text("mix.exs", Config))),
    ?assertEqual(["0.0.0"], matches("(?m)^version = \"([^\"]+)\"", text("Cargo.toml", Config))).

version(Config) ->
    matches("vsn, \"([^\"]+)\"", text("src/py_context_router.app.src", Config)).

the_workflow_has_the_cells_of_the_matrix(Config) ->
    Cells = matches("(?m)^(?:cells=')?(otp[0-9]+-py[0-9]+) [a-z]", text("bin/matrix", Config)),
    ?assertMatch([_ | _], Cells),
    ?assertEqual(Cells, matches("cell: (otp[0-9]+-py[0-9]+)",
                                text(".github/workflows/ci.yml", Config))).

%% As RELEASE.md says.
the_changelog_begins_with_what_is_unreleased(Config) ->
    [First, Second | _] = matches("(?m)^## \\[([^\\]]+)\\]", text("CHANGELOG.md", Config)),
    [Version] = version(Config),
    ?assertEqual({"Unreleased", Version}, {First, Second}).

%% ------------------------------------------------------------------ the map and the glossary

%% In CONTRIBUTING.md a heading names a folder, and the first column of its table the files in it.
the_map_has_every_source_file(Config) ->
    Mapped = mapped(section("Code map", text("CONTRIBUTING.md", Config))),
    Files = product_files(Config) ++ files(["bin/*", "bench/*.erl", "chaos/*.erl"], Config),
    ?assertEqual([], Mapped -- lists:usort(Mapped), "more than one row"),
    ?assertEqual({missing, [], no_file, []},
                 {missing, Files -- Mapped, no_file, Mapped -- Files}).

mapped(Map) ->
    lists:append([rows(matches("^`([^`\\n]+)/`", Part), Part)
                  || Part <- re:split(Map, "(?m)^### ", [{return, list}, unicode])]).

rows([], _Part) ->
    [];
rows([Folder], Part) ->
    [filename:join(Folder, Name) || Names <- matches("(?m)^\\| ((?:`[^`]+`(?:, )?)+) \\|", Part),
                                    Name <- matches("`([^`]+)`", Names)].

%% The code has the words that the glossary explains.
the_words_of_the_glossary_are_used(Config) ->
    Words = matches("(?m)^\\| \\*\\*([^*]+)\\*\\* \\|",
                    section("Glossary", text("CONTRIBUTING.md", Config))),
    ?assert(length(Words) > 10),
    Code = [text(File, Config) || File <- product_files(Config)],
    ?assertEqual([], [Word || Word <- Words, not is_used(Word, Code)]).

is_used(Word, Texts) ->
    Pattern = "(?i)(?<![a-z])" ++ lists:append(lists:join("[ _-]?", string:lexemes(Word, " ")))
        ++ "(?:s|es|d|ed|ing)?(?![a-z])",
    lists:any(fun(Text) -> re:run(Text, Pattern, [unicode, {capture, none}]) =:= match end, Texts).

section(Title, Text) ->
    [Section] = [Section || Section <- re:split(Text, "(?m)^## ", [{return, list}, unicode]),
                            lists:prefix(Title ++ "\n", Section)],
    Section.

%% ------------------------------------------------------------------ the lists of the suites

%% A test case is a function of Config. So is many a helper, which other functions call. A function
%% without arguments may be a list. One of these that no other function of the suite mentions is
%% never run.
every_test_case_is_in_a_list(_Config) ->
    ?assertEqual([], [{Suite, Name} || {Suite, Functions} <- suites(),
                                       {Name, Clauses} <- Functions,
                                       takes_config(Clauses), not is_called_by_ct(Name),
                                       not is_mentioned(Name, Functions)]).

%% [{Suite, [{Function, Clauses}]}]
suites() ->
    Beams = filelib:wildcard(filename:join(filename:dirname(code:which(?MODULE)), "*_SUITE.beam")),
    ?assert(length(Beams) > 10),
    [{Suite, [{Name, Clauses} || {function, _, Name, _Arity, Clauses} <- Forms]}
     || Beam <- Beams,
        {ok, {Suite, [{abstract_code, {_, Forms}}]}} <- [beam_lib:chunks(Beam, [abstract_code])]].

takes_config([{clause, _, [], _, _} | _]) -> true;
takes_config([{clause, _, [{var, _, 'Config'}], _, _} | _]) -> true;
takes_config([{clause, _, [{var, _, '_Config'}], _, _} | _]) -> true;
takes_config(_Clauses) -> false.

is_called_by_ct(Name) ->
    lists:member(Name, [suite, all, groups, init_per_suite, end_per_suite]).

is_mentioned(Name, Functions) ->
    lists:any(fun({Other, Clauses}) -> Other =/= Name andalso has_atom(Name, Clauses) end,
              Functions).

has_atom(Name, {atom, _, Name}) -> true;
has_atom(Name, {function, Name, _Arity}) -> true;
has_atom(Name, Form) when is_tuple(Form) -> has_atom(Name, tuple_to_list(Form));
has_atom(Name, [First | Rest]) -> has_atom(Name, First) orelse has_atom(Name, Rest);
has_atom(_Name, _Form) -> false.

%% A mode's group is defined for each mode, and run where the linked Python has it.
every_group_is_in_a_list(_Config) ->
    Modes = [worker, subinterp, owngil],
    ?assertEqual([], [{Suite, Group} || {Suite, Functions} <- suites(),
                                        lists:keymember(groups, 1, Functions),
                                        Group <- unlisted(Suite:all(), Suite:groups()) -- Modes]).

unlisted(All, Groups) ->
    [element(1, Group) || Group <- Groups] -- listed(All, Groups).

listed(Items, Groups) ->
    lists:flatmap(fun({group, Name}) -> [Name | listed_in(Name, Groups)];
                     ({group, Name, _Options}) -> [Name | listed_in(Name, Groups)];
                     (_Case) -> []
                  end, Items).

listed_in(Name, Groups) ->
    listed(lists:last(tuple_to_list(lists:keyfind(Name, 1, Groups))), Groups).

%% ------------------------------------------------------------------ words and sizes

no_word_is_a_metaphor(Config) ->
    {ok, Phrases} = re:compile(?BANNED_PHRASES, [caseless, unicode]),
    {ok, Parts} = re:compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", [unicode]),
    Banned = sets:from_list([list_to_binary(Word) || Word <- ?BANNED]),
    %% Most files have none, and one search of the whole file shows that.
    {ok, Any} = re:compile([?BANNED_PHRASES, [["|", Word] || Word <- ?BANNED]],
                           [caseless, unicode]),
    none([{File, N, Word}
          || File <- ours(Config),
             re:run(text(File, Config), Any, [{capture, none}]) =:= match,
             {N, Line} <- unreleased(File, Config),
             Word <- banned(Line, Phrases, Parts, Banned), not is_exception(File, Word)]).

%% The sections of releases in the changelog stay as they were written.
unreleased("CHANGELOG.md" = File, Config) ->
    {Head, Rest} = lists:splitwith(fun({_N, Line}) -> Line =/= <<"## [Unreleased]">> end,
                                   lines(File, Config)),
    Head ++ lists:takewhile(fun({_N, Line}) -> not is_release(Line) end, Rest);
unreleased(File, Config) ->
    lines(File, Config).

is_release(<<"## [Unreleased]">>) -> false;
is_release(Line) -> re:run(Line, "^## \\[", [{capture, none}]) =:= match.

banned(Line, Phrases, Parts, Banned) ->
    found(re:run(Line, Phrases, [global, {capture, first, binary}]))
        ++ [Part || Part <- found(re:run(Line, Parts, [global, {capture, first, binary}])),
                    sets:is_element(string:lowercase(Part), Banned)].

found({match, Matches}) -> lists:append(Matches);
found(nomatch) -> [].

is_exception(File, Word) ->
    lists:any(fun({Name, Allowed, _Why}) ->
                  Name =:= File andalso (Allowed =:= any orelse list_to_binary(Allowed) =:= Word)
              end, ?EXCEPTIONS).

%% A row of a table in Markdown can't be wrapped.
no_line_is_too_long(Config) ->
    none([{File, N, [integer_to_list(Length), " characters"]}
          || File <- ours(Config), {N, Line} <- lines(File, Config),
             byte_size(Line) > ?MAX_COLUMNS,
             Length <- [string:length(Line)], Length > ?MAX_COLUMNS,
             not (filename:extension(File) =:= ".md" andalso is_row(Line))]).

is_row(Line) ->
    re:run(Line, "^\\s*\\|", [{capture, none}]) =:= match.

a_long_file_says_why(Config) ->
    none([{File, length(Lines), <<"lines, and its head doesn't say why it has over 400 lines">>}
          || File <- product_files(Config)
                 ++ files(["bench/*.erl", "chaos/*.erl", "bin/*"], Config),
             %% Unit tests beside the code are as long as they need to be, like all tests.
             filename:basename(File) =/= "tests.rs",
             Lines <- [lines(File, Config)], length(Lines) > ?MAX_LINES, not says_why(Lines)]).

says_why(Lines) ->
    Head = [Line || {_N, Line} <- lists:sublist(Lines, ?HEAD_LINES)],
    %% The words may be on two lines.
    re:run(lists:join(" ", Head), "over 400(?:[ %/!#]+)lines", [{capture, none}]) =:= match.

%% The failure and the log show each place as file:line.
none(Places) ->
    Shown = [lists:flatten(io_lib:format("~ts:~b: ~ts", [File, N, What]))
             || {File, N, What} <- Places],
    ct:pal("~ts", [lists:join("\n", Shown)]),
    ?assertEqual([], Shown).

%% ------------------------------------------------------------------ files

%% The files of the library itself.
product_files(Config) ->
    files(["src/**/*.{erl,hrl,app.src}", "lib/**/*.ex", "native/*/src/**/*.{rs,py}"], Config).

%% All text of ours. The programs in test/parity are as programs of users are.
ours(Config) ->
    lists:usort(product_files(Config) ++
        files(["src/**/*.md", "native/*/{tests,benches}/**/*.rs", "native/*/*.{rs,toml}",
               "native/build.sh", "native/fuzz/run",
               "{bench,chaos}/*.erl", "bin/*", "bin/matrix.d/*",
               "examples/run", "examples/**/*.{erl,exs,py}",
               "test/*.{erl,exs,hrl}", "test/common_test", "test/mutants/list",
               "test/packages/*", "test/consumers/run", "docs/*.md", "*.{md,exs}",
               "rebar.config", "Cargo.toml",
               ".github/**/*.{md,yml}"], Config)).

files(Patterns, Config) ->
    Root = proplists:get_value(root, Config),
    [File || Pattern <- Patterns, File <- filelib:wildcard(Pattern, Root),
             filelib:is_regular(filename:join(Root, File)), not is_build_product(File)].

is_build_product(File) ->
    lists:any(fun(Folder) -> lists:member(Folder, ["target", "_build", "deps"]) end,
              filename:split(File)).

%% [{Number, Line}]
lines(File, Config) ->
    lists:enumerate(binary:split(text(File, Config), <<"\n">>, [global])).

text(File, Config) ->
    {ok, Text} = file:read_file(filename:join(proplists:get_value(root, Config), File)),
    Text.

matches(Pattern, Text) ->
    case re:run(Text, Pattern, [global, unicode, {capture, all_but_first, list}]) of
        {match, Found} -> lists:append(Found);
        nomatch -> []
    end.
