"""Findings as rich tables and sentences for the terminal. Builds text; printing is the cli's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cpufit import analysis, sizing, units
from cpufit.analysis import words
from cpufit.precisions import label
from cpufit.report import cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from cpufit.analysis import Metric, Row
    from cpufit.report.view import Pick
    from cpufit.schema import Host, Record, Settings

    TableLine = tuple[str | Text, ...]

_STYLE = {"under": "green", "over": "red", "undecided": "yellow"}
_MOST_LINES = 12  # of one kind; the rest is in the report
_WIDE = 10_000  # columns, where nothing need be wrapped


class _Table(Table):
    """A table that loses no letter on a narrow terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it, or a line for each row where its longest words have no room."""
        wide = options.update(width=_WIDE)
        if Measurement.get(console, wide, self).minimum <= options.max_width:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._as_lines()

    def _as_lines(self) -> Iterator[Text]:
        """Yield each row: its first words, then the others, each after its column's name."""
        for row in zip(*(column.cells for column in self.columns), strict=True):
            parts: list[str | Text] = []
            for column, cell in zip(self.columns, row, strict=True):
                if words := cell if isinstance(cell, Text) else Text(str(cell)):
                    parts += ["  "] if parts else []
                    parts += [f"{column.header} "] if parts and column.header else []
                    parts.append(words)
            yield Text.assemble(*parts)


def table(title: str, columns: Sequence[str], lines: Iterable[Sequence[str | Text]]) -> Table:
    """Return a plain table; columns whose name starts with '>' are right-aligned.

    Where it has no room for its words, each row is a line of text instead.
    """
    found = _Table(title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        found.add_column(
            column.lstrip(">"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=column.startswith(">"),
            overflow="fold",
        )
    for line in lines:  # as it is: in a string rich would take 'cpufit[onnxruntime]' for markup
        found.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in line))
    return found


def cell_table(lines: Iterable[TableLine]) -> Table:
    """Return the live table of finished cells."""
    columns = "model weights prec runtime scenario result >peak >cosine n verdict".split()
    return table("", columns, lines)


def table_line(row: Row) -> TableLine:
    """Return a cell's line of the live table."""
    cell = row.record.cell
    return (
        cell.card,
        cell.weights,
        label(cell.precision),
        cell.runtime,
        _scenario(row.record),
        headline(row),
        units.size(row.memory.peak_bytes) if row.memory else "",
        cosine(row),
        cells.samples(row),
        verdict(row),
    )


def cell_line(row: Row) -> str:
    """Return one finished cell as a line of plain text, for logs and pipes."""
    words = f"{row.record.cell.id}: {headline(row)}"
    words += f", cosine {found}" if (found := cosine(row).plain) else ""
    words += f", n {found}" if (found := cells.samples(row)) else ""
    return words + (f" [{found}]" if (found := verdict(row).plain) else "")


def headline(row: Row) -> str:
    """Return the figures a reader wants of this cell, or why there are none."""
    outcome = row.record.outcome
    if not row.ok:
        return outcome.why
    if row.record.cell.scenario == "memory" or not row.metrics:
        used = row.memory
        over = used.peak_bytes - used.baseline_bytes if used else 0
        return f"{units.size(over)} over the bare process"
    if (frame := row.metric("frame")) is not None:
        stages = [metric for metric in row.metrics if metric is not frame]
        parts = ", ".join(f"{metric.label} {units.duration(metric.p50)}" for metric in stages)
        value = f"{units.duration(frame.p50)}{cells.plus_minus(frame)}"
        return f"frame p50 {value} ({parts}), {row.fps_words}"
    return ", ".join(_figure(metric) for metric in row.metrics)


def verdict(row: Row) -> Text:
    """Return the cell's worst verdict, coloured."""
    return Text(row.verdict, style=_STYLE[row.verdict]) if row.verdict else Text()


def cosine(row: Row) -> Text:
    """Return how near the outputs are to float32's, coloured where too far; '' if not checked."""
    if row.cosine is None:
        return Text()
    return Text(units.cosine(row.cosine), style="red" if row.inexact else "")


def verdicts(rows: Sequence[Row], settings: Settings) -> list[str]:
    """Return for each host which tier it carries, in a sentence; none for own models alone."""
    hosts = _hosts(rows)
    found = [sizing.recommend(rows, host, settings) for host in hosts.values()]
    return [_title(one, len(hosts) > 1) for one in found if one.tiers]


def summary(rows: Sequence[Row], settings: Settings, so_far: str = "") -> Group:
    """Return the end of a run: the tier and why, the flagged cases, what was not measured.

    `so_far` says how far a run is that was broken off.
    """
    # These draw on matplotlib, which a running bar must not wait for.
    from cpufit.report.view import picks

    parts: list[RenderableType] = [Text(f"\n{so_far}.")] if so_far else []
    hosts = _hosts(rows)
    for host in hosts.values():
        parts += _tier(sizing.recommend(rows, host, settings), len(hosts) > 1)
        here = [row for row in rows if row.record.host.fingerprint == host.fingerprint]
        parts += _sentences("\nWhat answers in time here", [_pick(p) for p in picks(here)])
    parts += _flags(rows)
    far = [f"{row.label}: {words.inexact(row)}" for row in analysis.inexact(rows)]
    parts += _sentences("\nOutputs far from float32", far)
    parts += _sentences("\nOf your own files", _few(_notes(rows)))
    parts += _missing(rows)
    return Group(*parts)


def _hosts(rows: Sequence[Row]) -> dict[str, Host]:
    return {row.record.host.fingerprint: row.record.host for row in rows}


def _tier(found: sizing.Recommendation, several: bool) -> list[RenderableType]:
    if not found.tiers:
        return []
    parts: list[RenderableType] = [Text(f"\n{_title(found, several)}", style="bold")]
    parts += _sentences("because", found.reasons)
    if found.next is not None:
        verb = "is missed by" if found.next.answer == "no" else "stays open"
        parts += _sentences(f"the {found.next.tier.name} tier {verb}", found.nearest_miss)
    return parts


def _title(found: sizing.Recommendation, several: bool) -> str:
    return found.headline + (f" ({found.host.cpu_model})" if several else "")


def _pick(pick: Pick) -> str:
    return f"{pick.what}: {pick.who}" + (f" ({pick.why})" if pick.why else "")


def _flags(rows: Sequence[Row]) -> list[RenderableType]:
    found = analysis.flags(rows)
    if not found:
        return [Text("\nNo case is over its interactive threshold.")]
    return _sentences("\nOver the interactive threshold", _few(map(words.flagged, found)))


def _notes(rows: Sequence[Row]) -> list[str]:
    """Return what was remarked of users' own files: what was made up decides what was measured."""
    own = (row for row in rows if sizing.of_own(row))
    found = (f"{row.record.title}: {note}" for row in own for note in cells.notes(row))
    return list(dict.fromkeys(found))


def _few(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    more = len(found) - _MOST_LINES
    return found[:_MOST_LINES] + [f"and {more} more, all in the report"] * (more > 0)


def _missing(rows: Sequence[Row]) -> list[RenderableType]:
    missed = [row for row in rows if not row.ok]
    reasons: dict[str, int] = {}
    for row in missed:
        outcome = row.record.outcome
        words = f"{outcome.why} -> {outcome.remedy}" if outcome.remedy else outcome.why
        reasons[words] = reasons.get(words, 0) + 1
    lines = [f"{words} ({units.counted(n, 'cell')})" for words, n in reasons.items()]
    return _sentences("\nNot measured", lines) if lines else []


def _sentences(title: str, lines: Sequence[str]) -> list[RenderableType]:
    if not lines:
        return []
    return [Text(f"{title}:"), *(Text(f"  - {line}") for line in lines)]


def _figure(metric: Metric) -> str:
    words = metric.quantity.line.format(
        label=metric.label,
        size=metric.size,
        amount=units.amount(metric.p50, metric.unit),
        rate=units.significant(metric.rate),
    )
    return words + cells.plus_minus(metric)


def _scenario(record: Record) -> str:
    cell = record.cell
    return cell.scenario + (f" x{cell.batch}" if cell.batch > 1 else "")
