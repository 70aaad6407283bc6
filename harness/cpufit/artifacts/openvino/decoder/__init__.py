"""OpenVINO IR of language models: a stateful graph, low-precision constants streamed into it."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from cpufit.artifacts.base import Built
from cpufit.artifacts.openvino.decoder.formats import cache_bytes, cache_type, constants, title
from cpufit.networks.decoder.tensors import tensors

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.precisions import Precision
    from cpufit.schema import Order
    from cpufit.schema.shapes import Decoder

NAME = "cpufit.artifacts.openvino_decoder"
VERSION = 1
_ROUNDED_VERSION = 2  # of int8 and int4, which were symmetric once
_ROUNDED: tuple[Precision, ...] = ("int8", "int4")


def build(order: Order, folder: Path) -> Built:
    """Write `model.xml` and `model.bin` into `folder`; memory never holds a tensor whole."""
    from cpufit.artifacts.openvino.decoder.graph import build_graph
    from cpufit.artifacts.openvino.decoder.write import write

    decoder, precision = _decoder(order), order.precision
    sees = order.model.sense is not None
    graph = build_graph(order.model.name, decoder, precision, sees=sees)
    file = folder / "model.xml"
    write(file, order.model.name, graph)
    sense = _sense(order, folder) if sees else None
    return Built(
        file=file,
        parameters=graph.parameters + (sense.parameters if sense else 0),
        inputs=sense.inputs if sense else (),
        format=title(precision, graph.weights),
        recipe=(
            f"random weights seeded by the name, rounded to nearest; stateful IR by OpenVINO "
            f"{version('openvino')}; KV cache {cache_type(precision)} by its runtime options"
            + (f"; sense: {sense.recipe}" if sense else "")
        ),
        kv_bytes_per_token=cache_bytes(decoder, precision),
    )


def _sense(order: Order, folder: Path) -> Built:
    """Write what the model sees with, rounded to 8 bits where weights are rounded."""
    from cpufit.artifacts.openvino import graphs

    rounded: Precision = "int8" if order.precision in _ROUNDED else "fp32"
    return graphs.build(replace(order, precision=rounded), folder)


def version_of(order: Order) -> int:
    """Return the version of its bytes, in which what it sees with has a share."""
    from cpufit.artifacts.openvino import graphs

    own = _ROUNDED_VERSION if order.precision in _ROUNDED else VERSION
    return 1000 * own + graphs.version_of(order) if order.model.sense else own


def estimate_bytes(order: Order) -> int:
    """Return the size of the weights, beside which the graph is small."""
    stored = (constants(tensor, order.precision) for tensor in tensors(_decoder(order)))
    return sum(constant.size_bytes for parts in stored for constant in parts)


def scratch_bytes(order: Order) -> int:  # noqa: ARG001 - the Builder protocol
    """Return 0: it is written at once."""
    return 0


def packages(order: Order) -> tuple[str, ...]:  # noqa: ARG001 - the Builder protocol
    """Return the package that writes the graph."""
    return ("openvino",)


def _decoder(order: Order) -> Decoder:
    assert order.model.decoder is not None, "routes lead only language models here"
    return order.model.decoder
