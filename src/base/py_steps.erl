%% @private Steps that each end in `ok' or an error, until the first error.
%%
%% Runs in the calling process.
-module(py_steps).

-export([run/1]).

-spec run([fun(() -> ok | {error, Error})]) -> ok | {error, Error}.
run([]) ->
    ok;
run([Step | Steps]) ->
    case Step() of
        ok -> run(Steps);
        {error, _} = Error -> Error
    end.
