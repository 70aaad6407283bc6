"""Results to one table: which cells, in which rows and columns, and what is significant in it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cpufit import units
from cpufit.errors import UsageError
from cpufit.precisions import order
from cpufit.tables import caption, figures, metrics, processes
from cpufit.tables.batch import from_best
from cpufit.tables.figures import Entry
from cpufit.tables.processes import FIELDS, combined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cpufit.tables.figures import Figures
    from cpufit.tables.metrics import Metric
    from cpufit.tables.processes import Cells
    from cpufit.tables.wish import Wish

    Whole = NDArray[np.int64]

NOTHING = "\u2013"
# Fields whose difference within one place is named first.
_TELLING = ("scenario", "weights", "precision", "variant", "size", "inputs", "threads", "batch")
# Fields that a row must not mix without saying so; weights are marked, threads are the host's.
_UNLIKE = ("scenario", "precision", "variant", "size", "inputs", "batch")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table in words, ready to be written in any format."""

    wish: Wish
    metric: Metric
    rows: tuple[tuple[str, ...], ...]  # the values of the rows' fields
    columns: tuple[tuple[str, ...], ...]
    entries: tuple[tuple[Entry, ...], ...]
    caption: tuple[str, ...]  # sentences
    command: str  # that makes it again
    provenance: Mapping[str, Any]

    @property
    def mixed(self) -> bool:
        """Whether real weights stand among synthetic ones, and are marked for it."""
        return len(self.provenance["weights"]) > 1


def make(wished: Wish, paths: Sequence[Path], command: str, confidence: float) -> Table:
    """Make the table of these files.

    `command` makes it again; `confidence` is that of percentiles. Raises UsageError where a place
    would hold several cells or nothing is found, DataError where a file cannot be read.
    """
    metric = metrics.parse(wished.metric)
    columns = (*metrics.COLUMNS[metric.kind], *caption.COLUMNS)
    cells = processes.read(paths, dict(wished.where), columns)
    if "run" not in (*wished.rows, *wished.columns, *dict(wished.where)):
        cells = cells.newest()
    found = figures.of(cells, metric, confidence)
    shown = np.flatnonzero(found.there)
    failed = _failed(cells, shown)
    places = _Places.of(cells, wished, np.concatenate([shown, failed]))
    _refuse_several(cells, wished, shown, places.at(shown))
    _refuse_unlike(cells, wished, shown, places.rows)
    entries = _entries(cells, found, places, shown, failed)
    facts = caption.facts(cells, found, wished, shown)
    return Table(
        wish=wished,
        metric=found.metric,
        rows=places.rows.heads,
        columns=places.columns.heads,
        entries=entries,
        caption=caption.sentences(found, wished, facts, entries),
        command=command,
        provenance=facts,
    )


def _failed(cells: Cells, shown: Whole) -> Whole:
    """Return the cells that were not measured and would have had a figure: of a family and
    scenario of which others have one.
    """
    group, count = combined([cells.fields["family"], cells.fields["scenario"]])
    like = np.zeros(count, bool)
    like[group[shown]] = True
    return np.flatnonzero(~cells.measured & like[group])


# ------------------------------------------------------------------------------------------ places
@dataclass(frozen=True, kw_only=True)
class _Heads:
    """The rows or the columns: their heads in order, and which one each cell is in."""

    heads: tuple[tuple[str, ...], ...]
    of: Whole

    @classmethod
    def sorted(cls, cells: Cells, names: Sequence[str], which: Whole) -> _Heads:
        """Sort what the chosen cells have: models by parameters, precisions by bits."""
        group, count = combined([cells.fields[name] for name in names])
        members = group[which]
        present, example = np.unique(members, return_index=True)
        values = [
            tuple(cells.fields[name].at(int(which[index])) for name in names) for index in example
        ]
        most = np.zeros(count, np.int64)
        np.maximum.at(most, members, cells.parameters[which])
        order = sorted(
            range(len(present)),
            key=lambda i: [
                _rank(name, value, int(most[present[i]]))
                for name, value in zip(names, values[i], strict=True)
            ],
        )
        index = np.full(count, -1)
        index[present[order]] = np.arange(len(order))
        heads = tuple(tuple(str(value) or NOTHING for value in values[i]) for i in order)
        return cls(heads=heads, of=index[group])


@dataclass(frozen=True, kw_only=True)
class _Places:
    """The grid, and where each cell is in it."""

    rows: _Heads
    columns: _Heads

    @classmethod
    def of(cls, cells: Cells, wished: Wish, which: Whole) -> _Places:
        """Lay the chosen cells out."""
        return cls(
            rows=_Heads.sorted(cells, wished.rows, which),
            columns=_Heads.sorted(cells, wished.columns, which),
        )

    def at(self, which: Whole) -> Whole:
        """Return the place of each cell, row by row."""
        return self.rows.of[which] * len(self.columns.heads) + self.columns.of[which]


def _rank(name: str, value: Any, parameters: int) -> tuple[float, str]:
    if name == "model":
        return parameters, value
    if name == "precision":
        return order(value), value
    return (value, "") if isinstance(value, int) else (0, value)


def _refuse_several(cells: Cells, wished: Wish, shown: Whole, places: Whole) -> None:
    """Raise UsageError where cells fall into one place, naming what tells them apart."""
    found, count = np.unique(places, return_counts=True)
    if not (count > 1).any():
        return
    index = int(np.argmax(count > 1))
    together = shown[places == found[index]]
    named = (*wished.rows, *wished.columns)
    different = {
        name: [str(v) for v in dict.fromkeys(cells.fields[name].at(int(i)) for i in together)]
        for name in (*_TELLING, *(n for n in FIELDS if n not in _TELLING))
        if name not in named
    }
    different = {name: values for name, values in different.items() if len(values) > 1}
    best = max(different, key=lambda name: len(different[name]))
    where = " ".join(str(cells.fields[name].at(int(together[0]))) or f"{name}=''" for name in named)
    raise _choose(f"{len(together)} cells fall into one place ({where})", best, different[best])


def _refuse_unlike(cells: Cells, wished: Wish, shown: Whole, rows: _Heads) -> None:
    """Raise UsageError where one row would hold what does not compare, and not say so."""
    for name in _UNLIKE:
        if name in (*wished.rows, *wished.columns):
            continue
        codes = cells.fields[name].codes[shown]
        pairs = np.unique(np.stack([rows.of[shown], codes]), axis=1)
        row, count = np.unique(pairs[0], return_counts=True)
        if (count > 1).any():
            which = int(row[np.argmax(count > 1)])
            values = [str(cells.fields[name].values[c]) for c in pairs[1][pairs[0] == which]]
            raise _choose(f"the row of {' '.join(rows.heads[which])} would mix", name, values)


def _choose(problem: str, name: str, values: Sequence[str]) -> UsageError:
    listed = units.listed([value or "none" for value in values[:4]])
    example = shlex.quote(f"{name}={'' if '' in values else values[0]}")
    return UsageError(
        f"{problem}, with {name} {listed}",
        f"choose, such as --where {example}, or put {name} into --rows or --cols",
    )


# ----------------------------------------------------------------------------------------- entries
def _entries(
    cells: Cells, found: Figures, places: _Places, shown: Whole, failed: Whole
) -> tuple[tuple[Entry, ...], ...]:
    wide = len(places.columns.heads)
    grid = [Entry(NOTHING)] * (len(places.rows.heads) * wide)
    for cell, place in zip(failed.tolist(), places.at(failed).tolist(), strict=True):
        word = cells.status.at(cell)
        grid[place] = Entry("too large" if word == "skipped" else word)
    best, same = _compared(found, places.rows.of[shown], shown)
    sure = found.sure
    columns = (
        shown, places.at(shown), sure.value[shown], sure.half[shown], found.n[shown],
        sure.processes[shown], found.small[shown], best, same,
    )  # fmt: skip
    names, weights = found.series, cells.fields["weights"]
    for cell, place, value, half, n, count, small, first, equal in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        kind = weights.at(cell)
        if small:
            grid[place] = Entry(units.TOO_SMALL, n=n, processes=count, weights=kind)
            continue
        words = found.metric.words(value, names.at(cell)) + units.plus_minus(half)
        stated = half if half < np.inf else None
        grid[place] = Entry(words, value, stated, n, count, first, equal, kind)
    return tuple(tuple(grid[start : start + wide]) for start in range(0, len(grid), wide))


def _compared(
    found: Figures, row: Whole, shown: Whole
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say of the shown cells which is the best of its row, and which do not differ from it."""
    value = found.sure.value[shown]
    cost = np.where(found.small[shown], np.inf, -value if found.metric.more_is_better else value)
    order = np.lexsort((np.arange(len(shown)), cost, row))
    first = np.ones(len(shown), bool)
    first[1:] = row[order][1:] != row[order][:-1]
    leader = np.zeros(int(row.max()) + 1 if len(row) else 0, np.int64)
    leader[row[order][first]] = order[first]
    stated = np.isfinite(cost)
    rivals = np.bincount(row[stated], minlength=len(leader))[row]
    mine = leader[row]
    apart = found.sure.differs(shown, shown[mine], from_best(rivals))
    if found.metric.exact:
        alone = np.minimum(found.sure.processes[shown], found.sure.processes[shown[mine]]) < 2
        apart |= alone & (cost != cost[mine])
    best = np.arange(len(shown)) == mine
    return best & stated & (rivals > 1), ~best & stated & ~apart
