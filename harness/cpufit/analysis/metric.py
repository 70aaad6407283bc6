"""One quantity of one cell, summed up over its processes, and held against the levels. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from cpufit import units
from cpufit.quantities import quantity
from cpufit.stats import intervals, percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cpufit.quantities import Quantity
    from cpufit.schema import Level, Levels, Series, Verdict
    from cpufit.stats.intervals import Estimate
    from cpufit.stats.moderated import Typical
    from cpufit.stats.percentiles import Samples


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One quantity of one cell, summed up. Times in ns, energy in J per item."""

    name: str
    size: int  # prompt length, batch or parallel sequences
    unit: str
    n: int  # samples, of all processes that count
    values: tuple[float, ...]
    estimate: Estimate  # of the median
    p90: float | None  # the centre of the processes' own, as p95 and p99; None: n too small
    p95: float | None
    p99: float | None
    rate: float  # all items over all the time, per second; 0 for energy
    verdicts: tuple[tuple[Level, Verdict], ...] = ()  # of every level that applies to it
    far_over: bool = False  # the level that counts, so that no further process need be asked

    @property
    def quantity(self) -> Quantity:
        """What it is a figure of."""
        return quantity(self.name)

    @property
    def label(self) -> str:
        """What a person calls it: 'TTFT at 128 tokens', 'latency', 'decode x4'."""
        return self.quantity.label_at(self.size)

    @property
    def p50(self) -> float:
        """The median request."""
        return self.estimate.value

    @property
    def figure(self) -> float:
        """The value held against the threshold: p90, or p50 where n is too small for it."""
        return self.p50 if self.p90 is None else self.p90

    @property
    def figure_name(self) -> str:
        """Which of the two `figure` is."""
        return "p50" if self.p90 is None else "p90"

    @property
    def level(self) -> Level | None:
        """The level that counts where one verdict must do: the first; None where none applies."""
        return self.verdicts[0][0] if self.verdicts else None

    @property
    def verdict(self) -> Verdict | None:
        """Whether it keeps that level; None where none applies."""
        return self.verdicts[0][1] if self.verdicts else None

    @property
    def threshold(self) -> float:
        """What that level allows, in the metric's unit; 0 where none applies."""
        return self.level.most_ns if self.level else 0.0

    @property
    def holds(self) -> tuple[tuple[str, Verdict], ...]:
        """Which rates of a camera it keeps up with: ('10 FPS', 'under'), ..."""
        own = (pair for pair in self.verdicts if pair[0].limit == self.name == "frame")
        return tuple((level.name, verdict) for level, verdict in own)

    @property
    def ratio(self) -> float:
        """`figure` over the threshold; 0 where none applies."""
        return self.figure / self.threshold if self.threshold else 0.0


def summed_up(every: Sequence[Series], levels: Levels, slowdown: float, typical: Typical) -> Metric:
    """Sum up one series of every process that counts."""
    series = every[0]
    processes = [np.sort(one.values) for one in every]  # once: thousands of cells have many samples
    share, confidence, tail = levels.percentile, levels.confidence, typical.tail
    judged = processes if len(every) > 1 else [series.values]  # of one, their order tells too
    applying = tuple(level for limit in quantity(series.name).limits for level in levels.of(limit))
    return Metric(
        name=series.name,
        size=series.size,
        unit=series.unit,
        n=sum(map(len, processes)),
        values=tuple(chain.from_iterable(one.values for one in every)),
        estimate=intervals.estimate(processes, typical.median),
        p90=_typical_percentile(processes, 0.9, confidence),
        p95=_typical_percentile(processes, 0.95, confidence),
        p99=_typical_percentile(processes, 0.99, confidence),
        rate=_rate(series.items, processes) if series.unit == "ns" else 0.0,
        verdicts=tuple(
            (level, intervals.judge(judged, level.most_ns, share, confidence, slowdown, tail))
            for level in applying
        ),
        far_over=bool(applying)
        and intervals.by_far(processes, applying[0].most_ns, share) == "over",
    )


def _typical_percentile(
    processes: Sequence[Samples], share: float, confidence: float
) -> float | None:
    """Return the centre of the processes' own percentiles, which is what levels are held against.

    None where all samples together are too few to state it.
    """
    if sum(map(len, processes)) < percentiles.samples_needed(share, confidence):
        return None
    return intervals.centre([percentiles.of_sorted(values, share) for values in processes])


def _rate(items: int, processes: Sequence[NDArray[np.float64]]) -> float:
    total_ns = sum(float(values.sum()) for values in processes)
    return items * sum(map(len, processes)) * units.NS_PER_S / total_ns if total_ns else 0.0
