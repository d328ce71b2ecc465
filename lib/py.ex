# The file is over 400 lines because it is a public interface: a spec, a text and examples for each
# function.
defmodule Py do
  @moduledoc """
  Python from any Elixir process.

  This is `:py` with Elixir's conventions: options are keywords, functions whose names end in `!`
  raise `Py.Error`, and objects without a term in Elixir are `Py.Object`.

      iex> Py.call(:math, :sqrt, [16])
      {:ok, 4.0}
      iex> Py.eval!("'-'.join(names)", names: ["Ada", "Grace"])
      "Ada-Grace"
      iex> Py.call(:json, :dumps, [%{a: [1, nil]}], kwargs: %{indent: nil})
      {:ok, ~s({"a": [1, null]})}

  `nil` is Python's `None`, in both directions and at any depth, so that it is falsy:

      iex> if Py.call!(:re, :match, ["x", "abc"]), do: :matches, else: :no_match
      :no_match
      iex> Py.eval!("{'found': [None]}")
      %{"found" => [nil]}

  (The Erlang modules, such as `:py`, use `:none`.) Structs other than `Py.Object` are refused,
  because the fields of a struct alone do not tell what it stands for:

      iex> Py.call(:builtins, :repr, [[MapSet.new([1])]])
      {:error, {:unconvertible, "args[0][0]", "struct MapSet"}}

  A call goes to the pool that its function or module is registered for
  (`PyContextRouter.register_pool/2`), else to pool `:default`, which starts when it is first
  needed. Each Elixir process has Python variables of its own, which are freed when it dies:

      iex> Py.exec("total = 0")
      :ok
      iex> Py.exec("total += 40 + 2")
      :ok
      iex> Py.eval("total")
      {:ok, 42}
      iex> Task.await(Task.async(fn -> Py.eval("total") end))
      {:error, {:NameError, "name 'total' is not defined"}}

  For pools in your supervision tree see `Py.Pool`.

  ## Options

  All functions that run Python take

    * `:pool` - the name of the pool to run in;
    * `:context` - the context to run in, a pid;
    * `:timeout` - in ms, or `:infinity`; 30 000 by default, `:infinity` with a context;
      `stream/4` has none;
    * `:env` - the namespace: `:process` (the default), `:none` (the context's own), or an
      environment made by `:py_context.create_local_env/1`;
    * `:traceback` - whether an error comes with its traceback;
    * `:result` - how objects without a term are returned: as handles (`:auto`, the default); as
      the terms that stand for them, see `Py.Object.to_term/1` (`:term`); or the whole result as one
      `Py.Object` (`:object`). In `stream/4` and `map/4` this holds for each item. `exec/2` does not
      take it;
    * `:on_caller_down` - `:interrupt` or `:finish`: what happens to the call if this process dies;
      `stream/4` takes only `:interrupt`, `map/4` does not take it.

    * `:dispatch` - `:direct` or `:queue`: where the call may run, see
      `PyContextRouter.register_direct/2`. Only `call/4` takes it.

  Any other option is an `ArgumentError`.
  """

  @typedoc "The name of a Python module or function, dotted if need be."
  @type name :: atom() | String.t()

  @typedoc "Names and values: a keyword list or a map."
  @type named :: keyword() | %{optional(name()) => term()}

  @type reason :: :py.error()

  @options [:pool, :context, :timeout, :env, :traceback, :result, :on_caller_down]
  @exec_options @options -- [:result]
  @call_options [:kwargs | @options]
  @map_options @call_options -- [:on_caller_down]
  @waiting_call_options [:dispatch | @call_options]
  @stream_options [:read_ahead | @call_options -- [:timeout]]

  # The names that Elixir gives to the file of code without a file.
  @typed_in ["iex", "nofile"]

  @doc """
  Calls a Python function. Keyword arguments are the option `:kwargs`.

      iex> Py.call("os.path", :join, ["a", "b"])
      {:ok, "a/b"}
      iex> Py.call(:builtins, :int, ["forty-two"])
      {:error, {:ValueError, "invalid literal for int() with base 10: 'forty-two'"}}
      iex> try do
      ...>   Py.call(:math, :sqrt, [16], retries: 3)
      ...> rescue
      ...>   error in ArgumentError -> Exception.message(error) =~ "unknown keys [:retries]"
      ...> end
      true
  """
  @spec call(name(), name(), [term()], keyword()) :: {:ok, term()} | {:error, reason()}
  def call(module, function, args \\ [], options \\ []) do
    {target, kwargs, rest} = call_options(options, @waiting_call_options)
    apply(:py, :call, target ++ [name!(module), name!(function), args!(args), kwargs, rest])
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
    # Without a target the argument list has another form, so the default pool is named.
    target = if target == [], do: [:default], else: target
    apply(:py, :eval, target ++ [source!(code), named(bindings), rest])
  end

  @doc "As `eval/3`, but returns the value, or raises `Py.Error`."
  @spec eval!(String.t(), named(), keyword()) :: term()
  def eval!(code, bindings \\ [], options \\ []), do: bang!(eval(code, bindings, options))

  @doc """
  Runs Python statements. The names that they define stay for this process.

      iex> Py.exec("def double(x): return 2 * x")
      :ok
      iex> Py.call(:__main__, :double, [21])
      {:ok, 42}
  """
  @spec exec(String.t(), keyword()) :: :ok | {:error, reason()}
  def exec(code, options \\ []) do
    {target, rest} = options(options, @exec_options)
    target = if target == [], do: [:default], else: target
    apply(:py, :exec, target ++ [source!(code), rest])
  end

  @doc "As `exec/2`, but raises `Py.Error`."
  @spec exec!(String.t(), keyword()) :: :ok
  def exec!(code, options \\ []) do
    with {:error, reason} <- exec(code, options), do: raise(Py.Error, reason)
  end

  @doc """
  A lazy stream of the items of a Python iterable, generator or asynchronous generator.

  Nothing runs until the stream is consumed. A slow consumer slows the generator: at most
  `:read_ahead` items (100 by default) are made in advance. The generator is closed when the
  consumer stops, fails, or dies. The items come through the process's own message queue.

      iex> Py.stream(:itertools, :count, [10]) |> Enum.take(3)
      [10, 11, 12]
      iex> Py.stream(:builtins, :range, [5]) |> Stream.map(&(&1 * &1)) |> Enum.to_list()
      [0, 1, 4, 9, 16]

  An exception in Python is raised as `Py.Error`, after the items before it. There is no timeout.
  """
  @spec stream(name(), name(), [term()], keyword()) :: Enumerable.t()
  def stream(module, function, args \\ [], options \\ []) do
    {target, kwargs, rest} = call_options(options, @stream_options)
    rest = Map.put_new(rest, :read_ahead, 100)

    arguments = target ++ [name!(module), name!(function), args!(args), kwargs, rest]

    Stream.resource(
      fn -> bang!(apply(:py, :stream_start, arguments)) end,
      &next_item/1,
      &:py.stream_cancel/1
    )
  end

  defp next_item(ref) do
    receive do
      {:py_stream, ^ref, {:data, item}} -> {[item], ref}
      {:py_stream, ^ref, :done} -> {:halt, ref}
      {:py_stream, ^ref, {:error, reason}} -> raise Py.Error, reason
    end
  end

  @doc """
  Runs many calls at once, and returns their results in order.

  Each call is `{module, function, args}` or `{module, function, args, kwargs}`. A call that fails
  does not affect the others. Coroutines (`async def`) in the same context wait together.

      iex> Py.parallel([{:math, :sqrt, [16]}, {:builtins, :chr, [-1]}, {:operator, :add, [1, 2]}])
      {:ok, [{:ok, 4.0}, {:error, {:ValueError, "chr() arg not in range(0x110000)"}}, {:ok, 3}]}
  """
  @spec parallel([tuple()], keyword()) ::
          {:ok, [{:ok, term()} | {:error, reason()}]} | {:error, {:bad_option, {atom(), term()}}}
  def parallel(calls, options \\ []),
    do: :py.parallel(calls, checked_options(options, [:timeout]))

  @doc """
  Calls a function for each list of arguments, and returns the results in order.

      iex> Py.map(:math, :sqrt, [[16], [-1], [25]])
      {:ok, [{:ok, 4.0}, {:error, {:ValueError, "math domain error"}}, {:ok, 5.0}]}
      iex> Py.map(:builtins, :int, [["ff"], ["10"]], kwargs: %{base: 16})
      {:ok, [ok: 255, ok: 16]}

  Each context of the pool makes many of the calls as one job, so that short ones cost a tenth of
  what they cost one by one. The timeout is for all calls together: `{:error, :timeout}`, without
  results. For more see `:py.map/3`.
  """
  @spec map(name(), name(), [[term()]], keyword()) ::
          {:ok, [{:ok, term()} | {:error, reason()}]} | {:error, reason()}
  def map(module, function, args_list, options \\ []) do
    {target, rest} = options(options, @map_options)
    rest = Map.update(rest, :kwargs, %{}, &named/1)
    arguments = [name!(module), name!(function), args_list!(args_list), rest]
    apply(:py, :map, target ++ arguments)
  end

  @doc """
  Lets Python code call an Elixir function as `erlang.call("name", *args)`, as
  `erlang.name(*args)`, or after `from erlang import name`.

      iex> Py.register_function(:label, fn
      ...>   nil, default -> default
      ...>   text, _default -> String.upcase(text)
      ...> end)
      :ok
      iex> Py.exec!("import erlang")
      iex> Py.eval!("[erlang.label(None, '-'), erlang.label('abc', '-')]")
      ["-", "ABC"]
      iex> Py.unregister_function(:label)
      :ok

  This is `:py.register_function/2`, except that `None` and objects in the arguments are `nil` and
  `Py.Object`.
  """
  @spec register_function(name(), fun()) :: :ok
  def register_function(name, function) when is_function(function),
    do: :py.register_function(name, function, %{values: :elixir})

  @doc "The same with `module.function`."
  @spec register_function(name(), module(), atom()) :: :ok
  def register_function(name, module, function),
    do: :py.register_function(name, module, function, %{values: :elixir})

  @doc "Removes the registration: Python code cannot call the function any more. Idempotent."
  @spec unregister_function(name()) :: :ok
  defdelegate unregister_function(name), to: :py

  @doc """
  Sets an environment variable for Elixir (`System.get_env/1`) and for Python: in `os.environ` of
  every interpreter, of those that start later, and for their children. Variables that are set in
  other ways reach one side only.

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

  @doc "Removes an environment variable on both sides; see `put_env/2`."
  @spec delete_env(String.t()) :: :ok | {:error, reason()}
  defdelegate delete_env(name), to: :py, as: :unsetenv

  @doc """
  The value of an environment variable in Python. If Python has none, it is Elixir's value, or
  `nil`. Raises `Py.Error` if Python cannot be asked.
  """
  @spec get_env(String.t()) :: String.t() | nil
  def get_env(name) do
    case bang!(:py.getenv(name)) do
      false -> nil
      value -> value
    end
  end

  @doc ~S'''
  Python source text as it stands: nothing in it is escaped or interpolated. Variables are passed as
  bindings, by name. Needs Elixir 1.15; `~P` is the sigil for older versions. Tracebacks name the
  Elixir file and the line of the source.

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
  defmacro sigil_PY(code, modifiers), do: python(code, modifiers, __CALLER__)

  @doc ~S'''
  As `sigil_PY/2`, for every version of Elixir.

      iex> import Py, only: [sigil_P: 2]
      iex> Py.eval(~P"[w.upper() for w in words]", words: ["a", "b"])
      {:ok, ["A", "B"]}
      iex> ~P"len(r'\w')"e
      2
  '''
  defmacro sigil_P(code, modifiers), do: python(code, modifiers, __CALLER__)

  defp python({:<<>>, meta, [code]}, [], caller) when is_binary(code),
    do: located(code, meta, caller)

  defp python({:<<>>, meta, [code]}, [?e], caller) when is_binary(code),
    do: quote(do: Py.eval!(unquote(located(code, meta, caller))))

  defp python(_code, modifiers, _caller) do
    raise ArgumentError, "Python sigils know no modifier #{inspect(List.to_string(modifiers))}"
  end

  # The text has a place in a file, unless it is a pattern or was typed into a shell.
  defp located(code, meta, %{context: nil, file: file} = caller) when file not in @typed_in do
    # The text of a heredoc begins on the line after its quotes.
    after_quotes = if meta[:indentation], do: 1, else: 0
    line = Keyword.get(meta, :line, caller.line) + after_quotes
    quote(do: Py.__located__(unquote(code), unquote(Path.relative_to_cwd(file)), unquote(line)))
  end

  defp located(code, _meta, _caller), do: code

  @doc false
  @spec __located__(String.t(), String.t(), pos_integer()) :: String.t()
  def __located__(code, file, line) do
    :ok = :py_nif.locate(code, file, line)
    code
  end

  # ---------------------------------------------------------------- inside

  defp call_options(options, allowed) do
    {target, rest} = options(options, allowed)
    {kwargs, rest} = Map.pop(rest, :kwargs, %{})
    {target, named(kwargs), rest}
  end

  defp options(options, allowed) do
    {target, rest} = options |> checked_options(allowed) |> Map.split([:pool, :context])

    case target do
      %{pool: _, context: _} -> raise ArgumentError, "both :pool and :context are given"
      %{pool: pool} -> {[pool], rest}
      %{context: context} -> {[context], rest}
      %{} -> {[], rest}
    end
  end

  # The checks are here so that messages show the arguments as they were given.

  defp name!(name) when is_atom(name) or is_binary(name), do: name

  defp name!(other) do
    raise ArgumentError,
          "the name of a module or function is an atom or a string, not #{shown(other)}"
  end

  defp source!(code) when is_binary(code) or is_list(code), do: code
  defp source!(other), do: raise(ArgumentError, "Python source is a string, not #{shown(other)}")

  @doc false
  def args!(args) when is_list(args), do: args
  def args!(other), do: raise(ArgumentError, "the arguments are a list, not #{shown(other)}")

  defp args_list!(lists) do
    if lists?(lists),
      do: lists,
      else: raise(ArgumentError, "the arguments are a list of lists, not #{shown(lists)}")
  end

  defp lists?([args | lists]) when is_list(args), do: lists?(lists)
  defp lists?(lists), do: lists == []

  defp shown(other), do: inspect(other, limit: 5, printable_limit: 60)

  # Pairs, not a map: `:py` refuses a name that is given twice.
  @doc false
  def named(pairs) when is_list(pairs), do: pairs
  def named(pairs) when is_map(pairs) and not is_struct(pairs), do: Map.to_list(pairs)

  def named(other) do
    raise ArgumentError, "names and values are a keyword list or a map, not #{shown(other)}"
  end

  # Adds the options of `:py` that all calls from Elixir have.
  @doc false
  def checked_options([], _allowed), do: %{values: :elixir}

  def checked_options(options, allowed) do
    unless Keyword.keyword?(options) do
      raise ArgumentError, "options are a keyword list, not #{shown(options)}"
    end

    options |> Keyword.validate!(allowed) |> Map.new() |> Map.put(:values, :elixir)
  end

  @doc false
  def bang!({:ok, value}), do: value
  def bang!({:error, reason}), do: raise(Py.Error, reason)
end
