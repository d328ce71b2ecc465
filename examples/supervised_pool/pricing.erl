%% The application's API. Callers do not see that quotes come from Python.
-module(pricing).

-export([quote/1, python/0]).

%% Items are `{Name, UnitPrice, Count}', with the price in cents.
-spec quote([{binary(), pos_integer(), pos_integer()}]) -> {ok, binary()} | {error, term()}.
quote(Items) ->
    py:call(pricing, '__main__', quote, [Items]).

%% Runs once in each context.
-spec python() -> binary().
python() ->
    <<"from decimal import Decimal, ROUND_HALF_UP\n"
      "\n"
      "def quote(items):\n"
      "    if not items:\n"
      "        raise ValueError('nothing to quote')\n"
      "    total = sum(Decimal(cents) * count for name, cents, count in items) / 100\n"
      "    if total >= 100:\n"
      "        total *= Decimal('0.95')\n"
      "    return str(total.quantize(Decimal('0.01'), ROUND_HALF_UP))\n">>.
