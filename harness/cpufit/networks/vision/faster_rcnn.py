"""Faster R-CNN with a ResNet-50 feature pyramid, as torchvision's `fasterrcnn_resnet50_fpn`.

Everything is inside the graph: region proposals, RoIAlign, the box head, suppression. So that the
work does not depend on the weights, two numbers are fixed that torchvision only limits. Where
suppression leaves fewer proposals than `proposals`, the best ones fill up: the box head always sees
that many. And instead of the boxes with a score above 0.05, of which untrained weights give none,
the `_CANDIDATES` best go into the last suppression.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from cpufit.errors import UsageError
from cpufit.networks.boxes import Boxes, anchors
from cpufit.networks.graph import Value
from cpufit.networks.layers import Conv, activate, add, conv, convolve, linear, upsample, width
from cpufit.networks.vision.resnet import RESNET_50, stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.networks.graph import Graph
    from cpufit.schema.shapes import Vision

_BACKBONE = replace(RESNET_50, frozen=True)
_STRIDE = 32  # of the coarsest plane of the backbone
_PYRAMID, _HEAD = 256, 1024  # widths
_SIZES = (32, 64, 128, 256, 512)  # of the anchors of each level
_RATIOS = (0.5, 1.0, 2.0)
_SHAPES = len(_RATIOS)
_TOP = 1000  # boxes of each level that go into the first suppression
_WINDOW = 7  # cells of a pooled region
_CANDIDATES = 1000
_DETECTIONS = 100
_RPN_OVERLAP, _OVERLAP = 0.7, 0.5
# Small last layers, as Detectron begins training with: scores that are not all 0 or 1, and boxes
# that stay near their anchors. Those of larger ones would have no area left, and cost less to pool.
_STDS = {"rpn.cls": 0.01, "rpn.box": 0.003, "box.cls": 0.01, "box.deltas": 0.001}
_RPN_WEIGHTS, _WEIGHTS = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)


def faster_rcnn(graph: Graph, x: Value, spec: Vision) -> dict[str, Value]:
    """Add the detector on one image 3,H,W.

    Returns 'boxes' (100,4), 'scores' and 'labels' (100), and 'objectness' of all anchors, which
    does not depend on any order.
    """
    side = x.shape[1]
    if side % _STRIDE:
        raise UsageError(
            f"{spec.builder} cannot take {side} x {side} pixels", f"use a multiple of {_STRIDE}"
        )
    levels = _pyramid(graph, x, spec)
    objectness, regions = _propose(graph, levels, side, spec)
    pooled, regions = _pool(graph, levels[:-1], regions, spec.proposals)
    logits, deltas = _head(graph, pooled, spec)
    found = _detect(graph, logits, deltas, regions, side, spec)
    return {**found, "objectness": objectness}


def _pyramid(graph: Graph, x: Value, spec: Vision) -> list[Value]:
    """Return five levels of equal width, finest first."""
    planes = stages(graph, x, spec, _BACKBONE)
    channels = width(spec, _PYRAMID)
    top: Value | None = None
    levels: list[Value] = []
    for i in reversed(range(len(planes))):
        side = Conv(channels=channels, bias=True)
        lateral = conv(graph, planes[i], f"fpn.inner.{i}", side)
        if top is not None:
            lateral = add(graph, lateral, _doubled(graph, top, f"fpn.up.{i}", lateral), f"fpn/{i}")
        top = lateral
        smooth = Conv(channels=channels, kernel=3, bias=True)
        levels.insert(0, conv(graph, top, f"fpn.layer.{i}", smooth))
    last = levels[-1]
    shape = (channels, *(-(-side // 2) for side in last.shape[1:]))
    # A pooling of single cells: every second one is kept.
    thin = graph.node("MaxPool", "fpn/pool", [last], shape, kernel_shape=[1, 1], strides=[2, 2])
    return [*levels, thin]


def _doubled(graph: Graph, x: Value, name: str, like: Value) -> Value:
    bigger = upsample(graph, x, name)
    if bigger.shape != like.shape:
        raise ValueError(f"{name}: {bigger.shape} is not {like.shape}")
    return bigger


def _propose(graph: Graph, levels: Sequence[Value], side: int, spec: Vision) -> tuple[Value, str]:
    """Return the objectness of all anchors, and the boxes of the proposals, the best first."""
    channels = width(spec, _PYRAMID)
    shared = _RpnWeights(graph, channels)
    boxes = Boxes(graph, "rpn")
    scores, deltas = zip(*(shared.predict(boxes, x, i) for i, x in enumerate(levels)), strict=True)
    planes = [cast("tuple[int, int]", level.shape[1:]) for level in levels]
    counts = [_SHAPES * height * across for height, across in planes]
    joined = graph.node("Concat", "rpn/objectness", list(scores), (sum(counts),), axis=1)
    given = boxes.constant(anchors(planes, _SIZES, _RATIOS, side))
    all_deltas = boxes.op("Concat", *deltas, axis=0)
    decoded = boxes.decode(all_deltas, given, _RPN_WEIGHTS, side)
    best = _best(boxes, joined, counts)
    likely = boxes.op(
        "Sigmoid", boxes.gather(boxes.op("Reshape", joined, boxes.integers(-1)), best)
    )
    groups = np.repeat(np.arange(len(counts)), [min(_TOP, n) for n in counts]).astype(np.float32)
    order = boxes.ops("TopK", 2, likely, boxes.integers(len(groups)), axis=0)
    regions = boxes.gather(boxes.gather(decoded, best), order[1])
    sorted_groups = boxes.gather(boxes.constant(groups), order[1])
    kept = boxes.suppress(regions, order[0], sorted_groups, _RPN_OVERLAP, spec.proposals, side)
    return joined, boxes.gather(regions, kept)


class _RpnWeights:
    """The region proposal head, whose weights all levels share."""

    def __init__(self, graph: Graph, channels: int) -> None:
        self._graph = graph
        self._specs = {
            "conv": Conv(channels=channels, kernel=3, bias=True),
            "cls": Conv(channels=_SHAPES, bias=True),
            "box": Conv(channels=4 * _SHAPES, bias=True),
        }
        self._arrays = {
            name: (
                graph.weight(
                    f"rpn.{name}.weight",
                    (spec.channels, channels, spec.kernel, spec.kernel),
                    _STDS.get(f"rpn.{name}", (channels * spec.kernel**2) ** -0.5),
                ),
                graph.weight(f"rpn.{name}.bias", (spec.channels,), 0.1),
            )
            for name, spec in self._specs.items()
        }

    def predict(self, boxes: Boxes, x: Value, level: int) -> tuple[str, str]:
        """Return objectness (1,anchors) and deltas (anchors,4) of one level."""
        x = activate(self._graph, self._convolve(x, "conv", level), "relu")
        score, delta = (self._convolve(x, name, level) for name in ("cls", "box"))
        last = boxes.op("Transpose", score, perm=[0, 2, 3, 1])
        parted = boxes.op("Transpose", delta, perm=[0, 2, 3, 1])
        return boxes.op("Reshape", last, boxes.integers(1, -1)), boxes.rows(parted, 4)

    def _convolve(self, x: Value, name: str, level: int) -> Value:
        full = f"rpn.{name}/{level}"
        return convolve(self._graph, x, full, self._specs[name], self._arrays[name])


def _best(boxes: Boxes, scores: Value, counts: Sequence[int]) -> str:
    """Return the rows of the best anchors of each level."""
    flat = boxes.op("Reshape", scores, boxes.integers(-1))
    parts = boxes.ops("Split", len(counts), flat, boxes.integers(*counts), axis=0)
    starts = np.cumsum([0, *counts[:-1]])
    found = []
    for part, start, count in zip(parts, starts, counts, strict=True):
        index = boxes.ops("TopK", 2, part, boxes.integers(min(_TOP, count)), axis=0)[1]
        found.append(boxes.op("Add", index, boxes.integers(int(start))))
    return boxes.op("Concat", *found, axis=0)


def _pool(graph: Graph, levels: Sequence[Value], regions: str, proposals: int) -> tuple[Value, str]:
    """Pool each region from the level of its size; return them and the boxes in that order.

    How many fall on a level depends on the weights, how many there are in all does not.
    """
    boxes = Boxes(graph, "roi")
    low, high = boxes.ops("Split", 2, regions, boxes.integers(2, 2), axis=-1)
    size = boxes.op("Sub", high, low)
    area = boxes.op("ReduceProd", size, axes=[1], keepdims=0)
    # Lin et al. 2017, equation 1: a region of 224 pixels belongs to the third level.
    share = boxes.op("Div", boxes.op("Sqrt", area), boxes.number(224))
    octave = boxes.op(
        "Div",
        boxes.op("Log", boxes.op("Add", share, boxes.number(1e-6))),
        boxes.number(float(np.log(2))),
    )
    level = boxes.op("Floor", boxes.op("Add", octave, boxes.number(2)))
    level = boxes.op("Clip", level, boxes.number(0), boxes.number(len(levels) - 1))
    pooled, order = [], []
    for i, x in enumerate(levels):
        here = boxes.op("Equal", boxes.op("Cast", level, to=7), boxes.integers(i))
        index = boxes.op("Reshape", boxes.op("NonZero", here), boxes.integers(-1))
        mine = boxes.gather(regions, index)
        image = boxes.op("Mul", index, boxes.integers(0))  # the number of the only image
        pooled.append(
            boxes.op(
                "RoiAlign",
                x,
                mine,
                image,
                output_height=_WINDOW,
                output_width=_WINDOW,
                sampling_ratio=2,
                spatial_scale=0.25 / 2**i,
                coordinate_transformation_mode="output_half_pixel",
            )
        )
        order.append(index)
    together = boxes.op("Concat", *pooled, axis=0)
    whole = boxes.op("Reshape", together, boxes.integers(proposals, -1))
    length = levels[0].shape[0] * _WINDOW**2
    return Value(whole, (length,)), boxes.gather(regions, boxes.op("Concat", *order, axis=0))


def _head(graph: Graph, x: Value, spec: Vision) -> tuple[Value, Value]:
    """Return class logits and box deltas of every proposal."""
    with graph.folded(spec.proposals):
        for name in ("fc6", "fc7"):
            x = activate(graph, linear(graph, x, f"box.{name}", width(spec, _HEAD)), "relu")
        logits = linear(graph, x, "box.cls", spec.classes, _STDS["box.cls"])
        return logits, linear(graph, x, "box.deltas", 4 * spec.classes, _STDS["box.deltas"])


def _detect(
    graph: Graph, logits: Value, deltas: Value, regions: str, side: int, spec: Vision
) -> dict[str, Value]:
    """Decode a box for each class but the background, and keep the best detections."""
    boxes, classes = Boxes(graph, "detect"), spec.classes - 1
    likely = boxes.op("Softmax", logits, axis=1)
    likely = boxes.op(
        "Slice", likely, boxes.integers(1), boxes.integers(classes + 1), boxes.integers(1)
    )
    likely = boxes.op("Reshape", likely, boxes.integers(-1))
    parted = boxes.op("Reshape", deltas, boxes.integers(-1, spec.classes, 4))
    parted = boxes.op(
        "Slice", parted, boxes.integers(1), boxes.integers(classes + 1), boxes.integers(1)
    )
    around = boxes.op("Unsqueeze", regions, boxes.integers(1))
    decoded = boxes.rows(boxes.decode(parted, around, _WEIGHTS, side), 4)
    score, index = boxes.ops("TopK", 2, likely, boxes.integers(_CANDIDATES), axis=0)
    label = boxes.op("Mod", index, boxes.integers(classes))
    candidates = boxes.gather(decoded, index)
    groups = boxes.op("Cast", label, to=1)
    kept = boxes.suppress(candidates, score, groups, _OVERLAP, _DETECTIONS, side)
    first = boxes.integers(0)
    found = {"boxes": candidates, "scores": score, "labels": groups}
    shapes = {"boxes": (_DETECTIONS, 4), "scores": (_DETECTIONS,), "labels": (_DETECTIONS,)}
    return {
        name: Value(boxes.op("Unsqueeze", boxes.gather(x, kept), first), shapes[name])
        for name, x in found.items()
    }
