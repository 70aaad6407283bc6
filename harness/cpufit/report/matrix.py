"""Every model on every runtime and precision of one host: tables of one figure each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cpufit import units
from cpufit.analysis.choice import newest
from cpufit.precisions import order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cpufit.analysis import Metric, Row
    from cpufit.precisions import Precision

    Column = tuple[str, Precision]  # runtime and precision
    Case = tuple[str, str]  # card and kind of weights

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
    """One figure of all models of a kind."""

    title: str
    heads: tuple[tuple[str, tuple[str, ...]], ...]  # runtime and its precisions
    lines: tuple[Line, ...]

    @property
    def columns(self) -> int:
        """How many runtimes and precisions are beside each other."""
        return sum(len(precisions) for _, precisions in self.heads)


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """What a table shows of a cell, the least cost being the best."""

    title: str
    pick: Callable[[Row], Metric | None]
    cost: Callable[[Metric], float]
    words: Callable[[Metric], str]


def matrices(table: Sequence[Row]) -> tuple[Matrix, ...]:
    """Return the tables of one host, one request at a time.

    They show TTFT and tokens per second of language models, and of those that write about a picture
    or sound, then the latency of one pass, and camera frames per second.

    Of several thread counts the fastest counts. Kinds of which nothing was timed have no table.
    """
    kinds: dict[str, list[Row]] = {}
    for row in newest(table):
        if row.record.cell.batch == 1:
            kinds.setdefault(_kind(row), []).append(row)
    return tuple(
        _matrix(figure, rows)
        for kind in ("llm", "describe", "pass", "frames")
        for rows in (kinds.get(kind, []),)
        for figure in _figures(kind, rows)
    )


def _kind(row: Row) -> str:
    """Return what kind of table a row belongs to; '' for none."""
    if row.record.family == "llm":
        return "llm"
    if row.metric("tpot") or row.record.cell.scenario == "caption":
        return "describe"
    return {"latency": "pass", "frames": "frames"}.get(row.record.cell.scenario, "")


def _figures(kind: str, rows: Sequence[Row]) -> list[_Figure]:
    if kind == "pass":
        return _timed(rows, _duration("Latency of one pass, median", "latency"))
    if kind == "frames":
        return _timed(rows, _rate("Camera frames per second", "frame"))
    prompts = [m.size for row in rows for m in row.metrics if m.name == "ttft"]
    if not prompts:
        return []
    shortest = min(prompts)
    first = (
        f"TTFT at {shortest} tokens, median"
        if kind == "llm"
        else "Picture or sound to the first word, median"
    )
    what = "Generated tokens per second" + ("" if kind == "llm" else ", about a picture or sound")
    return [_duration(first, "ttft", shortest), _rate(what, "tpot")]


def _timed(rows: Sequence[Row], figure: _Figure) -> list[_Figure]:
    return [figure] if any(map(figure.pick, rows)) else []


def _duration(title: str, name: str, size: int | None = None) -> _Figure:
    return _Figure(
        title=title,
        pick=lambda row: row.metric(name, size),
        cost=lambda metric: metric.p50,
        words=lambda metric: units.duration(metric.p50),
    )


def _rate(title: str, name: str) -> _Figure:
    return _Figure(
        title=title,
        pick=lambda row: row.metric(name),
        cost=lambda metric: -metric.rate,
        words=lambda metric: units.significant(metric.rate),
    )


def _matrix(figure: _Figure, rows: Sequence[Row]) -> Matrix:
    found: dict[tuple[Case, Column], list[Row]] = {}
    for row in rows:
        found.setdefault((_case(row), _column(row)), []).append(row)
    columns = sorted({column for _, column in found}, key=_order)
    largest = {_case(row): row for row in sorted(rows, key=_size)}  # a failed row may not know
    named = dict(sorted(largest.items(), key=lambda item: _size(item[1])))
    lines = tuple(
        Line(name=_name(row), entries=_entries(figure, [found.get((case, c), []) for c in columns]))
        for case, row in named.items()
    )
    return Matrix(title=figure.title, heads=_heads(columns), lines=lines)


def _entries(figure: _Figure, line: Sequence[Sequence[Row]]) -> tuple[Entry, ...]:
    cost = figure.cost
    metrics = [min(filter(None, map(figure.pick, of)), key=cost, default=None) for of in line]
    least = min((cost(metric) for metric in metrics if metric), default=0.0)
    return tuple(
        Entry(words=figure.words(metric), kind="best" if cost(metric) == least else "measured")
        if metric
        else _missing(of)
        for metric, of in zip(metrics, line, strict=True)
    )


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
    return column[0], order(column[1])


def _size(row: Row) -> tuple[int, str, str]:
    return row.record.parameters, *_case(row)


def _name(row: Row) -> str:
    cell = row.record.cell
    return (row.record.title or cell.card) + (", real weights" if cell.weights == "real" else "")
