"""The rule: screen every quantity, confirm what is flagged on fresh pairs. Pure arithmetic.

d is the logarithm of after / before of one pair, so that worse is positive. The test is Wilcoxon's
signed rank, exact: under the null either sign of every d is as likely as the other. Screening at
1 % and confirming at 0.72 / (quantities tested) on pairs that the screen never saw leaves a false
alarm in at most 1 % of matrices, however large (docs/gate.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil, exp, expm1, inf, log1p, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtrit

from cpufit.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Logs = NDArray[np.float64]

Verdict = Literal["regression", "improvement", "same", "inconclusive"]

SCREEN = 10  # pairs of each cell
SCREEN_MOST = 30  # where it is too noisy for so few
CONFIRM = 20  # fresh pairs of what the screen flags
SCREEN_ALPHA = FAMILY_ALPHA = 0.01
# What the screen flags of equal arms at worst: it takes more pairs where they differ much, and they
# differ less where their signs agree.
_SCREEN_LEVEL = 0.0138
_MISSED = 0.005  # of cases, at either stage
_SCREENED = "on the screen alone: a command that measures again confirms it"
_EFFICIENCY = sqrt(0.955)  # of signed ranks and Hodges-Lehmann beside t and mean, normal noise


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What pairs say of one quantity."""

    verdict: Verdict
    ratio: float  # after / before: the Hodges-Lehmann centre
    interval: tuple[float, float]  # 95 %
    pairs: int
    p: float  # of the stage that decided, one-sided; nan: no pairs, but earlier runs
    smallest: float  # the smallest worsening that would be found in 99 of 100 cases, as a share
    why: str = ""


def confirm_alpha(tested: int) -> float:
    """Return the level of the second stage where so many quantities are tested."""
    return min(FAMILY_ALPHA / (_SCREEN_LEVEL * max(tested, 1)), SCREEN_ALPHA)


def flagged(screen: Logs, margin: float) -> bool:
    """Whether the screen sees something worth twenty more pairs."""
    if len(screen) < SCREEN or intervals.hodges_lehmann(screen) < log1p(margin) / 2:
        return False
    return signed_rank(screen) < SCREEN_ALPHA


def too_noisy(logs: Logs, count: int, margin: float, tested: int) -> bool:
    """Whether twice the margin could be missed with so many pairs on the screen."""
    return smallest(logs, count, margin, tested) > 2 * margin


def smallest(logs: Logs, count: int, margin: float, tested: int, stages: int = 1) -> float:
    """Return the worsening that both stages would let through in 1 of 100 cases at most.

    By the noise of these pairs, in the normal approximation of both tests; `logs` are around the
    mean of each of so many `stages`.
    """
    degrees = len(logs) - stages
    if degrees < 1 or count < 2:
        return inf
    sure = float(stdtrit(degrees, 1 - _MISSED))  # Student's: the noise is known from few pairs
    spread = intervals.deviation(logs) * sqrt((len(logs) - 1) / degrees) / _EFFICIENCY
    first = (_quantile(SCREEN_ALPHA, count) + sure) * spread / sqrt(count)
    error = spread / sqrt(CONFIRM)
    second = max(_quantile(confirm_alpha(tested), CONFIRM) * error, log1p(margin))
    return expm1(max(first, second + sure * error))


def judge(screen: Logs, confirm: Logs, margin: float, tested: int) -> Judged:
    """Decide on the pairs so far; `confirm` is empty where nothing was flagged."""
    logs = confirm if len(confirm) >= CONFIRM else screen
    if not len(logs):
        return nothing(f"{SCREEN} undisturbed pairs are needed")
    stages = [each - each.mean() for each in (screen, confirm) if len(each)]
    noise = np.concatenate(stages)

    def sees(share: float) -> float:
        return smallest(noise, len(screen), share, tested, len(stages))

    seen = sees(margin)
    centre, half = intervals.student(logs, 0.95)
    verdict, why = _decide(screen, confirm, margin, tested)
    if verdict == "same" and seen > 2 * margin:
        verdict, why = "inconclusive", doubt(sees, margin)
    return Judged(
        verdict=verdict,
        ratio=exp(centre),
        interval=(exp(centre - half), exp(centre + half)) if half < inf else (0.0, inf),
        pairs=len(logs),
        p=signed_rank(-logs if verdict == "improvement" else logs),
        smallest=seen,
        why=why,
    )


def nothing(why: str) -> Judged:
    """Return what no pair at all says."""
    return Judged(
        verdict="inconclusive",
        ratio=1.0,
        interval=(0.0, inf),
        pairs=0,
        p=1.0,
        smallest=inf,
        why=why,
    )


def _decide(screen: Logs, confirm: Logs, margin: float, tested: int) -> tuple[Verdict, str]:
    if len(screen) < SCREEN:
        return "inconclusive", f"{len(screen)} undisturbed pairs, {SCREEN} are needed"
    if flagged(screen, margin):
        if len(confirm) < CONFIRM:
            words = f"worse on the screen, but {len(confirm)} of {CONFIRM} pairs to confirm it"
            return "inconclusive", words
        if _beyond(confirm, margin) and signed_rank(confirm) < confirm_alpha(tested):
            return "regression", ""
    last = confirm if len(confirm) >= CONFIRM else screen
    if _beyond(-last, margin) and signed_rank(-last) < SCREEN_ALPHA:
        return "improvement", "" if last is confirm else _SCREENED
    return "same", ""


def doubt(sees: Callable[[float], float], margin: float) -> str:
    """Say what would be found by that margin, and which one, in whole percent, could be judged."""
    percents = range(max(1, ceil(50 * sees(0.0))), 101)
    least = next((each for each in percents if sees(each / 100) <= each / 50), None)
    better = f"; a margin of {least}% could be judged" if least else ""
    return f"too noisy: only {sees(margin):.0%} would be found{better}"


def _beyond(logs: Logs, margin: float) -> bool:
    return intervals.hodges_lehmann(logs) >= log1p(margin)


def signed_rank(logs: Logs) -> float:
    """Return the exact one-sided p of values that lie above 0; 1 where none differs from it.

    Values of 0 are left out, equal ones share their ranks.
    """
    values = logs[logs != 0]
    if not len(values):
        return 1.0
    sizes = np.abs(values)
    ordered = np.sort(sizes)
    twice = ordered.searchsorted(sizes) + ordered.searchsorted(sizes, "right") + 1  # the ranks
    above = int(twice[values > 0].sum())  # doubled, since shared ones are halves
    return float(_tail(tuple(np.sort(twice).tolist()))[above])


@cache
def _tail(ranks: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the share of all sign patterns whose positive ranks come to so much or more."""
    counts = np.zeros(sum(ranks) + 1)
    counts[0] = 1
    for rank in ranks:
        counts[rank:] += counts[:-rank].copy()
    tail: NDArray[np.float64] = counts[::-1].cumsum()[::-1] / counts.sum()
    return tail


@cache
def _quantile(alpha: float, count: int) -> float:
    return float(stdtrit(count - 1, 1 - alpha))
