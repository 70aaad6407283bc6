"""Is an OpenVINO IR whole? What its runtime would refuse in words of its own parser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cpufit import plain
from cpufit.artifacts.asis.apart import DAMAGED
from cpufit.errors import DataError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

_VERSIONS = ("10", "11")  # of the format, which every OpenVINO since 2020 reads
_ENDS = ("from-layer", "from-port", "to-layer", "to-port")
_BODIES = ("body", "then_body", "else_body")
_WHOLE = re.compile(r"[0-9]{1,18}")
_AXIS = re.compile(r"-1|\?|[0-9]{1,18}|([0-9]{0,18})\.\.([0-9]{0,18})")


def check(root: Element, name: str) -> None:
    """Raise DataError for what is missing or no number, UnsupportedError for other formats."""
    version = root.get("version", "")
    if version not in _VERSIONS:
        raise UnsupportedError(
            f"{name} is an OpenVINO IR of version {plain.line(version, 80) or 'unknown'}, and not "
            f"{' or '.join(_VERSIONS)}",
            "export the model again with a current OpenVINO",
        )
    for body in (root, *(inner for kind in _BODIES for inner in root.iter(kind))):
        for problem in _problems(body):
            raise DataError(f"{name} cannot be read: {problem}", DAMAGED)


def _problems(body: Element) -> Iterator[str]:
    layers: dict[str, Element] = {}
    for layer in body.iterfind("layers/layer"):
        for key in ("id", "type", "version"):
            if not layer.get(key):
                yield f"a layer lacks {key!r}"
        found = layer.get("id", "")
        yield from _number(found)
        if found in layers:
            yield f"two layers have the id {found}"
        layers[found] = layer
        yield from _of_layer(layer)
    for edge in body.iterfind("edges/edge"):
        yield from _of_edge(edge, layers)


def _of_layer(layer: Element) -> Iterator[str]:
    for dim in layer.iterfind("*/port/dim"):
        yield from () if dim.text == "-1" else _number(dim.text or "")
    data = layer.find("data")
    if layer.get("type") not in ("Const", "Parameter"):
        return
    constant = layer.get("type") == "Const"
    for key in ("element_type", "shape", *(("offset", "size") if constant else ())):
        if data is None or data.get(key) is None:
            yield f"a layer of type {layer.get('type')} lacks {key!r}"
    if data is None:
        return
    for key in ("offset", "size"):
        yield from _number(data.get(key, "0"))
    for axis in data.get("shape", "").split(","):
        if axis.strip() not in ("", "..."):
            yield from _axis(axis.strip())


def _of_edge(edge: Element, layers: dict[str, Element]) -> Iterator[str]:
    for key in _ENDS:
        if edge.get(key) is None:
            yield f"an edge lacks {key!r}"
        yield from _number(edge.get(key, "0"))
    for side, ports in (("from", "output"), ("to", "input")):
        layer = layers.get(edge.get(f"{side}-layer", ""))
        if layer is None:
            yield f"an edge leads {side} a layer that is not there"
        elif edge.get(f"{side}-port") not in {p.get("id") for p in layer.iterfind(f"{ports}/port")}:
            yield f"an edge leads {side} a port that is not there"


def _number(text: str) -> Iterator[str]:
    if not _WHOLE.fullmatch(text):
        yield f"{plain.line(text, 80)!r} stands where a number belongs"


def _axis(text: str) -> Iterator[str]:
    found = _AXIS.fullmatch(text)
    if not found:
        yield f"{plain.line(text, 80)!r} stands where the size of an axis belongs"
    elif found[1] and found[2] and int(found[1]) > int(found[2]):
        yield f"{text!r} is no range of sizes"
