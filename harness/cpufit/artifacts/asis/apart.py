"""Read a model file in a process of its own, with limits: what it says decides what that takes.

A parser that hangs, dies or wants all memory ends there, and the file is refused in one line. The
same file is read once: the answer is kept.

    python -m cpufit.artifacts.asis.reader    a pickled (file, model) on stdin, JSON on stdout
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from stat import S_ISREG
from typing import TYPE_CHECKING, cast

from cpufit import confined, errors, plain
from cpufit.artifacts.base import About, Built  # noqa: TC001 - read by pydantic
from cpufit.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import TypeAdapter

    from cpufit.errors import CpufitError
    from cpufit.schema import Model

READER = "cpufit.artifacts.asis.reader"
ANSWER_BYTES = 4 << 20
_ANSWER_S = 20.0
DAMAGED = "the file is damaged: copy or export it again"
HOSTILE = "it is damaged or hostile: copy or export it again, or leave it out"


@dataclass(frozen=True)
class Problem:
    """A CpufitError, as it crosses the pipe."""

    kind: str
    problem: str
    remedy: str

    def error(self) -> CpufitError:
        """Return what was raised."""
        return cast("CpufitError", getattr(errors, self.kind)(self.problem, self.remedy))


@dataclass(frozen=True)
class Seen:
    """What a file says of itself; a part that it does not say is the reason."""

    about: About | Problem
    built: Built | Problem


def look(file: Path, model: Model) -> Seen:
    """Return what the model's file says; raise DataError where it cannot be read at all."""
    try:
        stat = file.stat()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "check the path") from error
    if not S_ISREG(stat.st_mode):
        raise DataError(f"{file} is no file", "name a model file")
    model = replace(model, family="own", context_tokens=0)  # which the file says, see `asis.known`
    return _look(file, model, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=256)
def _look(file: Path, model: Model, stamp: tuple[int, ...]) -> Seen:  # noqa: ARG001 - a key
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", READER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=confined.environment() | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            answer = _asked(process, pickle.dumps((file, model)))
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if answer is None or code:
            log.seek(0)
            raise DataError(f"{file.name} {died(answer, code, log.read())}", HOSTILE)
    return _seen().validate_json(answer)


def _asked(process: subprocess.Popen[bytes], job: bytes) -> bytes | None:
    """Return all that the process says to the job; None where it says too much, or too late."""
    assert process.stdin is not None
    assert process.stdout is not None
    deadline, answer = time.monotonic() + _ANSWER_S, bytearray()
    with process.stdin, process.stdout, suppress(BrokenPipeError):
        process.stdin.write(job)
        process.stdin.close()
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        while len(answer) <= ANSWER_BYTES:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return None
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return bytes(answer)
            answer += chunk
    return None


def died(answer: bytes | None, code: int, log: bytes) -> str:
    """Say why a reader gave no answer, to follow the name of the file."""
    if code == -signal.SIGXCPU or answer is None:
        return "takes longer to read than any model of its size"
    if code < 0:
        return f"ends what reads it by {signal.Signals(-code).name}"
    last = log.decode(errors="replace").strip().splitlines()[-1:]
    return f"cannot be read: {plain.line(last[0]) if last else f'code {code}'}"


@cache
def _seen() -> TypeAdapter[Seen]:
    from pydantic import TypeAdapter

    return TypeAdapter(Seen)
