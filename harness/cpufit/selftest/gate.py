"""The gate's rule on recorded pairs, drawn anew hundreds of times, and other tools' rules. Pure.

A drawn matrix takes a fixed number of cells; each cell's time draws its screen and its fresh pairs
from those recorded, in blocks of neighbours: what lasts for minutes stays together, and either arm
starts as often. What is judged are times: sizes and memory are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as scipy_stats

from cpufit.gating import rule, verdict
from cpufit.gating.pairs import kind_of
from cpufit.margins import MARGINS
from cpufit.selftest import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from cpufit.gating.pairs import Trial

    Values = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Rule = Callable[["Recorded"], Flags]  # of cells in rows: whether each would fail

MATRICES, CELLS = 299, 30
MARGIN = MARGINS["time"]
_FEWEST = 10  # undisturbed pairs of a series
_ALARMS = 0.01
_BLOCK = 5  # pairs that followed one another


@dataclass(frozen=True)
class Recorded:
    """One time of one cell, or of several in rows: what the processes of each pair came to."""

    before: Values
    after: Values
    logs: Values  # d of each pair

    def drawn(self, count: int, random: Generator) -> Recorded:
        """Return so many of its pairs, in blocks of neighbours."""
        starts = random.integers(0, len(self.logs), -(-count // _BLOCK))
        places = (starts[:, None] + np.arange(_BLOCK)).ravel()[:count] % len(self.logs)
        return Recorded(self.before[places], self.after[places], self.logs[places])


def recorded(trials: Sequence[Trial]) -> list[Recorded]:
    """Return the undisturbed pairs of every time that has enough of them."""
    found = []
    for trial in trials:
        quiet = [pair for pair in trial.pairs if not pair.disturbed]
        for name in trial.names if len(quiet) >= _FEWEST else ():
            if kind_of(name) == "time":
                before, after = (
                    np.array([getattr(pair, side)[name] for pair in quiet])
                    for side in ("before", "after")
                )
                logs = np.array([pair.change(name) for pair in quiet])
                found.append(Recorded(before, after, logs))
    return found


def alarms(found: Sequence[Recorded]) -> Finding:
    """Draw matrices of pairs that do not differ, and count those in which something fails."""
    failed, open_ = 0, 0
    for index in range(MATRICES):
        words = list(_matrix(found, np.random.default_rng(index)))
        failed += "regression" in words
        open_ += words.count("inconclusive")
    return Finding(
        name=f"gate: {MATRICES} matrices of {CELLS} times that do not differ",
        value=f"{failed} with a false alarm ({failed / MATRICES:.1%}); of all times "
        f"{open_ / MATRICES / CELLS:.1%} inconclusive",
        asked="at most 1 %",
        good=failed <= _ALARMS * MATRICES,
    )


def _matrix(found: Sequence[Recorded], random: Generator) -> Iterator[rule.Verdict]:
    for index in random.integers(0, len(found), CELLS):
        yield _judged(found[index], random)[0]


def _judged(one: Recorded, random: Generator) -> tuple[rule.Verdict, float]:
    """Draw pairs as a gate would take them; return what it says and what it promises to see."""
    pairs = one.drawn(rule.SCREEN_MOST, random).logs
    taken = rule.SCREEN
    while taken < rule.SCREEN_MOST and rule.too_noisy(pairs[:taken], taken, MARGIN, CELLS):
        taken += 1
    more = rule.CONFIRM if rule.flagged(pairs[:taken], MARGIN) else 0
    judged = rule.judge(pairs[:taken], one.drawn(more, random).logs, MARGIN, CELLS)
    return judged.verdict, judged.smallest


def matrices(found: Sequence[Sequence[Trial]]) -> Finding:
    """Judge whole matrices that a gate took of equal arms, by the rule as it is now."""
    words = [
        [verdict.judge(trial, verdict.tested(trials)).word for trial in trials] for trials in found
    ]
    failed = sum("regression" in each for each in words)
    every = [word for each in words for word in each]
    pairs = [sum(len(trial.pairs) for trial in trials) for trials in found]
    return Finding(
        name=f"gate: {len(found)} real matrices of {len(every) / len(found):.0f} cells",
        value=f"{failed} with a false alarm; {every.count('inconclusive') / len(every):.1%} of the "
        f"cells inconclusive after {min(pairs)} to {max(pairs)} pairs",
        asked="none",
        good=not failed,
    )


def detection(found: Sequence[Recorded], share: float) -> Finding:
    """Draw from pairs whose second arm really does so much more: how often is it found?"""
    seen: list[bool] = []
    everything = 0
    for index, one in enumerate(found):
        random = np.random.default_rng(index)
        for _ in range(MATRICES):
            word, smallest = _judged(one, random)
            everything += 1
            if smallest <= share:
                seen.append(word == "regression")
    value = f"found in {np.mean(seen):.1%} of {len(seen)} trials" if seen else "no trial"
    return Finding(
        name=f"gate: {share:.0%} of real extra work",
        value=f"{value} whose noise allowed it by their own statement, of {everything}",
        asked="at least 99 %",
        good=float(np.mean(seen)) >= 0.99 if seen else None,
    )


def others(same: Sequence[Recorded], worse: Sequence[Recorded]) -> Iterator[Finding]:
    """Try other tools' rules on the same processes, as many as a cell that is confirmed takes.

    Those rules know no pairs: so they are tried, too, on arms that were not taken in turns.
    """
    randoms = [np.random.default_rng(index) for index in range(MATRICES)]
    paired, apart = (
        [_stacked(draw(same[i], random) for i in random.integers(0, len(same), CELLS))
         for random in randoms]
        for draw in (_in_turns, _apart)
    )  # fmt: skip
    slower = _stacked(_in_turns(one, randoms[0]) for one in worse for _ in range(100))
    for name, fails in {"cpufit": _ours, **RULES}.items():
        alone = f"; {_failed(apart, fails):.1%} were they not taken in turns" * (name in RULES)
        yield Finding(
            name=f"rule of {name}",
            value=f"{_failed(paired, fails):.1%} of matrices with a false alarm{alone}; "
            f"{np.mean(fails(slower)):.1%} of slower ones found",
            asked="",
            good=None,
        )


def _in_turns(one: Recorded, random: Generator) -> Recorded:
    return one.drawn(rule.SCREEN + rule.CONFIRM, random)


def _apart(one: Recorded, random: Generator) -> Recorded:
    """Return processes of either arm that no longer belong to each other."""
    return replace(_in_turns(one, random), after=_in_turns(one, random).after)


def _stacked(found: Iterable[Recorded]) -> Recorded:
    """Return cells as rows."""
    rows = list(found)
    shortest = min(len(row.logs) for row in rows)
    before, after, logs = (
        np.stack([getattr(row, name)[:shortest] for row in rows])
        for name in ("before", "after", "logs")
    )
    return Recorded(before, after, logs)


def _failed(drawn: Sequence[Recorded], fails: Rule) -> float:
    """Return the share of matrices in which a cell fails."""
    return float(np.mean([fails(matrix).any() for matrix in drawn]))


def _ours(cells: Recorded) -> Flags:
    screens, confirms = np.split(cells.logs, [rule.SCREEN], axis=1)
    judged = (rule.judge(*each, MARGIN, CELLS) for each in zip(screens, confirms, strict=True))
    return np.array([each.verdict == "regression" for each in judged])


def _mann_whitney(cells: Recorded) -> Values:
    return np.asarray(scipy_stats.mannwhitneyu(cells.before, cells.after, axis=1).pvalue)


def _factor(cells: Recorded, statistic: Callable[..., Values] = np.median) -> Values:
    return statistic(cells.after, axis=1) / statistic(cells.before, axis=1)


def _pyperf(cells: Recorded) -> Flags:
    significant = scipy_stats.ttest_ind(cells.after, cells.before, axis=1).pvalue < 0.05
    flags: Flags = significant & (_factor(cells, np.mean) > 1)
    return flags


# As their sources say, each with what it fails or reports by default (docs/gate.md).
RULES: Mapping[str, Rule] = {
    "benchstat (Mann-Whitney, p < 0.05)": lambda c: (_mann_whitney(c) < 0.05) & (_factor(c) > 1),
    "pytest-benchmark (min:5%)": lambda c: _factor(c, np.min) >= 1.05,
    "pytest-benchmark (median:5%)": lambda c: _factor(c) >= 1.05,
    "asv (factor 1.1 and p < 0.002)": lambda c: (_factor(c) > 1.1) & (_mann_whitney(c) < 0.002),
    "pyperf (Student's t at 95 %)": _pyperf,
    "DuckDB (median 10 % slower)": lambda c: _factor(c) >= 1.1,
}


def going_first(trials: Sequence[Trial]) -> Finding:
    """Say what it costs in a pair to go first, and how much of the pairs' variance that is."""
    costs, shares = [], []
    for trial in trials:
        quiet = [pair for pair in trial.pairs if not pair.disturbed and pair.changes]
        for name in trial.names if len(quiet) >= _FEWEST else ():
            if kind_of(name) != "time":
                continue
            logs = np.array([pair.change(name) for pair in quiet])
            sign = np.array([1.0 if pair.after_first else -1.0 for pair in quiet])
            if len(set(sign)) == 2:
                cost = (logs[sign > 0].mean() - logs[sign < 0].mean()) / 2
                costs.append(float(cost))
                shares.append(float(1 - np.var(logs - cost * sign) / np.var(logs)))
    if not costs:
        return Finding(
            name="gate: going first", value="the pairs do not say who did", asked="", good=None
        )
    error = float(np.std(costs, ddof=1) / np.sqrt(len(costs))) if len(costs) > 1 else np.inf
    return Finding(
        name="gate: going first in a pair",
        value=f"costs {np.mean(costs):+.2%} ±{2 * error:.2%} ({len(costs)} times), which is "
        f"{np.mean(shares):.0%} of the variance of pairs",
        asked="",
        good=None,
    )


def spread(found: Sequence[Recorded]) -> Finding:
    """Say how much pairs differ that should not."""
    each = [float(np.std(one.logs, ddof=1)) for one in found]
    seen = [rule.smallest(one.logs, rule.SCREEN, MARGIN, CELLS) for one in found]
    few, many = np.quantile(each, (0.1, 0.9))
    return Finding(
        name=f"gate: pairs of {len(found)} times",
        value=f"differ by {np.median(each):.1%} (standard deviation; {few:.1%} to {many:.1%} for "
        f"8 of 10), so that {rule.SCREEN} on the screen see {np.median(seen):.1%} in the median "
        f"and {sum(s <= log(1.05) for s in seen)} see 5 %",
        asked="",
        good=None,
    )
