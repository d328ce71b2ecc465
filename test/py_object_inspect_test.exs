defmodule PyObjectInspectTest do
  use ExUnit.Case, async: false

  setup_all do
    PyContextRouter.stop()
    on_exit(&PyContextRouter.stop/0)
  end

  setup do
    Py.exec("""
    class Shown:
        def __init__(self, text): self.text = text
        def __repr__(self): return self.text
    """)
  end

  defp shown(text), do: Py.call!(:__main__, :Shown, [text])

  test "an object is shown as Python shows it" do
    assert inspect(shown("Shown(1)")) == "#Py.Object<Shown(1)>"
    assert inspect(shown("")) == "#Py.Object<>"
    assert inspect([shown("a"), shown("b")]) == "[#Py.Object<a>, #Py.Object<b>]"
  end

  test "lines stand below one another" do
    grid = shown("grid([[1, 2],\n      [3, 4]])")

    assert inspect(grid) == "#Py.Object<grid([[1, 2],\n                 [3, 4]])>"

    # Where in a larger term the lines break is for Elixir to say.
    for term <- [grid, [grid], {1, grid}, %{key: grid}, %{key: [%{"deep" => grid}]}] do
      [first, second] =
        for line <- String.split(inspect(term), "\n"), line =~ ~r/[13], /, do: line

      assert column(first, "[1, 2]") == column(second, "[3, 4]")
    end
  end

  defp column(line, text) do
    [before, _] = String.split(line, text)
    String.length(before)
  end

  test "as many characters are shown as of a string" do
    text = String.duplicate("é", 5_000)
    assert inspect(shown(text)) == "#Py.Object<#{String.duplicate("é", 4096)}…>"
    assert inspect(shown(text), printable_limit: :infinity) == "#Py.Object<#{text}>"
    assert inspect(shown(text), printable_limit: 3) == "#Py.Object<ééé…>"
    assert inspect(shown("ééé"), printable_limit: 3) == "#Py.Object<ééé>"
  end

  test "as many lines are shown as of a list's items" do
    # The default differs between versions of Elixir.
    limit = %Inspect.Opts{}.limit
    text = Enum.map_join(1..(limit + 10), "\n", &to_string/1)
    lines = fn options -> shown(text) |> inspect(options) |> String.split("\n") end
    assert length(lines.([])) == limit + 1
    assert List.last(lines.([])) |> String.trim() == "…>"
    assert length(lines.(limit: :infinity)) == limit + 10
    assert Enum.map(lines.(limit: 2), &String.trim/1) == ["#Py.Object<1", "2", "…>"]
  end

  test "an object that can't be shown is its handle" do
    Py.exec!("class Broken:\n  def __repr__(self): raise ValueError")
    assert inspect(Py.eval!("Broken()")) =~ ~r/^#Py.Object<#Reference<[0-9.]+>>$/
  end
end
