"""YOLOv8n: a detector whose boxes are decoded inside the graph; suppression stays outside.

Written from the published layer table (yolov8.yaml, scale n), not from its code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpufit.artifacts.graphs.layers import (
    Conv,
    activate,
    add,
    batch_norm,
    concat,
    conv,
    max_pool,
    reshape,
    split,
    transpose,
)
from cpufit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpufit.artifacts.graphs.builder import Graph, Value

DECODE = "decode/"  # names of the nodes after the last trained layer begin so
_EPS = 1e-3
_BINS = 16  # of the distribution over distances of each box side
_STRIDES = (8, 16, 32)


def yolov8n(graph: Graph, x: Value, classes: int) -> Value:
    """Add the detector on an image 3,H,W; return boxes and scores as 4 + `classes`, positions."""
    side = x.shape[1]
    if side % _STRIDES[-1]:
        raise UsageError(f"yolov8n cannot take {side} x {side} pixels", "use a multiple of 32")
    levels = _neck(graph, *_backbone(graph, x))
    heads = [_head(graph, level, f"22.{i}", classes) for i, level in enumerate(levels)]
    return _decode(graph, heads, [level.shape[1:] for level in levels], classes)


def _backbone(graph: Graph, x: Value) -> tuple[Value, Value, Value]:
    x = _conv(graph, x, "0", 16, 3, 2)
    x = _c2f(graph, _conv(graph, x, "1", 32, 3, 2), "2", 32, 1, shortcut=True)
    p3 = _c2f(graph, _conv(graph, x, "3", 64, 3, 2), "4", 64, 2, shortcut=True)
    p4 = _c2f(graph, _conv(graph, p3, "5", 128, 3, 2), "6", 128, 2, shortcut=True)
    p5 = _c2f(graph, _conv(graph, p4, "7", 256, 3, 2), "8", 256, 1, shortcut=True)
    return p3, p4, _sppf(graph, p5, "9", 256)


def _neck(graph: Graph, p3: Value, p4: Value, p5: Value) -> tuple[Value, Value, Value]:
    up4 = concat(graph, [_upsample(graph, p5, "10"), p4], "11")
    mid = _c2f(graph, up4, "12", 128, 1)
    up3 = concat(graph, [_upsample(graph, mid, "13"), p3], "14")
    out3 = _c2f(graph, up3, "15", 64, 1)
    down4 = concat(graph, [_conv(graph, out3, "16", 64, 3, 2), mid], "17")
    out4 = _c2f(graph, down4, "18", 128, 1)
    down5 = concat(graph, [_conv(graph, out4, "19", 128, 3, 2), p5], "20")
    return out3, out4, _c2f(graph, down5, "21", 256, 1)


def _head(graph: Graph, x: Value, name: str, classes: int) -> Value:
    """Predict box distributions and class scores: C,H,W -> 4 x 16 + `classes`,H,W."""
    box_width, class_width = 64, 80  # from the table: they depend on the narrowest level
    box = _conv(
        graph, _conv(graph, x, f"{name}.box.0", box_width, 3), f"{name}.box.1", box_width, 3
    )
    box = conv(graph, box, f"{name}.box.2", Conv(channels=4 * _BINS, bias=True))
    score = _conv(graph, x, f"{name}.class.0", class_width, 3)
    score = _conv(graph, score, f"{name}.class.1", class_width, 3)
    score = conv(graph, score, f"{name}.class.2", Conv(channels=classes, bias=True))
    return concat(graph, [box, score], f"{DECODE}{name}")


def _decode(graph: Graph, heads: list[Value], planes: list[tuple[int, ...]], classes: int) -> Value:
    flat = [
        reshape(graph, head, f"{DECODE}flat.{i}", (head.shape[0], head.shape[1] * head.shape[2]))
        for i, head in enumerate(heads)
    ]
    joined = concat(graph, flat, f"{DECODE}joined", axis=1)
    box, score = split(graph, joined, f"{DECODE}split", [4 * _BINS, classes])
    score = graph.node("Sigmoid", f"{DECODE}scores", [score], score.shape)
    boxes = _boxes(graph, _distances(graph, box), planes)
    return concat(graph, [boxes, score], f"{DECODE}concat")


def _distances(graph: Graph, box: Value) -> Value:
    """Turn distributions into expected distances: 4 x 16,P -> 4,P."""
    positions = box.shape[1]
    x = reshape(graph, box, f"{DECODE}bins", (4, _BINS, positions))
    x = transpose(graph, x, f"{DECODE}bins_first", (1, 0, 2))
    x = graph.node("Softmax", f"{DECODE}softmax", [x], x.shape, axis=1)
    bins = np.arange(_BINS, dtype=np.float32).reshape(1, _BINS, 1, 1)
    weight = graph.constant(f"{DECODE}dfl.weight", bins)
    graph.parameters += _BINS  # fixed, but the publisher counts them
    graph.macs += 4 * _BINS * positions
    x = graph.node("Conv", f"{DECODE}dfl", [x, weight], (1, 4, positions), kernel_shape=[1, 1])
    return reshape(graph, x, f"{DECODE}distances", (4, positions))


def _boxes(graph: Graph, distances: Value, planes: list[tuple[int, ...]]) -> Value:
    """Turn distances left, top, right, bottom of the anchors into centre, size in pixels."""
    near, far = split(graph, distances, f"{DECODE}sides", [2, 2])
    shape = near.shape
    anchors, strides = _anchors(planes)
    anchor = graph.constant(f"{DECODE}anchors", anchors)
    low = graph.node("Sub", f"{DECODE}low", [anchor, near], shape)
    high = graph.node("Add", f"{DECODE}high", [anchor, far], shape)
    both = graph.node("Add", f"{DECODE}both", [low, high], shape)
    two = graph.scalar(f"{DECODE}two", 2)
    centre = graph.node("Div", f"{DECODE}centre", [both, two], shape)
    size = graph.node("Sub", f"{DECODE}size", [high, low], shape)
    boxes = concat(graph, [centre, size], f"{DECODE}boxes")
    stride = graph.constant(f"{DECODE}strides", strides)
    return graph.node("Mul", f"{DECODE}pixels", [boxes, stride], boxes.shape)


def _anchors(planes: list[tuple[int, ...]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cell centres (1,2,P; x before y, in cells) and strides (1,1,P) of all levels."""
    centres = [np.indices((h, w), np.float32)[::-1].reshape(2, h * w) + 0.5 for h, w in planes]
    strides = [np.full((1, h * w), s) for (h, w), s in zip(planes, _STRIDES, strict=True)]
    return (
        np.concatenate(centres, axis=1, dtype=np.float32)[None],
        np.concatenate(strides, axis=1, dtype=np.float32)[None],
    )


def _c2f(
    graph: Graph, x: Value, name: str, channels: int, repeats: int, *, shortcut: bool = False
) -> Value:
    half = channels // 2
    x = _conv(graph, x, f"{name}.cv1", channels)
    parts = split(graph, x, f"{name}/split", [half, half])
    for i in range(repeats):
        inner = _conv(graph, parts[-1], f"{name}.m.{i}.cv1", half, 3)
        inner = _conv(graph, inner, f"{name}.m.{i}.cv2", half, 3)
        if shortcut:
            inner = add(graph, parts[-1], inner, f"{name}.m.{i}/add")
        parts.append(inner)
    return _conv(graph, concat(graph, parts, f"{name}/concat"), f"{name}.cv2", channels)


def _sppf(graph: Graph, x: Value, name: str, channels: int) -> Value:
    pools = [_conv(graph, x, f"{name}.cv1", channels // 2)]
    for i in range(3):
        pools.append(max_pool(graph, pools[-1], f"{name}/pool.{i}", 5, 1, 2))
    return _conv(graph, concat(graph, pools, f"{name}/concat"), f"{name}.cv2", channels)


def _upsample(graph: Graph, x: Value, name: str) -> Value:
    channels, height, width = x.shape
    scales = graph.constant(f"{name}.scales", np.array([1, 1, 2, 2], np.float32))
    return graph.node(
        "Resize",
        name,
        [x, "", scales],
        (channels, 2 * height, 2 * width),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )


def _conv(
    graph: Graph, x: Value, name: str, channels: int, kernel: int = 1, stride: int = 1
) -> Value:
    spec = Conv(channels=channels, kernel=kernel, stride=stride)
    x = batch_norm(graph, conv(graph, x, f"{name}.conv", spec), f"{name}.bn", _EPS)
    return activate(graph, x, "silu")
