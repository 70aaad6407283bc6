"""What a child process may see and take: its environment, and limits that it sets itself."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

# What a child may see of the user's environment; all else would make runs differ.
_ALLOWED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "XDG_CACHE_HOME")
# The same hash order everywhere, and no runtime that reports home while it is measured.
_FIXED = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "ORT_DISABLE_TELEMETRY": "1"}
_FIRST_TO_GO = "1000"
_PR_SET_PDEATHSIG = 1


def environment() -> dict[str, str]:
    """Return a child's whole environment."""
    return {name: os.environ[name] for name in _ALLOWED if name in os.environ} | _FIXED


def expendable() -> None:
    """End with the parent, however that happens, and go before any other process if memory ends.

    The user's desktop must not die for a model that is too large. Nothing where Linux refuses.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    _limit(resource.RLIMIT_CORE, 0)


def confine(memory_bytes: int, cpu_s: int, written_bytes: int) -> None:
    """Let this process take no more than that from now on: so much address space and CPU time.

    Beyond it, allocations fail and Linux ends the process with SIGXCPU; a file that it writes,
    its output among them, grows to `written_bytes`.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    spent = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes)
    _limit(resource.RLIMIT_CPU, round(spent.ru_utime + spent.ru_stime) + cpu_s, spare=1)
    _limit(resource.RLIMIT_FSIZE, written_bytes)


def _limit(what: int, most: int, spare: int = 0) -> None:
    """Set a limit, no higher than the one that is set already; `spare` beyond it nothing helps."""
    hard = resource.getrlimit(what)[1]
    last = most + spare if hard == resource.RLIM_INFINITY else min(most + spare, hard)
    resource.setrlimit(what, (min(most, last), last))
