defmodule Py.Pool do
  @moduledoc """
  A pool of Python contexts in your own supervision tree:

      children = [
        {Py.Pool, name: :io, contexts: 4, mode: :worker},
        {Py.Pool, name: :reports, mode: :owngil, preload: "import statistics"}
      ]

  A call goes to the pool that it names, or that its module is registered for:

      iex> {:ok, pool} = Py.Pool.start_link(name: :io, contexts: 2)
      iex> Py.call(:math, :sqrt, [16], pool: :io)
      {:ok, 4.0}
      iex> PyContextRouter.register_pool(:io, :math)
      iex> Py.call(:math, :sqrt, [25])
      {:ok, 5.0}
      iex> PyContextRouter.unregister_pool(:math)
      iex> Supervisor.stop(pool)
      :ok

  ## Options

    * `:name` - the pool's name, an atom; required;
    * `:contexts` - the number of contexts; one per scheduler by default;
    * `:mode` - `:worker`, `:subinterp` or `:owngil`;
    * and `:preload`, `:venv`, `:max_queue`, `:shutdown`, `:on_caller_down`, `:stuck_after`,
      `:interrupt_grace`, `:direct_limit`, `:overload`, `:route`, `:max_tasks`, `:cancel_grace`,
      `:event_loop`, see `t::py_context_router.start_opts/0`.
  """

  @options [:name, :contexts, :mode, :preload, :venv, :max_queue, :shutdown] ++
             [:on_caller_down, :stuck_after, :interrupt_grace, :direct_limit, :overload, :route] ++
             [:max_tasks, :cancel_grace, :event_loop]

  @doc "The child specification of a pool, for a supervisor."
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(options), do: :py_context_router.child_spec(spec(options))

  @doc "Starts a pool that is linked to the caller. Returns when its contexts are ready."
  @spec start_link(keyword()) :: {:ok, pid()} | {:error, term()}
  def start_link(options), do: :py_context_router.start_link(spec(options))

  defp spec(options) do
    unless Keyword.keyword?(options) do
      raise ArgumentError, "the options of a pool are a keyword list, not #{inspect(options)}"
    end

    if Keyword.has_key?(options, :size) do
      raise ArgumentError, "there is no option :size: how many contexts a pool has is :contexts"
    end

    options = Keyword.validate!(options, @options)

    unless Keyword.has_key?(options, :name), do: raise(ArgumentError, "a pool needs a :name")

    Map.new(options)
  end
end
