"""Every language model on every runtime and precision of one host, as two tables of one figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cpufit import units
from cpufit.report.figures import newest
from cpufit.schema import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cpufit.analyse import Metric, Row
    from cpufit.schema import Precision

    Column = tuple[str, Precision]  # runtime and precision
    Case = tuple[str, str]  # card and kind of weights
    Rows = Mapping[tuple[Case, Column], Sequence[Row]]

NO_RECORD = "\u2013"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model on one runtime at one precision; `why` is the whole reason where not measured."""

    words: str
    kind: Literal["best", "measured", "missing"]
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One model's entries in the order of the columns."""

    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """One figure of all language models."""

    title: str
    heads: tuple[tuple[str, tuple[str, ...]], ...]  # runtime and its precisions
    lines: tuple[Line, ...]


def matrices(table: Sequence[Row]) -> tuple[Matrix, ...]:
    """Return TTFT and generated tokens per second of one host's language models, one stream each.

    Of several thread counts the fastest counts. Empty where no language model was tried.
    """
    single = [r for r in newest(table) if r.record.family == "llm" and r.record.cell.batch == 1]
    found: dict[tuple[Case, Column], list[Row]] = {}
    for row in single:
        found.setdefault((_case(row), _column(row)), []).append(row)
    columns = sorted({column for _, column in found}, key=_order)
    largest = {_case(row): row for row in sorted(single, key=_size)}  # a failed row may not know
    named = dict(sorted(largest.items(), key=lambda item: _size(item[1])))
    prompts = [m.size for row in single for m in row.metrics if m.name == "ttft"]
    if not prompts:
        return ()
    shortest = min(prompts)
    return (
        _matrix(
            f"TTFT at {shortest} tokens, median",
            columns, named, found, lambda row: row.metric("ttft", shortest), lambda m: m.p50,
            lambda m: units.duration(m.p50),
        ),
        _matrix(
            "Generated tokens per second",
            columns, named, found, lambda row: row.metric("tpot"), lambda m: -m.rate,
            lambda m: units.significant(m.rate),
        ),
    )  # fmt: skip


def _matrix(
    title: str,
    columns: Sequence[Column],
    named: Mapping[Case, Row],
    found: Rows,
    pick: Callable[[Row], Metric | None],
    cost: Callable[[Metric], float],
    words: Callable[[Metric], str],
) -> Matrix:
    lines = []
    for case, row in named.items():
        rows = [found.get((case, column), []) for column in columns]
        metrics = [min(filter(None, map(pick, of)), key=cost, default=None) for of in rows]
        least = min((cost(metric) for metric in metrics if metric), default=0.0)
        entries = (
            Entry(words=words(metric), kind="best" if cost(metric) == least else "measured")
            if metric
            else _missing(of)
            for metric, of in zip(metrics, rows, strict=True)
        )
        lines.append(Line(name=_name(row), entries=tuple(entries)))
    return Matrix(title=title, heads=_heads(columns), lines=tuple(lines))


def _missing(rows: Iterable[Row]) -> Entry:
    """Say in a word or two why nothing was measured."""
    missed = [row.record.outcome for row in rows if not row.ok]
    if not missed:
        return Entry(words=NO_RECORD, kind="missing")
    outcome = missed[-1]
    words = "too large" if outcome.status == "skipped" else outcome.status
    return Entry(words=words, kind="missing", why=outcome.reason)


def _heads(columns: Sequence[Column]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    runtimes = dict.fromkeys(runtime for runtime, _ in columns)
    return tuple((r, tuple(p.upper() for name, p in columns if name == r)) for r in runtimes)


def _case(row: Row) -> Case:
    return row.record.cell.card, row.record.cell.weights


def _column(row: Row) -> Column:
    return row.record.cell.runtime, row.record.cell.precision


def _order(column: Column) -> tuple[str, int]:
    """Sort by runtime, then from few bits to many."""
    return column[0], -PRECISIONS.index(column[1])


def _size(row: Row) -> tuple[int, str, str]:
    return row.record.parameters, *_case(row)


def _name(row: Row) -> str:
    cell = row.record.cell
    return (row.record.title or cell.card) + (", real weights" if cell.weights == "real" else "")
