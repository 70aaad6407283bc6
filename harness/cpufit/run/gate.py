"""The road of a gate: contests in, pairs in rounds until each is decided, a verdict out.

artifacts (made once, for both arms) -> exact facts: sizes, numerics -> screen: rounds of pairs,
cells shuffled -> what is flagged: fresh pairs in further rounds -> judged.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Protocol

from cpufit import numerics
from cpufit.artifacts import storage
from cpufit.errors import CpufitError, DataError
from cpufit.gating import verdict
from cpufit.gating.pairs import Facts, Trial
from cpufit.probes.memory import host_available_bytes
from cpufit.run import arms, duel, flow
from cpufit.schema import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.gating.pairs import Pair, Stage
    from cpufit.gating.verdict import Found
    from cpufit.run.arms import Arm
    from cpufit.run.flow import Place
    from cpufit.run.request import Plan
    from cpufit.schema import Artifact, Cell

    Cosines = tuple[float | None, float | None]  # of before's outputs, and after's
    Checked = dict[tuple[tuple[str, ...], ...], Cosines]

_DEATHS = 3  # of processes, before a cell is given up
_ROOM = 1.3  # of both artifacts' bytes, for what else two processes hold
_NO_ROOM = "the memory does not hold both processes: they follow one another, which sees less"


@dataclass(frozen=True, kw_only=True)
class Match:
    """All that is decided before the first pair; of each two, before comes first."""

    contests: tuple[tuple[Cell, Cell], ...]  # the two differ where two model files are compared
    plans: tuple[Plan, Plan]  # the same, but for two model files
    arms: tuple[Arm, Arm]
    max_s: float = float("inf")
    extra_work: float = 0.0  # behind each request of after's arm: the self-test's


class Observer(Protocol):
    """Who watches a gate."""

    def began(self, match: Match) -> None:
        """Hear what will be compared."""

    def started(self, cell: Cell) -> None:
        """Hear that a cell's turn has come."""

    def stage(self, text: str) -> None:
        """Hear what a process does."""

    def fought(self, found: Found, stage: Stage, left: int) -> None:
        """Hear what a cell's pairs say so far, and how many cells want further pairs."""


@dataclass
class _Ring:
    """A contest under way."""

    trial: Trial
    jobs: tuple[Job, ...] = ()
    whole: bool = False
    after_first: bool = False  # in every other pair
    deaths: int = 0
    pairs: list[Pair] = field(default_factory=list)


def go(match: Match, place: Place, observer: Observer) -> list[Found]:
    """Take pairs of every contest until each is decided or the time is over."""
    observer.began(match)
    end, random = time.monotonic() + match.max_s, Random(0)  # noqa: S311 - not for secrets
    with ExitStack() as held:
        rings = _rings(match, place, observer, held)
        while due := [(ring, stage) for ring in rings if (stage := _wants(ring, rings))]:
            random.shuffle(due)
            for ring, stage in due:
                if time.monotonic() > end:
                    return _found(rings)
                observer.started(ring.trial.cell)
                _one_pair(ring, stage, match, observer)
                observer.fought(_judged(ring, rings), stage, len(due))
    return _found(rings)


def record(match: Match, count: int, place: Place, observer: Observer) -> list[Trial]:
    """Take so many pairs of every contest, in rounds, whatever they say."""
    observer.began(match)
    random = Random(0)  # noqa: S311 - not for secrets
    with ExitStack() as held:
        rings = _rings(match, place, observer, held)
        for left in range(count, 0, -1):
            random.shuffle(rings)
            for ring in rings:
                if not ring.trial.problem:
                    observer.started(ring.trial.cell)
                    _one_pair(ring, "screen", match, observer)
                    observer.fought(_judged(ring, rings), "screen", left)
    return [ring.trial for ring in rings]


def _rings(match: Match, place: Place, observer: Observer, held: ExitStack) -> list[_Ring]:
    if match.arms[0] != match.arms[1]:
        for arm in match.arms:
            arms.evict(arm)
    checked: Checked = {}
    rings = [_ready(contest, match, place, observer, held, checked) for contest in match.contests]
    for ring in rings[::2]:  # so that either arm starts in half of the cells
        ring.after_first = True
    return rings


def _ready(
    contest: tuple[Cell, Cell],
    match: Match,
    place: Place,
    observer: Observer,
    held: ExitStack,
    checked: Checked,
) -> _Ring:
    """Make both artifacts and keep them, or say why there is nothing to compare."""
    against, cell = contest
    ring = _Ring(Trial(cell=cell, against=against, margins=match.plans[1].margins_of(cell)))
    observer.started(cell)
    try:
        both = [
            _artifact(one, plan, place, observer, held)
            for one, plan in zip(contest, match.plans, strict=True)
        ]
    except CpufitError as error:
        ring.trial = replace(ring.trial, problem=str(error))
        return ring
    ring.jobs = tuple(
        _job(one, plan, place, artifact, extra_work)
        for one, plan, artifact, extra_work in zip(
            contest, match.plans, both, (0.0, match.extra_work), strict=True
        )
    )
    sliced = ring.jobs[0].scenario.procedure in duel.SLICED
    fits = _ROOM * sum(artifact.size_bytes for artifact in both) < host_available_bytes()
    ring.whole = not (sliced and fits)
    what = tuple(flow.checked_of(one) for one in contest)
    if what not in checked:  # cells with other threads or another scenario have the same outputs
        checked[what] = _cosines(contest, both, match, place, observer)
    before, after = (
        Facts(size_bytes=artifact.size_bytes, cosine=cosine)
        for artifact, cosine in zip(both, checked[what], strict=True)
    )
    notes = (_NO_ROOM,) if sliced and not fits else ()
    ring.trial = replace(ring.trial, before=before, after=after, notes=notes)
    return ring


def _artifact(
    cell: Cell, plan: Plan, place: Place, observer: Observer, held: ExitStack
) -> Artifact:
    """Return a cell's artifact, in use until the gate ends; raise CpufitError for why not."""
    artifact, problem, log = flow.artifact_of(cell, plan, place, observer)
    if artifact is None or problem is not None:
        raise DataError(problem.why_and_remedy if problem else f"the artifact was not made:\n{log}")
    held.enter_context(storage.held(artifact, place.cache))
    return artifact


def _job(cell: Cell, plan: Plan, place: Place, artifact: Artifact, extra_work: float) -> Job:
    return Job(
        task="measure",
        cell=cell,
        model=plan.models[cell.card],
        scenario=plan.scenarios[cell.scenario],
        budget=plan.budget,
        cache=str(place.cache),
        artifact=artifact,
        extra_work=extra_work,
        slice_s=duel.SLICE_S,
    )


def _cosines(
    contest: tuple[Cell, Cell],
    both: Sequence[Artifact],
    match: Match,
    place: Place,
    observer: Observer,
) -> Cosines:
    """Return how near each arm's outputs are to float32's; new model files' to the old one's."""
    (against, cell), (before, after) = contest, match.arms
    plan = match.plans[1]
    if match.plans[0] is not plan:
        reply = flow.check(
            cell, plan, place, both[1], observer, after.interpreter, reference=both[0]
        )
        return (1.0, reply.numerics.cosine) if reply.numerics else (None, None)
    if not numerics.applies(cell, plan.models[cell.card]):
        return None, None
    replies = [
        flow.check(one, plan, place, artifact, observer, arm.interpreter)
        for one, artifact, arm in ((against, both[0], before), (cell, both[1], after))
    ]
    first, second = (reply.numerics.cosine if reply.numerics else None for reply in replies)
    return first, second


def _one_pair(ring: _Ring, stage: Stage, match: Match, observer: Observer) -> None:
    number = len(ring.pairs)
    before, after = (
        duel.Side(job=replace(job, repeat=number), interpreter=arm.interpreter)
        for job, arm in zip(ring.jobs, match.arms, strict=True)
    )
    made = duel.fight(
        before,
        after,
        stage,
        after_first=ring.after_first ^ bool(number % 2),
        whole=ring.whole,
        on_stage=observer.stage,
    )
    if made.pair is not None:
        ring.pairs.append(made.pair)
        ring.trial = replace(ring.trial, pairs=tuple(ring.pairs))
        return
    assert made.problem is not None
    ring.deaths += 1
    if ring.deaths == _DEATHS or made.problem.status in ("unsupported", "unavailable"):
        ring.trial = replace(ring.trial, problem=made.problem.why_and_remedy)


def _wants(ring: _Ring, rings: Sequence[_Ring]) -> Stage | None:
    return verdict.wants(ring.trial, _tested(rings))


def _judged(ring: _Ring, rings: Sequence[_Ring]) -> Found:
    return verdict.judge(ring.trial, _tested(rings))


def _tested(rings: Sequence[_Ring]) -> int:
    return verdict.tested([ring.trial for ring in rings])


def _found(rings: Sequence[_Ring]) -> list[Found]:
    return [_judged(ring, rings) for ring in rings]
