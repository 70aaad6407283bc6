"""An OpenVINO IR as `reach` wants it: what reads each layer, also inside If, Loop and the like."""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import TYPE_CHECKING

from cpufit.artifacts.asis.reach import Use, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from xml.etree import ElementTree as Xml

_MOVING = (
    "Convert Reshape Unsqueeze Squeeze Transpose Broadcast Tile StridedSlice Slice Split "
    "VariadicSplit Gather Abs Clamp"
)
WORDS = Words(
    steered={
        "If": (0,),
        "Loop": (0, 1),
        "Range": (0, 1, 2),
        "StridedSlice": (1, 2, 3),
        "Slice": (1, 2, 3, 4),
        "Reshape": (1,),
        "Broadcast": (1,),
        "Tile": (1,),
        "Interpolate": (1, 2),
        "Pad": (1, 2),
        "TopK": (1,),
        "VariadicSplit": (2,),
        "OneHot": (1,),
        "NonMaxSuppression": (2,),
        "NonZero": (0,),
        "Unique": (0,),
        "Eye": (0, 1),
        "RandomUniform": (0,),
        "Col2Im": (1, 2),
        "DFT": (2,),
        "STFT": (2, 3),
    },
    keeping={
        **dict.fromkeys(_MOVING.split(), (0,)),
        "Add": (0, 1),
        "Subtract": (0,),
        "Select": (1, 2),
        "Minimum": (0, 1),
        "Maximum": (0, 1),
        "Concat": range(64),
        "": (0,),
    },
)
_SIZE_ONLY = frozenset(("ShapeOf",))
# A weight that is turned, scaled or converted is one still.
_PREPARING = frozenset("Convert Subtract Multiply Reshape Transpose Unsqueeze Squeeze".split())
_COUNTING = frozenset(("i16", "i32", "i64", "boolean"))  # shapes, indices
_FEW = 16  # numbers that are no weights, but means, factors and the like
_LOOKUPS = frozenset(("Gather", "GatherElements", "GatherND"))
_AXIS_PORT = 2


def uses_of(
    root: Xml.Element, number: Callable[[Xml.Element], int | None], within: str = ""
) -> dict[str, list[Use]]:
    """Return what reads each layer, by its id; inside others it is 'id of the other/tag/id'.

    `number` reads a constant of one integer, None where it is none.
    """
    uses: dict[str, list[Use]] = defaultdict(list)
    layers = {within + layer.get("id", ""): layer for layer in root.iterfind("layers/layer")}
    feeds: dict[str, dict[int, str]] = defaultdict(dict)
    for edge in root.iterfind("edges/edge"):
        target = within + edge.get("to-layer", "")
        feeds[target][int(edge.get("to-port", "0"))] = within + edge.get("from-layer", "")
    weights = _weights(layers, feeds)
    for target, ports in feeds.items():
        layer = layers.get(target)
        kind = layer.get("type", "") if layer is not None else ""
        learned = any(source in weights for source in ports.values())
        gives = () if learned or kind in _SIZE_ONLY else (target,)
        rows = _rows(kind, ports, (layers, feeds), number)
        for port, source in ports.items():
            uses[source].append(Use(kind, port, gives, rows if port == 1 else 0))
    for name, layer in layers.items():
        for tag in ("body", "then_body", "else_body"):
            inner = layer.find(tag)
            if inner is not None:
                inside = f"{name}/{tag}/"
                for source, found in uses_of(inner, number, inside).items():
                    uses[source] += found
                for source, use in _through(layer, tag, name, inside, feeds[name]):
                    uses[source].append(use)
    return uses


def _through(
    layer: Xml.Element, tag: str, name: str, inside: str, ports: Mapping[int, str]
) -> Iterator[tuple[str, Use]]:
    """Yield how values go into a body, out of it, and once more around."""
    first = min((int(port.get("id", "0")) for port in layer.iterfind("input/port")), default=0)
    links = layer.find(tag.replace("body", "port_map"))
    for link in links if links is not None else ():
        formal = inside + link.get("internal_layer_id", "")
        port = int(link.get("external_port_id", "-1"))
        if link.tag == "output":
            yield formal, Use("", 0, (name,))
            if link.get("purpose") == "execution_condition":
                yield formal, Use("Loop", 1)
        elif (source := ports.get(port, ports.get(port + first))) is not None:
            yield source, Use("", 0, (formal,))
    for edge in layer.iterfind("back_edges/edge"):
        yield inside + edge.get("from-layer", ""), Use("", 0, (inside + edge.get("to-layer", ""),))


def _weights(
    layers: Mapping[str, Xml.Element], feeds: Mapping[str, Mapping[int, str]]
) -> frozenset[str]:
    """Return the layers that are learned numbers, or made of such alone."""
    found = {name for name, layer in layers.items() if _is_weight(layer)}
    for name, layer in layers.items():  # in the order of the file, which is that of computing
        if layer.get("type") in _PREPARING and feeds.get(name, {}).get(0) in found:
            found.add(name)
    return frozenset(found)


def _is_weight(layer: Xml.Element) -> bool:
    data = layer.find("data")
    if layer.get("type") != "Const" or data is None:
        return False
    return data.get("element_type") not in _COUNTING and prod(_dims(layer)) > _FEW


def _dims(layer: Xml.Element) -> list[int]:
    """Return the sizes of a constant, or of a layer's first output; -1 for an open one."""
    data, port = layer.find("data"), layer.find("output/port")
    if layer.get("type") == "Const" and data is not None:
        return [int(size) for size in data.get("shape", "").split(",") if size.strip()]
    return [int(dim.text or "0") for dim in port.iterfind("dim")] if port is not None else []


def _rows(
    kind: str,
    ports: Mapping[int, str],
    net: tuple[Mapping[str, Xml.Element], Mapping[str, Mapping[int, str]]],
    number: Callable[[Xml.Element], int | None],
) -> int:
    """Return how many different numbers may look up there; 0 where that is no look-up."""
    layers, feeds = net
    name, axis = ports.get(0, ""), layers.get(ports.get(_AXIS_PORT, ""))
    if kind not in _LOOKUPS or name not in layers:
        return 0
    while not (dims := _dims(layers[name])) and layers[name].get("type") == "Convert":
        name = feeds.get(name, {}).get(0, "")
        if name not in layers:
            return 0
    at = (number(axis) if axis is not None else None) or 0
    fixed = dims if kind == "GatherND" else dims[at : at + 1 or None]
    return max(0, min(fixed, default=0)) if all(size > 0 for size in fixed) else 0
