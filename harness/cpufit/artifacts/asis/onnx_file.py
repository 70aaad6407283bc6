"""Read what a user's own ONNX file says of itself: inputs, parameters, number format."""

from __future__ import annotations

import mmap
from collections import Counter
from dataclasses import replace
from math import prod
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto as Tensor

from cpufit.artifacts.asis.apart import DAMAGED
from cpufit.artifacts.asis.axes import Found, described, family_of, may_steer
from cpufit.artifacts.asis.beside import context_beside
from cpufit.artifacts.asis.onnx_graph import WORDS, constants_of, uses_of
from cpufit.artifacts.asis.onnx_lean import lean
from cpufit.artifacts.asis.onnx_text import Value, bytes_per_token, check_text, is_text, notes
from cpufit.artifacts.asis.reach import rows_of, steered_by
from cpufit.artifacts.base import About, Built
from cpufit.errors import DataError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cpufit.artifacts.base import Guessed
    from cpufit.precisions import Precision
    from cpufit.schema import Family, Model

    Sizes = Mapping[str, Sequence[int]]  # shapes of constants by name

_DOMAINS = frozenset(
    ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "org.openvinotoolkit")
)
_FLOATS = frozenset(
    (Tensor.FLOAT, Tensor.FLOAT16, Tensor.BFLOAT16, Tensor.DOUBLE, Tensor.FLOAT8E4M3FN)
)
_QUANTIZED = frozenset((Tensor.INT8, Tensor.UINT8, Tensor.INT4, Tensor.UINT4))
_PACKED = frozenset((Tensor.INT4, Tensor.UINT4, Tensor.FLOAT4E2M1, Tensor.STRING))
_STORED: dict[int, Precision] = {
    Tensor.FLOAT16: "fp16",
    Tensor.BFLOAT16: "bf16",
    Tensor.INT8: "int8",
    Tensor.UINT8: "int8",
    Tensor.INT4: "int4",
    Tensor.UINT4: "int4",
}
_QUANTIZING = {  # operator -> how such a file is called
    "MatMulInteger": "dynamic int8",
    "ConvInteger": "dynamic int8",
    "DynamicQuantizeMatMul": "dynamic int8",
    "QLinearConv": "QOperator int8",
    "QLinearMatMul": "QOperator int8",
    "QuantizeLinear": "QDQ int8",
}
# operator -> the inputs that scale or shift other numbers and are no parameters themselves
_SCALES = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "MatMulInteger": (2, 3),
    "ConvInteger": (2, 3),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "DynamicQuantizeMatMul": (2, 3),
    "MatMulNBits": (2, 3, 4),
}
_RENAMED = {"float": "float32", "double": "float64"}  # to numpy's names
# What may stand between an image and its first convolution.
_PER_PIXEL = frozenset(
    ("Cast", "Identity", "Add", "Sub", "Mul", "Div", "Pad", "QuantizeLinear", "DequantizeLinear")
)
_MOST_AXES, _MOST_A_BYTE = 64, 8  # of a tensor; numbers, of one bit each
_DIGITS = 20  # of a file offset, at most
_MOST_PATH = 1000  # letters


def inspect(file: Path, model: Model) -> Built:
    """Describe an ONNX file that will be run as it is.

    Parameters are the elements of its weights, wherever they are kept (initializers, Constant
    nodes, files beside it), batch-norm statistics included; shapes, indices and the scales of
    quantized numbers are not counted. Raises DataError for a damaged file and UnsupportedError for
    one that no runtime here can run.
    """
    proto = _read(file)
    _check(proto, file)
    built = Built(
        file=file,
        parameters=sum(_weights(proto).values()),
        format=_format(proto),
        recipe=f"as it is: ONNX opset {_opset(proto)} from {proto.producer_name or 'unknown'}",
    )
    return _with_text(built, proto) if _is_text(proto) else _with_inputs(built, proto, model)


def about(file: Path) -> About:
    """Return the precision it computes in, or stores most of its weights in, and what it is."""
    proto = _read(file)
    if not _is_text(proto):
        return About(precision=_precision(proto), family=_family(proto))
    check_text(file.name, _values(_graph_inputs(proto)), _values(proto.graph.output))
    return About(precision=_precision(proto), family="llm", context_tokens=_context(proto, file))


def _with_text(built: Built, proto: onnx.ModelProto) -> Built:
    """Return the description of a language model, whose inputs come with each step."""
    inputs, outputs = _values(_graph_inputs(proto)), _values(proto.graph.output)
    check_text(built.file.name, inputs, outputs)
    return replace(built, kv_bytes_per_token=bytes_per_token(inputs), notes=notes(outputs))


def _with_inputs(built: Built, proto: onnx.ModelProto, model: Model) -> Built:
    (inputs, told), *others = _described(proto, model)
    return replace(built, inputs=inputs, notes=told, others=tuple(others))


# ------------------------------------------------------------------------------- reading the file
def _read(file: Path) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        with (
            file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as whole,
        ):
            proto.ParseFromString(lean(whole))
    except (DecodeError, ValueError):
        proto.Clear()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "check the path") from error
    if not proto.graph.node:
        raise DataError(f"{file.name} is not a whole ONNX model", DAMAGED)
    return proto


def _check(proto: onnx.ModelProto, file: Path) -> None:
    known = _DOMAINS | {function.domain for function in proto.functions}
    for node in _nodes(proto.graph):
        if node.domain not in known:
            raise UnsupportedError(
                f"{file.name} uses {node.op_type} of {node.domain!r}, an operator of its own",
                "export the model without custom operators",
            )
    newest = onnx.defs.onnx_opset_version()
    if _opset(proto) > newest:
        raise UnsupportedError(
            f"{file.name} is of opset {_opset(proto)}, newer than the {newest} known here",
            "update onnx and the runtime, or export the model for an older opset",
        )
    held = file.stat().st_size
    for tensor in _tensors(proto):
        most = _MOST_A_BYTE * (held + _check_external(tensor, file))
        if _elements(tensor) > most:
            raise DataError(
                f"{file.name} says that a weight is larger than what it holds",
                DAMAGED,
            )


def _check_external(tensor: onnx.TensorProto, file: Path) -> int:
    """Return the bytes of the file that holds its data, 0 where that is the model itself."""
    if tensor.data_location != Tensor.EXTERNAL:
        return 0
    place = {entry.key: entry.value for entry in tensor.external_data}
    name = place.get("location", "")
    location = PurePosixPath(name)
    twice = len(place) < len(tensor.external_data)
    if twice or not location.name or not name.isprintable() or len(name) > _MOST_PATH:
        raise DataError(
            f"{file.name} does not say in which file a weight is",
            DAMAGED,
        )
    if location.is_absolute() or ".." in location.parts:
        raise DataError(
            f"{file.name} wants weights from outside of its folder",
            "export it with weights beside it",
        )
    beside = file.parent / location
    remedy = f"put {beside.name} beside {file.name}"
    try:
        held = beside.stat().st_size if beside.is_file() else -1
    except OSError:  # no name of a file
        held = -1
    if held < 0:
        lack = "is no file" if beside.exists() else "is missing"
        raise DataError(f"{file.name} keeps its weights in {beside.name}, which {lack}", remedy)
    start, length = (_count(place.get(key, "0"), key, file) for key in ("offset", "length"))
    needed = _bytes(tensor)
    if "length" in place and needed and length != needed:
        raise DataError(
            f"{file.name} says that {length:,} bytes hold a weight of {needed:,}",
            DAMAGED,
        )
    end = start + max(length, needed)
    if held < end:
        raise DataError(
            f"{beside.name}, the weights of {file.name}, is cut short", remedy + " again"
        )
    return held


def _bytes(tensor: onnx.TensorProto) -> int:
    """Return the bytes of its data; 0 where that is not a whole number for each element."""
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, TypeError, ValueError):
        return 0
    packed = tensor.data_type in _PACKED or kind.hasobject
    return 0 if packed else _elements(tensor) * kind.itemsize


def _count(text: str, key: str, file: Path) -> int:
    """Return a number of bytes of an external tensor; raise DataError where it is none."""
    if text.isascii() and text.isdecimal() and len(text) < _DIGITS:
        return int(text)
    raise DataError(
        f"{file.name} says {text!r} for the {key} of a weight",
        DAMAGED,
    )


def _opset(proto: onnx.ModelProto) -> int:
    return max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=1)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph and those inside its If and Loop nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for inner in _graphs(graph):
        yield from inner.node


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[onnx.TensorProto, str]]:
    """Yield every constant tensor with its name in the graph."""
    for inner in _graphs(graph):
        for tensor in inner.initializer:
            yield tensor, tensor.name
        for node in inner.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.HasField("t"):
                    yield attribute.t, node.output[0]


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of the file, wherever a runtime may look for one."""
    for body in (proto.graph, *proto.functions):
        for inner in _graphs(body):
            yield from getattr(inner, "initializer", ())
            for sparse in getattr(inner, "sparse_initializer", ()):
                yield from (sparse.values, sparse.indices)
            for attribute in (a for node in inner.node for a in node.attribute):
                sparse = attribute.sparse_tensor
                yield from (attribute.t, *attribute.tensors, sparse.values, sparse.indices)


# ------------------------------------------------------------------------------------- the numbers
def _weights(proto: onnx.ModelProto) -> Counter[int]:
    """Return the number of parameters by the data type they are stored in."""
    scales = {
        name
        for node in _nodes(proto.graph)
        for place, name in enumerate(node.input)
        if place in _SCALES.get(node.op_type, ())
    }
    dequantized = {n.input[0] for n in _nodes(proto.graph) if n.op_type == "DequantizeLinear"}
    packed = {n.input[1]: n for n in _nodes(proto.graph) if n.op_type == "MatMulNBits"}
    found: Counter[int] = Counter()
    for tensor, name in _constants(proto.graph):
        if name in packed:
            found[_packed_type(packed[name])] += _attribute(packed[name], "K") * _attribute(
                packed[name], "N"
            )
        elif name not in scales and (
            tensor.data_type in _FLOATS | _QUANTIZED or name in dequantized
        ):
            found[tensor.data_type] += _elements(tensor)
    return found


def _packed_type(node: onnx.NodeProto) -> int:
    return Tensor.UINT4 if _attribute(node, "bits") <= 4 else Tensor.UINT8


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 4)


def _elements(tensor: onnx.TensorProto) -> int:
    if len(tensor.dims) > _MOST_AXES or min(tensor.dims, default=0) < 0:
        raise ValueError(f"a weight has {len(tensor.dims):,} axes, or one below 0")
    return prod(tensor.dims)


def _precision(proto: onnx.ModelProto) -> Precision:
    if any(node.op_type in _QUANTIZING for node in _nodes(proto.graph)):
        return "int8"
    stored = _weights(proto).most_common(1)
    return _STORED.get(stored[0][0], "fp32") if stored else "fp32"


def _format(proto: onnx.ModelProto) -> str:
    operators = {node.op_type for node in _nodes(proto.graph)}
    for operator, title in _QUANTIZING.items():
        if operator in operators:
            return title
    precision = _precision(proto)
    return f"weight-only {precision}" if precision.startswith("int") else precision


# ------------------------------------------------------------------------------------- what it is
def _is_text(proto: onnx.ModelProto) -> bool:
    return is_text({value.name for value in _graph_inputs(proto)})


def _values(values: Iterable[onnx.ValueInfoProto]) -> dict[str, Value]:
    """Return tensors by name; of other kinds, and of unknown shape, they have no axes."""
    found = {}
    for value in values:
        kind = value.type.tensor_type
        dtype = Tensor.DataType.Name(kind.elem_type).lower()
        found[value.name] = Value(_RENAMED.get(dtype, dtype), _axes(kind))
    return found


def _context(proto: onnx.ModelProto, file: Path) -> int:
    """Return how long a text may get: as the file says it, or what lies beside; 0 where none."""
    for entry in proto.metadata_props:
        if entry.key == "context_length" and entry.value.isdecimal():
            return int(entry.value)
    return context_beside(file)


def _family(proto: onnx.ModelProto) -> Family:
    sizes = constants_of(proto.graph, _constants(proto.graph)).sizes
    found = _graph_inputs(proto)
    looks = any(_channels(proto, value, sizes) for value in found)
    return family_of(looks, (value.name for value in found))


# -------------------------------------------------------------------------------------- the inputs
def _described(proto: onnx.ModelProto, model: Model) -> list[Guessed]:
    """Return the inputs with a note for all that was guessed, and other guesses after it."""
    constants = constants_of(proto.graph, _constants(proto.graph))
    uses = uses_of(proto.graph, constants)
    found = [
        Found(
            name=value.name,
            dtype=dtype,
            axes=axes,
            rows=rows_of(value.name, uses, WORDS),
            channels=_channels(proto, value, constants.sizes),
            steers=steered_by(value.name, uses, WORDS) if may_steer(dtype, axes) else (),
        )
        for value in _graph_inputs(proto)
        for dtype, axes in [_typed(value)]
    ]
    return described(found, model)


def _graph_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    # Before IR version 4 every initializer had to be listed as an input too.
    inner = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in inner]


def _typed(value: onnx.ValueInfoProto) -> tuple[str, tuple[int | str, ...]]:
    """Return numpy's name of an input's type and its axes; an open one by its name, or ''."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type == Tensor.STRING:
        raise UnsupportedError(
            f"input {value.name} is not a tensor of numbers", "export the model without it"
        )
    if not kind.HasField("shape"):
        raise UnsupportedError(
            f"the file does not say the shape of input {value.name}", "export it with shapes"
        )
    return onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, _axes(kind)


def _axes(kind: Any) -> tuple[int | str, ...]:
    return tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else axis.dim_param
        for axis in kind.shape.dim
    )


def _channels(
    proto: onnx.ModelProto, value: onnx.ValueInfoProto, sizes: Sizes
) -> tuple[int, int] | None:
    """Return the axis of an image's channels and their number, as its first convolution has them.

    None where no convolution of images follows.
    """
    name, axes = value.name, [0, 1, 2, 3]
    for node in proto.graph.node:
        if name not in node.input:
            continue
        if node.op_type == "Conv" and node.input[0] == name:
            weight = sizes.get(node.input[1], ())
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            return (axes[1], weight[1] * groups) if len(weight) == len(axes) else None
        if node.op_type == "Transpose":
            turn = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
            if sorted(turn) != [0, 1, 2, 3]:
                return None
            axes = [axes[place] for place in turn]
        elif node.op_type not in _PER_PIXEL:
            return None
        name = node.output[0]
    return None
