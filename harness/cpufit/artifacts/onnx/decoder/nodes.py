"""The nodes of a graph under construction, in the order they were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from onnx import NodeProto, TensorProto

MICROSOFT = "com.microsoft"  # described in onnxruntime's docs/ContribOperators.md


class Nodes:
    """Nodes and small constants; a tensor goes by its name."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._sums: dict[str, tuple[str, str]] = {}

    def add(self, op: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Add a node with one output, both called `name`, and return it; '' makes a name up."""
        return self.many(op, inputs, [name or f"{op}.{len(self.nodes)}"], **attributes)[0]

    def many(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> Sequence[str]:
        """Add a node with these outputs; `domain=MICROSOFT` is among its attributes."""
        for name in inputs:
            if name in self._sums:
                self.add("Add", self._sums.pop(name), name)
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], **attributes))
        return outputs

    def sum(self, x: str, y: str) -> str:
        """Return the name of x + y, which is added up when first used, unless `take_sum` does."""
        name = f"Sum.{len(self.nodes)}"
        self._sums[name] = x, y
        return name

    def take_sum(self, name: str) -> tuple[str, str] | None:
        """Return the terms of a sum not yet added up; the caller's node must give it as output."""
        return self._sums.pop(name, None)

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        """Add a small constant, once under its name, and return the name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(array, name)
        return name
