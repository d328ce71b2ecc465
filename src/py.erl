%% @doc What the linked Python is, and what it can do.
-module(py).

-export([version/0, subinterp_supported/0, owngil_supported/0]).

%% @doc The version of the Python that the library is linked with, such as `{ok, <<"3.13.0">>}'.
%% Starts nothing. `{error, {python_not_found, Tried}}' if its libpython is missing.
-spec version() -> {ok, binary()} | {error, py_python:start_error()}.
version() ->
    case py_python:load() of
        ok -> {ok, py_nif:version()};
        {error, _} = Error -> Error
    end.

%% @doc Whether contexts can have an interpreter of their own that shares the GIL.
-spec subinterp_supported() -> boolean().
subinterp_supported() ->
    supports(subinterp).

%% @doc Whether contexts can have an interpreter with a GIL of its own: from CPython 3.12 (PEP 684).
-spec owngil_supported() -> boolean().
owngil_supported() ->
    supports(owngil).

-spec supports(py_context:context_mode()) -> boolean().
supports(Mode) ->
    py_python:load() =:= ok andalso py_nif:check_mode(Mode) =:= ok.
