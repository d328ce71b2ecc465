%% @private Environment variables, of the VM and of Python at once.
%%
%% The VM keeps its own copy of the variables that it was started with, Python another in each
%% interpreter (`os.environ'), which also writes to the OS process's. A change in one doesn't
%% reach the others by itself. Runs in the calling process; Python's side of the main
%% interpreter, in which all workers run, is a context of its own, so that it never waits for a
%% worker.
-module(py_environment).

-export([put/2, get/1, unset/1]).

-define(CODE_PUT, <<"__import__('os').environ.__setitem__(name, value)">>).
-define(CODE_UNSET, <<"(__import__('os').environ.pop(name, None), None)[1]">>).
-define(CODE_GET, <<"__import__('os').environ.get(name)">>).

-spec put(binary(), binary()) -> ok | {error, term()}.
put(Name, Value) ->
    true = os:putenv(unicode:characters_to_list(Name), unicode:characters_to_list(Value)),
    everywhere(?CODE_PUT, #{name => Name, value => Value}).

-spec unset(binary()) -> ok | {error, term()}.
unset(Name) ->
    true = os:unsetenv(unicode:characters_to_list(Name)),
    everywhere(?CODE_UNSET, #{name => Name}).

%% What Python has, else what the VM has.
-spec get(binary()) -> {ok, binary() | false} | {error, term()}.
get(Name) ->
    case in_main(?CODE_GET, #{name => Name}) of
        {ok, none} -> {ok, of_the_vm(Name)};
        Other -> Other
    end.

-spec of_the_vm(binary()) -> binary() | false.
of_the_vm(Name) ->
    case os:getenv(unicode:characters_to_list(Name)) of
        false -> false;
        Value -> unicode:characters_to_binary(Value)
    end.

%% First where later interpreters have it from: the OS process's variables.
-spec everywhere(binary(), map()) -> ok | {error, term()}.
everywhere(Code, Locals) ->
    case in_main(Code, Locals) of
        {ok, none} ->
            case py_each_context:in_each_subinterpreter(Code, Locals) of
                {ok, _} -> ok;
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

-spec in_main(binary(), map()) -> {ok, term()} | {error, term()}.
in_main(Code, Locals) ->
    case py_context:new(#{mode => worker}) of
        {ok, Ctx} ->
            Result = py_context:eval(Ctx, Code, Locals),
            ok = py_context:stop(Ctx),
            Result;
        {error, _} = Error ->
            Error
    end.
