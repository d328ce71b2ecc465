defmodule PyElixirValuesTest do
  # None is nil and objects are Py.Object in all that `Py` returns, at any depth; structs don't go
  # to Python. Natively that is tested in values_SUITE.
  use ExUnit.Case, async: false

  setup_all do
    PyContextRouter.stop()
    on_exit(&PyContextRouter.stop/0)
  end

  @source "[None, (None, {'k': [None], None: 1}), object()]"

  defmacrop values, do: quote(do: [nil, {nil, %{nil => 1, "k" => [nil]}}, %Py.Object{}])

  test "results of every function" do
    :ok = Py.exec("def give(): return #{@source}")

    :ok =
      Py.exec("""
      class Thing:
          value = give()
          def give(self): return give()
      """)

    thing = Py.eval!("Thing()")
    assert {:ok, values()} = Py.eval(@source)
    assert values() = Py.eval!(@source)
    assert {:ok, values()} = Py.call(:__main__, :give)
    assert values() = Py.call!(:__main__, :give)
    assert {:ok, values()} = Py.Object.call(thing, :give)
    assert values() = Py.Object.call!(thing, :give)
    assert {:ok, values()} = Py.Object.get(thing, :value)
    assert values() = Py.Object.get!(thing, :value)
    assert Py.Object.to_term(Py.eval!("iter([None, {None}])")) == {:ok, [nil, [nil]]}
    assert Py.Object.to_term!(Py.eval!("iter([None])")) == [nil]
    refute Py.call!(:re, :match, ["x", "abc"])
  end

  test "where a call goes makes no difference" do
    start_supervised!({Py.Pool, name: :there, contexts: 1})
    context = PyContextRouter.get_context(:there)

    for options <- [[pool: :there], [context: context], [env: :none], [traceback: true]] do
      assert {:ok, values()} = Py.eval(@source, [], options)
      assert {:ok, [nil]} = Py.call(:builtins, :list, [[nil]], options)
    end
  end

  test "streams" do
    :ok = Py.exec("def gen(): yield from #{@source}")
    :ok = Py.exec("async def agen():\n  for value in #{@source}: yield value")

    for generator <- [:gen, :agen] do
      assert values() = :__main__ |> Py.stream(generator) |> Enum.to_list()
    end
  end

  test "calls side by side, coroutines too" do
    :ok = Py.exec("async def give(): return #{@source}")
    item = {:operator, :getitem, [[nil], 0]}

    assert {:ok, [{:ok, nil}, {:ok, nil}, {:ok, values()}, {:ok, values()}]} =
             Py.parallel([item, item, {:__main__, :give, []}, {:__main__, :give, [], []}])
  end

  test "arguments of functions that Python calls" do
    test = self()
    :ok = Py.register_function(:elixir_values, &send(test, {:given, &1}))
    assert {:ok, _} = Py.eval("__import__('erlang').elixir_values(#{@source})")
    assert_receive {:given, values()}
    :ok = Py.register_function("elixir_values", List, :wrap)
    assert Py.eval("__import__('erlang').elixir_values(None)") == {:ok, []}
    :ok = Py.unregister_function(:elixir_values)
    assert {:error, {:AttributeError, _}} = Py.eval("__import__('erlang').elixir_values")
  end

  test "an object is an argument, wherever it is" do
    set = Py.eval!("{1, 2}")
    assert Py.eval("len(xs[0]['s'])", xs: [%{s: set}]) == {:ok, 2}
    assert Py.call!(:builtins, :list, [{set}]) |> inspect() == "[#Py.Object<{1, 2}>]"
    kwargs = [a: [set]]
    dict = Py.call!(:builtins, :dict, [], kwargs: kwargs)
    assert inspect(dict) == ~s(%{"a" => [#Py.Object<{1, 2}>]})
    assert Py.stream(:builtins, :iter, [[set]]) |> Enum.map(&inspect/1) == ["#Py.Object<{1, 2}>"]
    assert {:ok, [{:ok, [%Py.Object{}]}]} = Py.parallel([{:builtins, :list, [[set]]}])
  end

  test "a struct is refused wherever it is" do
    set = MapSet.new([1])
    assert Py.eval("3 in s", s: set) == {:error, {:unconvertible, "locals.s", "struct MapSet"}}

    assert Py.call(:builtins, :repr, [[%{at: ~D[2024-02-29]}]]) ==
             {:error, {:unconvertible, "args[0][0].at", "struct Date"}}

    for call <- [
          fn -> Py.eval("s", set) end,
          fn -> Py.eval("s", ~D[2024-02-29]) end,
          fn -> Py.call(:builtins, :dict, [], kwargs: set) end,
          fn -> Py.parallel([{:builtins, :dict, [], set}]) end,
          fn -> Py.Object.call(Py.eval!("object()"), :__repr__, [], set) end
        ] do
      assert_raise ArgumentError, ~r/(not a|or a) map/, call
    end

    assert Exception.message(Py.Error.exception({:unconvertible, "args[0]", "struct Date"})) =~
             "args[0]"
  end

  test "calls about an object have a timeout" do
    :ok =
      Py.exec("""
      class Slow:
          def run(self):
              while True: pass
          value = property(run)
      """)

    slow = Py.eval!("Slow()")
    endless = fn -> Py.eval!("__import__('itertools').count()") end
    assert Py.Object.call(slow, :run, [], [], timeout: 10) == {:error, :timeout}
    assert Py.Object.get(slow, :value, timeout: 10) == {:error, :timeout}
    assert Py.Object.to_term(endless.(), timeout: 10) == {:error, :timeout}

    for call <- [
          fn -> Py.Object.call!(slow, :run, [], [], timeout: 10) end,
          fn -> Py.Object.get!(slow, :value, timeout: 10) end,
          fn -> Py.Object.to_term!(endless.(), timeout: 10) end
        ] do
      assert_raise Py.Error, ~r/timeout/, call
    end

    for call <- [
          fn -> Py.Object.call(slow, :run, [], [], env: :none) end,
          fn -> Py.Object.get(slow, :value, pool: :default) end,
          fn -> Py.Object.to_term(slow, values: :erlang) end
        ] do
      assert_raise ArgumentError, ~r/unknown keys/, call
    end
  end

  test "an object of another node" do
    context = on_another_node()
    {:ok, [set]} = Py.eval("[{1, 2}]", [], context: context)
    assert {:ok, nil} = Py.Object.call(set, :add, [3])
    assert Py.Object.get(set, "__class__.__name__") == {:ok, "set"}
    assert Py.Object.to_term(set) == {:ok, [1, 2, 3]}
    assert inspect(set) == "#Py.Object<{1, 2, 3}>"
    assert Py.eval("len(s)", [s: set], context: context) == {:ok, 3}
    assert {:ok, values()} = Py.eval(@source, [], context: context)
    # It has no place in a context of this one.
    assert Py.eval("s", s: set) == {:error, {:wrong_context, :object}}
  end

  defp on_another_node do
    unless Node.alive?() do
      {_, 0} = System.cmd("epmd", ["-daemon"])
      {:ok, _} = Node.start(:"py_elixir_tests_#{System.pid()}", :shortnames)
      on_exit(&Node.stop/0)
    end

    paths = Enum.flat_map(:code.get_path(), &[String.to_charlist("-pa"), &1])
    {:ok, peer, node} = :peer.start_link(%{name: :peer.random_name(), args: paths})
    on_exit(fn -> Process.exit(peer, :kill) end)
    {:ok, _} = :erpc.call(node, :application, :ensure_all_started, [:py_context_router])
    {:ok, context} = :erpc.call(node, :py_context_sup, :start_context, [:remote, :worker])
    context
  end
end
