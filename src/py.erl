%% @doc What the linked Python is and can do, and the Erlang functions that it can call.
-module(py).

-export([version/0, subinterp_supported/0, owngil_supported/0]).
-export([register_function/2, register_function/3, unregister_function/1]).

-define(BADARG(Args, Cause),
        erlang:error(badarg, Args, [{error_info, #{module => py_error, cause => Cause}}])).

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

%% @doc Lets Python code call `Fun' as `erlang.call("Name", *args)', as `erlang.Name(*args)', or
%% after `from erlang import Name', with as many arguments as the fun takes. It runs in a process of
%% its own, and Python waits for its result; an exception arrives as `erlang.Error'. A function that
%% had the name is replaced. Register at start, not per call: each time the VM scans all processes
%% for the old function.
-spec register_function(py_callback:name(), fun()) -> ok.
register_function(Name, Fun) when is_function(Fun) ->
    register_checked(Name, Fun, [Name, Fun]);
register_function(Name, Fun) ->
    ?BADARG([Name, Fun], {argument, 2, <<"not a fun">>}).

%% @doc The same with `Module:Function'.
-spec register_function(py_callback:name(), module(), Function :: atom()) -> ok.
register_function(Name, Module, Function) when is_atom(Module), is_atom(Function) ->
    register_checked(Name, {Module, Function}, [Name, Module, Function]);
register_function(Name, Module, Function) ->
    ?BADARG([Name, Module, Function], <<"module and function must be atoms">>).

%% @doc Python code can't call it any more. Idempotent.
-spec unregister_function(py_callback:name()) -> ok.
unregister_function(Name) ->
    Known = function_name(Name, [Name]),
    case whereis(py_callback) of
        undefined -> ok;
        _ -> py_callback:unregister(Known)
    end.

-spec register_checked(py_callback:name(), py_callback:target(), [term()]) -> ok.
register_checked(Name, Function, Args) ->
    Known = function_name(Name, Args),
    case application:ensure_all_started(py_context_router) of
        {ok, _} -> py_callback:register(Known, Function);
        {error, {_, Reason}} -> erlang:error(Reason, Args)
    end.

-spec function_name(term(), [term()]) -> binary().
function_name(Name, _Args) when is_atom(Name) ->
    atom_to_binary(Name);
function_name(Name, Args) ->
    try unicode:characters_to_binary(Name) of
        Binary when is_binary(Binary), Binary =/= <<>> -> Binary;
        _ -> ?BADARG(Args, {argument, 1, <<"not a name">>})
    catch
        error:badarg -> ?BADARG(Args, {argument, 1, <<"not a name">>})
    end.
