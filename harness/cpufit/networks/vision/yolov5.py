"""YOLOv5s (version 6): a detector with anchors, its boxes decoded inside the graph.

Written from the published layer table (yolov5s.yaml), not from its code. Suppression stays outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpufit.networks.layers import Conv, concat, conv, reshape, split, transpose, upsample, width
from cpufit.networks.vision.yolo import (
    DECODE,
    STRIDES,
    bottleneck,
    cbs,
    check_size,
    down,
    sppf,
    stem,
)

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph, Value
    from cpufit.schema.shapes import Vision

_ANCHORS = (  # width, height in pixels; three for each level
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
_SHAPES = len(_ANCHORS[0])


def yolov5s(graph: Graph, x: Value, spec: Vision) -> Value:
    """Add the detector on an image 3,H,W; return positions, 5 + `classes`.

    The columns are centre, size, objectness and class scores.
    """
    check_size(x, spec)
    levels = _neck(graph, spec, *_backbone(graph, x, spec))
    found = [_detect(graph, level, i, spec) for i, level in enumerate(levels)]
    return concat(graph, found, f"{DECODE}joined")


def _backbone(graph: Graph, x: Value, spec: Vision) -> tuple[Value, Value, Value]:
    x = stem(graph, x, "0", width(spec, 32))
    x = _c3(graph, down(graph, x, "1", 64, spec), "2", 64, 1, spec, shortcut=True)
    p3 = _c3(graph, down(graph, x, "3", 128, spec), "4", 128, 2, spec, shortcut=True)
    p4 = _c3(graph, down(graph, p3, "5", 256, spec), "6", 256, 3, spec, shortcut=True)
    p5 = _c3(graph, down(graph, p4, "7", 512, spec), "8", 512, 1, spec, shortcut=True)
    return p3, p4, sppf(graph, p5, "9", 512, spec)


def _neck(
    graph: Graph, spec: Vision, p3: Value, p4: Value, p5: Value
) -> tuple[Value, Value, Value]:
    top5 = cbs(graph, p5, "10", width(spec, 256))
    up4 = concat(graph, [upsample(graph, top5, "11"), p4], "12")
    top4 = cbs(graph, _c3(graph, up4, "13", 256, 1, spec), "14", width(spec, 128))
    up3 = concat(graph, [upsample(graph, top4, "15"), p3], "16")
    out3 = _c3(graph, up3, "17", 128, 1, spec)
    down4 = concat(graph, [down(graph, out3, "18", 128, spec), top4], "19")
    out4 = _c3(graph, down4, "20", 256, 1, spec)
    down5 = concat(graph, [down(graph, out4, "21", 256, spec), top5], "22")
    return out3, out4, _c3(graph, down5, "23", 512, 1, spec)


def _c3(
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
    inner, beside = cbs(graph, x, f"{name}.cv1", half), cbs(graph, x, f"{name}.cv2", half)
    for i in range(repeats):
        inner = bottleneck(graph, inner, f"{name}.m.{i}", half, 1, shortcut=shortcut)
    joined = concat(graph, [inner, beside], f"{name}/concat")
    return cbs(graph, joined, f"{name}.cv3", width(spec, channels))


def _detect(graph: Graph, x: Value, level: int, spec: Vision) -> Value:
    """Predict and decode one level: C,H,W -> 3 x H x W, 5 + `classes`."""
    columns, (_, height, across) = 5 + spec.classes, x.shape
    x = conv(graph, x, f"24.m.{level}", Conv(channels=_SHAPES * columns, bias=True))
    name = f"{DECODE}{level}"
    x = reshape(graph, x, f"{name}/shapes", (_SHAPES, columns, height * across))
    x = transpose(graph, x, f"{name}/columns", (1, 0, 2))
    x = reshape(graph, x, f"{name}/flat", (columns, _SHAPES * height * across))
    x = graph.node("Sigmoid", f"{name}/sigmoid", [x], x.shape)
    place, size, scores = split(graph, x, f"{name}/split", [2, 2, columns - 4])
    both = [_centre(graph, place, level, (height, across)), _size(graph, size, level), scores]
    x = concat(graph, both, f"{name}/concat")
    return transpose(graph, x, f"{name}/rows", (1, 0))


def _centre(graph: Graph, x: Value, level: int, plane: tuple[int, int]) -> Value:
    """Scale to pixels: (2 s + cell - 0.5) x stride, with x before y."""
    cells = np.indices(plane, np.float32)[::-1].reshape(2, -1) - 0.5
    offset = np.tile(cells, (1, _SHAPES))[None] * STRIDES[level]
    name = f"{DECODE}{level}/centre"
    factor = graph.scalar(f"{name}.factor", 2 * STRIDES[level])
    x = graph.node("Mul", f"{name}/scaled", [x, factor], x.shape)
    cell = graph.constant(f"{name}.cells", offset.astype(np.float32))
    return graph.node("Add", name, [x, cell], x.shape)


def _size(graph: Graph, x: Value, level: int) -> Value:
    """Scale to pixels: (2 s) squared x anchor."""
    name, positions = f"{DECODE}{level}/size", x.shape[1] // _SHAPES
    anchors = np.repeat(np.array(_ANCHORS[level], np.float32).T, positions, axis=1)[None]
    squared = graph.node("Mul", f"{name}/squared", [x, x], x.shape)
    return graph.node(
        "Mul", name, [squared, graph.constant(f"{name}.anchors", 4 * anchors)], x.shape
    )
