defmodule Py.Object do
  @moduledoc """
  A Python object that has no counterpart in Elixir. It lives in its context as long as this is held.

      iex> {:ok, set} = Py.eval("{1}")
      iex> set
      #Py.Object<{1}>
      iex> Py.Object.call(set, :add, [2])
      {:ok, :none}
      iex> Py.Object.to_term(set)
      {:ok, [1, 2]}

  It can be an argument, or the value of a keyword argument or binding; inside a list or map, give its
  `:ref`.

      iex> {:ok, today} = Py.call(:datetime, "date.fromisoformat", ["2024-02-29"])
      iex> Py.Object.get!(today, :year)
      2024
      iex> Py.eval("day.isoformat()", day: today)
      {:ok, "2024-02-29"}
  """

  @enforce_keys [:ref]
  defstruct [:ref]

  @type t :: %__MODULE__{ref: :py_context.object()}

  @doc "Calls a method; `kwargs` are names and values."
  @spec call(t(), Py.name(), [term()], Py.named()) :: {:ok, term()} | {:error, Py.reason()}
  def call(%__MODULE__{ref: ref}, method, args \\ [], kwargs \\ []) do
    args = Enum.map(args, &unwrap/1)
    kwargs = Enum.map(kwargs, fn {name, value} -> {name, unwrap(value)} end)
    Py.wrap(:py.call_method(ref, method, args, kwargs))
  end

  @doc "As `call/4`, but returns the value, or raises `Py.Error`."
  @spec call!(t(), Py.name(), [term()], Py.named()) :: term()
  def call!(object, method, args \\ [], kwargs \\ []),
    do: Py.bang!(call(object, method, args, kwargs))

  @doc "An attribute; `name` may be dotted."
  @spec get(t(), Py.name()) :: {:ok, term()} | {:error, Py.reason()}
  def get(%__MODULE__{ref: ref}, name), do: Py.wrap(:py.getattr(ref, name))

  @doc "As `get/2`, but returns the value, or raises `Py.Error`."
  @spec get!(t(), Py.name()) :: term()
  def get!(object, name), do: Py.bang!(get(object, name))

  @doc """
  What the object stands for as a term: sets and other collections as lists, dates as text, and so on,
  see `:py_context.to_term/1`.
  """
  @spec to_term(t()) :: {:ok, term()} | {:error, Py.reason()}
  def to_term(%__MODULE__{ref: ref}), do: :py.to_term(ref)

  defp unwrap(%__MODULE__{ref: ref}), do: ref
  defp unwrap(value), do: value
end

defimpl Inspect, for: Py.Object do
  # How long a busy context is waited for, in ms, and how much is shown, in characters.
  @patience 200
  @longest 200

  def inspect(%Py.Object{ref: ref}, _options), do: "#Py.Object<#{shown(ref)}>"

  defp shown(ref) do
    with context when is_pid(context) <- :py_context.home(ref),
         {:ok, text} when is_binary(text) <-
           :py_context.call_method(context, ref, :__repr__, [], %{}, @patience) do
      if String.length(text) > @longest, do: String.slice(text, 0, @longest) <> "…", else: text
    else
      _ -> Kernel.inspect(ref)
    end
  end
end
