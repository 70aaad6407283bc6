"""The stages of a cell's way: ordered, fits, built, checked, measured. Each hands on one thing.

Nothing that a cell does ends the run: what goes wrong is an `Ended` with its outcome.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cpufit import temporary
from cpufit.artifacts import asis, cache, storage
from cpufit.errors import CpufitError, DataError
from cpufit.measuring import numerics, procedures
from cpufit.run import child, fit
from cpufit.schema import Check, Make, Measure, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cpufit.plan.request import Plan
    from cpufit.schema import Artifact, Cell, Numerics, Order, Record

_BUILD_TIMEOUT_S = 1800.0
_LOADING = "loading"  # what a process says that measures (`worker`)


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


@dataclass(frozen=True, kw_only=True)
class Road:
    """What every cell of a run finds on its way."""

    plan: Plan
    place: Place
    say: Callable[[str], None]  # hears what a process does
    checks: dict[tuple[str, ...], Checked] = field(default_factory=dict)  # each made once
    unloadable: dict[tuple[str, ...], Outcome] = field(default_factory=dict)  # of users' own files


@dataclass(frozen=True)
class Ended:
    """A process's outcome, with its artifact where there was one."""

    outcome: Outcome
    artifact: Artifact | None = None
    log: str = ""  # the traceback of a bug
    spent_s: float = 0.0  # by the measuring process alone


def run_cell(cell: Cell, road: Road, before: Sequence[Record] = ()) -> Ended:
    """Take one more process of a cell from its card to its outcome, after those before it."""
    artifact: Artifact | None = None
    try:
        made = built(cell, road.plan.order(cell, road.place.cache), road)
        if isinstance(made, Ended):
            return made
        artifact = made
        if any(r.artifact and r.artifact.key != artifact.key for r in before):
            raise cache.replaced(Path(artifact.path).name)
        if known := road.unloadable.get(checked_of(cell)):
            return Ended(known, artifact)
        return measured(cell, artifact, checked(cell, artifact, road), road, len(before))
    except CpufitError as error:
        return Ended(Outcome.of_error(error), artifact)


def built(cell: Cell, order: Order, road: Road) -> Artifact | Ended:
    """Return the artifact, made where the cache lacks it; or why there is none, or no room."""
    plan, place = road.plan, road.place
    artifact = cache.find(order, place.cache)
    scenario = plan.scenarios[cell.scenario]
    procedure = procedures.procedure(scenario.procedure)
    scenario, _ = procedure.fitted(scenario, order.model.longest_text)
    options = procedure.options(cell, scenario, order.model.task)
    problem = fit.too_large_to_run(options, artifact, order)
    if problem is None and artifact is None:
        problem = fit.too_large_to_make(order, place.cache, place.cache_limit_bytes)
    if problem is not None:
        return Ended(problem, artifact)
    if artifact is not None:
        return artifact
    road.say("making the artifact")
    made = _make(order, road)
    if isinstance(made, Ended):
        return made
    problem = fit.too_large_to_run(options, made, order)  # now its inputs and its cache are known
    return Ended(problem, made) if problem else made


def _make(order: Order, road: Road) -> Artifact | Ended:
    """Have the artifact made, in a process of its own; nothing is made of a file as it is.

    But that is run once in the process where it leaves open at which sizes.
    """
    if order.builder == "asis" and not asis.tries(order):  # a process of its own has read it
        return cache.make(order, road.place.cache)
    job = Make(order=order, cache=str(road.place.cache))
    reply = child.ask(job, _BUILD_TIMEOUT_S, road.say)
    return reply.artifact or Ended(_outcome(reply), log=reply.log)


def checked(cell: Cell, artifact: Artifact, road: Road) -> Checked:
    """Return how exact the cell's precision is, asked once; a failure becomes a note."""
    model, key = road.plan.models[cell.card], checked_of(cell)
    if key not in road.checks and numerics.applies(cell, model):
        reply = compared(cell, artifact, road)
        notes: tuple[str, ...] = ()
        if reply.outcome is not None:
            notes = (f"numerics not checked: {reply.outcome.reason}",)
        road.checks[key] = Checked(reply.numerics, notes)
        return replace(road.checks[key], log=reply.log)
    return road.checks.get(key, Checked())


def compared(
    cell: Cell,
    artifact: Artifact,
    road: Road,
    interpreter: child.Interpreter = child.HERE,
    reference: Artifact | None = None,
) -> child.Reply:
    """Ask a process how near the cell's outputs are to float32's, or to those of `reference`."""
    model, place = road.plan.models[cell.card], road.place
    # Ctrl-C kills the child; what it built for a sample must not stay behind.
    with temporary.folder() as scratch:
        root = scratch if numerics.is_sampled(cell, model) else place.cache
        job = Check(cell=cell, model=model, cache=str(root), artifact=artifact, reference=reference)
        reply = child.ask(job, road.plan.budget.timeout_s, road.say, interpreter)
    _trim(artifact, place)
    return reply


def measured(cell: Cell, artifact: Artifact, check: Checked, road: Road, repeat: int) -> Ended:
    """Let a fresh process measure the cell."""
    job, start = job_of(cell, artifact, road, repeat=repeat), time.monotonic()
    reply = child.ask(job, road.plan.budget.timeout_s, road.say)
    spent_s, outcome = time.monotonic() - start, _outcome(reply)
    if road.plan.models[cell.card].file and _never_loads(reply):  # nor would it for other cells
        road.unloadable[checked_of(cell)] = outcome
    outcome = replace(outcome, numerics=check.numerics, notes=(*outcome.notes, *check.notes))
    return Ended(outcome, artifact, check.log + reply.log, spent_s)


def job_of(
    cell: Cell, artifact: Artifact, road: Road, *, repeat: int = 0, slice_s: float = 0.0
) -> Measure:
    """Return what a process is asked that measures a cell."""
    plan = road.plan
    return Measure(
        cell=cell,
        model=plan.models[cell.card],
        scenario=procedures.to_wire(plan.scenarios[cell.scenario]),
        budget=plan.budget,
        cache=str(road.place.cache),
        artifact=artifact,
        stamp=cache.stamp(Path(artifact.path)),
        repeat=repeat,
        extra_work=plan.extra_work.get(cell.card, 0.0),
        slice_s=slice_s,
    )


def checked_of(cell: Cell) -> tuple[str, ...]:
    """Return what of a cell its precision's check depends on."""
    return cell.card, cell.precision, cell.runtime, cell.weights


def _outcome(reply: child.Reply) -> Outcome:
    return reply.outcome or Outcome(status="failed", reason="the process said nothing of a result")


def _never_loads(reply: child.Reply) -> bool:
    """Whether the file itself is at fault: not its scenario's size, nor a lack of memory."""
    ended = reply.outcome.status if reply.outcome else ""
    told = ended == "failed" and not reply.log
    return reply.stage == _LOADING and (told or ended in ("crashed", "timeout"))


def _trim(artifact: Artifact, place: Place) -> None:
    """Keep the cache below its limit: a check may have put a model in float32 there."""
    if place.cache_limit_bytes is not None:
        # Held, or else what is to be measured now might go; where it went before, its cell says so.
        with suppress(DataError), storage.held(artifact, place.cache):
            storage.make_room(place.cache, 0, place.cache_limit_bytes, 0)
