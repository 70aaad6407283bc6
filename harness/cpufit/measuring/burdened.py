"""A session that does real extra work behind each request: does the method see it?

For `cpufit selftest` only: a change of known size in the timed path, not a scaled number.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpufit.runtimes.base import Session, Step, Work
    from cpufit.runtimes.inputs import Array

_TRIES = 15
_BLOCK = bytes(1 << 11)


class Burdened:
    """Wraps a session; each of its works takes `share` longer than it did when it was prepared."""

    def __init__(self, session: Session, share: float, clock: Callable[[], int]) -> None:
        self.settings: Mapping[str, str] = {**session.settings, "extra work": f"{share:.0%}"}
        self.notes = session.notes
        self.inputs: Callable[[], Mapping[str, Array]] = session.inputs
        self.outputs: Callable[[], Mapping[str, Array]] = session.outputs
        self.close: Callable[[], None] = session.close
        self._session, self._share, self._clock = session, share, clock
        self._loops: dict[tuple[str, int], int] = {}  # by kind of step, found once

    def prepare(self, step: Step) -> Work:
        """Prepare the session's work and what comes behind it."""
        work = self._session.prepare(step)
        key = (step.kind, step.tokens)
        if key not in self._loops:
            self._loops[key] = self._loops_for(work)
            work = self._session.prepare(step)
        loops, alone = self._loops[key], work.run

        def run() -> None:
            alone()
            _spin(loops)

        return replace(work, run=run)

    def _loops_for(self, work: Work) -> int:
        many = 1 << 9
        return round(self._share * self._time(work.run) * many / self._time(lambda: _spin(many)))

    def _time(self, run: Callable[[], None]) -> float:
        found = []
        for _ in range(_TRIES):
            start = self._clock()
            run()
            found.append(self._clock() - start)
        return float(median(found)) or 1.0


def _spin(loops: int) -> None:
    for _ in range(loops):
        hashlib.sha1(_BLOCK, usedforsecurity=False)
