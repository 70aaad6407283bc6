"""From a model card to its graph. A new architecture is a module and a line in `_VISION`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cpufit.errors import unknown
from cpufit.networks.encoder import encoder, pooler
from cpufit.networks.graph import Graph
from cpufit.networks.senses import sense_graph
from cpufit.networks.vision.efficientnet_lite import efficientnet_lite0
from cpufit.networks.vision.faster_rcnn import faster_rcnn
from cpufit.networks.vision.mobilenet_v2 import mobilenet_v2
from cpufit.networks.vision.mobilenet_v3 import LARGE, SMALL, mobilenet_v3
from cpufit.networks.vision.mobilevit import mobilevit_xxs
from cpufit.networks.vision.resnet import RESNET_18, RESNET_50, RESNET_152, resnet
from cpufit.networks.vision.squeezenet import squeezenet_1_1
from cpufit.networks.vision.yolov5 import yolov5s
from cpufit.networks.vision.yolov8 import yolov8n
from cpufit.networks.writer import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpufit.networks.graph import Value
    from cpufit.networks.sources import Source
    from cpufit.schema import Model
    from cpufit.schema.shapes import Encoder, Vision

_VISION: Mapping[str, Callable[[Graph, Value, Vision], Value | dict[str, Value]]] = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": partial(mobilenet_v3, layout=SMALL),
    "mobilenet_v3_large": partial(mobilenet_v3, layout=LARGE),
    "efficientnet_lite0": efficientnet_lite0,
    "squeezenet_1_1": squeezenet_1_1,
    "resnet18": partial(resnet, layout=RESNET_18),
    "resnet50": partial(resnet, layout=RESNET_50),
    "resnet152": partial(resnet, layout=RESNET_152),
    "mobilevit_xxs": mobilevit_xxs,
    "faster_rcnn_r50_fpn": faster_rcnn,
    "yolov5s": yolov5s,
    "yolov8n": yolov8n,
}


def graphs_of(model: Model, source: Source) -> dict[str, Graph]:
    """Build the fp32 graphs of a card that is no language model, batch axis open, by file name.

    'sense' is that of a model that writes about a picture or sound, 'model' any other. The decoder
    of a language model is no graph of these.
    """
    if model.vision:
        return {"model": vision_graph(model.name, model.vision, source)}
    if model.encoder:
        return {"model": _encoder_graph(model.name, model.encoder, source)}
    if model.sense and model.task == "infer":
        return {"model": sense_graph(model, source)}
    if model.writer:
        graph = Graph(model.name, source)
        writer(graph, model.writer)
        return {"sense": sense_graph(model, source), "model": graph}
    if model.sense:
        return {"sense": sense_graph(model, source)}
    raise ValueError(f"{model.name} has no graph")


def graph_of(model: Model, source: Source) -> Graph:
    """Build the graph called 'model' alone."""
    return graphs_of(model, source)["model"]


def vision_graph(name: str, spec: Vision, source: Source) -> Graph:
    """Build a vision model; a detector with proposals takes one image only.

    Raises UsageError for an unknown builder and a resolution it cannot take.
    """
    if spec.builder not in _VISION:
        raise unknown("builder", spec.builder, _VISION)
    graph = Graph(name, source, batch=1) if spec.proposals else Graph(name, source)
    images = graph.input("images", "float32", (3, spec.resolution, spec.resolution), "normal")
    found = _VISION[spec.builder](graph, images, spec)
    for output, value in (found if isinstance(found, dict) else {"output": found}).items():
        graph.output(output, value)
    return graph


def _encoder_graph(name: str, spec: Encoder, source: Source) -> Graph:
    graph = Graph(name, source)
    state = encoder(graph, spec)
    graph.output("last_hidden_state", state)
    if spec.pooler:
        graph.output("pooler_output", pooler(graph, state))
    return graph
