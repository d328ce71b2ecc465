%% README.md and docs/ are true: the Erlang examples have the results that are shown, and files,
%% commands, links, options and settings exist. readme_test.exs runs the Elixir examples.
%%
%% In a block of Erlang that begins with a prompt, each expression is one line, `N> Expression.',
%% and the lines up to the next prompt are its result as the shell prints it. White space doesn't
%% count, one pid is as good as another, and an ellipsis stands for anything. Other blocks of
%% Erlang are terms of configuration.
-module(readme_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([the_examples_of_callbacks_do_too/1, the_examples_of_the_front_do_too/1]).
-export([the_examples_give_the_results_that_are_shown/1, the_configuration_is_erlang/1,
         the_names_in_the_diagrams_are_files/1, the_links_lead_somewhere/1,
         the_commands_are_there/1, every_setting_is_described/1,
         every_option_of_calls_is_described/1, every_environment_variable_is_described/1,
         every_feature_of_the_soak_works/1, soak/2]).


all() ->
    [the_examples_give_the_results_that_are_shown, the_examples_of_callbacks_do_too,
     the_examples_of_the_front_do_too, the_configuration_is_erlang,
     the_names_in_the_diagrams_are_files, the_links_lead_somewhere, the_commands_are_there,
     every_setting_is_described, every_option_of_calls_is_described,
     every_environment_variable_is_described, every_feature_of_the_soak_works].

init_per_suite(Config) ->
    %% The state of a new user's shell: nothing is started.
    ok = py_context_router:stop(),
    [{root, test_helpers:repository()} | Config].

end_per_suite(_Config) ->
    py_context_router:stop().

the_examples_give_the_results_that_are_shown(Config) ->
    Examples = [Example || Block <- blocks("erlang", "README.md", Config), is_transcript(Block),
                           Example <- examples(Block)],
    ?assert(length(Examples) > 20),
    _ = lists:foldl(fun example/2, [], Examples),
    ok.

the_examples_of_callbacks_do_too(Config) ->
    Examples = lists:append([examples(Block)
                             || Block <- blocks("erlang", "docs/callbacks.md", Config)]),
    ?assert(length(Examples) > 8),
    _ = lists:foldl(fun example/2, [], Examples),
    py:unregister_function(stock).

the_examples_of_the_front_do_too(Config) ->
    Examples = lists:append([examples(Block) || Block <- blocks("erlang", "docs/front.md", Config),
                                                is_transcript(Block)]),
    ?assert(length(Examples) > 20),
    _ = lists:foldl(fun example/2, [], Examples),
    ok = py:unregister_pool(socket),
    py_context_router:stop_pool(io).

the_configuration_is_erlang(Config) ->
    Terms = [Block || File <- ["README.md", "docs/front.md", "docs/settings.md"],
                      Block <- blocks("erlang", File, Config), not is_transcript(Block)],
    ?assertMatch([_ | _], Terms),
    [?assertMatch({ok, _}, parse_term(Term)) || Term <- Terms].

the_names_in_the_diagrams_are_files(Config) ->
    Diagrams = blocks("text", "README.md", Config)
        ++ blocks("text", "docs/architecture.md", Config),
    Names = matches("(\\bpy_[a-z_]+\\b|\\b[a-z_]+\\.rs\\b)", lists:append(Diagrams)),
    Files = [filename:basename(File)
             || Folder <- ["src", "native"],
                File <- filelib:wildcard("**", in_root(Folder, Config))],
    ?assertEqual([], [Name || [Name] <- Names,
                              not lists:member(Name, Files),
                              not lists:member(Name ++ ".erl", Files)]).

%% A link leads to a file and, if it has an anchor, to a heading there.
the_links_lead_somewhere(Config) ->
    [?assertEqual({Page, Link, true}, {Page, Link, leads(Page, Link, Config)})
     || Pages <- ["*.md", "docs/*.md"], Page <- filelib:wildcard(Pages, in_root("", Config)),
        Link <- links(text(Page, Config))].

leads(Page, "#" ++ Anchor, Config) ->
    is_heading(Anchor, Page, Config);
leads(Page, Link, Config) ->
    [File | Anchor] = string:split(Link, "#"),
    Target = filename:join(filename:dirname(Page), File),
    filelib:is_regular(in_root(Target, Config))
        andalso lists:all(fun(A) -> is_heading(A, Target, Config) end, Anchor).

%% As GitHub makes anchors: lower case, blanks as hyphens, no punctuation.
is_heading(Anchor, Page, Config) ->
    lists:member(Anchor, [lists:append(string:replace(re:replace(string:lowercase(Heading),
                                                                 "[^a-z0-9_ -]", "",
                                                                 [global, unicode, {return, list}]),
                                                      " ", "-", all))
                          || [Heading] <- matches("^#+ ([^\\n]+)$", text(Page, Config))]).

the_commands_are_there(Config) ->
    Commands = matches("\\b(bin/[a-z]+)", text("README.md", Config)),
    [?assert(filelib:is_regular(in_root(Command, Config)), Command) || [Command] <- Commands].

%% In the tables of docs/settings.md, and nothing that isn't one.
every_setting_is_described(Config) ->
    {ok, Start} = py_options:pool(#{}),
    same(maps:keys(py_defaults:application()), "Application environment", Config),
    same(maps:keys(Start), "Start options", Config).

%% The options of calls are the clauses of py_options:call_option/3. The list OTHERS of py_defaults
%% has these, and those that single functions take.
every_option_of_calls_is_described(Config) ->
    [File] = filelib:wildcard("src/**/py_options.erl", in_root("", Config)),
    Source = text(File, Config),
    OfCalls = lists:usort([list_to_atom(Key)
                           || [Key] <- matches("^call_option\\(([a-z_]+),", Source)]),
    [[All]] = matches("^-define\\(OTHERS, \\[([^]]+)\\]\\)",
                      text("src/base/py_defaults.erl", Config)),
    Others = [list_to_atom(string:trim(Key)) || Key <- string:lexemes(All, ",")],
    ?assertEqual([], OfCalls -- Others),
    same(Others, "Call options", Config).

%% The table has each variable that a script or a test reads, and no other. The variables of the
%% programs in test/parity are their own.
every_environment_variable_is_described(Config) ->
    Described = described("Environment variables of the build and the tests", Config),
    Sources = [text(File, Config)
               || Pattern <- ["bin/*", "bin/matrix.d/*", "native/build.sh", "native/fuzz/run",
                              "native/*/{src,tests}/**/*.rs", "src/**/*.erl", "lib/**/*.ex",
                              "{bench,chaos}/*.erl", "examples/run", "mix.exs",
                              "test/common_test", "test/*.erl", "test/{consumers,packages}/*",
                              "test/consumers/*/{mix.exs,*.script}"],
                  File <- filelib:wildcard(Pattern, in_root("", Config)),
                  filelib:is_regular(in_root(File, Config))],
    Read = [Name || Source <- Sources,
                    [Name] <- matches("(?:\\$\\{|getenv\\(\"|get_env\\(\"|env::var(?:_os)?\\(\")"
                                      "((?:PYO3|PY|TEST|OVERLOAD|PACKAGES|PARITY)(?:_[A-Z_]+)?)\\b",
                                      Source)],
    %% A doctest of Py.put_env/2.
    ?assertEqual([], lists:usort(Read) -- ["PY_DOC_COLOUR" | Described]),
    Text = lists:append(Sources),
    ?assertEqual([], [Name || Name <- Described, string:find(Text, Name) =:= nomatch]).

same(Keys, Section, Config) ->
    ?assertEqual(lists:sort([atom_to_list(Key) || Key <- Keys]),
                 lists:sort(described(Section, Config))).

%% The names in the first column of the tables of a section of docs/settings.md.
described(Title, Config) ->
    Sections = re:split(text("docs/settings.md", Config), "^(?=## )",
                        [multiline, unicode, {return, list}]),
    [Section] = [Section || "## " ++ Section <- Sections, lists:prefix(Title ++ "\n", Section)],
    [Name || [Names] <- matches("^\\| ((?:`[A-Za-z0-9_]+`(?:, )?)+) \\|", Section),
             [Name] <- matches("`([A-Za-z0-9_]+)`", Names)].

%% `bin/soak' runs them for a quarter of an hour, on any Python. Here they run in a VM of its own,
%% because they leave pools and stuck threads behind.
every_feature_of_the_soak_works(Config) ->
    File = filename:join([proplists:get_value(root, Config), "chaos", "py_soak_features.erl"]),
    {ok, py_soak_features, Code} = compile:file(File, [binary, debug_info]),
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => standard_io}),
    try
        ok = peer:call(Vm, ?MODULE, soak, [File, Code], 120_000)
    after
        peer:stop(Vm)
    end.

%% In the other VM. Each feature comes to each pool.
soak(File, Code) ->
    ok = logger:set_primary_config(level, none),
    {module, py_soak_features} = code:load_binary(py_soak_features, File, Code),
    Pools = py_soak_features:start(),
    [ok = py_soak_features:call(N, Pools) || N <- lists:seq(1, 3_000)],
    ok.

%% ------------------------------------------------------------------ running the examples

example({Source, Shown}, Bindings) ->
    {ok, Tokens, _} = erl_scan:string(Source),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, Bound} = erl_eval:exprs(Expressions, Bindings),
    Result = io_lib:format("~tp", [Value]),
    ct:pal("~ts~n~ts", [Source, Result]),
    ?assertMatch({match, _}, re:run(stripped(Result), pattern(Shown), [unicode]),
                 unicode:characters_to_list([Source, " gives ", Result, ", not ", Shown])),
    Bound.

stripped(Text) ->
    [Char || Char <- unicode:characters_to_list(Text), Char =/= $\s, Char =/= $\n].

pattern(Shown) ->
    Escaped = re:replace(stripped(Shown), "[][(){}.*+?|^$\\\\]", "\\\\&",
                         [global, unicode, {return, list}]),
    AnyPid = re:replace(Escaped, "<[0-9]+(\\\\\\.[0-9]+){2}>", "<[0-9.]+>",
                        [global, unicode, {return, list}]),
    AnyRef = re:replace(AnyPid, "#Ref<[0-9]+(\\\\\\.[0-9]+){3}>", "#Ref<[0-9.]+>",
                        [global, unicode, {return, list}]),
    "^" ++ lists:append([case Char of
                             $… -> ".*";
                             _ -> [Char]
                         end || Char <- AnyRef]) ++ "$".

%% ------------------------------------------------------------------ reading

%% The contents of the blocks of a language.
blocks(Language, Page, Config) ->
    lists:append(matches("^```" ++ Language ++ "\\n(.*?)^```$", text(Page, Config))).

is_transcript(Block) ->
    re:run(Block, "^[0-9]+> ", [unicode]) =/= nomatch.

%% {Expression, Result as shown}
examples(Block) ->
    [{Source, Shown}
     || [Source, Shown] <- matches("^[0-9]+> ([^\\n]*)\\n(.*?)(?=^[0-9]+> |\\z)", Block)].

parse_term(Text) ->
    {ok, Tokens, _} = erl_scan:string(string:trim(Text, trailing, ".\n") ++ "."),
    erl_parse:parse_term(Tokens).

links(Text) ->
    lists:append(matches("\\]\\(([^)\\s:]+)\\)", Text)).

%% The groups of each match.
matches(Pattern, Text) ->
    Options = [global, multiline, dotall, unicode, {capture, all_but_first, list}],
    case re:run(Text, Pattern, Options) of
        {match, Matches} -> Matches;
        nomatch -> []
    end.

text(Page, Config) ->
    {ok, Text} = file:read_file(in_root(Page, Config)),
    unicode:characters_to_list(Text).

in_root(Path, Config) ->
    filename:join(proplists:get_value(root, Config), Path).
