defmodule PyContextRouter do
  @moduledoc """
  Routes callers to Python contexts by the scheduler they run on.

  This is `:py_context_router` with Elixir's names and conventions: options may be keywords, and
  predicates end in a question mark. `Py` runs Python code and finds the context itself;
  `:py_context` runs it in a context that this module has found.

      iex> {:ok, _contexts} = PyContextRouter.start()
      iex> ctx = PyContextRouter.get_context()
      iex> :py_context.call(ctx, :math, :sqrt, [16])
      {:ok, 4.0}
      iex> :py_context.eval(ctx, "'-'.join(names)", %{names: ["a", "b"]})
      {:ok, "a-b"}
      iex> :py_context.call(ctx, :builtins, :int, ["x"])
      {:error, {:ValueError, "invalid literal for int() with base 10: 'x'"}}

  A pool in your own supervision tree:

      children = [
        {PyContextRouter, name: :reports, contexts: 2, preload: "import json"}
      ]
  """

  @typedoc "The name of a pool, an atom. The functions without one mean `:default`."
  @type pool :: :py_context_router.pool_name()

  @typedoc """
  The start options of a pool, as a map or a keyword list. The page "Settings" describes each.

    * `:contexts` - the number of contexts; one per scheduler;
    * `:mode` - `:worker` (the default), `:subinterp` or `:owngil`;
    * `:max_queue` - how many jobs may wait in each context; 10 000;
    * `:overload` - `:refuse` (the default), or `{:wait, ms}` to wait for capacity in a full queue;
    * `:preload` - Python source that each new context runs first;
    * `:venv` - a virtual environment;
    * `:shutdown` - ms that a running job has to finish when the pool stops; 5 000;
    * `:on_caller_down` - `:interrupt` (the default) or `:finish`;
    * `:interrupt_grace` - ms that an interrupted job may clean up before it is interrupted again;
      1 000;
    * `:max_tasks` - how many coroutines may wait in a context; 10 000;
    * `:cancel_grace` - ms that a cancelled coroutine may clean up before it is cancelled again;
      1 000;
    * `:event_loop` - the Python module that makes the event loop of coroutines; `:asyncio`;
    * `:direct_limit` - microseconds that a call may take which runs on its caller's scheduler;
    * `:stuck_after` - ms that an interrupted job may take to end before its context is replaced;
      5 000;
    * `:route` - `:spread` (the default): a call of `Py` goes to another context while its
      scheduler's is busy; or `:affinity`.
  """
  @type options :: :py_context_router.start_opts() | keyword()

  @typedoc "The name of a Python module or function."
  @type name :: atom() | String.t()

  @doc """
  Starts the default pool, and the application if it isn't running.

  If the pool runs already, its contexts are returned. If it runs with other options than the given
  ones, the result is `{:error, {:already_started, options}}`. The pool outlives the caller.

      iex> {:ok, contexts} = PyContextRouter.start()
      iex> PyContextRouter.start() == {:ok, contexts}
      true
      iex> PyContextRouter.start(color: :red)
      {:error, {:bad_option, {:color, :red}}}
  """
  @spec start(options()) :: {:ok, [pid()]} | {:error, term()}
  def start(options \\ []), do: :py_context_router.start(options(options))

  @doc "Stops the default pool. Its contexts have ended on return. Idempotent."
  @spec stop() :: :ok
  defdelegate stop(), to: :py_context_router

  @doc """
  Whether any context of the default pool is alive.

      iex> {:ok, _} = PyContextRouter.start()
      iex> PyContextRouter.started?()
      true
  """
  @spec started?() :: boolean()
  defdelegate started?(), to: :py_context_router, as: :is_started

  @doc """
  Starts a pool with that many worker contexts, or with options.

      iex> {:ok, [_, _]} = PyContextRouter.start_pool(:docs, 2)
      iex> PyContextRouter.num_contexts(:docs)
      2
      iex> PyContextRouter.stop_pool(:docs)
      :ok
  """
  @spec start_pool(pool(), pos_integer() | options()) :: {:ok, [pid()]} | {:error, term()}
  def start_pool(pool, size_or_options) when is_list(size_or_options),
    do: :py_context_router.start_pool(pool, options(size_or_options))

  def start_pool(pool, size_or_options),
    do: :py_context_router.start_pool(pool, size_or_options)

  @doc "Starts a pool with that many contexts of a mode."
  @spec start_pool(pool(), pos_integer(), :py_context.context_mode()) ::
          {:ok, [pid()]} | {:error, term()}
  defdelegate start_pool(pool, size, mode), to: :py_context_router

  @doc "Stops a pool. Its contexts have ended on return. Idempotent."
  @spec stop_pool(pool()) :: :ok
  defdelegate stop_pool(pool), to: :py_context_router

  @doc "Whether any context of the pool is alive."
  @spec pool_started?(pool()) :: boolean()
  defdelegate pool_started?(pool), to: :py_context_router, as: :pool_started

  @doc "Grows or shrinks a running pool. Removed contexts finish the jobs that they have accepted."
  @spec resize_pool(pool(), pos_integer()) :: :ok | {:error, term()}
  defdelegate resize_pool(pool, size), to: :py_context_router

  @doc """
  A child specification for a pool in your own supervision tree: `options` with the pool's `:name`.

      iex> {:ok, supervisor} =
      ...>   Supervisor.start_link([{PyContextRouter, name: :own, contexts: 1}],
      ...>     strategy: :one_for_one
      ...>   )
      iex> PyContextRouter.pool_started?(:own)
      true
      iex> Supervisor.stop(supervisor)
      iex> PyContextRouter.pool_started?(:own)
      false
  """
  @spec child_spec(options()) :: :supervisor.child_spec()
  def child_spec(options), do: :py_context_router.child_spec(options(options))

  @doc "Starts a pool that is linked to the caller; `options` with the pool's `:name`."
  @spec start_link(options()) :: {:ok, pid()} | {:error, term()}
  def start_link(options), do: :py_context_router.start_link(options(options))

  @doc "This process's context in the default pool: the bound one, else its scheduler's."
  @spec get_context() :: pid()
  defdelegate get_context(), to: :py_context_router

  @doc """
  This process's context in a pool, or the context in a slot of the default pool.

  The process is not bound to it: after it has moved to another scheduler it gets another context.

      iex> {:ok, [first | _]} = PyContextRouter.start()
      iex> PyContextRouter.get_context(1) == first
      true
  """
  @spec get_context(pool() | pos_integer()) :: pid()
  defdelegate get_context(pool_or_slot), to: :py_context_router

  @doc "The contexts of the default pool, in the order of their slots."
  @spec contexts() :: [pid()]
  defdelegate contexts(), to: :py_context_router

  @doc "The contexts of a pool, in the order of their slots."
  @spec contexts(pool()) :: [pid()]
  defdelegate contexts(pool), to: :py_context_router

  @doc "How many contexts the default pool has; 0 when it isn't started."
  @spec num_contexts() :: non_neg_integer()
  defdelegate num_contexts(), to: :py_context_router

  @doc "How many contexts a pool has; 0 when it isn't started."
  @spec num_contexts(pool()) :: non_neg_integer()
  defdelegate num_contexts(pool), to: :py_context_router

  @doc """
  Binds this process to a context of the default pool, until `unbind_context/0`.

      iex> {:ok, contexts} = PyContextRouter.start()
      iex> PyContextRouter.bind_context(List.last(contexts))
      :ok
      iex> PyContextRouter.get_context() == List.last(contexts)
      true
      iex> PyContextRouter.unbind_context()
      :ok
  """
  @spec bind_context(pid()) :: :ok
  defdelegate bind_context(ctx), to: :py_context_router

  @doc "Binds this process to a context in a pool."
  @spec bind_context(pool(), pid()) :: :ok
  defdelegate bind_context(pool, ctx), to: :py_context_router

  @doc "Removes this process's binding in the default pool. Idempotent."
  @spec unbind_context() :: :ok
  defdelegate unbind_context(), to: :py_context_router

  @doc "Removes this process's binding in a pool. Idempotent."
  @spec unbind_context(pool()) :: :ok
  defdelegate unbind_context(pool), to: :py_context_router

  @doc """
  Runs a function with this process bound to a context, and restores the previous binding.

      iex> {:ok, contexts} = PyContextRouter.start()
      iex> ctx = List.last(contexts)
      iex> PyContextRouter.with_context(ctx, fn -> PyContextRouter.get_context() == ctx end)
      true
  """
  @spec with_context(pid(), fun()) :: term()
  defdelegate with_context(ctx, fun), to: :py_context_router

  @doc """
  Routes all functions of a Python module to a pool, which need not be running yet.

      iex> PyContextRouter.register_pool(:io, :requests)
      :ok
      iex> PyContextRouter.lookup_pool(:requests, :get)
      :io
      iex> PyContextRouter.unregister_pool(:requests)
      :ok
      iex> PyContextRouter.lookup_pool(:requests, :get)
      :default
  """
  @spec register_pool(pool(), name()) :: :ok
  defdelegate register_pool(pool, module), to: :py_context_router

  @doc "Routes one function of a Python module to a pool. It has precedence over its module."
  @spec register_pool(pool(), name(), name()) :: :ok
  defdelegate register_pool(pool, module, func), to: :py_context_router

  @doc "Removes a module's registration. Idempotent."
  @spec unregister_pool(name()) :: :ok
  defdelegate unregister_pool(module), to: :py_context_router

  @doc "Removes a function's registration. Idempotent."
  @spec unregister_pool(name(), name()) :: :ok
  defdelegate unregister_pool(module, func), to: :py_context_router

  @doc """
  Permits calls of a short Python function to run on their callers' schedulers.

  A permission, not a promise: see `:py_context_router.register_direct/2` and the page "direct".

      iex> PyContextRouter.register_direct(:math, :sqrt)
      :ok
      iex> {{:math, :sqrt}, :probation} in PyContextRouter.list_direct()
      true
      iex> PyContextRouter.unregister_direct(:math, :sqrt)
      :ok
  """
  @spec register_direct(name(), name()) :: :ok
  defdelegate register_direct(module, func), to: :py_context_router

  @doc "Takes the permission back. Idempotent."
  @spec unregister_direct(name(), name()) :: :ok
  defdelegate unregister_direct(module, func), to: :py_context_router

  @doc "The functions that are registered for direct calls, and how they do."
  @spec list_direct() :: [{{atom(), atom()}, :py_nif.direct_phase()}]
  defdelegate list_direct(), to: :py_context_router

  @doc "The pool that a function is registered for, else its module's, else `:default`."
  @spec lookup_pool(name(), name()) :: pool()
  defdelegate lookup_pool(module, func), to: :py_context_router

  @doc """
  All registrations. `:_` stands for all functions of a module. A name is an atom if that exists,
  else a string.
  """
  @spec list_pool_registrations() :: [{{module :: name(), func :: name()}, pool()}]
  defdelegate list_pool_registrations(), to: :py_context_router

  @doc "Starts the registry. The functions that need it do so, too. Idempotent."
  @spec init_pool_registry() :: :ok
  defdelegate init_pool_registry(), to: :py_context_router

  @doc "The state of each running pool, see `info/1`."
  @spec info() :: %{pool() => map()}
  defdelegate info(), to: :py_context_router

  @doc """
  The state of a pool: its options, its contexts, and how often one was replaced.

      iex> {:ok, contexts} = PyContextRouter.start()
      iex> info = PyContextRouter.info(:default)
      iex> {info.mode, info.alive == length(contexts)}
      {:worker, true}
  """
  @spec info(pool()) :: map()
  defdelegate info(pool), to: :py_context_router

  @doc "The names of the running pools."
  @spec pools() :: [pool()]
  defdelegate pools(), to: :py_context_router

  # Anything else is passed on: the router names it in its error.
  defp options(options) do
    if Keyword.keyword?(options), do: Map.new(options), else: options
  end
end
