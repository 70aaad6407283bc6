"""Copy tensors out of a pool's bytes into a file, at the speed of the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import FileIO


def cut(file: FileIO, source: memoryview, begin: int, length: int) -> None:
    """Write `length` bytes of `source` from `begin` on, round and round; `file` is unbuffered."""
    place, left = begin, length
    while left:
        written = file.write(source[place : place + left])
        left -= written
        place = (place + written) % len(source)


def pad(file: FileIO, alignment: int) -> int:
    """Fill up with zeros to a multiple of `alignment`; return where the next byte will lie."""
    file.write(bytes(-file.tell() % alignment))
    return file.tell()
