"""Which cases a reader must hear of: over a level, perhaps over it, or far from float32. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cpufit.analysis.metric import Metric
    from cpufit.analysis.rows import Row

_NEAR = 0.9  # of a level: as far below it an undecided case is worth a word


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A case that is over its level, or may be."""

    row: Row
    metric: Metric


def flags(table: Iterable[Row]) -> list[Flag]:
    """Return the cases over or perhaps over their level, the slowest first.

    An undecided case counts where its figure is above the level or within a tenth of it.
    """
    found = [
        Flag(row=row, metric=metric)
        for row in table
        for metric in row.metrics
        if metric.verdict == "over" or (metric.verdict == "undecided" and metric.ratio > _NEAR)
    ]
    return sorted(found, key=lambda flag: -flag.metric.ratio)


def inexact(table: Iterable[Row]) -> list[Row]:
    """Return one row of each case whose outputs are too far from float32's, the worst first."""
    found = {row.label: row for row in table if row.inexact}
    return sorted(found.values(), key=lambda row: row.cosine or 0.0)
