%% A numpy model in a pool of its own. Its callers do not name the pool: the model's module is
%% registered for it.
-module(numpy_model).

-export([main/0]).

main() ->
    {ok, Here} = file:get_cwd(),
    {ok, Version} = py:version(),
    Venv = filename:join([Here, "_build", "examples", "numpy-venv-" ++ binary_to_list(Version)]),
    Print = fun(Line) -> io:format("  | ~ts~n", [Line]) end,
    ok = py:ensure_venv(Venv, [<<"numpy">>], #{progress => Print}),
    ok = py:add_path(filename:join([Here, "examples", "numpy_model"])),

    %% Workers: numpy runs in the main interpreter only, and releases the GIL while it computes.
    {ok, Contexts} = py_context_router:start_pool(models, #{contexts => 2, mode => worker,
                                                            preload => <<"import model">>}),
    ok = py_context_router:register_pool(models, model),

    {ok, [Prediction]} = py:call(model, predict, [[[1.0, 1.0, 1.0]]]),
    io:format("2 - 1 + 0.5 + 3 is about ~.2f~n", [Prediction]),
    true = abs(Prediction - 4.5) < 0.05,

    %% Two hundred requests at once, each of ten rows.
    {Micros, Answers} = timer:tc(fun() -> predictions(200) end),
    io:format("~b predictions from ~b requests in ~.1f ms~n",
              [lists:sum([length(A) || A <- Answers]), length(Answers), Micros / 1000]),

    %% All of it ran in the pool, nothing elsewhere.
    Threads = [maps:get(thread_id, py_context:info(Ctx)) || Ctx <- Contexts],
    Served = lists:usort([begin {ok, Thread} = py:call(model, where, []), Thread end
                          || _ <- lists:seq(1, 20)]),
    [] = Served -- Threads,
    false = py:contexts_started(),
    io:format("served by the pool's threads ~w~n", [Served]),
    ok = py_context_router:stop_pool(models).

predictions(Requests) ->
    Self = self(),
    Ask = fun(N) ->
        Rows = [[float(N), float(Row), 1.0] || Row <- lists:seq(1, 10)],
        {ok, Answer} = py:call(model, predict, [Rows]),
        Self ! {self(), Answer}
    end,
    Pids = [spawn_link(fun() -> Ask(N) end) || N <- lists:seq(1, Requests)],
    [receive {Pid, Answer} -> Answer end || Pid <- Pids].
