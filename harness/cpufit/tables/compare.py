"""Runs or hosts side by side: the same cells, each figure as a ratio to the first side's. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from math import exp, sqrt
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from cpufit import analysis, units
from cpufit.errors import UsageError, unknown
from cpufit.precisions import order
from cpufit.schema import Family
from cpufit.stats import intervals, percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cpufit.analysis import Metric, Row
    from cpufit.schema import Levels, Record

    Key = tuple[str, ...]
    Name = tuple[str, int]  # of a figure, with its size

Kind = Literal["less", "more", "same", "unknown"]
_FAMILIES: tuple[Family, ...] = get_args(Family)
MEMORY = "peak memory"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One host's part of one file."""

    letter: str
    host: str
    run: str
    recorded: str  # dates
    versions: str
    cells: int
    price: float | None  # USD

    @property
    def words(self) -> str:
        """One line that says what the letter stands for."""
        found = [
            self.host,
            self.run,
            self.recorded,
            self.versions,
            units.counted(self.cells, "cell"),
        ]
        if self.price is not None:
            found.append(f"{units.significant(self.price)} USD")
        return ", ".join(filter(None, found))


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A side's figure over the first side's: below 1 takes less."""

    value: float
    interval: tuple[float, float] | None  # 95 %; None: not both sides have several processes
    count: int = 1  # of cells, of a geometric mean

    @property
    def kind(self) -> Kind:
        """Whether it surely differs from 1, and how."""
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        return "less" if high < 1 else "more" if low > 1 else "same"

    @property
    def words(self) -> str:
        """Return '0.82 (0.79 to 0.86)'; a ~ where 1 is inside."""
        return f"{self.value_words} {self.interval_words}"

    @property
    def value_words(self) -> str:
        """Return '0.82'."""
        return _near_one(self.value)

    @property
    def interval_words(self) -> str:
        """Return '(0.79 to 0.86)'; a ~ after it where 1 is inside."""
        if self.interval is None:
            return "(no interval)"
        low, high = map(_near_one, self.interval)
        return f"({low} to {high})" + (" ~" if self.kind == "same" else "")


def _near_one(value: float) -> str:
    """Format a ratio so that 1.004 does not read as 1.00."""
    return f"{value:.3f}" if 0.95 < value < 1.1 else units.significant(value)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure of one cell on every side."""

    cell: str
    figure: str
    values: tuple[tuple[str, ...], ...]  # of each side, with small print; ('',) where missing
    ratios: tuple[Ratio | None, ...]  # of each side but the first


@dataclass(frozen=True, kw_only=True)
class Block:
    """One family of models."""

    family: str
    lines: tuple[Line, ...]
    means: tuple[tuple[str, tuple[Ratio | None, ...]], ...]  # figure, geometric mean of each side

    @property
    def cells(self) -> list[tuple[str, list[Line]]]:
        """The lines of each cell."""
        return [(name, list(of)) for name, of in groupby(self.lines, lambda line: line.cell)]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything `cpufit compare` shows."""

    sides: tuple[Side, ...]
    blocks: tuple[Block, ...]
    missing: tuple[tuple[str, tuple[str, ...]], ...]  # letter, what lacks there and why
    weights: str

    @property
    def by_chance(self) -> str:
        """How many ratios differ from 1, and how many of as many equal ones would; '' of none."""
        every = [r for block in self.blocks for line in block.lines for r in line.ratios if r]
        known = [ratio for ratio in every if ratio.interval]
        if not known:
            return ""
        found = sum(ratio.kind in ("less", "more") for ratio in known)
        chance = units.significant(0.05 * len(known), 2)
        return f"Of {len(known):,} ratios {found:,} differ from 1; by chance about {chance} would."

    @property
    def title(self) -> str:
        """The hosts, the first against the others."""
        hosts = list(dict.fromkeys(side.host for side in self.sides))
        if len(hosts) == 1:
            return f"{len(self.sides)} runs on {hosts[0]}"
        return f"{units.listed(hosts[1:])} against {hosts[0]}"


@dataclass(frozen=True)
class _Figure:
    """A figure of one row: in words, and of each process its logarithm."""

    label: str
    words: tuple[str, ...]
    logs: NDArray[np.float64]  # empty where a figure is not positive
    typical: float = 0.0  # how much processes of its run differ in it; 0: not known

    @property
    def tells(self) -> bool:
        """Whether it is known how far further processes might lie from these."""
        return len(self.logs) > 1 or self.typical > 0


@dataclass(frozen=True)
class _Difference:
    """Of logarithms: a ratio before it is one."""

    centre: float
    variance: float | None
    degrees: float

    @property
    def ratio(self) -> Ratio:
        return _mean([self])


def compare(
    files: Sequence[Sequence[Record]], levels: Levels, prices: Mapping[str, float]
) -> Comparison:
    """Hold what files hold against the first of them; a file of several hosts is several sides.

    `prices` is USD by host, its name or fingerprint. Raises UsageError where there is nothing to
    compare or a priced host is not there.
    """
    parts = [part for records in files for part in _parts(records)]
    if len(parts) < 2:
        raise UsageError("there is one side only", "give two files, or one of two hosts")
    names = analysis.host_names({p[-1].host.fingerprint: p[-1].host.cpu_model for p in parts})
    known = {**{name: name for name in names}, **{v: k for k, v in names.items()}}
    for host in prices:
        if host not in known:
            raise unknown("host of --price", host, sorted(known))
    by_print = {known[h] if h in names.values() else h: usd for h, usd in prices.items()}
    rows = [_newest(analysis.rows(part, levels)) for part in parts]
    sides = tuple(
        _side(index, part, names, by_print.get(part[0].host.fingerprint), len(of))
        for index, (part, of) in enumerate(zip(parts, rows, strict=True))
    )
    matched = _matched(rows)
    if not any(sum(row is not None and row.ok for row in of) > 1 for _, of in matched):
        raise UsageError("no cell was measured on two sides", "compare runs of the same suite")
    return Comparison(
        sides=sides,
        blocks=tuple(_blocks(matched, sides)),
        missing=tuple((side.letter, _missing(matched, i)) for i, side in enumerate(sides)),
        weights=_weights(parts),
    )


def _parts(records: Sequence[Record]) -> list[list[Record]]:
    """Part a file's records by host."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.host.fingerprint, []).append(record)
    return list(found.values())


def _newest(rows: Iterable[Row]) -> list[Row]:
    """Keep the last of each cell that several runs measured."""
    ordered = sorted(rows, key=lambda row: row.record.recorded_at)
    return list({row.record.cell.id: row for row in ordered}.values())


def _side(
    index: int, part: Sequence[Record], names: Mapping[str, str], price: float | None, cells: int
) -> Side:
    dates = sorted({record.recorded_at[:10] for record in part})
    versions: dict[str, set[str]] = {}
    for record in part:
        for name, version in record.outcome.versions.items():
            versions.setdefault(name, set()).add(version)
    return Side(
        letter=_letter(index),
        host=names[part[0].host.fingerprint],
        run=", ".join(dict.fromkeys(record.run_id for record in part)),
        recorded=dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        versions=", ".join(f"{n} {'/'.join(sorted(v))}" for n, v in sorted(versions.items())),
        cells=cells,
        price=price,
    )


def _letter(index: int) -> str:
    """Return A, B, ... Z, AA, AB, ..."""
    first, last = divmod(index, 26)
    return (_letter(first - 1) if first else "") + chr(ord("A") + last)


def _weights(parts: Iterable[Sequence[Record]]) -> str:
    kinds = {record.cell.weights for part in parts for record in part}
    if len(kinds) > 1:
        return "Synthetic weights, where a cell does not say that they are real."
    return f"{kinds.pop().capitalize()} weights."


# ---------------------------------------------------------------------------------- the same cells
_Matched = list[tuple[str, list["Row | None"]]]


def _matched(rows: Sequence[Sequence[Row]]) -> _Matched:
    """Return each cell's name and its row on every side, models from small to large."""
    found: dict[Key, dict[int, list[Row | None]]] = {}
    for side, every in enumerate(rows):
        for row in every:
            threads = found.setdefault(_key(row), {})
            threads.setdefault(row.record.cell.threads, [None] * len(rows))[side] = row
    matched = [
        (_name(of), of) for threads in found.values() for of in _by_threads(threads, len(rows))
    ]
    return sorted(matched, key=lambda pair: _order(pair[1]))


def _key(row: Row) -> Key:
    cell = row.record.cell
    parts = (cell.card, cell.weights, cell.precision, cell.runtime, cell.scenario)
    return (*parts, str(cell.batch))


def _by_threads(threads: Mapping[int, list[Row | None]], sides: int) -> list[list[Row | None]]:
    """Put the only thread count of each side beside the others', or the same ones."""
    columns = [[of[side] for of in threads.values() if of[side]] for side in range(sides)]
    if all(len(column) <= 1 for column in columns):
        return [[column[0] if column else None for column in columns]]
    return [threads[count] for count in sorted(threads)]


def _name(of: Sequence[Row | None]) -> str:
    rows = [row for row in of if row]
    cell = rows[0].record.cell
    threads = dict.fromkeys(row.record.cell.threads for row in rows)
    words = [cell.card, cell.precision, cell.runtime, cell.scenario]
    words += [f"batch {cell.batch}"] if cell.batch > 1 else []
    words += ["real weights"] if cell.weights == "real" else []
    return " ".join([*words, f"t{'/'.join(map(str, threads))}"])


def _order(of: Sequence[Row | None]) -> tuple[Any, ...]:
    rows = [row for row in of if row]
    record, cell = rows[0].record, rows[0].record.cell
    parameters = max(row.record.parameters for row in rows)
    return (
        _FAMILIES.index(record.family), parameters, cell.card, cell.weights, cell.runtime,
        order(cell.precision), cell.scenario, cell.batch, cell.threads,
    )  # fmt: skip


def _missing(matched: _Matched, side: int) -> tuple[str, ...]:
    """Return the cells that some other side measured and this one did not, and why; of those that
    both did, figures that only the other has.
    """
    found = []
    for name, of in matched:
        mine = of[side]
        if not any(row and row.ok for row in of):
            continue
        if mine and mine.ok:
            others = {key: label for row in of if row and row.ok for key, label in _labels(row)}
            own = dict(_labels(mine))
            found += [f"{name}: no {label}" for key, label in others.items() if key not in own]
            continue
        outcome = mine.record.outcome if mine else None
        why = outcome.why if outcome else "not in these results"
        found.append(f"{name}: {why}")
    return tuple(found)


def _labels(row: Row) -> Iterable[tuple[Name, str]]:
    """Yield what figures a row has."""
    yield from (((metric.name, metric.size), metric.label) for metric in _metrics(row))
    if row.memory:
        yield (MEMORY, 0), MEMORY


def _metrics(row: Row) -> list[Metric]:
    """Return what is compared: a frame as a whole, not its stages."""
    return [metric for metric in row.metrics if not metric.quantity.stage_of]


# ----------------------------------------------------------------------------------------- figures
def _blocks(matched: _Matched, sides: Sequence[Side]) -> Iterable[Block]:
    for family in _FAMILIES:
        mine = [pair for pair in matched if _family(pair[1]) == family]
        lines: list[Line] = []
        means: dict[str, list[list[_Difference]]] = {}
        for name, of in mine:
            for line, found in _lines(name, of, sides):
                lines.append(line)
                groups = means.setdefault(line.figure, [[] for _ in sides[1:]])
                for group, difference in zip(groups, found, strict=True):
                    group.extend([difference] if difference else [])
        if lines:
            yield Block(
                family=family,
                lines=tuple(lines),
                means=tuple(
                    (figure, tuple(_mean(group) if group else None for group in groups))
                    for figure, groups in means.items()
                    if any(groups)
                ),
            )


def _family(of: Sequence[Row | None]) -> Family:
    return next(row.record.family for row in of if row)


def _lines(
    name: str, of: Sequence[Row | None], sides: Sequence[Side]
) -> Iterable[tuple[Line, list[_Difference | None]]]:
    """Give the lines of figures that at least two sides have, with their differences."""
    figures = [
        _figures(row, side) if row and row.ok else {} for row, side in zip(of, sides, strict=True)
    ]
    for key in dict.fromkeys(key for found in figures for key in found):
        mine = [found.get(key) for found in figures]
        if sum(figure is not None for figure in mine) < 2:
            continue
        differences = [_difference(figure, mine[0]) for figure in mine[1:]]
        line = Line(
            cell=name,
            figure=next(figure.label for figure in mine if figure),
            values=tuple(figure.words if figure else ("",) for figure in mine),
            ratios=tuple(found.ratio if found else None for found in differences),
        )
        yield line, differences


def _figures(row: Row, side: Side) -> dict[Name, _Figure]:
    found: dict[Name, _Figure] = {}
    for metric in _metrics(row):
        medians = [percentiles.percentile(s.values, 0.5) for s in row.series_of(metric)]
        words = _words(metric, side)
        typical = row.typical.median
        found[metric.name, metric.size] = _Figure(metric.label, words, _logs(medians), typical)
    if row.memory:
        peaks = [r.outcome.memory.peak_bytes for r in row.used if r.outcome.memory]
        logs = _logs(peaks)
        # Not the largest, as in the report: the figures must agree with their ratio.
        words = (units.size(exp(intervals.hodges_lehmann(logs))),)
        found[MEMORY, 0] = _Figure(MEMORY, words, logs)
    return found


def _words(metric: Metric, side: Side) -> tuple[str, ...]:
    """Return the median with its interval, and what a dollar buys."""
    value = units.amount(metric.p50, metric.unit)
    words = (value + units.plus_minus(metric.estimate.half_width),)
    if side.price is None or not metric.quantity.bought:
        return words
    return (
        *words,
        f"{units.significant(metric.rate / side.price)} {metric.quantity.per_second} per USD",
    )


def _logs(values: Sequence[float]) -> NDArray[np.float64]:
    return np.log(values) if values and min(values) > 0 else np.empty(0)


def _difference(after: _Figure | None, before: _Figure | None) -> _Difference | None:
    if after is None or before is None or not (len(after.logs) and len(before.logs)):
        return None
    if after.tells and before.tells:
        typical = (after.typical, before.typical)
        return _Difference(*intervals.difference(after.logs, before.logs, typical))
    centres = [intervals.hodges_lehmann(found.logs) for found in (after, before)]
    return _Difference(centres[0] - centres[1], None, 1.0)


def _mean(group: Sequence[_Difference]) -> Ratio:
    """Return the geometric mean of ratios, by the errors that each has on its own.

    Its variance is the sum of theirs, with Welch and Satterthwaite's degrees of freedom.
    """
    count = len(group)
    centre = sum(found.centre for found in group) / count
    variances = [found.variance for found in group if found.variance is not None]
    if len(variances) < count:
        return Ratio(value=exp(centre), interval=None, count=count)
    total = sum(variances)
    weights = sum(v**2 / found.degrees for v, found in zip(variances, group, strict=True) if v)
    degrees = total**2 / weights if weights else 1.0
    error = sqrt(total) / count or 1e-12
    reach = intervals.quantile(0.95, round(max(degrees, 1.0), 1)) * error
    return Ratio(
        value=exp(centre), interval=(exp(centre - reach), exp(centre + reach)), count=count
    )
