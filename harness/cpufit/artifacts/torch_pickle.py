"""Tensors out of a legacy (before 1.6, not zipped) PyTorch checkpoint, without PyTorch.

The file is five pickles (magic number, protocol, system, the object, the keys of its storages) and
then every storage: an int64 count and the raw values. Unpickling can run any code, so this reader
knows the four names a dict of tensors needs and refuses the rest.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cpufit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}
# What unpickling raises on bytes that are no pickle, or not one of this shape.
_BROKEN = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)


def read(file: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float32 tensors by name; raise DataError where `file` is anything else."""
    try:
        with file.open("rb") as stream:
            arrays = _parse(stream)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "fetch it again") from error
    except _BROKEN as error:
        raise DataError(
            f"{file} is not a legacy PyTorch file of tensors: {error}", "fetch it again"
        ) from error
    return {name: array for name, array in arrays.items() if array.dtype == np.float32}


def _parse(stream: BinaryIO) -> dict[str, NDArray[Any]]:
    header = [_Unpickler(stream).load() for _ in range(3)]
    if header[:2] != [_MAGIC, _PROTOCOL]:
        raise ValueError("another magic number or protocol")
    content = _Unpickler(stream)
    tensors: dict[str, _Tensor] = content.load()
    keys = _Unpickler(stream).load()
    storages = {key: _storage(stream, content.dtypes[key]) for key in keys}
    return {name: tensor.view(storages) for name, tensor in tensors.items()}


def _storage(stream: BinaryIO, dtype: np.dtype[Any]) -> NDArray[Any]:
    (count,) = struct.unpack("<q", stream.read(8))
    values = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
    if len(values) != count:
        raise EOFError("it ends early")
    return values


@dataclass(frozen=True)
class _Tensor:
    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, storages: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        values = storages[self.storage]
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((size - 1) * stride for size, stride in steps)
        if (
            min((self.offset, *self.strides)) < 0
            or min((1, *self.shape)) < 1
            or last >= len(values)
        ):
            raise ValueError("a tensor reaches beyond its storage")
        return np.lib.stride_tricks.as_strided(
            values[self.offset :],
            self.shape,
            [stride * values.itemsize for stride in self.strides],
            writeable=False,
        )


class _Unpickler(pickle.Unpickler):
    """Knows tensors, and notes the number format of every storage they refer to."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Resolve the four known names."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> str:
        """Resolve a storage to its key; its values come after the pickles."""
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"it asks for a {kind}")
        self.dtypes[key] = _DTYPES[dtype]
        return str(key)


def _rebuild(
    storage: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)
