"""Processes of one cell that are of two kinds, or drift, which Student's interval ignores. Pure.

Where memory happens to lie, or which core a process got, may make it of one kind or of another, as
far apart as 30 %; a host that grows warm makes each process slower than the last. Either way the
next process is not one more draw of the same, and an interval of the centre holds too seldom.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 5  # processes; four of one kind always have a largest gap somewhere
_GAP = 0.04  # between two kinds, of logarithms; less is within what intervals are asked for
# Standard deviations within a kind that normal noise, cut at its widest gap, lies apart in 2 of 100
# cases: so much, and so much more over the degrees of freedom (simulated, 5 to 16 processes).
_APART, _APART_OF_FEW = 3.2, 18.3
_CHANCE = 0.02  # of a trend as clear as this, were the order drawn


@dataclass(frozen=True)
class Unsteady:
    """What the processes' figures are, beside what they differ by: two values, low to high or first
    to last.
    """

    kind: Literal["two kinds", "drift"]
    values: tuple[float, float]


def seen(logs: NDArray[np.float64]) -> Unsteady | None:
    """Say whether logarithms of processes' figures, in order of time, are of two kinds or drift.

    None where neither shows, or there are too few.
    """
    if len(logs) < FEWEST:
        return None
    return _drift(logs) or _two_kinds(np.sort(logs))


def may_be(block: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the rows, a cell's processes each, that `seen` need be asked about."""
    if block.shape[1] < FEWEST:
        return np.empty(0, np.intp)
    return np.flatnonzero(np.ptp(block, axis=1) >= _GAP)


def _drift(logs: NDArray[np.float64]) -> Unsteady | None:
    """Fit a line, which must rise or fall by more than a gap, and by more than chance allows."""
    turn = np.arange(len(logs)) - (len(logs) - 1) / 2
    middle, squares = float(logs.mean()), float(turn @ turn)
    slope = float(turn @ logs) / squares
    length = slope * (len(logs) - 1)
    if abs(length) < _GAP:
        return None
    off, degrees = logs - middle - slope * turn, len(logs) - 2
    error = sqrt(float(off @ off) / degrees / squares)
    if error and stdtr(degrees, -abs(slope) / error) > _CHANCE / 2:
        return None
    return Unsteady("drift", (exp(middle - length / 2), exp(middle + length / 2)))


def _two_kinds(ordered: NDArray[np.float64]) -> Unsteady | None:
    """Cut at the widest gap, which must leave two processes or more on either side."""
    gaps = ordered[2:-1] - ordered[1:-2]
    cut = int(gaps.argmax()) + 2
    if gaps[cut - 2] < _GAP:
        return None
    low, high = ordered[:cut], ordered[cut:]
    degrees = len(ordered) - 2
    within = np.sqrt((low.var() * len(low) + high.var() * len(high)) / degrees)
    if high.mean() - low.mean() < (_APART + _APART_OF_FEW / degrees) * within:
        return None
    return Unsteady("two kinds", (exp(float(np.median(low))), exp(float(np.median(high)))))
