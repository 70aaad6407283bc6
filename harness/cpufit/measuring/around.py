"""What surrounds a measurement: the clock, memory, noise and counters, read around a procedure."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from cpufit.errors import UnavailableError
from cpufit.measuring.bench import Bench
from cpufit.measuring.burdened import Burdened
from cpufit.probes import counters, memory, micro, noise
from cpufit.schema import Memory, Outcome
from cpufit.stats import disturbance

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpufit.measuring.cores import Move
    from cpufit.measuring.probe import Meter
    from cpufit.measuring.procedures.base import Procedure
    from cpufit.measuring.slices import Turns
    from cpufit.runtimes.base import LoadOptions, Runtime, Session
    from cpufit.schema import Measure, Scenario


def measure(
    job: Measure,
    runtime: Runtime,
    procedure: Procedure,
    scenario: Scenario,
    say: Callable[[str], None],
    turns: Turns | None,
    move: Move,
    wait: Callable[[], None],
) -> Outcome:
    """Load, let the procedure measure, and unload; `wait` returns when it may load."""
    idle = procedure.before()
    wait()
    options = procedure.options(job.cell, scenario, job.model.task, job.repeat)
    meter = _counters()  # opened before the runtime starts its threads, so that they are counted
    real, before = runtime.clock is time.perf_counter_ns, micro.probe()
    with memory.Watch(sample=procedure.watches_memory) as watch:
        session, load_ns = _loaded(job, runtime, options)
        with closing(session):
            say("preparing")
            quiet = noise.snapshot()
            measured = procedure.measure(
                Bench(
                    session=session,
                    cell=job.cell,
                    model=job.model,
                    scenario=scenario,
                    budget=job.budget,
                    clock=runtime.clock,
                    say=say,
                    meter=meter,
                    turns=turns,
                    move=move,
                    idle=idle,
                )
            )
            disturbed = noise.difference(quiet, noise.snapshot())
            watch.look()
            odd = _odd(session) if real else ()
            say("unloading")
    return Outcome(
        status="ok",
        stop=measured.stop,
        valid=measured.valid,
        load_ns=load_ns,
        first_ns=measured.first_ns,
        series=measured.series,
        memory=_memory(watch, options, job.artifact.kv_bytes_per_token),
        settings=dict(session.settings),
        versions=dict(runtime.versions()),
        # Nothing disturbs a runtime on a clock of its own.
        noise=disturbed | micro.compared(before, micro.probe()) if real else {},
        counters=measured.counters,
        notes=(
            *measured.notes,
            *disturbance.remarks(disturbed),
            *job.artifact.notes,
            *session.notes,
            *odd,
        ),
    )


def _odd(session: Session) -> tuple[str, ...]:
    """Return notes on the last outputs; their copies must not count as memory."""
    from cpufit.measuring import finite

    return finite.remarks(session.outputs())


def _loaded(job: Measure, runtime: Runtime, options: LoadOptions) -> tuple[Session, int]:
    start = runtime.clock()
    session = runtime.load(job.artifact, options)
    load_ns = runtime.clock() - start
    if job.extra_work:
        session = Burdened(session, job.extra_work, runtime.clock)
    return session, load_ns


def _memory(watch: memory.Watch, options: LoadOptions, kv_bytes_per_token: int) -> Memory:
    return Memory(
        baseline_bytes=watch.baseline_bytes,
        peak_bytes=watch.peak_bytes,
        anon_bytes=watch.highest.anon_bytes,
        file_bytes=watch.highest.file_bytes,
        kv_cache_bytes=options.context_tokens * options.batch * kv_bytes_per_token,
        method="VmHWM since the runtime was imported; split by RssAnon and RssFile",
    )


def _counters() -> Meter:
    """Return what reads the hardware counters; an empty reading where there are none."""
    try:
        return counters.Counters().read
    except UnavailableError:
        return dict
