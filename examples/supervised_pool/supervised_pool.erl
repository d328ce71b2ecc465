%% Starts the application, uses it from many processes, and shows what it does when Python dies.
-module(supervised_pool).

-export([main/0]).

main() ->
    {ok, Started} = application:ensure_all_started(pricing),
    io:format("started ~p~n", [Started]),

    {ok, Quote} = pricing:quote([{<<"tea">>, 450, 3}, {<<"pot">>, 9_900, 1}]),
    io:format("three teas and a pot: ~s~n", [Quote]),
    <<"106.88">> = Quote,

    {error, Nothing} = pricing:quote([]),
    io:format("no items: ~ts~n", [py_error:format(Nothing)]),

    %% Hundred customers at once.
    Self = self(),
    Customers = [spawn_link(fun() -> Self ! {self(), pricing:quote([{<<"tea">>, 450, N}])} end)
                 || N <- lists:seq(1, 100)],
    Quotes = [receive {Customer, {ok, Q}} -> Q end || Customer <- Customers],
    io:format("~b quotes, the last ~s~n", [length(Quotes), lists:last(Quotes)]),

    %% A context dies: its slot is refilled. Calls go to the other context meanwhile.
    [Killed, _] = py_context_router:contexts(pricing),
    Monitor = monitor(process, Killed),
    exit(Killed, kill),
    receive {'DOWN', Monitor, process, Killed, killed} -> ok end,
    {ok, Quote} = pricing:quote([{<<"tea">>, 450, 3}, {<<"pot">>, 9_900, 1}]),
    io:format("a context was killed; still ~s~n", [Quote]),

    ok = application:stop(pricing),
    false = py_context_router:pool_started(pricing),
    io:format("stopped, and the pool with it~n").
