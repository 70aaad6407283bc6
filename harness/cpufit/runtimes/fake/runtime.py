"""A runtime that plays timings from a file on a clock of its own.

It takes no real time and gives the same numbers everywhere, so the whole line can be run, and its
results compared exactly, in tests. It fails on request in the ways real runtimes fail.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cpufit.errors import DataError
from cpufit.runtimes.base import Work
from cpufit.runtimes.fake.timings import read_timings
from cpufit.units import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpufit.runtimes.base import LoadOptions, Step
    from cpufit.runtimes.fake.timings import Timings
    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Artifact


class FakeSession:
    """A loaded file of timings."""

    notes: tuple[str, ...] = ("invented timings: no model ran",)

    def __init__(
        self, timings: Timings, options: LoadOptions, advance: Callable[[int], None]
    ) -> None:
        self.settings: Mapping[str, str] = {
            "threads": str(options.threads),
            "batch": str(options.batch),
            "jitter": str(timings.jitter),
        }
        self._timings = timings
        self._batch = options.batch
        self._advance = advance
        self._random = Random(f"{options.seed} {timings}")  # noqa: S311 - not for secrets
        self._luck = 1 + timings.luck * (self._random.random() - self._random.random())
        self._first_ms = timings.first_ms
        self._memory = b"\1" * timings.memory_bytes  # ones, so that every page is touched

    def prepare(self, step: Step) -> Work:
        """Get ready to play `step`; raise DataError where the file does not time its kind."""
        ms, items = self._cost(step)
        if ms == 0:
            raise DataError(f"the timings give no time for {step.kind}", "add it to the file")
        return Work(run=lambda: self._play(ms), items=items)

    def inputs(self) -> Mapping[str, Array]:
        """Return nothing: nothing is read."""
        return {}

    def outputs(self) -> Mapping[str, Array]:
        """Return nothing: nothing was computed."""
        return {}

    def close(self) -> None:
        """Free the memory."""
        self._memory = b""

    def _cost(self, step: Step) -> tuple[float, int]:
        if step.kind in ("infer", "encode"):
            return self._timings.infer_ms * self._batch, self._batch
        if step.kind == "prefill":
            return self._timings.prefill_ms_per_token * step.tokens, step.tokens
        return self._timings.decode_ms, self._batch

    def _play(self, ms: float) -> None:
        _fail(self._timings.fail)
        # The difference of two uniform numbers is triangular; unlike a normal one it needs no libm.
        deviation = self._timings.jitter * (self._random.random() - self._random.random())
        self._advance(round((ms + self._first_ms) * self._luck * (1 + deviation) * NS_PER_MS))
        self._first_ms = 0.0


class FakeRuntime:
    """Sessions whose steps move the runtime's own clock and nothing else."""

    def __init__(self) -> None:
        self._now_ns = 0
        self.clock: Callable[[], int] = lambda: self._now_ns

    def versions(self) -> Mapping[str, str]:
        """Return none: no package decides these timings."""
        return {}

    def load(self, artifact: Artifact, options: LoadOptions) -> FakeSession:
        """Load timings; raise DataError or UsageError where the file does not hold them."""
        timings = read_timings(Path(artifact.path))
        session = FakeSession(timings, options, self._advance)
        self._advance(round(timings.load_ms * NS_PER_MS))
        return session

    def _advance(self, ns: int) -> None:
        self._now_ns += ns


def _fail(mode: str) -> None:
    if mode == "error":
        raise RuntimeError("the timings file asks for an error")
    if mode == "oom":
        raise MemoryError("the timings file asks for a lack of memory")
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    while mode in ("crash", "hang"):  # the signal may take a moment to arrive
        signal.pause()


RUNTIME = FakeRuntime()
