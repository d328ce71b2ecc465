defmodule PyContextRouter.MixProject do
  use Mix.Project

  def project do
    [
      app: :py_context_router,
      version: "0.1.0",
      description:
        "Python inside the BEAM: contexts on threads of their own, routed by scheduler",
      elixir: "~> 1.14",
      compilers: [:py_native] ++ Mix.compilers(),
      erlc_paths: ["src"],
      erlc_options: erlc_options(Mix.env()),
      # rebar3 also has a profile named test: the two must not share _build/test.
      build_path: "_build/mix",
      start_permanent: Mix.env() == :prod,
      deps: [],
      package: [licenses: ["Apache-2.0"]]
    ]
  end

  def application do
    [
      mod: {:py_context_router_app, []},
      registered: [
        :py_context_router_sup,
        :py_pool_sup,
        :py_context_sup,
        :py_registry,
        :py_setup,
        :py_async
      ],
      extra_applications: [:logger]
    ]
  end

  # A user's newer OTP may warn where ours does not: as a dependency (always built as :prod)
  # that must not stop the build.
  defp erlc_options(:prod), do: [:debug_info]
  defp erlc_options(_), do: [:debug_info, :warnings_as_errors]
end

defmodule Mix.Tasks.Compile.PyNative do
  @moduledoc "Builds the NIF library with `native/build.sh`, the recipe rebar3 uses too."
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    case System.cmd(Path.expand("native/build.sh", __DIR__), [], into: IO.stream()) do
      {_, 0} ->
        # Mix links priv/ before the compilers run; on a fresh checkout there was none then.
        Mix.Project.build_structure()
        {:ok, []}

      {_, status} ->
        Mix.raise("native/build.sh failed with status #{status}: its messages are above")
    end
  end
end
