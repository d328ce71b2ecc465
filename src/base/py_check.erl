%% @private Arguments that several functions take, checked and brought into one form.
%%
%% Pure functions for the calling process. A bad argument is a `badarg' of the function that was
%% called from outside; nothing here returns an error.
-module(py_check).

-export([name/3, named/3, lists/3, text/3, utf8/3, without_nul/3, path/3]).
-export([module_name/2, function_name/2]).

-include("py_check.hrl").

-define(IS_NAME(N), (is_atom(N) orelse is_binary(N))).
-define(NOT_PAIRS, <<"neither a map nor a list of pairs">>).

%% A name; it is argument `N' of `All'.
-spec name(py_context:name(), pos_integer(), py_error:called()) -> atom() | binary().
name(Name, _N, _All) when ?IS_NAME(Name) ->
    Name;
name(Name, N, All) when is_list(Name) ->
    try unicode:characters_to_binary(Name) of
        Binary when is_binary(Binary) -> Binary;
        _ -> ?BADARG(All, {argument, N, <<"not a name">>})
    catch
        error:badarg -> ?BADARG(All, {argument, N, <<"not a name">>})
    end;
name(_Name, N, All) ->
    ?BADARG(All, {argument, N, <<"not a name: an atom, a binary or a string is needed">>}).

%% Names as keys: strings become binaries, pairs a map. A name given twice is refused: one of the
%% values would be lost.
-spec named(py_context:kwargs() | py_context:locals(), pos_integer(), py_error:called()) ->
    #{atom() | binary() => term()}.
named(Empty, _N, _All) when Empty =:= #{}; Empty =:= [] ->
    #{};
named(#{'__struct__' := _}, N, All) ->
    ?BADARG(All, {argument, N, <<"a struct, not a map of names and values">>});
named(Map, N, All) when is_map(Map) ->
    named(maps:to_list(Map), N, All);
named(Pairs, N, All) when is_list(Pairs) ->
    Map = named(Pairs, #{}, N, All),
    case length(Pairs) =:= map_size(Map) of
        true -> Map;
        false -> ?BADARG(All, {argument, N, <<"a name is given twice">>})
    end;
named(_Other, N, All) ->
    ?BADARG(All, {argument, N, ?NOT_PAIRS}).

-spec named(term(), Map, pos_integer(), py_error:called()) -> Map
    when Map :: #{atom() | binary() => term()}.
named([{Key, Value} | Pairs], Map, N, All) ->
    named(Pairs, Map#{name(Key, N, All) => Value}, N, All);
named([], Map, _N, _All) ->
    Map;
named(_Other, _Map, N, All) ->
    ?BADARG(All, {argument, N, ?NOT_PAIRS}).

%% The arguments of many calls.
-spec lists(term(), pos_integer(), py_error:called()) -> [py_context:args()].
lists(Lists, N, All) ->
    case is_list_of_lists(Lists) of
        true -> Lists;
        false -> ?BADARG(All, {argument, N, <<"not a list of lists of arguments">>})
    end.

-spec is_list_of_lists(term()) -> boolean().
is_list_of_lists([Args | Lists]) when is_list(Args) -> is_list_of_lists(Lists);
is_list_of_lists(Lists) -> Lists =:= [].

%% Source text, as a binary. It is argument `N' of `All'.
-spec text(py_context:source(), pos_integer(), py_error:called()) -> binary().
text(Source, _N, _All) when is_binary(Source) ->
    Source;
text(Source, N, All) when is_list(Source) ->
    try unicode:characters_to_binary(Source) of
        Text when is_binary(Text) -> Text;
        _ -> ?BADARG(All, {argument, N, <<"not text in UTF-8">>})
    catch
        error:badarg -> ?BADARG(All, {argument, N, <<"not text">>})
    end;
text(_Source, N, All) ->
    ?BADARG(All, {argument, N, <<"not text: a binary, a string or iodata is needed">>}).

%% Text that goes beyond Python source, where nobody looks at a binary any more.
-spec utf8(term(), pos_integer(), py_error:called()) -> binary().
utf8(Given, N, All) ->
    Text = text(Given, N, All),
    case unicode:characters_to_binary(Text) of
        Text -> Text;
        _ -> ?BADARG(All, {argument, N, <<"not text in UTF-8">>})
    end.

%% An empty path would be the working directory.
-spec path(term(), pos_integer(), py_error:called()) -> binary().
path(Given, N, All) ->
    case utf8(Given, N, All) of
        <<>> -> ?BADARG(All, {argument, N, <<"an empty path">>});
        Path ->
            case binary:match(Path, <<0>>) of
                nomatch -> Path;
                _ -> ?BADARG(All, {argument, N, <<"no path: it contains a NUL">>})
            end
    end.

-spec without_nul(binary(), pos_integer(), py_error:called()) -> binary().
without_nul(Text, N, All) ->
    case binary:match(Text, <<0>>) of
        nomatch -> Text;
        _ -> ?BADARG(All, {argument, N, <<"text with a NUL character">>})
    end.

%% The name of a Python module, which may be dotted.
-spec module_name(py_context:name(), py_error:called()) -> binary().
module_name(Module, All) ->
    Name = case name(Module, 1, All) of
               Atom when is_atom(Atom) -> atom_to_binary(Atom);
               Binary -> Binary
           end,
    case re:run(utf8(Name, 1, All), <<"^[^\\W\\d]\\w*(\\.[^\\W\\d]\\w*)*$"/utf8>>,
                [unicode, ucp, dollar_endonly, {capture, none}]) of
        match -> Name;
        nomatch -> ?BADARG(All, {argument, 1, <<"not a module's name">>})
    end.

%% A name for a function that Python can call.
-spec function_name(term(), py_error:called()) -> binary().
function_name(Name, _All) when is_atom(Name) ->
    atom_to_binary(Name);
function_name(Name, All) ->
    try unicode:characters_to_binary(Name) of
        Binary when is_binary(Binary), Binary =/= <<>> -> Binary;
        _ -> ?BADARG(All, {argument, 1, <<"not a name">>})
    catch
        error:badarg -> ?BADARG(All, {argument, 1, <<"not a name">>})
    end.
