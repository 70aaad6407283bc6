"""One child process: start it, wait blocked for its messages, end it in time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pydantic import TypeAdapter

from cpufit import confined
from cpufit.schema import Job, Message, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpufit.schema import Artifact, Numerics

_JOB = TypeAdapter(Job)
_MESSAGE = TypeAdapter(Message)
_CHUNK = 1 << 16
_LOG_TAIL = 16_000
_UNLOAD_S = 10.0  # a child that has said its last word may still unload a model
_ANOTHER_BUILD = "install a build for this CPU; for llama.cpp with AMX see docs/measuring.md"


@dataclass(frozen=True)
class Interpreter:
    """Which Python a child runs in, and a folder where it finds what it has not installed."""

    python: str = sys.executable
    path: str = ""


HERE = Interpreter()


@dataclass(frozen=True)
class Reply:
    """What came of a child: what it was asked for, an outcome, or (log) the traceback of a bug."""

    artifact: Artifact | None = None
    numerics: Numerics | None = None
    outcome: Outcome | None = None
    log: str = ""
    stage: str = ""  # what it was doing last


def environment(interpreter: Interpreter = HERE) -> dict[str, str]:
    """Return the child's whole environment."""
    path = {"PYTHONPATH": interpreter.path} if interpreter.path else {}
    return confined.environment() | path


def ask(
    job: Job,
    timeout_s: float,
    on_stage: Callable[[str], None],
    interpreter: Interpreter = HERE,
) -> Reply:
    """Have a fresh process do the job; whatever happens to it becomes the reply.

    On KeyboardInterrupt the child is killed before the interrupt goes on.
    """
    with Child(job, timeout_s, on_stage, interpreter) as child:
        child.go(last=True)
        child.wait()
        return child.reply()


class Child:
    """A process that does a job; it lives until `with` ends.

    Raises nothing for what happens to it: `wait` says that it ended, `reply` how.
    """

    def __init__(
        self,
        job: Job,
        timeout_s: float,
        on_stage: Callable[[str], None],
        interpreter: Interpreter,
    ) -> None:
        self._oom_before, self._timeout_s, self._on_stage = _oom_kills(), timeout_s, on_stage
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process, self._pipe = _start(job, self._log, interpreter)
        self._messages = _Messages(self._pipe)
        self._stage, self._last, self._late = "starting", Message(), False

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.go(last=True)
        os.close(self._pipe)
        _kill(self._process)
        self._log.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def go(self, *, last: bool = False) -> None:
        """Tell it that its turn has come; or, by the end of its input, that none will follow."""
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        with suppress(BrokenPipeError):  # it died: what follows says why
            if last:
                self._process.stdin.close()
            else:
                self._process.stdin.write(b"\n")
                self._process.stdin.flush()

    def rest(self) -> None:
        """Stop it until its next turn: a runtime's idle threads may spin, on somebody's core."""
        self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self, stage: str = "") -> bool:
        """Wait, blocked, until it says that it has come so far; False where it ended before."""
        deadline = time.monotonic() + self._timeout_s
        try:
            while (message := self._messages.next(deadline)) is not None:
                self._last = message
                if message.stage:
                    self._stage = message.stage
                    self._on_stage(message.stage)
                if stage and message.stage == stage:
                    return True
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_UNLOAD_S)
        except TimeoutError:
            self._late = True
        return False

    @property
    def slices_ns(self) -> tuple[float, ...]:
        """What the slices of its last turn came to, one of every quantity."""
        return self._last.slices_ns

    def reply(self) -> Reply:
        """Return what came of it, once it has ended."""
        if self._late:
            return Reply(outcome=_timeout(self._timeout_s, self._stage), stage=self._stage)
        last = self._last
        if last.artifact or last.numerics or last.outcome:
            return Reply(last.artifact, last.numerics, last.outcome, stage=self._stage)
        _kill(self._process)
        text = _tail(self._log)
        code = self._process.returncode
        outcome = death(code, self._stage, text, self._oom_before)
        return Reply(outcome=outcome, log=text, stage=self._stage)


class _Messages:
    """What a child writes into its pipe, one after another."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._rest = pipe, b""
        self._ready: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)

    def next(self, deadline: float) -> Message | None:
        """Return the next message, None where the child has closed the pipe.

        Blocked in poll(2) until then; raises TimeoutError after `deadline`.
        """
        while not self._ready:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise TimeoutError
            chunk = os.read(self._pipe, _CHUNK)
            if not chunk:
                return None
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._ready += lines
        return _MESSAGE.validate_json(self._ready.popleft())


def _start(
    job: Job, log: IO[bytes], interpreter: Interpreter
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the worker in a session of its own, so that Ctrl-C reaches only the parent."""
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            # -P: a folder or file of the user's must not shadow a package.
            [interpreter.python, "-P", "-m", "cpufit.measuring.worker", str(write_end)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(write_end,),
            env=environment(interpreter),
            start_new_session=True,
        )
    finally:
        os.close(write_end)
    with suppress(BrokenPipeError):  # the child died at once: its log will say why
        assert process.stdin is not None
        process.stdin.write(_JOB.dump_json(job) + b"\n")
        process.stdin.flush()
    return process, read_end


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


def death(code: int, stage: str, log: str, oom_before: int) -> Outcome:
    """Say how a child died that never answered."""
    if code == -signal.SIGKILL and _oom_kills() > oom_before:
        return Outcome(
            status="oom",
            reason=f"killed by the kernel for memory while {stage}",
            remedy="close other programs, or take a smaller model or precision",
        )
    if code < 0:
        name = signal.Signals(-code).name
        remedy = _ANOTHER_BUILD if code == -signal.SIGILL else ""
        return Outcome(status="crashed", reason=f"died of {name} while {stage}", remedy=remedy)
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
