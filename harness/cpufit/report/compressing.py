"""What pruning, factorising, distilling or smaller pictures bought, against the model as it was.

Only like is held against like: runtime, precision, weights, scenario and threads are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpufit import units
from cpufit.analysis.choice import answers, newest, response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cpufit.analysis import Row

    Words = tuple[str, ...]  # a figure and the small print below it


@dataclass(frozen=True, kw_only=True)
class Line:
    """A model's figures, or why there are none."""

    name: str
    figures: tuple[Words, ...]  # parameters, file, latency or TTFT, rate, peak memory
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A model and those that were made from it."""

    heading: str
    lines: tuple[Line, ...]  # the parent's first


def comparisons(table: Sequence[Row]) -> tuple[Comparison, ...]:
    """Return a comparison for every parent, runtime and precision of one host.

    A group in which nothing was timed, or without its parent, is left to the table of all cells.
    """
    single = [row for row in newest(table) if row.record.cell.batch == 1]
    by_key = {_key(row, row.record.cell.card): row for row in single}
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in single:
        if row.record.parent:
            groups.setdefault(_key(row, row.record.parent), []).append(row)
    titles = {row.record.cell.card: row.record.title for row in table if row.record.title}
    return tuple(
        _comparison(by_key[key], rows, titles.get(str(key[0]), str(key[0])))
        for key, rows in sorted(groups.items(), key=lambda item: [str(part) for part in item[0]])
        if key in by_key and any(response(row) for row in (by_key[key], *rows))
    )


def _key(row: Row, card: str) -> tuple[object, ...]:
    """Return what two rows must have in common to be compared, the model's name first."""
    cell = row.record.cell
    return card, cell.weights, cell.runtime, cell.precision, cell.scenario, cell.threads


def _comparison(parent: Row, rows: Sequence[Row], title: str) -> Comparison:
    cell = rows[0].record.cell
    threads = f"{cell.threads} thread{'' if cell.threads == 1 else 's'}"
    rows = sorted(rows, key=lambda row: -row.record.parameters)
    return Comparison(
        heading=(
            f"{title} {cell.precision.upper()} on {cell.runtime}, {cell.weights} weights, "
            f"{cell.scenario}, {threads}"
        ),
        lines=(_line(parent, None), *(_line(row, parent if parent.ok else None) for row in rows)),
    )


def _line(row: Row, parent: Row | None) -> Line:
    record, name = row.record, row.record.title or row.record.cell.card
    if not row.ok:
        return Line(name=name, figures=(), missing=record.outcome.why)
    return Line(
        name=name,
        figures=(
            _amount(row, parent, lambda row: row.record.parameters, units.count),
            _amount(row, parent, _file, units.size),
            _response(row, parent),
            _per_second(row, parent),
            _amount(row, parent, _peak, units.size),
        ),
    )


def _amount(
    row: Row,
    parent: Row | None,
    value: Callable[[Row], int],
    words: Callable[[int], str],
) -> Words:
    """Put a size into words, with its share of the parent's."""
    mine, whole = value(row), value(parent) if parent else 0
    if not mine:
        return ("",)
    return (words(mine), f"{mine / whole:.0%}") if whole else (words(mine),)


def _file(row: Row) -> int:
    return row.record.artifact.size_bytes if row.record.artifact else 0


def _peak(row: Row) -> int:
    return row.memory.peak_bytes if row.memory else 0


def _response(row: Row, parent: Row | None) -> Words:
    metric = response(row)
    if metric is None:
        return ("",)
    small = [metric.quantity.short_at(metric.size)] if metric.quantity.sized else []
    other = parent.metric(metric.name, metric.size) if parent else None
    if other:
        small.append(_speed(other.p50 / metric.p50))
    return units.duration(metric.p50), *([", ".join(small)] if small else [])


def _per_second(row: Row, parent: Row | None) -> Words:
    metric = answers(row)
    if metric is None:
        return ("",)
    other = answers(parent) if parent else None
    words = units.significant(metric.rate)
    return (words, _speed(metric.rate / other.rate)) if other else (words,)


def _speed(ratio: float) -> str:
    return f"{ratio:.2f}x speed"
