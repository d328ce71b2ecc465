%% The layers: which folder may use which, and that no two files need each other in a circle.
%%
%% Erlang's edges are the calls that xref finds. Rust's are the paths in a file (`use' and others)
%% that lead to another file of the crate, through re-exports too; declaring a module is no use of
%% it, nor is what a folder's head file (`mod.rs') has of the files in its folder. Types in
%% Erlang's specs and code below `cfg(test)' don't count.
-module(layers_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0]).
-export([the_edges_of_rust_are_found/1, every_folder_says_what_it_holds/1,
         erlang_folders_call_downwards/1, no_circle_between_erlang_modules/1,
         py_runtime_imports_downwards/1, no_circle_between_files_of_py_runtime/1,
         py_nif_imports_downwards/1, no_circle_between_files_of_py_nif/1,
         what_executes_knows_no_call/1]).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [the_edges_of_rust_are_found, every_folder_says_what_it_holds,
     erlang_folders_call_downwards, no_circle_between_erlang_modules,
     py_runtime_imports_downwards, no_circle_between_files_of_py_runtime,
     py_nif_imports_downwards, no_circle_between_files_of_py_nif, what_executes_knows_no_call].

%% ------------------------------------------------------------------ the order

%% A folder, or a file beside them, and those just below it: it may use these, and what is below
%% them.
layers(erlang) ->
    [{app, [api]},
     {api, [setup, services]},
     {setup, [request]},
     {request, [pool]},
     {pool, [context]},
     {context, [base]},
     {services, [base]},
     {base, []}];
layers(py_runtime) ->
    [{lib, [context]},
     {context, [interrupt]},
     {interrupt, [interpreter]},
     {interpreter, [boot]},
     {boot, [gil]},
     {gil, [alloc, cpython, sync]},
     {alloc, []},
     {cpython, []},
     {sync, []}];
layers(py_nif) ->
    [{lib, [nifs]},
     {nifs, [job]},
     {job, [direct]},
     {direct, [outbound, exec, erlang_module]},
     {outbound, [resources]},
     %% Implements traits of the two below, so that these need not know of handles and contexts.
     {resources, [thread]},
     {exec, [thread, testing]},
     {erlang_module, [thread]},
     {testing, [convert]},
     {thread, [convert]},
     {convert, [erlang_types]},
     {erlang_types, [request]},
     {request, [term]},
     {term, [settings, scheduler]},
     {settings, []},
     {scheduler, []}].

%% ------------------------------------------------------------------ cases

%% The reader of Rust, on a crate of four files.
the_edges_of_rust_are_found(_Config) ->
    Crate = #{"lib.rs" => <<"mod a; pub mod b;\npub use b::c::Deep;">>,
              "a.rs" => <<"use crate::{b::{self, c::{One, Two}}, Deep};\n"
                            "// crate::lib\nfn f() {}">>,
              "b/mod.rs" => <<"mod c;\npub(crate) use self::c::One;\nfn f() -> c::Two {}">>,
              "b/c.rs" => <<"fn f() { super::g(); crate::a::f() }\n"
                            "#[cfg(test)]\nmod tests { use crate::d::X; }">>},
    ?assertEqual([{"a.rs", "b/c.rs"}, {"a.rs", "b/mod.rs"},
                  {"b/c.rs", "a.rs"}, {"b/c.rs", "b/mod.rs"}, {"b/mod.rs", "b/c.rs"}],
                 edges_of_crate(Crate)).

every_folder_says_what_it_holds(_Config) ->
    Folders = [Folder || Folder <- filelib:wildcard(in_root("src/*")), filelib:is_dir(Folder)],
    ?assertEqual([], [Folder || Folder <- Folders,
                                not filelib:is_regular(filename:join(Folder, "README.md"))]),
    Files = maps:to_list(crate(py_runtime)) ++ maps:to_list(crate(py_nif)),
    ?assertEqual([], [Head || {Head, Text} <- Files,
                              filename:basename(Head) =:= "mod.rs",
                              re:run(Text, "^//! ") =:= nomatch]).

erlang_folders_call_downwards(_Config) ->
    Folders = folders(),
    Edges = [{maps:get(From, Folders), maps:get(To, Folders), {From, To}}
             || {From, To} <- erlang_edges()],
    assert_downwards(Edges, layers(erlang)).

no_circle_between_erlang_modules(_Config) ->
    assert_no_circle(erlang_edges()).

py_runtime_imports_downwards(_Config) ->
    rust_imports_downwards(py_runtime).

no_circle_between_files_of_py_runtime(_Config) ->
    rust_has_no_circle(py_runtime).

py_nif_imports_downwards(_Config) ->
    rust_imports_downwards(py_nif).

no_circle_between_files_of_py_nif(_Config) ->
    rust_has_no_circle(py_nif).

%% What runs a request and converts its values can become a crate of its own: it sees the call,
%% with its caller and its reply, through traits only.
what_executes_knows_no_call(_Config) ->
    Cut = [exec, erlang_module, thread, convert, erlang_types],
    ?assertEqual([], [Edge || {From, "request/call.rs"} = Edge <- edges_of_crate(crate(py_nif)),
                              lists:member(folder(From), Cut)]).

rust_imports_downwards(Crate) ->
    assert_downwards([{folder(From), folder(To), {From, To}}
                      || {From, To} <- edges_of_crate(crate(Crate))], layers(Crate)).

rust_has_no_circle(Crate) ->
    assert_no_circle(edges_of_crate(crate(Crate))).

%% ------------------------------------------------------------------ directions and circles

%% Edges are `{Folder, Folder, Edge}'.
assert_downwards(Edges, Layers) ->
    ?assertEqual([], lists:usort([{up_or_aside, From, To, Edge}
                                  || {From, To, Edge} <- Edges, From =/= To,
                                     not lists:member(To, below(From, Layers))])).

below(Folder, Layers) ->
    {Folder, Next} = lists:keyfind(Folder, 1, Layers),
    lists:append([[Lower | below(Lower, Layers)] || Lower <- Next]).

assert_no_circle(Edges) ->
    Counted = [Edge || {From, To} = Edge <- Edges, not is_of_folder(To, From)],
    ?assertEqual([], lists:sort(edges_in_circles(Counted))).

%% A folder's head file is one with the files of the folder: it begins what they go on with.
is_of_folder(File, Head) when is_list(Head) ->
    filename:basename(Head) =:= "mod.rs" andalso lists:prefix(filename:dirname(Head) ++ "/", File);
is_of_folder(_Module, _Other) ->
    false.

%% The edges between members of one strong component: a circle is open once one of its edges is
%% gone.
edges_in_circles(Edges) ->
    Graph = digraph:new(),
    _ = [digraph:add_vertex(Graph, Vertex) || {From, To} <- Edges, Vertex <- [From, To]],
    _ = [digraph:add_edge(Graph, From, To) || {From, To} <- Edges],
    Circles = [Component || [_, _ | _] = Component <- digraph_utils:strong_components(Graph)],
    true = digraph:delete(Graph),
    [Edge || {From, To} = Edge <- Edges, Circle <- Circles,
             lists:member(From, Circle), lists:member(To, Circle)].

%% ------------------------------------------------------------------ Erlang

erlang_edges() ->
    {ok, Xref} = xref:start([]),
    _ = xref:set_default(Xref, [{warnings, false}, {verbose, false}]),
    {ok, _} = xref:add_directory(Xref, filename:dirname(code:which(py_nif))),
    {ok, Edges} = xref:q(Xref, "strict ME"),
    _ = xref:stop(Xref),
    Ours = folders(),
    [Edge || {From, To} = Edge <- Edges, is_map_key(From, Ours), is_map_key(To, Ours)].

%% The folder of each module.
folders() ->
    maps:from_list([{list_to_atom(filename:basename(File, ".erl")),
                     list_to_atom(filename:basename(filename:dirname(File)))}
                    || File <- filelib:wildcard(in_root("src/*/*.erl"))]).

%% ------------------------------------------------------------------ Rust

%% The files of a crate, by their paths below its `src', with their code.
crate(Name) ->
    Root = filename:join(["native", Name, "src"]),
    maps:from_list([{File, read(filename:join(Root, File))}
                    || File <- filelib:wildcard("**/*.rs", in_root(Root)),
                       filename:basename(File) =/= "tests.rs"]).

read(File) ->
    {ok, Text} = file:read_file(in_root(File)),
    Text.

%% The folder of a file, or the name of a file beside the folders.
folder(File) ->
    list_to_atom(filename:rootname(hd(filename:split(File)))).

edges_of_crate(Files) ->
    Modules = maps:from_list([{module_path(File), code(Text)}
                              || {File, Text} <- maps:to_list(Files)]),
    Names = maps:from_list([{module_path(File), File} || File <- maps:keys(Files)]),
    Exports = maps:map(fun exports/2, Modules),
    lists:usort([{maps:get(From, Names), maps:get(To, Names)}
                 || {From, Code} <- maps:to_list(Modules), Path <- paths(Code, From),
                    To <- [target(Path, Exports)], To =/= From, To =/= none]).

%% `context/mod.rs' and `context.rs' are [<<"context">>], `lib.rs' is [].
module_path(File) ->
    Parts = [list_to_binary(Part) || Part <- filename:split(filename:rootname(File))],
    case lists:reverse(Parts) of
        [<<"lib">>] -> [];
        [<<"mod">> | Folder] -> lists:reverse(Folder);
        _ -> Parts
    end.

%% Without comments and texts, and without tests, which come last.
code(Text) ->
    without(Text, ["//[^\n]*|(?s:/\\*.*?\\*/)|r#\"(?s:.*?)\"#"
                   "|\"(?:[^\"\\\\]|\\\\(?s:.))*\"|'(?:[^'\\\\]|\\\\.)'",
                   "#\\[cfg\\((?:all\\()?test[^\\]]*\\]\\s*mod\\s+\\w+\\s*\\{(?s:.*)"]).

without(Text, Patterns) ->
    lists:foldl(fun(Pattern, Left) -> re:replace(Left, Pattern, "", [global, {return, binary}]) end,
                Text, Patterns).

%% All that a file names of its crate, as absolute paths. Re-exports are no use.
paths(Code, Here) ->
    Used = without(Code, ["\\bpub(?:\\([a-z ]+\\))?\\s+use\\s[^;]*;"]),
    Imports = [Path || {Path, _Name} <- imports(Used)],
    Others = [binary:split(Path, <<"::">>, [global])
              || [Path] <- matches(without(Used, ["\\buse\\s[^;]*;"]),
                                   "(?<![\\w:])((?:\\w+::)+\\w+)")],
    [Absolute || Path <- Imports ++ Others, {path, Absolute} <- [absolute(Path, Here, Code)]].

%% The names that a module and those below it can use as its own, and what they stand for.
exports(Here, Code) ->
    [{Name, absolute(Path, Here, Code)} || {Path, Name} <- imports(Code)].

imports(Code) ->
    lists:append([tree(Tree) || [Tree] <- matches(Code, "\\buse\\s+([^;]*);")]).

absolute([<<"crate">> | Path], _Here, _Code) -> {path, Path};
absolute([<<"self">> | Path], Here, _Code) -> {path, Here ++ Path};
absolute([<<"super">> | Path], Here, _Code) -> {path, up(Path, Here)};
absolute([First | _] = Path, Here, Code) ->
    case re:run(Code, <<"\\bmod\\s+", First/binary, "\\s*;">>) of
        {match, _} -> {path, Here ++ Path};
        %% Another crate's, or a name that was imported.
        nomatch -> foreign
    end.

up([<<"super">> | Path], Here) -> up(Path, lists:droplast(Here));
up(Path, Here) -> lists:droplast(Here) ++ Path.

%% The paths of `a::{self, b::{c, d as e}}', and the names that they get.
tree(Text) ->
    {Paths, []} = branch([], [Token || [Token] <- matches(Text, "(\\w+|[{},*])")]),
    Paths.

branch(Path, [<<"{">> | Tokens]) ->
    branches(Path, Tokens, []);
branch(Path, [<<"as">>, Name | Tokens]) ->
    {[{Path, Name}], Tokens};
branch([_ | _] = Path, [<<"self">> | Tokens]) ->
    branch(Path, Tokens);
branch(Path, [Name | Tokens]) when Name =/= <<",">>, Name =/= <<"}">> ->
    branch(Path ++ [Name], Tokens);
branch(Path, Tokens) ->
    {[{Path, lists:last(Path)}], Tokens}.

branches(_Path, [<<"}">> | Tokens], Found) ->
    {Found, Tokens};
branches(Path, [<<",">> | Tokens], Found) ->
    branches(Path, Tokens, Found);
branches(Path, Tokens, Found) ->
    {Paths, Rest} = branch(Path, Tokens),
    branches(Path, Rest, Found ++ Paths).

%% The module that a path leads into, through what others import.
target(Path, Exports) ->
    Module = longest(Path, Exports),
    case lists:nthtail(length(Module), Path) of
        [Name | Rest] ->
            case lists:keyfind(Name, 1, maps:get(Module, Exports)) of
                {Name, {path, Next}} when Next =/= Path -> target(Next ++ Rest, Exports);
                {Name, foreign} -> none;
                _ItsOwn -> Module
            end;
        [] ->
            Module
    end.

longest(Path, Exports) when is_map_key(Path, Exports) -> Path;
longest(Path, Exports) -> longest(lists:droplast(Path), Exports).

matches(Text, Pattern) ->
    case re:run(Text, Pattern, [global, {capture, all_but_first, binary}]) of
        {match, Matches} -> Matches;
        nomatch -> []
    end.

%% ------------------------------------------------------------------ files

in_root(File) ->
    filename:join(root(filename:dirname(code:which(?MODULE))), File).

%% Common Test runs in a folder of its own.
root(Folder) ->
    case filelib:is_file(filename:join(Folder, "rebar.config")) of
        true -> Folder;
        false -> root(filename:dirname(Folder))
    end.
