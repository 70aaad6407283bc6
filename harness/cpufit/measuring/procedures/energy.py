"""Energy of the CPU package per inference or token, idle subtracted (RAPL)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.measuring.probe import Measured
from cpufit.measuring.procedures.base import Procedure, requests
from cpufit.measuring.sampling import warm_up
from cpufit.probes import energy as rapl
from cpufit.schema import Series
from cpufit.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cpufit.measuring.bench import Bench
    from cpufit.measuring.probe import Clock, Probe
    from cpufit.schema import Budget

_IDLE_S = 2.0
_WINDOWS = 5
_LEAST_S = 10.0  # the counters move about a thousand times a second, and idle power varies


class Energy(Procedure):
    """Reads joules in windows of requests."""

    def check_host(self) -> None:
        """Raise UnavailableError where the host has no meter."""
        rapl.open_meter()

    def before(self) -> rapl.Total:
        """Watch idle power while nothing is loaded."""
        return rapl.Total(_IDLE_S)

    def measure(self, bench: Bench) -> Measured:
        """Read the meter around windows of each kind of request."""
        meter, found = bench.idle, requests(bench, "latency", "ttft", "tpot")
        assert isinstance(meter, rapl.Total)
        bench.say("reading energy")
        first_ns = warm_up(found, bench.budget, bench.clock)
        series = energy(found, bench.budget, meter.joules, meter.idle_w, bench.clock)
        return Measured(first_ns=first_ns, series=series, stop="all windows read", valid=True)


def energy(
    found: Sequence[Probe],
    budget: Budget,
    read_joules: Callable[[], float],
    idle_w: float,
    clock: Clock,
) -> tuple[Series, ...]:
    """Return joules per item above idle, in windows that share the budget's time evenly.

    `read_joules` is a running total. Idle power times the window is subtracted.
    """
    seconds = max(_LEAST_S, budget.process_s[1])
    window_ns = round(seconds / _WINDOWS / len(found) * NS_PER_S)
    series = []
    for probe in found:
        probe.timed(1, clock)
        values = []
        for _ in range(_WINDOWS):
            joules, items = _energy_window(probe, window_ns, read_joules, idle_w, clock)
            values.append(joules / items)
        name = "energy" if probe.name == "latency" else f"energy_{probe.name}"
        series.append(Series(name=name, unit="j", size=probe.size, items=1, values=tuple(values)))
    return tuple(series)


def _energy_window(
    probe: Probe, window_ns: int, read_joules: Callable[[], float], idle_w: float, clock: Clock
) -> tuple[float, int]:
    """Return net joules and items of at least `window_ns`; getting ready is not counted."""
    joules, busy_ns, items = 0.0, 0, 0
    while busy_ns < window_ns:
        run, done = probe.start().run, 0
        start_j, start = read_joules(), clock()
        while done != probe.runs and busy_ns + clock() - start < window_ns:
            run()
            done += 1
        busy_ns += clock() - start
        joules += read_joules() - start_j
        items += done * probe.items
    return joules - idle_w * busy_ns / NS_PER_S, items


PROCEDURE = Energy()
