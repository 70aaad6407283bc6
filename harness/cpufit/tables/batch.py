"""What `stats` and `intervals` say of one cell, of a hundred thousand at a time. Pure.

Samples of all lie in one array, one after the other; a segment is its start and its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from cpufit.stats import intervals, moderated, unsteady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Whole = NDArray[np.int64]

MARKED = 0.03  # so that 4 to 6 % of rows of equal cells show one as worse than the best
_MOST = 4_000_000  # values that are looked at together, so that they fit into a cache and memory


@dataclass(frozen=True)
class Segments:
    """Parts of one array of values."""

    values: NDArray[Any]
    starts: Whole
    lengths: Whole

    def blocks(self) -> Iterator[tuple[Whole, NDArray[Any]]]:
        """Give segments of one length as a matrix, a row each, and which ones they are."""
        order = np.argsort(self.lengths, kind="stable")
        cuts = np.flatnonzero(np.diff(self.lengths[order])) + 1
        for same in np.split(order, cuts):
            length = int(self.lengths[same[0]]) if len(same) else 0
            for which in _pieces(same, max(_MOST // max(length, 1), 1)):
                if length:
                    yield which, self.values[self.starts[which][:, None] + np.arange(length)]

    def gathered(self) -> Segments:
        """Return the same segments, one right behind the other in the order they have here."""
        ends = np.cumsum(self.lengths)
        starts = ends - self.lengths
        total = int(ends[-1]) if len(ends) else 0
        index = np.repeat(self.starts - starts, self.lengths) + np.arange(total)
        return Segments(self.values[index], starts, self.lengths)

    def percentile(self, share: float) -> Values:
        """Return what `percentiles.percentile` says of each segment; NaN of an empty one."""
        found = np.full(len(self.starts), np.nan)
        for which, block in self.blocks():
            n = block.shape[1]
            ordered = np.sort(block, axis=1)
            found[which] = (
                (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
                if share == 0.5
                else ordered[:, max(ceil(share * n) - 1, 0)]
            )
        return found

    def reduced(self, how: Callable[..., Any]) -> Values:
        """Return numpy's `sum` or `max` of each segment; 0 of an empty one."""
        found = np.zeros(len(self.starts))
        for which, block in self.blocks():
            found[which] = how(block, axis=1)
        return found


@dataclass(frozen=True, kw_only=True)
class Sure:
    """A figure of each of many cells and how sure it is, by the processes behind it."""

    value: Values
    half: Values  # half the 95 % interval as a share of the value; infinite where there is none
    centre: Values  # of the logarithms of the processes' figures; NaN where not all are positive
    error: Values  # the square of its standard error; NaN where nothing tells it
    degrees: Values  # of freedom of that error
    processes: Whole

    def differs(
        self, mine: Whole, other: Whole, confidence: float | Values = 0.95
    ) -> NDArray[np.bool_]:
        """Say of pairs of cells whether their ratio's interval (Welch) excludes 1.

        False where it cannot be told: a cell of one process in a run that says nothing of how much
        they differ, or figures that are not positive.
        """
        errors = (self.error[mine], self.error[other])
        total = errors[0] + errors[1]
        weights = sum(
            e**2 / np.maximum(self.degrees[i], 1)
            for e, i in zip(errors, (mine, other), strict=True)
        )
        degrees = total**2 / np.where(weights == 0, 1e-24, weights)
        known = np.isfinite(total)
        of = np.where(known, np.round(np.maximum(degrees, 1.0), 1), 1.0)
        error = np.sqrt(total)
        reach = stdtrit(of, (1 + confidence) / 2) * np.where(error == 0, 1e-12, error)
        apart: NDArray[np.bool_] = np.abs(self.centre[mine] - self.centre[other]) > reach
        return known & apart


def from_best(rivals: Whole) -> Values:
    """Return how sure a row of so many cells must be that one is worse than the best of them.

    The best of several equal cells is the luckiest: with more rivals it has to be surer.
    """
    return 1 - MARKED / np.maximum(rivals - 1, 1)


def estimates(processes: Segments, typical: Values | None = None) -> Sure:
    """Return what `intervals.estimate` says of each segment: the figures of a cell's processes.

    `typical` is of each cell how much processes differ in its run, 0 where that is not known.
    """
    count = len(processes.starts)
    value, half, centre, error, degrees = (np.full(count, np.nan) for _ in range(5))
    half[:] = np.inf
    known = np.zeros(count) if typical is None else typical
    for which, block in processes.blocks():
        positive = block.min(axis=1) > 0
        for mine, logs in ((positive, True), (~positive, False)):
            if not mine.any():
                continue
            of = which[mine]
            found = _student(np.log(block[mine]) if logs else block[mine], logs, known[of])
            value[of], half[of] = found[:2]
            if logs:
                centre[of], error[of], degrees[of] = found[2:]
    return Sure(
        value=value,
        half=half,
        centre=centre,
        error=error,
        degrees=degrees,
        processes=processes.lengths,
    )


def _student(
    block: Values, logs: bool, typical: Values
) -> tuple[Values, Values, Values, Values, Values]:
    """Return of each row value, half the interval as a share, centre, its squared error, and that
    one's degrees of freedom.
    """
    n = block.shape[1]
    centre = _hodges_lehmann(block)
    value = np.exp(centre) if logs else centre
    spread = np.std(block, axis=1, ddof=1) if n > 1 else np.zeros(len(block))
    shared = (typical > 0) & logs
    with_run, degrees = moderated.spreads(spread, n - 1, typical)
    least = intervals.LEAST_SPREAD_OF_TWO / sqrt(n - 1) if logs and n > 1 else 0.0
    alone = np.full(len(block), np.inf)
    if n > 1:
        alone = intervals.quantile(intervals.CONFIDENCE, n - 1) * np.maximum(spread, least)
    wide = intervals.quantile(moderated.CONFIDENCE, degrees) * with_run
    reach = np.where(shared, wide, alone) / sqrt(n)
    error = np.where(shared, with_run, spread if n > 1 else np.nan) ** 2 / n
    low, high = centre - reach, centre + reach
    if logs:
        ends, _ = unsteady.of_cells(block)
        low, high = np.fmin(low, ends.min(axis=1)), np.fmax(high, ends.max(axis=1))
        low, high = np.exp(low), np.exp(high)
    size = np.abs(value)
    half = np.where(size > 0, (high - low) / 2 / np.where(size > 0, size, 1.0), np.inf)
    return value, half, centre, error, np.where(shared, degrees, n - 1.0)


def _hodges_lehmann(block: Values) -> Values:
    first, second = np.triu_indices(block.shape[1])
    found = np.empty(len(block))
    for which in _pieces(np.arange(len(block)), max(_MOST // len(first), 1)):
        part = block[which]
        found[which] = np.median(part[:, first] + part[:, second], axis=1) / 2
    return found


def _pieces(which: Whole, most: int) -> Iterator[Whole]:
    for start in range(0, len(which), most):
        yield which[start : start + most]
