defmodule PyOptionsTest do
  # Each option of `Py` and `Py.Pool` has its effect.
  use ExUnit.Case, async: false

  setup_all do
    PyContextRouter.stop()
    on_exit(&PyContextRouter.stop/0)
  end

  # ---------------------------------------------------------------- pools

  test "a pool takes all options of a pool" do
    given = %{
      contexts: 2,
      mode: :worker,
      max_queue: 5,
      preload: "loaded = 17",
      shutdown: 1_234,
      on_caller_down: :finish,
      stuck_after: 4_321,
      interrupt_grace: 321,
      direct_limit: 300,
      max_tasks: 12,
      cancel_grace: 34,
      event_loop: :asyncio,
      route: :affinity,
      overload: {:wait, 100},
      venv: nil
    }

    # One that is new belongs here, and into `Py.Pool`.
    {:ok, all} = :py_options.pool(%{})
    assert Map.keys(all) -- Map.keys(given) == []

    options = [name: :all_options] ++ Map.to_list(Map.delete(given, :venv))
    start_supervised!({Py.Pool, options})
    info = PyContextRouter.info(:all_options)
    shown = Map.take(given, Map.keys(info) -- [:contexts, :venv])
    assert Map.take(info, Map.keys(shown)) == shown
    assert length(PyContextRouter.contexts(:all_options)) == 2
    assert Py.eval("loaded", [], pool: :all_options) == {:ok, 17}

    # What isn't shown is refused where it is wrong. Any atom may be the name of a module.
    for key <- Map.keys(given) -- [:venv, :event_loop] do
      Process.flag(:trap_exit, true)

      assert Py.Pool.start_link([{:name, :wrong_options}, {key, :wrong}]) ==
               {:error, {:bad_option, {key, :wrong}}}
    end

    assert {:error, {:FileNotFoundError, _}} =
             Py.Pool.start_link(name: :wrong_options, venv: "/nothing")

    assert_raise ArgumentError, ~r/a pool needs a :name/, fn ->
      Py.Pool.child_spec(contexts: 1)
    end

    assert_raise ArgumentError, ~r/the options of a pool are a keyword list, not %{/, fn ->
      Py.Pool.start_link(%{name: :wrong_options})
    end
  end

  test "a pool does with jobs of dead callers what its option says" do
    start(:finishing, on_caller_down: :finish)
    start(:interrupting, on_caller_down: :interrupt)
    run = fn options -> fn -> Py.call(:__main__, :work, [], options) end end
    assert outcomes(run.(pool: :finishing), run.(pool: :interrupting)) == {:done, :interrupted}
  end

  # ---------------------------------------------------------------- calls

  test "calls side by side have a time limit" do
    sleep = {:time, :sleep, [0.5]}
    sum = {:operator, :add, [1, 2]}
    assert Py.parallel([sleep], timeout: 10) == {:ok, [{:error, :timeout}]}
    assert Py.parallel([sum], timeout: :infinity) == {:ok, [{:ok, 3}]}
    assert Py.parallel([{:time, :sleep, [0.05]}, sum]) == {:ok, [{:ok, nil}, {:ok, 3}]}
    :ok = PyContextRouter.stop()
  end

  test "whose variables are used is an option" do
    [context] = start(:variables, preload: "who = 'context'\ndef me(): return who")
    {:ok, own} = :py_context.create_local_env(context)
    define = "who = '{}'\ndef me(): return who\ndef us(): yield who"
    pool = [pool: :variables]
    :ok = Py.exec(String.replace(define, "{}", "process"), pool)
    :ok = Py.exec(String.replace(define, "{}", "own"), [env: own] ++ pool)

    for {env, who} <- [process: "process", none: "context"] ++ [{own, "own"}] do
      options = [env: env] ++ pool
      assert Py.eval("who", [], options) == {:ok, who}
      assert Py.eval!("who + x", [x: "!"], options) == who <> "!"
      assert Py.call(:__main__, :me, [], options) == {:ok, who}
      assert Py.call!(:__main__, :me, [], options) == who
      assert Py.exec("assert who == '#{who}'", options) == :ok
      assert Py.exec!("assert who == '#{who}'", options) == :ok

      unless env == :none do
        assert :__main__ |> Py.stream(:us, [], options) |> Enum.to_list() == [who]
      end
    end

    # The default.
    assert Py.eval("who", [], pool) == {:ok, "process"}
    :ok = Py.exec("who = 'changed'", [env: :none] ++ pool)
    assert Task.await(Task.async(fn -> Py.eval("who", [], pool) end)) == {:ok, "changed"}
    assert {:error, {:bad_option, {:env, :nobody}}} = Py.eval("who", [], env: :nobody)
  end

  test "what becomes of a job whose caller dies is an option" do
    start(:abandoned, [])

    for run <- [
          &Py.call(:__main__, :work, [], [{:pool, :abandoned} | &1]),
          &Py.call!(:__main__, :work, [], [{:pool, :abandoned} | &1]),
          &Py.eval("work()", [], [{:pool, :abandoned} | &1]),
          &Py.eval!("work()", [], [{:pool, :abandoned} | &1]),
          &Py.exec("work()", [{:pool, :abandoned} | &1]),
          &Py.exec!("work()", [{:pool, :abandoned} | &1]),
          &Py.Object.call(Py.eval!("work", [], pool: :abandoned), :__call__, [], [], &1)
        ] do
      finish = fn -> run.(on_caller_down: :finish) end
      assert outcomes(finish, fn -> run.(on_caller_down: :interrupt) end) == {:done, :interrupted}
      # The default.
      assert outcomes(finish, fn -> run.([]) end) == {:done, :interrupted}
    end
  end

  # What becomes of two jobs whose callers die while they wait. The second one's end shows that what
  # comes of the first one's death has come by then.
  defp outcomes(first, second) do
    Process.register(self(), __MODULE__)
    test = self()
    :ok = Py.register_function(:py_options_gate, fn -> gate(test) end)
    first_gate = abandon(first)
    second_gate = abandon(second)
    assert_receive second_outcome, 10_000
    send(first_gate, :open)
    assert_receive first_outcome, 10_000
    send(second_gate, :open)
    Process.unregister(__MODULE__)
    :ok = Py.unregister_function(:py_options_gate)
    {outcome(first_outcome), outcome(second_outcome)}
  end

  defp outcome("done"), do: :done
  defp outcome("interrupted"), do: :interrupted

  defp gate(test) do
    send(test, {:gate, self()})
    receive do: (:open -> nil)
  end

  # Starts a job, and kills its caller when it waits at its gate.
  defp abandon(run) do
    {caller, monitor} = spawn_monitor(run)
    assert_receive {:gate, gate}, 10_000
    Process.exit(caller, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^caller, :killed}
    gate
  end

  defp start(name, options) do
    preload = """
    import erlang

    def work():
        try:
            erlang.py_options_gate()
        except KeyboardInterrupt:
            erlang.send('#{__MODULE__}', 'interrupted')
            raise
        erlang.send('#{__MODULE__}', 'done')
    """

    options = Keyword.merge([name: name, contexts: 1, preload: preload], options)
    start_supervised!({Py.Pool, options}, id: name)
    PyContextRouter.contexts(name)
  end
end
