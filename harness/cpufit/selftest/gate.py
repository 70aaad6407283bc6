"""The gate's rule on recorded pairs, drawn anew hundreds of times, and other tools' rules. Pure.

A drawn matrix takes a fixed number of cells; each cell's quantity draws its screen and its fresh
pairs with replacement from those recorded. What is judged are times: sizes and memory are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as scipy_stats

from cpufit.gating import rule
from cpufit.gating.pairs import MARGINS, kind_of
from cpufit.selftest import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from cpufit.gating.pairs import Trial

    Values = NDArray[np.float64]
    Rule = Callable[[Values, Values], bool]  # before, after: whether it would fail

MATRICES, CELLS = 299, 30
MARGIN = MARGINS["time"]
_FEWEST = 10  # undisturbed pairs of a series
_ALARMS = 0.01


@dataclass(frozen=True)
class Recorded:
    """One time of one cell: what the processes of each pair came to, in ns."""

    name: str
    before: Values
    after: Values
    logs: Values  # d of each pair


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
                found.append(Recorded(f"{trial.cell.id} {name}", before, after, logs))
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
        yield _drawn(found[index].logs, random, CELLS)[0]


def _drawn(logs: Values, random: Generator, tested: int) -> tuple[rule.Verdict, float]:
    """Draw pairs as a gate would take them; return what it says and what it promises to see."""
    screen = random.choice(logs, rule.SCREEN)
    while len(screen) < rule.SCREEN_MOST and rule.too_noisy(screen, len(screen), MARGIN, tested):
        screen = np.append(screen, random.choice(logs))
    more = rule.CONFIRM if rule.flagged(screen, MARGIN) else 0
    judged = rule.judge(screen, random.choice(logs, more), MARGIN, tested)
    return judged.verdict, judged.smallest


def detection(found: Sequence[Recorded], share: float) -> Finding:
    """Draw from pairs whose second arm really does so much more: how often is it found?"""
    seen: list[bool] = []
    everything = 0
    for index, one in enumerate(found):
        random = np.random.default_rng(index)
        for _ in range(MATRICES):
            word, smallest = _drawn(one.logs, random, CELLS)
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
    """Try other tools' rules on the same pairs: what each would have said of 20 of them."""
    for name, fails in RULES.items():
        alarmed = [_any(same, fails, index) for index in range(MATRICES)]
        random = np.random.default_rng(0)
        seen = [fails(*_pairs(one, random)) for one in worse for _ in range(100)]
        found = f"{np.mean(seen):.1%} of slower ones found" if seen else ""
        yield Finding(
            name=f"rule of {name}",
            value=f"{np.mean(alarmed):.1%} of matrices with a false alarm, {found}",
            asked="",
            good=None,
        )


def _any(found: Sequence[Recorded], fails: Rule, seed: int) -> bool:
    random = np.random.default_rng(seed)
    chosen = random.integers(0, len(found), CELLS)
    return any(fails(*_pairs(found[index], random)) for index in chosen)


def _pairs(one: Recorded, random: Generator) -> tuple[Values, Values]:
    """Draw 30 pairs: as many as a cell that is confirmed takes."""
    index = random.integers(0, len(one.before), rule.SCREEN + rule.CONFIRM)
    return one.before[index], one.after[index]


def _mann_whitney(before: Values, after: Values) -> float:
    return float(scipy_stats.mannwhitneyu(before, after).pvalue)


def _asv(before: Values, after: Values) -> bool:
    factor = float(np.median(after) / np.median(before))
    return factor > 1.1 and _mann_whitney(before, after) < 0.002


def _pyperf(before: Values, after: Values) -> bool:
    significant = float(scipy_stats.ttest_ind(after, before).pvalue) < 0.05
    return significant and bool(after.mean() > before.mean())


def _benchstat(before: Values, after: Values) -> bool:
    return _mann_whitney(before, after) < 0.05 and bool(np.median(after) > np.median(before))


def _above(statistic: Callable[[Values], float], factor: float) -> Rule:
    return lambda before, after: bool(statistic(after) >= factor * statistic(before))


# As their sources say, each with what it fails or reports by default (docs/gate.md).
RULES: Mapping[str, Rule] = {
    "benchstat (Mann-Whitney, p < 0.05)": _benchstat,
    "pytest-benchmark (min:5%)": _above(lambda values: float(values.min()), 1.05),
    "pytest-benchmark (median:5%)": _above(lambda values: float(np.median(values)), 1.05),
    "asv (factor 1.1 and p < 0.002)": _asv,
    "pyperf (Student's t at 95 %)": _pyperf,
    "DuckDB (median 10 % slower)": _above(lambda values: float(np.median(values)), 1.1),
}


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
