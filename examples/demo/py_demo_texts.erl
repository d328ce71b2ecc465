%% Finds and reads the texts, and cuts them into pieces.
-module(py_demo_texts).

-export([read/1, pieces/2, paragraphs/1]).

-export_type([text/0, found/0]).

-type text() :: #{name := unicode:chardata(), content := binary()}.
-type found() :: #{from := unicode:chardata(), texts := [text(), ...],
                   skipped := non_neg_integer(), left := non_neg_integer()}.
%% `skipped': files of a folder that are no text. `left': files beyond the demo's limits.

-define(LICENCES, "/usr/share/common-licenses").
%% All texts are kept in memory.
-define(MOST_FILES, 1_000).
-define(MOST_BYTES, 100_000_000).
-define(LONGEST_PARAGRAPH, 50_000).

%% Texts of the given files and folders; without any, the licences that Debian has.
-spec read([string()]) -> {ok, found()} | {error, unicode:chardata()}.
read([]) ->
    case filelib:is_dir(?LICENCES) of
        true -> read([?LICENCES]);
        %% Not on Debian: the texts of this repository.
        false -> read([filename:join(root(), Name) || Name <- ["LICENSE", "README.md"]])
    end;
read(Paths) ->
    read(Paths, #{from => lists:join(", ", Paths), texts => [], skipped => 0, left => 0}).

-spec root() -> file:filename().
root() ->
    {ok, [[Root]]} = init:get_argument(root_of_demo),
    Root.

-spec read([string()], map()) -> {ok, found()} | {error, unicode:chardata()}.
read([], #{texts := Texts} = Found) ->
    {ok, Found#{texts := lists:reverse(Texts)}};
read([Path | Paths], Found) ->
    Added = case file_type(Path) of
                directory -> read_folder(Path, Found);
                regular -> read_named(Path, Found);
                {error, Why} -> {error, [Path, ": ", file:format_error(Why)]};
                _ -> {error, [Path, " is neither a file nor a folder"]}
            end,
    case Added of
        {error, _} = Error -> Error;
        _ -> read(Paths, Added)
    end.

-spec file_type(file:name_all()) -> atom() | {error, file:posix() | badarg}.
file_type(Path) ->
    case file:read_file_info(Path, [raw]) of
        {ok, Info} -> element(3, Info);
        {error, _} = Error -> Error
    end.

%% A file that was named must be text.
-spec read_named(string(), map()) -> map() | {error, unicode:chardata()}.
read_named(Path, Found) ->
    case add(Path, filename:basename(Path), Found) of
        {error, Why} -> {error, [Path, Why]};
        Added -> Added
    end.

%% The text files of a folder. Links are not followed: they may lead outside or in circles.
-spec read_folder(string(), map()) -> map() | {error, unicode:chardata()}.
read_folder(Folder, #{texts := Before} = Found) ->
    case walk(Folder, "", Found) of
        #{texts := Before} -> {error, ["there is no text file in ", Folder]};
        #{} = Added -> Added;
        {error, Why} -> {error, [Folder, ": ", file:format_error(Why)]}
    end.

-spec walk(file:name_all(), file:name_all(), map()) -> map() | {error, term()}.
walk(Folder, Prefix, Found) ->
    case file:list_dir_all(Folder) of
        {ok, Names} -> lists:foldl(fun(Name, Acc) -> visit(Folder, Prefix, Name, Acc) end, Found,
                                   lists:sort(Names));
        {error, _} = Error -> Error
    end.

-spec visit(file:name_all(), file:name_all(), file:name_all(), map()) -> map().
visit(Folder, Prefix, Name, Found) ->
    Path = filename:join(Folder, Name),
    Shown = case Prefix of
                "" -> Name;
                _ -> filename:join(Prefix, Name)
            end,
    case {hidden(Name), file:read_link_info(Path, [raw])} of
        {true, _} -> Found;
        {false, {ok, Info}} when element(3, Info) =:= directory ->
            case walk(Path, Shown, Found) of
                {error, _} -> skip(Found);
                Added -> Added
            end;
        {false, {ok, Info}} when element(3, Info) =:= regular ->
            case add(Path, Shown, Found) of
                {error, _} -> skip(Found);
                Added -> Added
            end;
        _ -> Found
    end.

-spec hidden(file:name_all()) -> boolean().
hidden("." ++ _) -> true;
hidden(<<".", _/binary>>) -> true;
hidden(_) -> false.

-spec skip(map()) -> map().
skip(#{skipped := Skipped} = Found) ->
    Found#{skipped := Skipped + 1}.

-spec add(file:name_all(), file:name_all(), map()) -> map() | {error, unicode:chardata()}.
add(Path, Shown, #{texts := Texts, left := Left} = Found) ->
    Bytes = lists:sum([byte_size(Content) || #{content := Content} <- Texts]),
    case length(Texts) >= ?MOST_FILES orelse Bytes + filelib:file_size(Path) > ?MOST_BYTES of
        true when Texts =:= [] -> {error, " is larger than the 100 MB that this demo takes"};
        true -> Found#{left := Left + 1};
        false -> add_content(file:read_file(Path), Shown, Found)
    end.

-spec add_content({ok, binary()} | {error, term()}, file:name_all(), map()) ->
    map() | {error, unicode:chardata()}.
add_content({error, Why}, _Shown, _Found) ->
    {error, [": ", file:format_error(Why)]};
add_content({ok, <<>>}, _Shown, _Found) ->
    {error, " is empty"};
add_content({ok, Content}, Shown, #{texts := Texts} = Found) ->
    case binary:match(Content, <<0>>) =:= nomatch andalso is_utf8(Content) of
        true -> Found#{texts := [#{name => printable(Shown), content => Content} | Texts]};
        false -> {error, " is not text in UTF-8"}
    end.

-spec is_utf8(binary()) -> boolean().
is_utf8(Content) ->
    is_binary(unicode:characters_to_binary(Content)).

%% File names are bytes and may be no text.
-spec printable(file:name_all()) -> unicode:chardata().
printable(Name) ->
    case unicode:characters_to_binary(Name) of
        Text when is_binary(Text) -> Text;
        _ -> unicode:characters_to_binary(Name, latin1)
    end.

%% About `Count' pieces of all texts together, each with the number of its text.
-spec pieces([text(), ...], pos_integer()) -> [{pos_integer(), binary()}].
pieces(Texts, Count) ->
    Total = lists:sum([byte_size(Content) || #{content := Content} <- Texts]),
    Size = max(200, Total div Count),
    Numbered = lists:zip(lists:seq(1, length(Texts)), Texts),
    [{N, Piece} || {N, #{content := Content}} <- Numbered, Piece <- cut(Content, Size)].

%% Each paragraph with the blank line after it, so that nothing is lost.
-spec paragraphs(binary()) -> [binary()].
paragraphs(Piece) ->
    cut(Piece, 1).

%% Cuts at blank lines, where every sentence ends, so that the sums over the pieces are those of the
%% whole text. A long stretch without a blank line is cut at any line.
-spec cut(binary(), pos_integer()) -> [binary()].
cut(Content, Size) when byte_size(Content) =< Size ->
    [Content];
cut(Content, Size) ->
    Near = min(?LONGEST_PARAGRAPH, byte_size(Content) - Size),
    Far = byte_size(Content) - Size - Near,
    case first_match(Content, [{<<"\n\n">>, Size, Near}, {<<"\n">>, Size + Near, Far}]) of
        End when is_integer(End), End < byte_size(Content) ->
            <<Piece:End/binary, Rest/binary>> = Content,
            [Piece | cut(Rest, Size)];
        _ -> [Content]
    end.

%% The end of the first match of the first pattern that occurs in its part of the content.
-spec first_match(binary(), [{binary(), From :: pos_integer(), Length :: non_neg_integer()}]) ->
    nomatch | pos_integer().
first_match(_Content, []) ->
    nomatch;
first_match(Content, [{Pattern, From, Length} | Others]) ->
    case binary:match(Content, Pattern, [{scope, {From, Length}}]) of
        {At, Size} -> At + Size;
        nomatch -> first_match(Content, Others)
    end.
