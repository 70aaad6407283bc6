"""Model files measured as they are: the user's own, and packaged ones. Nothing is written."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from cpufit.artifacts.base import Built
from cpufit.errors import DataError
from cpufit.runtimes import suffixes

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.precisions import Precision
    from cpufit.schema import Model, Order

NAME = "cpufit.artifacts.asis"
VERSION = 1

_INSPECTORS = {".gguf": "gguf_file", ".onnx": "onnx_file", ".xml": "ir_file"}


class Inspector(Protocol):
    """A module of this package that reads what a kind of file says about itself."""

    def inspect(self, file: Path, model: Model) -> Built:
        """Describe the file; raise DataError where it is damaged, or of another kind."""

    def precision_of(self, file: Path) -> Precision:
        """Return the precision nearest to the file's number formats; raise as `inspect`."""


def build(order: Order, folder: Path) -> Built:  # noqa: ARG001 - the Builder protocol
    """Describe the order's file; raise DataError where it cannot be used."""
    file = _file(order)
    if file.suffix.lower() == ".json":
        return _timings(file)
    return _inspector(file).inspect(file, order.model)


def estimate_bytes(order: Order) -> int:
    """Return the size of the file."""
    return _file(order).stat().st_size


def scratch_bytes(order: Order) -> int:  # noqa: ARG001 - the Builder protocol
    """Return 0: nothing is written."""
    return 0


def packages(order: Order) -> tuple[str, ...]:  # noqa: ARG001 - the Builder protocol
    """Return none: no package decides the bytes."""
    return ()


def precision_of(file: Path) -> Precision:
    """Return the precision nearest to the file's number formats; raise DataError if damaged."""
    return "fp32" if file.suffix.lower() == ".json" else _inspector(file).precision_of(file)


def _file(order: Order) -> Path:
    return cast("Path", order.real_file)  # routes sends only requests for real weights here


def _inspector(file: Path) -> Inspector:
    name = _INSPECTORS.get(file.suffix.lower())
    if name is None:
        raise DataError(
            f"cannot tell what kind of model {file.name} is",
            f"name it by its kind: {', '.join(suffixes())}",
        )
    return cast("Inspector", import_module(f"{__name__}.{name}"))


def _timings(file: Path) -> Built:
    """Describe timings for the fake runtime, which checks the keys itself."""
    try:
        json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "check the path") from error
    except ValueError as error:
        raise DataError(f"{file} is not valid JSON: {error}", "correct the file") from error
    return Built(file=file, parameters=0, format="timings", recipe=f"{file.name} as it is")
