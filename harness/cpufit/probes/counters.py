"""Hardware counters of this process and all its threads, through perf_event_open(2).

Instructions hardly change from run to run where times do, so they are a second opinion. Virtual
machines and containers often have none.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import NamedTuple

from cpufit.errors import UnavailableError

_SYSCALLS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
_ATTR_BYTES = 64  # the oldest layout of struct perf_event_attr, which every kernel takes
_READ_TIMES = 1 | 2  # PERF_FORMAT_TOTAL_TIME_ENABLED and _RUNNING
# Bits of the attribute: inherit, exclude_kernel, exclude_hv.
_FLAGS = 1 << 1 | 1 << 5 | 1 << 6
_CLOSE_ON_EXEC = 1 << 3


class Event(NamedTuple):
    """What to count: numbers of the kernel's interface (linux/perf_event.h)."""

    name: str
    kind: int
    config: int


HARDWARE = (
    Event("instructions", 0, 1),
    Event("cycles", 0, 0),
    Event("llc_misses", 0, 3),  # PERF_COUNT_HW_CACHE_MISSES: last-level cache
)


class Counters:
    """Counters that run, in this thread and in those begun after they were opened.

    Raises UnavailableError where the host has none or does not let us.
    """

    def __init__(self, events: tuple[Event, ...] = HARDWARE) -> None:
        self._files: dict[str, int] = {}
        try:
            for event in events:
                self._files[event.name] = _open(event)
        except OSError as error:
            self.close()
            raise UnavailableError(*_words(error)) from error

    def read(self) -> dict[str, float]:
        """Return the totals so far, scaled up where the CPU had to share its counters in turns."""
        return {name: _total(os.read(file, 24)) for name, file in self._files.items()}

    def close(self) -> None:
        """Give the counters back."""
        for file in self._files.values():
            os.close(file)
        self._files = {}


def problem() -> str:
    """Say why this host has no hardware counters; '' where it has."""
    try:
        Counters().close()
    except UnavailableError as error:
        return str(error)
    return ""


def _open(event: Event) -> int:
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, "not known for this architecture")
    fields = (event.kind, _ATTR_BYTES, event.config, 0, 0, _READ_TIMES, _FLAGS)
    attribute = ctypes.create_string_buffer(struct.pack("=IIQQQQQ", *fields), _ATTR_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    file = libc.syscall(number, attribute, 0, -1, -1, _CLOSE_ON_EXEC)
    if file < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return int(file)


def _total(data: bytes) -> float:
    value, enabled, running = struct.unpack("=QQQ", data)
    return float(value) * (enabled / running if running else 1.0)


def _words(error: OSError) -> tuple[str, str]:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            "hardware counters are not allowed",
            "sudo sysctl kernel.perf_event_paranoid=2, or the container's CAP_PERFMON",
        )
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
        return "this CPU shows no hardware counters", "common in virtual machines"
    return f"no hardware counters: {os.strerror(error.errno or 0)}", ""
