"""Command lines are split and quoted."""

import shlex

print(
    shlex.split('a \'b c\' "d\\"e" f\\ g # h', comments=True),
    shlex.quote("it's"),
    shlex.join(["a b", "c"]),
)
