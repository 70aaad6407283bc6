"""A fixed small piece of work, timed before and after a measurement: is the CPU what it was?"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from cpufit.units import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

_REPEATS = 5
_HASHED = bytes(128 * KIB)  # stays in the cache of a core: arithmetic
_COPIED = 4 * MIB  # does not: memory


def probe() -> dict[str, float]:
    """Return nanoseconds of hashing and of copying, each the best of five; takes some 5 ms."""
    block = bytearray(_COPIED)
    return {
        "hash_ns": _time(lambda: hashlib.sha256(_HASHED).digest()),
        "copy_ns": _time(lambda: bytes(block)),
    }


def compared(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return both readings, as a record keeps them."""
    states = (("before", before), ("after", after))
    return {f"{name}_{when}": value for when, found in states for name, value in found.items()}


def _time(work: Callable[[], object]) -> float:
    found = []
    for _ in range(_REPEATS):
        start = time.perf_counter_ns()
        work()
        found.append(time.perf_counter_ns() - start)
    return float(min(found))
