"""What the method would have said of recorded processes, drawn anew hundreds of times. Pure.

Each draw takes some of a cell's processes, none twice, in random order, and stops as a run would.
The truth is what the processes left out come to. Whole runs are drawn by `worlds`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt
from typing import TYPE_CHECKING

import numpy as np

from cpufit.selftest import Finding
from cpufit.stats import intervals, moderated, percentiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from cpufit.analysis import Row
    from cpufit.schema import Budget, Levels
    from cpufit.stats.percentiles import Samples

    Values = NDArray[np.float64]

DRAWS = 300  # of each series
_FEWEST = 12  # processes of a trace
_ON_THE_MARK = (0.1, 0.25, 0.5)  # how far from the threshold; nearer, the truth is not known
_ESTIMATORS: dict[str, Callable[[Values], float]] = {
    "mean": lambda logs: float(logs.mean()),
    "median": lambda logs: float(np.median(logs)),
    "Hodges-Lehmann": intervals.hodges_lehmann,
}
_QUANTILES = {"p50": 0.5, "p25": 0.25, "p10": 0.1, "minimum": 0.0}


@dataclass(frozen=True)
class Trace:
    """One quantity of one cell: the samples of each of many processes, in order of time."""

    name: str
    processes: tuple[Samples, ...]
    run: str = ""  # which recording it is of

    def logs(self, share: float = 0.5) -> Values:
        """Return the logarithm of that percentile of each process."""
        return np.log([percentiles.percentile(values, share) for values in self.processes])


def traces(rows: Iterable[Row]) -> list[Trace]:
    """Return the undisturbed processes of every series that has enough of them."""
    found = []
    for row in rows:
        for metric in row.metrics:
            mine = [series.values for series in row.series_of(metric)]
            if len(mine) >= _FEWEST:
                name = f"{row.record.cell.id} {metric.label}"
                found.append(Trace(name, tuple(mine), row.record.run_id))
    return found


def by_run(found: Iterable[Trace]) -> list[list[Values]]:
    """Return the logarithms of the processes' medians of every series, recording by recording."""
    runs: dict[str, list[Values]] = {}
    for trace in found:
        runs.setdefault(trace.run, []).append(trace.logs())
    return list(runs.values())


def _typical(found: Sequence[Trace], share: float) -> dict[str, float]:
    """Return how much processes of each recording differ in that percentile."""
    spreads: dict[str, list[tuple[float, int]]] = {}
    for trace in found:
        spreads.setdefault(trace.run, []).append(intervals.own_spread(trace.logs(share)))
    return {run: moderated.of_run(each) for run, each in spreads.items()}


def again(found: Sequence[Trace], count: int) -> Finding:
    """Measure everything twice and count how often the ratio's interval excludes 1."""
    excluded, typical = [], _typical(found, 0.5)
    for trace, random in _seeded(found):
        logs, spread = trace.logs(), typical[trace.run]
        for _ in range(DRAWS):
            drawn = random.permutation(logs)[: 2 * count]
            low, high = intervals.ratio(drawn[:count], drawn[count:], typical=(spread, spread))
            excluded.append(not low <= 1 <= high)
    share = float(np.mean(excluded))
    return Finding(
        name=f"A/A, {count} processes each",
        value=f"{share:.1%} of {len(excluded):,} pairs differ",
        asked="at most 7 %",
        good=share <= 0.07,
    )


def in_turns(found: Sequence[Trace], count: int) -> Finding:
    """Compare neighbours: of each 2 x `count` processes in a row the even with the odd ones, and
    the first half with the second, which were not measured in turns.
    """
    shares = []
    for turns in (True, False):
        excluded = []
        for trace in found:
            logs = trace.logs()
            for start in range(0, len(logs) - 2 * count + 1, count):
                row = logs[start : start + 2 * count]
                halves = (row[::2], row[1::2]) if turns else (row[:count], row[count:])
                low, high = intervals.ratio(*halves)
                excluded.append(not low <= 1 <= high)
        shares.append((float(np.mean(excluded)) if excluded else 0.0, len(excluded)))
    (alternating, pairs), (after, _) = shares
    return Finding(
        name=f"A/A as recorded, {count} processes each",
        value=f"in turns {alternating:.1%} of {pairs} pairs differ, "
        f"one after the other {after:.1%}",
        asked="at most 10 % in turns",
        good=alternating <= 0.1,
    )


def share_seen(after: Values, before: Values, count: int) -> float:
    """Draw so many processes of each side and count how often the ratio's interval is above 1."""
    random = np.random.default_rng(0)
    draws = (
        intervals.ratio(
            random.choice(after, count, replace=False), random.choice(before, count, replace=False)
        )
        for _ in range(DRAWS)
    )
    return float(np.mean([low > 1 for low, _ in draws]))


def verdicts(found: Sequence[Trace], budget: Budget, limits: Levels) -> Iterator[Finding]:
    """Judge every trace as if it were a known way from the threshold."""
    typical = _typical(found, limits.percentile)
    for distance in _ON_THE_MARK:
        wrong, open_, used = [], [], []
        for trace, random in _seeded(found):
            for draw in range(DRAWS // 3):
                under = bool(draw % 2)
                target = 5e8 * (1 - distance if under else 1 + distance)
                word, processes, samples = _judged(
                    trace, target, random, budget, limits, typical[trace.run]
                )
                wrong.append(word == ("over" if under else "under"))
                open_.append(word == "undecided")
                used.append((processes, samples))
        processes, samples = np.mean(used, axis=0)
        yield Finding(
            name=f"verdict {distance:.0%} from the threshold, budget {budget.name}",
            value=f"{np.mean(wrong):.2%} wrong, {np.mean(open_):.0%} undecided, "
            f"{processes:.1f} processes, {samples:.0f} samples",
            asked="at most 1 % wrong",
            good=bool(np.mean(wrong) <= 0.01),
        )


def estimators(found: Sequence[Trace], count: int) -> Iterator[Finding]:
    """Sum processes up in several ways: how often each one's interval holds its own truth."""
    for quantile, share in _QUANTILES.items():
        for name, centre_of in _ESTIMATORS.items():
            held, widths, errors = [], [], []
            for trace, random in _seeded(found):
                logs = trace.logs(share)
                for _ in range(DRAWS):
                    mixed = random.permutation(logs)
                    drawn, rest = mixed[:count], mixed[count:]
                    half = intervals.student(drawn, 0.95)[1] * sqrt(1 + count / len(rest))
                    error = centre_of(drawn) - centre_of(rest)
                    held.append(abs(error) <= half)
                    widths.append(half)
                    errors.append(error)
            yield Finding(
                name=f"{quantile} by {name}, {count} processes",
                value=f"{np.mean(held):.1%} held, half width {np.median(widths):.1%}, "
                f"error {np.sqrt(np.mean(np.square(errors))):.1%}",
                asked="",
                good=None,
            )


def _judged(
    trace: Trace,
    target: float,
    random: Generator,
    budget: Budget,
    limits: Levels,
    typical: float,
) -> tuple[str, int, int]:
    """Draw processes until the verdict is clear or the budget is over.

    They are scaled so that those left out have their percentile at the target.
    """
    fewest, most = budget.processes[0], 2 * budget.processes[1]  # while it is open
    order = random.permutation(len(trace.processes))
    truth = exp(intervals.hodges_lehmann(trace.logs(limits.percentile)[order[most:]]))
    drawn = [np.multiply(trace.processes[i], target / truth) for i in order[:most]]
    word, count = "undecided", max(fewest, 2)
    for count in range(max(fewest, 2), most + 1):
        word = intervals.judge(
            drawn[:count], 5e8, limits.percentile, limits.confidence, typical=typical
        )
        if word != "undecided":
            break
    return word, count, sum(len(values) for values in drawn[:count])


def _seeded(found: Sequence[Trace]) -> Iterator[tuple[Trace, Generator]]:
    for index, trace in enumerate(found):
        yield trace, np.random.default_rng(index)
