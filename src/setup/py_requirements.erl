%% @private What is to be installed in a virtual environment: as arguments of pip and uv, and as
%% a stamp that tells whether it has changed.
%%
%% A stamp is made of the arguments and of all that they name on this machine: requirement files
%% and those that these include, archives, and the files of projects. Runs in the calling
%% process, and never installs anything.
-module(py_requirements).

-include_lib("kernel/include/file.hrl").

-export([check/2, arguments/1, stamp/1]).

-include("../base/py_check.hrl").

-type seen() :: #{binary() => []}.
%% The requirement files that have been read.

%% Lines of a requirement file that name another one, and the options with which they name a
%% project.
-define(INCLUDES, "^(?:-r|-c|--requirement|--constraint)[ =]*(.+)$").
-define(EDITABLE, "^(?:-e|--editable)[ =]*(.+)$").
%% Of a larger file only its size and time are looked at, in bytes.
-define(MAX_HASHED_SIZE, 1_000_000).

%% Before there is an environment that they could not be installed in.
-spec check(term(), py_error:called()) -> ok.
check(Path, Called) when is_binary(Path) ->
    _ = py_check:path(Path, 2, Called),
    ok;
check([Character | _] = Path, Called) when is_integer(Character) ->
    _ = py_check:path(Path, 2, Called),
    ok;
check(Specs, Called) when length(Specs) >= 0 ->
    lists:foreach(fun(Spec) -> check_one(py_check:utf8(Spec, 2, Called), Called) end, Specs);
check(_Other, Called) ->
    ?BADARG(Called, {argument, 2, <<"neither a list of requirements nor a path">>}).

-spec check_one(binary(), py_error:called()) -> ok.
check_one(Spec, Called) ->
    case flaw(Spec) of
        ok -> ok;
        Flaw -> ?BADARG(Called, {argument, 2, Flaw})
    end.

%% What is wrong with a requirement of a list, in words. An option in the place of a requirement
%% could have pip take packages from anywhere, or write anywhere.
-spec flaw(binary()) -> ok | binary().
flaw(Spec) ->
    case {string:trim(Spec), binary:match(Spec, <<0>>)} of
        {<<>>, _} -> <<"an empty requirement">>;
        {<<"-", _/binary>>, _} ->
            <<"a requirement that begins with -: options go into a requirements.txt">>;
        {_, nomatch} -> ok;
        {_, _} -> <<"no requirement: it contains a NUL">>
    end.

%% What pip and uv take for them.
-spec arguments(py_venv:requirements()) -> [binary()].
arguments([]) ->
    [];
arguments(Path) when is_binary(Path) ->
    case filename:extension(Path) of
        <<".txt">> -> [<<"-r">>, filename:absname(Path)];
        <<".toml">> -> [filename:dirname(filename:absname(Path))];
        _ -> [filename:absname(Path)]
    end;
arguments([Character | _] = Path) when is_integer(Character) ->
    arguments(unicode:characters_to_binary(Path));
arguments(Specs) ->
    [unicode:characters_to_binary(Spec) || Spec <- Specs].

%% Not for security: equal means unchanged.
-spec stamp([binary()]) -> binary().
stamp(Arguments) ->
    {_, Named} = named(Arguments, <<".">>, #{}),
    Hash = binary:encode_hex(erlang:md5(term_to_binary({Arguments, Named}))),
    <<Hash/binary, "\n">>.

%% What each of some requirements names, relative to a folder; and the files that have been read
%% so far.
-spec named([binary()], file:filename_all(), seen()) -> {seen(), [term()]}.
named([<<"-r">>, File | Specs], Folder, Seen) ->
    {Read, Named} = included(File, Folder, Seen),
    {All, Others} = named(Specs, Folder, Read),
    {All, [Named | Others]};
named([Spec | Specs], Folder, Seen) ->
    {Read, Named} = named_by(string:trim(without_comment(Spec)), Folder, Seen),
    {All, Others} = named(Specs, Folder, Read),
    {All, [Named | Others]};
named([], _Folder, Seen) ->
    {Seen, []}.

-spec named_by(binary(), file:filename_all(), seen()) -> {seen(), term()}.
named_by(Spec, Folder, Seen) ->
    case {captured(Spec, ?INCLUDES), captured(Spec, ?EDITABLE)} of
        {{ok, File}, _} -> included(File, Folder, Seen);
        {_, {ok, Project}} -> {Seen, contents(Project, Folder)};
        {none, none} -> {Seen, contents(Spec, Folder)}
    end.

-spec without_comment(binary()) -> binary().
without_comment(Line) ->
    re:replace(Line, "(?:^|\\s)#.*$", "", [{return, binary}]).

-spec captured(binary(), string()) -> {ok, binary()} | none.
captured(Text, Pattern) ->
    case re:run(Text, Pattern, [{capture, all_but_first, binary}]) of
        {match, [Captured]} -> {ok, string:trim(Captured)};
        nomatch -> none
    end.

%% A requirement file, with what it names. One that includes itself is read once.
-spec included(binary(), file:filename_all(), seen()) -> {seen(), term()}.
included(File, Folder, Seen) ->
    Path = filename:join(Folder, File),
    case is_map_key(Path, Seen) orelse file:read_file(Path) of
        {ok, Content} ->
            Lines = binary:split(Content, [<<"\n">>, <<"\r">>], [global, trim_all]),
            {All, Named} = named(Lines, filename:dirname(Path), Seen#{Path => []}),
            {All, {Content, Named}};
        _SeenOrError ->
            {Seen, File}
    end.

%% Of what a requirement names in the file system, if it does: relative to its file or, as for
%% pip, to the working directory.
-spec contents(binary(), file:filename_all()) -> [term()].
contents(Spec, Folder) ->
    Path = path(Spec),
    [content(Found) || Path =/= <<>>,
                       Found <- lists:usort([filename:join(Folder, Path), filename:absname(Path)])].

%% An archive, or a project; nothing else can be installed.
-spec content(file:filename_all()) -> term().
content(Path) ->
    Makers = [filename:join(Path, Maker) || Maker <- [<<"pyproject.toml">>, <<"setup.py">>]],
    case {filelib:is_regular(Path), lists:any(fun filelib:is_regular/1, Makers)} of
        {true, _} -> hash(file:read_file(Path));
        {_, true} -> folder(Path);
        {_, _} -> none
    end.

%% `./project[extra]', `name @ file:///project', `file:///project'.
-spec path(binary()) -> binary().
path(Spec) ->
    case captured(Spec, "(?:^|@ *)file://(/[^ ;#]+)") of
        {ok, Path} -> Path;
        none -> re:replace(Spec, "(?:\\[[^]]*\\])?\\s*(?:[;#].*)?$", "", [{return, binary}])
    end.

-spec folder(file:filename_all()) -> term().
folder(Path) ->
    case file:list_dir_all(Path) of
        {ok, Names} -> [{Name, entry(filename:join(Path, Name))}
                        || Name <- lists:sort(Names), not is_made(Path, Name)];
        {error, Reason} -> Reason
    end.

-spec entry(file:filename_all()) -> term().
entry(Path) ->
    case file:read_link_info(Path, [raw, {time, posix}]) of
        {ok, #file_info{type = directory}} -> folder(Path);
        {ok, #file_info{type = regular, size = Size, mtime = Time}} when Size > ?MAX_HASHED_SIZE ->
            {Size, Time};
        {ok, #file_info{type = regular}} -> hash(file:read_file(Path));
        {ok, #file_info{type = symlink}} -> file:read_link_all(Path);
        {ok, #file_info{type = Other}} -> Other;
        {error, Reason} -> Reason
    end.

%% Made by installing a project, by running it, or beside it.
-spec is_made(file:filename_all(), file:filename_all()) -> boolean().
is_made(_Folder, [$. | _]) ->
    true;
is_made(Folder, Name) ->
    lists:member(Name, ["__pycache__", "build", "dist", "node_modules"])
        orelse filename:extension(Name) =:= ".egg-info"
        orelse filelib:is_regular(filename:join([Folder, Name, <<"pyvenv.cfg">>])).

-spec hash({ok, binary()} | {error, term()}) -> term().
hash({ok, Content}) -> erlang:md5(Content);
hash({error, Reason}) -> Reason.
