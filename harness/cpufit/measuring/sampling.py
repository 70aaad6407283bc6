"""Warm up, then sample until the budget's stop rule holds. Knows nothing of models or files."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from cpufit.measuring.cores import stay
from cpufit.measuring.probe import Measured, limits_ns, per_item, predict_ns
from cpufit.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cpufit.measuring.cores import Move
    from cpufit.measuring.probe import Clock, Probe
    from cpufit.schema import Budget

_BURST_NS = 100_000_000  # scheduling between bursts costs less than a millionth of this
_STEADY_RUNS = 5
_STEADY_NS = 50_000_000
_STEADY_CHANGE = 0.03  # of a window's median from that of the window before


def time_session(
    found: Sequence[Probe],
    budget: Budget,
    clock: Clock,
    say: Callable[[str], None],
    move: Move = stay,
) -> Measured:
    """Warm up, then sample until the budget's stop rule holds."""
    say("warming up")
    first_ns = warm_up(found, budget, clock)
    say("measuring")
    stop = sample(found, budget, clock, move)
    return Measured(
        first_ns=first_ns,
        series=tuple(probe.series() for probe in found if probe.values),
        stop=stop,
        valid=all(len(probe.values) >= budget.share for probe in found),
        notes=tuple(
            f"{probe.name} at {probe.size} tokens was not sampled: one request would outlast the "
            f"{budget.cell_s:g} s that a cell may take"
            for probe in found
            if not probe.values
        ),
        counters=per_item(found),
    )


def warm_up(found: Sequence[Probe], budget: Budget, clock: Clock) -> int:
    """Run every probe in its full shape, one alone until it is steady; return the first run's ns.

    No further run starts once the warm-up time is over: what is left is slow, and the first run
    weighs little there.
    """
    end = clock() + round(budget.warmup_s * NS_PER_S)
    first_ns = found[0].timed(1, clock)[0]
    for probe in found[1:]:
        if clock() + predict_ns(probe, first_ns, found[0]) < end:
            probe.timed(1, clock, round(budget.warmup_s * NS_PER_S))
    if len(found) == 1:
        _until_steady(found[0], first_ns, end, clock)
    for probe in found:  # the prompts of warm-up requests are no samples, nor are their counts
        probe.forget()
    return first_ns


def _until_steady(probe: Probe, first_ns: int, end: int, clock: Clock) -> None:
    """Run in windows until the median of one is that of the window before."""
    last = float(first_ns)
    while clock() < end:
        count = max(_STEADY_RUNS, int(_STEADY_NS // max(last, 1.0)))
        now = median(probe.timed(count, clock, round(end - clock())))
        if abs(now - last) <= _STEADY_CHANGE * last:
            return
        last = now


def sample(found: Sequence[Probe], budget: Budget, clock: Clock, move: Move = stay) -> str:
    """Fill the probes, sharing time evenly among those that want more; return why it ended.

    Each burst comes from another core.

    A longer prompt that, by what the shortest one takes, would outlast the cell is not started.
    """
    start = clock()
    least, most = limits_ns(budget)
    open_probes = list(found)
    if len(found) > 1:  # generation first: its prompt is a sample too, and slow models get few
        move()
        _take_burst(found[-1], clock, most)
    while True:
        elapsed = clock() - start
        for probe in [p for p in open_probes[1:] if not p.values]:
            predicted = predict_ns(probe, sum(found[0].values[:1]), found[0])
            if predicted and elapsed + predicted > budget.cell_s * NS_PER_S:
                open_probes.remove(probe)
        short = [p for p in open_probes if not p.values]
        if elapsed >= most and not short:
            return f"the {budget.process_s[1]:g} s of a process were over"
        wanting = [p for p in open_probes if not p.enough(budget, len(open_probes) - 1)]
        if not wanting and elapsed >= least:
            return f"enough samples after {elapsed / NS_PER_S:.1f} s"
        due = short if elapsed >= most else wanting or open_probes
        move()
        _take_burst(min(due, key=lambda p: p.spent_ns), clock, most)


def _take_burst(probe: Probe, clock: Clock, most_ns: int) -> None:
    """Sample for about a tenth of a second, at least once."""
    count = max(1, int(_BURST_NS // probe.cost_ns)) if probe.cost_ns else 1
    start = clock()
    probe.values.extend(probe.timed(count, clock, most_ns))
    probe.spent_ns += clock() - start
