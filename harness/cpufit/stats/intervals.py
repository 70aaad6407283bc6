"""From several fresh processes to one figure: its value, its interval, its verdict. Pure.

Luck sticks to a process: where its memory lies, who its neighbours are. Its samples agree with each
other more than with those of the next process, so processes are the independent evidence here, and
samples only make each process's own figure sure.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from cpufit.stats import percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cpufit.schema import Verdict
    from cpufit.stats.percentiles import Samples

# Student's interval at 97.5 % holds the truth in 95 of 100 cases: processes are not quite normal,
# and the stop rule takes several looks (`cpufit selftest`).
CONFIDENCE = 0.975
# Processes of one cell differ at least so much (standard deviation of the logarithm), for a verdict
# and, over the root of the degrees of freedom, for an interval: the stop rule looks for processes
# that agree, and two or three may do so by chance.
LEAST_SPREAD, LEAST_SPREAD_OF_TWO = 0.05, 0.018
_LARGEST_LOG = log(sys.float_info.max)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and how sure it is."""

    value: float
    interval: tuple[float, float] | None  # 95 %, of what further processes would give; None: one
    processes: int
    within: float  # half the interquartile range in a process, as a share of its median
    between: float  # standard deviation of the processes' medians, as a share; 0 for one process

    @property
    def half_width(self) -> float:
        """Half the interval as a share of the value; infinite where there is none."""
        if self.interval is None or not self.value:
            return inf
        return (self.interval[1] - self.interval[0]) / 2 / abs(self.value)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Where a figure lies at some confidence."""

    centre: float
    low: float
    high: float

    def against(self, threshold: float, slowdown: float = 1.0) -> Verdict:
        """Say whether the figure is under or over the threshold, or that it is open.

        A disturbed process is slower, never faster: what is over must be so by more than the
        `slowdown` that the disturbance can explain.
        """
        if self.high < threshold:
            return "under"
        over = self.low > threshold and self.centre >= slowdown * threshold
        return "over" if over else "undecided"


def estimate(processes: Sequence[Samples]) -> Estimate:
    """Estimate the median request from the samples of each process.

    The value is the Hodges-Lehmann centre of the logarithms of the processes' medians, the interval
    Student's around it. On recorded noise of a shared machine that held the true value more often
    than around the mean or the median (docs/methodology.md).
    """
    ordered = [np.sort(np.asarray(values, dtype=float)) for values in processes]
    medians = np.array([percentiles.of_sorted(values, 0.5) for values in ordered])
    positive, degrees = medians.min() > 0, max(len(medians) - 1, 1)
    logs = np.log(medians) if positive else medians  # energy above idle may be nothing
    back = np.exp if positive else np.asarray
    least = LEAST_SPREAD_OF_TWO / sqrt(degrees) if positive else 0.0
    centre, half = student(logs, CONFIDENCE, least)
    value = float(back(centre))
    return Estimate(
        value=value,
        interval=(float(back(centre - half)), float(back(centre + half))) if half < inf else None,
        processes=len(medians),
        within=percentiles.percentile([_quartile_share(values) for values in ordered], 0.5),
        between=float(np.std(medians, ddof=1)) / abs(value) if len(medians) > 1 and value else 0.0,
    )


def student(
    values: NDArray[np.float64], confidence: float, least: float = 0.0
) -> tuple[float, float]:
    """Return the Hodges-Lehmann centre and half its two-sided interval; infinite of one value.

    `least` is a lower bound of the standard deviation.
    """
    count = len(values)
    centre = hodges_lehmann(values)
    if count < 2:
        return centre, inf
    spread = max(deviation(values), least)
    return centre, quantile(confidence, count - 1) * spread / sqrt(count)


def hodges_lehmann(values: NDArray[np.float64]) -> float:
    """Return the median of the means of all pairs, each value with itself too: nearly as sharp as
    the mean, and hardly moved by a few processes that had bad luck.
    """
    first, second = _pairs(len(values))
    sums = np.sort(values[first] + values[second])
    return float(sums[(len(sums) - 1) // 2] + sums[len(sums) // 2]) / 4


def deviation(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of a sample of two or more."""
    off = values - values.mean()
    return sqrt(off @ off / (len(off) - 1))


def smallest_change(spread: float, count: int) -> float:
    """Return the change that `count` processes on each side would show in 80 % of cases.

    As a share, by the normal approximation of Welch's test at 95 %; `spread` is the standard
    deviation of the logarithm between processes.
    """
    reach = quantile(0.95, 2.0 * (count - 1)) + 0.84
    return exp(reach * spread * sqrt(2 / count)) - 1


def ratio(
    after: NDArray[np.float64], before: NDArray[np.float64], confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of after / before, of logarithms of independent processes (Welch)."""
    centre, variance, degrees = difference(after, before)
    reach = quantile(confidence, round(max(degrees, 1.0), 1)) * (sqrt(variance) or 1e-12)
    return exp(centre - reach), exp(centre + reach)


def difference(
    after: NDArray[np.float64], before: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return after - before of two sets of two values or more: their centres' difference, the
    square of its standard error, and Welch's degrees of freedom of that.
    """
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (after, before)]
    degrees = sum(parts) ** 2 / (
        sum(p**2 / (len(v) - 1) for p, v in zip(parts, (after, before), strict=True)) or 1e-24
    )
    return hodges_lehmann(after) - hodges_lehmann(before), sum(parts), degrees


def judge(
    processes: Sequence[Samples],
    threshold: float,
    share: float,
    confidence: float,
    slowdown: float = 1.0,
) -> Verdict:
    """Say whether the `share` percentile lies under or over `threshold`, or that it is open.

    Of one process by its samples alone (`percentiles.verdict`). Of several by Student's bound, on a
    logarithmic scale, of each one's own percentile, so that far from the threshold a handful of
    samples is enough and near it further processes decide. The bound is two-sided at `confidence`,
    and so leaves half the error to looking several times. `slowdown` is what a disturbance can have
    done to half of the samples: the median tells whether it explains that they are over.
    """
    found = _judged(processes, threshold, share, confidence)
    if slowdown == 1 or found != "over":
        return found
    middles = np.log([max(percentiles.percentile(values, 0.5), 1.0) for values in processes])
    return found if exp(hodges_lehmann(middles)) >= slowdown * threshold else "undecided"


def _judged(
    processes: Sequence[Samples], threshold: float, share: float, confidence: float
) -> Verdict:
    if len(processes) < 2:
        return percentiles.verdict(processes[0], threshold, share, confidence)
    figures = [max(percentiles.percentile(values, share), 1.0) for values in processes]
    return bound(figures, confidence).against(threshold)


def bound(figures: Sequence[float], confidence: float) -> Bound:
    """Return what verdicts rest on: Student's bound of one positive figure of each process.

    Infinitely wide for a single process.
    """
    centre, half = student(np.log(figures), confidence, LEAST_SPREAD)
    high = exp(centre + half) if centre + half < _LARGEST_LOG else inf
    return Bound(centre=exp(centre), low=exp(centre - half), high=high)


def _quartile_share(ordered: Samples) -> float:
    middle = percentiles.of_sorted(ordered, 0.5)
    spread = percentiles.of_sorted(ordered, 0.75) - percentiles.of_sorted(ordered, 0.25)
    return spread / 2 / abs(middle) if middle else 0.0


@cache
def _pairs(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(count)


@cache
def quantile(confidence: float, degrees: float) -> float:
    """Return Student's two-sided quantile, of degrees of freedom that need not be whole."""
    return float(stdtrit(degrees, (1 + confidence) / 2))
