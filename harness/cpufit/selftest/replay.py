"""What the method would have said of recorded processes, drawn anew hundreds of times. Pure.

Each draw takes a cell's processes with replacement, in random order, and stops as a run would. The
truth is what all recorded processes come to.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np

from cpufit.selftest import Finding
from cpufit.stats import intervals, percentiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from cpufit.analysis import Row
    from cpufit.schema import Budget, Levels
    from cpufit.stats.percentiles import Samples

    Values = NDArray[np.float64]

DRAWS, COVERAGE_DRAWS = 300, 1000  # of each series
_FEWEST = 12  # processes of a trace
_ON_THE_MARK = (0.02, 0.05, 0.1, 0.25, 0.5)  # how far from the threshold, as a share
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
                found.append(Trace(f"{row.record.cell.id} {metric.label}", tuple(mine)))
    return found


def coverage(found: Sequence[Trace], budget: Budget) -> Finding:
    """Count how often the interval at which a run would stop holds the truth.

    Series differ in that too, so few of them leave it open by some per cent.
    """
    shares, counts, widths = [], [], []
    for trace, random in _seeded(found):
        logs = trace.logs()
        truth = intervals.hodges_lehmann(logs)
        held = []
        for _ in range(COVERAGE_DRAWS):
            drawn = random.choice(logs, budget.processes[1])
            centre, half, count = _stopped(drawn, budget)
            held.append(abs(centre - truth) <= half)
            counts.append(count)
            widths.append(half)
        shares.append(np.mean(held))
    share, (_, unsure) = float(np.mean(shares)), intervals.student(np.array(shares), 0.95)
    return Finding(
        name=f"coverage of the 95 % interval, budget {budget.name}",
        value=f"{share:.1%} of {len(counts):,} draws, ±{100 * unsure:.1f} for so few series "
        f"({len(found)}); on average {np.mean(counts):.1f} processes, half width "
        f"{np.median(widths):.1%}",
        asked="93 to 97 %, or not to be told from it",
        good=share + unsure >= 0.93 and share - unsure <= 0.97,
    )


def again(found: Sequence[Trace], count: int) -> Finding:
    """Measure everything twice and count how often the ratio's interval excludes 1."""
    excluded = []
    for trace, random in _seeded(found):
        logs = trace.logs()
        for _ in range(DRAWS):
            low, high = intervals.ratio(random.choice(logs, count), random.choice(logs, count))
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
        intervals.ratio(random.choice(after, count), random.choice(before, count))
        for _ in range(DRAWS)
    )
    return float(np.mean([low > 1 for low, _ in draws]))


def verdicts(found: Sequence[Trace], budget: Budget, limits: Levels) -> Iterator[Finding]:
    """Judge every trace as if it were a known way from the threshold."""
    for distance in _ON_THE_MARK:
        wrong, open_, used = [], [], []
        for trace, random in _seeded(found):
            truth = exp(intervals.hodges_lehmann(trace.logs(limits.percentile)))
            for draw in range(DRAWS // 3):
                under = bool(draw % 2)
                target = 5e8 * (1 - distance if under else 1 + distance)
                word, processes, samples = _judged(trace, target / truth, random, budget, limits)
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
                truth = centre_of(logs)
                for _ in range(DRAWS):
                    drawn = random.choice(logs, count)
                    half = intervals.student(drawn, 0.95)[1]
                    error = centre_of(drawn) - truth
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


def _stopped(logs: Values, budget: Budget) -> tuple[float, float, int]:
    """Add one process after another until the budget's width is reached."""
    fewest, most = budget.processes
    for count in range(fewest, most + 1):
        made = intervals.estimate([[exp(value)] for value in logs[:count]])
        assert made.interval is not None
        half = log(made.interval[1] / made.value)
        if made.half_width <= budget.half_width:
            break
    return log(made.value), half, count


def _judged(
    trace: Trace, factor: float, random: Generator, budget: Budget, limits: Levels
) -> tuple[str, int, int]:
    """Draw processes, scaled, until the verdict is clear or the budget is over."""
    fewest, most = budget.processes
    order = random.integers(0, len(trace.processes), most)
    drawn = [np.multiply(trace.processes[i], factor) for i in order]
    word, count = "undecided", max(fewest, 2)
    for count in range(max(fewest, 2), most + 1):
        word = intervals.judge(drawn[:count], 5e8, limits.percentile, limits.confidence)
        if word != "undecided":
            break
    return word, count, sum(len(values) for values in drawn[:count])


def _seeded(found: Sequence[Trace]) -> Iterator[tuple[Trace, Generator]]:
    for index, trace in enumerate(found):
        yield trace, np.random.default_rng(index)
