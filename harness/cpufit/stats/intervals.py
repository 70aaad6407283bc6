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
from scipy.special import ndtri, stdtrit

from cpufit.stats import moderated, percentiles, unsteady

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cpufit.schema import Verdict
    from cpufit.stats.percentiles import Samples
    from cpufit.stats.unsteady import Unsteady

# Student's interval at 97.5 % holds the truth in 95 of 100 cases: processes are not quite normal,
# and the stop rule takes several looks (`cpufit selftest`).
CONFIDENCE = 0.975
# Processes of one cell differ at least so much (standard deviation of the logarithm), for a verdict
# and, over the root of the degrees of freedom, for an interval: the stop rule looks for processes
# that agree, and two or three may do so by chance.
LEAST_SPREAD, LEAST_SPREAD_OF_TWO = 0.05, 0.018
FAR = {1: 4.0, 2: 1.5}  # processes -> times over or under a threshold that each must be
UNKNOWN_WITHIN = 0.06  # of samples in a process, where no process has two
_LARGEST_LOG = log(sys.float_info.max)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and how sure it is."""

    value: float
    interval: tuple[float, float] | None  # 95 %, of what further processes would give; None: one
    processes: int
    within: float  # half the interquartile range in a process, as a share of its median
    between: float  # standard deviation of the processes' medians, as a share; 0 for one process
    unsteady: Unsteady | None = None  # two kinds of processes, or a drift: the interval holds both

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

    def over(self, unit: float) -> Bound:
        """Return it in units of so much."""
        return Bound(centre=self.centre / unit, low=self.low / unit, high=self.high / unit)

    def against(self, threshold: float, slowdown: float = 1.0) -> Verdict:
        """Say whether the figure is under or over the threshold, or that it is open.

        A disturbed process is slower, never faster: what is over must be so by more than the
        `slowdown` that the disturbance can explain.
        """
        if self.high < threshold:
            return "under"
        over = self.low > threshold and self.centre >= slowdown * threshold
        return "over" if over else "undecided"


def estimate(processes: Sequence[Samples], typical: float = 0.0) -> Estimate:
    """Estimate the median request from the samples of each process.

    The value is the Hodges-Lehmann centre of the logarithms of the processes' medians, the interval
    Student's around it. On recorded noise of a shared machine that held the true value more often
    than around the mean or the median (docs/methodology.md). `typical` is how much the processes of
    this run's cells differ (`moderated.of_run`); 0 where that is not known.
    """
    ordered = [np.sort(np.asarray(values, dtype=float)) for values in processes]
    medians = np.array([percentiles.of_sorted(values, 0.5) for values in ordered])
    if medians.min() > 0:
        logs = np.log(medians)
        odd = unsteady.seen(logs)
        centre, low, high = interval(logs, typical, odd)
        highest = min(high, _LARGEST_LOG)
        value, bounds = exp(centre), (exp(low), exp(highest)) if high < inf else None
    else:  # energy above idle may be nothing
        value, half = student(medians, CONFIDENCE)
        bounds, odd = (value - half, value + half) if half < inf else None, None
    return Estimate(
        value=value,
        interval=bounds,
        unsteady=odd,
        processes=len(medians),
        within=percentiles.percentile([_quartile_share(values) for values in ordered], 0.5),
        between=float(np.std(medians, ddof=1)) / abs(value) if len(medians) > 1 and value else 0.0,
    )


def interval(
    logs: NDArray[np.float64], typical: float, odd: Unsteady | None
) -> tuple[float, float, float]:
    """Return centre, low and high of a figure from the logarithms of each process's.

    It holds both values of `odd` (`unsteady.seen`): those of two kinds, or a drift's ends.
    """
    degrees = max(len(logs) - 1, 1)
    centre, half = student(logs, CONFIDENCE, LEAST_SPREAD_OF_TWO / sqrt(degrees))
    if typical:
        half = _moderated(logs, moderated.CONFIDENCE, typical)
    ends = [log(value) for value in odd.values] if odd else []
    return centre, min(centre - half, *ends, centre), max(centre + half, *ends, centre)


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


def _moderated(
    logs: NDArray[np.float64], confidence: float, typical: float, least: float = moderated.LEAST
) -> float:
    """Return half the two-sided interval, where the run's other cells help to know the spread."""
    spread, degrees = moderated.spread(*own_spread(logs), typical, least)
    return quantile(confidence, degrees) * spread / sqrt(len(logs))


def hodges_lehmann(values: NDArray[np.float64]) -> float:
    """Return the median of the means of all pairs, each value with itself too: nearly as sharp as
    the mean, and hardly moved by a few processes that had bad luck.
    """
    first, second = _pairs(len(values))
    sums = np.sort(values[first] + values[second])
    return float(sums[(len(sums) - 1) // 2] + sums[len(sums) // 2]) / 4


def centre(figures: Sequence[float]) -> float:
    """Return the Hodges-Lehmann centre of processes' figures, of logarithms where it can be."""
    if min(figures) <= 0:  # energy above idle may be nothing
        return hodges_lehmann(np.array(figures))
    return exp(hodges_lehmann(np.log(figures)))


def deviation(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of a sample of two or more."""
    off = values - values.mean()
    return sqrt(off @ off / (len(off) - 1))


def own_spread(logs: NDArray[np.float64]) -> tuple[float, int]:
    """Return the standard deviation of processes' figures, 0 of one, and its degrees of freedom."""
    return deviation(logs) if len(logs) > 1 else 0.0, len(logs) - 1


def smallest_change(spread: float, count: int) -> float:
    """Return the change that `count` processes on each side would show in 80 % of cases.

    As a share, by the normal approximation of Welch's test at 95 %; `spread` is the standard
    deviation of the logarithm between processes.
    """
    reach = quantile(0.95, 2.0 * (count - 1)) + 0.84
    return exp(reach * spread * sqrt(2 / count)) - 1


def ratio(
    after: NDArray[np.float64],
    before: NDArray[np.float64],
    confidence: float = 0.95,
    typical: tuple[float, float] = (0.0, 0.0),
) -> tuple[float, float]:
    """Return the interval of after / before, of logarithms of independent processes (Welch)."""
    centre, variance, degrees = difference(after, before, typical)
    reach = quantile(confidence, round(max(degrees, 1.0), 1)) * (sqrt(variance) or 1e-12)
    return exp(centre - reach), exp(centre + reach)


def difference(
    after: NDArray[np.float64],
    before: NDArray[np.float64],
    typical: tuple[float, float] = (0.0, 0.0),
) -> tuple[float, float, float]:
    """Return after - before of two sets of values: their centres' difference, the square of its
    standard error, and Welch's degrees of freedom of that.

    `typical` is how much processes differ in the run of each; where it is 0, a set has two or more.
    """
    spreads = [_spread(*side) for side in zip((after, before), typical, strict=True)]
    parts = [s**2 / len(v) for (s, _), v in zip(spreads, (after, before), strict=True)]
    degrees = sum(parts) ** 2 / (
        sum(part**2 / of for part, (_, of) in zip(parts, spreads, strict=True)) or 1e-24
    )
    return hodges_lehmann(after) - hodges_lehmann(before), sum(parts), degrees


def _spread(values: NDArray[np.float64], typical: float) -> tuple[float, float]:
    """Return the standard deviation of a process's figures, and its degrees of freedom."""
    own, degrees = own_spread(values)
    return moderated.spread(own, degrees, typical) if typical else (own, float(degrees))


def by_far(processes: Sequence[Samples], threshold: float, share: float) -> Verdict:
    """Say on which side one process, or both of two, lie by so far that no further need be asked.

    No recorded process lies twice as far from the others of its cell, and one in ten is 1.5 times
    as far. 'undecided' of more processes, and where they lie nearer.
    """
    times = FAR.get(len(processes))
    if times is None:
        return "undecided"
    figures = _figures(processes, share)
    if threshold and figures.min() > times * threshold:
        return "over"
    most = float((figures * np.exp(lifts(processes, share))).max())
    return "under" if most * times < threshold else "undecided"


def judge(
    processes: Sequence[Samples],
    threshold: float,
    share: float,
    confidence: float,
    slowdown: float = 1.0,
    typical: float = 0.0,
) -> Verdict:
    """Say whether the `share` percentile lies under or over `threshold`, or that it is open.

    Of one process by its samples alone (`percentiles.verdict`). Of several by Student's bound, on a
    logarithmic scale, of each one's own percentile, so that far from the threshold a handful of
    samples is enough and near it further processes decide. The bound is two-sided at `confidence`,
    and so leaves half the error to looking several times. `slowdown` is what a disturbance can have
    done to half of the samples: the median tells whether it explains that they are over. `typical`
    is how much such percentiles differ in this run.
    """
    found = _judged(processes, threshold, share, confidence, typical)
    if slowdown == 1 or found != "over":
        return found
    middles = np.log([max(percentiles.percentile(values, 0.5), 1.0) for values in processes])
    return found if exp(hodges_lehmann(middles)) >= slowdown * threshold else "undecided"


def _judged(
    processes: Sequence[Samples], threshold: float, share: float, confidence: float, typical: float
) -> Verdict:
    found = by_far(processes, threshold, share)
    if found != "undecided":
        return found
    if len(processes) < 2:
        return percentiles.verdict(processes[0], threshold, share, confidence)
    odd = unsteady.seen(np.log(_figures(processes, share)))
    if odd and min(odd.values) <= threshold <= max(odd.values):
        return "undecided"
    return bound_of(processes, share, confidence, typical).against(threshold)


def bound_of(
    processes: Sequence[Samples], share: float, confidence: float, typical: float = 0.0
) -> Bound:
    """Return where the typical process's percentile lies, of samples in ns.

    From above as it would be at worst where few samples tell of it (`lifts`); on either side no
    further than one process, or two, can lie from the others of its cell (`by_far`).
    """
    figures = _figures(processes, share)
    plain = bound(figures, confidence, typical)
    lifted = figures * np.exp(lifts(processes, share))
    high, times = bound(lifted, confidence, typical).high, FAR.get(len(figures), inf)
    return Bound(
        centre=plain.centre,
        low=max(plain.low, float(figures.min()) / times),
        high=min(high, float(lifted.max()) * times),
    )


def _figures(processes: Sequence[Samples], share: float) -> NDArray[np.float64]:
    return np.array([max(percentiles.percentile(values, share), 1.0) for values in processes])


def lifts(processes: Sequence[Samples], share: float) -> NDArray[np.float64]:
    """Return by how much each process's percentile may lie below what more samples would show.

    As logarithms: a percentile of few samples lies low, since the largest of three is not p90, and
    is itself known to about s / sqrt(n) only, where s is the spread of samples within a process.
    """
    counts = np.array([len(values) for values in processes], dtype=float)
    reach = float(ndtri(share))
    reached = ndtri((np.ceil(share * counts) - 0.375) / (counts + 0.25))
    found: NDArray[np.float64] = np.maximum(reach - reached, 0) + reach / np.sqrt(counts)
    return found * within(processes)


def within(processes: Sequence[Samples]) -> float:
    """Return how much samples of one process differ; what is common where each has but one."""
    several = [np.log(np.maximum(values, 1.0)) for values in processes if len(values) > 1]
    if not several:
        return UNKNOWN_WITHIN
    return sqrt(float(np.mean([deviation(logs) ** 2 for logs in several])))


def bound(figures: Samples, confidence: float, typical: float = 0.0) -> Bound:
    """Return Student's bound of one positive figure of each process.

    Infinitely wide for a single process whose run says nothing of how much others would differ.
    """
    logs = np.log(figures)
    centre, half = student(logs, confidence, LEAST_SPREAD)
    if typical:  # what is known better is held to more, for looking several times
        half = _moderated(logs, (1 + confidence) / 2, typical, LEAST_SPREAD)
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
