"""SqueezeNet 1.1 (Iandola et al. 2016), as in torchvision's squeezenet.py."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cpufit.networks.layers import Conv, activate, concat, conv, flatten, max_pool, mean_pool, width

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph, Value
    from cpufit.schema.shapes import Vision

_POOL = 0
_LAYERS = (_POOL, 16, 16, _POOL, 32, 32, _POOL, 48, 48, 64, 64)  # squeeze channels of each Fire


def squeezenet_1_1(graph: Graph, x: Value, spec: Vision) -> Value:
    """Add the classifier on an image 3,H,W; return the logits."""
    stem = Conv(channels=width(spec, 64), kernel=3, stride=2, padding="none")
    x = _conv(graph, x, "features.0", stem)
    for i, squeeze in enumerate(_LAYERS, 2):
        name = f"features.{i}"
        x = _fire(graph, x, name, squeeze, spec) if squeeze else max_pool(graph, x, name, 3, 2)
    x = _conv(graph, x, "classifier.1", Conv(channels=spec.classes))
    return flatten(graph, mean_pool(graph, x, "avgpool"), "flatten")


def _fire(graph: Graph, x: Value, name: str, squeeze: int, spec: Vision) -> Value:
    expand = width(spec, 4 * squeeze)
    x = _conv(graph, x, f"{name}.squeeze", Conv(channels=width(spec, squeeze)))
    near = _conv(graph, x, f"{name}.expand1x1", Conv(channels=expand))
    wide = _conv(graph, x, f"{name}.expand3x3", Conv(channels=expand, kernel=3))
    return concat(graph, [near, wide], f"{name}/concat")


def _conv(graph: Graph, x: Value, name: str, spec: Conv) -> Value:
    return activate(graph, conv(graph, x, name, replace(spec, bias=True)), "relu")
