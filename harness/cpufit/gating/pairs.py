"""What a gate compares: of each cell, pairs of processes, one of either arm."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, sqrt
from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np

from cpufit.margins import MARGINS, Margins  # noqa: TC001 - likewise
from cpufit.quantities import quantity
from cpufit.schema import Cell  # noqa: TC001 - recorded trials are read by their types
from cpufit.stats import percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.schema import Kind, Outcome

Stage = Literal["screen", "confirm"]
Values = dict[str, float]  # by a quantity's name; the larger, the worse

PEAK, LOAD = "peak memory", "load"
_SETTLED = 0.0075  # standard error of a pair's change: a quarter of the margin of times
_MEDIAN_ERROR = 1.2533  # of a median beside a mean, normal noise


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two fresh processes of a cell that took turns: what each came to."""

    stage: Stage
    before: Values
    after: Values
    changes: Values = field(default_factory=dict)  # ln(after / before) of what was sliced
    disturbed: tuple[str, ...] = ()  # by what; such a pair is no evidence
    whole: bool = False  # one after the other, for want of memory or of slices
    after_first: bool = False  # which of the two went first

    def change(self, name: str) -> float:
        """Return ln(after / before): of slices that were neighbours, where there are such."""
        return self.changes.get(name, log(self.after[name] / self.before[name]))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What does not vary from process to process."""

    size_bytes: int = 0
    cosine: float | None = None  # to float32, or of new to old outputs


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A cell in both arms."""

    cell: Cell  # after's
    against: Cell
    pairs: tuple[Pair, ...] = ()
    before: Facts = Facts()
    after: Facts = Facts()
    problem: str = ""  # why there is nothing to compare
    notes: tuple[str, ...] = ()
    margins: Margins = field(default_factory=lambda: MARGINS)

    @property
    def names(self) -> tuple[str, ...]:
        """The quantities that both arms of every pair have, in order."""
        sides = [side for pair in self.pairs for side in (pair.before, pair.after)]
        return tuple(name for name in (sides[0] if sides else ()) if all(name in s for s in sides))


def kind_of(name: str) -> Kind:
    """Return which margin is a quantity's."""
    if name in (PEAK, LOAD):
        return "memory" if name == PEAK else "load"
    if name.startswith("energy"):
        return "energy"
    return "instructions" if name.startswith("instructions") else "time"


def changes_of(before: Outcome, after: Outcome) -> Values:
    """Return the median of ln(after / before) over the slices of either, by quantity."""
    old, new = (
        {quantity(s.name).label_at(s.size): s.values for s in outcome.series}
        for outcome in (before, after)
    )
    return {
        name: median(log(b / a) for a, b in zip(old[name], values, strict=True))
        for name, values in new.items()
        if len(old.get(name, ())) == len(values) > 0 and min(*old[name], *values) > 0
    }


def settled(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> bool:
    """Whether further turns would hardly move any quantity's change.

    `before` and `after`: of each turn the medians of its slices in ns, one of every quantity. It
    depends on how much the changes differ, never on which arm looks better.
    """
    changes = np.log(np.array(after, dtype=float)) - np.log(np.array(before, dtype=float))
    if len(changes) < 2 or not changes.size:
        return False
    errors = _MEDIAN_ERROR * changes.std(axis=0, ddof=1) / sqrt(len(changes))
    return bool(errors.max() <= _SETTLED)


def values_of(outcome: Outcome) -> Values:
    """Return what one process came to: medians in ns or J, bytes, instructions per item."""
    found = {
        quantity(s.name).label_at(s.size): percentiles.percentile(s.values, 0.5)
        for s in outcome.series
        if s.values and not quantity(s.name).stage_of
    }
    counted = {
        name: value for name, value in outcome.counters.items() if name.startswith("instructions")
    }
    memory = {PEAK: float(outcome.memory.peak_bytes)} if outcome.memory else {}
    load = {LOAD: float(outcome.load_ns)} if outcome.load_ns else {}
    return {name: value for name, value in (found | counted | memory | load).items() if value > 0}
