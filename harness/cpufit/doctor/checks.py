"""Is this host fit to measure? Each check says what it saw and what would be better."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import psutil

from cpufit import units
from cpufit.errors import UnavailableError
from cpufit.files import unwritable
from cpufit.probes import cgroup, counters, energy, host, memory, noise
from cpufit.stats import intervals

if TYPE_CHECKING:
    from pathlib import Path

_WINDOW_S = 1.0
_STEAL_SHARE = 0.01
_BUSY_SHARE = 0.05
_DISK_BYTES = 10 * units.GB
_PROCESSES = 8
_SPREAD = 0.03  # between processes; two vCPUs of a busy shared host have 0.1 and more
_PRODUCT = """
import time
import numpy as np
block = np.ones((384, 384), np.float32)
end, taken = time.perf_counter_ns() + 2e8, []
while time.perf_counter_ns() < end:
    start = time.perf_counter_ns()
    block @ block
    taken.append(time.perf_counter_ns() - start)
print(sorted(taken)[len(taken) // 2])
"""


@dataclass(frozen=True)
class Check:
    """One finding; `remedy` is empty where nothing need be done."""

    name: str
    level: Literal["good", "warn", "bad"]
    value: str
    remedy: str = ""


def examine(cache: Path) -> list[Check]:
    """Look at the host for some seconds."""
    return [
        _governor(),
        _turbo(),
        _virtual(),
        *watch(_WINDOW_S),
        _noise(),
        _counters(),
        _swap(),
        _free_memory(),
        _rapl(),
        _disk(cache),
    ]


def watch(window_s: float) -> tuple[Check, ...]:
    """Say how much of the CPU was stolen and how much was busy in a window of that length, and
    how much of it may be used at all.
    """
    used = _cpu_seconds()
    before, idle_before = noise.snapshot(), psutil.cpu_times().idle
    time.sleep(window_s)
    after, idle_after = noise.snapshot(), psutil.cpu_times().idle
    core_s = window_s * (psutil.cpu_count() or 1)
    stolen = noise.difference(before, after).get("steal_s")
    return (
        _steal(None if stolen is None else stolen / core_s),
        _load(1 - (idle_after - idle_before) / core_s, used),
        _cores(),
    )


def _governor() -> Check:
    governor = host.governor()
    if not governor:
        return Check("governor", "warn", "not visible (common in virtual machines)")
    good = governor == "performance"
    remedy = "" if good else "sudo cpupower frequency-set -g performance"
    return Check("governor", "good" if good else "warn", governor, remedy)


def _turbo() -> Check:
    state = host.turbo()
    if state == "on":
        remedy = "for steadier figures: echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost"
        return Check("turbo", "warn", "on: speed depends on temperature", remedy)
    return Check("turbo", "good" if state else "warn", state or "not visible")


def _virtual() -> Check:
    name = host.hypervisor()
    if name:
        remedy = "figures hold for this virtual machine; measure the real box before buying it"
        by = "" if name == "unknown" else f" ({name})"
        return Check("virtualised", "warn", f"yes{by}", remedy)
    return Check("virtualised", "good", "no")


def _steal(share: float | None) -> Check:
    if share is None:
        return Check("steal", "warn", "not visible")
    good = share <= _STEAL_SHARE
    remedy = "" if good else "other guests take this CPU: use a dedicated host, or repeat later"
    return Check("steal", "good" if good else "bad", f"{share:.1%} of the CPU stolen", remedy)


def _load(busy: float, used: dict[tuple[int, str], float]) -> Check:
    good = busy <= _BUSY_SHARE
    remedy = "" if good else f"stop other work first{_busiest(used)}"
    return Check("load", "good" if good else "bad", f"{max(busy, 0):.0%} busy", remedy)


def _busiest(before: dict[tuple[int, str], float]) -> str:
    """Name the processes that took most of the CPU since then."""
    took = {key: now - before.get(key, 0.0) for key, now in _cpu_seconds().items()}
    found = sorted((key for key in took if took[key] > 0), key=lambda key: -took[key])
    names = ", ".join(name for _, name in found[:3])
    return f"; busiest: {names}" if names else ""


def _cpu_seconds() -> dict[tuple[int, str], float]:
    """Return what every process but this one has taken of the CPU so far, by number and name."""
    every = psutil.process_iter(["pid", "name", "cpu_times"])
    found = (p.info for p in every if p.info["cpu_times"] and p.info["pid"] != os.getpid())
    return {(p["pid"], str(p["name"])): p["cpu_times"].user + p["cpu_times"].system for p in found}


def _noise() -> Check:
    """Time the same work in fresh processes: what they differ by, a run has to see through."""
    found = [_process_ns() for _ in range(_PROCESSES)]
    spread = float(np.std(np.log(found), ddof=1))
    few, many = (intervals.smallest_change(spread, count) for count in (5, 20))
    words = (
        f"equal processes differ by {spread:.1%}: a change of {few:.0%} shows in 5 processes, "
        f"of {many:.0%} in 20"
    )
    good = spread <= _SPREAD
    remedy = "" if good else "stop other work, or take --budget full: more processes see more"
    return Check("noise", "good" if good else "warn", words, remedy)


def _process_ns() -> float:
    """Return the median time of a matrix product in a process of its own."""
    command = [sys.executable, "-P", "-c", _PRODUCT]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _counters() -> Check:
    problem = counters.problem()
    if not problem:
        return Check("hardware counters", "good", "instructions, cycles, cache misses")
    return Check("hardware counters", "warn", problem)


def _swap() -> Check:
    used = psutil.swap_memory().used
    good = used < 64 * units.MIB
    remedy = (
        "" if good else "sudo swapoff -a && sudo swapon -a, after closing what fills the memory"
    )
    return Check("swap", "good" if good else "warn", f"{units.size(used)} in use", remedy)


def _free_memory() -> Check:
    free = memory.host_available_bytes()
    total = psutil.virtual_memory().total
    limit = cgroup.memory_limit_bytes()
    words = f"{units.size(free)} of {units.size(min(total, limit) if limit else total)} available"
    good = free > 2 * units.GB
    return Check(
        "memory", "good" if good else "warn", words, "" if good else "close other programs"
    )


def _cores() -> Check:
    """Say what the process may use; below one core it is stopped many times a second."""
    usable, logical = host.usable_cores(), psutil.cpu_count() or 1
    words = f"{units.significant(usable)} of {logical} logical cores usable"
    if usable >= logical:
        return Check("cores", "good", words)
    if usable < 1:
        remedy = "the quota stops it many times a second: figures hold for such a container only"
        return Check("cores", "bad", words, remedy)
    return Check("cores", "warn", words, "the rest is kept away by affinity or a cgroup quota")


def _rapl() -> Check:
    try:
        meter = energy.open_meter()
    except UnavailableError as error:
        return Check("energy (RAPL)", "warn", error.problem, error.remedy)
    return Check("energy (RAPL)", "good", ", ".join(zone.name for zone in meter.zones))


def _disk(cache: Path) -> Check:
    if problem := unwritable(cache):
        return Check("disk for artifacts", "bad", problem, "name another folder with --cache")
    existing = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    good = free > _DISK_BYTES
    remedy = "" if good else "the 7B models need 8 GB: free some space or use --cache"
    return Check(
        "disk for artifacts", "good" if good else "warn", f"{units.size(free)} free", remedy
    )
