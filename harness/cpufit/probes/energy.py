"""CPU package energy from RAPL, through Linux's powercap files.

A reading is a counter in microjoules that wraps at `max_energy_range_uj`. Where there is none, the
answer is "unavailable" with the reason and the remedy; nothing is ever estimated.
Source: Documentation/power/powercap/powercap.rst of the Linux kernel.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cpufit.errors import UnavailableError

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Zone:
    """One top-level package domain."""

    path: Path
    name: str
    range_uj: int


@dataclass(frozen=True)
class Meter:
    """All CPU packages of the host, read together."""

    zones: tuple[Zone, ...]

    def read(self) -> tuple[int, ...]:
        """Return each package's counter in microjoules."""
        return tuple(int((zone.path / "energy_uj").read_text()) for zone in self.zones)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Return the energy between two readings; one wrap-around per package is undone.

        The range is 262 kJ on most parts: at 300 W it wraps in a quarter of an hour.
        """
        total = 0
        for zone, start, end in zip(self.zones, before, after, strict=True):
            total += end - start if end >= start else end - start + zone.range_uj
        return total / 1e6


class Total:
    """A running total in joules over counters that may wrap between two readings.

    Made while nothing runs: it first watches idle power for `idle_s` seconds. Raises
    UnavailableError where the host has no meter.
    """

    def __init__(self, idle_s: float, root: Path = POWERCAP) -> None:
        self._meter = open_meter(root)
        self._last = self._meter.read()
        self._joules = 0.0
        time.sleep(idle_s)
        self.idle_w = self.joules() / idle_s

    def joules(self) -> float:
        """Return the energy since this total was made."""
        now = self._meter.read()
        self._joules += self._meter.joules(self._last, now)
        self._last = now
        return self._joules


def open_meter(root: Path = POWERCAP) -> Meter:
    """Return the host's package meter; raise UnavailableError saying what is missing."""
    if not root.is_dir():
        raise UnavailableError(
            "no RAPL: this kernel has no powercap interface",
            "measure on bare-metal Linux with an Intel or AMD CPU",
        )
    found = [p for p in sorted(root.glob("*-rapl:*")) if p.name.count(":") == 1]
    zones = [zone for path in found if (zone := _zone(path)) is not None]
    if not zones:
        raise UnavailableError(
            "no RAPL: powercap lists no CPU package",
            "measure on bare metal: hypervisors hide RAPL; load the intel_rapl_msr module",
        )
    for zone in zones:
        _check_readable(zone)
    return Meter(tuple(zones))


def _zone(path: Path) -> Zone | None:
    try:
        name = (path / "name").read_text().strip()
        if not name.startswith("package"):
            return None
        return Zone(path, name, int((path / "max_energy_range_uj").read_text()))
    except (OSError, ValueError):
        return None


def _check_readable(zone: Zone) -> None:
    counter = zone.path / "energy_uj"
    try:
        int(counter.read_text())
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"RAPL cannot be read: {counter}: {error}",
            f"sudo chmod a+r {zone.path.parent}/*-rapl:*/energy_uj",
        ) from error
