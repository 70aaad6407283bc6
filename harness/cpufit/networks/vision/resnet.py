"""ResNet (He et al. 2015) in its v1.5 form, as in torchvision's resnet.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpufit.networks.layers import (
    Conv,
    activate,
    add,
    batch_norm,
    conv,
    flatten,
    linear,
    max_pool,
    mean_pool,
    width,
)

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph, Value
    from cpufit.networks.layers import Activation
    from cpufit.schema.shapes import Vision

_EPS = 1e-5
_STEM = 64
_WIDTHS = (64, 128, 256, 512)  # inside the blocks of each stage
_EXPANSION = 4  # a bottleneck's output has that many times its inner width


@dataclass(frozen=True)
class Layout:
    """What distinguishes the members of the family."""

    blocks: tuple[int, int, int, int]  # of each stage
    bottleneck: bool = True
    frozen: bool = False  # norms as detectors have them
    branch: float = 0.3  # scale of a synthetic branch: what it adds piles up block by block


RESNET_18 = Layout((2, 2, 2, 2), bottleneck=False)
RESNET_50 = Layout((3, 4, 6, 3))
RESNET_152 = Layout((3, 8, 36, 3), branch=0.15)


def resnet(graph: Graph, x: Value, spec: Vision, layout: Layout) -> Value:
    """Add the classifier on an image 3,H,W; return the logits."""
    x = stages(graph, x, spec, layout)[-1]
    x = flatten(graph, mean_pool(graph, x, "avgpool"), "flatten")
    return linear(graph, x, "fc", spec.classes)


def stages(graph: Graph, x: Value, spec: Vision, layout: Layout) -> list[Value]:
    """Add everything below the classifier; return the output of each stage, finest first."""
    stem = Conv(channels=width(spec, _STEM), kernel=7, stride=2)
    x = _conv(graph, x, "stem", stem, "relu", layout)
    x = max_pool(graph, x, "maxpool", 3, 2, 1)
    found = []
    for stage, (inner, repeats) in enumerate(zip(_WIDTHS, layout.blocks, strict=True)):
        for repeat in range(repeats):
            stride = 2 if stage and not repeat else 1
            # The first stage of basic blocks changes neither size nor width.
            projected = not repeat and (layout.bottleneck or stage > 0)
            block = _bottleneck if layout.bottleneck else _basic
            name = f"layer{stage + 1}.{repeat}"
            y = block(graph, x, name, inner, stride, spec, layout)
            shortcut = x
            if projected:
                down = Conv(channels=y.shape[0], stride=stride)
                shortcut = _conv(graph, x, f"{name}.downsample", down, "none", layout)
            x = activate(graph, add(graph, y, shortcut, f"{name}/add"), "relu")
        found.append(x)
    return found


def _basic(
    graph: Graph, x: Value, name: str, inner: int, stride: int, spec: Vision, layout: Layout
) -> Value:
    channels = width(spec, inner)
    first = Conv(channels=channels, kernel=3, stride=stride)
    x = _conv(graph, x, f"{name}.1", first, "relu", layout)
    return _last(graph, x, f"{name}.2", Conv(channels=channels, kernel=3), layout)


def _bottleneck(
    graph: Graph, x: Value, name: str, inner: int, stride: int, spec: Vision, layout: Layout
) -> Value:
    channels = width(spec, inner)
    x = _conv(graph, x, f"{name}.1", Conv(channels=channels), "relu", layout)
    middle = Conv(channels=channels, kernel=3, stride=stride)  # v1 had the stride before
    x = _conv(graph, x, f"{name}.2", middle, "relu", layout)
    return _last(graph, x, f"{name}.3", Conv(channels=width(spec, _EXPANSION * inner)), layout)


def _last(graph: Graph, x: Value, name: str, spec: Conv, layout: Layout) -> Value:
    x = conv(graph, x, f"{name}.conv", spec)
    return batch_norm(graph, x, f"{name}.bn", _EPS, layout.branch, frozen=layout.frozen)


def _conv(graph: Graph, x: Value, name: str, spec: Conv, act: Activation, layout: Layout) -> Value:
    x = conv(graph, x, f"{name}.conv", spec)
    return activate(graph, batch_norm(graph, x, f"{name}.bn", _EPS, frozen=layout.frozen), act)
