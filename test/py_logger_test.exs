defmodule PyLoggerTest do
  # What the library and Python's logging report is seen in Elixir, in the words that Erlang shows.
  # `Logger.Translator` drops reports with the key `:label` that aren't OTP's.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog

  setup_all do
    {:ok, ctx} = :py_context_sup.start_context(__MODULE__, :worker)
    on_exit(fn -> :py_context_sup.stop_context(ctx) end)
    %{ctx: ctx}
  end

  # The text has Erlang's terms, and Elixir's in their place.
  @reports [
    {%{event: {:py, :cast_failed}, caller: :someone, call: "math.sqrt", reason: :timeout},
     "Python, cast from someone, math.sqrt: the call took longer than its timeout"},
    {%{event: {:py_context, :start_failed}, pool: :someone, slot: 2, reason: {:ValueError, "é"}},
     "Python context 2 of pool someone can't start and is being retried: ValueError: é"},
    {%{event: {:py_context, :recovered}, pool: :someone, slot: 2, failures: 3},
     "Python context 2 of pool someone has started, after 3 failures"},
    {%{event: {:py_context, :replaced}, context: :someone, quarantined: 2},
     "Python context someone was stuck in C code and has been replaced; " <>
       "of its former threads 2 are stuck"},
    {%{event: {:py_context, :not_replaced}, context: :someone, reason: {:OSError, "no"}},
     "Python context someone is stuck in C code and can't be replaced yet: OSError: no"},
    {%{event: {:py_config, :unknown_keys}, unknown: [:pythn], known: [:pools, :python]},
     "The application environment of py_context_router has keys without effect: pythn. " <>
       "It knows pools, python"},
    {%{event: {:py_log, :dropped}, count: 7},
     "Handlers of logger held up Python's log events, and 7 of them were dropped"},
    {%{event: {:py_output, :dropped}, leader: :someone},
     "The group leader someone doesn't answer; " <>
       "what Python code prints for it is dropped until it does"}
  ]

  test "each of the library's reports is seen" do
    for {report, text} <- @reports do
      log = capture_log(fn -> :logger.error(report, %{report_cb: &:py_error.report/1}) end)
      assert log =~ String.replace(text, "someone", ":someone")
      assert erlang(report) == text
    end
  end

  # One that is added belongs among those above.
  test "these are all of the library's reports" do
    events =
      for file <- Path.wildcard(Path.expand("../src/*/*.erl", __DIR__)),
          line <- String.split(File.read!(file), "\n"),
          [_, event] <- Regex.scan(~r/#\{(?:event|label) :?=> (\{\w+, \w+\})/, line),
          do: event

    known = for {%{event: {module, what}}, _} <- @reports, do: "{#{module}, #{what}}"
    assert Enum.sort(events) == Enum.sort(["{python, exception}" | known])
  end

  defp erlang(report) do
    {format, arguments} = :py_error.report(report)
    format |> :io_lib.format(arguments) |> IO.chardata_to_string()
  end

  test "an exception that Python logs is seen with its traceback", %{ctx: ctx} do
    log =
      capture_log(fn ->
        :ok =
          :py_context.exec(ctx, """
          import logging
          try:
              1 / 0
          except ZeroDivisionError:
              logging.exception('oops')
          """)
      end)

    assert log =~ "[error] oops\nTraceback (most recent call last):"
    assert log =~ "ZeroDivisionError: division by zero"
  end

  test "a cast that fails is seen" do
    log = seen("division by zero", fn -> :ok = :py.cast(:operator, :truediv, [1, 0]) end)

    assert log =~ "[error] Python, cast from #{inspect(self())}, operator.truediv: "
  end

  test "a context that is replaced is seen" do
    {:ok, stuck} = :py_context.new(%{stuck_after: 20})

    log =
      seen("has been replaced", fn ->
        {:error, :timeout} = :py_context.call(stuck, :time, :sleep, [1], %{}, 10)
      end)

    assert log =~ "[warning] Python context"
    :ok = :py_context.stop(stuck)
  end

  # The log of what `fun` leads to, once `text` is in it.
  defp seen(text, fun) do
    test = self()

    filter = fn event, _ ->
      send(test, {:logged, event})
      :ignore
    end

    :ok = :logger.add_primary_filter(__MODULE__, {filter, []})

    try do
      capture_log(fn ->
        fun.()
        await(text)
      end)
    after
      :logger.remove_primary_filter(__MODULE__)
    end
  end

  defp await(text) do
    assert_receive {:logged, %{msg: {:report, %{event: _} = report}, meta: meta}}, 10_000
    {format, arguments} = meta.report_cb.(report)

    if format |> :io_lib.format(arguments) |> IO.chardata_to_string() =~ text do
      # The process that has logged it answers once the handlers have it.
      _ = :sys.get_state(meta.pid)
    else
      await(text)
    end
  end
end
