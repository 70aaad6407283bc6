"""MobileNetV3 (Howard et al. 2019), as in torchvision's mobilenetv3.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cpufit.artifacts.graphs.layers import (
    Conv,
    activate,
    add,
    batch_norm,
    conv,
    flatten,
    linear,
    mean_pool,
)

if TYPE_CHECKING:
    from cpufit.artifacts.graphs.builder import Graph, Value
    from cpufit.artifacts.graphs.layers import (
        Activation,
    )

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


def mobilenet_v3(graph: Graph, x: Value, classes: int, layout: Layout) -> Value:
    """Add the classifier on an image 3,H,W; return the logits."""
    x = _conv(graph, x, "features.0", Conv(channels=16, kernel=3, stride=2), "hardswish")
    for i, block in enumerate(layout.blocks, 1):
        x = _inverted_residual(graph, x, f"features.{i}", block)
    last = f"features.{len(layout.blocks) + 1}"
    x = _conv(graph, x, last, Conv(channels=layout.last), "hardswish")
    x = flatten(graph, mean_pool(graph, x, "avgpool"), "flatten")
    x = activate(graph, linear(graph, x, "classifier.0", layout.hidden), "hardswish")
    return linear(graph, x, "classifier.3", classes)


def _inverted_residual(graph: Graph, x: Value, name: str, block: _Block) -> Value:
    start = x
    if block.expand != x.shape[0]:
        x = _conv(graph, x, f"{name}.expand", Conv(channels=block.expand), block.act)
    depthwise = Conv(
        channels=block.expand, kernel=block.kernel, stride=block.stride, groups=block.expand
    )
    x = _conv(graph, x, f"{name}.depthwise", depthwise, block.act)
    if block.squeeze:
        x = _squeeze_excite(graph, x, f"{name}.se", block.squeeze)
    x = _conv(graph, x, f"{name}.project", Conv(channels=block.channels), "none")
    return add(graph, x, start, f"{name}/add") if x.shape == start.shape else x


def _squeeze_excite(graph: Graph, x: Value, name: str, squeeze: int) -> Value:
    gate = mean_pool(graph, x, f"{name}.avgpool")
    gate = conv(graph, gate, f"{name}.fc1", Conv(channels=squeeze, bias=True))
    gate = activate(graph, gate, "relu")
    gate = conv(graph, gate, f"{name}.fc2", Conv(channels=x.shape[0], bias=True))
    gate = graph.node("HardSigmoid", f"{name}.gate", [gate], gate.shape, alpha=1 / 6, beta=0.5)
    return graph.node("Mul", f"{name}.scale", [x, gate], x.shape)


def _conv(graph: Graph, x: Value, name: str, spec: Conv, act: Activation) -> Value:
    x = batch_norm(graph, conv(graph, x, f"{name}.0", spec), f"{name}.1", _EPS)
    return activate(graph, x, act)
