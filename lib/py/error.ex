defmodule Py.Error do
  @moduledoc """
  An error of a call into Python, as an exception.

  The functions of the Erlang modules return `{:error, reason}`. This exception has the same
  reason:

      iex> {:ok, _} = PyContextRouter.start()
      iex> ctx = PyContextRouter.get_context()
      iex> {:error, reason} = :py_context.eval(ctx, "1 / 0")
      iex> Py.Error.exception(reason)
      %Py.Error{
        type: :ZeroDivisionError,
        reason: {:ZeroDivisionError, "division by zero"},
        traceback: nil
      }
      iex> Exception.message(Py.Error.exception(reason))
      "ZeroDivisionError: division by zero"
      iex> {:error, reason} = :py_context.call(ctx, :json, :loads, ["{"])
      iex> Py.Error.exception(reason).type
      "json.decoder.JSONDecodeError"
      iex> Exception.message(Py.Error.exception(:timeout))
      "the call took longer than its timeout"
  """

  @typedoc """
    * `:reason` - the reason of `{:error, reason}`, see `t::py_context.error/0`;
    * `:type` - the class of a Python exception: an atom for Python's built-in classes, such as
      `:ValueError`, else a string with the qualified name, such as
      `"json.decoder.JSONDecodeError"`, or `"MyError"` for a class of `__main__`. It is `nil` for
      other errors;
    * `:traceback` - with the option `traceback: true`,
      `%{frames: [%{file: _, line: _, function: _}], formatted: text}`.
  """
  @type t :: %__MODULE__{
          type: atom() | String.t() | nil,
          reason: term(),
          traceback: :py_context.traceback() | nil
        }

  defexception [:type, :reason, :traceback]

  @impl true
  @doc "Makes the exception from a reason, or from `{:error, reason}`."
  @spec exception(term()) :: t()
  def exception({:error, reason}), do: exception(reason)

  def exception({type, message, %{formatted: _} = traceback} = reason) when is_binary(message) do
    %__MODULE__{type: type, reason: reason, traceback: traceback}
  end

  def exception({type, message} = reason) when is_binary(message) do
    if class?(type),
      do: %__MODULE__{type: type, reason: reason},
      else: %__MODULE__{reason: reason}
  end

  def exception(reason), do: %__MODULE__{reason: reason}

  # Python's built-in classes begin with a capital, unlike `:no_term` and the like.
  defp class?(type) when is_atom(type), do: match?(<<c, _::binary>> when c in ?A..?Z, "#{type}")
  defp class?(type), do: is_binary(type)

  @impl true
  @doc "The error as a sentence; with a traceback, as Python prints it."
  @spec message(t()) :: String.t()
  def message(%__MODULE__{reason: reason}), do: :py_error.format(reason)
end
