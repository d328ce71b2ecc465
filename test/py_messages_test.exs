defmodule PyMessagesTest do
  # A message about wrong arguments and options speaks of what was given here, not of what becomes
  # of it in Erlang. Those of the Erlang modules are in messages_SUITE.
  use ExUnit.Case, async: false

  setup_all do
    PyContextRouter.stop()
    on_exit(&PyContextRouter.stop/0)
  end

  test "a wrong argument" do
    object = Py.eval!("object()")

    rows = [
      {"the arguments are a list, not 16",
       [
         fn -> Py.call(:math, :sqrt, 16) end,
         fn -> Py.call!(:math, :sqrt, 16, pool: :default) end,
         fn -> Py.stream(:math, :sqrt, 16) end,
         fn -> Py.Object.call(object, :__hash__, 16) end
       ]},
      {"the name of a module or function is an atom or a string, not 17",
       [
         fn -> Py.call(17, :sqrt, [16]) end,
         fn -> Py.call(:math, 17, [16], pool: :default) end,
         fn -> Py.stream(17, :sqrt) end,
         fn -> Py.stream(:math, 17) end
       ]},
      {"Python source is a string, not nil",
       [fn -> Py.eval(nil) end, fn -> Py.eval!(nil, x: 1) end, fn -> Py.exec(nil) end]},
      {"names and values are a keyword list or a map, not 17",
       [
         fn -> Py.eval("x", 17) end,
         fn -> Py.call(:builtins, :dict, [], kwargs: 17) end,
         fn -> Py.Object.call(object, :__hash__, [], 17) end
       ]},
      {"options are a keyword list, not %{timeout: 1}",
       [
         fn -> Py.call(:math, :sqrt, [16], %{timeout: 1}) end,
         fn -> Py.eval("1", [], %{timeout: 1}) end,
         fn -> Py.exec("1", %{timeout: 1}) end,
         fn -> Py.stream(:math, :sqrt, [16], %{timeout: 1}) end,
         fn -> Py.parallel([], %{timeout: 1}) end,
         fn -> Py.Object.get(object, :x, %{timeout: 1}) end
       ]},
      {~r/1st argument: not a list of {Module, Func, Args}/,
       [fn -> Py.parallel([{:math, :sqrt, 16}]) end, fn -> Py.parallel([:math]) end]},
      {~r/1st argument: not a list\n/, [fn -> Py.parallel(17) end]}
    ]

    for {message, calls} <- rows, call <- calls, do: assert_raise(ArgumentError, message, call)
  end

  test "a wrong option" do
    allowed = ~r/:read_ahead, :kwargs, :pool/

    assert_raise ArgumentError, allowed, fn -> Py.stream(:math, :sqrt, [16], color: :red) end
    refute_raised(allowed, fn -> Py.call(:math, :sqrt, [16], color: :red) end)

    for options <- [[name: :io, size: 4], [size: 4]] do
      assert_raise ArgumentError,
                   "there is no option :size: how many contexts a pool has is :contexts",
                   fn -> Py.Pool.child_spec(options) end
    end

    {:error, reason} = PyContextRouter.start_pool(:io, size: 4)
    assert Exception.message(Py.Error.exception(reason)) =~ "is the option contexts"
    assert {:error, {:bad_option, {:timeout, -1}}} = Py.parallel([], timeout: -1)
  end

  defp refute_raised(message, call) do
    error = assert_raise(ArgumentError, call)
    refute Exception.message(error) =~ message
  end

  test "an Elixir module is no Python module" do
    error = assert_raise Py.Error, fn -> Py.call!(Math, :sqrt, [16]) end
    assert Exception.message(error) =~ "Elixir's Math, which is no name in Python"
  end

  test "an Elixir exception reaches Python with its message" do
    functions = [
      {fn -> raise ArgumentError, "no" end, "error: ArgumentError: no"},
      {fn -> raise KeyError, key: :a, term: %{} end,
       "error: KeyError: " <> Exception.message(%KeyError{key: :a, term: %{}})},
      {fn -> raise Py.Error, :timeout end,
       "error: Py.Error: the call took longer than its timeout"},
      {fn -> throw(%RuntimeError{message: "ö"}) end, "throw: RuntimeError: ö"},
      {fn -> exit(:shutdown) end, "exit: shutdown"}
    ]

    for {function, message} <- functions do
      :ok = Py.register_function(:py_messages, function)

      assert Py.eval("__import__('erlang').py_messages()") ==
               {:error, {"erlang.Error", message}}
    end

    :ok = Py.unregister_function(:py_messages)
  end
end
