%% @private Sends for Python where native code can't: to other nodes, and to `{Name, Node}'.
%%
%% One process, so that what one sender sends to one receiver stays in order. A slow connection
%% blocks it, and then the bound of what may be in flight blocks the Python code that sends. It
%% never raises.
-module(py_sender).

-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, undefined}.
init([]) ->
    ok = py_nif:register_service(py_sender),
    {ok, undefined}.

-spec handle_call(term(), gen_server:from(), undefined) -> {noreply, undefined}.
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), undefined) -> {noreply, undefined}.
handle_info({py_send, InFlight, To, Message}, State) ->
    %% Never raises: the address is a pid or a pair of atoms.
    _ = erlang:send(To, Message),
    ok = py_nif:ack(InFlight, 0, 1, 0),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.
