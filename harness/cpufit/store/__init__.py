"""Runs on disk: a journal while they go on, one Parquet file each once they end. The door.

    run-….journal   finished records, each on the disk when `add` returns   (`journal`)
    run-….parquet   all of them, once the run is closed                     (`results`)

A run goes by the path of its Parquet file, whichever of the two is there. Closing a run compacts
the journal into the Parquet file and removes it; `recover` does so for a run that was killed, and
`reopen` before it goes on. Killed in between, both are there: the Parquet file names the journal
whose records it holds, so that each counts once. Whoever adds or compacts holds the journal's lock.
"""

from __future__ import annotations

import gc
import re
import shlex
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from cpufit.errors import DataError
from cpufit.files import clear, replacing, sync
from cpufit.paths import OUTPUT
from cpufit.store import journal, results
from cpufit.store.rows import CELL
from cpufit.store.sane import sane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    from cpufit.schema import Record, Status
    from cpufit.store.journal import Journal
    from cpufit.store.results import Parquet

__all__ = [
    "CELL",
    "ResultsFile",
    "begin",
    "columns",
    "create",
    "go_on",
    "newest",
    "read",
    "recover",
    "reopen",
    "request_of",
    "runs",
    "sane",
]
_NUMBERED = re.compile(r"(.+)-(\d+)")
_BY_CLOCK = re.compile(r"run-\d{8}T\d{6,12}Z")


@dataclass
class ResultsFile:
    """A run, open for adding: what it was given is on disk after every call."""

    path: Path  # of the Parquet file it ends in
    request: str  # JSON: what the run was asked to do
    _journal: Journal

    def add(self, records: Sequence[Record]) -> None:
        """Append records, at any size of the run alike; raise DataError where the disk refuses."""
        with _refusals(self.path):
            self._journal.append([sane(record) for record in records])

    def close(self) -> None:
        """End the run: one Parquet file. Raises DataError where the disk refuses; all is kept."""
        with _refusals(self.path):
            _compact(self.path, self._journal)
        self._journal.close()


def begin(folder: Path, clock: datetime, request: str) -> ResultsFile:
    """Start a run named by the clock, or after the newest one there if the clock went back."""
    name = clock.strftime("run-%Y%m%dT%H%M%S%fZ")
    earlier = [stem for path in runs(folder) if _BY_CLOCK.fullmatch(stem := _order(path)[0])]
    return create(folder / f"{max([name, *earlier])}.parquet", request)


def create(path: Path, request: str) -> ResultsFile:
    """Start a run under this name, or the next one that is free: 'name-2.parquet'.

    Raises DataError where the disk refuses.
    """
    with _refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            free = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
            with suppress(FileExistsError):
                log = journal.create(_journal_of(free), request)
                if not free.exists():
                    return ResultsFile(free, request, log)
                log.remove()
    raise AssertionError("numbers do not end")


def reopen(path: Path, keep: Sequence[Status], stale: Sequence[str] = ()) -> ResultsFile:
    """Open an earlier run to go on, with those of its records that ended so.

    Left out are those of artifacts with these keys, which are others by now.

    Raises DataError where another process adds to it, or the disk refuses.
    """
    with _refusals(path), suppress(FileExistsError):
        log = journal.find(_journal_of(path))
        log = log or journal.create(_journal_of(path), request_of(path))
        if log.lock():
            _compact(path, log, partial(_kept, keep=keep, stale=stale))
            return ResultsFile(path, log.request, journal.create(log.path, log.request))
    raise DataError(f"another cpufit is adding to {path}", "wait for it, or start a new run")


def recover(paths: Iterable[Path]) -> list[str]:
    """Compact what killed runs left; return a line for each torn last record that was dropped.

    A run that goes on is left alone, and so is one whose folder cannot be written: such are read
    as they are.
    """
    said: list[str] = []
    for path in paths:
        log = journal.find(_journal_of(path))
        if log:
            with closing(log), suppress(OSError):
                said += _recover(path, log)
    return said


def _recover(path: Path, log: Journal) -> Iterator[str]:
    if log.lock():
        if log.torn():
            yield f"a torn last record was dropped: {path} was killed writing it"
        _compact(path, log)


def read(paths: Iterable[Path]) -> list[Record]:
    """Read all records; raise DataError for a file that is corrupt, foreign or too new."""
    records: list[Record] = []
    with _uncollected():
        for path in paths:
            with _parts(path) as (parquet, log):
                records += parquet.records() if parquet else ()
                records += log.records() if log else ()
    return records


def columns(paths: Iterable[Path], names: Sequence[str]) -> pa.Table:
    """Read these columns only, of all files; a dot names a part of a struct: 'host.fingerprint'.

    No record is built but of a journal, so that a million rows take seconds. Raises DataError as
    `read` does.
    """
    return pa.concat_tables([part for path in paths for part in _columns(path, names)])


def request_of(path: Path) -> str:
    """Return the JSON the run was started with."""
    with _parts(path) as (parquet, log):
        return parquet.request if parquet else log.request if log else ""


def runs(folder: Path) -> list[Path]:
    """Return the runs of a folder, the newest last."""
    endings = (".parquet", journal.SUFFIX)
    found = {p.with_suffix(".parquet") for p in folder.glob("run-*") if p.suffix in endings}
    return sorted(found, key=_order)


def newest(folder: Path) -> Path:
    """Return the latest run's file in a folder; raise DataError where there is none."""
    found = runs(folder)
    if not found:
        raise DataError(f"no results in {folder}", "run `cpufit run` first, or name a file")
    return found[-1]


def go_on(path: Path) -> str:
    """Return the command that goes on with a run that holds too little."""
    where = "" if path.parent == OUTPUT else f" -o {shlex.quote(str(path.parent))}"
    return f"`cpufit run --resume{where}`"


def _order(path: Path) -> tuple[str, int]:
    """Return the name and the number behind it: 'run-x' comes before 'run-x-2' and 'run-x-10'."""
    numbered = _NUMBERED.fullmatch(path.stem)
    return (numbered[1], int(numbered[2])) if numbered else (path.stem, 1)


def _journal_of(path: Path) -> Path:
    return path.with_suffix(journal.SUFFIX)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Put what the disk refuses into words."""
    try:
        yield
    except OSError as error:
        folder = path.parent
        why = f"{folder} is a file" if folder.is_file() else error.strerror or error
        raise DataError(
            f"cannot write {path}: {why}",
            "name another output folder; what was measured before is kept",
        ) from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Spare the collector millions of new objects, none of them garbage: a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _parts(path: Path) -> Iterator[tuple[Parquet | None, Journal | None]]:
    """Open what there is of a run; a journal whose records the Parquet file holds is left out.

    The journal comes first: whoever compacts it now puts it into the Parquet file before it goes.
    """
    with ExitStack() as stack:
        log = journal.find(_journal_of(path))
        if log:
            stack.callback(log.close)
        parquet = stack.enter_context(_parquet(path) if log else results.opened(path))
        yield parquet, None if parquet and log and parquet.journal == log.id else log


def _columns(path: Path, names: Sequence[str]) -> Iterator[pa.Table]:
    with _parts(path) as (parquet, log):
        if parquet:
            yield parquet.columns(names)
        if log:  # as if it were compacted already
            sink = pa.BufferOutputStream()
            results.write(sink, results.tables(log.records()), log.request, log.id)
            with results.opened(path, sink.getvalue()) as compacted:
                yield compacted.columns(names)


def _compact(path: Path, log: Journal, kept: Callable[[pa.Table], pa.Table] | None = None) -> None:
    """Write one Parquet file of what there is of a run, and remove its journal, which is locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path)
    with _parquet(path) as before, replacing(path) as file:
        tables = _tables(before, log)
        if kept is not None:
            tables = (kept(table) for table in tables)
        results.write(file, tables, log.request, log.id)
    sync(path.parent)
    log.remove()


def _kept(table: pa.Table, keep: Sequence[Status], stale: Sequence[str]) -> pa.Table:
    keys = pc.struct_field(table["artifact"], "key")
    ended = pc.is_in(table["status"], pa.array(keep, pa.string()))
    return table.filter(pc.and_(ended, pc.invert(pc.is_in(keys, pa.array(stale, pa.string())))))


def _tables(parquet: Parquet | None, log: Journal) -> Iterator[pa.Table]:
    """Yield all rows of a run, those of its journal only if the Parquet file has them not."""
    if parquet:
        yield from parquet.tables()
    if parquet is None or parquet.journal != log.id:
        yield from results.tables(log.records())


def _parquet(path: Path) -> AbstractContextManager[Parquet | None]:
    return results.opened(path) if path.exists() else nullcontext()
