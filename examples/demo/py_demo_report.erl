%% Prints the report. It does not use Python.
-module(py_demo_report).

-export([title/1, section/1, line/2, table/3, number/1, duration/1, percent/2]).

-spec title(unicode:chardata()) -> ok.
title(Text) ->
    io:format("~n~ts~n~ts~n", [Text, lists:duplicate(string:length(Text), $=)]).

-spec section(unicode:chardata()) -> ok.
section(Text) ->
    io:format("~n~ts~n", [Text]).

-spec line(io:format(), [term()]) -> ok.
line(Format, Args) ->
    io:format("  " ++ Format ++ "~n", Args).

%% Columns as wide as their widest cell: numbers flush right, texts flush left.
-spec table([left | right], [unicode:chardata()], [[unicode:chardata()]]) -> ok.
table(Sides, Head, Rows) ->
    Widths = [lists:max([string:length(Cell) || Cell <- Column])
              || Column <- transposed([Head | Rows])],
    lists:foreach(fun(Row) -> row(Sides, Widths, Row) end, [Head | Rows]).

-spec row([left | right], [non_neg_integer()], [unicode:chardata()]) -> ok.
row(Sides, Widths, Cells) ->
    Padded = [string:pad(Cell, Width, padding(Side))
              || {Side, Width, Cell} <- lists:zip3(Sides, Widths, Cells)],
    line("~ts", [string:trim(lists:join("  ", Padded), trailing)]).

-spec padding(left | right) -> leading | trailing.
padding(right) -> leading;
padding(left) -> trailing.

-spec transposed([[T]]) -> [[T]].
transposed([[] | _]) -> [];
transposed(Rows) -> [[hd(Row) || Row <- Rows] | transposed([tl(Row) || Row <- Rows])].

%% With a space between groups of three digits.
-spec number(number()) -> string().
number(N) when is_float(N) ->
    number(round(N));
number(N) when N >= 1000 ->
    number(N div 1000) ++ lists:flatten(io_lib:format(" ~3..0b", [N rem 1000]));
number(N) ->
    integer_to_list(N).

-spec duration(Microseconds :: non_neg_integer()) -> string().
duration(Us) when Us < 1_000 -> lists:flatten(io_lib:format("~b µs", [Us]));
duration(Us) when Us < 10_000 -> lists:flatten(io_lib:format("~.1f ms", [Us / 1_000]));
duration(Us) when Us < 1_000_000 -> lists:flatten(io_lib:format("~b ms", [Us div 1_000]));
duration(Us) -> lists:flatten(io_lib:format("~.1f s", [Us / 1_000_000])).

-spec percent(non_neg_integer(), pos_integer()) -> string().
percent(Part, Whole) ->
    lists:flatten(io_lib:format("~b %", [round(100 * Part / Whole)])).
