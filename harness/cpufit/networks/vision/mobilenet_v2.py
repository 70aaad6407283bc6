"""MobileNetV2 (Sandler et al. 2018), as in torchvision's mobilenetv2.py."""

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

_EPS = 1e-5
_STEM, _LAST = 32, 1280


class _Stage(NamedTuple):
    expand: int  # times the input's channels
    channels: int
    repeats: int
    stride: int  # of the first block


_STAGES = (
    _Stage(1, 16, 1, 1),
    _Stage(6, 24, 2, 2),
    _Stage(6, 32, 3, 2),
    _Stage(6, 64, 4, 2),
    _Stage(6, 96, 3, 1),
    _Stage(6, 160, 3, 2),
    _Stage(6, 320, 1, 1),
)


def mobilenet_v2(graph: Graph, x: Value, spec: Vision) -> Value:
    """Add the classifier on an image 3,H,W; return the logits."""
    stem = Conv(channels=width(spec, _STEM), kernel=3, stride=2)
    x = _conv(graph, x, "features.0", stem, "relu6")
    before, index = _STEM, 1  # published channels that come in: they decide on shortcuts
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            block = stage if repeat == 0 else stage._replace(stride=1)
            shortcut = block.stride == 1 and block.channels == before
            x = _bottleneck(graph, x, f"features.{index}", block, spec, shortcut=shortcut)
            before, index = block.channels, index + 1
    x = _conv(graph, x, f"features.{index}", Conv(channels=width(spec, _LAST)), "relu6")
    x = flatten(graph, mean_pool(graph, x, "avgpool"), "flatten")
    return linear(graph, x, "classifier.1", spec.classes)


def _bottleneck(
    graph: Graph, x: Value, name: str, block: _Stage, spec: Vision, *, shortcut: bool
) -> Value:
    start, wide = x, x.shape[0] * block.expand
    if block.expand != 1:
        x = _conv(graph, x, f"{name}.expand", Conv(channels=wide), "relu6")
    depthwise = Conv(channels=wide, kernel=3, stride=block.stride, groups=wide)
    x = _conv(graph, x, f"{name}.depthwise", depthwise, "relu6")
    x = _conv(graph, x, f"{name}.project", Conv(channels=width(spec, block.channels)), "none")
    return add(graph, x, start, f"{name}/add") if shortcut else x


def _conv(graph: Graph, x: Value, name: str, spec: Conv, act: Activation) -> Value:
    x = batch_norm(graph, conv(graph, x, f"{name}.0", spec), f"{name}.1", _EPS)
    return activate(graph, x, act)
