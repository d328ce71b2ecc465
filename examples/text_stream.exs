# Python reads texts and splits them into words. One Elixir process per file counts them, each from
# a stream of its own. No file is in memory as a whole: Python makes only a few items in advance.
#
#   examples/run text_stream                 the licences of this machine, or this project's texts
#   examples/run text_stream FILE...         other texts

defmodule TextStream do
  @read_ahead 32

  def main(files) do
    {:ok, _} =
      PyContextRouter.start_pool(:texts,
        contexts: 2,
        preload: """
        import re

        def words(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    yield re.findall(r"[a-z]{4,}", line.lower())
        """
      )

    {micros, counts} = :timer.tc(fn -> count(files) end)
    {lines, words} = Enum.reduce(counts, {0, %{}}, &merge/2)

    IO.puts("#{length(files)} files, #{lines} lines, #{map_size(words)} different words")

    words
    |> Enum.sort_by(fn {word, count} -> {-count, word} end)
    |> Enum.take(5)
    |> Enum.each(fn {word, count} ->
      IO.puts("  #{String.pad_leading("#{count}", 7)}  #{word}")
    end)

    IO.puts("#{div(micros, 1000)} ms, in #{length(files)} processes")
    PyContextRouter.stop_pool(:texts)
  end

  defp count(files) do
    files
    |> Task.async_stream(&count_file/1, max_concurrency: 50, timeout: :infinity, ordered: false)
    |> Enum.map(fn {:ok, counts} -> counts end)
  end

  defp count_file(file) do
    :__main__
    |> Py.stream(:words, [file], pool: :texts, read_ahead: @read_ahead)
    |> Enum.reduce({0, %{}}, fn words, {lines, counts} ->
      {lines + 1, Enum.reduce(words, counts, &Map.update(&2, &1, 1, fn n -> n + 1 end))}
    end)
  end

  defp merge({lines, counts}, {all_lines, all}) do
    {lines + all_lines, Map.merge(counts, all, fn _, a, b -> a + b end)}
  end
end

files =
  case System.argv() do
    [] ->
      case Path.wildcard("/usr/share/common-licenses/*") do
        [] -> Path.wildcard("{*.md,docs/*.md,src/*/*.erl}")
        licences -> licences
      end

    files ->
      files
  end

TextStream.main(Enum.filter(files, &File.regular?/1))
