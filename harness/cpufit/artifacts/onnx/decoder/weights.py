"""The external data of an ONNX model: planned while the graph is made, written afterwards.

Planning needs no weights, so that a model can be sized and its parameters counted for nothing.
Every array starts on a page of its own, so that ONNX Runtime can map it instead of reading it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import TensorProto

from cpufit.artifacts.onnx.decoder.planes import BLOCK, FLOATS, raw, render
from cpufit.artifacts.stream import cut, pad
from cpufit.errors import UnsupportedError
from cpufit.networks.decoder import pools

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO
    from pathlib import Path

    from cpufit.artifacts.onnx.decoder.planes import Plane
    from cpufit.networks.decoder.pools import Floats
    from cpufit.networks.decoder.tensors import Tensor

    _Source = tuple[str, ...]  # a plane and the tensors in it, or a table

DATA = "model.onnx.data"
_PAGE = 4096


@dataclass(frozen=True)
class _Region:
    """A part of the data file: tensors one after another in one plane, or a computed table."""

    offset: int
    length: int
    tensors: tuple[Tensor, ...] = ()
    plane: Plane = FLOATS
    table: Floats | None = None


class Weights:
    """The arrays of one model; `model` names the pools they are cut from."""

    def __init__(self, model: str) -> None:
        self.initializers: list[TensorProto] = []
        self._model = model
        self._regions: dict[_Source, _Region] = {}
        self._names: set[str] = set()
        self._size = 0

    @property
    def size_bytes(self) -> int:
        """Size of the data file."""
        return self._size

    @property
    def parameters(self) -> int:
        """Count the weights of all tensors placed so far, each tensor once."""
        tensors = {t.name: t for region in self._regions.values() for t in region.tensors}
        return sum(tensor.parameters for tensor in tensors.values())

    def place(
        self, name: str, tensors: Sequence[Tensor], plane: Plane, shape: Sequence[int]
    ) -> str:
        """Place tensors one after another as the array `name`, and return the name.

        The same tensors in the same plane lie in the file once, under whatever names and shapes.
        """
        source = (plane.name, *(tensor.name for tensor in tensors))
        if source not in self._regions:
            length = sum(_length(tensor, plane) for tensor in tensors)
            self._add(source, _Region(self._size, length, tuple(tensors), plane))
        return self._refer(name, source, plane.element, shape)

    def table(self, name: str, values: Floats) -> str:
        """Place a float32 table that the architecture fixes, and return its name."""
        self._add((name,), _Region(self._size, values.nbytes, table=values))
        return self._refer(name, (name,), TensorProto.FLOAT, values.shape)

    def write(self, folder: Path) -> None:
        """Write the data file; memory holds pools and no tensor. Raises OSError: disk full."""
        pooled = _Pools(self._model)
        with (folder / DATA).open("wb", buffering=0) as file:
            for region in self._regions.values():
                if region.table is not None:
                    cut(file, raw(region.table), 0, region.length)
                for tensor in region.tensors:
                    pooled.copy(file, tensor, region.plane)
                pad(file, _PAGE)

    def _add(self, source: _Source, region: _Region) -> None:
        self._regions[source] = region
        self._size += -(-region.length // _PAGE) * _PAGE

    def _refer(self, name: str, source: _Source, element: int, shape: Sequence[int]) -> str:
        """Add an initializer that points at a region, unless there is one of that name."""
        if name not in self._names:
            region = self._regions[source]
            proto = TensorProto(name=name, data_type=element, dims=shape)
            proto.data_location = TensorProto.EXTERNAL
            facts = {"location": DATA, "offset": region.offset, "length": region.length}
            for key, value in facts.items():
                proto.external_data.add(key=key, value=str(value))
            self.initializers.append(proto)
            self._names.add(name)
        return name


class _Pools:
    """The pools of one model, each rounded to a width of weights once."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._rendered: dict[tuple[tuple[str, int], int], dict[Plane, memoryview]] = {}

    def copy(self, file: FileIO, tensor: Tensor, plane: Plane) -> None:
        """Write a tensor in one plane."""
        key = pools.key(tensor), plane.bits
        if key not in self._rendered:
            self._rendered[key] = render(pools.pool(self._model, *key[0]), plane.bits)
        begin = pools.start(self._model, tensor) * plane.unit_bytes
        cut(file, self._rendered[key][plane], begin, _length(tensor, plane))


def _length(tensor: Tensor, plane: Plane) -> int:
    if plane != FLOATS and tensor.shape[0] % BLOCK:
        raise UnsupportedError(
            f"{tensor.name}: rows of {tensor.shape[0]} weights are no whole blocks of {BLOCK}",
            "use fp32, or widths that are multiples of 32",
        )
    return tensor.parameters * plane.unit_bytes // pools.UNIT
