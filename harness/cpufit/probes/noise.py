"""What happens around a measurement: who else used the CPU, what the kernel and the clock did.

Everything is read before and after, never while something is timed; what a host does not show is
absent. What of it counts as a disturbance is decided in `disturbance`, from the stored figures.
"""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cpufit.probes import cgroup

if TYPE_CHECKING:
    from collections.abc import Callable

_STAT = Path("/proc/stat")
_PRESSURE = Path("/proc/pressure/cpu")
_CPUS = Path("/sys/devices/system/cpu")
_THERMAL = Path("/sys/class/thermal")
_LEVELS = ("mhz", "temperature_c")  # states, where all else are counts that only rise


def snapshot() -> dict[str, float]:
    """Read all counters and levels that the host shows."""
    found: dict[str, float] = {}
    for read in _READERS:
        with suppress(OSError, ValueError, IndexError):
            found |= read()
    return found


def difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return how much each counter rose, and both states of each level.

    `foreign_s` is the CPU time of others, `suspended_s` and `clock_step_s` how far the clocks that
    go on in sleep and that people set moved apart from the one that times.
    """
    both = [name for name in before if name in after and name not in _LEVELS]
    rise = {name: after[name] - before[name] for name in both}
    if "busy_s" in rise:
        rise["foreign_s"] = max(rise.pop("busy_s") - rise["cpu_s"], 0.0)
    rise["clock_step_s"] = rise.pop("real_s") - rise.get("boot_s", rise["wall_s"])
    if "boot_s" in rise:
        rise["suspended_s"] = rise.pop("boot_s") - rise["wall_s"]
    for name in (name for name in _LEVELS if name in before and name in after):
        rise[f"{name}_before"], rise[f"{name}_after"] = before[name], after[name]
    return {name: round(value, 6) for name, value in rise.items()}


def _own() -> dict[str, float]:
    own, waited = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, _CHILDREN))
    return {
        "voluntary_switches": float(own.ru_nvcsw + waited.ru_nvcsw),
        "involuntary_switches": float(own.ru_nivcsw + waited.ru_nivcsw),
        "major_faults": float(own.ru_majflt + waited.ru_majflt),
        "cpu_s": own.ru_utime + own.ru_stime + waited.ru_utime + waited.ru_stime,
    }


def _clocks() -> dict[str, float]:
    found = {"wall_s": time.monotonic(), "real_s": time.time()}
    if hasattr(time, "CLOCK_BOOTTIME"):
        found["boot_s"] = time.clock_gettime(time.CLOCK_BOOTTIME)
    return found


def _host_cpu() -> dict[str, float]:
    """Host-wide seconds: busy with anything, and stolen, which this virtual machine wanted to run
    and was not let. Source: proc_stat(5).
    """
    fields = _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[:8])
    tick = os.sysconf("SC_CLK_TCK")
    return {"busy_s": (user + nice + system + irq + softirq) / tick, "steal_s": steal / tick}


def _pressure() -> dict[str, float]:
    """Seconds in which some task waited for a CPU (PSI)."""
    some = _PRESSURE.read_text(encoding="ascii").split("\n", 1)[0]
    return {"cpu_wait_s": int(some.rsplit("total=", 1)[1]) / 1e6}


def _quota() -> dict[str, float]:
    """Periods of a container's CPU quota, and those that ended with its threads stopped."""
    counted = cgroup.periods()
    return dict(zip(("quota_periods", "quota_stops"), map(float, counted or ()), strict=False))


def _heat() -> dict[str, float]:
    """How often cores slowed down for their temperature since boot."""
    files = list(_CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
    return {"heat_throttles": _sum(files)} if files else {}


def _frequency() -> dict[str, float]:
    files = list(_CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    return {"mhz": _sum(files) / len(files) / 1000} if files else {}


def _temperature() -> dict[str, float]:
    files = list(_THERMAL.glob("thermal_zone*/temp"))
    return {"temperature_c": max(_number(file) for file in files) / 1000} if files else {}


def _sum(files: list[Path]) -> float:
    return sum(_number(file) for file in files)


def _number(file: Path) -> float:
    return float(file.read_text(encoding="ascii"))


_CHILDREN = resource.RUSAGE_CHILDREN
_READERS: tuple[Callable[[], dict[str, float]], ...] = (
    _clocks,
    _own,
    _host_cpu,
    _pressure,
    _quota,
    _heat,
    _frequency,
    _temperature,
)
