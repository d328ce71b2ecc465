defmodule Py.Tensor do
  @moduledoc """
  Converts arrays between Python and libraries such as Nx, which represent them as a type, a shape
  and a binary.

  There is no dependency on Nx: a tensor is `{type, shape, binary}`, with Nx's types and shapes. To
  pass one to Python, and to make one from a Python array:

      Py.Tensor.to_python({Nx.type(t), Nx.shape(t), Nx.to_binary(t)})

      {type, shape, binary} = Py.Tensor.from_python(buffer)
      binary |> Nx.from_binary(type) |> Nx.reshape(shape)

  Neither copies the numbers.
  """

  @typedoc "Nx's: `{:s, 32}`, `{:u, 8}`, `{:f, 64}`, `{:bf, 16}`, `{:c, 64}`."
  @type type :: {:s | :u | :f | :bf | :c, pos_integer()}

  @typedoc "`{2, 3}` for two rows of three."
  @type shape :: tuple()

  @doc """
  An argument that is a read-only numpy array in Python.

      iex> Py.Tensor.to_python({{:f, 32}, {2, 1}, <<1.0::float-32-native, 2.0::float-32-native>>})
      {:ndarray, "float32", [2, 1], <<1.0::float-32-native, 2.0::float-32-native>>}

  `:bf` is an `ArgumentError`: numpy has no such type.
  """
  @spec to_python({type(), shape(), binary()}) ::
          {:ndarray, String.t(), [non_neg_integer()], binary()}
  def to_python({type, shape, binary}) when is_tuple(shape) and is_binary(binary) do
    {:ndarray, dtype(type), Tuple.to_list(shape), binary}
  end

  @doc """
  The tensor for a result of `:py_context.to_buffer/1`.

      iex> Py.Tensor.from_python(%{dtype: "int64", shape: [3], data: <<0::192>>})
      {{:s, 64}, {3}, <<0::192>>}
      iex> Py.Tensor.from_python(%{dtype: "bool", shape: [2], data: <<1, 0>>})
      {{:u, 8}, {2}, <<1, 0>>}

  Element types that Nx doesn't have are an `ArgumentError`.
  """
  @spec from_python(:py_context.buffer()) :: {type(), shape(), binary()}
  def from_python(%{dtype: dtype, shape: shape, data: data}) do
    {type(dtype), List.to_tuple(shape), data}
  end

  @kinds %{s: "int", u: "uint", f: "float", c: "complex"}
  @sizes %{s: [8, 16, 32, 64], u: [8, 16, 32, 64], f: [16, 32, 64], c: [64, 128]}
  @names for {kind, sizes} <- @sizes,
             size <- sizes,
             into: %{},
             do: {{kind, size}, "#{@kinds[kind]}#{size}"}
  @types for({type, name} <- @names, into: %{"bool" => {:u, 8}}, do: {name, type})

  defp dtype(type) do
    case @names do
      %{^type => name} -> name
      %{} -> raise ArgumentError, "numpy has no element type #{inspect(type)}"
    end
  end

  defp type(name) do
    case @types do
      %{^name => type} -> type
      %{} -> raise ArgumentError, "there is no tensor of Python's element type #{inspect(name)}"
    end
  end
end
