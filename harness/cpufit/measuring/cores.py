"""Which core a process's requests come from: each in turn.

Cores of a shared host differ by what its other guests do beside them, 1.4 times for seconds, and a
thread stays on its core: processes that stay where they happen to be differ by that (docs/gate.md).
"""

from __future__ import annotations

import os
from itertools import cycle, islice
from typing import TYPE_CHECKING

from cpufit.probes import host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Move = Callable[[], None]

_TURNS = 2  # on one core: either arm of a gate goes first once on each


def stay() -> None:
    """Leave the thread where it is."""


def mover(first: int = 0) -> Move:
    """Return what puts the calling thread on the next core each time, from that one on.

    Of cores of several kinds only the fastest are used, as a system that has work for them does.
    """
    cores = host.fastest_cores()
    if len(cores) < 2:
        return stay
    order = islice(cycle(cores), first % len(cores), None)
    return lambda: os.sched_setaffinity(0, {next(order)})


def in_turns(turns: Iterable[bytes], move: Move) -> Iterator[bytes]:
    """Yield the turns, after a rehearsal every two of them on another core, in either arm alike."""
    for number, turn in enumerate(turns):
        if number % _TURNS == 1:
            move()
        yield turn
