"""Write a graph as an ONNX file without holding its weights: Protobuf's own would thrice.

That takes as much of Protobuf's wire format as stands here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx import GraphProto

    from cpufit.networks.graph import Array, Graph

OPSET = 17  # the first with LayerNormalization; every engine we drive reads it
IR_VERSION = 8  # the version that goes with opset 17

_LENGTH_DELIMITED = 2
_GRAPH = 7  # field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer
_INITIALIZER = 5
_RAW_DATA = 9  # of TensorProto, the last of its fields that is written here
_LARGEST_FILE = 1 << 30  # protobuf ends at 2 GiB, and readers hold a file of that kind twice
_SMALLEST_OUTSIDE = 1024  # shapes must lie inside, where readers look for them
_PAGE = 4096  # so that what lies outside can be mapped


def data_of(file: Path) -> Path:
    """Return where the arrays of a large model lie."""
    return file.with_name(f"{file.name}.data")


def write(graph: Graph, file: Path) -> None:
    """Write a graph as a model, one array at a time.

    Weights of more than a GiB lie in `FILE.data` beside it.
    """
    made = helper.make_graph(
        nodes(graph),
        graph.name,
        [_info(i.name, i.dtype, i.shape) for i in graph.inputs],
        [_info(o.name, "float32", o.shape) for o in graph.outputs],
    )
    model = helper.make_model(
        made,
        producer_name="cpufit",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    model.ClearField("graph")
    head = model.SerializeToString(deterministic=True)
    _write_graph(file, head, made, graph.arrays)


def nodes(graph: Graph) -> list[Any]:
    """Return the graph's operations as ONNX has them."""
    return [
        helper.make_node(n.op, n.inputs, n.outputs, name=n.name, **n.attributes)
        for n in graph.operations
    ]


def _info(name: str, dtype: str, shape: Sequence[int | str]) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, list(shape))


def _proto(array: Array) -> TensorProto:
    """Describe an array without its values."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return TensorProto(name=array.name, data_type=kind, dims=array.shape)


def _bytes(array: Array) -> bytes:
    """Draw an array's values."""
    return array.draw().astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _write_graph(file: Path, head: bytes, graph: GraphProto, arrays: Sequence[Array]) -> None:
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
            out.write(_bytes(array))
    if outside:
        _write_outside(data, outside)


def _described(array: Array) -> bytes:
    """Return all of an initializer but its values, which come last."""
    proto = _proto(array).SerializeToString(deterministic=True)
    tail = _head(_RAW_DATA, array.size_bytes)
    return _entry(proto + tail, array.size_bytes)


def _entry(proto: bytes, more: int = 0) -> bytes:
    """Return an initializer of the graph of which `more` bytes are still to come."""
    return _head(_INITIALIZER, len(proto) + more) + proto


def _placed(arrays: Sequence[Array], location: str) -> list[TensorProto]:
    """Describe arrays that lie page by page in another file."""
    protos, offset = [], 0
    for array in arrays:
        proto = _proto(array)
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
            out.write(_bytes(array))


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
