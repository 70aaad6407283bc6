"""MobileNetV3 (Howard et al. 2019), as in torchvision's mobilenetv3.py."""

from __future__ import annotations

from dataclasses import dataclass
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


class _Block(NamedTuple):
    kernel: int
    expand: int
    channels: int
    squeeze: int  # channels of the squeeze-and-excitation bottleneck, 0 for none
    act: Activation
    stride: int


@dataclass(frozen=True)
class Layout:
    """What distinguishes the members of the family."""

    blocks: tuple[_Block, ...]
    last: int  # channels before the pooling
    hidden: int  # of the classifier
    projection: float = 1.0  # scale of synthetic ones: no activation halves their power, gates do


SMALL = Layout(
    blocks=(
        _Block(3, 16, 16, 8, "relu", 2),
        _Block(3, 72, 24, 0, "relu", 2),
        _Block(3, 88, 24, 0, "relu", 1),
        _Block(5, 96, 40, 24, "hardswish", 2),
        _Block(5, 240, 40, 64, "hardswish", 1),
        _Block(5, 240, 40, 64, "hardswish", 1),
        _Block(5, 120, 48, 32, "hardswish", 1),
        _Block(5, 144, 48, 40, "hardswish", 1),
        _Block(5, 288, 96, 72, "hardswish", 2),
        _Block(5, 576, 96, 144, "hardswish", 1),
        _Block(5, 576, 96, 144, "hardswish", 1),
    ),
    last=576,
    hidden=1024,
)
LARGE = Layout(
    blocks=(
        _Block(3, 16, 16, 0, "relu", 1),
        _Block(3, 64, 24, 0, "relu", 2),
        _Block(3, 72, 24, 0, "relu", 1),
        _Block(5, 72, 40, 24, "relu", 2),
        _Block(5, 120, 40, 32, "relu", 1),
        _Block(5, 120, 40, 32, "relu", 1),
        _Block(3, 240, 80, 0, "hardswish", 2),
        _Block(3, 200, 80, 0, "hardswish", 1),
        _Block(3, 184, 80, 0, "hardswish", 1),
        _Block(3, 184, 80, 0, "hardswish", 1),
        _Block(3, 480, 112, 120, "hardswish", 1),
        _Block(3, 672, 112, 168, "hardswish", 1),
        _Block(5, 672, 160, 168, "hardswish", 2),
        _Block(5, 960, 160, 240, "hardswish", 1),
        _Block(5, 960, 160, 240, "hardswish", 1),
    ),
    last=960,
    hidden=1280,
    projection=0.7,
)
_STEM = 16


def mobilenet_v3(graph: Graph, x: Value, spec: Vision, layout: Layout) -> Value:
    """Add the classifier on an image 3,H,W; return the logits."""
    stem = Conv(channels=width(spec, _STEM), kernel=3, stride=2)
    x = _conv(graph, x, "features.0", stem, "hardswish")
    before = _STEM
    for i, block in enumerate(layout.blocks, 1):
        x = _inverted_residual(graph, x, f"features.{i}", block, before, spec, layout.projection)
        before = block.channels
    last = f"features.{len(layout.blocks) + 1}"
    x = _conv(graph, x, last, Conv(channels=width(spec, layout.last)), "hardswish")
    x = flatten(graph, mean_pool(graph, x, "avgpool"), "flatten")
    hidden = linear(graph, x, "classifier.0", width(spec, layout.hidden))
    return linear(graph, activate(graph, hidden, "hardswish"), "classifier.3", spec.classes)


def _inverted_residual(
    graph: Graph,
    x: Value,
    name: str,
    block: _Block,
    before: int,
    spec: Vision,
    projection: float,
) -> Value:
    """Add a block; `before` is the published number of channels that come in."""
    start, expand = x, width(spec, block.expand)
    if block.expand != before:
        x = _conv(graph, x, f"{name}.expand", Conv(channels=expand), block.act)
    depthwise = Conv(channels=expand, kernel=block.kernel, stride=block.stride, groups=expand)
    x = _conv(graph, x, f"{name}.depthwise", depthwise, block.act)
    if block.squeeze:
        x = _squeeze_excite(graph, x, f"{name}.se", width(spec, block.squeeze))
    project = Conv(channels=width(spec, block.channels))
    x = _conv(graph, x, f"{name}.project", project, "none", projection)
    shortcut = block.stride == 1 and block.channels == before
    return add(graph, x, start, f"{name}/add") if shortcut else x


def _squeeze_excite(graph: Graph, x: Value, name: str, squeeze: int) -> Value:
    gate = mean_pool(graph, x, f"{name}.avgpool")
    gate = conv(graph, gate, f"{name}.fc1", Conv(channels=squeeze, bias=True))
    gate = activate(graph, gate, "relu")
    gate = conv(graph, gate, f"{name}.fc2", Conv(channels=x.shape[0], bias=True))
    gate = graph.node("HardSigmoid", f"{name}.gate", [gate], gate.shape, alpha=1 / 6, beta=0.5)
    return graph.node("Mul", f"{name}.scale", [x, gate], x.shape)


def _conv(
    graph: Graph, x: Value, name: str, spec: Conv, act: Activation, scale: float = 1.0
) -> Value:
    x = batch_norm(graph, conv(graph, x, f"{name}.0", spec), f"{name}.1", _EPS, scale)
    return activate(graph, x, act)
