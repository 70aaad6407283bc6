"""Protobuf's wire format, as far as it takes to write an ONNX file without copying its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import GraphProto, TensorProto

_LENGTH_DELIMITED = 2
_GRAPH = 7  # field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer
_INITIALIZER = 5


def write_graph(out: BinaryIO, graph: GraphProto, arrays: Sequence[TensorProto]) -> None:
    """Append `graph`, with `arrays` as its initializers, to the other fields of a model."""
    rest = graph.SerializeToString(deterministic=True)
    heads = [_head(_INITIALIZER, array.ByteSize()) for array in arrays]
    length = len(rest) + sum(
        len(head) + array.ByteSize() for head, array in zip(heads, arrays, strict=True)
    )
    out.write(_head(_GRAPH, length) + rest)
    for head, array in zip(heads, arrays, strict=True):
        out.write(head)
        out.write(array.SerializeToString(deterministic=True))


def _head(field: int, length: int) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    """Encode seven bits per byte, lowest first; the top bit says that more follow."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
