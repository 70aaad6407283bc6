"""The road of a gate: cells in, pairs in rounds until each is decided, a verdict out.

artifacts (made once, for both arms) -> exact facts: sizes, numerics -> screen: rounds of pairs,
cells shuffled -> what is flagged: fresh pairs in further rounds -> judged.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Protocol

from cpufit.artifacts import storage
from cpufit.errors import CpufitError, DataError
from cpufit.gating import verdict
from cpufit.gating.pairs import Facts, Trial
from cpufit.measuring import numerics
from cpufit.measuring.procedures import procedure
from cpufit.probes.memory import host_available_bytes
from cpufit.run import stages
from cpufit.run.gate import arms, pair
from cpufit.run.stages import Ended, Road

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.gating.pairs import Pair, Stage
    from cpufit.gating.verdict import Found
    from cpufit.plan.request import Plan
    from cpufit.run.gate.arms import Arm
    from cpufit.run.stages import Place
    from cpufit.schema import Artifact, Cell, Measure

    Cosines = tuple[float | None, float | None]  # of before's outputs, and after's
    Checked = dict[tuple[tuple[str, ...], ...], Cosines]

_DEATHS = 3  # of processes, before a cell is given up
_ROOM = 1.3  # of both artifacts' bytes, for what else two processes hold
_NO_ROOM = "the memory does not hold both processes: they follow one another, which sees less"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """All that is decided before the first pair; of each two, before comes first."""

    cells: tuple[tuple[Cell, Cell], ...]  # the two differ where two model files are compared
    plans: tuple[Plan, Plan]  # the same, but for two model files
    arms: tuple[Arm, Arm]
    max_s: float = float("inf")
    extra_work: float = 0.0  # behind each request of after's arm: the self-test's


class Observer(Protocol):
    """Who watches a gate."""

    def began(self, setup: Setup) -> None:
        """Hear what will be compared."""

    def started(self, cell: Cell) -> None:
        """Hear that a cell's turn has come."""

    def stage(self, text: str) -> None:
        """Hear what a process does."""

    def paired(self, found: Found, stage: Stage, left: int) -> None:
        """Hear what a cell's pairs say so far, and how many cells want further pairs."""


@dataclass
class _Running:
    """A trial under way."""

    trial: Trial
    jobs: tuple[Measure, ...] = ()
    whole: bool = False
    after_first: bool = False  # in every other pair
    deaths: int = 0
    pairs: list[Pair] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Gate:
    """What every trial of a gate shares."""

    setup: Setup
    roads: tuple[Road, Road]
    held: ExitStack  # artifacts in use until the gate ends
    checked: Checked = field(default_factory=dict)


def go(setup: Setup, place: Place, observer: Observer) -> list[Found]:
    """Take pairs of every cell until each is decided or the time is over."""
    observer.began(setup)
    end, random = time.monotonic() + setup.max_s, Random(0)  # noqa: S311 - not for secrets
    with ExitStack() as held:
        trials = _trials(setup, place, observer, held)
        while due := [(one, stage) for one in trials if (stage := _wants(one, trials))]:
            random.shuffle(due)
            for one, stage in due:
                if time.monotonic() > end:
                    return _found(trials)
                observer.started(one.trial.cell)
                _one_pair(one, stage, setup, observer)
                observer.paired(_judged(one, trials), stage, len(due))
    return _found(trials)


def record(setup: Setup, count: int, place: Place, observer: Observer) -> list[Trial]:
    """Take so many pairs of every cell, in rounds, whatever they say."""
    observer.began(setup)
    random = Random(0)  # noqa: S311 - not for secrets
    with ExitStack() as held:
        trials = _trials(setup, place, observer, held)
        for left in range(count, 0, -1):
            random.shuffle(trials)
            for one in trials:
                if not one.trial.problem:
                    observer.started(one.trial.cell)
                    _one_pair(one, "screen", setup, observer)
                    observer.paired(_judged(one, trials), "screen", left)
    return [one.trial for one in trials]


def _trials(setup: Setup, place: Place, observer: Observer, held: ExitStack) -> list[_Running]:
    if setup.arms[0] != setup.arms[1]:
        for arm in setup.arms:
            arms.evict(arm)
    before, after = (Road(plan=plan, place=place, say=observer.stage) for plan in setup.plans)
    gate = _Gate(setup=setup, roads=(before, after), held=held)
    trials = [_ready(cells, gate, observer) for cells in setup.cells]
    for one in trials[::2]:  # so that either arm starts in half of the cells
        one.after_first = True
    return trials


def _ready(cells: tuple[Cell, Cell], gate: _Gate, observer: Observer) -> _Running:
    """Make both artifacts and keep them, or say why there is nothing to compare."""
    against, cell = cells
    margins = gate.setup.plans[1].margins_of(cell)
    one = _Running(Trial(cell=cell, against=against, margins=margins))
    observer.started(cell)
    try:
        artifacts = [
            _artifact(each, road, gate.held) for each, road in zip(cells, gate.roads, strict=True)
        ]
    except CpufitError as error:
        one.trial = replace(one.trial, problem=str(error))
        return one
    before, after = (
        stages.job_of(each, artifact, road, slice_s=pair.SLICE_S)
        for each, artifact, road in zip(cells, artifacts, gate.roads, strict=True)
    )
    one.jobs = (before, replace(after, extra_work=gate.setup.extra_work))
    scenario = gate.setup.plans[1].scenarios[cell.scenario]
    sliced = procedure(scenario.procedure).sliced
    fits = _ROOM * sum(artifact.size_bytes for artifact in artifacts) < host_available_bytes()
    one.whole = not (sliced and fits)
    facts = [
        Facts(size_bytes=artifact.size_bytes, cosine=cosine)
        for artifact, cosine in zip(artifacts, _checked(cells, artifacts, gate), strict=True)
    ]
    notes = (_NO_ROOM,) if sliced and not fits else ()
    one.trial = replace(one.trial, before=facts[0], after=facts[1], notes=notes)
    return one


def _artifact(cell: Cell, road: Road, held: ExitStack) -> Artifact:
    """Return a cell's artifact, in use until the gate ends; raise CpufitError for why not."""
    made = stages.built(cell, road.plan.order(cell, road.place.cache), road)
    if isinstance(made, Ended):
        log = f"\n{made.log}" if made.log else ""
        raise DataError(f"{made.outcome.why_and_remedy}{log}")
    held.enter_context(storage.held(made, road.place.cache))
    return made


def _checked(cells: tuple[Cell, Cell], artifacts: Sequence[Artifact], gate: _Gate) -> Cosines:
    """Return how exact both arms are; asked once of cells that have the same outputs."""
    what = tuple(stages.checked_of(each) for each in cells)
    if what not in gate.checked:
        gate.checked[what] = _cosines(cells, artifacts, gate)
    return gate.checked[what]


def _cosines(cells: tuple[Cell, Cell], artifacts: Sequence[Artifact], gate: _Gate) -> Cosines:
    """Return how near each arm's outputs are to float32's; new model files' to the old one's."""
    (_, cell), setup, (old, new) = cells, gate.setup, artifacts
    if setup.plans[0] is not setup.plans[1]:
        where = setup.arms[1].interpreter
        reply = stages.compared(cell, new, gate.roads[1], where, reference=old)
        return (1.0, reply.numerics.cosine) if reply.numerics else (None, None)
    if not numerics.applies(cell, setup.plans[1].models[cell.card]):
        return None, None
    replies = [
        stages.compared(each, artifact, gate.roads[1], arm.interpreter)
        for each, artifact, arm in zip(cells, artifacts, setup.arms, strict=True)
    ]
    first, second = (reply.numerics.cosine if reply.numerics else None for reply in replies)
    return first, second


def _one_pair(one: _Running, stage: Stage, setup: Setup, observer: Observer) -> None:
    number = len(one.pairs)
    before, after = (
        pair.Side(job=replace(job, repeat=number), interpreter=arm.interpreter)
        for job, arm in zip(one.jobs, setup.arms, strict=True)
    )
    made = pair.take(
        before,
        after,
        stage,
        after_first=one.after_first ^ bool(number % 2),
        whole=one.whole,
        on_stage=observer.stage,
    )
    if made.pair is not None:
        one.pairs.append(made.pair)
        one.trial = replace(one.trial, pairs=tuple(one.pairs))
        return
    assert made.problem is not None
    one.deaths += 1
    if one.deaths == _DEATHS or made.problem.status in ("unsupported", "unavailable"):
        one.trial = replace(one.trial, problem=made.problem.why_and_remedy)


def _wants(one: _Running, trials: Sequence[_Running]) -> Stage | None:
    return verdict.wants(one.trial, _tested(trials))


def _judged(one: _Running, trials: Sequence[_Running]) -> Found:
    return verdict.judge(one.trial, _tested(trials))


def _tested(trials: Sequence[_Running]) -> int:
    return verdict.tested([one.trial for one in trials])


def _found(trials: Sequence[_Running]) -> list[Found]:
    return [_judged(one, trials) for one in trials]
