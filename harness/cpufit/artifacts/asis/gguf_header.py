"""Read the header of a GGUF file: its keys and the place of every tensor.

gguf's own reader walks a corrupt array length without end and takes seconds over a vocabulary, so
the header is read here, in time that grows with it alone: every count is held against what is left
of the file before anything is taken, and arrays longer than any figure of a model are passed over.
Layout: ggml's `docs/gguf.md`, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from gguf import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGUF_MAGIC, GGMLQuantizationType

from cpufit.units import size

if TYPE_CHECKING:
    from pathlib import Path

_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_MOST_AXES = 4  # as ggml has it
_MOST_VALUES = 1 << 22  # in all arrays; a vocabulary with its merges has a fourth of that
_MOST_HEADER = 256 << 20  # bytes
_MOST_ENTRIES = 1 << 18  # keys, tensors
_MOST_KEPT = 4096  # of an array: one number a layer is, a vocabulary is not
_MOST_TEXT = 1 << 20  # of a text that is kept: chat templates are long
_KEY_BYTES, _TENSOR_BYTES = 13, 24  # the least that each takes
_MOST_ALIGNMENT = 1 << 20
_FIGURES = 2**62  # results hold 64 bits
_PLAUSIBLE = 256  # a version or format beyond that is damage, and none to come


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


class ForeignError(ValueError):
    """The file is whole, but none that is read here: `remedy` says what to do."""

    def __init__(self, words: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(words)


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
        self._values = 0  # of arrays, so far
        self.at = 0

    def check(self, count: int, least: int, what: str, most: int) -> None:
        """Raise ValueError where the file cannot hold so many, or no model has as many."""
        if count > most or count * least > len(self._data) - self.at:
            raise ValueError(f"it says it has {count:,} {what}")

    def many(self, code: str, count: int) -> tuple[Any, ...]:
        """Take `count` scalars; struct.error where the file has fewer."""
        layout = f"<{count}{code}"
        found = struct.unpack_from(layout, self._data, self.at)
        self.at += struct.calcsize(layout)
        return found

    def one(self, code: str) -> Any:
        return self.many(code, 1)[0]

    def text(self) -> str:
        length = self.one("Q")
        self.check(length, 1, "letters in a text", _MOST_TEXT)
        (raw,) = self.many("s", length)
        return str(raw, "utf-8", "replace")

    def value(self, kind: int) -> Any:
        """Take a value of a type of the format."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.one(_code(kind))
        return self._array(self.one("I"), self.one("Q"))

    def _array(self, inner: int, count: int) -> tuple[Any, ...]:
        """Take an array; a long one is passed over and reads as empty."""
        width = 8 if inner == _STRING else struct.calcsize(f"<{_code(inner)}")
        self._values += count
        self.check(count, width, "values in an array", _MOST_VALUES)
        self.check(self._values, 0, "values in its arrays", _MOST_VALUES)
        if count > _MOST_KEPT:
            self._pass_over(inner, count, width)
            return ()
        if inner == _STRING:
            return tuple(self.text() for _ in range(count))
        return self.many(_code(inner), count)

    def _pass_over(self, inner: int, count: int, width: int) -> None:
        at, length = self.at + count * width, struct.Struct("<Q")
        if inner == _STRING:
            at = self.at
            for _ in range(count):
                at += width + length.unpack_from(self._data, at)[0]
        self.at = at


def _code(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"it holds a value of unknown type {kind}")
    return _SCALARS[kind]


def _header(cursor: _Cursor) -> Header:
    if cursor.one("I") != GGUF_MAGIC:
        raise ValueError("it does not begin with 'GGUF'")
    _check_version(cursor.one("I"))
    tensor_count, key_count = cursor.many("Q", 2)
    cursor.check(key_count, _KEY_BYTES, "keys", _MOST_ENTRIES)
    keys = dict(_key(cursor) for _ in range(key_count))
    cursor.check(tensor_count, _TENSOR_BYTES, "tensors", _MOST_ENTRIES)
    tensors = tuple(_place(cursor) for _ in range(tensor_count))
    alignment = keys.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
    if cursor.at > _MOST_HEADER:
        raise ValueError(f"its header takes {size(cursor.at)}")
    if not isinstance(alignment, int) or not 1 <= alignment <= _MOST_ALIGNMENT:
        raise ValueError(f"its alignment is {alignment}")
    start = -(-cursor.at // alignment) * alignment
    ends = (start + place.offset + place.size_bytes for place in tensors)
    return Header(keys, tensors, max(ends, default=cursor.at))


def _check_version(version: int) -> None:
    if version in _VERSIONS:
        return
    if int.from_bytes(version.to_bytes(4, "big"), "little") in range(1, _PLAUSIBLE):
        raise ForeignError("is big-endian", "turn it with `gguf-convert-endian FILE little`")
    if version == 1:
        raise ForeignError(
            f"is of GGUF version {version}, of 2023, which llama.cpp reads no more",
            "convert the original model again, or download a newer file",
        )
    if version in range(max(_VERSIONS), _PLAUSIBLE):
        newest = f"newer than the {max(_VERSIONS)} that is known here"
        raise ForeignError(f"is of GGUF version {version}, {newest}", "update cpufit")
    raise ValueError(f"its version {version} is none of {_VERSIONS}")


def _kind(number: int, tensor: str) -> GGMLQuantizationType:
    try:
        return GGMLQuantizationType(number)
    except ValueError:
        if number >= _PLAUSIBLE:
            raise
        raise ForeignError(
            f"holds {tensor} in format number {number}, which this version of gguf does not know",
            "pip install --upgrade gguf llama-cpp-python, or take a file in another format",
        ) from None


def _key(cursor: _Cursor) -> tuple[str, Any]:
    name = cursor.text()
    return name, cursor.value(cursor.one("I"))


def _place(cursor: _Cursor) -> Place:
    name = cursor.text()
    axes = cursor.one("I")
    cursor.check(axes, 8, "axes of a tensor", _MOST_AXES)
    shape = cursor.many("Q", axes)
    if prod(shape) > _FIGURES:
        raise ValueError(f"it says a tensor is {' x '.join(map(str, shape))}")
    kind = _kind(cursor.one("I"), name)
    return Place(name, shape, kind, cursor.one("Q"))
