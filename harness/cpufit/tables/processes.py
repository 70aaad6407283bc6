"""Parquet columns to cells: which there are, which processes of each count, and what they recorded.

The rules are those of `analyse`: a cell is what one run on one host made of it, and a disturbed
process does not count where three undisturbed ones do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cpufit import analysis, store
from cpufit.errors import UsageError, unknown
from cpufit.stats import disturbance
from cpufit.store import CELL
from cpufit.tables.batch import Segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Whole = NDArray[np.int64]
    Mask = NDArray[np.bool_]

# What rows, columns and --where may name.
FIELDS = (*CELL, "family", "host", "run")
_RUN = (*CELL, "host", "run")  # what tells the cells of several runs apart
_COLUMNS = (
    *CELL,
    "family",
    "run_id",
    "recorded_at",
    "status",
    "repeat",
    "parameters",
    "noise",
    "typical",
    "host.fingerprint",
    "host.cpu_model",
    "host.logical_cores",
)
_PIECE = 2**16  # rows
_SPAN = 2**62  # of a combined key; beyond it keys are counted anew


@dataclass(frozen=True)
class Field:
    """One column of text or small numbers: its different values, and which one each row has."""

    codes: Whole
    values: tuple[Any, ...]

    def taken(self, which: Whole | Mask) -> Field:
        """Return the same field of fewer rows."""
        return Field(self.codes[which], self.values)

    def at(self, index: int) -> Any:
        """Return the value of one row."""
        return self.values[self.codes[index]]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells that were asked for, and the processes behind them."""

    table: pa.Table  # a row is a process, in the order of the files
    fields: Mapping[str, Field]  # of each cell
    hosts: Mapping[str, str]  # fingerprint -> name, of all that were read
    speaks: Whole  # of each cell the process that speaks for it
    used: Segments  # of each cell the processes that count, as rows of `table`
    measured: Mask
    typical: NDArray[np.float64]  # of each cell how much processes differ in its run; 0: unknown

    def __len__(self) -> int:
        return len(self.speaks)

    @cached_property
    def parameters(self) -> Whole:
        """Of each cell's model; 0 where unknown."""
        return numbers(self.table["parameters"])[self.speaks].astype(np.int64)

    @cached_property
    def recorded_at(self) -> Field:
        """When the speaking process was recorded."""
        return field(self.table["recorded_at"]).taken(self.speaks)

    @cached_property
    def status(self) -> Field:
        """What became of each cell."""
        return field(self.table["status"]).taken(self.speaks)

    def chosen(self, which: Whole | Mask) -> Cells:
        """Return some of the cells."""
        return Cells(
            table=self.table,
            fields={name: found.taken(which) for name, found in self.fields.items()},
            hosts=self.hosts,
            speaks=self.speaks[which],
            used=Segments(self.used.values, self.used.starts[which], self.used.lengths[which]),
            measured=self.measured[which],
            typical=self.typical[which],
        )

    def newest(self) -> Cells:
        """Keep the last of each cell that several runs measured on one host."""
        if not len(self):
            return self
        group, count = combined([self.fields[name] for name in (*CELL, "host")])
        dates = self.recorded_at
        rank = np.empty(len(dates.values), np.int64)
        rank[sorted(range(len(rank)), key=lambda i: dates.values[i])] = np.arange(len(rank))
        order = np.lexsort((np.arange(len(self)), rank[dates.codes], group))
        last = np.zeros(count, np.int64)
        last[group[order]] = order  # of several the last assignment stays
        return self.chosen(np.sort(last))


def read(
    paths: Sequence[Path], where: Mapping[str, Sequence[str]], columns: Sequence[str]
) -> Cells:
    """Read the cells that `where` asks for, field -> values, with these columns besides.

    Raises UsageError for a value that no cell has or where nothing is left, DataError for a file
    that cannot be read.
    """
    table = store.columns(paths, list(dict.fromkeys((*_COLUMNS, *columns))))
    if not len(table):
        raise UsageError(f"{paths[0]} holds no cells yet", f"go on with {store.go_on(paths[0])}")
    host, names, cores = _hosts(table["host"])
    fields = {name: field(table[name]) for name in (*CELL, "family")}
    fields |= {"host": host, "run": field(table["run_id"])}
    typical = _typical(table["typical"], fields)  # by all of a run, whatever is asked of it
    mask = _asked(fields, where, names)
    if len(paths) > 1:
        mask = mask & _once(fields, field(table["repeat"]))
    if not mask.all():
        table = table.filter(pa.array(mask))
        fields = {name: found.taken(mask) for name, found in fields.items()}
        cores, typical = cores[mask], typical[mask]
    if not len(table):
        asked = " and ".join(f"{name}={','.join(values)}" for name, values in where.items())
        raise UsageError(f"no cell has {asked}", "ask for less with --where")
    return _cells(table, fields, names, cores, typical)


def _typical(column: pa.ChunkedArray, fields: Mapping[str, Field]) -> NDArray[np.float64]:
    """Return of each process how much processes differ in its run, as it was known last."""
    found = np.concatenate(
        [_of_map(maps, ("median",))["median"] for _, maps in _pieces(column)] or [np.zeros(0)]
    )
    run, count = combined([fields["run"], fields["host"]])
    known, last = np.flatnonzero(found), np.zeros(count)
    last[run[known]] = found[known]  # of several the last assignment stays
    whole: NDArray[np.float64] = last[run]
    return whole


def _once(fields: Mapping[str, Field], repeat: Field) -> Mask:
    """Say which processes are not there already: two files may hold the same run."""
    process, count = combined([*(fields[name] for name in _RUN), repeat])
    found = np.zeros(len(process), bool)
    found[_first(process, np.arange(len(process)), count)] = True
    return found


def combined(fields: Sequence[Field]) -> tuple[Whole, int]:
    """Number the different combinations of fields from 0: of each row, and how many there are."""
    key, span = np.zeros(len(fields[0].codes), np.int64), 1
    for found in fields:
        if span * len(found.values) > _SPAN:
            different, key = np.unique(key, return_inverse=True)
            span = len(different)
        key = key * len(found.values) + found.codes
        span *= len(found.values)
    different, key = np.unique(key, return_inverse=True)
    return key.astype(np.int64), len(different)


def field(column: pa.ChunkedArray | pa.Array) -> Field:
    """Return a column as a field."""
    whole = column.dictionary_encode()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.combine_chunks()
    return Field(
        whole.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        tuple(whole.dictionary.to_pylist()),
    )


def disturbed(noise: pa.ChunkedArray, cores: NDArray[np.float64]) -> Mask:
    """Say which processes were disturbed; piece by piece, so that memory is used again."""
    found = np.zeros(len(noise), bool)
    for piece, maps in _pieces(noise):
        found[piece] = disturbance.has_reasons(_of_map(maps, disturbance.NAMES), cores[piece])
    return found


def _pieces(column: pa.ChunkedArray) -> Iterator[tuple[slice, pa.MapArray]]:
    for start in range(0, len(column), _PIECE):
        yield slice(start, start + _PIECE), column.slice(start, _PIECE).combine_chunks()


def _of_map(maps: pa.MapArray, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return entries of maps of numbers, 0 where a row has none."""
    rows, inside = entries(maps)
    keys = field(maps.keys[inside])
    items = maps.items[inside].to_numpy(zero_copy_only=False)
    found = {}
    for name in names:
        found[name] = np.zeros(len(maps))
        if name in keys.values:
            hit = np.flatnonzero(keys.codes == keys.values.index(name))
            found[name][rows[hit]] = items[hit]
    return found


def entries(lists: pa.Array) -> tuple[Whole, slice]:
    """Return the row of each entry of a list or map, and where in its child the entries lie."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(lists)), np.diff(offsets))
    return rows, slice(int(offsets[0]), int(offsets[-1]))


def _cells(
    table: pa.Table,
    fields: Mapping[str, Field],
    names: Mapping[str, str],
    cores: NDArray[np.float64],
    typical: NDArray[np.float64],
) -> Cells:
    """Sort processes into cells and say which of them count."""
    cell, count = combined([fields[name] for name in _RUN])
    status = field(table["status"])
    measured = np.array([word == "ok" for word in status.values])[status.codes]
    used = _used(cell, count, measured, disturbed(table["noise"], cores))
    first = _first(cell, np.arange(len(cell)), count)
    counting = np.flatnonzero(used)
    speaks = np.where(np.bincount(cell[counting], minlength=count) > 0, -1, first)
    speaks[speaks < 0] = _first(cell[counting], counting, count)[speaks < 0]
    order = counting[np.argsort(cell[counting], kind="stable")]
    lengths = np.bincount(cell[counting], minlength=count).astype(np.int64)
    found = Cells(
        table=table,
        fields={name: found.taken(first) for name, found in fields.items()},
        hosts=names,
        speaks=speaks,
        used=Segments(order, np.cumsum(lengths) - lengths, lengths),
        measured=lengths > 0,
        typical=typical[first],
    )
    return found.chosen(np.argsort(first, kind="stable"))  # in the order of the files


def _used(cell: Whole, count: int, measured: Mask, disturbed: Mask) -> Mask:
    """Return which processes count: without the disturbed ones where enough others are left."""
    quiet = measured & ~disturbed
    enough = np.bincount(cell[quiet], minlength=count) >= np.minimum(
        analysis.FEWEST_QUIET, np.bincount(cell[measured], minlength=count)
    )
    return np.where(enough[cell], quiet, measured)


def _first(cell: Whole, which: Whole, count: int) -> Whole:
    """Return the first of `which` that belongs to each cell; 0 where none does."""
    found = np.zeros(count, np.int64)
    found[cell[::-1]] = which[::-1]  # of several the last assignment stays
    return found


def _hosts(column: pa.ChunkedArray) -> tuple[Field, dict[str, str], NDArray[np.float64]]:
    """Return each process's host by name, fingerprint -> name, and its logical cores."""
    prints, cpus = (field(pc.struct_field(column, name)) for name in ("fingerprint", "cpu_model"))
    last = _first(prints.codes[::-1], cpus.codes[::-1], len(prints.values))
    names = analysis.host_names(
        {name: cpus.values[last[index]] for index, name in enumerate(prints.values)}
    )
    named = Field(prints.codes, tuple(names[name] for name in prints.values))
    return named, names, numbers(pc.struct_field(column, "logical_cores"))


def numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a column of numbers; NaN where it is empty."""
    return np.asarray(column.to_numpy(), dtype=float)


def _asked(
    fields: Mapping[str, Field], where: Mapping[str, Sequence[str]], hosts: Mapping[str, str]
) -> Mask:
    """Return which processes `where` asks for; a host goes by its name or fingerprint."""
    mask = np.ones(len(fields["model"].codes), bool)
    for name, wanted in where.items():
        found = fields[name]
        words = [hosts.get(word, word) if name == "host" else word for word in wanted]
        known = [str(value) for value in found.values]
        for word in words:
            if word not in known:
                raise unknown(f"{name} in these results", word, known)
        mask &= np.array([value in words for value in known])[found.codes]
    return mask
