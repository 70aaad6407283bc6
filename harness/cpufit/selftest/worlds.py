"""Whole runs under the stop rule: of recorded processes, and of invented ones whose truth is known.

What a recorded run says is held against processes that it did not draw; what an invented one says
against what it was made of, so that a bias of the figure itself is seen. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from cpufit.analysis import spreads as spreads_of
from cpufit.selftest import Finding
from cpufit.stats import intervals, moderated, unsteady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from cpufit.schema import Budget, Levels

    Values = NDArray[np.float64]
    Make = Callable[[Generator, int], Values]

RUNS, SERIES = 20, 30
_THRESHOLD = 5e8
_CELLS, _SLOPPY = 50_000, 0.15  # how much processes of those that end early differ at most
_NINETY = 1.2816  # normal quantile of p90


@dataclass(frozen=True)
class Drawn:
    """What a run says of one series: logarithms, and after how many processes."""

    centre: float
    half: float
    count: int


def run(series: Sequence[Values], budget: Budget) -> list[Drawn]:
    """Take processes of every series in rounds until each is narrow enough, as a run does.

    `series` are logarithms of processes' medians, each with as many as the budget takes at most.
    What it says in the end, it says by how much processes differed in the whole run.
    """
    fewest, most = budget.processes
    counts, typical = [0] * len(series), 0.0
    open_ = set(range(len(series)))
    for taken in range(1, most + 1):
        for index in sorted(open_):
            counts[index] = taken
            width = _estimate(series[index][:taken], typical)[2] if taken >= fewest else np.inf
            if width <= budget.half_width:
                open_.discard(index)
        typical = moderated.of_run(
            [intervals.own_spread(s[:n]) for s, n in zip(series, counts, strict=True)]
        )
    found = (_estimate(s[:n], typical) for s, n in zip(series, counts, strict=True))
    return [Drawn(centre, half, n) for (centre, half, _), n in zip(found, counts, strict=True)]


def left_out(runs: Sequence[Sequence[Values]], budget: Budget, draws: int) -> Finding:
    """Count how often the interval of drawn processes holds the centre of those left out.

    `runs`: of each recorded run the logarithms of its series. Either centre has an error: that of
    the left-out ones widens the interval by what so many of the same spread leave open.
    """
    held, counts, widths = [], [], []
    most = budget.processes[1]
    for number, series in enumerate(runs):
        random = np.random.default_rng(number)
        for _ in range(draws):
            mixed = [random.permutation(one) for one in series]
            for one, drawn in zip(mixed, run([m[:most] for m in mixed], budget), strict=True):
                rest = one[most:]
                wide = drawn.half * sqrt(1 + drawn.count / len(rest))
                held.append(abs(drawn.centre - intervals.hodges_lehmann(rest)) <= wide)
                counts.append(drawn.count)
                widths.append(drawn.half)
    return Finding(
        name=f"coverage of the 95 % interval, budget {budget.name}, processes left out",
        value=f"{np.mean(held):.1%} of {len(held):,}; on average {np.mean(counts):.1f} processes, "
        f"half width {np.median(widths):.1%}",
        asked="93 to 98 %",
        good=bool(0.93 <= np.mean(held) <= 0.98),
    )


# ------------------------------------------------------------------------------------------ worlds
def _normal(spread: float) -> Make:
    return lambda random, count: random.normal(np.zeros((SERIES, count)), spread)


def _differing(random: Generator, count: int) -> Values:
    """Return cells that differ in how much their processes do, as Smyth's model has it."""
    spreads = 0.06 * np.sqrt(3 / random.chisquare(3, SERIES))
    return random.normal(0, np.repeat(spreads[:, None], count, axis=1))


def _loud_among_quiet(random: Generator, count: int) -> Values:
    """Return cells of which half differ by 2 %, half by 12 %."""
    spreads = np.where(np.arange(SERIES)[:, None] % 2 == 0, 0.02, 0.12)
    return random.normal(np.zeros((SERIES, count)), spreads)


def _two_kinds(random: Generator, count: int) -> Values:
    """Return cells of which a fifth have two kinds of processes, 30 % apart."""
    apart = np.where(np.arange(SERIES)[:, None] % 5 == 0, log(1.3), 0.0)
    kinds = random.integers(0, 2, (SERIES, count)) - 0.5
    found: Values = random.normal(apart * kinds, 0.03)
    return found


def _hit(random: Generator, count: int) -> Values:
    """Return cells of which one process in ten is 10 to 50 % slower, and nobody noticed."""
    hit = random.random((SERIES, count)) < 0.1
    return random.normal(hit * random.uniform(0.1, 0.4, hit.shape), 0.04)


def _some_slow(random: Generator, count: int) -> Values:
    """Return cells of which three processes in ten are 30 % slower."""
    slow = random.random((SERIES, count)) < 0.3
    return random.normal(slow * log(1.3), 0.02)


def _drifting(random: Generator, count: int) -> Values:
    """Return cells whose processes become 10 % slower from the first to the last of the budget."""
    drift = np.linspace(0, log(1.1), count)
    return random.normal(np.tile(drift, (SERIES, 1)), 0.03)


WORLDS: dict[str, Make] = {
    "processes differ by 1 %": _normal(0.01),
    "by 6 %": _normal(0.06),
    "by 15 %": _normal(0.15),
    "by 6 %, otherwise in each cell": _differing,
    "half of the cells by 2 %, half by 12 %": _loud_among_quiet,
    "a fifth of the cells has two kinds, 30 % apart": _two_kinds,
    "one process in ten is disturbed unseen": _hit,
    "three processes in ten are 30 % slower": _some_slow,
    "processes become 10 % slower, first to last": _drifting,
}
HARD = tuple(WORLDS)[-4:]  # where processes are no draws of one kind, and no interval is promised


def coverage(budget: Budget, names: Sequence[str] = tuple(WORLDS)) -> Iterator[Finding]:
    """Count in each invented world how often the interval holds what the cell was made of."""
    for name in names:
        make, random = WORLDS[name], np.random.default_rng(0)
        truth = np.array([intervals.hodges_lehmann(row) for row in make(random, 400)]).mean()
        most = budget.processes[1]
        drawn = [each for _ in range(RUNS) for each in run(list(make(random, most)), budget)]
        held = float(np.mean([abs(each.centre - truth) <= each.half for each in drawn]))
        width = float(np.median([each.half for each in drawn]))
        yield Finding(
            name=f"coverage where {name}, budget {budget.name}",
            value=f"{held:.1%} of {len(drawn):,}, half width {width:.1%}",
            asked="" if name in HARD else "at least 93 %",
            good=None if name in HARD else held >= 0.93,
        )


# ---------------------------------------------------------------------------------------- verdicts
@dataclass(frozen=True)
class Few:
    """What processes give whose requests lie near a threshold: few samples, alike in time."""

    samples: int
    within: float = 0.06  # spread of a process's samples
    between: float = 0.06  # of processes
    likeness: float = 0.5  # correlation of neighbours

    def cell(self, random: Generator, target: float, count: int) -> list[Values]:
        """Return processes of a cell whose requests' p90 is `target`."""
        centres = random.normal(log(target) - self.within * _NINETY, self.between, count)
        return [np.exp(centre + self._around(random)) for centre in centres]

    def _around(self, random: Generator) -> Values:
        found = random.normal(0, self.within, self.samples)
        for index in range(1, self.samples):
            news = sqrt(1 - self.likeness**2) * found[index]
            found[index] = self.likeness * found[index - 1] + news
        return found


FEW = (Few(1), Few(2), Few(3), Few(10), Few(3, within=0.15, between=0.10))
_NEAR, _FAR = 0.02, 0.3  # of the threshold
_KNOWN = 0.06  # samples that differ more than this defeat any bound of three


def verdicts(budget: Budget, levels: Levels) -> Iterator[Finding]:
    """Count wrong verdicts near the threshold, and open ones far from it."""
    for case in FEW:
        under, over, near, far = (
            np.array(list(_words(case, budget, levels, factor)))
            for factor in (1 - _NEAR, 1 + _NEAR, 1 - _FAR, 1 + _FAR)
        )
        wrong = float(np.mean(over == "under")), float(np.mean(under == "over"))
        open_ = [float(np.mean(words == "undecided")) for words in (near, far)]
        known = case.within <= _KNOWN
        yield Finding(
            name=f"verdict of {case.samples} samples a process, which differ by {case.within:.0%} "
            f"and processes by {case.between:.0%}, budget {budget.name}",
            value=f"{_NEAR:.0%} from the threshold {wrong[0]:.1%} wrongly under, {wrong[1]:.1%} "
            f"wrongly over; {_FAR:.0%} below it {open_[0]:.0%} undecided, above {open_[1]:.0%}",
            asked="at most 1 % wrong" if known else "",
            good=max(wrong) <= 0.01 if known else None,
        )


def early() -> Finding:
    """Count cells at the threshold that end early, where disturbances of processes go unseen."""
    random = np.random.default_rng(0)
    hit = np.where(random.random((_CELLS, 2)) < 0.1, random.uniform(2, 4, (_CELLS, 2)), 1.0)
    figures = _THRESHOLD * hit * random.lognormal(0, _SLOPPY, (_CELLS, 2))
    one, two = (
        float(np.mean(figures[:, :count].min(axis=1) > times * _THRESHOLD))
        for count, times in intervals.FAR.items()
    )
    return Finding(
        name="cells at the threshold of which one process in ten is two to four times slower, "
        "unseen",
        value=f"{one:.2%} end early after one process, {two:.2%} after two",
        asked="at most 1.5 %",
        good=max(one, two) <= 0.015,
    )


def _words(case: Few, budget: Budget, levels: Levels, factor: float) -> Iterator[str]:
    """Judge the cells of some runs, all so many times the threshold, until each is clear."""
    random = np.random.default_rng(round(1000 * factor))
    (fewest, most), share = budget.processes, levels.percentile
    for _ in range(RUNS):
        cells = [case.cell(random, factor * _THRESHOLD, 2 * most) for _ in range(SERIES)]
        words = dict.fromkeys(range(SERIES), "undecided")
        for count in range(fewest, 2 * most + 1):
            spreads = [spreads_of.of_series(cell[:count], share) for cell in cells]
            tail = moderated.of_run(spreads)
            for index in [index for index, word in words.items() if word == "undecided"]:
                taken = cells[index][:count]
                words[index] = intervals.judge(
                    taken, _THRESHOLD, share, levels.confidence, typical=tail
                )
        yield from words.values()


def _estimate(logs: Values, typical: float) -> tuple[float, float, float]:
    """Return centre and half the interval, of logarithms, and half its width as a share."""
    centre, low, high = intervals.interval(logs, typical, unsteady.seen(logs))
    if high == np.inf:
        return centre, np.inf, np.inf
    return centre, max(high - centre, centre - low), (exp(high - centre) - exp(low - centre)) / 2
