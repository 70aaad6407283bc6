"""YOLOv8n: a detector whose boxes are decoded inside the graph; suppression stays outside.

Written from the published layer table (yolov8.yaml, scale n), not from its code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpufit.networks.layers import Conv, concat, conv, reshape, split, transpose, upsample, width
from cpufit.networks.vision.yolo import DECODE, STRIDES, bottleneck, cbs, check_size, down, sppf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpufit.networks.graph import Graph, Value
    from cpufit.schema.shapes import Vision

_BINS = 16  # of the distribution over distances of each box side
_BOX, _CLASS = 64, 80  # widths of the head, from the table: they depend on the narrowest level


def yolov8n(graph: Graph, x: Value, spec: Vision) -> Value:
    """Add the detector on an image 3,H,W; return boxes and scores as 4 + `classes`, positions."""
    check_size(x, spec)
    levels = _neck(graph, spec, *_backbone(graph, x, spec))
    heads = [_head(graph, level, f"22.{i}", spec) for i, level in enumerate(levels)]
    return _decode(graph, heads, [level.shape[1:] for level in levels], spec.classes)


def _backbone(graph: Graph, x: Value, spec: Vision) -> tuple[Value, Value, Value]:
    x = down(graph, x, "0", 16, spec)
    x = _c2f(graph, down(graph, x, "1", 32, spec), "2", 32, 1, spec, shortcut=True)
    p3 = _c2f(graph, down(graph, x, "3", 64, spec), "4", 64, 2, spec, shortcut=True)
    p4 = _c2f(graph, down(graph, p3, "5", 128, spec), "6", 128, 2, spec, shortcut=True)
    p5 = _c2f(graph, down(graph, p4, "7", 256, spec), "8", 256, 1, spec, shortcut=True)
    return p3, p4, sppf(graph, p5, "9", 256, spec)


def _neck(
    graph: Graph, spec: Vision, p3: Value, p4: Value, p5: Value
) -> tuple[Value, Value, Value]:
    up4 = concat(graph, [upsample(graph, p5, "10"), p4], "11")
    mid = _c2f(graph, up4, "12", 128, 1, spec)
    up3 = concat(graph, [upsample(graph, mid, "13"), p3], "14")
    out3 = _c2f(graph, up3, "15", 64, 1, spec)
    down4 = concat(graph, [down(graph, out3, "16", 64, spec), mid], "17")
    out4 = _c2f(graph, down4, "18", 128, 1, spec)
    down5 = concat(graph, [down(graph, out4, "19", 128, spec), p5], "20")
    return out3, out4, _c2f(graph, down5, "21", 256, 1, spec)


def _c2f(
    graph: Graph,
    x: Value,
    name: str,
    channels: int,
    repeats: int,
    spec: Vision,
    *,
    shortcut: bool = False,
) -> Value:
    half = width(spec, channels // 2)
    x = cbs(graph, x, f"{name}.cv1", 2 * half)
    parts = split(graph, x, f"{name}/split", [half, half])
    for i in range(repeats):
        inner = bottleneck(graph, parts[-1], f"{name}.m.{i}", half, 3, shortcut=shortcut)
        parts.append(inner)
    return cbs(graph, concat(graph, parts, f"{name}/concat"), f"{name}.cv2", width(spec, channels))


def _head(graph: Graph, x: Value, name: str, spec: Vision) -> Value:
    """Predict box distributions and class scores: C,H,W -> 4 x 16 + `classes`,H,W."""
    box = _branch(graph, x, f"{name}.box", width(spec, _BOX), 4 * _BINS)
    score = _branch(graph, x, f"{name}.class", width(spec, _CLASS), spec.classes)
    return concat(graph, [box, score], f"{DECODE}{name}")


def _branch(graph: Graph, x: Value, name: str, inner: int, outputs: int) -> Value:
    x = cbs(graph, cbs(graph, x, f"{name}.0", inner, 3), f"{name}.1", inner, 3)
    return conv(graph, x, f"{name}.2", Conv(channels=outputs, bias=True))


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
    graph.work(4 * _BINS * positions)
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
    strides = [np.full((1, h * w), s) for (h, w), s in zip(planes, STRIDES, strict=True)]
    return (
        np.concatenate(centres, axis=1, dtype=np.float32)[None],
        np.concatenate(strides, axis=1, dtype=np.float32)[None],
    )
