"""One pair: two fresh processes of a cell, both alive, that take turns in short slices.

On a shared machine two processes that follow each other differ by twice as much as two that
alternate within seconds: what varies is the host's mood, and they share it. The one that waits is
stopped (SIGSTOP): idle threads of ONNX Runtime spin, which made the other one's slices differ by
60 % where they differ by 5 without (docs/gate.md). On a quiet host four slices of either say as
much as sixteen, so a pair ends once its slices agree. Where the memory does not hold both, or the
scenario has no slices, whole processes follow one another.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psutil

from cpufit.gating.pairs import Pair, changes_of, settled, values_of
from cpufit.probes import noise
from cpufit.run import child
from cpufit.schema import Outcome
from cpufit.stats import disturbance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cpufit.gating.pairs import Stage
    from cpufit.run.child import Child, Interpreter, Reply
    from cpufit.schema import Measure

SLICE_S = 0.05
_FEWEST, _MOST = 4, 16  # slices of either process; between them, until they agree
_ROUND = 4  # turns, A B B A B A A B: each has its slices back to back as often as the other
_PAIR_S = 10.0  # no more than the fewest are started beyond it


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one arm runs."""

    job: Measure
    interpreter: Interpreter


@dataclass(frozen=True)
class Taken:
    """A pair, or why there is none."""

    pair: Pair | None = None
    problem: Outcome | None = None
    log: str = ""


def take(
    before: Side,
    after: Side,
    stage: Stage,
    *,
    after_first: bool,
    whole: bool,
    on_stage: Callable[[str], None],
) -> Taken:
    """Let both run; the one that starts also goes first in the first slice.

    What else the host did is counted from the first process's start to the last one's end.
    """
    sides = (after, before) if after_first else (before, after)
    start = noise.snapshot()
    replies = (_one_after_the_other if whole else _in_slices)(sides, on_stage)
    seen = noise.difference(start, noise.snapshot())
    outcomes = [reply.outcome for reply in replies if reply.outcome]
    bad = next((reply for reply in replies if not reply.outcome or _failed(reply.outcome)), None)
    if bad is not None or len(outcomes) < len(sides):
        lost = Outcome(status="failed", reason="a process ended before its time")
        return Taken(problem=(bad and bad.outcome) or lost, log=bad.log if bad else "")
    if after_first:
        outcomes.reverse()
    real = all(outcome.noise for outcome in outcomes)  # none on a clock of its own
    return Taken(
        pair=Pair(
            stage=stage,
            before=values_of(outcomes[0]),
            after=values_of(outcomes[1]),
            changes={} if whole else changes_of(outcomes[0], outcomes[1]),
            disturbed=_disturbed(seen, whole=whole) if real else (),
            whole=whole,
            after_first=after_first,
        )
    )


def _disturbed(seen: Mapping[str, float], *, whole: bool) -> tuple[str, ...]:
    steal = disturbance.STEAL_SHARE if whole else disturbance.SHARED_STEAL_SHARE
    return disturbance.reasons(seen, float(psutil.cpu_count() or 1), steal)


def _failed(outcome: Outcome) -> bool:
    return outcome.status != "ok"


def _in_slices(sides: Sequence[Side], on_stage: Callable[[str], None]) -> list[Reply]:
    """Return both replies, or that of the process which ended before its time."""
    with ExitStack() as stack:
        alive = [
            stack.enter_context(
                child.Child(side.job, side.job.budget.timeout_s, on_stage, side.interpreter)
            )
            for side in sides
        ]
        for one in alive:
            if not one.wait("imported"):
                return [one.reply()]
        for one in alive:  # each loads and warms up alone: so its load time is its own
            one.go()
            if not one.wait("ready"):
                return [one.reply()]
            one.rest()
        lost = next((one for one in alive if not _slice(one)), None)  # a rehearsal
        lost = lost or _take_turns(alive)
        return [lost.reply()] if lost else [_ended(one) for one in alive]


def _take_turns(alive: Sequence[Child]) -> Child | None:
    """Let both do slices until these agree; return the one that ended before its time, if any."""
    began = time.monotonic()
    done: tuple[list[Sequence[float]], ...] = tuple([] for _ in alive)
    for turn in range(_MOST):
        order = [*zip(alive, done, strict=True)]
        for one, slices in reversed(order) if turn % _ROUND in (1, 2) else order:
            if not _slice(one):
                return one
            slices.append(one.slices_ns)
        if turn + 1 < _FEWEST or (turn + 1) % _ROUND:
            continue
        if settled(*done) or time.monotonic() - began > _PAIR_S:
            break
    return None


def _slice(one: Child) -> bool:
    """Let it do a slice; return whether it did."""
    one.go()
    done = one.wait("slice")
    if done:
        one.rest()
    return done


def _ended(one: child.Child) -> Reply:
    one.go(last=True)
    one.wait()
    return one.reply()


def _one_after_the_other(sides: Sequence[Side], on_stage: Callable[[str], None]) -> list[Reply]:
    replies = []
    for side in sides:
        job = replace(side.job, slice_s=0.0)
        replies.append(child.ask(job, job.budget.timeout_s, on_stage, side.interpreter))
        if not replies[-1].outcome or _failed(replies[-1].outcome):
            break
    return replies
