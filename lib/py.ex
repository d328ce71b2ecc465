defmodule Py do
  @moduledoc """
  Python from any Elixir process.

  This is `:py` with Elixir's conventions: options are keywords, names ending in `!` raise
  `Py.Error`, and objects that have no counterpart in Elixir come as `Py.Object`.

      iex> Py.call(:math, :sqrt, [16])
      {:ok, 4.0}
      iex> Py.eval!("'-'.join(names)", names: ["Ada", "Grace"])
      "Ada-Grace"
      iex> Py.call(:json, :dumps, [%{a: [1, nil]}], kwargs: %{indent: nil})
      {:ok, ~s({"a": [1, null]})}

  `nil` is Python's `None`, which comes back as `:none`.

  A call goes to the pool that its function is registered for
  (`PyContextRouter.register_pool/2`), else to pool `:default`, which starts when it is first
  needed. Each Elixir process has Python variables of its own, which are gone when it dies:

      iex> Py.exec("total = 0")
      :ok
      iex> Py.exec("total += 40 + 2")
      :ok
      iex> Py.eval("total")
      {:ok, 42}
      iex> Task.await(Task.async(fn -> Py.eval("total") end))
      {:error, {:NameError, "name 'total' is not defined"}}

  Pools in your supervision tree are `Py.Pool`.

  ## Options

  All functions that run Python take

    * `:pool` - the name of the pool to run in;
    * `:context` - the context to run in, a pid;
    * `:timeout` - in ms, or `:infinity`; 30 000 by default, `:infinity` with a context (not of
      `stream/4`, which takes as long as its consumer does);
    * `:env` - whose variables: `:process` (the default), `:none` (the context's own), or an
      environment made by `:py_context.create_local_env/1`;
    * `:traceback` - whether an error comes with its traceback;
    * `:on_caller_down` - `:interrupt` or `:finish`: what becomes of the call if this process dies
      (of `stream/4`, only `:interrupt`).

  Others are an `ArgumentError`.
  """

  alias Py.Object

  @typedoc "The name of a Python module or function, dotted if need be."
  @type name :: atom() | String.t()

  @typedoc "Names and values: a keyword list or a map."
  @type named :: keyword() | %{optional(name()) => term()}

  @type reason :: :py.error()

  @options [:pool, :context, :timeout, :env, :traceback, :on_caller_down]
  @call_options [:kwargs | @options]
  @stream_options @call_options -- [:timeout]

  @doc """
  Calls a Python function. Keyword arguments are the option `:kwargs`.

      iex> Py.call("os.path", :join, ["a", "b"])
      {:ok, "a/b"}
      iex> Py.call(:builtins, :int, ["forty-two"])
      {:error, {:ValueError, "invalid literal for int() with base 10: 'forty-two'"}}
      iex> Py.call(:math, :sqrt, [16], retries: 3)
      ** (ArgumentError) unknown keys [:retries] in [retries: 3], the allowed keys are: [:kwargs, :pool, :context, :timeout, :env, :traceback, :on_caller_down]
  """
  @spec call(name(), name(), [term()], keyword()) :: {:ok, term()} | {:error, reason()}
  def call(module, function, args \\ [], options \\ []) do
    {target, kwargs, rest} = call_options(options, @call_options)
    wrap(apply(:py, :call, target ++ [module, function, unwrap(args), kwargs, rest]))
  end

  @doc """
  As `call/4`, but returns the value, or raises `Py.Error`.

      iex> Py.call!(:operator, :add, [40, 2])
      42
      iex> Py.call!(:operator, :truediv, [1, 0])
      ** (Py.Error) ZeroDivisionError: division by zero
  """
  @spec call!(name(), name(), [term()], keyword()) :: term()
  def call!(module, function, args \\ [], options \\ []),
    do: bang!(call(module, function, args, options))

  @doc """
  Evaluates a Python expression; the bindings are variables of this expression only.

      iex> Py.eval("sum(x * x for x in xs)", xs: [1, 2, 3])
      {:ok, 14}
      iex> Py.eval("x ** y", %{x: 2, y: 100}, timeout: 1_000)
      {:ok, 1_267_650_600_228_229_401_496_703_205_376}
  """
  @spec eval(String.t(), named(), keyword()) :: {:ok, term()} | {:error, reason()}
  def eval(code, bindings \\ [], options \\ []) do
    {target, rest} = options(options, @options)
    # The shape without a target means the default pool, as with one.
    target = if target == [], do: [:default], else: target
    wrap(apply(:py, :eval, target ++ [code, named(bindings), rest]))
  end

  @doc "As `eval/3`, but returns the value, or raises `Py.Error`."
  @spec eval!(String.t(), named(), keyword()) :: term()
  def eval!(code, bindings \\ [], options \\ []), do: bang!(eval(code, bindings, options))

  @doc """
  Runs Python statements. What they define is there for this process from then on.

      iex> Py.exec("def double(x): return 2 * x")
      :ok
      iex> Py.call(:__main__, :double, [21])
      {:ok, 42}
  """
  @spec exec(String.t(), keyword()) :: :ok | {:error, reason()}
  def exec(code, options \\ []) do
    {target, rest} = options(options, @options)
    target = if target == [], do: [:default], else: target
    apply(:py, :exec, target ++ [code, rest])
  end

  @doc "As `exec/2`, but raises `Py.Error`."
  @spec exec!(String.t(), keyword()) :: :ok
  def exec!(code, options \\ []) do
    with {:error, reason} <- exec(code, options), do: raise(Py.Error, reason)
  end

  @doc """
  A lazy stream of what a Python iterable, generator or asynchronous generator gives.

  Nothing runs until the stream is consumed. A slow consumer slows the generator: no more than
  `:read_ahead` items (100 by default) are made before they are wanted. A generator is closed when
  the consumer has enough, fails, or dies. The items come through the process's own message queue.

      iex> Py.stream(:itertools, :count, [10]) |> Enum.take(3)
      [10, 11, 12]
      iex> Py.stream(:builtins, :range, [5]) |> Stream.map(&(&1 * &1)) |> Enum.to_list()
      [0, 1, 4, 9, 16]

  An exception in Python is raised as `Py.Error`, after the items before it. There is no timeout.
  """
  @spec stream(name(), name(), [term()], keyword()) :: Enumerable.t()
  def stream(module, function, args \\ [], options \\ []) do
    {read_ahead, options} = Keyword.pop(options, :read_ahead, 100)
    {target, kwargs, rest} = call_options(options, @stream_options)

    arguments =
      target ++ [module, function, unwrap(args), kwargs, Map.put(rest, :read_ahead, read_ahead)]

    Stream.resource(
      fn -> bang!(apply(:py, :stream_start, arguments)) end,
      &next_item/1,
      &:py.stream_cancel/1
    )
  end

  defp next_item(ref) do
    receive do
      {:py_stream, ^ref, {:data, item}} -> {[wrap_value(item)], ref}
      {:py_stream, ^ref, :done} -> {:halt, ref}
      {:py_stream, ^ref, {:error, reason}} -> raise Py.Error, reason
    end
  end

  @doc """
  Runs many calls side by side, and gives their results in order.

  Each call is `{module, function, args}` or `{module, function, args, kwargs}`. One that fails takes
  no other along. Coroutines (`async def`) that come together in one context wait together.

      iex> Py.parallel([{:math, :sqrt, [16]}, {:builtins, :chr, [-1]}, {:operator, :add, [1, 2]}])
      {:ok, [{:ok, 4.0}, {:error, {:ValueError, "chr() arg not in range(0x110000)"}}, {:ok, 3}]}
  """
  @spec parallel([tuple()], keyword()) :: {:ok, [{:ok, term()} | {:error, reason()}]}
  def parallel(calls, options \\ []) do
    [timeout: timeout] = Keyword.validate!(options, timeout: 30_000)

    calls =
      Enum.map(calls, fn
        {module, function, args} -> {module, function, unwrap(args)}
        {module, function, args, kwargs} -> {module, function, unwrap(args), named(kwargs)}
      end)

    {:ok, results} = :py.parallel(calls, timeout)
    {:ok, Enum.map(results, &wrap/1)}
  end

  @doc """
  Sets an environment variable for Elixir (`System.get_env/1`) and for Python: in `os.environ` of
  every interpreter, of those that start later, and for their children. Neither side hears of what
  the other one sets by itself.

      iex> Py.put_env("PY_DOC_COLOUR", "green")
      :ok
      iex> {System.get_env("PY_DOC_COLOUR"), Py.eval!("__import__('os').environ['PY_DOC_COLOUR']")}
      {"green", "green"}
      iex> Py.delete_env("PY_DOC_COLOUR")
      :ok
      iex> Py.get_env("PY_DOC_COLOUR")
      nil
  """
  @spec put_env(String.t(), String.t()) :: :ok | {:error, reason()}
  defdelegate put_env(name, value), to: :py, as: :putenv

  @doc "Takes an environment variable away from both sides; see `put_env/2`."
  @spec delete_env(String.t()) :: :ok | {:error, reason()}
  defdelegate delete_env(name), to: :py, as: :unsetenv

  @doc """
  The value of an environment variable in Python, where it has none that in Elixir, else `nil`.
  Raises `Py.Error` where Python can't be asked.
  """
  @spec get_env(String.t()) :: String.t() | nil
  def get_env(name) do
    case bang!(:py.getenv(name)) do
      false -> nil
      value -> value
    end
  end

  @doc ~S'''
  Python source text, as it stands: nothing in it is escaped or interpolated. Variables are given as
  bindings, by name. From Elixir 1.15; before, where sigils have one letter, it is `~P`.

      Py.eval(~PY"[w.upper() for w in words]", words: ["a", "b"])
      #=> {:ok, ["A", "B"]}

      Py.exec(~PY"""
      import re
      def words(text):
          return re.findall(r"\w+", text)
      """)
      #=> :ok

  With the modifier `e` the expression is evaluated at once, which is handy in IEx and Livebook:

      ~PY"2 ** 10"e
      #=> 1024
  '''
  defmacro sigil_PY(code, modifiers), do: python(code, modifiers)

  @doc ~S'''
  As `sigil_PY/2`, for every Elixir.

      iex> import Py, only: [sigil_P: 2]
      iex> Py.eval(~P"[w.upper() for w in words]", words: ["a", "b"])
      {:ok, ["A", "B"]}
      iex> ~P"len(r'\w')"e
      2
  '''
  defmacro sigil_P(code, modifiers), do: python(code, modifiers)

  defp python({:<<>>, _, [code]}, []) when is_binary(code), do: code

  defp python({:<<>>, _, [code]}, [?e]) when is_binary(code),
    do: quote(do: Py.eval!(unquote(code)))

  defp python(_code, modifiers) do
    raise ArgumentError, "Python sigils know no modifier #{inspect(List.to_string(modifiers))}"
  end

  # ---------------------------------------------------------------- inside

  defp call_options(options, allowed) do
    {target, rest} = options(options, allowed)
    {kwargs, rest} = Map.pop(rest, :kwargs, %{})
    {target, named(kwargs), rest}
  end

  defp options(options, allowed) do
    {target, rest} =
      options |> Keyword.validate!(allowed) |> Map.new() |> Map.split([:pool, :context])

    case target do
      %{pool: _, context: _} -> raise ArgumentError, "both :pool and :context are given"
      %{pool: pool} -> {[pool], rest}
      %{context: context} -> {[context], rest}
      %{} -> {[], rest}
    end
  end

  # Pairs, not a map: `:py` refuses a name that is given twice.
  defp named(pairs), do: Enum.map(pairs, fn {name, value} -> {name, unwrap_value(value)} end)

  defp unwrap(args), do: Enum.map(args, &unwrap_value/1)

  defp unwrap_value(%Object{ref: ref}), do: ref
  defp unwrap_value(value), do: value

  @doc false
  def wrap({:ok, value}), do: {:ok, wrap_value(value)}
  def wrap(error), do: error

  defp wrap_value(value) when is_reference(value) do
    if :py.is_ref(value), do: %Object{ref: value}, else: value
  end

  defp wrap_value(value), do: value

  @doc false
  def bang!({:ok, value}), do: value
  def bang!({:error, reason}), do: raise(Py.Error, reason)
end
