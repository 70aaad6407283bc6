"""Read what a user's own OpenVINO IR says of itself: inputs, parameters, number format.

The `.xml` says it all but the weights, so OpenVINO itself is not needed here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

from cpufit import plain
from cpufit.artifacts.asis.apart import DAMAGED
from cpufit.artifacts.asis.axes import Found, described, family_of, may_steer
from cpufit.artifacts.asis.beside import context_beside
from cpufit.artifacts.asis.ir_check import check
from cpufit.artifacts.asis.ir_graph import WORDS, uses_of
from cpufit.artifacts.asis.reach import rows_of, steered_by
from cpufit.artifacts.base import About, Built
from cpufit.errors import DataError, UnsupportedError
from cpufit.runtimes.pasts import PAST

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import Guessed
    from cpufit.precisions import Precision
    from cpufit.schema import Family, Model

_NUMPY = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "boolean": "bool",
    **{
        f"{sign}{bits}": f"{name}{bits}"
        for sign, name in (("i", "int"), ("u", "uint"))
        for bits in (8, 16, 32, 64)
    },
}
_STORED: dict[str, Precision] = {
    "f16": "fp16",
    "bf16": "bf16",
    "i8": "int8",
    "u8": "int8",
    "i4": "int4",
    "u4": "int4",
    "nf4": "int4",
}
_QUANTIZED = frozenset(("i8", "u8", "i4", "u4", "nf4"))
_WEIGHTS = frozenset(("f64", "f32", "f16", "bf16")) | _QUANTIZED
_TEXT = frozenset(("input_ids", "attention_mask", "position_ids", "beam_idx"))
_CACHE_BYTES = 2  # of one number: OpenVINO rounds what it keeps to 16 bits or fewer
_INTEGERS = {"i32": 4, "i64": 8}  # bytes
_BITS = {"f64": 64, "f32": 32, "f16": 16, "bf16": 16, "i8": 8, "u8": 8, "i4": 4, "u4": 4, "nf4": 4}
_MOST_AXES, _DEEPEST = 64, 64
_PASSING = frozenset(("Convert", "Reshape", "Unsqueeze", "Squeeze"))


@dataclass(frozen=True)
class _Net:
    """The layers of an IR by their id, and what feeds each: (layer, port) -> layer."""

    root: Xml.Element
    layers: dict[str, Xml.Element]
    feeds: dict[tuple[str, int], str]
    context_tokens: int  # how long a text may get, where the file says it; 0 where not
    seen: dict[str, str] = field(default_factory=dict)  # layer passed through -> its source

    def kind(self, layer: str) -> str:
        """Return the layer's operation, '' for an unknown layer."""
        return self.layers[layer].get("type", "") if layer in self.layers else ""

    def data(self, layer: str, key: str) -> str:
        """Return an attribute of the layer, '' where it has none."""
        found = self.layers[layer].find("data") if layer in self.layers else None
        return found.get(key, "") if found is not None else ""

    def source(self, layer: str, port: int) -> str:
        """Return the layer that feeds a port, seen through conversions and reshapes."""
        found = self.feeds.get((layer, port), "")
        passed = []
        while self.kind(found) in _PASSING:
            passed.append(found)
            found = self.seen.get(found, "") or self.feeds.get((found, 0), "")
            if len(passed) > len(self.layers):
                raise ValueError(f"layer {plain.line(passed[0], 80)} feeds itself")
        self.seen.update(dict.fromkeys(passed, found))
        return found

    def of(self, kind: str) -> list[str]:
        """Return the ids of the layers of one operation."""
        return [layer for layer in self.layers if self.kind(layer) == kind]


def inspect(file: Path, model: Model) -> Built:
    """Describe an IR that will be run as it is.

    Parameters are the elements of its constant weights; integers that are shapes or indices and
    the scales of quantized numbers are not counted. Raises DataError where the `.xml` or the `.bin`
    beside it is damaged or missing, UnsupportedError where an input cannot be filled.
    """
    net = _read(file)
    _check_weights(net, file)
    built = Built(
        file=file,
        parameters=sum(_weights(net).values()),
        format=_format(net),
        recipe="as it is: OpenVINO IR",
    )
    return _with_text(built, net) if _is_text(net) else _with_inputs(built, net, model)


def about(file: Path) -> About:
    """Return the precision it computes in, or stores most of its weights in, and what it is."""
    net = _read(file)
    if not _is_text(net):
        return About(precision=_precision(net), family=_family(net))
    _check_text(net, file)
    context = net.context_tokens or context_beside(file)
    return About(precision=_precision(net), family="llm", context_tokens=context)


def _with_text(built: Built, net: _Net) -> Built:
    """Return the description of a language model, whose inputs come with each step."""
    _check_text(net, built.file)
    told = "a prompt computes the logits of all its tokens, as the file has them"
    whole = any(_sizes(net, layer, "input")[1:2] == ("-1",) for layer in net.of("Result"))
    kv_bytes = sum(
        _elements(",".join(s for s in net.data(v, "variable_shape").split(",") if s.isdigit()))
        for v in net.of("ReadValue")
    )
    return replace(
        built,
        kv_bytes_per_token=kv_bytes * _CACHE_BYTES,
        notes=(told + "; openvino-genai cuts that to the last",) * whole,
    )


def _with_inputs(built: Built, net: _Net, model: Model) -> Built:
    kept = ("it keeps a state, which is emptied before each request",) * bool(net.of("ReadValue"))
    (inputs, notes), *others = [(i, (*notes, *kept)) for i, notes in _described(net, built, model)]
    return replace(built, inputs=inputs, notes=notes, others=tuple(others))


class _Tree(Xml.TreeBuilder):
    """The tree of a file that declares no entities of its own: no IR does."""

    def doctype(self, name: str, *ids: str | None) -> None:  # noqa: ARG002 - called by the parser
        """Raise ValueError."""
        raise ValueError("it has a document type")


def _read(file: Path) -> _Net:
    try:
        root = Xml.parse(file, Xml.XMLParser(target=_Tree())).getroot()  # noqa: S314 - no entities
        _check_depth(root)
    except (Xml.ParseError, LookupError, ValueError) as error:
        raise DataError(
            f"{file.name} is not a whole OpenVINO IR: {error}", "copy or export it again"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "check the path") from error
    layers = {layer.get("id", ""): layer for layer in root.iterfind("layers/layer")}
    if root.tag != "net" or not layers:
        raise DataError(
            f"{file.name} is XML, but not an OpenVINO IR", "name the .xml that OpenVINO saved"
        )
    check(root, file.name)
    feeds = {
        (edge.get("to-layer", ""), int(edge.get("to-port", "0"))): edge.get("from-layer", "")
        for edge in root.iterfind("edges/edge")
    }
    context = root.find("rt_info/cpufit/context")
    told = context.get("value", "") if context is not None else ""
    return _Net(root, layers, feeds, int(told) if told.isdecimal() else 0)


def _check_depth(root: Xml.Element) -> None:
    """Raise ValueError where parts lie in parts without end, which runtimes follow by recursion."""
    parts = [root]
    for _ in range(_DEEPEST):
        parts = [inner for part in parts for inner in part]
    if parts:
        raise ValueError("it is nested too deep")


def _end(net: _Net, layer: str, file: Path) -> int:
    """Return where a constant ends in the file of weights."""
    start, length = (int(net.data(layer, key) or 0) for key in ("offset", "size"))
    bits = _BITS.get(net.data(layer, "element_type"), 0)
    if min(start, length) < 0 or not 0 <= bits * _elements(net.data(layer, "shape")) <= 8 * length:
        raise DataError(
            f"{file.name} says that a weight is larger than what it holds",
            DAMAGED,
        )
    return start + length


def _check_weights(net: _Net, file: Path) -> None:
    ends = [_end(net, layer, file) for layer in net.of("Const")]
    weights = file.with_suffix(".bin")
    remedy = f"put the whole {weights.name} beside {file.name}"
    if ends and not weights.is_file():
        raise DataError(f"{file.name} has no weights: {weights.name} is missing", remedy)
    if ends and weights.stat().st_size < max(ends):
        raise DataError(f"{weights.name}, the weights of {file.name}, is cut short", remedy)


# ------------------------------------------------------------------------------------- the numbers
def _weights(net: _Net) -> Counter[str]:
    """Return the number of parameters by the element type they are stored in."""
    scales = _scales(net)
    found: Counter[str] = Counter()
    for layer in net.of("Const"):
        kind = net.data(layer, "element_type")
        if kind in _WEIGHTS and layer not in scales:
            found[kind] += _elements(net.data(layer, "shape"))
    return found


def _scales(net: _Net) -> set[str]:
    """Return the constants that only scale or shift quantized numbers."""
    scales = {net.source(layer, port) for layer in net.of("FakeQuantize") for port in range(1, 5)}
    for kind in ("Subtract", "Multiply"):  # in this order the zero point and the scale are applied
        for layer in net.of(kind):
            first = net.source(layer, 0)
            if net.kind(first) == "Subtract":
                first = net.source(first, 0)
            if net.data(first, "element_type") in _QUANTIZED:
                scales.add(net.source(layer, 1))
    return scales


def _elements(shape: str) -> int:
    sizes = shape.split(",", _MOST_AXES)
    if len(sizes) > _MOST_AXES:
        raise ValueError(f"a shape has more than {_MOST_AXES} axes")
    return prod(int(size) for size in sizes if size.strip())


def _precision(net: _Net) -> Precision:
    if net.of("FakeQuantize"):
        return "int8"
    stored = _weights(net).most_common(1)
    return _STORED.get(stored[0][0], "fp32") if stored else "fp32"


def _format(net: _Net) -> str:
    precision = _precision(net)
    if net.of("FakeQuantize"):
        return "IR FakeQuantize int8"
    return f"IR weight-only {precision}" if precision.startswith("int") else f"IR {precision}"


# ------------------------------------------------------------------------------------- what it is
def _is_text(net: _Net) -> bool:
    """Whether it is a step of a language model: ids come in, what came before is kept or given."""
    names = _names(net)
    keeps = bool(net.of("ReadValue")) and not names.isdisjoint(("input_ids", "inputs_embeds"))
    return keeps or any(name.startswith(PAST) for name in names)


def _check_text(net: _Net, file: Path) -> None:
    """Raise UnsupportedError where the model asks for what cannot be given."""
    names = _names(net)
    if any(name.startswith(PAST) for name in names):
        raise UnsupportedError(
            f"{file.name} is a language model that keeps no cache of its own",
            "export it with `optimum-cli export openvino --task text-generation-with-past`",
        )
    if "input_ids" not in names or names - _TEXT:
        strange = ", ".join(sorted(names - _TEXT))
        raise UnsupportedError(
            f"{file.name} is no language model that writes alone: it takes {strange} too",
            "name one that takes token ids; the catalog has models that see: --suite multimodal",
        )


def _names(net: _Net) -> set[str]:
    """Return the inputs' names, of several that one has the one a language model's would have."""
    found = set()
    for layer in net.of("Parameter"):
        port = net.layers[layer].find("output/port")
        names = port.get("names", "").split(",") if port is not None else ()
        found.add(next((name for name in names if name in _TEXT), _name(net, layer)))
    return found


def _sizes(net: _Net, layer: str, side: str) -> tuple[str, ...]:
    """Return the sizes of a layer's first port of a side; an open one is '-1'."""
    return tuple(dim.text or "" for dim in net.layers[layer].iterfind(f"{side}/port/dim"))


def _family(net: _Net) -> Family:
    found = net.of("Parameter")
    shapes = [_typed(net, layer)[1] for layer in found]
    looks = bool(net.of("Convolution")) and any(
        len(axes) == 4 and not {axes[1], axes[3]}.isdisjoint((1, 3, 4)) for axes in shapes
    )
    return family_of(looks, _names(net))


# -------------------------------------------------------------------------------------- the inputs
def _described(net: _Net, built: Built, model: Model) -> list[Guessed]:
    """Return the inputs with a note for all that was guessed, and other guesses after it."""
    uses = uses_of(net.root, partial(_number, built.file.with_suffix(".bin")))
    found = [
        Found(
            name=_name(net, layer),
            dtype=dtype,
            axes=axes,
            rows=rows_of(layer, uses, WORDS),
            steers=steered_by(layer, uses, WORDS) if may_steer(dtype, axes) else (),
        )
        for layer in net.of("Parameter")
        for dtype, axes in [_typed(net, layer)]
    ]
    return described(found, model)


def _number(weights: Path, layer: Xml.Element) -> int | None:
    """Return a constant of one integer, as it stands in the file of weights."""
    data = layer.find("data")
    kind = data.get("element_type") if data is not None else None
    if data is None or layer.get("type") != "Const" or kind not in _INTEGERS:
        return None
    with weights.open("rb") as file:
        file.seek(int(data.get("offset", "0")))
        return int.from_bytes(file.read(_INTEGERS[kind]), "little", signed=True)


def _name(net: _Net, layer: str) -> str:
    port = net.layers[layer].find("output/port")
    names = port.get("names", "") if port is not None else ""
    if not names:
        raise UnsupportedError(
            f"input {net.layers[layer].get('name')} has no tensor name",
            "save the model with named inputs",
        )
    return names.split(",")[0]


def _typed(net: _Net, layer: str) -> tuple[str, tuple[int | str, ...]]:
    """Return numpy's name of an input's type and its axes; IR has no names for the open ones."""
    kind = net.data(layer, "element_type")
    shape = net.data(layer, "shape")
    if kind not in _NUMPY or shape == "...":
        raise UnsupportedError(
            f"input {net.layers[layer].get('name')} of type {kind} and shape {shape!r} "
            "cannot be filled in",
            "save the model with numeric inputs of known rank",
        )
    sizes = [size.strip() for size in shape.split(",") if size.strip()]
    return _NUMPY[kind], tuple(int(size) if size.isdigit() else "" for size in sizes)
