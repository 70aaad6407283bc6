"""MobileViT-XXS (Mehta and Rastegari 2021), as timm's `mobilevit_xxs`.

Convolutions see neighbours; in between, transformers see the whole image, in four interleaved sets
of pixels (patches of 2 x 2), which exporters fold into the batch axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cpufit.errors import UsageError
from cpufit.networks.layers import (
    Conv,
    activate,
    add,
    batch_norm,
    concat,
    conv,
    flatten,
    linear,
    mean_pool,
    width,
)
from cpufit.networks.transformer import Attention, attention, layer_norm
from cpufit.networks.transformer import linear as dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.networks.graph import Graph, Value
    from cpufit.networks.layers import Activation
    from cpufit.schema.shapes import Vision

_EPS = 1e-5
_PATCH = 2
_HEADS = 4
_SHRINK = 32  # pixels of the image for each of the last plane
_STEM, _LAST = 16, 320


class _Stage(NamedTuple):
    channels: int
    repeats: int  # inverted residuals, the first with the stride
    stride: int
    dim: int = 0  # of the transformer that follows, 0 for none
    depth: int = 0


_STAGES = (
    _Stage(16, 1, 1),
    _Stage(24, 3, 2),
    _Stage(48, 1, 2, 64, 2),
    _Stage(64, 1, 2, 80, 4),
    _Stage(80, 1, 2, 96, 3),
)


def mobilevit_xxs(graph: Graph, x: Value, spec: Vision) -> Value:
    """Add the classifier on an image 3,H,W; return the logits."""
    x = features(graph, x, spec)
    x = flatten(graph, mean_pool(graph, x, "head.pool"), "head/flatten")
    return linear(graph, x, "head.fc", spec.classes)


def features(graph: Graph, x: Value, spec: Vision) -> Value:
    """Add everything below the classifier: 3,H,W -> 320,H/32,W/32."""
    side = x.shape[1]
    if side % (_SHRINK * _PATCH):
        raise UsageError(
            f"{spec.builder} cannot take {side} x {side} pixels",
            f"use a multiple of {_SHRINK * _PATCH}",
        )
    x = _conv(graph, x, "stem", Conv(channels=width(spec, _STEM), kernel=3, stride=2))
    before = _STEM  # published channels that come in: they decide on shortcuts
    for i, stage in enumerate(_STAGES):
        for repeat in range(stage.repeats):
            block = stage if repeat == 0 else stage._replace(stride=1)
            shortcut = block.stride == 1 and block.channels == before
            name = f"stages.{i}.{repeat}"
            x = _inverted_residual(graph, x, name, block, spec, shortcut=shortcut)
            before = block.channels
        if stage.depth:
            x = _transformer(graph, x, f"stages.{i}.{stage.repeats}", stage, spec)
    return _conv(graph, x, "final_conv", Conv(channels=width(spec, _LAST)))


def _inverted_residual(
    graph: Graph, x: Value, name: str, block: _Stage, spec: Vision, *, shortcut: bool
) -> Value:
    start, wide = x, 2 * x.shape[0]
    x = _conv(graph, x, f"{name}.conv1_1x1", Conv(channels=wide))
    depthwise = Conv(channels=wide, kernel=3, stride=block.stride, groups=wide)
    x = _conv(graph, x, f"{name}.conv2_kxk", depthwise)
    project = Conv(channels=width(spec, block.channels))
    x = _conv(graph, x, f"{name}.conv3_1x1", project, "none")
    return add(graph, x, start, f"{name}/add") if shortcut else x


def _transformer(graph: Graph, x: Value, name: str, stage: _Stage, spec: Vision) -> Value:
    """Look at neighbours, then at every second pixel of the whole plane, four times."""
    start, channels, dim = x, x.shape[0], width(spec, stage.dim)
    x = _conv(graph, x, f"{name}.conv_kxk", Conv(channels=channels, kernel=3))
    x = conv(graph, x, f"{name}.conv_1x1", Conv(channels=dim))
    plane = x.shape[1:]
    x = _unfold(graph, x, f"{name}/unfold")
    with graph.folded(_PATCH**2):
        for i in range(stage.depth):
            x = _block(graph, x, f"{name}.transformer.{i}", spec.lowrank)
        x = layer_norm(graph, x, f"{name}.norm", _EPS)
    x = _fold(graph, x, f"{name}/fold", plane)
    x = _conv(graph, x, f"{name}.conv_proj", Conv(channels=channels))
    x = concat(graph, [start, x], f"{name}/concat")
    return _conv(graph, x, f"{name}.conv_fusion", Conv(channels=channels, kernel=3))


def _block(graph: Graph, x: Value, name: str, low: int) -> Value:
    """Add a pre-norm block on rows,features."""
    heads = Attention(heads=_HEADS, fused=True, lowrank=low)
    inner = layer_norm(graph, x, f"{name}.norm1", _EPS)
    inner = attention(graph, inner, f"{name}.attn", heads)
    x = add(graph, x, inner, f"{name}/add1")
    inner = layer_norm(graph, x, f"{name}.norm2", _EPS)
    inner = dense(graph, inner, f"{name}.mlp.fc1", 2 * x.shape[-1], lowrank=low)
    inner = dense(
        graph, activate(graph, inner, "silu"), f"{name}.mlp.fc2", x.shape[-1], lowrank=low
    )
    return add(graph, x, inner, f"{name}/add2")


def _unfold(graph: Graph, x: Value, name: str) -> Value:
    """C,H,W -> H/2 x W/2,C with the four pixels of each patch as rows of the first axis."""
    channels, height, across = x.shape
    rows, columns = height // _PATCH, across // _PATCH
    cut = (-1, rows, _PATCH, columns, _PATCH)  # of every channel of every sample
    x = _shaped(graph, x, f"{name}/cut", cut, (rows, _PATCH, columns, _PATCH))
    x = graph.node("Transpose", f"{name}/inside", [x], x.shape, perm=[0, 2, 4, 1, 3])
    pixels = (-1, channels, _PATCH**2, rows * columns)
    x = _shaped(graph, x, f"{name}/pixels", pixels, pixels[1:])
    x = graph.node("Transpose", f"{name}/turned", [x], x.shape, perm=[0, 2, 3, 1])
    folded = (-1, rows * columns, channels)
    return _shaped(graph, x, f"{name}/folded", folded, folded[1:])


def _fold(graph: Graph, x: Value, name: str, plane: Sequence[int]) -> Value:
    """Undo `_unfold`."""
    tokens, channels = x.shape
    rows, columns = (side // _PATCH for side in plane)
    pixels = (-1, _PATCH**2, tokens, channels)
    x = _shaped(graph, x, f"{name}/pixels", pixels, pixels[1:])
    x = graph.node("Transpose", f"{name}/turned", [x], x.shape, perm=[0, 3, 1, 2])
    cut = (-1, _PATCH, _PATCH, rows, columns)
    x = _shaped(graph, x, f"{name}/cut", cut, cut[1:])
    x = graph.node("Transpose", f"{name}/inside", [x], x.shape, perm=[0, 3, 1, 4, 2])
    whole = (-1, channels, *plane)
    return _shaped(graph, x, name, whole, whole[1:])


def _shaped(
    graph: Graph, x: Value, name: str, target: Sequence[int], shape: tuple[int, ...]
) -> Value:
    """Reshape to `target`, whose first axis is open, and say what a row of it then is."""
    array = graph.constant(f"{name}.shape", np.array(target, np.int64))
    return graph.node("Reshape", name, [x, array], shape)


def _conv(graph: Graph, x: Value, name: str, spec: Conv, act: Activation = "silu") -> Value:
    x = batch_norm(graph, conv(graph, x, f"{name}.conv", spec), f"{name}.bn", _EPS)
    return activate(graph, x, act)
