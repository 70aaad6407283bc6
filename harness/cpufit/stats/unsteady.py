"""Processes of one cell that are of two kinds, or drift, which Student's interval ignores. Pure.

What another guest does beside the core that a process got may make it of one kind or of another, as
far apart as 40 % (docs/methodology.md); a host that grows warm makes each process slower than the
last. Either way the next process is no draw of the same, and an interval of the centre holds too
seldom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

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


def seen(logs: Values) -> Unsteady | None:
    """Say whether logarithms of processes' figures, in order of time, are of two kinds or drift.

    None where neither shows, or there are too few.
    """
    ends, drifts = of_cells(logs[None])
    if np.isnan(ends[0, 0]):
        return None
    first, last = np.exp(ends[0])
    return Unsteady("drift" if drifts[0] else "two kinds", (float(first), float(last)))


def of_cells(block: Values) -> tuple[Values, NDArray[np.bool_]]:
    """Return the same of many cells, a row of processes each: both values, as logarithms, NaN where
    neither shows; and where they are those of a drift.
    """
    ends = np.full((len(block), 2), np.nan)
    drifts = np.zeros(len(block), bool)
    if block.shape[1] < FEWEST:
        return ends, drifts
    centred = block - block.mean(axis=1, keepdims=True)
    middle, length = block.mean(axis=1), _rise(centred)
    drifts = np.isfinite(length)
    kinds = _two_kinds(np.sort(centred, axis=1))
    ends = middle[:, None] + np.where(drifts[:, None], np.outer(length, (-0.5, 0.5)), kinds)
    return ends, drifts


def _rise(centred: Values) -> Values:
    """Return by how much lines through the rows rise; NaN where by no gap, or by chance."""
    count = centred.shape[1]
    turn = np.arange(count) - (count - 1) / 2
    squares = float(turn @ turn)
    slope = centred @ turn / squares
    left = centred - np.outer(slope, turn)
    error = np.sqrt((left**2).sum(axis=1) / (count - 2) / squares)
    chance = 2 * stdtr(count - 2, -np.abs(slope) / np.where(error == 0, 1e-300, error))
    length = slope * (count - 1)
    return np.where((np.abs(length) >= _GAP) & (chance <= _CHANCE), length, np.nan)


def _two_kinds(ordered: Values) -> Values:
    """Return the middle of either kind of sorted rows, cut at the widest gap that leaves two
    processes or more on either side; NaN where there is but one kind.
    """
    count, rows = ordered.shape[1], np.arange(len(ordered))
    gaps = ordered[:, 2:-1] - ordered[:, 1:-2]
    cut = gaps.argmax(axis=1) + 2
    rest = count - cut
    sums, squares = ordered.cumsum(axis=1), (ordered**2).cumsum(axis=1)
    low, high = sums[rows, cut - 1] / cut, (sums[:, -1] - sums[rows, cut - 1]) / rest
    inside = squares[:, -1] - cut * low**2 - rest * high**2
    within = np.sqrt(np.maximum(inside, 0) / (count - 2))
    apart = (high - low >= (_APART + _APART_OF_FEW / (count - 2)) * within) & (
        gaps.max(axis=1) >= _GAP
    )
    middles = [
        (ordered[rows, start + (size - 1) // 2] + ordered[rows, start + size // 2]) / 2
        for start, size in ((0, cut), (cut, rest))
    ]
    return np.where(apart[:, None], np.stack(middles, axis=1), np.nan)
