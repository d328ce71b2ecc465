defmodule PyContextRouterTest do
  use ExUnit.Case, async: false

  doctest PyContextRouter

  setup do
    {:ok, contexts} = PyContextRouter.start()
    on_exit(&PyContextRouter.stop/0)
    {:ok, contexts: contexts}
  end

  test "everything that the Erlang module has is here, predicates with a question mark" do
    renamed = %{is_started: :started?, pool_started: :pool_started?}
    # The last three are for the library's own modules.
    internal =
      [module_info: 0, module_info: 1, behaviour_info: 1] ++
        [bound_context: 1, routed_context: 1]

    erlang =
      for {name, arity} <- :py_context_router.module_info(:exports) -- internal,
          do: {Map.get(renamed, name, name), arity}

    assert Enum.sort(erlang) -- PyContextRouter.__info__(:functions) == []
    assert PyContextRouter.__info__(:functions) -- Enum.sort(erlang) == []
  end

  test "one context per scheduler answers", %{contexts: contexts} do
    assert length(contexts) == System.schedulers()

    assert for(ctx <- contexts, do: :py_context.eval(ctx, "6 * 7")) ==
             for(_ <- contexts, do: {:ok, 42})
  end

  test "options are keywords or maps, and bad ones are named" do
    assert {:ok, [_]} = PyContextRouter.start_pool(:ex, contexts: 1, preload: "x = 1")
    assert {:ok, 1} = :py_context.eval(PyContextRouter.get_context(:ex), "x")
    assert {:ok, [_]} = PyContextRouter.start_pool(:ex, %{contexts: 1})
    assert {:error, {:already_started, _}} = PyContextRouter.start_pool(:ex, 3)
    assert PyContextRouter.stop_pool(:ex) == :ok
    assert PyContextRouter.start_pool(:ex, [1]) == {:error, {:bad_option, {:contexts, [1]}}}
    assert PyContextRouter.start(nil) == {:error, {:bad_option, {:options, nil}}}
  end

  test "a pool that isn't started has no context to give" do
    assert_raise ArgumentError, fn -> PyContextRouter.get_context(:nowhere) end
    refute PyContextRouter.pool_started?(:nowhere)
    assert PyContextRouter.contexts(:nowhere) == []
  end

  test "text crosses as binaries, also what isn't ASCII", %{contexts: [ctx | _]} do
    assert :py_context.eval(ctx, "s[::-1]", %{s: "ünï"}) == {:ok, "ïnü"}
  end
end
