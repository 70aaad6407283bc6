"""Arithmetic on boxes inside a graph: anchors, decoding, suppression to a fixed number.

Boxes are rows of left, top, right, bottom in pixels, without a batch axis.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cpufit.networks.vision.yolo import DECODE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cpufit.networks.graph import Graph, Value

    Tensor = Value | str

_LARGEST_GROWTH = math.log(1000 / 16)  # of a width or height, as torchvision limits it


class Boxes:
    """Emits nodes whose names and shapes nobody needs; a tensor goes by its name."""

    def __init__(self, graph: Graph, name: str) -> None:
        self._graph = graph
        self._prefix = f"{DECODE}{name}/"
        self._count = 0

    def op(self, kind: str, *inputs: Tensor, **attributes: Any) -> str:
        """Add a node with one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: Tensor, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        name = self._name(kind)
        names = [f"{name}.{i}" for i in range(outputs)]
        self._graph.nodes(kind, name, inputs, names, **attributes)
        return names

    def constant(self, values: NDArray[Any]) -> str:
        """Add an array."""
        return self._graph.constant(self._name("constant"), values)

    def number(self, value: float) -> str:
        """Add a float32 number."""
        return self.constant(np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """Add a row of int64 numbers."""
        return self.constant(np.array(values, np.int64))

    def rows(self, x: Tensor, width: int) -> str:
        """Lay out as rows of `width`."""
        return self.op("Reshape", x, self.integers(-1, width))

    def gather(self, x: Tensor, index: Tensor) -> str:
        """Take rows."""
        return self.op("Gather", x, index, axis=0)

    def decode(self, deltas: Tensor, anchors: Tensor, weights: Sequence[float], side: int) -> str:
        """Move and stretch `anchors` by `deltas` (rows of 4), and cut at the image's edges."""
        weighted = self.op("Div", deltas, self.constant(np.array(weights, np.float32)))
        move, growth = self._halves(weighted)
        centre, size = self._centre(anchors)
        centre = self.op("Add", self.op("Mul", move, size), centre)
        growth = self.op("Min", growth, self.number(_LARGEST_GROWTH))
        half = self.op("Mul", self.op("Mul", self.op("Exp", growth), size), self.number(0.5))
        corners = (self.op("Sub", centre, half), self.op("Add", centre, half))
        both = self.op("Concat", *corners, axis=-1)
        return self.op("Clip", both, self.number(0), self.number(side))

    def suppress(
        self, boxes: Tensor, scores: Tensor, groups: Tensor, overlap: float, count: int, side: int
    ) -> str:
        """Return the rows of `count` boxes that overlap no better one of their group.

        Groups (float) are told apart by moving each to a place of its own. Boxes must come in the
        order of their scores: where fewer than `count` are left, the first ones fill up, so that
        what follows has the same work whatever the weights.
        """
        offset = self.op("Mul", groups, self.number(side + 1))
        apart = self.op("Add", boxes, self.rows(offset, 1))
        first, second = self.integers(0), self.integers(0, 1)
        chosen = self.op(
            "NonMaxSuppression",
            self.op("Unsqueeze", apart, first),
            self.op("Unsqueeze", scores, second),
            self.integers(count),
            self.constant(np.array([overlap], np.float32)),
        )
        kept = self.op("Gather", chosen, self.constant(np.array(2, np.int64)), axis=1)
        filled = self.op("Concat", kept, self.constant(np.arange(count)), axis=0)
        return self.op("Slice", filled, self.integers(0), self.integers(count))

    def _centre(self, boxes: Tensor) -> tuple[str, str]:
        low, high = self._halves(boxes)
        size = self.op("Sub", high, low)
        return self.op("Add", low, self.op("Mul", size, self.number(0.5))), size

    def _halves(self, boxes: Tensor) -> tuple[str, str]:
        low, high = self.ops("Split", 2, boxes, self.integers(2, 2), axis=-1)
        return low, high

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}{kind}.{self._count}"


def anchors(
    planes: Sequence[tuple[int, int]], sizes: Sequence[int], ratios: Sequence[float], side: int
) -> NDArray[np.float32]:
    """Return boxes around every cell of every level, by level, row, column and shape.

    Each level has one of `sizes`; `ratios` are of height to width. As torchvision rounds them.
    """
    found = []
    for (height, across), size in zip(planes, sizes, strict=True):
        roots = np.sqrt(np.array(ratios))
        wide, high = size / roots, size * roots
        shapes = np.round(np.stack([-wide, -high, wide, high], axis=1) / 2)
        rows, columns = np.meshgrid(
            np.arange(height) * (side // height),
            np.arange(across) * (side // across),
            indexing="ij",
        )
        cells = np.stack([columns, rows, columns, rows], axis=-1).reshape(-1, 1, 4)
        found.append((cells + shapes).reshape(-1, 4))
    return np.concatenate(found).astype(np.float32)
