%% The table of docs/parity.md: what differs from plain Python by design.
-module(parity_table).

-export([rows/1, allowed/4]).
-export_type([row/0]).

-type row() :: #{program := string(), modes := all | [atom()], ways := all | [atom()],
                 python := all | {from | before, {integer(), integer()}}}.

%% @doc The rows of the table that has the column Program. A row that can't be read is an error.
-spec rows(binary()) -> [row()].
rows(Page) ->
    Lines = binary:split(Page, <<"\n">>, [global]),
    [_Head, _Rule | Rows] =
        lists:takewhile(fun is_row/1,
                        lists:dropwhile(fun(Line) -> not is_head(Line) end, Lines)),
    [row([string:trim(Cell) || Cell <- string:split(string:trim(Row, both, "| "), "|", all)])
     || Row <- Rows].

is_head(Line) -> re:run(Line, "^\\| *Program *\\|", [{capture, none}]) =:= match.

is_row(Line) -> binary:match(Line, <<"|">>) =:= {0, 1}.

row([Program, Modes, Ways, Python, What, Why]) when What =/= <<>>, Why =/= <<>> ->
    #{program => binary_to_list(string:trim(Program, both, "`")),
      modes => some(Modes, [worker, subinterp, owngil]),
      ways => some(Ways, ['py_context:exec', 'py:exec']),
      python => versions(Python)};
row(Cells) ->
    error({no_row_of_six_cells, Cells}).

some(<<"all">>, _Known) ->
    all;
some(Text, Known) ->
    [hd([Each || Each <- Known, atom_to_list(Each) =:= string:trim(Name, both, "` ")])
     || Name <- string:split(binary_to_list(Text), ",", all)].

versions(<<"all">>) -> all;
versions(<<"from ", Version/binary>>) -> {from, version(Version)};
versions(<<"before ", Version/binary>>) -> {before, version(Version)}.

version(Text) ->
    [Major, Minor] = binary:split(Text, <<".">>),
    {binary_to_integer(Major), binary_to_integer(Minor)}.

%% @doc The names of the programs that differ in a mode, a way and a version of Python.
-spec allowed([row()], py_context:context_mode(), parity_context:way(), {integer(), integer()}) ->
    [string()].
allowed(Rows, Mode, Way, Version) ->
    [Name || #{program := Name, modes := Modes, ways := Ways, python := Python} <- Rows,
             holds(Mode, Modes), holds(Way, Ways), is_version(Version, Python)].

holds(_, all) -> true;
holds(One, Some) -> lists:member(One, Some).

is_version(_, all) -> true;
is_version(Version, {from, First}) -> Version >= First;
is_version(Version, {before, First}) -> Version < First.
