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

    A prompt that would take much longer than a process may is left out.
    """
    say("warming up")
    first_ns, (_, most) = warm_up(found, budget, clock), limits_ns(budget)
    slice_ns = turns.slice_s * NS_PER_S
    short = [probe for probe in found if predict_ns(probe, first_ns, found[0]) <= most]
    medians: list[list[float]] = [[] for _ in short]
    say("ready")
    for _ in turns.due:
        for probe, values in reversed([*zip(short, medians, strict=True)]):
            timed = probe.values  # of prompts before the tokens that were generated just now
            values.append(median(timed) if timed else probe.slice(round(slice_ns), clock))
            timed.clear()
        turns.done([values[-1] for values in medians])
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
