%% Streams tokens from a model's HTTP API to many processes at once, through one context: while a
%% coroutine waits for its connection, the context serves the others.
%%
%% The model is a fake one, which Python serves on this machine (see tokens.py). Its address is all
%% that a real one would change here.
-module(token_stream).

-behaviour(supervisor).

-export([main/0]).
-export([init/1]).

-define(PROMPTS, 50).

main() ->
    {ok, _} = application:ensure_all_started(py_context_router),
    {ok, Here} = file:get_cwd(),
    ok = py:add_path(filename:join([Here, "examples", "token_stream"])),
    {ok, Supervisor} = supervisor:start_link(?MODULE, []),
    ok = py_context_router:register_pool(model, tokens),

    %% All prompts at once. A token comes each 20 ms: one after the other they would take 10 s.
    Began = erlang:monotonic_time(millisecond),
    Readers = [reader(N) || N <- lists:seq(1, ?PROMPTS)],
    Texts = [receive {Reader, Text} -> Text end || Reader <- Readers],
    true = erlang:monotonic_time(millisecond) - Began < 10_000,
    <<"1 bottles of tea on the wall, 1 bottles of tea">> = hd(Texts),
    io:format("~b texts, the last: ~ts~n", [length(Texts), lists:last(Texts)]),

    %% A reader that has enough ends its stream, and with it the request to the model.
    {ok, Stream} = py:stream_start(tokens, tokens, [<<"endless">>]),
    Some = [receive {py_stream, Stream, {data, Token}} -> Token end || _ <- [1, 2, 3]],
    ok = py:stream_cancel(Stream),
    io:format("three tokens of an endless text: ~p~n", [Some]),

    %% A reader that dies ends its stream, too.
    {Pid, Monitor} = spawn_monitor(fun() ->
        {ok, Its} = py:stream_start(tokens, tokens, [<<"endless">>]),
        receive {py_stream, Its, {data, _}} -> ok end
    end),
    receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
    ok = await_closed(),
    io:format("no request is open~n"),

    true = unlink(Supervisor),
    Stopped = monitor(process, Supervisor),
    true = exit(Supervisor, shutdown),
    receive {'DOWN', Stopped, process, Supervisor, _} -> ok end,
    false = py_context_router:pool_started(model),
    io:format("stopped, and the pool with it~n").

%% The pool is a child like any other. Its preload starts the fake model on the loop of coroutines.
init([]) ->
    Pool = py_context_router:child_spec(#{name => model, contexts => 1,
                                          preload => <<"import tokens\nawait tokens.serve()">>}),
    {ok, {#{strategy => one_for_one}, [Pool]}}.

reader(N) ->
    Parent = self(),
    spawn_link(fun() ->
        {ok, Tokens} = py:stream(tokens, tokens, [integer_to_binary(N)]),
        Parent ! {self(), iolist_to_binary(lists:join($\s, Tokens))}
    end).

await_closed() ->
    case py:eval(py_context_router:get_context(model), <<"__import__('tokens').open_requests">>) of
        {ok, 0} -> ok;
        {ok, _} -> timer:sleep(10), await_closed()
    end.
