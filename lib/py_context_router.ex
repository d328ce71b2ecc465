defmodule PyContextRouter do
  @moduledoc """
  Routes callers to Python contexts by the scheduler they run on.

  This is `:py_context_router` with Elixir's names and conventions: options may be keywords, and
  predicates end in a question mark. It adds nothing else. Python itself is run with
  `:py_context`.

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
  How a pool is made, as a map or a keyword list: `:contexts` (how many; one per scheduler),
  `:mode` (`:worker`), `:max_queue` (jobs that may wait per context; 10 000), `:preload` (Python
  source that is run once in each new context), `:venv` (a virtual environment), `:shutdown` (ms
  that a running job has to finish when the pool stops; 5 000), `:on_caller_down` (`:interrupt`),
  `:stuck_after` (ms; 5 000), `:interrupt_grace` (ms that an interrupted job may clean up
  before it is interrupted again; 1 000), `:overload` (`:refuse`), `:route` (`:spread`: calls of `Py` go to
  another context while their scheduler's is busy; or `:affinity`).
  """
  @type options :: :py_context_router.start_opts() | keyword()

  @typedoc "The name of a Python module or function."
  @type name :: atom() | String.t()

  @doc """
  Starts the default pool, and the application if it isn't running.

  If the pool runs already its contexts are returned; if it runs with other options than the given
  ones, that is an error. The pool outlives the caller.

      iex> {:ok, contexts} = PyContextRouter.start()
      iex> PyContextRouter.start() == {:ok, contexts}
      true
      iex> PyContextRouter.start(color: :red)
      {:error, {:bad_option, {:color, :red}}}
  """
  @spec start(options()) :: {:ok, [pid()]} | {:error, term()}
  def start(options \\ []), do: :py_context_router.start(options(options))

  @doc "Stops the default pool. Its contexts are gone on return. Idempotent."
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

  @doc "Stops a pool. Its contexts are gone on return. Idempotent."
  @spec stop_pool(pool()) :: :ok
  defdelegate stop_pool(pool), to: :py_context_router

  @doc "Whether any context of the pool is alive."
  @spec pool_started?(pool()) :: boolean()
  defdelegate pool_started?(pool), to: :py_context_router, as: :pool_started

  @doc "Grows or shrinks a running pool. Removed contexts finish what they have accepted."
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

  Nothing is bound by this: a process that moves to another scheduler gets another context next
  time.

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
  Runs a function with this process bound to a context, and puts things back as they were.

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

  @doc "Routes one function of a Python module to a pool. It goes before its module's."
  @spec register_pool(pool(), name(), name()) :: :ok
  defdelegate register_pool(pool, module, func), to: :py_context_router

  @doc "Takes a module's registration back. Idempotent."
  @spec unregister_pool(name()) :: :ok
  defdelegate unregister_pool(module), to: :py_context_router

  @doc "Takes a function's registration back. Idempotent."
  @spec unregister_pool(name(), name()) :: :ok
  defdelegate unregister_pool(module, func), to: :py_context_router

  @doc "The pool that a function is registered for, else its module's, else `:default`."
  @spec lookup_pool(name(), name()) :: pool()
  defdelegate lookup_pool(module, func), to: :py_context_router

  @doc """
  All registrations; `:_` stands for all functions of a module. A name is an atom if there is one,
  else a string.
  """
  @spec list_pool_registrations() :: [{{module :: name(), func :: name()}, pool()}]
  defdelegate list_pool_registrations(), to: :py_context_router

  @doc "Makes registrations possible; so do the functions that need it. Idempotent."
  @spec init_pool_registry() :: :ok
  defdelegate init_pool_registry(), to: :py_context_router

  @doc "What is known of each running pool."
  @spec info() :: %{pool() => map()}
  defdelegate info(), to: :py_context_router

  @doc """
  What is known of a pool: its options, its contexts, and how often one was replaced.

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

  # What is no keyword list is left for the router to refuse by name.
  defp options(options) do
    if Keyword.keyword?(options), do: Map.new(options), else: options
  end
end
