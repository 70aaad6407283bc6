"""The whole road of a run: cells in, several processes each, a stored record each. Start here.

plan -> blocks of cells, round after round -> for each cell that is not settled: ordered -> fits?
-> artifact (made once, in a process of its own) -> its precision checked (once, likewise) ->
measured in a fresh process (`stages`) -> record -> on disk -> settled?
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

from cpufit import analysis, store, temporary
from cpufit.analysis import settling, spreads
from cpufit.artifacts import cache, storage
from cpufit.artifacts.routes import builder
from cpufit.config import load_settings
from cpufit.errors import CpufitError, DataError
from cpufit.plan.cells import decisive_first
from cpufit.plan.remembered import recall
from cpufit.plan.request import resolve
from cpufit.run import here, rounds, stages
from cpufit.run.record import record_of
from cpufit.run.stages import Checked, Place, Road

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpufit.analysis import Row
    from cpufit.plan.request import Plan, Request
    from cpufit.schema import Cell, Host, Record

__all__ = ["Observer", "Place", "Run", "begin", "go", "resume", "start"]


class Observer(Protocol):
    """Who watches a run; the terminal is one."""

    def planned(self, plan: Plan, done: Sequence[Record]) -> None:
        """Hear what will be run and what an earlier run already measured."""

    def started(self, cell: Cell) -> None:
        """Hear that a cell begins."""

    def stage(self, text: str) -> None:
        """Hear what the cell's process is doing."""

    def finished(self, row: Row) -> None:
        """Hear what a cell comes to with one more process, its last; that one is on disk."""

    def rounded(self) -> None:
        """Hear that every open cell had its turn; nothing is measured until this returns."""


@dataclass(frozen=True)
class Run:
    """A run that is ready to go: its file exists, nothing has been measured yet."""

    plan: Plan
    cells: tuple[Cell, ...]  # those not settled yet
    results: store.ResultsFile
    done: tuple[Record, ...] = ()  # kept from before: processes of any cell


def begin(request: Request, place: Place) -> Run:
    """Decide what will be run and create its file.

    Raises CpufitError where the request or the folders are wrong.
    """
    plan = _plan(request)
    asked = replace(request, cells=tuple(cell.id for cell in plan.cells))
    return start(plan, plan.cells, asked.shared().to_json(), place)


def start(plan: Plan, cells: tuple[Cell, ...], request: str, place: Place) -> Run:
    """Create the file of a run of some of the plan's cells; `request` is kept in it.

    Raises CpufitError where the folders are wrong.
    """
    cache.check_writable(place.cache)
    return Run(plan, cells, store.begin(place.output, datetime.now(UTC), request))


def resume(path: Path, place: Place) -> Run:
    """Take up what a run's file still lacks: cells not settled, and those that were not ok."""
    plan = _plan(recall(path, store.request_of(path)))
    cache.check_writable(place.cache)
    found = [record for record in store.read([path]) if record.outcome.status == "ok"]
    stale = _stale(plan, found, place)
    done = tuple(r for r in found if not (r.artifact and r.artifact.key in stale))
    strangers = {r.host.fingerprint for r in done} - {here.describe().fingerprint}
    if strangers:
        raise DataError(f"{path} was measured on another host", "start a new run here")
    ids = {record.cell.id for record in done if record.settled}
    left = tuple(cell for cell in plan.cells if cell.id not in ids)
    return Run(plan, left, store.reopen(path, ["ok"], stale), done)


def _stale(plan: Plan, done: Sequence[Record], place: Place) -> list[str]:
    """Return the artifacts' keys of the user's own files that are other files by now."""
    now: dict[str, str] = {}
    for cell in plan.cells:
        if plan.models[cell.card].file:
            with suppress(CpufitError):  # the cell itself will say so
                now[cell.id] = cache.key_of(plan.order(cell, place.cache))
    keys = ((r.cell.id, r.artifact.key) for r in done if r.artifact)
    return sorted({key for name, key in keys if now.get(name, key) != key})


def _plan(request: Request) -> Plan:
    """Return what will be run, in the order in which it is begun."""
    plan = resolve(request)
    return replace(plan, cells=decisive_first(plan.cells, load_settings().tiers))


def go(run: Run, place: Place, observer: Observer) -> None:
    """Measure every cell until it is settled, and close the run's file.

    Raises DataError where the disk refuses; on that and on KeyboardInterrupt every finished
    process is stored.
    """
    try:
        _go(run, place, observer)
    finally:
        run.results.close()


def _go(run: Run, place: Place, observer: Observer) -> None:
    temporary.sweep()
    host = here.describe()
    observer.planned(run.plan, run.done)
    road = Road(plan=run.plan, place=place, say=observer.stage, checks=_checks(run.done))
    known = _Known(run)
    for block in rounds.blocks(run.cells, partial(_size_of, road), _room(place)):
        _measure_block(block, run, road, host, observer, known)


class _Known:
    """How much the processes of a run's cells differ, looked at anew after each round.

    Of each cell it keeps its spreads alone.
    """

    def __init__(self, run: Run) -> None:
        self._share = run.plan.levels.percentile
        rows = analysis.rows(run.done, run.plan.levels)
        self._cells = {row.record.cell.id: spreads.of_cell(row, self._share) for row in rows}
        self.typical = spreads.of_run(self._cells.values())

    def note(self, row: Row) -> None:
        """Take in what a cell comes to by now."""
        self._cells[row.record.cell.id] = spreads.of_cell(row, self._share)

    def look(self) -> None:
        """Say anew how much processes differ."""
        self.typical = spreads.of_run(self._cells.values())


def _measure_block(
    block: Sequence[Cell], run: Run, road: Road, host: Host, observer: Observer, known: _Known
) -> None:
    """Give every cell of a block a process, round after round, until all are settled.

    A settled cell's records are let go: what a run holds does not grow with it.
    """
    open_ = {c.id: tuple(r for r in run.done if r.cell.id == c.id) for c in block}
    index = 0
    while open_:
        left = [cell for cell in block if cell.id in open_]
        for cell in rounds.shuffled(left, index, run.results.path.stem):
            observer.started(cell)
            row = _one_more(cell, open_[cell.id], run, road, host, known.typical)
            known.note(row)
            observer.finished(row)
            open_[cell.id] = row.records
            if row.records[-1].settled:
                del open_[cell.id]
        observer.rounded()
        known.look()
        index += 1


def _one_more(
    cell: Cell,
    before: tuple[Record, ...],
    run: Run,
    road: Road,
    host: Host,
    typical: dict[str, float],
) -> Row:
    """Let one more process measure the cell, store it, and see whether that settles it."""
    ended, folder = stages.run_cell(cell, road, before), road.place.cache
    record = record_of(cell, run.plan, host, ended, run.results.path, len(before), folder)
    record = replace(record, typical=typical)
    asked = (run.plan.levels, *run.plan.levels_of(cell))
    rows = {levels: analysis.rows((*before, record), levels)[0] for levels in asked}
    reasons = [settling.settled(rows[each], run.plan.budget) for each in run.plan.levels_of(cell)]
    record = replace(record, settled=reasons[0] if all(reasons) else "")
    run.results.add([record])
    return replace(rows[run.plan.levels], records=(*before, record))


def _checks(done: Sequence[Record]) -> dict[tuple[str, ...], Checked]:
    return {
        stages.checked_of(record.cell): Checked(record.outcome.numerics)
        for record in done
        if record.outcome.numerics
    }


def _size_of(road: Road, cell: Cell) -> int:
    """Return about how large the cell's artifact is; 0 where nobody can make it."""
    try:
        order = road.plan.order(cell, road.place.cache)
        return builder(order).estimate_bytes(order)
    except CpufitError:
        return 0


def _room(place: Place) -> int:
    """Return what the artifacts of a block may take, so that none is built twice."""
    room = storage.free_bytes(place.cache) + storage.total_bytes(place.cache)
    limit = place.cache_limit_bytes
    return (room if limit is None else min(room, limit)) // 2
