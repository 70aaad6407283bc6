"""What this process's control groups allow: memory, and CPU time. Version 1 and 2.

A limit holds for a group and all below it, so the tightest from the own group up to the root
counts. Inside a container the own group's path may be that of the host: what does not exist is
passed over, and the root is the container's own. Source: cgroups(7), cgroup-v2.rst,
cgroup-v1/memory.rst.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60  # v1 writes the largest page-aligned number
# Above memory.high a group is only slowed down, but to a crawl: nothing fits there.
_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
_USES = ("memory.current", "memory.usage_in_bytes")
_FILE_LISTS = ("inactive_file", "active_file")


def memory_limit_bytes() -> int:
    """Return how much memory the process may have, 0 where nothing but the RAM limits it."""
    return min((limit for limit, _ in _memory()), default=0)


def memory_left_bytes() -> int | None:
    """Return how much more memory the process may have, None where nothing limits it.

    Page cache that the group's processes caused is free: the kernel drops it before it refuses.
    """
    return min((limit - used for limit, used in _memory()), default=None)


def quota_cores() -> float:
    """Return how many cores' time the process may use; infinite where there is no quota."""
    return min(_quotas(), default=inf)


def periods() -> tuple[int, int] | None:
    """Return in how many periods (0.1 s) the process's quota was counted, and in how many it was
    used up, so that all threads stood still until the next; None without a quota.
    """
    found = []
    for folder in _folders("cpu"):
        with suppress(OSError, ValueError, KeyError):
            stat = dict(line.split() for line in _read(folder / "cpu.stat").splitlines())
            found.append((int(stat["nr_periods"]), int(stat["nr_throttled"])))
    return max((pair for pair in found if pair[0]), key=lambda pair: pair[1], default=None)


def _memory() -> Iterator[tuple[int, int]]:
    """Yield limit and use of each group that has a limit; what the kernel can drop is not used."""
    for folder in _folders("memory"):
        stat = _stat(folder)
        limits = [_number(folder / name) for name in _LIMITS]
        limits.append(stat.get("hierarchical_memory_limit", _NO_LIMIT))  # of groups not seen here
        used = min(_number(folder / name) for name in _USES)
        if min(limits) < _NO_LIMIT and used < _NO_LIMIT:
            yield min(limits), max(0, used - _droppable_bytes(stat))


def _droppable_bytes(stat: Mapping[str, int]) -> int:
    """Return a group's page cache of files, which makes room for whoever needs memory.

    What tmpfs holds and what is locked is on other lists. In version 1 only a name with 'total_'
    counts the groups below, as the group's use does.
    """
    return sum(stat.get(f"total_{name}", stat.get(name, 0)) for name in _FILE_LISTS)


def _stat(folder: Path) -> dict[str, int]:
    with suppress(OSError, ValueError):
        lines = (line.split() for line in _read(folder / "memory.stat").splitlines())
        return {name: int(value) for name, value in lines}
    return {}


def _number(path: Path) -> int:
    """Return what a file says, more than any limit where it is missing or says 'max'."""
    with suppress(OSError, ValueError):
        return int(_read(path))
    return _NO_LIMIT


def _quotas() -> Iterator[float]:
    for folder in _folders("cpu"):
        with suppress(OSError, ValueError):
            quota, period = map(int, _read(folder / "cpu.max").split())
            yield quota / period
        with suppress(OSError, ValueError):
            quota, period = (
                int(_read(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period")
            )
            if quota > 0:
                yield quota / period


def _folders(controller: str) -> list[Path]:
    """Return the own group's folder and those above it, as far as they exist."""
    found: list[Path] = []
    with suppress(OSError):
        for line in _read(_SELF).splitlines():
            _, names, path = line.split(":", 2)
            if names and controller not in names.split(","):
                continue
            root = _ROOT / controller if names else _ROOT
            own = root / path.lstrip("/")
            found += [f for f in (own, *own.parents) if f.is_relative_to(root) and f.is_dir()]
    return list(dict.fromkeys(found))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
