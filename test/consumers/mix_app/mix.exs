defmodule Consumer.MixProject do
  use Mix.Project

  def project do
    [
      app: :consumer,
      version: "0.1.0",
      elixir: "~> 1.14",
      deps: [{:py_context_router, path: System.get_env("PY_CONTEXT_ROUTER", "../../..")}]
    ]
  end

  def application, do: []
end
