"""The names of an ONNX file's open axes, and its operators, read without its weights.

ONNX Runtime must be told the value of a named axis before it loads a file, and only the file knows
the names. Parsing it whole would hold every weight in the memory that is about to be measured, so
this walks the Protocol Buffers wire format and seeks past all else. Field numbers
are those of `onnx.proto3`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GRAPH = 7  # of ModelProto
_NODE, _INPUT = 1, 11  # of GraphProto
_OPERATOR = 4  # of NodeProto
_NAME, _TYPE = 1, 2  # of ValueInfoProto
_TENSOR = 1  # of TypeProto
_SHAPE = 2  # of TypeProto.Tensor
_DIM = 1  # of TensorShapeProto
_PARAM = 2  # of TensorShapeProto.Dimension
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class _Span:
    """A message's place in the file."""

    file: BinaryIO
    start: int
    end: int

    def fields(self, wanted: int) -> Iterator[_Span]:
        """Yield the length-delimited fields numbered `wanted`; end quietly at any damage."""
        position = self.start
        while position < self.end:
            self.file.seek(position)
            tag = _varint(self.file)
            length = _length(self.file, tag & 7)
            start = self.file.tell()
            position = start + length
            if length < 0 or position > self.end:
                return
            if tag == wanted << 3 | _BYTES:
                yield _Span(self.file, start, position)

    def first(self, *path: int) -> _Span:
        """Return the message at the end of `path`, an empty one where there is none."""
        here = self
        for number in path:
            here = next(here.fields(number), _Span(self.file, 0, 0))
        return here

    def text(self) -> str:
        """Return the field as a string."""
        self.file.seek(self.start)
        return self.file.read(self.end - self.start).decode("utf-8", "replace")


def axis_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Return, for each input of the graph, the names of its axes; '' for a fixed or nameless one.

    A damaged file gives what could be read: the runtime that loads it says what is wrong.
    """
    with path.open("rb") as file:
        whole = _Span(file, 0, path.stat().st_size)
        return {
            value.first(_NAME).text(): tuple(
                axis.first(_PARAM).text()
                for axis in value.first(_TYPE, _TENSOR, _SHAPE).fields(_DIM)
            )
            for value in whole.first(_GRAPH).fields(_INPUT)
        }


def has_operator(path: Path, operator: str) -> bool:
    """Return whether a node of the graph itself, not of those inside it, is this operator."""
    with path.open("rb") as file:
        whole = _Span(file, 0, path.stat().st_size)
        nodes = whole.first(_GRAPH).fields(_NODE)
        return any(node.first(_OPERATOR).text() == operator for node in nodes)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return 0
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            break
    return value


def _length(file: BinaryIO, wire: int) -> int:
    """Return the bytes the field's value still takes; -1 where the wire type is none of ONNX's."""
    if wire == _VARINT:
        _varint(file)
        return 0
    if wire == _BYTES:
        return _varint(file)
    return {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
