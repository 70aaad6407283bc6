"""The facts of this host that decide inference speed. Unknown facts stay empty."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from cpufit.probes import cgroup, chips, counters
from cpufit.schema import Host
from cpufit.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable

# Instruction sets inference kernels are chosen by.
FLAGS = (
    "sse4_1 sse4_2 avx f16c fma avx2 avx_vnni avx512f avx512bw avx512_vnni avx512_bf16 avx512_fp16 "
    "amx_tile amx_int8 amx_bf16 asimd neon asimdhp asimddp i8mm bf16 sve sve2 sme"
).split()
_CPU = Path("/sys/devices/system/cpu")
_SPEEDS = ("cpu_capacity", "cpufreq/cpuinfo_max_freq")
_ONE_KIND = 0.85  # of the fastest: preferred cores reach 5 % more, small ones 25 % less and below
_CPUINFO = Path("/proc/cpuinfo")
_BOARDS = (Path("/proc/device-tree/model"), Path("/sys/class/dmi/id/product_name"))


def describe(packages: Iterable[str]) -> Host:
    """Collect the facts, and the versions of those of the packages that are installed.

    Takes about a second, because py-cpuinfo asks several sources.
    """
    from cpuinfo import get_cpu_info

    info = get_cpu_info()
    ram = psutil.virtual_memory().total
    limit = cgroup.memory_limit_bytes()
    facts: dict[str, Any] = {
        "cpu_model": _brand(info),
        "cpu_vendor": str(info.get("vendor_id_raw", "")),
        "arch": platform.machine(),
        "flags": tuple(flag for flag in FLAGS if flag in info.get("flags", ())),
        "microcode": _cpuinfo_field("microcode"),
        "sockets": _sockets(),
        "physical_cores": psutil.cpu_count(logical=False) or 0,
        "logical_cores": psutil.cpu_count() or 0,
        "usable_cores": usable_cores(),
        "max_mhz": _max_mhz(info),
        "l1d_bytes": _cache_bytes(1),
        "l2_bytes": _cache_bytes(2),
        "l3_bytes": _cache_bytes(3),
        "ram_bytes": ram,
        "memory_limit_bytes": min(ram, limit) if limit else ram,
        "swap_bytes": psutil.swap_memory().total,
        "os": _os_name(),
        "kernel": platform.release(),
        "governor": governor(),
        "turbo": turbo(),
        "hypervisor": hypervisor(),
        "python": platform.python_version(),
        "counters": counters.problem() or "yes",
    }
    facts["fingerprint"] = _fingerprint(facts)  # by the name alone, as earlier versions had it
    micro = chips.microarchitecture(read_text(_CPUINFO))
    facts |= {"microarchitecture": micro, "board": board()}
    facts["cpu_model"] = chips.called(facts["cpu_model"], micro, facts["board"])
    return Host(**facts, packages=_versions(packages))


def flags() -> frozenset[str]:
    """Return the instruction sets that kernels are chosen by, at once: of the first core's line."""
    words = (_cpuinfo_field("flags") or _cpuinfo_field("Features")).split()
    return frozenset(words).intersection(FLAGS)


def allowed_cores() -> list[int]:
    """Return the numbers of the cores this thread may run on; none where the system cannot say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def fastest_cores() -> list[int]:
    """Return those of them that are of the fastest kind, by what the system says of their speed."""
    speeds = {core: _speed(core) for core in allowed_cores()}
    least = _ONE_KIND * max(speeds.values(), default=0.0)
    return [core for core, speed in speeds.items() if speed >= least]


def _speed(core: int) -> float:
    """Return a core's capacity beside this host's others, or its highest frequency; 0: unknown."""
    told = (read_text(_CPU / f"cpu{core}" / name) for name in _SPEEDS)
    return next((float(text) for text in told if text.isdecimal()), 0.0)


def usable_cores() -> float:
    """Return how many cores this process may use: affinity, then the cgroup's CPU quota."""
    cores = len(allowed_cores()) or os.cpu_count() or 1
    return min(float(cores), cgroup.quota_cores())


def default_threads() -> int:
    """Return one thread for each usable physical core: more makes inference slower, not faster."""
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return max(1, min(physical, int(usable_cores())))


def governor() -> str:
    """Return the frequency governor of the first core, '' where the kernel does not say."""
    return read_text(_CPU / "cpu0/cpufreq/scaling_governor")


def turbo() -> str:
    """Return 'on', 'off' or '' where the kernel does not say."""
    no_turbo = read_text(_CPU / "intel_pstate/no_turbo")
    boost = read_text(_CPU / "cpufreq/boost")
    if no_turbo:
        return "off" if no_turbo == "1" else "on"
    return {"1": "on", "0": "off"}.get(boost, "")


def hypervisor() -> str:
    """Return the hypervisor's name, 'unknown' under an unnamed one, '' on bare metal."""
    if "hypervisor" not in _cpuinfo_field("flags").split():
        return ""
    known = {"QEMU": "KVM", "Google": "KVM", "Amazon": "KVM", "VMware": "VMware", "Xen": "Xen"}
    vendor = read_text(Path("/sys/class/dmi/id/sys_vendor"))
    hyperv = "Hyper-V" if "Microsoft" in vendor else "unknown"
    return next((name for key, name in known.items() if key in vendor), hyperv)


def board() -> str:
    """Return the board's or machine's name, '' where nobody says it."""
    return next(filter(None, (chips.board(read_text(path)) for path in _BOARDS)), "")


def _brand(info: dict[str, Any]) -> str:
    return str(info.get("brand_raw", "")) or platform.processor()


def read_text(path: Path) -> str:
    """Return a kernel file's content, '' where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip("\n\0 ")
    except (OSError, UnicodeDecodeError):
        return ""


def _fingerprint(facts: dict[str, Any]) -> str:
    """Hash what must be equal for two hosts' figures to be comparable; versions are kept apart."""
    names = (
        "cpu_model flags microcode sockets physical_cores logical_cores usable_cores "
        "kernel governor turbo hypervisor"
    ).split()
    stable = {name: facts[name] for name in names}
    # A reboot moves the kernel's own reserve by some pages; that is no other host.
    stable["memory_gib"] = round(facts["memory_limit_bytes"] / GIB, 1)
    text = json.dumps(stable, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cpuinfo_field(name: str) -> str:
    found = re.search(rf"^{name}\s*:(.*)$", read_text(_CPUINFO), re.MULTILINE)
    return found.group(1).strip() if found else ""


def _sockets() -> int:
    packages = {read_text(p) for p in _CPU.glob("cpu[0-9]*/topology/physical_package_id")}
    return len(packages - {""}) or 1


def _max_mhz(info: dict[str, Any]) -> float:
    frequency = psutil.cpu_freq()
    if frequency and frequency.max:
        return round(frequency.max, 1)
    advertised = info.get("hz_advertised") or info.get("hz_actual") or (0, 0)
    return round(advertised[0] / 1e6, 1)


def _cache_bytes(level: int) -> int:
    """Return the size of one data or unified cache of that level as cpu0 sees it."""
    for index in sorted((_CPU / "cpu0/cache").glob("index*")):
        if read_text(index / "level") == str(level) and read_text(index / "type") != "Instruction":
            text = read_text(index / "size")
            factor = {"K": 1024, "M": 1024**2}.get(text[-1:], 1)
            return int(text.rstrip("KM")) * factor if text else 0
    return 0


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return f"{platform.system()} {platform.release()}"


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
