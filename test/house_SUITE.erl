%% What stands in several places says the same in each.
-module(house_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([the_version_stands_in_one_place/1, the_workflow_has_the_cells_of_the_matrix/1,
         the_changelog_begins_with_what_is_unreleased/1]).

all() ->
    [the_version_stands_in_one_place, the_workflow_has_the_cells_of_the_matrix,
     the_changelog_begins_with_what_is_unreleased].

init_per_suite(Config) ->
    [{root, root(proplists:get_value(data_dir, Config))} | Config].

end_per_suite(_Config) ->
    ok.

root(Folder) ->
    case filelib:is_regular(filename:join(Folder, "README.md")) of
        true -> Folder;
        false -> root(filename:dirname(Folder))
    end.

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

text(File, Config) ->
    {ok, Text} = file:read_file(filename:join(proplists:get_value(root, Config), File)),
    Text.

matches(Pattern, Text) ->
    case re:run(Text, Pattern, [global, {capture, all_but_first, list}]) of
        {match, Found} -> lists:append(Found);
        nomatch -> []
    end.
