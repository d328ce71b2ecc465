defmodule Py.Object do
  @moduledoc """
  A Python object without a term in Elixir. It lives in its context until this struct is garbage
  collected.

      iex> {:ok, set} = Py.eval("{1}")
      iex> set
      #Py.Object<{1}>
      iex> Py.Object.call(set, :add, [2])
      {:ok, nil}
      iex> Py.Object.to_term(set)
      {:ok, [1, 2]}

  It can be an argument, the value of a keyword argument or a binding, or a part of one at any
  depth.

      iex> {:ok, today} = Py.call(:datetime, "date.fromisoformat", ["2024-02-29"])
      iex> Py.Object.get!(today, :year)
      2024
      iex> Py.eval("[day.isoformat() for day in days]", days: [today])
      {:ok, ["2024-02-29"]}

  `inspect/2` shows it as Python does (`repr`), up to `:printable_limit` characters and `:limit`
  lines.

  ## Options

  All functions take the options `:timeout` (in ms, or `:infinity`; 30 000 by default),
  `:traceback` and `:on_caller_down`, as `Py` does.

      iex> {:ok, endless} = Py.eval("__import__('itertools').count()")
      iex> Py.Object.to_term(endless, timeout: 10)
      {:error, :timeout}
  """

  @enforce_keys [:ref]
  defstruct [:ref]

  @type t :: %__MODULE__{ref: :py_context.object()}

  @options [:timeout, :traceback, :on_caller_down]

  @doc "Calls a method; `kwargs` are names and values."
  @spec call(t(), Py.name(), [term()], Py.named(), keyword()) ::
          {:ok, term()} | {:error, Py.reason()}
  def call(%__MODULE__{ref: ref}, method, args \\ [], kwargs \\ [], options \\ []),
    do: :py.call_method(ref, method, Py.args!(args), Py.named(kwargs), checked(options))

  @doc "As `call/5`, but returns the value, or raises `Py.Error`."
  @spec call!(t(), Py.name(), [term()], Py.named(), keyword()) :: term()
  def call!(object, method, args \\ [], kwargs \\ [], options \\ []),
    do: Py.bang!(call(object, method, args, kwargs, options))

  @doc "An attribute; `name` may be dotted."
  @spec get(t(), Py.name(), keyword()) :: {:ok, term()} | {:error, Py.reason()}
  def get(%__MODULE__{ref: ref}, name, options \\ []),
    do: :py.getattr(ref, name, checked(options))

  @doc "As `get/3`, but returns the value, or raises `Py.Error`."
  @spec get!(t(), Py.name(), keyword()) :: term()
  def get!(object, name, options \\ []), do: Py.bang!(get(object, name, options))

  @doc """
  The term that stands for the object: a list for a set or another collection, text for a date, and
  so on, see `:py_context.to_term/1`.
  """
  @spec to_term(t(), keyword()) :: {:ok, term()} | {:error, Py.reason()}
  def to_term(%__MODULE__{ref: ref}, options \\ []), do: :py.to_term(ref, checked(options))

  @doc "As `to_term/2`, but returns the value, or raises `Py.Error`."
  @spec to_term!(t(), keyword()) :: term()
  def to_term!(object, options \\ []), do: Py.bang!(to_term(object, options))

  defp checked(options), do: Py.checked_options(options, @options)
end

defimpl Inspect, for: Py.Object do
  import Inspect.Algebra

  # How long `inspect` waits for a busy context, in ms.
  @timeout 200

  # The lines are aligned, also inside a larger term.
  def inspect(%Py.Object{ref: ref}, options) do
    lines = ref |> shown() |> cut(options) |> Enum.intersperse(line())
    concat(["#Py.Object<", nest(concat(lines), :cursor), ">"])
  end

  defp shown(ref) do
    with context when is_pid(context) <- :py_context.context_of(ref, @timeout),
         {:ok, text} when is_binary(text) <-
           :py_context.call_method(context, ref, :__repr__, [], %{}, @timeout) do
      text
    else
      _ -> Kernel.inspect(ref)
    end
  end

  # `:printable_limit` characters, as of a string, in `:limit` lines, as of items of a list.
  defp cut(text, %Inspect.Opts{limit: limit, printable_limit: printable}) do
    lines = text |> cut_text(printable) |> String.split("\n")
    if length(lines) > limit, do: Enum.take(lines, limit) ++ ["…"], else: lines
  end

  defp cut_text(text, :infinity), do: text

  defp cut_text(text, most) do
    case String.split_at(text, most) do
      {text, ""} -> text
      {begun, _} -> begun <> "…"
    end
  end
end
