%% @private The names of all options, and the defaults of those that have one.
%%
%% Pure functions. Whether a value is good is checked elsewhere: of the application environment
%% in py_config, of contexts, pools and calls in py_options.
-module(py_defaults).

-export([application/0, pool/0, is_option/1]).

%% What has no default here: the options of calls, and those of py_venv.
-define(OTHERS, [name, kwargs, timeout, env, traceback, values, on_caller_down, read_ahead, share,
                 progress, result, dispatch, installer, activate, force]).

%% The application environment: every key.
-spec application() -> #{py_config:key() := term()}.
application() ->
    #{python => undefined,
      max_depth => 1000,
      spin_us => 20,
      quarantine_limit => 32,
      callback_depth => 64,
      redirect_output => true,
      sigchld => default,
      default_pool => #{},
      pools => #{},
      logging => #{},
      copy_env => false}.

%% A pool, and without `contexts' and `route' a context.
-spec pool() -> py_options:pool().
pool() ->
    #{contexts => erlang:system_info(schedulers),
      mode => worker,
      max_queue => 10_000,
      preload => undefined,
      venv => undefined,
      shutdown => 5_000,
      on_caller_down => interrupt,
      stuck_after => 5_000,
      interrupt_grace => 1_000,
      direct_limit => 200,
      overload => refuse,
      max_tasks => 10_000,
      cancel_grace => 1_000,
      event_loop => asyncio,
      route => spread}.

%% Whether anything has an option of that name: a call, a pool, a stream, a virtual environment, the
%% application.
-spec is_option(term()) -> boolean().
is_option(Key) ->
    is_map_key(Key, pool()) orelse lists:member(Key, ?OTHERS) orelse is_map_key(Key, application()).
