"""Resident memory of this process, and what the host can still give.

One definition everywhere: the high-water mark of resident pages (VmHWM), never virtual size, never
system-wide use. Source: proc_pid_status(5), proc_pid_clear_refs(5).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_SAMPLE_S = 0.01


@dataclass(frozen=True)
class Resident:
    """Resident bytes now, split by what backs them, and the high-water mark."""

    total_bytes: int
    anon_bytes: int
    file_bytes: int
    peak_bytes: int


def resident() -> Resident:
    """Read this process's resident memory; without /proc the split is unknown (zeros)."""
    try:
        fields = _parse(_STATUS.read_text(encoding="ascii"))
    except OSError:
        total = psutil.Process().memory_info().rss
        return Resident(total, 0, 0, total)
    return Resident(
        total_bytes=fields["VmRSS"],
        anon_bytes=fields.get("RssAnon", 0),
        file_bytes=fields.get("RssFile", 0) + fields.get("RssShmem", 0),
        peak_bytes=fields["VmHWM"],
    )


def reset_peak() -> bool:
    """Set the high-water mark back to the present size; False where the kernel does not let us."""
    try:
        _CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def host_available_bytes() -> int:
    """Return what a new process can take: MemAvailable, or less where a cgroup limits us."""
    available = psutil.virtual_memory().available
    limit = cgroup_limit_bytes()
    return min(available, limit - _cgroup_used_bytes()) if limit else available


def cgroup_limit_bytes() -> int:
    """Return the memory limit of this process's cgroup, 0 where there is none."""
    return _read_cgroup("memory.max", "memory/memory.limit_in_bytes")


def _cgroup_used_bytes() -> int:
    return _read_cgroup("memory.current", "memory/memory.usage_in_bytes")


class Watch:
    """Watches this process's memory while a model is loaded and run.

    The kernel keeps a high-water mark of the total only. With `sample` a thread looks every 10 ms
    what the total is made of; without, `look` does, so that nothing disturbs what is timed.
    """

    def __init__(self, *, sample: bool) -> None:
        reset_peak()
        self.highest = resident()
        self.baseline_bytes = self.peak_bytes = self.highest.total_bytes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True) if sample else None

    def __enter__(self) -> Watch:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()

    def look(self) -> None:
        """Keep this moment if it is the highest so far, and the kernel's mark."""
        now = resident()
        self.peak_bytes = max(self.peak_bytes, now.peak_bytes, now.total_bytes)
        if now.total_bytes > self.highest.total_bytes:
            self.highest = now

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self.look()


def _parse(text: str) -> dict[str, int]:
    lines = (line.split() for line in text.splitlines() if line.endswith("kB"))
    return {parts[0].rstrip(":"): int(parts[1]) * 1024 for parts in lines}


def _read_cgroup(v2: str, v1: str) -> int:
    """Read a number of the own cgroup (v2 by its path, else v1's root); 0 for 'max' or nothing."""
    root = Path("/sys/fs/cgroup")
    for path in (own_cgroup() / v2, root / v2, root / v1):
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        # v1 writes "no limit" as the largest page-aligned number.
        return int(text) if text.isdigit() and int(text) < 1 << 60 else 0
    return 0


def own_cgroup() -> Path:
    """Return the folder of this process's control group (v2); the root's where it has none."""
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return root
    return root / next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), "")
