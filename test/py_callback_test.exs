defmodule PyCallbackTest do
  use ExUnit.Case

  import ExUnit.CaptureIO
  import ExUnit.CaptureLog

  setup_all do
    {:ok, ctx} = :py_context_sup.start_context(__MODULE__, :worker)
    on_exit(fn -> :py_context_sup.stop_context(ctx) end)
    %{ctx: ctx}
  end

  test "what Python prints is captured", %{ctx: ctx} do
    assert capture_io(fn -> :ok = :py_context.exec(ctx, "print('from Python', end='')") end) ==
             "from Python"

    assert capture_io(fn -> :ok = :py_context.exec(ctx, "for n in range(3): print(n)") end) ==
             "0\n1\n2\n"
  end

  test "what Python logs is captured", %{ctx: ctx} do
    log =
      capture_log(fn ->
        :ok =
          :py_context.exec(ctx, "import logging; logging.getLogger('x').error('it %s', 'broke')")
      end)

    assert log =~ "it broke"
    assert log =~ "[error]"
  end

  test "Python calls Elixir", %{ctx: ctx} do
    :ok = :py.register_function("upcase", &String.upcase/1)
    :ok = :py.register_function(:explode, fn -> raise ArgumentError, "no" end)
    assert :py_context.eval(ctx, "__import__('erlang').upcase('größe')") == {:ok, "GRÖSSE"}

    assert {:error, {"erlang.Error", "error: " <> reason}} =
             :py_context.eval(ctx, "__import__('erlang').explode()")

    assert reason =~ "ArgumentError"
  end
end
