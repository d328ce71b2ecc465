defmodule Consumer do
  @moduledoc "Asks Python for a square root, as a Mix project that depends on the library does."

  def sqrt(number) do
    {:ok, _contexts} = :py_context_router.start()
    :py_context.call(:py_context_router.get_context(), :math, :sqrt, [number])
  end
end
