"""Two processes that take turns, slice by slice, meet the same moods of the host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from cpufit.measuring.probe import Measured, limits_ns, per_item, predict_ns
from cpufit.measuring.sampling import warm_up
from cpufit.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cpufit.measuring.probe import Clock, Probe
    from cpufit.schema import Budget


@dataclass(frozen=True)
class Turns:
    """When to do a slice, and who hears what it came to."""

    slice_s: float
    due: Iterable[object]
    done: Callable[[Sequence[float]], None]  # the medians in ns, one of every quantity


def time_slices(
    found: Sequence[Probe],
    budget: Budget,
    turns: Turns,
    clock: Clock,
    say: Callable[[str], None],
) -> Measured:
    """Warm up, then run each probe for a slice at every turn; a series holds the slices' medians.

    A prompt that would take much longer than a process may is left out. The first turn is a
    rehearsal: the slice after a rival has loaded is slow, by 2 % for small models even in the
    median of all slices, and who loads first waits longer.
    """
    say("warming up")
    first_ns, (_, most) = warm_up(found, budget, clock), limits_ns(budget)
    slice_ns = turns.slice_s * NS_PER_S
    short = [probe for probe in found if predict_ns(probe, first_ns, found[0]) <= most]
    medians: list[list[float]] = [[] for _ in short]
    say("ready")
    for number, _ in enumerate(turns.due):
        taken = _slices(short, round(slice_ns), clock)
        if number:
            for values, value in zip(medians, taken, strict=True):
                values.append(value)
        turns.done(taken)
    return Measured(
        first_ns=first_ns,
        series=tuple(
            replace(probe.series(), values=tuple(values))
            for probe, values in zip(short, medians, strict=True)
        ),
        stop=f"{len(medians[0])} slices of {turns.slice_s:g} s",
        valid=True,
        counters=per_item(short),
    )


def _slices(found: Sequence[Probe], slice_ns: int, clock: Clock) -> list[float]:
    """Run each probe for a slice, the last one first; return the medians in their order."""
    medians = []
    for probe in reversed(found):
        timed = probe.values  # of prompts before the tokens that were generated just now
        medians.append(median(timed) if timed else probe.slice(slice_ns, clock))
        timed.clear()
    return medians[::-1]
