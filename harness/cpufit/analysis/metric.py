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


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One quantity of one cell, summed up. Times in ns, energy in J per item."""

    name: str
    size: int  # prompt length, batch or parallel sequences
    unit: str
    n: int  # samples, of all processes that count
    values: tuple[float, ...]
    estimate: Estimate  # of the median
    p90: float | None  # of all samples; None: n too small
    p95: float | None
    p99: float | None
    rate: float  # all items over all the time, per second; 0 for energy
    verdicts: tuple[tuple[Level, Verdict], ...] = ()  # of every level that applies to it

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


def summed_up(every: Sequence[Series], levels: Levels, slowdown: float) -> Metric:
    """Sum up one series of every process that counts."""
    series = every[0]
    processes = [np.sort(one.values) for one in every]  # once: thousands of cells have many samples
    pooled = np.sort(np.concatenate(processes)) if len(every) > 1 else processes[0]
    share, confidence = levels.percentile, levels.confidence
    applying = (level for limit in quantity(series.name).limits for level in levels.of(limit))
    return Metric(
        name=series.name,
        size=series.size,
        unit=series.unit,
        n=len(pooled),
        values=tuple(chain.from_iterable(one.values for one in every)),
        estimate=intervals.estimate(processes),
        p90=percentiles.supported_percentile(pooled, 0.9, confidence),
        p95=percentiles.supported_percentile(pooled, 0.95, confidence),
        p99=percentiles.supported_percentile(pooled, 0.99, confidence),
        rate=_rate(series.items, pooled) if series.unit == "ns" else 0.0,
        verdicts=tuple(
            (level, intervals.judge(processes, level.most_ns, share, confidence, slowdown))
            for level in applying
        ),
    )


def _rate(items: int, values: NDArray[np.float64]) -> float:
    total_ns = float(values.sum())
    return items * len(values) * units.NS_PER_S / total_ns if total_ns else 0.0
