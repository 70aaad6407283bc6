"""What disturbed a measurement: stolen time, involuntary switches, page faults from disk."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_STAT = Path("/proc/stat")
_PRESSURE = Path("/proc/pressure/cpu")


def snapshot() -> dict[str, float]:
    """Read the counters that `difference` compares; those the host lacks are absent."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    counters = {
        "involuntary_switches": float(usage.ru_nivcsw),
        "major_faults": float(usage.ru_majflt),
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }
    return counters | _steal() | _pressure()


def difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return how much each counter rose."""
    return {name: round(after[name] - before[name], 6) for name in before if name in after}


def _steal() -> dict[str, float]:
    """Host-wide stolen seconds: time this virtual machine wanted to run and was not let."""
    try:
        fields = _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return {}
    return {"steal_s": int(fields[8]) / os.sysconf("SC_CLK_TCK")} if len(fields) > 8 else {}


def _pressure() -> dict[str, float]:
    """Seconds in which some task waited for a CPU (PSI)."""
    try:
        some = _PRESSURE.read_text(encoding="ascii").split("\n", 1)[0]
    except OSError:
        return {}
    return {"cpu_wait_s": int(some.rsplit("total=", 1)[1]) / 1e6}
