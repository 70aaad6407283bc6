"""Which row speaks for a cell, and which of its figures for the row. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cpufit.analysis.metric import Metric
    from cpufit.analysis.rows import Row
    from cpufit.quantities import Quantity


def newest(table: Sequence[Row]) -> list[Row]:
    """Keep the last record of each cell, in the order of first appearance."""
    ordered = sorted(table, key=lambda row: row.record.recorded_at)
    last = {row.record.cell.id: row for row in ordered}
    return [last[name] for name in dict.fromkeys(row.record.cell.id for row in table)]


def response(row: Row) -> Metric | None:
    """Return what a user waits for: the latency, or TTFT at the shortest prompt."""
    waited = [metric for metric in row.metrics if metric.quantity.waited]
    return min(waited, key=lambda metric: metric.size, default=None)


def speed(row: Row) -> Metric | None:
    """Return what the row's rate, or energy, comes from."""
    return _first(row, lambda quantity: quantity.speed)


def answers(row: Row) -> Metric | None:
    """Return what one user gets per second: tokens, or answers one after another."""
    return _first(row, lambda quantity: quantity.bought and not quantity.flow)


def _first(row: Row, such: Callable[[Quantity], bool]) -> Metric | None:
    named = (row.metric(quantity.name) for quantity in QUANTITIES if such(quantity))
    return next(filter(None, named), None)
