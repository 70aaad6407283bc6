"""EfficientNet-Lite0 (tensorflow/tpu, models/official/efficientnet/lite); no squeeze-excitation.

Arrays are named as in the published PyTorch port, so that its file can be used as it is. Padding is
TensorFlow's "SAME", with which those weights were trained. They expect images as (x - 127) / 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cpufit.networks.layers import (
    Conv,
    activate,
    add,
    batch_norm,
    conv,
    flatten,
    linear,
    mean_pool,
    width,
)

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph, Value
    from cpufit.networks.layers import Activation
    from cpufit.schema.shapes import Vision

_EPS = 1e-3


class _Stage(NamedTuple):
    expand: int  # times the input's channels
    channels: int
    repeats: int
    stride: int  # of the first block
    kernel: int


_LITE0 = (
    _Stage(1, 16, 1, 1, 3),
    _Stage(6, 24, 2, 2, 3),
    _Stage(6, 40, 2, 2, 5),
    _Stage(6, 80, 3, 2, 3),
    _Stage(6, 112, 3, 1, 5),
    _Stage(6, 192, 4, 2, 5),
    _Stage(6, 320, 1, 1, 3),
)


def efficientnet_lite0(graph: Graph, x: Value, spec: Vision) -> Value:
    """Add the classifier on an image 3,H,W; return the logits."""
    channels, index = 32, 0  # as published: they decide where a block has a shortcut
    stem = _same(width(spec, channels), kernel=3, stride=2)
    x = _conv(graph, x, ("_conv_stem", "_bn0"), stem, "relu6")
    for stage in _LITE0:
        for repeat in range(stage.repeats):
            block = stage if repeat == 0 else stage._replace(stride=1)
            shortcut = block.stride == 1 and block.channels == channels
            x = _mbconv(graph, x, f"_blocks.{index}", block, spec, shortcut=shortcut)
            channels, index = block.channels, index + 1
    x = _conv(graph, x, ("_conv_head", "_bn1"), _same(width(spec, 1280)), "relu6")
    x = flatten(graph, mean_pool(graph, x, "_avg_pooling"), "_flatten")
    return linear(graph, x, "_fc", spec.classes)


def _mbconv(
    graph: Graph, x: Value, name: str, stage: _Stage, spec: Vision, *, shortcut: bool
) -> Value:
    start = x
    wide = x.shape[0] * stage.expand
    if stage.expand != 1:
        x = _conv(graph, x, (f"{name}._expand_conv", f"{name}._bn0"), _same(wide), "relu6")
    depthwise = _same(wide, kernel=stage.kernel, stride=stage.stride, groups=wide)
    x = _conv(graph, x, (f"{name}._depthwise_conv", f"{name}._bn1"), depthwise, "relu6")
    project = _same(width(spec, stage.channels))
    x = _conv(graph, x, (f"{name}._project_conv", f"{name}._bn2"), project, "none")
    return add(graph, x, start, f"{name}/add") if shortcut else x


def _conv(graph: Graph, x: Value, names: tuple[str, str], spec: Conv, act: Activation) -> Value:
    x = batch_norm(graph, conv(graph, x, names[0], spec), names[1], _EPS)
    return activate(graph, x, act)


def _same(channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Conv:
    return Conv(channels=channels, kernel=kernel, stride=stride, groups=groups, padding="same")
