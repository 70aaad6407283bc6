"""Read the header of a GGUF file: its keys and the place of every tensor.

gguf's own reader walks a corrupt array length without end and takes seconds over a vocabulary, so
the header is read here; every length is checked against the file. Layout: ggml's `docs/gguf.md`,
versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from gguf import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGUF_MAGIC, GGMLQuantizationType

if TYPE_CHECKING:
    from pathlib import Path

_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)


@dataclass(frozen=True)
class Place:
    """One tensor: `offset` counts from the start of the data."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of its data."""
        block_size, block_bytes = GGML_QUANT_SIZES[self.kind]
        return int(self.parameters // block_size * block_bytes)


@dataclass(frozen=True)
class Header:
    """What precedes the data; `end` is the size the file must at least have."""

    keys: dict[str, Any]  # numbers, strings, booleans and tuples of them
    tensors: tuple[Place, ...]
    end: int


def read_header(file: Path) -> Header:
    """Parse the header; raise ValueError saying what is wrong, OSError if it cannot be read."""
    with file.open("rb") as opened:
        if not opened.read(1):
            raise ValueError("it is empty")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _header(_Cursor(data))
            except (struct.error, OverflowError) as error:
                raise ValueError("its header runs past its end, it is cut or damaged") from error


class _Cursor:
    """A place in the file from which values are taken one after another."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.at = 0

    def many(self, code: str, count: int) -> tuple[Any, ...]:
        """Take `count` scalars; struct.error where the file has fewer."""
        layout = f"<{count}{code}"
        found = struct.unpack_from(layout, self._data, self.at)
        self.at += struct.calcsize(layout)
        return found

    def one(self, code: str) -> Any:
        return self.many(code, 1)[0]

    def text(self) -> str:
        (raw,) = self.many("s", self.one("Q"))
        return str(raw, "utf-8", "replace")

    def value(self, kind: int) -> Any:
        """Take a value of a type of the format."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.one(_code(kind))
        inner, count = self.one("I"), self.one("Q")
        if inner == _STRING:
            return tuple(self.text() for _ in range(count))
        return self.many(_code(inner), count)


def _code(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"it holds a value of unknown type {kind}")
    return _SCALARS[kind]


def _header(cursor: _Cursor) -> Header:
    if cursor.one("I") != GGUF_MAGIC:
        raise ValueError("it does not begin with 'GGUF'")
    version = cursor.one("I")
    if version not in _VERSIONS:
        raise ValueError(f"its version {version} is none of {_VERSIONS}")
    tensor_count, key_count = cursor.many("Q", 2)
    keys = dict(_key(cursor) for _ in range(key_count))
    tensors = tuple(_place(cursor) for _ in range(tensor_count))
    alignment = keys.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"its alignment is {alignment}")
    start = -(-cursor.at // alignment) * alignment
    ends = (start + place.offset + place.size_bytes for place in tensors)
    return Header(keys, tensors, max(ends, default=cursor.at))


def _key(cursor: _Cursor) -> tuple[str, Any]:
    name = cursor.text()
    return name, cursor.value(cursor.one("I"))


def _place(cursor: _Cursor) -> Place:
    name = cursor.text()
    shape = cursor.many("Q", cursor.one("I"))
    kind = GGMLQuantizationType(cursor.one("I"))  # ValueError names an unknown one
    return Place(name, shape, kind, cursor.one("Q"))
