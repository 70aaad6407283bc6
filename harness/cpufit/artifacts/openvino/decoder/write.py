"""Write an OpenVINO IR whose weights never pass through memory.

OpenVINO writes the graph with the weights as inputs. The pair of files is then finished by hand:
inputs become constants in the .xml, and their bytes follow what is in the .bin already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from cpufit.artifacts import stream
from cpufit.artifacts.openvino.decoder.graph import DECOMPRESSION

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.openvino.decoder.formats import Constant
    from cpufit.artifacts.openvino.decoder.graph import Graph

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def write(file: Path, model: str, graph: Graph) -> None:
    """Write `file` (.xml) and the .bin beside it; `model` seeds the weights."""
    data = file.with_suffix(".bin")
    _name_nodes(graph.model)
    graph.save(file)
    offsets = _append(data, model, graph.weights)
    tree = ET.parse(file)  # noqa: S314 - written a moment ago
    for layer in tree.iter("layer"):
        name = layer.attrib["name"]
        if name in offsets:
            _fill(layer, *offsets[name])
        elif name.endswith(DECOMPRESSION):
            _mark(layer)
    tree.write(file, encoding="utf-8", xml_declaration=True)


def _name_nodes(model: Any) -> None:
    """Name what has no name by its place, not by OpenVINO's count of all nodes ever made."""
    for place, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        named = kind in ("Parameter", "Result") or node.get_friendly_name().endswith(DECOMPRESSION)
        if not named:
            node.set_friendly_name(f"{kind}_{place}")


def _append(
    data: Path, model: str, weights: tuple[Constant, ...]
) -> dict[str, tuple[Constant, int]]:
    """Stream the weights behind what is in the file; return where each begins, by its name."""
    offsets = {}
    with data.open("ab", buffering=0) as opened:
        for constant in weights:
            offsets[constant.name] = (constant, stream.pad(opened, _ALIGNMENT))
            stream.cut(opened, *constant.source(model), constant.size_bytes)
    return offsets


def _fill(layer: ET.Element, constant: Constant, offset: int) -> None:
    """Make a constant of an input."""
    layer.attrib["type"] = "Const"
    (data,) = layer.iter("data")
    data.attrib |= {
        "element_type": constant.element,
        "shape": ", ".join(str(length) for length in constant.shape),
        "offset": str(offset),
        "size": str(constant.size_bytes),
    }


def _mark(layer: ET.Element) -> None:
    """Tell OpenVINO to keep the narrow weights instead of converting them once and for all."""
    marks = ET.SubElement(layer, "rt_info")
    ET.SubElement(marks, "attribute", name="decompression", version="0")
