"""One series in the making, and the timed loop that fills it.

What is timed is exactly `Work.run` (see runtimes.base): random ids are drawn, caches cleared and
inputs filled outside the clock. Samples are kept raw and in order; none is dropped or averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, floor
from statistics import median
from typing import TYPE_CHECKING

from cpufit.schema import Series
from cpufit.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cpufit.runtimes.base import Work
    from cpufit.schema import Budget

    Clock = Callable[[], int]
    Meter = Callable[[], dict[str, float]]  # totals of hardware counters; {} without

UNLIMITED = -1
SLOW_SAMPLES = 3  # of what is too slow for more: other processes bring others
_COLD_RUNS = 2  # of a slice: what another process left in the caches weighs on them


@dataclass
class Probe:
    """One series in the making.

    `start()` gets one request ready and returns its work; that work may be run `runs` times, each
    run one sample, before the next `start()`. Only the runs are timed.
    """

    name: str
    size: int
    items: int
    start: Callable[[], Work]
    runs: int
    values: list[int] = field(default_factory=list)
    spent_ns: int = 0
    meter: Meter = field(default=dict)
    counted: dict[str, float] = field(default_factory=dict)  # by what is timed alone
    counted_runs: int = 0

    @property
    def cost_ns(self) -> float:
        """What one sample takes, preparation included, as seen so far."""
        return self.spent_ns / len(self.values) if self.values else 0.0

    def enough(self, budget: Budget, others: int) -> bool:
        """Whether this process has done its part, beside that many other probes.

        That is its share of the samples, or what fits into its time, and more until the median is
        known far better than processes differ.
        """
        n, (_, most) = len(self.values), limits_ns(budget)
        fitting = int(most / (others + 1) / (self.cost_ns or 1))
        if n < min(budget.share, max(fitting, SLOW_SAMPLES)):
            return False
        return n < budget.share or median_half_width(self.values) < budget.half_width / 2

    def timed(self, count: int, clock: Clock, most_ns: int = UNLIMITED) -> list[int]:
        """Return at least `count` durations in ns.

        A request once started is finished, but for one that outlasts `most_ns`: it generates no
        more than a few tokens after that.
        """
        durations: list[int] = []
        while len(durations) < count:
            runs = count if self.runs == UNLIMITED else self.runs
            run, before = self.start().run, self.meter()
            found = _repeat(run, clock, runs, most_ns)
            self._count(before, len(found))
            durations += found
        return durations

    def slice(self, slice_ns: int, clock: Clock) -> float:
        """Return the median duration in ns of what fits into a slice, of one run at least.

        Where getting ready takes longer than the slice, as a prompt before tokens does, the slice
        lasts as long: that is hardly dearer, and tells more.
        """
        begun = clock()
        run, before = self.start().run, self.meter()
        ready = clock()
        end = ready + max(slice_ns, ready - begun)
        durations: list[int] = []
        while not durations or (len(durations) != self.runs and clock() < end):
            start = clock()
            run()
            durations.append(clock() - start)
        self._count(before, len(durations))
        warm = durations[_COLD_RUNS:] if len(durations) > 2 * _COLD_RUNS else durations
        return median(warm)

    def _count(self, before: Mapping[str, float], runs: int) -> None:
        for name, total in self.meter().items():
            self.counted[name] = self.counted.get(name, 0.0) + total - before[name]
        self.counted_runs += runs

    def forget(self) -> None:
        """Leave warm-up requests out of samples and counts."""
        self.values.clear()
        self.counted.clear()
        self.counted_runs = 0

    def series(self) -> Series:
        """Return what was sampled."""
        values = tuple(float(value) for value in self.values)
        return Series(name=self.name, unit="ns", size=self.size, items=self.items, values=values)


@dataclass(frozen=True)
class Measured:
    """What a procedure hands back."""

    first_ns: int
    series: tuple[Series, ...]
    stop: str
    valid: bool
    notes: tuple[str, ...] = ()
    counters: dict[str, float] = field(default_factory=dict)  # of one item: 'cycles of tpot'


def median_half_width(values: Sequence[float]) -> float:
    """Return half the 95 % interval of the median of independent samples, as a share of it.

    By order statistics, in the normal approximation of the binomial. Samples of one process are
    hardly independent; it says when more of them would add nothing.
    """
    ordered, n = sorted(values), len(values)
    reach = 0.98 * n**0.5
    low, high = max(floor(n / 2 - reach), 0), min(ceil(n / 2 + reach), n - 1)
    return float(ordered[high] - ordered[low]) / 2 / (ordered[n // 2] or 1.0)


def _repeat(
    run: Callable[[], None], clock: Clock, count: int, most_ns: int = UNLIMITED
) -> list[int]:
    """The timed loop; what it adds to each sample is one reading of the clock."""
    durations: list[int] = []
    end = clock() + most_ns
    for _ in range(count):
        start = clock()
        if start > end and len(durations) >= SLOW_SAMPLES and most_ns != UNLIMITED:
            break
        run()
        durations.append(clock() - start)
    return durations


def limits_ns(budget: Budget) -> tuple[int, int]:
    """Return how long one process samples, least and most."""
    least, most = (round(seconds * NS_PER_S) for seconds in budget.process_s)
    return least, most


def predict_ns(probe: Probe, shortest_ns: float, shortest: Probe) -> float:
    """Return a lower bound of a prompt's time: linear in its tokens; 0 for what is no prompt."""
    return shortest_ns * probe.size / shortest.size if probe.name == shortest.name else 0.0


def per_item(found: Sequence[Probe]) -> dict[str, float]:
    """Return what was counted of one inference or token."""
    return {
        f"{name} of {probe.name} at {probe.size}": total / probe.counted_runs / probe.items
        for probe in found
        for name, total in probe.counted.items()
        if probe.counted_runs
    }
