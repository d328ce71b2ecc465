"""Means, medians, deviations, and their errors."""

import statistics

print(
    statistics.mean([1, 2, 4]),
    statistics.median([3, 1, 2]),
    statistics.mode("aab"),
    statistics.stdev([1, 2, 3]),
)
print(
    statistics.quantiles([1, 2, 3, 4]),
    statistics.NormalDist(0, 1).cdf(0),
    statistics.fmean([1.5, 2.5]),
)
try:
    statistics.mean([])
except statistics.StatisticsError as error:
    print(error)
