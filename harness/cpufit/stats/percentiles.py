"""Pure arithmetic on recorded samples: percentiles that need enough of them, and verdicts."""

from __future__ import annotations

from functools import cache
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cpufit.schema import Verdict

    Samples = Sequence[float] | NDArray[np.float64]


_TO_CORRELATE = 10  # samples; of fewer, how alike neighbours are cannot be told
_ALL_THE_SAME = 1e-9  # logarithms that differ by rounding alone


def percentile(values: Samples, share: float) -> float:
    """Return the smallest sample that at least `share` of all samples do not exceed.

    A value that really occurred, as MLPerf LoadGen reports it; the median of an even number of
    samples is the exception that everyone expects: the mean of the middle two.
    """
    return of_sorted(np.sort(np.asarray(values, dtype=float)), share)


def of_sorted(ordered: Samples, share: float) -> float:
    """Return the percentile of samples in ascending order, as `percentile` does of any."""
    if share == 0.5:  # much faster than numpy.median, which a page of thousands of series feels
        n = len(ordered)
        return float(ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return float(ordered[max(ceil(share * len(ordered)) - 1, 0)])


@cache
def samples_needed(share: float, confidence: float) -> int:
    """Return how many samples a percentile asks for: 64 for p90, 130 for p95, 662 for p99.

    MLPerf LoadGen's early stopping rule: the fewest samples with which one sample above the
    percentile can still be told from chance at `confidence`.
    """
    n = 2
    while bdtr(1, n, 1 - share) > 1 - confidence:
        n += 1
    return n


def verdict(values: Samples, threshold: float, share: float, confidence: float) -> Verdict:
    """Say whether the `share` percentile lies under or over `threshold`, or that it is open.

    Exact binomial test on the number of samples above the threshold; no distribution is assumed.
    Samples that resemble their neighbours count as fewer (`independent`). Two far above p90's
    threshold suffice for 'over', 44 below it for 'under'.
    """
    if not len(values):
        return "undecided"
    n = independent(values)
    above = int(np.count_nonzero(np.asarray(values) > threshold)) * n / len(values)
    allowed = 1 - share
    if bdtr(ceil(above), n, allowed) <= 1 - confidence:
        return "under"
    if above >= 1 and 1 - bdtr(floor(above) - 1, n, allowed) <= 1 - confidence:
        return "over"
    return "undecided"


def independent(values: Samples) -> int:
    """Return how many independent samples say as much as these, in order of time.

    n (1 - r) / (1 + r), r being the correlation of each sample with the next one.
    """
    n = len(values)
    logs = np.log(np.maximum(np.asarray(values, dtype=float), 1.0))
    if n < _TO_CORRELATE or np.ptp(logs) < _ALL_THE_SAME:
        return n
    off = logs - logs.mean()
    r = max(float(off[1:] @ off[:-1]) / float(off @ off), 0.0)
    return max(floor(n * (1 - r) / (1 + r)), 1)
