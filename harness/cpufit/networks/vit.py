"""Vision transformers (Dosovitskiy et al. 2020): patches as rows, a class token before them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cpufit.errors import UsageError
from cpufit.networks.layers import Conv, conv
from cpufit.networks.transformer import block, layer_norm

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph, Value
    from cpufit.networks.transformer import Block


@dataclass(frozen=True, kw_only=True)
class Vit:
    """What distinguishes the members of the family."""

    patch: int  # pixels of a side
    hidden: int
    layers: int
    block: Block
    patch_bias: bool = True
    first_norm: bool = False


def vit(graph: Graph, images: Value, name: str, spec: Vit) -> Value:
    """Add the transformer on images 3,S,S; return 1 + patches rows of `hidden`, not yet normed.

    Raises UsageError where the image does not part into patches.
    """
    side = images.shape[1]
    if side % spec.patch:
        raise UsageError(
            f"{graph.name} cannot take {side} x {side} pixels", f"use a multiple of {spec.patch}"
        )
    cut = Conv(
        channels=spec.hidden,
        kernel=spec.patch,
        stride=spec.patch,
        padding="none",
        bias=spec.patch_bias,
    )
    x = conv(graph, images, f"{name}.patches", cut)
    x = rows_of(graph, x, f"{name}.patches")
    x = _with_class(graph, x, f"{name}.class")
    places = graph.weight(f"{name}.positions", (1, *x.shape), 0.02)
    x = graph.node("Add", f"{name}/placed", [x, places], x.shape)
    if spec.first_norm:
        x = layer_norm(graph, x, f"{name}.first_norm", spec.block.eps)
    for i in range(spec.layers):
        x = block(graph, x, f"{name}.layer.{i}", spec.block)
    return x


def factorised(spec: Vit, lowrank: int) -> Vit:
    """Return the same with linear layers of a `lowrank`-th of the parameters; 0 for whole ones."""
    heads = replace(spec.block.attention, lowrank=lowrank)
    return replace(spec, block=replace(spec.block, attention=heads))


def first_row(graph: Graph, x: Value, name: str) -> Value:
    """Take the class token: rows,features -> features."""
    index = graph.constant(f"{name}.index", np.array(0, np.int64))
    return graph.node("Gather", name, [x, index], x.shape[1:], axis=1)


def rows_of(graph: Graph, x: Value, name: str) -> Value:
    """C,H,W -> H x W,C."""
    channels, height, across = x.shape
    shape = graph.constant(f"{name}.shape", np.array((0, 0, -1), np.int64))
    x = graph.node("Reshape", f"{name}/flat", [x, shape], (channels, height * across))
    return graph.node("Transpose", f"{name}/rows", [x], x.shape[::-1], perm=[0, 2, 1])


def _with_class(graph: Graph, x: Value, name: str) -> Value:
    """Put the class token, the same for every sample, before the rows."""
    rows, width = x.shape
    token = graph.weight(name, (1, 1, width), 0.02)
    whole = graph.node("Shape", f"{name}/samples", [x], (), start=0, end=1)
    rest = graph.constant(f"{name}.rest", np.array((1, width), np.int64))
    target = graph.node("Concat", f"{name}/target", [whole, rest], (), axis=0)
    each = graph.node("Expand", f"{name}/each", [token, target], (1, width))
    return graph.node("Concat", f"{name}/joined", [each, x], (rows + 1, width), axis=1)
