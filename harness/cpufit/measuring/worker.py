"""The child process: one job in as a JSON line on stdin, messages out as such on a pipe of its own.

It makes an artifact, checks a precision or measures one cell, then ends. Nothing it prints can be
mistaken for a result. Whatever the user or the host lacks becomes an Outcome; a bug keeps its
traceback.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pydantic_core
from pydantic import TypeAdapter

from cpufit import confined
from cpufit.artifacts import cache, storage
from cpufit.errors import CpufitError
from cpufit.measuring import around, cores, procedures
from cpufit.measuring.slices import Turns
from cpufit.runtimes import engine_of, load_runtime
from cpufit.schema import Job, Make, Measure, Message, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cpufit.runtimes.base import Runtime
    from cpufit.schema import Check, Numerics

    Say = Callable[[Message], None]

_JOB: TypeAdapter[Job] = TypeAdapter(Job)


def main() -> int:
    """Do the job on stdin; the pipe's file descriptor is the only argument."""
    confined.expendable()
    with open(int(sys.argv[1]), "wb") as pipe:  # noqa: PTH123 - a descriptor, not a path
        job = _JOB.validate_json(sys.stdin.buffer.readline())
        _do(job, lambda message: _send(pipe, message))
    return 0


def _do(job: Job, say: Say) -> None:
    try:
        say(_answer(job, say))
    except CpufitError as error:
        say(Message(outcome=Outcome.of_error(error)))
    except MemoryError:
        say(Message(outcome=Outcome(status="oom", reason="the process ran out of memory")))


def _answer(job: Job, say: Say) -> Message:
    if isinstance(job, Make):
        return Message(artifact=cache.make(job.order, Path(job.cache)))
    with storage.held(job.artifact, Path(job.cache)):
        if isinstance(job, Measure):
            outcome = _measure(job, say)
            if job.stamp:
                cache.check_same(job.artifact, job.stamp)
            return Message(outcome=outcome)
        say(Message(stage="checking numerics"))
        return Message(numerics=_check(job))


def _check(job: Check) -> Numerics:
    from cpufit.measuring import numerics  # its imports must not count as a measured cell's memory

    if job.reference:
        return numerics.between(job.cell, job.artifact, job.reference)
    return numerics.check(job.cell, job.model, job.artifact, Path(job.cache))


def _measure(job: Measure, say: Say) -> Outcome:
    """Load and run the scenario's procedure."""

    def tell(stage: str) -> None:
        say(Message(stage=stage))

    def wait() -> None:
        """Let a rival load first: both must not load at the same time."""
        if job.slice_s:
            tell("imported")
            sys.stdin.buffer.readline()

    tell("loading")
    runtime, scenario = load_runtime(job.cell.runtime), procedures.from_wire(job.scenario)
    move = cores.mover(job.repeat) if _may_move(job, runtime) else cores.stay
    turns = _turns(job, say, move) if job.slice_s else None
    procedure = procedures.procedure(scenario.procedure)
    scenario, left_out = procedure.fitted(scenario, job.model.longest_text)
    outcome = around.measure(job, runtime, procedure, scenario, tell, turns, move, wait)
    return replace(outcome, notes=(*left_out, *outcome.notes))


def _may_move(job: Measure, runtime: Runtime) -> bool:
    """Whether its requests come from each core in turn.

    Not those of a runtime on a clock of its own, which no core makes slower, nor where threads are
    started for a request: they would all share the caller's core. Beside a pool's threads the first
    request on another core took twice as long (ONNX Runtime, two threads on two cores), which both
    arms of a gate share, but a figure must not have.
    """
    keeps = engine_of(job.cell.runtime).keeps_threads and runtime.clock is time.perf_counter_ns
    return keeps and (job.slice_s > 0 or job.cell.threads == 1)


def _turns(job: Measure, say: Say, move: cores.Move) -> Turns:
    """Do a slice for each line on stdin, and say what it came to."""

    def done(slices_ns: Sequence[float]) -> None:
        say(Message(stage="slice", slices_ns=tuple(slices_ns)))

    return Turns(job.slice_s, cores.in_turns(sys.stdin.buffer, move), done)


def _send(pipe: BinaryIO, message: Message) -> None:
    pipe.write(pydantic_core.to_json(message, inf_nan_mode="constants") + b"\n")
    pipe.flush()


if __name__ == "__main__":
    sys.exit(main())
