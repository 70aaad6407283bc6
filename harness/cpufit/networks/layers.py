"""The layers convolutional models are made of; names of arrays follow the published checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cpufit.networks.graph import Value
from cpufit.networks.widths import keep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.networks.graph import Graph
    from cpufit.schema.shapes import Vision

Activation = Literal["relu", "relu6", "hardswish", "silu", "none"]
Padding = Literal["half", "same", "none"]

_STEP = 8  # widths of pruned layers: as many floats as a vector register of AVX has

_GAIN = math.sqrt(2)  # He et al. 2015: an activation throws about half of the power away
_BIAS_STD = 0.5  # also keeps SiLU networks from fading: their gain falls below 1 near zero


@dataclass(frozen=True, kw_only=True)
class Conv:
    """A convolution: padding 'half' is kernel // 2 all round, 'same' is TensorFlow's, a number that
    many pixels all round.
    """

    channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    padding: Padding | int = "half"
    bias: bool = False


def width(spec: Vision, channels: int) -> int:
    """Return how many of the published `channels` of a layer are kept."""
    return channels if spec.keep == 100 else max(_STEP, keep(channels, spec.keep, _STEP))


def conv(graph: Graph, x: Value, name: str, spec: Conv) -> Value:
    """Add a square 2-D convolution: C,H,W -> `channels`,H',W'."""
    fan_in = x.shape[0] // spec.groups * spec.kernel**2
    kernel = (spec.channels, x.shape[0] // spec.groups, spec.kernel, spec.kernel)
    arrays = [graph.weight(f"{name}.weight", kernel, _GAIN / fan_in**0.5)]
    if spec.bias:
        arrays.append(graph.weight(f"{name}.bias", (spec.channels,), _BIAS_STD))
    return convolve(graph, x, f"{name}/conv", spec, arrays)


def convolve(graph: Graph, x: Value, name: str, spec: Conv, arrays: Sequence[str]) -> Value:
    """Add a convolution with given weights, and a bias where there are two `arrays`."""
    channels, *plane = x.shape
    before, after = zip(*(_pads(side, spec) for side in plane), strict=True)
    sizes = [
        (side + a + b - spec.kernel) // spec.stride + 1
        for side, a, b in zip(plane, before, after, strict=True)
    ]
    shape = (spec.channels, *sizes)
    graph.work(math.prod(shape) * channels // spec.groups * spec.kernel**2)
    return graph.node(
        "Conv",
        name,
        [x, *arrays],
        shape,
        kernel_shape=[spec.kernel] * 2,
        strides=[spec.stride] * 2,
        pads=[*before, *after],
        group=spec.groups,
    )


def batch_norm(
    graph: Graph, x: Value, name: str, eps: float, scale: float = 1.0, *, frozen: bool = False
) -> Value:
    """Add a batch normalisation over the channels; the runtimes fold it into the convolution.

    `scale` is about what synthetic weights multiply by. At the end of a branch of a deep residual
    network it must be below 1, or each addition would double the power. A frozen norm has no
    parameters: what it multiplies by and adds was never trained.
    """
    shape = (x.shape[0],)
    take = graph.statistic if frozen else graph.weight
    arrays = [
        take(f"{name}.weight", shape, 0.1 * scale, scale),
        take(f"{name}.bias", shape, _BIAS_STD, 0.0),
        graph.statistic(f"{name}.running_mean", shape, 0.1, 0.0),
        graph.statistic(f"{name}.running_var", shape, 0.1, 1.0),
    ]
    return graph.node("BatchNormalization", f"{name}/norm", [x, *arrays], x.shape, epsilon=eps)


def activate(graph: Graph, x: Value, kind: Activation) -> Value:
    """Add the activation as the exporters write it."""
    name = f"{x.name}/{kind}"
    match kind:
        case "none":
            return x
        case "relu":
            return graph.node("Relu", name, [x], x.shape)
        case "relu6":
            bounds = [
                graph.scalar(f"{name}.{side}", bound) for side, bound in (("min", 0), ("max", 6))
            ]
            return graph.node("Clip", name, [x, *bounds], x.shape)
        case "hardswish":
            return graph.node("HardSwish", name, [x], x.shape)
        case "silu":
            gate = graph.node("Sigmoid", f"{x.name}/sigmoid", [x], x.shape)
            return graph.node("Mul", name, [x, gate], x.shape)


def max_pool(graph: Graph, x: Value, name: str, kernel: int, stride: int, pad: int = 0) -> Value:
    """Add a max-pooling; without padding a partial window at the end counts (ceil mode)."""
    channels, *plane = x.shape
    rounded = math.floor if pad else math.ceil
    sizes = [rounded((side + 2 * pad - kernel) / stride) + 1 for side in plane]
    return graph.node(
        "MaxPool",
        name,
        [x],
        (channels, *sizes),
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=[pad] * 4,
        ceil_mode=int(not pad),
    )


def mean_pool(graph: Graph, x: Value, name: str) -> Value:
    """Average each channel's plane: C,H,W -> C,1,1."""
    return graph.node("GlobalAveragePool", name, [x], (x.shape[0], 1, 1))


def flatten(graph: Graph, x: Value, name: str) -> Value:
    """Make one vector of every sample."""
    return graph.node("Flatten", name, [x], (math.prod(x.shape),), axis=1)


def linear(graph: Graph, x: Value, name: str, features: int, std: float = 0) -> Value:
    """Add a fully connected layer with bias on a vector; the weight is stored out x in.

    `std` is of synthetic weights; 0: such that an activation after it keeps their scale.
    """
    (width,) = x.shape
    weight = graph.weight(f"{name}.weight", (features, width), std or _GAIN / width**0.5)
    bias = graph.weight(f"{name}.bias", (features,), _BIAS_STD)
    graph.work(width * features)
    return graph.node("Gemm", f"{name}/linear", [x, weight, bias], (features,), transB=1)


def add(graph: Graph, x: Value, y: Value, name: str) -> Value:
    """Add two tensors of the same shape."""
    if x.shape != y.shape:
        raise ValueError(f"{name}: {x.shape} + {y.shape}")
    return graph.node("Add", name, [x, y], x.shape)


def concat(graph: Graph, parts: Sequence[Value], name: str, axis: int = 0) -> Value:
    """Join tensors along `axis`, counted without the batch; the other axes must agree."""
    others = {p.shape[:axis] + p.shape[axis + 1 :] for p in parts}
    if len(others) != 1:
        raise ValueError(f"{name}: cannot join {[p.shape for p in parts]} along axis {axis}")
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    return graph.node("Concat", name, parts, tuple(shape), axis=axis + 1)


def split(graph: Graph, x: Value, name: str, sizes: Sequence[int]) -> list[Value]:
    """Cut a tensor along its first axis (after the batch) into parts of `sizes`."""
    if sum(sizes) != x.shape[0]:
        raise ValueError(f"{name}: cannot cut {x.shape[0]} into {list(sizes)}")
    parts = [Value(f"{name}.{i}", (size, *x.shape[1:])) for i, size in enumerate(sizes)]
    lengths = graph.constant(f"{name}.sizes", np.array(sizes, np.int64))
    graph.nodes("Split", name, [x, lengths], [p.name for p in parts], axis=1)
    return parts


def upsample(graph: Graph, x: Value, name: str) -> Value:
    """Double height and width by repeating every pixel."""
    channels, height, width_ = x.shape
    scales = graph.constant(f"{name}.scales", np.array([1, 1, 2, 2], np.float32))
    return graph.node(
        "Resize",
        name,
        [x, "", scales],
        (channels, 2 * height, 2 * width_),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )


def reshape(graph: Graph, x: Value, name: str, shape: tuple[int, ...]) -> Value:
    """Reshape every sample; the batch axis stays."""
    if math.prod(shape) != math.prod(x.shape):
        raise ValueError(f"{name}: {x.shape} -> {shape}")
    target = graph.constant(f"{name}.shape", np.array((0, *shape), np.int64))
    return graph.node("Reshape", name, [x, target], shape)


def transpose(graph: Graph, x: Value, name: str, order: tuple[int, ...]) -> Value:
    """Permute the axes of every sample; `order` counts them from 0 without the batch."""
    shape = tuple(x.shape[axis] for axis in order)
    return graph.node("Transpose", name, [x], shape, perm=[0, *(axis + 1 for axis in order)])


def _pads(side: int, spec: Conv) -> tuple[int, int]:
    match spec.padding:
        case "none":
            return 0, 0
        case "half":
            return spec.kernel // 2, spec.kernel // 2
        case "same":
            covered = (-(-side // spec.stride) - 1) * spec.stride + spec.kernel
            total = max(covered - side, 0)
            return total // 2, total - total // 2
        case int(pixels):
            return pixels, pixels
