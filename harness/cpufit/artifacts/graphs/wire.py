"""Protobuf's wire format, as far as it takes to write an ONNX file without holding its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from onnx import GraphProto

_LENGTH_DELIMITED = 2
_GRAPH = 7  # field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer
_INITIALIZER = 5
_RAW_DATA = 9  # of TensorProto, the last of its fields that is written here
_LARGEST_FILE = 1 << 30  # protobuf ends at 2 GiB, and readers hold a file of that kind twice
_SMALLEST_OUTSIDE = 1024  # shapes must lie inside, where readers look for them
_PAGE = 4096  # so that what lies outside can be mapped


@dataclass(frozen=True)
class Array:
    """An initializer that is drawn when it is written, and forgotten."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    draw: Callable[[], NDArray[Any]]

    @property
    def size_bytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def proto(self) -> TensorProto:
        """Describe it without its values."""
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        return TensorProto(name=self.name, data_type=kind, dims=self.shape)

    def bytes(self) -> bytes:
        """Draw its values."""
        return self.draw().astype(self.dtype.newbyteorder("<"), copy=False).tobytes()


def data_of(file: Path) -> Path:
    """Return where the arrays of a large model lie."""
    return file.with_name(f"{file.name}.data")


def write_graph(file: Path, head: bytes, graph: GraphProto, arrays: Sequence[Array]) -> None:
    """Write a model: `head` with its other fields, then `graph` with `arrays` as initializers.

    Where they are too much for one file, all but small ones go into `FILE.data` beside it.
    """
    large = sum(array.size_bytes for array in arrays) > _LARGEST_FILE
    outside = [array for array in arrays if large and array.size_bytes >= _SMALLEST_OUTSIDE]
    inside = [array for array in arrays if array not in outside]
    data = data_of(file)
    rest = graph.SerializeToString(deterministic=True)
    placed = [_entry(p.SerializeToString(deterministic=True)) for p in _placed(outside, data.name)]
    heads = [(_described(array), array.size_bytes) for array in inside]
    length = len(rest) + sum(map(len, placed)) + sum(len(h) + size for h, size in heads)
    with file.open("wb") as out:
        out.write(head + _head(_GRAPH, length) + rest + b"".join(placed))
        for array, (described, _) in zip(inside, heads, strict=True):
            out.write(described)
            out.write(array.bytes())
    if outside:
        _write_outside(data, outside)


def _described(array: Array) -> bytes:
    """Return all of an initializer but its values, which come last."""
    proto = array.proto().SerializeToString(deterministic=True)
    tail = _head(_RAW_DATA, array.size_bytes)
    return _entry(proto + tail, array.size_bytes)


def _entry(proto: bytes, more: int = 0) -> bytes:
    """Return an initializer of the graph of which `more` bytes are still to come."""
    return _head(_INITIALIZER, len(proto) + more) + proto


def _placed(arrays: Sequence[Array], location: str) -> list[TensorProto]:
    """Describe arrays that lie page by page in another file."""
    protos, offset = [], 0
    for array in arrays:
        proto = array.proto()
        proto.data_location = TensorProto.EXTERNAL
        facts = {"location": location, "offset": offset, "length": array.size_bytes}
        for key, value in facts.items():
            proto.external_data.add(key=key, value=str(value))
        protos.append(proto)
        offset += -(-array.size_bytes // _PAGE) * _PAGE
    return protos


def _write_outside(file: Path, arrays: Sequence[Array]) -> None:
    with file.open("wb") as out:
        for array in arrays:
            _fill_page(out)
            out.write(array.bytes())


def _fill_page(out: BinaryIO) -> None:
    out.write(bytes(-out.tell() % _PAGE))


def _head(field: int, length: int) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    """Encode seven bits per byte, lowest first; the top bit says that more follow."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
