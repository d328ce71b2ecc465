%% Whatever arguments the functions of the interface get, the answer is a result, an error with a
%% name or a `badarg', soon; the application goes on as it was, and so do its contexts. The
%% functions are read from the modules, so that new ones are included.
-module(fuzz_api_SUITE).

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([functions_for_users_answer_or_raise_badarg/1, for_users/1,
         no_function_takes_the_application_down/1, internal/1]).

-define(SEED, 42).

%% What users call.
-define(INTERFACE, [py, py_context, py_context_router, py_context_sup, py_error]).

%% Others, in which the interface speaks to processes that all share.
-define(SHARED, [py_async, py_callback_registry, py_options, py_pool, py_pool_stop, py_registry,
                 py_context_setup, py_each_context, py_args, py_stream, py_stream_server]).

all() ->
    [functions_for_users_answer_or_raise_badarg, no_function_takes_the_application_down].

init_per_suite(Config) -> Config.

end_per_suite(_Config) -> ok.

functions_for_users_answer_or_raise_badarg(Config) ->
    fuzz_helpers:passes(?MODULE, for_users, Config).

%% A process that calls these with anything wrong may get any exception: but no other may notice.
no_function_takes_the_application_down(Config) ->
    fuzz_helpers:passes(?MODULE, internal, Config).

%% ------------------------------------------------------------------ in the other VM

for_users(Progress) ->
    fuzz(lists:append([fuzz_helpers:exports(Module) || Module <- ?INTERFACE]), fun accepts/2,
         Progress).

internal(Progress) ->
    fuzz(lists:append([fuzz_helpers:exports(Module) || Module <- ?SHARED]),
         fun(_MFA, Outcome) -> element(1, Outcome) =/= hangs end, Progress).

fuzz(Functions, Accepts, Progress) ->
    %% What is killed on purpose needs no reports on screen.
    ok = logger:set_primary_config(level, none),
    {ok, _} = application:ensure_all_started(py_context_router),
    {ok, _} = py_context_router:start(#{contexts => 1}),
    {ok, Healthy} = py_context:new(#{mode => worker}),
    Before = processes_of_ours(),
    fuzz_helpers:run(#{functions => Functions, samples => samples(), accepts => Accepts,
                       leaves_out => fun is_left_out/2,
                       survives => fun() -> survives(Healthy, Before) end,
                       progress => Progress, seed => ?SEED}).

accepts(_MFA, {returned, _, _}) -> true;
accepts(_MFA, {error, badarg, _}) -> true;
accepts(_MFA, _Outcome) -> false.

%% The application's own processes are those that were there, and a context serves.
survives(Healthy, Before) ->
    case {processes_of_ours() -- Before, Before -- processes_of_ours()} of
        {[], []} -> {ok, 2} =:= py_context:eval(Healthy, <<"1 + 1">>, #{}, 5_000) orelse no_answer;
        Changed -> {processes, Changed}
    end.

%% Those of pools come and go.
processes_of_ours() ->
    [{Name, whereis(Name)} || Name <- [py_context_router_sup, py_registry, py_callback_registry,
                                       py_callback_pool, py_pool_sup, py_pool_restorer,
                                       py_context_sup, py_output, py_log, py_sender,
                                       py_service_sup, py_async, py_context_setup]].

samples() ->
    Name = fun() -> math end,
    #{{builtin, pid} => fun context/0,
      {builtin, reference} => fun make_ref/0,
      {py_context, name} => Name,
      {py_context, source} => fun() -> <<"1">> end,
      {py_context, args} => fun() -> [4] end,
      {py_context, kwargs} => fun() -> #{} end,
      {py_context, locals} => fun() -> #{x => 1} end,
      {py_context, object} => fun object/0,
      {py_context, env} => fun() -> {ok, Env} = py_context:create_local_env(context()), Env end,
      {py_context, options} => fun() -> #{mode => worker} end,
      {py_context, context_mode} => fun() -> worker end,
      {py_context_router, pool_name} => fun() -> default end,
      {py_context_router, start_opts} => fun() -> #{contexts => 1} end,
      {py_context_router, pool_spec} => fun() -> #{name => fuzzed, contexts => 1} end,
      {py_stream, stream} => fun stream/0,
      {py_callback_registry, name} => fun() -> <<"fuzzed">> end,
      {py_options, pool} => fun() -> {ok, Options} = py_options:pool(#{contexts => 1}), Options end,
      {py_options, context} => fun() -> {ok, Options} = py_options:context(#{}), Options end,
      {file, name_all} => fun() -> <<"/nonexistent/folder">> end}.

%% One that a call before has stopped is started again by its pool, which may take a moment.
context() ->
    _ = py_context_router:is_started() orelse py_context_router:start(#{contexts => 1}),
    Serves = fun() -> {ok, 1} =:= py_context:eval(py_context_router:get_context(), <<"1">>) end,
    _ = test_helpers:eventually(Serves),
    py_context_router:get_context().

object() ->
    {ok, Object} = py_context:eval(context(), <<"object()">>),
    Object.

stream() ->
    {ok, Stream} = py:stream_open(context(), builtins, range, [3]),
    Stream.

%% ------------------------------------------------------------------ left out, and why

%% Processes of the application, which are there already, or end when their supervisors say so.
is_left_out({_, start_link, 0}, _) -> true;
%% Runs programs, for seconds, and makes folders. Its arguments are in py_setup_SUITE.
is_left_out({py, ensure_venv, _}, _) -> true;
%% Waits for as long as its timeout says, here for the job of another process.
is_left_out({_, await, _}, [Ref | Timeout]) when is_reference(Ref) -> Timeout =/= [20];
%% Asks a process, which must be a pool's.
is_left_out({py_pool, await, _}, _) -> true;
%% The body of a process, which waits for the process that has started it.
is_left_out({py_stream_server, begin_stream, _}, _) -> true;
%% For `logger', with the reports of this application.
is_left_out({py_error, report, _}, _) -> true;
%% Raises, for other modules.
is_left_out({py_error, badarg, _}, _) -> true;
is_left_out(_, _) -> false.
