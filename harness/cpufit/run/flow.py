"""The whole road of a run: cells in, several processes each, a stored record each. Start here.

plan -> blocks of cells, round after round -> for each cell that is not settled: artifact (made
once, in a process of its own) -> fits? -> its precision checked (once, likewise) -> measured in a
fresh process -> record -> on disk -> settled?
"""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from cpufit import analyse, numerics, settling, store
from cpufit.artifacts import cache, storage
from cpufit.errors import CpufitError, DataError
from cpufit.probes import energy, host
from cpufit.run import child, fit, rounds
from cpufit.run.request import from_json, resolve
from cpufit.runtimes import check_installed
from cpufit.schema import Job, Outcome, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.run.request import Plan, Request
    from cpufit.schema import Artifact, Cell, Host, Numerics

    Checks = dict[tuple[str, ...], "Checked"]  # by what `checked_of` says

_BUILD_TIMEOUT_S = 1800.0


class Stages(Protocol):
    """Who hears what a process does."""

    def stage(self, text: str) -> None:
        """Hear what the cell's process is doing."""


class Observer(Stages, Protocol):
    """Who watches a run; the terminal is one."""

    def planned(self, plan: Plan, done: Sequence[Record]) -> None:
        """Hear what will be run and what an earlier run already measured."""

    def started(self, cell: Cell) -> None:
        """Hear that a cell begins."""

    def finished(self, record: Record) -> None:
        """Hear what came out; the record is on disk."""


@dataclass(frozen=True)
class Place:
    """Where a run reads and writes."""

    output: Path
    cache: Path
    cache_limit_bytes: int | None = None  # of all artifacts together


@dataclass(frozen=True)
class Checked:
    """What checking a precision came to."""

    numerics: Numerics | None = None
    notes: tuple[str, ...] = ()  # why there is none, though there should be
    log: str = ""  # the traceback of a bug


@dataclass(frozen=True)
class Made:
    """What one more process made of a cell."""

    outcome: Outcome
    artifact: Artifact | None = None
    log: str = ""  # the traceback of a bug
    spent_s: float = 0.0  # by the measuring process alone


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
    plan = resolve(request)
    return start(plan, plan.cells, request.to_json(), place)


def start(plan: Plan, cells: tuple[Cell, ...], request: str, place: Place) -> Run:
    """Create the file of a run of some of the plan's cells; `request` is kept in it.

    Raises CpufitError where the folders are wrong.
    """
    cache.check_writable(place.cache)
    run_id = datetime.now(UTC).strftime("run-%Y%m%dT%H%M%S%fZ")
    results = store.create(place.output / f"{run_id}.parquet", request)
    return Run(plan, cells, results)


def resume(path: Path, place: Place) -> Run:
    """Take up what a run's file still lacks: cells not settled, and those that were not ok."""
    plan = resolve(from_json(store.request_of(path), path))
    cache.check_writable(place.cache)
    done = tuple(record for record in store.read([path]) if record.outcome.status == "ok")
    strangers = {r.host.fingerprint for r in done} - {host.describe().fingerprint}
    if strangers:
        raise DataError(f"{path} was measured on another host", "start a new run here")
    ids = {record.cell.id for record in done if record.settled}
    left = tuple(cell for cell in plan.cells if cell.id not in ids)
    return Run(plan, left, store.reopen(path, done), done)


def go(run: Run, place: Place, observer: Observer) -> None:
    """Measure every cell until it is settled.

    Raises DataError where the disk refuses; on that and on KeyboardInterrupt every finished
    process is stored.
    """
    here = host.describe()
    observer.planned(run.plan, run.done)
    checks = {
        checked_of(record.cell): Checked(record.outcome.numerics)
        for record in run.done
        if record.outcome.numerics
    }
    for block in rounds.blocks(run.cells, partial(_size_of, run.plan, place), _room(place)):
        before = {c.id: tuple(r for r in run.done if r.cell.id == c.id) for c in block}
        left, index = block, 0
        while left:
            for cell in rounds.shuffled(left, index, run.results.path.stem):
                observer.started(cell)
                record = _measured(cell, before[cell.id], run, place, observer, checks, here)
                run.results.add([record])
                before[cell.id] += (record,)
                observer.finished(record)
            left, index = tuple(c for c in left if not before[c.id][-1].settled), index + 1


def _measured(
    cell: Cell,
    before: tuple[Record, ...],
    run: Run,
    place: Place,
    observer: Observer,
    checks: Checks,
    here: Host,
) -> Record:
    """Let one more process measure the cell, and see whether that settles it."""
    made = run_cell(cell, run.plan, place, observer, checks, len(before))
    if made.log:
        outcome = _keep_log(made.outcome, made.log, cell, run.results.path)
        made = replace(made, outcome=outcome)
    record = _record(cell, run.plan, here, made, run.results.path.stem, len(before))
    return replace(record, settled=_settled((*before, record), run.plan))


def _settled(records: Sequence[Record], plan: Plan) -> str:
    """Return why a cell needs no further process, under all it is held against; '' if it does."""
    reasons = [
        settling.settled(analyse.rows(records, thresholds)[0], plan.budget)
        for thresholds in plan.thresholds_of(records[0].cell)
    ]
    return reasons[0] if all(reasons) else ""


def log_of(results: Path, cell: Cell) -> Path:
    """Return where a bug's traceback of this cell lies, if it had one."""
    return results.with_name(f"{results.stem}-{cell.id.replace('/', '-')}.log")


def _size_of(plan: Plan, place: Place, cell: Cell) -> int:
    """Return about how large the cell's artifact is; 0 where nobody can make it."""
    try:
        request, module = cache.request_of(
            plan.models[cell.card], cell.precision, cell.runtime, cell.weights, place.cache
        )
        return module.estimate_bytes(request)
    except CpufitError:
        return 0


def _room(place: Place) -> int:
    """Return what the artifacts of a block may take, so that none is built twice."""
    room = storage.free_bytes(place.cache) + storage.total_bytes(place.cache)
    limit = place.cache_limit_bytes
    return (room if limit is None else min(room, limit)) // 2


def run_cell(
    cell: Cell,
    plan: Plan,
    place: Place,
    observer: Observer,
    checks: Checks,
    repeat: int = 0,
) -> Made:
    """Take one cell from its card to its outcome; nothing a cell does ends the run.

    A check that is not among `checks` is made and added.
    """
    try:
        _check_host(cell, plan)
        artifact, outcome, log = artifact_of(cell, plan, place, observer)
    except CpufitError as error:
        return Made(Outcome.of_error(error))
    if artifact is None or outcome is not None:
        return Made(outcome or Outcome(status="failed", reason="no artifact"), artifact, log)
    checked = _check(cell, plan, place, artifact, observer, checks)
    job = _job("measure", cell, plan, place.cache, artifact, repeat)
    start = time.monotonic()
    reply = child.ask(job, plan.budget.timeout_s, observer.stage)
    spent_s = time.monotonic() - start
    outcome = reply.outcome or Outcome(status="failed", reason="no outcome")
    notes = (*outcome.notes, *checked.notes)
    outcome = replace(outcome, numerics=checked.numerics, notes=notes)
    return Made(outcome, artifact, checked.log + reply.log, spent_s)


def _check_host(cell: Cell, plan: Plan) -> None:
    """Raise UnavailableError for what this host lacks, before anything is built."""
    check_installed(cell.runtime, plan.models[cell.card])
    if plan.scenarios[cell.scenario].procedure == "energy":
        energy.open_meter()


def artifact_of(
    cell: Cell, plan: Plan, place: Place, observer: Stages
) -> tuple[Artifact | None, Outcome | None, str]:
    """Return the artifact, or why there is none or it would not fit, and a bug's traceback."""
    model, scenario = plan.models[cell.card], plan.scenarios[cell.scenario]
    request, module = cache.request_of(
        model, cell.precision, cell.runtime, cell.weights, place.cache
    )
    artifact = cache.find(request, module, place.cache)
    problem = fit.too_large_to_run(cell, model, scenario, artifact, request, module)
    if problem is None and artifact is None:
        problem = fit.too_large_to_make(request, module, place.cache, place.cache_limit_bytes)
    if problem is not None or artifact is not None:
        return artifact, problem, ""
    observer.stage("making the artifact")
    job = _job("make", cell, plan, place.cache)
    reply = child.ask(job, _BUILD_TIMEOUT_S, observer.stage)
    return reply.artifact, reply.outcome, reply.log


def _check(
    cell: Cell,
    plan: Plan,
    place: Place,
    artifact: Artifact,
    observer: Stages,
    checks: Checks,
) -> Checked:
    """Return how exact the cell's precision is, asked once; a failure becomes a note."""
    model, key = plan.models[cell.card], checked_of(cell)
    if key not in checks and numerics.applies(cell, model):
        reply = check(cell, plan, place, artifact, observer)
        notes: tuple[str, ...] = ()
        if reply.outcome is not None:
            notes = (f"numerics not checked: {reply.outcome.reason}",)
        checks[key] = Checked(reply.numerics, notes)
        return replace(checks[key], log=reply.log)
    return checks.get(key, Checked())


def check(
    cell: Cell,
    plan: Plan,
    place: Place,
    artifact: Artifact,
    observer: Stages,
    interpreter: child.Interpreter = child.HERE,
    reference: Artifact | None = None,
) -> child.Reply:
    """Ask a process how near the cell's outputs are to float32's, or to those of `reference`."""
    # Ctrl-C kills the child; what it built for a sample must not stay behind.
    with tempfile.TemporaryDirectory(prefix="cpufit-") as scratch:
        sampled = numerics.is_sampled(cell, plan.models[cell.card])
        root = Path(scratch) if sampled else place.cache
        job = replace(_job("check", cell, plan, root, artifact), reference=reference)
        reply = child.ask(job, plan.budget.timeout_s, observer.stage, interpreter)
    _trim(artifact, place)
    return reply


def _trim(artifact: Artifact, place: Place) -> None:
    """Keep the cache below its limit: a check may have put a model in float32 there."""
    if place.cache_limit_bytes is not None:
        # Held, or else what is to be measured now might go; where it went before, its cell says so.
        with suppress(DataError), storage.held(artifact, place.cache):
            storage.make_room(place.cache, 0, place.cache_limit_bytes, 0)


def checked_of(cell: Cell) -> tuple[str, ...]:
    """Return what of a cell its precision's check depends on."""
    return cell.card, cell.precision, cell.runtime, cell.weights


def _job(
    task: Literal["make", "measure", "check"],
    cell: Cell,
    plan: Plan,
    root: Path,
    artifact: Artifact | None = None,
    repeat: int = 0,
) -> Job:
    return Job(
        task=task,
        cell=cell,
        model=plan.models[cell.card],
        scenario=plan.scenarios[cell.scenario],
        budget=plan.budget,
        cache=str(root),
        repeat=repeat,
        extra_work=plan.extra_work.get(cell.card, 0.0),
        artifact=artifact,
    )


def _record(cell: Cell, plan: Plan, here: Host, made: Made, run_id: str, repeat: int) -> Record:
    model, artifact = plan.models[cell.card], made.artifact
    if artifact is not None:  # results are passed on: where the file lay is nobody's business
        artifact = replace(artifact, path=Path(artifact.path).name)
    return Record(
        run_id=run_id,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cell=cell,
        repeat=repeat,
        spent_s=made.spent_s,
        budget=plan.budget.name,
        host=here,
        outcome=made.outcome,
        artifact=artifact,
        family=model.family,
        title=model.title,
        parent=model.parent,
        parameters=model.parameters or (artifact.parameters if artifact else 0),
        macs=model.macs,
    )


def _keep_log(outcome: Outcome, log: str, cell: Cell, results: Path) -> Outcome:
    """Write what a dead child said beside the results, so that a bug keeps its traceback."""
    path = log_of(results, cell)
    path.write_text(log, encoding="utf-8")
    if outcome.status == "ok":  # so it was the check that died
        return replace(outcome, notes=(*outcome.notes, f"the check's last words: {path.name}"))
    return replace(outcome, remedy=outcome.remedy or f"its last words are in {path}")
