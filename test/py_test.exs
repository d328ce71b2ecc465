defmodule PyTest do
  use ExUnit.Case

  import Py, only: [sigil_P: 2]

  setup_all do
    PyContextRouter.stop()
    on_exit(&PyContextRouter.stop/0)
  end

  doctest Py
  doctest Py.Object
  doctest Py.Pool

  test "where a call goes is an option" do
    {:ok, _} =
      start_supervised({Py.Pool, name: :elsewhere, contexts: 1, preload: "here = 'elsewhere'"})

    context = PyContextRouter.get_context(:elsewhere)
    assert Py.eval("here", [], pool: :elsewhere) == {:ok, "elsewhere"}
    assert Py.eval("here", [], context: context) == {:ok, "elsewhere"}
    assert Py.exec("x = here + '!'", pool: :elsewhere) == :ok
    assert Py.eval("x", [], pool: :elsewhere) == {:ok, "elsewhere!"}
    assert Py.call(:__main__, "x.upper", [], context: context) == {:ok, "ELSEWHERE!"}
    assert Py.stream(:builtins, :range, [3], pool: :elsewhere) |> Enum.to_list() == [0, 1, 2]
    assert Py.stream(:builtins, :range, [3], context: context) |> Enum.to_list() == [0, 1, 2]
    assert {:error, {:NameError, _}} = Py.eval("here")

    assert_raise ArgumentError, ~r/both/, fn ->
      Py.call(:math, :sqrt, [1], pool: :elsewhere, context: context)
    end
  end

  test "options are checked by name" do
    for call <- [
          fn -> Py.call(:math, :sqrt, [1], color: :red) end,
          fn -> Py.eval("1", [], kwargs: %{}) end,
          fn -> Py.exec("1", color: :red) end,
          fn -> Py.stream(:builtins, :range, [1], color: :red) end,
          fn -> Py.stream(:builtins, :range, [1], timeout: 1_000) end,
          fn -> Py.parallel([], color: :red) end,
          fn -> Py.Pool.child_spec(name: :x, size: 2) end,
          fn -> Py.Pool.child_spec(contexts: 2) end
        ] do
      assert_raise ArgumentError, call
    end

    assert Py.call(:math, :sqrt, [1], timeout: -1) == {:error, {:bad_option, {:timeout, -1}}}
  end

  test "results come as asked for" do
    source = "[{'price': __import__('decimal').Decimal('1.50')}]"
    assert Py.eval(source, [], result: :term) == {:ok, [%{"price" => "1.50"}]}

    assert Py.stream(:builtins, :iter, [[1, 2]], result: :object)
           |> Enum.map(&Py.Object.to_term/1) == [ok: 1, ok: 2]

    assert {:ok, %Py.Object{} = list} = Py.call(:builtins, :list, [[1]], result: :object)
    assert Py.Object.call!(list, :append, [2]) == nil
    assert Py.Object.to_term(list) == {:ok, [1, 2]}
    assert_raise ArgumentError, fn -> Py.exec("1", result: :term) end
  end

  test "a name that is given twice is refused" do
    {:ok, list} = Py.eval("object()")

    for call <- [
          fn -> Py.eval("x", x: 1, x: 2) end,
          fn -> Py.call(:builtins, :dict, [], kwargs: [a: 1, a: 2]) end,
          fn -> Py.stream(:builtins, :dict, [], kwargs: [a: 1, a: 2]) |> Enum.to_list() end,
          fn -> Py.parallel([{:builtins, :dict, [], [a: 1, a: 2]}]) end,
          fn -> Py.Object.call(list, :__repr__, [], a: 1, a: 2) end
        ] do
      assert_raise ArgumentError, ~r/a name is given twice/, call
    end

    assert Py.call(:builtins, :dict, [], kwargs: %{"a" => 1}) == {:ok, %{"a" => 1}}
  end

  test "what goes wrong is raised by the functions that say so" do
    assert_raise Py.Error, "ZeroDivisionError: division by zero", fn -> Py.eval!("1/0") end
    assert_raise Py.Error, ~r/^Traceback/, fn -> Py.eval!("1/0", [], traceback: true) end
    assert_raise Py.Error, ~r/timeout/, fn -> Py.exec!("while True: pass", timeout: 20) end
    assert Py.exec!("x = 1") == :ok
  end

  test "a stream is lazy, and its generator is closed when the consumer has enough" do
    :ok =
      Py.exec(~P"""
      log = []
      def count():
          try:
              n = 0
              while True:
                  log.append(n)
                  yield n
                  n += 1
          finally:
              log.append('closed')
      """)

    stream = Py.stream(:__main__, :count, [], read_ahead: 5)
    assert Py.eval("log") == {:ok, []}
    assert Enum.take(stream, 3) == [0, 1, 2]
    {:ok, log} = Py.eval("log")
    assert List.last(log) == "closed"
    assert length(log) <= 3 + 5 + 1
    # Each run is a new one.
    assert Enum.take(stream, 2) == [0, 1]
    assert_raise RuntimeError, fn -> Enum.each(stream, fn _ -> raise "enough" end) end
    refute_received {:py_stream, _, _}
    assert Py.eval("log[-1]") == {:ok, "closed"}
  end

  test "a stream asks for its pool when it is run" do
    stream = Py.stream(:builtins, :range, [3], pool: :not_yet)
    error = assert_raise Py.Error, fn -> Enum.to_list(stream) end
    assert error.reason == {:pool_not_started, :not_yet}
    start_supervised!({Py.Pool, name: :not_yet, contexts: 1})
    assert Enum.to_list(stream) == [0, 1, 2]
  end

  test "a stream waits for a context of its pool, as a call does" do
    flag = Path.join(System.tmp_dir!(), "py_test_may_start_#{System.pid()}")
    on_exit(fn -> File.rm(flag) end)
    File.touch!(flag)
    start_supervised!({Py.Pool, name: :healing, contexts: 1, preload: "open('#{flag}')"})
    File.rm!(flag)
    context = PyContextRouter.get_context(:healing)
    Process.exit(context, :kill)
    # Dead to its callers once it has no more to say of itself.
    await(fn -> match?({:error, _}, :py_context.info(context)) end)

    stream = Py.stream(:builtins, :range, [3], pool: :healing)
    consumer = Task.async(fn -> Enum.to_list(stream) end)
    File.touch!(flag)
    assert Task.await(consumer, 30_000) == [0, 1, 2]
  end

  defp await(condition) do
    unless condition.() do
      Process.sleep(1)
      await(condition)
    end
  end

  test "an exception in a stream comes with its traceback" do
    :ok = Py.exec("def worse():\n  yield 1\n  raise ValueError('no more')")

    assert_raise Py.Error, ~r/^Traceback/, fn ->
      :__main__ |> Py.stream(:worse, [], traceback: true) |> Enum.to_list()
    end
  end

  test "a stream's generator doesn't outlive its consumer" do
    stream = Py.stream(:builtins, :range, [3], on_caller_down: :finish)
    error = assert_raise Py.Error, fn -> Enum.to_list(stream) end
    assert error.reason == {:bad_option, {:on_caller_down, :finish}}
  end

  test "an exception in a stream is raised after the items before it" do
    :ok = Py.exec("def some():\n  yield 1\n  raise ValueError('no more')")
    parent = self()

    assert_raise Py.Error, "ValueError: no more", fn ->
      :__main__ |> Py.stream(:some) |> Enum.each(&send(parent, {:item, &1}))
    end

    assert_received {:item, 1}
    refute_received {:py_stream, _, _}
  end

  test "objects are arguments, and are shown as Python shows them" do
    {:ok, %Py.Object{} = set} = Py.eval("{1, 2}")
    assert inspect(set) == "#Py.Object<{1, 2}>"
    assert Py.call(:builtins, :len, [set]) == {:ok, 2}
    assert Py.eval("len(s)", s: set) == {:ok, 2}
    assert Py.call(:builtins, :sorted, [set], kwargs: %{reverse: true}) == {:ok, [2, 1]}
    assert Py.Object.call!(set, :union, [set]) |> inspect() == "#Py.Object<{1, 2}>"
    assert_raise Py.Error, fn -> Py.Object.get!(set, :nothing) end

    assert {:ok, [{:ok, 2}, {:ok, %Py.Object{}}]} =
             Py.parallel([{:builtins, :len, [set]}, {:builtins, :set, [[1]]}])
  end

  test "the sigil leaves everything as it is" do
    assert ~P"'#{x}\n'" == "'\#{x}\\n'"
    assert Py.eval(~P"len('#{x}\n')") == {:ok, 5}
    assert ~P"x + 1" |> Py.eval(x: 1) == {:ok, 2}
    assert ~P"sum([1, 2])"e == 3
    assert_raise ArgumentError, ~r/"z"/, fn -> Code.eval_string("import Py; ~P[1]z") end
  end

  test "tracebacks name the place of a sigil" do
    line = __ENV__.line

    :ok =
      Py.exec(~P"""
      def fails(n):
          return 1 / n
      """)

    file = Path.relative_to_cwd(__ENV__.file)

    assert {:error, {:ZeroDivisionError, _, %{frames: frames, formatted: formatted}}} =
             Py.eval(~P"fails(0)", [], traceback: true)

    assert [{^file, top}, {^file, inner}] = Enum.map(frames, &{&1.file, &1.line})
    assert {top, inner} == {line + 11, line + 5}
    assert formatted =~ ~s(File "#{file}", line #{inner}, in fails\n    return 1 / n\n)
    assert formatted =~ ~s(File "#{file}", line #{top}, in <module>\n    fails\(0\)\n)
    # Also for what Python code itself makes of it, and where the expression begins with blanks.
    :ok = Py.exec(~P"import inspect, traceback")
    assert Py.eval!(~P"inspect.getsource(fails)") == "def fails(n):\n    return 1 / n\n"

    assert {:error, {:ZeroDivisionError, _, %{frames: [%{line: above}]}}} =
             Py.eval(~P"  1 / 0", [], traceback: true)

    assert above == __ENV__.line - 2

    assert {:error, {:SyntaxError, message}} = Py.eval(~P"x = = 1")

    assert message =~ "(py_test.exs, line #{__ENV__.line - 2}, column 3)"
    # What is in no file has a name of its own; and a sigil can be a pattern.
    {{:error, {_, _, trace}}, _} =
      Code.eval_string("import Py; Py.eval(~P[0/0], [], traceback: true)")

    assert [%{file: "<erlang-" <> _}] = trace.frames
    assert ~P"x" = "x"
  end

  # Sigils of more than one letter can't even be read before.
  if Version.match?(System.version(), ">= 1.15.0") do
    test "the sigil has two letters where that is possible" do
      code = "import Py; {~PY[x + 1], ~PY[2 ** 10]e}"
      assert {{"x + 1", 1024}, _} = Code.eval_string(code)
    end
  end
end
