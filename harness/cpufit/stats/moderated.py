"""How much the processes of a cell differ, where the other cells of its run help to know. Pure.

Three processes tell little of their own variance. Those of all series of a run tell what is typical
on this host at this hour, which counts like `DEGREES` further processes of each: the moderated
variance of Smyth 2004 (https://doi.org/10.2202/1544-6115.1027), with fixed degrees, and one-sided:
a noisier cell is believed. All spreads are standard deviations of logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma, polygamma

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DEGREES = 3  # what the run counts for; recordings leave it open between 2.4 and infinity
FEWEST_SERIES = 5  # of two processes or more; fewer say nothing of a run
# Recorded processes are not quite normal, and the stop rule takes several looks: at 97 % Student's
# interval holds 95 to 97 % of what the same cells give when they are measured on.
CONFIDENCE = 0.97
LEAST = 0.005  # processes of one cell differ at least so much
# Times the variance of log variances that `DEGREES` mean: two runtimes of which one is a hundred
# times noisier have 5, one ten times noisier 2; then what is typical of both is so of neither.
_UNLIKE = 3.0
_SMALLEST = 1e-8  # of a variance whose logarithm is taken
_TO_CLIP, _TAIL = 10, 0.1  # from so many series on, the outer tenths count as their edges


@dataclass(frozen=True, kw_only=True)
class Typical:
    """How much the processes of one cell differ in this run; 0 where too few series tell."""

    median: float = 0.0
    tail: float = 0.0  # of the percentile that verdicts are about


UNKNOWN = Typical()


def of_run(spreads: Sequence[tuple[float, int]]) -> float:
    """Return the typical spread of a run from that of each series and its degrees of freedom.

    0 where there are too few series with any degree of freedom, or they are not of one kind.
    """
    known = [(spread, degrees) for spread, degrees in spreads if degrees >= 1]
    if len(known) < FEWEST_SERIES:
        return 0.0
    variances, degrees = np.array([(spread**2, count) for spread, count in known]).T
    half = degrees / 2
    each = np.log(np.maximum(variances, _SMALLEST)) - digamma(half) + np.log(half)
    expected = polygamma(1, half).mean() + float(polygamma(1, DEGREES / 2))
    if each.var() > _UNLIKE * expected:
        return 0.0
    if len(each) >= _TO_CLIP:
        each = np.clip(each, *np.quantile(each, [_TAIL, 1 - _TAIL]))
    return sqrt(exp(float(each.mean()) + float(digamma(DEGREES / 2)) - log(DEGREES / 2)))


def spread(own: float, degrees: int, typical: float, least: float = LEAST) -> tuple[float, float]:
    """Return what a cell's spread is taken for, and its degrees of freedom.

    `own` is that of its processes, with one degree less than there are (0 of one process), and
    `typical` that of the run.
    """
    found, of = spreads(np.array([own]), degrees, np.array([typical]), least)
    return float(found[0]), of


def spreads(
    own: NDArray[np.float64], degrees: int, typical: NDArray[np.float64], least: float = LEAST
) -> tuple[NDArray[np.float64], float]:
    """Return the same of many cells with as many processes."""
    together = (DEGREES * typical**2 + degrees * own**2) / (DEGREES + degrees)
    return np.sqrt(np.maximum(np.maximum(together, own**2), least**2)), float(DEGREES + degrees)
