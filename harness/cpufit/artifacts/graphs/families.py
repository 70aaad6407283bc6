"""From a model card to its graph. A new architecture is a module and a line in `_VISION`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cpufit.artifacts.graphs.builder import Graph
from cpufit.artifacts.graphs.efficientnet_lite import efficientnet_lite0
from cpufit.artifacts.graphs.encoder import encoder, pooler
from cpufit.artifacts.graphs.mobilenet_v3 import SMALL, mobilenet_v3
from cpufit.artifacts.graphs.squeezenet import squeezenet_1_1
from cpufit.artifacts.graphs.yolov8 import yolov8n
from cpufit.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpufit.artifacts.graphs.builder import Value
    from cpufit.artifacts.graphs.sources import Source
    from cpufit.schema import Encoder, Model, Vision

_VISION: Mapping[str, Callable[[Graph, Value, int], Value]] = {
    "mobilenet_v3_small": partial(mobilenet_v3, layout=SMALL),
    "efficientnet_lite0": efficientnet_lite0,
    "squeezenet_1_1": squeezenet_1_1,
    "yolov8n": yolov8n,
}


def graph_of(model: Model, source: Source) -> Graph:
    """Build the fp32 graph of a vision or encoder card, batch axis open."""
    graph = Graph(model.name, source)
    if model.vision:
        _vision(graph, model.vision)
    elif model.encoder:
        _encoder(graph, model.encoder)
    else:
        raise ValueError(f"{model.name} is no vision model and no encoder")
    return graph


def _vision(graph: Graph, spec: Vision) -> None:
    if spec.builder not in _VISION:
        raise unknown("builder", spec.builder, _VISION)
    images = graph.input("images", "float32", (3, spec.resolution, spec.resolution), "normal")
    graph.output("output", _VISION[spec.builder](graph, images, spec.classes))


def _encoder(graph: Graph, spec: Encoder) -> None:
    state = encoder(graph, spec)
    graph.output("last_hidden_state", state)
    if spec.pooler:
        graph.output("pooler_output", pooler(graph, state))
