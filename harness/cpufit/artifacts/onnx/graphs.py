"""ONNX graphs of vision models and encoders, rebuilt from their published layer tables."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import TYPE_CHECKING

from cpufit.artifacts.base import Built
from cpufit.artifacts.onnx.wire import IR_VERSION, OPSET, data_of, write
from cpufit.errors import UnsupportedError
from cpufit.networks.families import graphs_of
from cpufit.networks.sources import Stored, Synthetic

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.onnx.quantize import Quantized
    from cpufit.networks.graph import Graph
    from cpufit.networks.sources import Source
    from cpufit.schema import Model, Order

__all__ = [
    "NAME",
    "VERSION",
    "build",
    "estimate_bytes",
    "packages",
    "scratch_bytes",
    "version_of",
]

NAME = "cpufit.artifacts.graphs"
VERSION = 2
_RESCALED = {"mobilenet_v3_large": 3, "resnet152": 3}  # since when synthetic logits are small

BYTES = {"fp32": 4.03, "int8": 1.1}  # per parameter, with statistics, scales and nodes


def build(order: Order, folder: Path) -> Built:
    """Write `model.onnx` into `folder`, and `sense.onnx` where the model writes about what it
    sees or hears: fp32, or the int8 forms made from it.

    Raises UnsupportedError for other precisions, DataError where a real file is not what its card
    says.
    """
    if order.precision not in BYTES:
        raise UnsupportedError(
            f"no {order.precision} graphs of {order.model.name}", "available: fp32, int8"
        )
    source, origin = _source(order)
    graphs = graphs_of(order.model, source)
    file = folder / "model.onnx"
    recipe = f"ONNX opset {OPSET}, IR {IR_VERSION}, onnx {version('onnx')}, {origin}"
    number_format = "fp32"
    for name, graph in graphs.items():
        if order.precision == "fp32":
            write(graph, folder / f"{name}.onnx")
        else:
            done = _quantize(graph, folder / f"{name}.onnx", order.model)
            number_format, words = done
            recipe += "" if words in recipe else f"; {words}"
    writer = order.model.writer
    return Built(
        file=file,
        parameters=sum(graph.parameters for graph in graphs.values()),
        format=number_format,
        recipe=recipe,
        inputs=tuple(next(iter(graphs.values())).inputs),
        kv_bytes_per_token=2 * 4 * writer.layers * writer.hidden if writer else 0,
    )


def _quantize(graph: Graph, file: Path, model: Model) -> Quantized:
    from cpufit.artifacts.onnx.quantize import quantize

    fp32 = file.with_name("fp32.onnx")
    write(graph, fp32)
    done = quantize(fp32, file, graph.inputs, static=model.vision is not None)
    for part in (fp32, data_of(fp32)):
        part.unlink(missing_ok=True)
    return done


def version_of(order: Order) -> int:
    """Return the version of its bytes."""
    vision = order.model.vision
    drawn = vision and order.weights == "synthetic"
    return _RESCALED.get(vision.builder, VERSION) if vision and drawn else VERSION


def estimate_bytes(order: Order) -> int:
    """Return about the size of the file, from the number of parameters."""
    model, each = order.model, BYTES[order.precision]
    if order.precision == "int8" and model.sense:  # its convolutions stay float
        graphs = graphs_of(model, Synthetic(model.name)).values()
        shapes = [array.shape for graph in graphs for array in graph.drawn]
        if model.writer:  # its output layer has a copy of the embedding
            shapes.append((model.writer.vocab, model.writer.hidden))
        return round(sum(math.prod(s) * (BYTES["fp32"] if len(s) > 2 else each) for s in shapes))
    return round(model.parameters * each)


def scratch_bytes(order: Order) -> int:
    """Return the size of the float file, where it is only a step."""
    return 0 if order.precision == "fp32" else round(order.model.parameters * BYTES["fp32"])


def packages(order: Order) -> tuple[str, ...]:
    """Return onnx, which writes the file, and onnxruntime, where it quantises."""
    return ("onnx",) if order.precision == "fp32" else ("onnx", "onnxruntime")


def _source(order: Order) -> tuple[Source, str]:
    """Return where the arrays come from, and that in words."""
    if order.real_file is None:
        return Synthetic(order.model.name), "seeded synthetic weights"
    from cpufit.artifacts.torch_pickle import read

    name = order.real_file.name
    return Stored(read(order.real_file), name), f"published weights {name}"
