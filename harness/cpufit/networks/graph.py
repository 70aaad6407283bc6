"""A graph under construction, of any format: it keeps shapes, parameters and work as it goes.

Operations and their attributes go by their ONNX names, opset 17 (`artifacts/onnx/wire.py`); other
formats translate them.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cpufit.schema import Input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cpufit.networks.sources import Source

BATCH = "batch"
Shape = tuple[int, ...]
_NONE: Mapping[int, str] = {}


class Drawn(NamedTuple):
    """An array that comes from the source; `std` and `mean` are those of synthetic ones."""

    name: str
    shape: Shape
    std: float
    mean: float


@dataclass(frozen=True)
class Value:
    """A tensor of the graph; `shape` is of one sample, without the leading batch axis."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class Array:
    """A constant of the graph that is drawn when it is written, and forgotten."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    draw: Callable[[], NDArray[Any]]

    @property
    def size_bytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Node:
    """One operation; attributes are plain values."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class Output(NamedTuple):
    """What the graph gives: float32; axes named by a string stay open."""

    name: str
    shape: tuple[int | str, ...]


class Graph:
    """A graph under construction.

    `parameters` counts what the publishers count: every learned array and no running statistics.
    `macs` counts the multiply-adds of convolutions, linear layers and attention, per sample.
    Learned arrays are drawn when the file is written: counting costs no weights.
    """

    def __init__(self, name: str, source: Source, batch: int | str = BATCH) -> None:
        self.name = name
        self.parameters = 0
        self.macs = 0
        self.inputs: list[Input] = []
        self.drawn: list[Drawn] = []  # what the source is asked for
        self._batch = batch  # a number where the graph takes no other
        self._rows = 1  # of the first axis, for each sample
        self._source = source
        self.operations: list[Node] = []
        self.outputs: list[Output] = []
        self._arrays: dict[str, Array] = {}
        self._taken: set[str] = set()

    def input(
        self,
        name: str,
        dtype: str,
        shape: Shape,
        fill: str,
        *,
        batch: int | str = "",
        axes: Mapping[int, str] = _NONE,
    ) -> Value:
        """Add a graph input of `shape` per sample; `fill` as in schema.Input.

        `axes` names those (counted without the batch) that stay open in the file; `batch` is for
        an input with another first axis than the rest.
        """
        self._claim(name)
        sizes = (batch or self._batch, *_declared(shape, axes))
        self.inputs.append(Input(name=name, dtype=dtype, shape=sizes, fill=fill))
        return Value(name, shape)

    def output(self, name: str, value: Value, axes: Mapping[int, str] = _NONE) -> None:
        """Make `value` a float32 graph output called `name`; `axes` as of an input."""
        self.node("Identity", name, [value], value.shape)
        self.outputs.append(Output(name, (self._batch, *_declared(value.shape, axes))))

    def weight(self, name: str, shape: Shape, std: float, mean: float = 0.0) -> str:
        """Take a learned array from the source and return its name."""
        self.parameters += math.prod(shape)
        return self.statistic(name, shape, std, mean)

    def statistic(self, name: str, shape: Shape, std: float, mean: float) -> str:
        """Take an array that is stored with the weights but is not counted among them."""
        take = partial(self._source.take, name, shape, std, mean)
        self.drawn.append(Drawn(name, shape, std, mean))
        return self._add(Array(name, np.dtype(np.float32), shape, take))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add an array that the architecture itself fixes and return its name."""
        return self._add(Array(name, array.dtype, array.shape, lambda: array))

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
        names = tuple(i.name if isinstance(i, Value) else i for i in inputs)
        self.operations.append(Node(op, name, names, tuple(outputs), attributes))

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The constants so far."""
        return tuple(self._arrays.values())

    def work(self, macs: int) -> None:
        """Count the multiply-adds of one row of the first axis."""
        self.macs += self._rows * macs

    @contextmanager
    def folded(self, rows: int) -> Iterator[None]:
        """Say that for a while the first axis holds `rows` rows of every sample."""
        self._rows *= rows
        yield
        self._rows //= rows

    def _add(self, array: Array) -> str:
        self._claim(array.name)
        self._arrays[array.name] = array
        return array.name

    def _claim(self, name: str) -> None:
        if name in self._taken:
            raise ValueError(f"{self.name}: two tensors called {name!r}")
        self._taken.add(name)


def _declared(shape: Shape, axes: Mapping[int, str]) -> tuple[int | str, ...]:
    return tuple(axes.get(axis, size) for axis, size in enumerate(shape))
