"""CLIP ViT-B/32 (Radford et al. 2021): an image and a text tower, and how alike both are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cpufit.networks.transformer import Attention, Block, block, causal, layer_norm, linear
from cpufit.networks.transformer import table as embedding
from cpufit.networks.vit import Vit, factorised, first_row, vit

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph, Value

_EPS = 1e-5
_SHARED = 512  # width in which images and texts are compared
_VOCAB, _CONTEXT, _TEXT_WIDTH, _TEXT_LAYERS = 49_408, 77, 512, 12
_TEXT_BLOCK = Block(attention=Attention(heads=8), ffn=2048, eps=_EPS, activation="quick_gelu")
VIT_B_32 = Vit(
    patch=32,
    hidden=768,
    layers=12,
    block=Block(attention=Attention(heads=12), ffn=3072, eps=_EPS, activation="quick_gelu"),
    patch_bias=False,
    first_norm=True,
)


def one_image(graph: Graph, side: int) -> Value:
    """Add the input of a graph that compares one image with many texts."""
    return graph.input("images", "float32", (3, side, side), "normal", batch=1)


def image_tower(graph: Graph, images: Value, lowrank: int = 0) -> Value:
    """Add the image tower: 3,S,S -> 512."""
    x = vit(graph, images, "visual", factorised(VIT_B_32, lowrank))
    x = first_row(graph, x, "visual/class")
    x = layer_norm(graph, x, "visual.last_norm", _EPS)
    return linear(graph, x, "visual.projection", _SHARED, bias=False)


def patches(graph: Graph, images: Value, lowrank: int = 0) -> Value:
    """Add the image tower without projection and class token: 49 rows of 768, normed."""
    x = vit(graph, images, "visual", factorised(VIT_B_32, lowrank))
    begin, end, axis = (
        graph.constant(f"patches.{name}", np.array([value], np.int64))
        for name, value in (("begin", 1), ("end", x.shape[0]), ("axis", 1))
    )
    shape = (x.shape[0] - 1, x.shape[1])
    x = graph.node("Slice", "patches/rows", [x, begin, end, axis], shape)
    return layer_norm(graph, x, "visual.last_norm", _EPS)


def text_tower(graph: Graph, lowrank: int = 0) -> Value:
    """Add the text tower with its input: 77 ids -> 512."""
    ids = graph.input("input_ids", "int64", (_CONTEXT,), f"ids:{_VOCAB}")
    shape = (_CONTEXT, _TEXT_WIDTH)
    words = embedding(graph, "text.words", _VOCAB, _TEXT_WIDTH)
    x = graph.node("Gather", "text/words", [words, ids], shape)
    places = graph.weight("text.positions", (1, *shape), 0.02)
    x = graph.node("Add", "text/placed", [x, places], shape)
    mask = causal(graph, "text.mask", _CONTEXT)
    spec = replace(_TEXT_BLOCK, attention=replace(_TEXT_BLOCK.attention, lowrank=lowrank))
    for i in range(_TEXT_LAYERS):
        x = block(graph, x, f"text.layer.{i}", spec, mask)
    x = layer_norm(graph, x, "text.last_norm", _EPS)
    # The end of a text has the highest id of all.
    last = graph.node("ArgMax", "text/end", [ids], (1,), axis=1, keepdims=1)
    x = graph.node("GatherND", "text/last", [x, last], (_TEXT_WIDTH,), batch_dims=1)
    return linear(graph, x, "text.projection", _SHARED, bias=False)


def both_towers(graph: Graph, images: Value, lowrank: int = 0) -> Value:
    """Add both towers and the score of each text for the image, as one exported graph has them.

    The batch axis is that of the texts; there is one image. Returns a score per text.
    """
    image = _unit(graph, image_tower(graph, images, lowrank), "image")
    text = _unit(graph, text_tower(graph, lowrank), "text")
    turned = graph.node("Transpose", "logits/turned", [image], (), perm=[1, 0])
    graph.work(_SHARED)
    alike = graph.node("MatMul", "logits/alike", [text, turned], (1,))
    graph.parameters += 1  # the logarithm of the scale; exporters keep the scale itself
    scale = graph.scalar("logits.scale", 100.0)
    return graph.node("Mul", "logits", [alike, scale], (1,))


def _unit(graph: Graph, x: Value, name: str) -> Value:
    length = graph.node("ReduceL2", f"{name}/length", [x], (1,), axes=[-1], keepdims=1)
    return graph.node("Div", f"{name}/unit", [x, length], x.shape)
