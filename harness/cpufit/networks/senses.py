"""Graphs that take in pictures, sound or noise: alone, or before a model that writes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cpufit.errors import unknown
from cpufit.networks import clip, whisper
from cpufit.networks.graph import Graph
from cpufit.networks.transformer import Attention, Block, gelu, layer_norm, linear
from cpufit.networks.unet import unet
from cpufit.networks.vision.mobilevit import features
from cpufit.networks.vit import Vit, factorised, rows_of, vit
from cpufit.networks.writer import look
from cpufit.schema.shapes import Vision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cpufit.networks.graph import Value
    from cpufit.networks.sources import Source
    from cpufit.schema import Model
    from cpufit.schema.shapes import Sense

_BLIP_EPS = 1e-5
_VIT_B_16 = Vit(
    patch=16,
    hidden=768,
    layers=12,
    block=Block(
        attention=Attention(heads=12, fused=True), ffn=3072, eps=_BLIP_EPS, activation="gelu"
    ),
)


def sense_graph(model: Model, source: Source) -> Graph:
    """Build the graph of a model's sense, with what the model that follows needs of its output.

    Raises UsageError for an unknown builder, or a size it cannot take.
    """
    assert model.sense is not None
    if model.sense.builder not in _SENSES:
        raise unknown("builder", model.sense.builder, _SENSES)
    graph = Graph(model.name, source)
    found = _SENSES[model.sense.builder](graph, model.sense)
    if model.writer:
        look(graph, found, model.writer)
    elif model.decoder:
        width = model.decoder.hidden
        rows = gelu(graph, linear(graph, found, "projection.0", width))
        graph.output("image_rows", linear(graph, rows, "projection.1", width))
    else:
        graph.output("output", found)
    return graph


def _pictures(graph: Graph, spec: Sense) -> Value:
    return graph.input("images", "float32", (3, spec.size, spec.size), "normal")


def _clip(graph: Graph, spec: Sense) -> Value:
    return clip.both_towers(graph, clip.one_image(graph, spec.size), spec.lowrank)


def _clip_image(graph: Graph, spec: Sense) -> Value:
    return clip.image_tower(graph, _pictures(graph, spec), spec.lowrank)


def _clip_text(graph: Graph, spec: Sense) -> Value:
    return clip.text_tower(graph, spec.lowrank)


def _clip_patches(graph: Graph, spec: Sense) -> Value:
    return clip.patches(graph, _pictures(graph, spec), spec.lowrank)


def _blip(graph: Graph, spec: Sense) -> Value:
    x = vit(graph, _pictures(graph, spec), "vision", factorised(_VIT_B_16, spec.lowrank))
    return layer_norm(graph, x, "vision.last_norm", _BLIP_EPS)


def _mobilevit(graph: Graph, spec: Sense) -> Value:
    shape = Vision(builder="mobilevit_xxs", resolution=spec.size, classes=0, lowrank=spec.lowrank)
    return rows_of(graph, features(graph, _pictures(graph, spec), shape), "rows")


def _whisper(graph: Graph, spec: Sense, hidden: int, layers: int, heads: int) -> Value:
    return whisper.encoder(graph, hidden, layers, heads, spec.lowrank)


def _unet(graph: Graph, spec: Sense) -> Value:
    return unet(graph, spec.size)


_SENSES: Mapping[str, Callable[[Graph, Sense], Value]] = {
    "clip": _clip,
    "clip_image": _clip_image,
    "clip_text": _clip_text,
    "clip_patches": _clip_patches,
    "blip": _blip,
    "mobilevit_xxs": _mobilevit,
    "sd15_unet": _unet,
    "whisper_tiny": partial(_whisper, hidden=384, layers=4, heads=6),
    "whisper_base": partial(_whisper, hidden=512, layers=6, heads=8),
}
