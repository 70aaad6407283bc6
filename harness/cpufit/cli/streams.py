"""Standard output and error as they may be: closed, full, or without a letter for '±'.

None of that may end a measurement. What cannot be printed is lost, which is said once.
"""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import sys
from typing import TYPE_CHECKING, TextIO

from cpufit import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

# What stands for a letter on a stream that has none; of all others their number as JSON writes it.
_NEAR = {
    "±": "+-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "…": "...",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "†": "+",
    "µ": "u",
    "·": "-",
    "•": "*",
}
_BRAILLE, _BOX = range(0x2800, 0x2900), range(0x2500, 0x2580)  # what rich draws with


def near(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the letters that could not be encoded, as `codecs` asks for it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_near(letter) for letter in error.object[error.start : error.end]), error.end


def _near(letter: str) -> str:
    if ord(letter) in _BRAILLE or ord(letter) in _BOX:
        return "-"
    return plain.byte(letter) or _NEAR.get(letter) or json.dumps(letter)[1:-1]


class _Patient(io.FileIO):
    """A descriptor that takes everything: what it cannot write is lost."""

    def __init__(self, handle: int, lost: Callable[[OSError], None]) -> None:
        super().__init__(handle, "w", closefd=False)
        self._lost: Callable[[OSError], None] | None = lost

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what can be; say the first time that it cannot."""
        if self._lost is not None:
            try:
                if (count := super().write(data)) is not None:
                    return count
                os.set_blocking(self.fileno(), True)  # another program had made it impatient
                return super().write(data)
            except OSError as error:
                lost, self._lost = self._lost, None
                lost(error)
        return memoryview(data).nbytes


class Streams:
    """This process's output, made to last."""

    def __init__(self) -> None:
        self.broken = False  # and that is a loss: `head` has what it wanted
        closed = _open_what_is_closed()
        codecs.register_error("cpufit.near", near)
        sys.stderr = _stream(2, sys.stderr, lambda _: None)
        sys.stdout = _stream(1, sys.stdout, self._say)
        if 1 in closed:
            self._say(OSError(errno.EBADF, "it is closed"))

    def _say(self, error: OSError) -> None:
        if error.errno != errno.EPIPE:
            self.broken = True
            sys.stderr.write(f"cpufit: standard output is lost: {error.strerror}\n")
            sys.stderr.flush()


def _stream(
    handle: int, before: TextIO | None, lost: Callable[[OSError], None]
) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(_Patient(handle, lost)),
        encoding=before.encoding if before else "utf-8",
        errors="cpufit.near",
        line_buffering=os.isatty(handle) or handle == 2,
    )


def _open_what_is_closed() -> set[int]:
    """Open what is closed, lest the next file that is opened is taken for standard output."""
    closed = set()
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
            os.set_inheritable(handle, True)
            closed.add(handle)
    return closed
