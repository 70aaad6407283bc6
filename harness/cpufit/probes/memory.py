"""Resident memory of this process, and what the host can still give.

One definition everywhere: the high-water mark of resident pages (VmHWM), never virtual size, never
system-wide use. Source: proc_pid_status(5), proc_pid_clear_refs(5).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

from cpufit.probes import cgroup

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
    left = cgroup.memory_left_bytes()
    return available if left is None else min(available, left)


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
