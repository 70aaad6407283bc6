"""One figure of each of many cells, as `analyse` gives it, with what it rests on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow.compute as pc

from cpufit import units
from cpufit.errors import UsageError
from cpufit.stats import percentiles
from cpufit.tables import metrics
from cpufit.tables.batch import Segments, Sure, estimates
from cpufit.tables.processes import Field, entries, field, numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpufit.tables.metrics import Metric
    from cpufit.tables.processes import Cells

    Values = NDArray[np.float64]
    Whole = NDArray[np.int64]


class Entry(NamedTuple):
    """One figure, or why there is none. Bare numbers are in the metric's unit."""

    words: str
    value: float | None = None
    half: float | None = None  # half the 95 % interval as a share; None: not stated
    n: int = 0
    processes: int = 0
    best: bool = False  # of its row, where there are others
    same: bool = False  # not significantly different from the best
    weights: str = ""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A metric of every cell of `cells`; NaN where a cell has none."""

    metric: Metric  # its size chosen
    sure: Sure
    n: Whole  # samples; 0 where the cell has none, 1 a process where nothing is sampled
    small: NDArray[np.bool_]  # too few samples for this percentile
    series: Field  # which series it comes from

    @property
    def there(self) -> NDArray[np.bool_]:
        """Say which cells have it, stated or not."""
        return self.n > 0


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """One series of every process that counts and has it, ordered by cell."""

    processes: Segments  # the samples of each process
    cell: Whole  # of each process
    items: Values  # units of work that a sample of each process covers
    count: int  # of cells
    series: Field  # of each cell

    def by_cell(self, figures: Values) -> Segments:
        """Sort a figure of each process into cells."""
        lengths = np.bincount(self.cell, minlength=self.count).astype(np.int64)
        return Segments(figures, np.cumsum(lengths) - lengths, lengths)

    @property
    def n(self) -> Whole:
        """Samples of each cell."""
        weights = self.processes.lengths
        return np.bincount(self.cell, weights, minlength=self.count).astype(np.int64)


def of(cells: Cells, metric: Metric, confidence: float) -> Figures:
    """Return the metric of each cell; raise UsageError where none has it.

    `confidence` is that with which percentiles need samples (`percentiles.samples_needed`).
    """
    if metric.kind in ("median", "rate"):
        metric, samples = _samples(cells, metric)
        if metric.kind == "rate":
            return _rates(cells, metric, samples)
        return _percentiles(cells, metric, samples, confidence)
    found = _per_process(cells, metric) if metric.kind in ("memory", "load") else None
    found = found or _per_cell(cells, metric)
    if not found.there.any():
        raise UsageError(f"no cell of these has {metric.name}", "choose another --metric")
    return found


def _percentiles(cells: Cells, metric: Metric, samples: _Samples, confidence: float) -> Figures:
    """Sum up durations or joules: medians with their interval, higher percentiles without."""
    figures = samples.by_cell(samples.processes.percentile(metric.share))
    sure = estimates(figures, cells.typical if metric.share == 0.5 else None)
    n = samples.n
    small = np.zeros(len(n), bool)
    if metric.share != 0.5:
        small = n < percentiles.samples_needed(metric.share, confidence)
        value = np.where(small, np.nan, sure.value)
        sure = replace(sure, value=value, half=np.full(len(n), np.inf))
    return Figures(metric=metric, sure=sure, n=n, small=small & (n > 0), series=samples.series)


def _rates(cells: Cells, metric: Metric, samples: _Samples) -> Figures:
    """Sum up what a second brings: all items over all the time; ± is that of the medians."""
    medians = estimates(samples.by_cell(samples.processes.percentile(0.5)), cells.typical)
    spent = samples.processes.reduced(np.sum)
    done = samples.items * samples.processes.lengths * units.NS_PER_S
    each = np.divide(done, spent, out=np.zeros(len(done)), where=spent > 0)
    total, time = (samples.by_cell(found).reduced(np.sum) for found in (done, spent))
    value = np.divide(total, time, out=np.full(len(total), np.nan), where=time > 0)
    sure = replace(estimates(samples.by_cell(each), cells.typical), value=value, half=medians.half)
    none = np.zeros(len(value), bool)
    return Figures(metric=metric, sure=sure, n=samples.n, small=none, series=samples.series)


def _per_process(cells: Cells, metric: Metric) -> Figures:
    """Sum up what each process has one figure of: the highest memory, the loads' centre."""
    column = cells.table["memory" if metric.kind == "memory" else "load_ns"]
    whole = numbers(pc.struct_field(column, "peak_bytes") if metric.kind == "memory" else column)
    used = cells.used.gathered()
    values = whole[used.values]
    kept = values > 0
    cell = np.repeat(np.arange(len(cells)), used.lengths)[kept]
    lengths = np.bincount(cell, minlength=len(cells)).astype(np.int64)
    processes = Segments(values[kept], np.cumsum(lengths) - lengths, lengths)
    sure = estimates(processes)
    if metric.kind == "memory":
        highest = np.where(lengths > 0, processes.reduced(np.max), np.nan)
        sure = replace(sure, value=highest, half=np.full(len(cells), np.inf))
    return _plain(metric, sure, lengths)


def _per_cell(cells: Cells, metric: Metric) -> Figures:
    """Take what is the same in every process from the one that speaks for the cell."""
    column, part = metrics.COLUMNS[metric.kind][0].split(".")
    value = numbers(pc.struct_field(cells.table[column], part))[cells.speaks]
    value = np.where(cells.measured, value, np.nan)
    unknown = np.full(len(value), np.nan)
    there = np.isfinite(value).astype(np.int64)
    without_end = np.full(len(value), np.inf)
    sure = Sure(
        value=value,
        half=without_end,
        centre=unknown,
        error=unknown,
        degrees=unknown,
        processes=there,
    )
    return _plain(metric, sure, there)


def _plain(metric: Metric, sure: Sure, n: Whole) -> Figures:
    none = np.zeros(len(n), np.int64)
    return Figures(metric=metric, sure=sure, n=n, small=none > 0, series=Field(none, ("",)))


# ----------------------------------------------------------------------------------------- samples
@dataclass(frozen=True, kw_only=True)
class _Taken:
    """Every series of every process, as columns."""

    cell: Whole  # -1 where the process does not count
    name: Field
    size: Whole
    items: Values
    samples: Segments

    def only(self, which: NDArray[np.bool_]) -> _Taken:
        found = self.samples
        return _Taken(
            cell=self.cell[which],
            name=self.name.taken(which),
            size=self.size[which],
            items=self.items[which],
            samples=Segments(found.values, found.starts[which], found.lengths[which]),
        )


def _samples(cells: Cells, metric: Metric) -> tuple[Metric, _Samples]:
    """Take the samples of a metric, its size chosen where the name left it open."""
    every = _taken(cells)
    rank = [
        metric.series.index(name) if name in metric.series else len(metric.series)
        for name in every.name.values
    ]
    ranks = np.array(rank, np.int64)[every.name.codes]
    mine = ranks < len(metric.series)
    if metric.size is not None:
        mine &= every.size == metric.size
    if not mine.any():
        raise UsageError(f"no cell of these has {metric.full_name}", _there_are(every))
    best = np.full(len(cells), len(metric.series))
    np.minimum.at(best, every.cell[mine], ranks[mine])
    found = every.only(mine & (ranks == best[every.cell]))
    if metric.sized and metric.size is None:
        metric = replace(metric, size=_shortest(found, metric))
    sizes = np.zeros(len(cells), np.int64)
    sizes[found.cell[::-1]] = found.size[::-1]  # the first of a cell, where there are several
    found = found.only(found.size == (sizes[found.cell] if metric.size is None else metric.size))
    return metric, _by_cell(found, len(cells))


def _by_cell(found: _Taken, count: int) -> _Samples:
    order = np.argsort(found.cell, kind="stable")
    samples, name = found.samples, np.zeros(count, np.int64)
    name[found.cell] = found.name.codes
    return _Samples(
        processes=Segments(samples.values, samples.starts[order], samples.lengths[order]),
        cell=found.cell[order],
        items=found.items[order],
        count=count,
        series=Field(name, found.name.values),
    )


def _taken(cells: Cells) -> _Taken:
    """Take the column of series apart; only processes that count, and series that hold samples."""
    lists = cells.table["series"].combine_chunks()
    rows, inside = entries(lists)
    name, size, items, values = (
        lists.values.field(part)[inside] for part in ("name", "size", "items", "values")
    )
    used = cells.used.gathered()
    cell = np.full(len(cells.table), -1)
    cell[used.values] = np.repeat(np.arange(len(cells)), used.lengths)
    offsets = values.offsets.to_numpy().astype(np.int64)
    found = _Taken(
        cell=cell[rows],
        name=field(name),
        size=size.to_numpy(zero_copy_only=False).astype(np.int64),
        items=items.to_numpy(zero_copy_only=False).astype(float),
        samples=Segments(
            values.values.to_numpy(zero_copy_only=False), offsets[:-1], np.diff(offsets)
        ),
    )
    return found.only((found.cell >= 0) & (found.samples.lengths > 0))


def _shortest(found: _Taken, metric: Metric) -> int:
    """Return the shortest prompt, where that is the same of all cells."""
    most = int(found.size.max()) + 1
    shortest = np.full(int(found.cell.max()) + 1, most)
    np.minimum.at(shortest, found.cell, found.size)
    sizes = sorted({int(size) for size in np.unique(shortest) if size < most})
    if len(sizes) > 1:
        listed = units.listed([str(size) for size in sizes])
        raise UsageError(
            f"these cells have {metric.name} at {listed} tokens at the least",
            f"say which: --metric {metric.name}@{sizes[-1]}",
        )
    return sizes[0]


def _there_are(every: _Taken) -> str:
    """Say what can be shown of these cells instead."""
    names = {str(every.name.at(i)) for i in np.unique(every.name.codes, return_index=True)[1]}
    sizes = {
        f"{name}@{size}"
        for name in names & metrics.SIZED
        for size in np.unique(every.size[every.name.codes == every.name.values.index(name)])
    }
    rates = {rate for rate, of in metrics.RATES.items() if names & set(of)} - {"prefill"}
    found = sizes | rates | (names & set(metrics.NAMES) - metrics.SIZED)
    return f"there are: {', '.join(sorted(found))}" if found else "choose another --metric"
