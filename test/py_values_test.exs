defmodule PyValuesTest do
  use ExUnit.Case

  doctest Py.Error
  doctest Py.Tensor

  test "an error with its traceback is raised with Python's own words" do
    {:ok, _} = PyContextRouter.start()
    ctx = PyContextRouter.get_context()
    {:error, reason} = :py_context.eval(ctx, "int('x')", %{}, %{traceback: true})
    error = Py.Error.exception({:error, reason})
    assert %Py.Error{type: :ValueError, traceback: %{frames: [%{line: 1}]}} = error
    assert_raise Py.Error, ~r/^Traceback.*ValueError: invalid literal/s, fn -> raise error end
  end

  test "what is no exception of Python has no type" do
    for reason <- [
          :timeout,
          {:too_deep, 3},
          {:no_term, "object"},
          {:unconvertible, "args[0]", "fun"},
          {:no_interpreter, "no memory"},
          {:python_failed, "no encodings"}
        ] do
      assert %Py.Error{type: nil, reason: ^reason} = Py.Error.exception(reason)
    end
  end

  test "an exception of Python has its class as a type" do
    for type <- [
          :ValueError,
          :BaseExceptionGroup,
          "MyError",
          "json.decoder.JSONDecodeError",
          "_x"
        ] do
      assert %Py.Error{type: ^type} = Py.Error.exception({type, "no"})
      assert %Py.Error{type: ^type} = Py.Error.exception({type, "no", %{formatted: "no"}})
    end
  end

  test "every element type goes there and back" do
    for {kind, sizes} <- [s: [8, 16, 32, 64], u: [8, 16, 32, 64], f: [16, 32, 64], c: [64, 128]],
        size <- sizes do
      tensor = {{kind, size}, {2, 1}, <<0::size(size)-unit(2)>>}
      {:ndarray, dtype, shape, data} = Py.Tensor.to_python(tensor)
      assert Py.Tensor.from_python(%{dtype: dtype, shape: shape, data: data}) == tensor
    end
  end

  test "element types that one side lacks are named" do
    assert_raise ArgumentError, ~r/{:bf, 16}/, fn ->
      Py.Tensor.to_python({{:bf, 16}, {1}, <<0, 0>>})
    end

    assert_raise ArgumentError, ~r/">f8"/, fn ->
      Py.Tensor.from_python(%{dtype: ">f8", shape: [0], data: ""})
    end
  end

  test "a tensor of Python's own making" do
    {:ok, _} = PyContextRouter.start()
    ctx = PyContextRouter.get_context()
    {:ok, array} = :py_context.eval(ctx, "__import__('array').array('f', [1.5, 2.5])")
    {:ok, buffer} = :py_context.to_buffer(array)

    assert Py.Tensor.from_python(buffer) ==
             {{:f, 32}, {2}, <<1.5::float-32-native, 2.5::float-32-native>>}
  end
end
