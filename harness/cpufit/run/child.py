"""One child process: start it, wait blocked for its messages, end it in time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pydantic import TypeAdapter

from cpufit.schema import Job, Message, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cpufit.schema import Artifact, Numerics

_JOB = TypeAdapter(Job)
_MESSAGE = TypeAdapter(Message)
# What a runtime may see of the user's environment; all else would make runs differ.
_ALLOWED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "XDG_CACHE_HOME")
# The same hash order everywhere, and no runtime that reports home while it is measured.
_FIXED = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "ORT_DISABLE_TELEMETRY": "1"}
_CHUNK = 1 << 16
_LOG_TAIL = 16_000
_UNLOAD_S = 10.0  # a child that has said its last word may still unload a model


@dataclass(frozen=True)
class Reply:
    """What came of a child: what it was asked for, an outcome, or (log) the traceback of a bug."""

    artifact: Artifact | None = None
    numerics: Numerics | None = None
    outcome: Outcome | None = None
    log: str = ""


def environment() -> dict[str, str]:
    """Return the child's whole environment."""
    kept = {name: os.environ[name] for name in _ALLOWED if name in os.environ}
    return {**kept, **_FIXED}


def ask(job: Job, timeout_s: float, on_stage: Callable[[str], None]) -> Reply:
    """Have a fresh process do the job; whatever happens to it becomes the reply.

    On KeyboardInterrupt the child is killed before the interrupt goes on.
    """
    oom_before = _oom_kills()
    with tempfile.TemporaryFile() as log:
        process, pipe = _start(job, log)
        deadline = time.monotonic() + timeout_s
        stage, last = "starting", Message()
        try:
            for message in _messages(pipe, deadline):
                last = message
                if message.stage:
                    stage = message.stage
                    on_stage(stage)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_UNLOAD_S)
        except TimeoutError:
            return Reply(outcome=_timeout(timeout_s, stage))
        finally:
            os.close(pipe)
            _kill(process)
        if last.artifact or last.numerics or last.outcome:
            return Reply(last.artifact, last.numerics, last.outcome)
        text = _tail(log)
    return Reply(outcome=_death(process.returncode, stage, text, oom_before), log=text)


def _start(job: Job, log: IO[bytes]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the worker in a session of its own, so that Ctrl-C reaches only the parent."""
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            # -P: a folder or file of the user's must not shadow a package.
            [sys.executable, "-P", "-m", "cpufit.worker", str(write_end)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(write_end,),
            env=environment(),
            start_new_session=True,
        )
    finally:
        os.close(write_end)
    with suppress(BrokenPipeError):  # the child died at once: its log will say why
        assert process.stdin is not None
        process.stdin.write(_JOB.dump_json(job))
        process.stdin.close()
    return process, read_end


def _messages(pipe: int, deadline: float) -> Iterator[Message]:
    """Yield messages until the child closes the pipe; blocked in poll(2) between them."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    rest = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError
        chunk = os.read(pipe, _CHUNK)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (_MESSAGE.validate_json(line) for line in lines)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the child and of its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _timeout(timeout_s: float, stage: str) -> Outcome:
    return Outcome(
        status="timeout",
        reason=f"killed after {timeout_s:g} s while {stage}",
        remedy="a longer budget (--budget full) waits longer",
    )


def _death(code: int, stage: str, log: str, oom_before: int) -> Outcome:
    """Say how a child died that never answered."""
    if code == -signal.SIGKILL and _oom_kills() > oom_before:
        return Outcome(
            status="oom",
            reason=f"killed by the kernel for memory while {stage}",
            remedy="close other programs, or take a smaller model or precision",
        )
    if code < 0:
        name = signal.Signals(-code).name
        return Outcome(status="crashed", reason=f"died of {name} while {stage}")
    lines = log.strip().splitlines() or ["it said nothing"]
    return Outcome(status="failed", reason=f"ended with code {code} while {stage}: {lines[-1]}")


def _oom_kills() -> int:
    """Return how many processes the kernel has killed for memory since boot, -1 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return -1
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), -1)


def _tail(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
    return log.read().decode(errors="replace")
