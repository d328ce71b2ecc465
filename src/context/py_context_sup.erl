%% @doc Single contexts under the application's supervisor, outside any pool.
%%
%% They are temporary: a context's variables are gone when it dies, and nobody would find the
%% replacement's pid. A pool is for those who want one.
-module(py_context_sup).

-behaviour(supervisor).

-export([start_link/0, start_context/2, stop_context/1, which_contexts/0]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Starts a context that outlives the caller. `Id' is a name for it in reports, any term.
%% Starts the application first if it isn't running.
-spec start_context(Id :: term(), py_context:context_mode()) -> {ok, pid()} | {error, term()}.
start_context(Id, Mode) ->
    case py_options:context(#{mode => Mode}) of
        {ok, Options} -> start_checked(Id, Options);
        {error, _} = Error -> Error
    end.

%% @doc Stops a context started by `start_context/2'. Idempotent.
-spec stop_context(pid()) -> ok.
stop_context(Pid) ->
    py_context:stop(Pid).

%% @doc The living contexts started by `start_context/2'.
-spec which_contexts() -> [pid()].
which_contexts() ->
    try
        [Pid || {_, Pid, _, _} <- supervisor:which_children(?MODULE), is_pid(Pid)]
    catch
        %% The supervisor isn't there, or has just died.
        exit:_ -> []
    end.

-spec start_checked(term(), py_options:context()) -> {ok, pid()} | {error, term()}.
start_checked(Id, Options) ->
    py_context_server:start_and_await(fun() -> start_child(Id, Options) end, Options).

-spec start_child(term(), py_options:context()) -> {ok, pid()} | {error, term()}.
start_child(Id, #{mode := Mode} = Options) ->
    try
        supervisor:start_child(?MODULE, [Id, Options])
    catch
        %% The supervisor has just died, and the context that it was about to start with
        %% it.
        exit:{_, {gen_server, call, [?MODULE | _]}} ->
            case py_app:ensure_started(Mode) of
                ok -> start_child(Id, Options);
                {error, _} = Error -> Error
            end
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Context = #{id => py_context,
                start => {py_context_server, start_link, []},
                restart => temporary,
                shutdown => infinity,
                modules => [py_context_server]},
    {ok, {#{strategy => simple_one_for_one}, [Context]}}.
