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


def write_graph(file: Path, head: bytes, graph: GraphProto, arrays: Sequence[Array]) -> None:
    """Write a model: `head` with its other fields, then `graph` with `arrays` as initializers.

    Where they are too much for one file they go into `FILE.data` beside it.
    """
    outside = sum(array.size_bytes for array in arrays) > _LARGEST_FILE
    data = file.with_name(file.name + ".data")
    protos = _placed(arrays, data.name) if outside else [array.proto() for array in arrays]
    rest = graph.SerializeToString(deterministic=True)
    heads = [proto.SerializeToString(deterministic=True) for proto in protos]
    tails = [b"" if outside else _head(_RAW_DATA, array.size_bytes) for array in arrays]
    inside = [0 if outside else array.size_bytes for array in arrays]
    lengths = [len(h) + len(t) + i for h, t, i in zip(heads, tails, inside, strict=True)]
    length = len(rest) + sum(len(_head(_INITIALIZER, n)) + n for n in lengths)
    with file.open("wb") as out:
        out.write(head + _head(_GRAPH, length) + rest)
        for array, described, tail, n in zip(arrays, heads, tails, lengths, strict=True):
            out.write(_head(_INITIALIZER, n) + described + tail)
            if not outside:
                out.write(array.bytes())
    if outside:
        _write_outside(data, arrays)


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
