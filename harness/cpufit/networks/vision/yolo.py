"""What the detectors of the YOLO line share; written from their published layer tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.errors import UsageError
from cpufit.networks.layers import Conv, activate, add, batch_norm, concat, conv, max_pool, width

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph, Value
    from cpufit.schema.shapes import Vision

DECODE = "decode/"  # names of the nodes after the last trained layer begin so
STRIDES = (8, 16, 32)  # pixels between the cells of each level
_EPS = 1e-3


def check_size(x: Value, spec: Vision) -> None:
    """Raise UsageError where the image does not divide into the coarsest cells."""
    side = x.shape[1]
    if side % STRIDES[-1]:
        raise UsageError(
            f"{spec.builder} cannot take {side} x {side} pixels",
            f"use a multiple of {STRIDES[-1]}",
        )


def cbs(
    graph: Graph, x: Value, name: str, channels: int, kernel: int = 1, stride: int = 1
) -> Value:
    """Add convolution, batch norm and SiLU."""
    spec = Conv(channels=channels, kernel=kernel, stride=stride)
    return _norm(graph, conv(graph, x, f"{name}.conv", spec), name)


def down(graph: Graph, x: Value, name: str, channels: int, spec: Vision) -> Value:
    """Add the convolution that halves the sides between two levels."""
    return cbs(graph, x, name, width(spec, channels), 3, 2)


def stem(graph: Graph, x: Value, name: str, channels: int) -> Value:
    """Add the 6 x 6 convolution that opens YOLOv5, with batch norm and SiLU."""
    spec = Conv(channels=channels, kernel=6, stride=2, padding=2)
    return _norm(graph, conv(graph, x, f"{name}.conv", spec), name)


def bottleneck(
    graph: Graph, x: Value, name: str, channels: int, first: int, *, shortcut: bool
) -> Value:
    """Add two convolutions, the first with a kernel of `first`, the second of 3."""
    inner = cbs(graph, x, f"{name}.cv1", channels, first)
    inner = cbs(graph, inner, f"{name}.cv2", channels, 3)
    return add(graph, x, inner, f"{name}/add") if shortcut else inner


def sppf(graph: Graph, x: Value, name: str, channels: int, spec: Vision) -> Value:
    """Add pooling at several scales, each on top of the one before."""
    pools = [cbs(graph, x, f"{name}.cv1", width(spec, channels // 2))]
    for i in range(3):
        pools.append(max_pool(graph, pools[-1], f"{name}/pool.{i}", 5, 1, 2))
    return cbs(graph, concat(graph, pools, f"{name}/concat"), f"{name}.cv2", width(spec, channels))


def _norm(graph: Graph, x: Value, name: str) -> Value:
    return activate(graph, batch_norm(graph, x, f"{name}.bn", _EPS), "silu")
