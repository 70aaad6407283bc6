"""The child process: one job in as a JSON line on stdin, messages out as such on a pipe of its own.

It makes an artifact, checks a precision or measures one cell, then ends. Nothing it prints can be
mistaken for a result. Whatever the user or the host lacks becomes an Outcome; a bug keeps its
traceback.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pydantic import TypeAdapter

from cpufit import disturbance, measure
from cpufit.artifacts import cache, storage
from cpufit.errors import CpufitError, UnavailableError
from cpufit.probes import counters, energy, host, memory, micro, noise
from cpufit.runtimes import engine_of, load_runtime
from cpufit.runtimes.base import Step
from cpufit.runtimes.burdened import Burdened
from cpufit.schema import Job, Memory, Message, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cpufit.runtimes.base import Session
    from cpufit.schema import Artifact, Numerics

    Say = Callable[[Message], None]

_JOB = TypeAdapter(Job)
_MESSAGE = TypeAdapter(Message)
_IDLE_S = 2.0
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Do the job on stdin; the pipe's file descriptor is the only argument."""
    _die_with_parent()
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
    if job.task == "make":
        return Message(artifact=_make(job))
    assert job.artifact is not None
    with storage.held(job.artifact, Path(job.cache)):
        if job.task == "check":
            say(Message(stage="checking numerics"))
            return Message(numerics=_check(job, job.artifact))
        return Message(outcome=_measure(job, job.artifact, say))


def _make(job: Job) -> Artifact:
    cell, root = job.cell, Path(job.cache)
    request, module = cache.request_of(job.model, cell.precision, cell.runtime, cell.weights, root)
    return cache.make(request, module, root)


def _check(job: Job, artifact: Artifact) -> Numerics:
    from cpufit import numerics  # what it imports must not count as memory of a measured cell

    if job.reference:
        return numerics.between(job.cell, artifact, job.reference)
    return numerics.check(job.cell, job.model, artifact, Path(job.cache))


def _measure(job: Job, artifact: Artifact, say: Say) -> Outcome:
    """Load and run the scenario's procedure, with memory and noise read around it."""
    say(Message(stage="loading"))
    runtime = load_runtime(job.cell.runtime)
    meter = energy.Total(_IDLE_S) if job.scenario.procedure == "energy" else None
    if job.slice_s:  # its rival must not load at the same time
        say(Message(stage="imported"))
        sys.stdin.buffer.readline()
    options = measure.load_options(job.cell, job.scenario, job.model.task, job.repeat)
    read = _counters()  # opened before the runtime starts its threads, so that they are counted
    real, before = runtime.clock is time.perf_counter_ns, micro.probe()
    with memory.Watch(sample=job.scenario.procedure == "memory") as watch:
        start = runtime.clock()
        session = runtime.load(artifact, options)
        load_ns = runtime.clock() - start
        if job.extra_work:
            session = Burdened(session, job.extra_work, runtime.clock)
        with closing(session):
            quiet = noise.snapshot()
            measured = _run(job, session, runtime.clock, say, meter, read)
            disturbed = noise.difference(quiet, noise.snapshot())
            watch.look()
            say(Message(stage="unloading"))
    return Outcome(
        status="ok",
        stop=measured.stop,
        valid=measured.valid,
        load_ns=load_ns,
        first_ns=measured.first_ns,
        series=measured.series,
        memory=Memory(
            baseline_bytes=watch.baseline_bytes,
            peak_bytes=watch.peak_bytes,
            anon_bytes=watch.highest.anon_bytes,
            file_bytes=watch.highest.file_bytes,
            kv_cache_bytes=options.context_tokens * options.batch * artifact.kv_bytes_per_token,
            method="VmHWM since the runtime was imported; split by RssAnon and RssFile",
        ),
        settings=dict(session.settings),
        versions=dict(runtime.versions()),
        # Nothing disturbs a runtime on a clock of its own.
        noise=disturbed | micro.compared(before, micro.probe()) if real else {},
        counters=measured.counters,
        notes=(*measured.notes, *disturbance.remarks(disturbed), *artifact.notes, *session.notes),
    )


def _run(
    job: Job,
    session: Session,
    clock: Callable[[], int],
    say: Say,
    meter: energy.Total | None,
    read: Callable[[], dict[str, float]],
) -> measure.Measured:
    """Do what the scenario's procedure asks of a loaded session."""
    if job.scenario.procedure == "frames":
        return _run_frames(job, session, clock, say)
    found = measure.probes(session, job.cell, job.scenario, job.model.task, clock)
    if job.scenario.procedure == "memory":
        say(Message(stage="measuring"))
        return measure.once(found, clock)
    if meter is None:
        for probe in found:
            probe.meter = read
        if job.slice_s:
            return _in_slices(job, found, clock, say)
        return measure.time_session(found, job.budget, clock, partial(_tell, say))
    say(Message(stage="reading energy"))
    first_ns = measure.warm_up(found, job.budget, clock)
    series = measure.energy(found, job.budget, meter.joules, meter.idle_w, clock)
    return measure.Measured(first_ns=first_ns, series=series, stop="all windows read", valid=True)


def _in_slices(
    job: Job, found: Sequence[measure.Probe], clock: Callable[[], int], say: Say
) -> measure.Measured:
    """Measure a slice for each line on stdin, and say what it came to."""

    def turned(slices_ns: Sequence[float]) -> None:
        say(Message(stage="slice", slices_ns=tuple(slices_ns)))

    tell, turns = partial(_tell, say), iter(sys.stdin.buffer)
    if engine_of(job.cell.runtime).keeps_threads:  # new ones would all share the caller's core
        turns = from_core_to_core(turns)
    return measure.time_slices(found, job.budget, job.slice_s, clock, tell, turns, turned)


def from_core_to_core(turns: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the turns, every two of them on another core: the calling thread's, in either arm.

    Cores of a shared host differ by what its other guests do beside them, 1.4 times for seconds:
    arms that stay where they happen to be differ by that (docs/gate.md).
    """
    cores = host.allowed_cores()
    for number, turn in enumerate(turns):
        if cores:
            os.sched_setaffinity(0, {cores[number // 2 % len(cores)]})
        yield turn


def _counters() -> Callable[[], dict[str, float]]:
    """Return what reads the hardware counters; an empty reading where there are none."""
    try:
        return counters.Counters().read
    except UnavailableError:
        return dict


def _run_frames(job: Job, session: Session, clock: Callable[[], int], say: Say) -> measure.Measured:
    from cpufit import frames  # Pillow must not count as memory of cells that have no use for it

    around = frames.around(job.model, session)
    work = session.prepare(Step(kind="infer"))
    stages = {"preprocess": around.before, "inference": work.run, "postprocess": around.after}
    tell = partial(_tell, say)
    if job.slice_s:
        measured = _in_slices(job, [measure.whole_frame(stages)], clock, say)
    else:
        measured = measure.time_frames(stages, job.budget, clock, tell)
    return replace(measured, notes=(frames.DESCRIPTION,))


def _tell(say: Say, stage: str) -> None:
    say(Message(stage=stage))


def _send(pipe: BinaryIO, message: Message) -> None:
    pipe.write(_MESSAGE.dump_json(message) + b"\n")
    pipe.flush()


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the parent dies, however that happens."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
