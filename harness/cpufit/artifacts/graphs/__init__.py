"""ONNX graphs of vision models and encoders, rebuilt from their published layer tables."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from cpufit.artifacts.base import Built
from cpufit.artifacts.graphs.builder import IR_VERSION, OPSET
from cpufit.artifacts.graphs.families import graph_of
from cpufit.artifacts.graphs.sources import Stored, Synthetic
from cpufit.errors import UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import Request
    from cpufit.artifacts.graphs.sources import Source

__all__ = ["VERSION", "build", "estimate_bytes", "packages"]

VERSION = 1

_BYTES = {"fp32": 4.03, "int8": 1.1}  # per parameter, with statistics, scales and nodes


def build(request: Request, folder: Path) -> Built:
    """Write `model.onnx` into `folder`: fp32, or the int8 form made from it.

    Raises UnsupportedError for other precisions, DataError where a real file is not what its card
    says.
    """
    if request.precision not in _BYTES:
        raise UnsupportedError(
            f"no {request.precision} graphs of {request.model.name}", "available: fp32, int8"
        )
    source, origin = _source(request)
    graph = graph_of(request.model, source)
    file = folder / "model.onnx"
    recipe = f"ONNX opset {OPSET}, IR {IR_VERSION}, onnx {version('onnx')}, {origin}"
    if request.precision == "fp32":
        graph.write(file)
        number_format = "fp32"
    else:
        from cpufit.artifacts.graphs.quantize import quantize

        fp32 = folder / "fp32.onnx"
        graph.write(fp32)
        static = request.model.vision is not None
        done = quantize(fp32, file, graph.inputs, static=static)
        fp32.unlink()
        number_format = done.format
        recipe += f"; {done.recipe}"
    return Built(
        file=file,
        parameters=graph.parameters,
        format=number_format,
        recipe=recipe,
        inputs=tuple(graph.inputs),
    )


def estimate_bytes(request: Request) -> int:
    """Return about the size of the file, from the card's number of parameters."""
    return round(request.model.parameters * _BYTES[request.precision])


def packages(request: Request) -> tuple[str, ...]:
    """Return onnx, which writes the file, and onnxruntime, where it quantises."""
    return ("onnx",) if request.precision == "fp32" else ("onnx", "onnxruntime")


def _source(request: Request) -> tuple[Source, str]:
    """Return where the arrays come from, and that in words."""
    if request.real_file is None:
        return Synthetic(request.model.name), "seeded synthetic weights"
    from cpufit.artifacts.graphs.torch_pickle import read

    name = request.real_file.name
    return Stored(read(request.real_file), name), f"published weights {name}"
