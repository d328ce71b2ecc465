defmodule PyContextRouter.MixProject do
  use Mix.Project

  @source_url "https://example.org/py_context_router"

  def project do
    [
      app: :py_context_router,
      version: to_string(app_src(:vsn)),
      description:
        "Python inside the BEAM: contexts on threads of their own, routed by scheduler",
      elixir: "~> 1.14",
      compilers: [:py_native] ++ Mix.compilers(),
      erlc_paths: ["src"],
      erlc_options: erlc_options(Mix.env()),
      # rebar3 also has a profile named test: the two must not share _build/test.
      build_path: "_build/mix",
      start_permanent: Mix.env() == :prod,
      deps: deps(Mix.env()),
      docs: docs(),
      source_url: @source_url,
      package: package()
    ]
  end

  def application do
    [
      mod: {:py_context_router_app, []},
      registered: app_src(:registered),
      extra_applications: [:logger]
    ]
  end

  # The version and the registered names stand in the .app.src, which rebar3 reads too.
  defp app_src(key) do
    {:ok, [{:application, _, keys}]} =
      :file.consult(Path.expand("src/py_context_router.app.src", __DIR__))

    Keyword.fetch!(keys, key)
  end

  # Only for `MIX_ENV=docs mix docs`: building and using the library fetches nothing.
  defp deps(:docs), do: [{:ex_doc, "~> 0.34", runtime: false}]
  defp deps(_), do: []

  defp docs do
    [
      main: "readme",
      extras: ~w(README.md CHANGELOG.md CONTRIBUTING.md LICENSE) ++ Path.wildcard("docs/*.md"),
      groups_for_modules: [
        "Elixir": [~r/^Py/],
        Erlang: [:py, :py_context, :py_context_router, :py_error]
      ]
    ]
  end

  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{"Source" => @source_url},
      files:
        ~w(src lib native/build.sh native/py_runtime native/py_nif Cargo.toml Cargo.lock) ++
          ~w(mix.exs rebar.config docs README.md CHANGELOG.md CONTRIBUTING.md LICENSE) ++
          ~w(.formatter.exs)
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
