"""A thin graph builder over onnx.helper that keeps shapes, parameters and work as it goes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper, numpy_helper

from cpufit.artifacts.graphs.wire import write_graph
from cpufit.schema import Input

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from onnx import TensorProto

    from cpufit.artifacts.graphs.sources import Source

OPSET = 17  # the first with LayerNormalization; every runtime we drive reads it
IR_VERSION = 8  # the version that goes with opset 17
BATCH = "batch"
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph; `shape` is of one sample, without the leading batch axis."""

    name: str
    shape: Shape


class Graph:
    """An ONNX graph under construction.

    `parameters` counts what the publishers count: every learned array and no running statistics.
    `macs` counts the multiply-adds of convolutions, linear layers and attention, per sample.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.parameters = 0
        self.macs = 0
        self.inputs: list[Input] = []
        self._source = source
        self._nodes: list[Any] = []
        self._arrays: dict[str, TensorProto] = {}
        self._outputs: list[Value] = []
        self._taken: set[str] = set()

    def input(self, name: str, dtype: str, shape: Shape, fill: str) -> Value:
        """Add a graph input of `shape` per sample; `fill` as in schema.Input."""
        self._claim(name)
        self.inputs.append(Input(name=name, dtype=dtype, shape=(BATCH, *shape), fill=fill))
        return Value(name, shape)

    def output(self, name: str, value: Value) -> None:
        """Make `value` a float32 graph output called `name`."""
        self._outputs.append(self.node("Identity", name, [value], value.shape))

    def weight(self, name: str, shape: Shape, std: float, mean: float = 0.0) -> str:
        """Take a learned array from the source and return its name."""
        self.parameters += math.prod(shape)
        return self.statistic(name, shape, std, mean)

    def statistic(self, name: str, shape: Shape, std: float, mean: float) -> str:
        """Take an array that is stored with the weights but is not counted among them."""
        return self.constant(name, self._source.take(name, shape, std, mean))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add an array that the architecture itself fixes and return its name."""
        self._claim(name)
        self._arrays[name] = numpy_helper.from_array(array, name)
        return name

    def scalar(self, name: str, number: float) -> str:
        """Add a float32 number that the architecture fixes and return its name."""
        return self.constant(name, np.array(number, np.float32))

    def node(
        self, op: str, name: str, inputs: Sequence[Value | str], shape: Shape, **attributes: Any
    ) -> Value:
        """Add a node with one output, both called `name`."""
        self.nodes(op, name, inputs, [name], **attributes)
        return Value(name, shape)

    def nodes(
        self,
        op: str,
        name: str,
        inputs: Sequence[Value | str],
        outputs: Sequence[str],
        **attributes: Any,
    ) -> None:
        """Add a node with any number of outputs."""
        for output in outputs:
            self._claim(output)
        names = [i.name if isinstance(i, Value) else i for i in inputs]
        self._nodes.append(helper.make_node(op, names, list(outputs), name=name, **attributes))

    def write(self, file: Path) -> None:
        """Write the model, one array at a time: protobuf would hold the weights three times."""
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [_info(i.name, i.dtype, i.shape) for i in self.inputs],
            [_info(o.name, "float32", (BATCH, *o.shape)) for o in self._outputs],
        )
        model = helper.make_model(
            graph,
            producer_name="cpufit",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        model.ClearField("graph")
        with file.open("wb") as out:
            out.write(model.SerializeToString(deterministic=True))
            write_graph(out, graph, list(self._arrays.values()))

    def _claim(self, name: str) -> None:
        if name in self._taken:
            raise ValueError(f"{self.name}: two tensors called {name!r}")
        self._taken.add(name)


def _info(name: str, dtype: str, shape: Sequence[int | str]) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, list(shape))
