%% Asks Python for a square root, the way an application that depends on the library does.
-module(consumer).

-export([sqrt/1, main/0]).

-spec sqrt(number()) -> {ok, float()} | {error, term()}.
sqrt(Number) ->
    {ok, _Contexts} = py_context_router:start(),
    py_context:call(py_context_router:get_context(), math, sqrt, [Number]).

%% For `erl -s consumer main`: prints the result and stops the VM.
-spec main() -> no_return().
main() ->
    io:format("~p~n", [sqrt(16)]),
    halt(0).
