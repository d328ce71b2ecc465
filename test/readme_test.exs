defmodule ReadmeTest do
  # The Elixir examples of README.md give the results that are shown. `readme_SUITE` runs the
  # Erlang ones and explains the convention; here the prompt is `iex> `.
  use ExUnit.Case, async: false

  @texts Enum.map(["../README.md", "../docs/front.md"], &Path.expand(&1, __DIR__))

  setup do
    PyContextRouter.stop()
    on_exit(&PyContextRouter.stop/0)
  end

  test "the examples give the results that are shown" do
    examples = Enum.flat_map(blocks(), &examples/1)
    assert length(examples) > 10
    Enum.reduce(examples, [], &check/2)
  end

  test "the other blocks are Elixir" do
    others = Enum.reject(blocks(), &transcript?/1)
    assert others != []
    Enum.each(others, &Code.string_to_quoted!/1)
  end

  defp check([source, shown], bindings) do
    {value, bindings} = Code.eval_string(source, bindings)
    result = inspect(value, limit: :infinity)
    assert stripped(result) =~ pattern(shown), "#{source} gives #{result}, not #{shown}"
    bindings
  end

  defp stripped(text), do: String.replace(text, ~r/\s/, "")

  defp pattern(shown) do
    shown
    |> stripped()
    |> Regex.escape()
    |> String.replace("…", ".*")
    |> String.replace(~r/PID<[0-9.\\]+>/, "PID<[0-9.]+>")
    |> then(&Regex.compile!("^#{&1}$", "u"))
  end

  defp blocks do
    ~r/^```elixir\n(.*?)^```$/msu
    |> Regex.scan(Enum.map_join(@texts, "\n", &File.read!/1), capture: :all_but_first)
    |> List.flatten()
  end

  defp transcript?(block), do: String.starts_with?(block, "iex> ")

  defp examples(block) do
    Regex.scan(~r/^iex> ([^\n]*)\n(.*?)(?=^iex> |\z)/msu, block, capture: :all_but_first)
  end
end
