"""ONNX Runtime serving several requests at once: one process for each thread, one thread for each.

ONNX Runtime has no streams of its own. Several sessions in one process would share an allocator and
wake each other's threads, so its users start several processes; so does this.
"""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cpufit.errors import DataError
from cpufit.runtimes.base import Step, Work
from cpufit.runtimes.onnxruntime.one_pass import OnnxPassSession

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection

    from cpufit.runtimes.base import LoadOptions
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact

_ROUNDS = 4  # passes of each process in one timed work, as OpenVINO's requests do
_READY = "ready"


class OnnxStreamsSession:
    """This process and its helpers, each with the model loaded; all start together."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        alone = replace(options, threads=1, streams=False)
        self._helpers = [_start(artifact, alone) for _ in range(options.threads - 1)]
        self._own = OnnxPassSession(artifact, alone)
        for pipe in self._helpers:
            _hear(pipe)
        processes = 1 + len(self._helpers)
        self._items = processes * _ROUNDS * options.batch
        self.settings: Mapping[str, str] = {**self._own.settings, "processes": str(processes)}
        self.notes: tuple[str, ...] = (
            *self._own.notes,
            f"memory is that of one of {processes} processes",
        )

    def prepare(self, step: Step) -> Work:
        """Return several passes of every process, side by side; raises as a single session does."""
        once = self._own.prepare(step).run

        def rounds() -> None:
            for pipe in self._helpers:
                pipe.send(_ROUNDS)
            for _ in range(_ROUNDS):
                once()
            for pipe in self._helpers:
                _hear(pipe)

        return Work(run=rounds, items=self._items)

    def inputs(self) -> Mapping[str, Array]:
        """Return this process's inputs."""
        return self._own.inputs()

    def outputs(self) -> Mapping[str, Array]:
        """Return copies of this process's last outputs."""
        return self._own.outputs()

    def close(self) -> None:
        """Free the model and end the helpers."""
        for pipe in self._helpers:
            with suppress(OSError):
                pipe.send(0)
            pipe.close()
        self._own.close()


def _start(artifact: Artifact, options: LoadOptions) -> Connection:
    ours, theirs = multiprocessing.Pipe()
    # Spawned, not forked: ONNX Runtime's threads would not survive a fork.
    context = multiprocessing.get_context("spawn")
    context.Process(target=_help, args=(theirs, artifact, options), daemon=True).start()
    theirs.close()
    return ours


def _help(pipe: Connection, artifact: Artifact, options: LoadOptions) -> None:
    """Do as many passes as the pipe asks for, again and again, until it asks for none."""
    session = OnnxPassSession(artifact, options)
    run = session.prepare(Step(kind="infer")).run
    run()
    pipe.send(_READY)
    with suppress(EOFError):
        while count := pipe.recv():
            for _ in range(count):
                run()
            pipe.send(_READY)
    session.close()


def _hear(pipe: Connection) -> None:
    try:
        pipe.recv()
    except EOFError as error:
        raise DataError(
            "a process beside this one ended early", "measure the model with the latency scenario"
        ) from error
