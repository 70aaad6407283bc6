"""Language models as ONNX folders that ONNX Runtime and onnxruntime-genai read.

A folder holds `model.onnx` with the graph alone, `model.onnx.data` with the weights, and
`genai_config.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from onnx import helper

from cpufit.artifacts.base import Built
from cpufit.artifacts.onnx import graphs
from cpufit.artifacts.onnx.decoder.config import genai_config
from cpufit.artifacts.onnx.decoder.emitter import OnnxEmitter, longest
from cpufit.artifacts.onnx.decoder.nodes import MICROSOFT
from cpufit.artifacts.onnx.decoder.planes import FLOAT_BITS
from cpufit.artifacts.onnx.decoder.weights import Weights
from cpufit.errors import UnsupportedError
from cpufit.networks.decoder.network import logits

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from cpufit.precisions import Precision
    from cpufit.schema import Model, Order
    from cpufit.schema.shapes import Decoder

__all__ = [
    "NAME",
    "VERSION",
    "build",
    "estimate_bytes",
    "packages",
    "plan",
    "scratch_bytes",
    "version_of",
]

NAME = "cpufit.artifacts.onnx_decoder"
VERSION = 1
_FLOAT_TABLE_VERSION = 2  # of forms that had their embedding rounded once

_OPSET, _IR_VERSION = 23, 11  # the first with RMSNormalization
_BITS: dict[Precision, int] = {"int4": 4, "int4_all": 4, "int8": 8, "fp32": FLOAT_BITS}
_FORMATS = {
    4: "MatMulNBits int4, blocks of 32, symmetric, int8 products",
    8: "MatMulNBits int8, blocks of 32, symmetric, int8 products",
    FLOAT_BITS: "fp32",
}


@dataclass(frozen=True)
class Plan:
    """A graph, and the weights it refers to, none of which exist yet."""

    decoder: Decoder
    graph: ModelProto
    weights: Weights


def plan(model: Model, precision: Precision) -> Plan:
    """Lay a model out without writing anything; raise UnsupportedError where that cannot be."""
    decoder, bits = _decoder(model), _bits(precision)
    weights, table_bits = Weights(model.name), _table_bits(decoder, precision)
    emitter = OnnxEmitter(weights, decoder, bits, table_bits, sees=model.sense is not None)
    logits(emitter, decoder)
    graph = helper.make_graph(
        emitter.graph.nodes,
        model.name,
        emitter.inputs,
        emitter.outputs,
        [*emitter.graph.constants.values(), *weights.initializers],
    )
    made = helper.make_model(
        graph,
        producer_name="cpufit",
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)],
        ir_version=_IR_VERSION,
    )
    helper.set_model_props(made, {"context_length": str(longest(decoder))})
    return Plan(decoder, made, weights)


def build(order: Order, folder: Path) -> Built:
    """Write the model's three files into `folder`.

    Raises UnsupportedError for other kinds of model and precisions, OSError where the disk is full.
    """
    planned = plan(order.model, order.precision)
    decoder, file = planned.decoder, folder / "model.onnx"
    planned.weights.write(folder)
    file.write_bytes(planned.graph.SerializeToString(deterministic=True))
    sense = _sense(order, folder)
    names = [given.name for given in planned.graph.graph.input]
    config = genai_config(decoder, file.name, names)
    (folder / "genai_config.json").write_text(config, encoding="utf-8")
    return Built(
        file=file,
        parameters=planned.weights.parameters + (sense.parameters if sense else 0),
        format=_format(decoder, order.precision),
        recipe=_recipe(decoder) + (f"; sense: {sense.recipe}" if sense else ""),
        inputs=sense.inputs if sense else (),
        kv_bytes_per_token=2 * decoder.kv_bytes_per_token,  # float32, not float16
    )


def _sense(order: Order, folder: Path) -> Built | None:
    """Write what the model sees with, if anything, rounded to 8 bits where weights are rounded."""
    if order.model.sense is None:
        return None
    precision: Precision = "fp32" if order.precision == "fp32" else "int8"
    return graphs.build(replace(order, precision=precision), folder)


def version_of(order: Order) -> int:
    """Return the version of its bytes."""
    decoder = _decoder(order.model)
    changed = order.precision == "int8" or (order.precision == "int4" and not decoder.tied)
    return _FLOAT_TABLE_VERSION if changed else VERSION


def estimate_bytes(order: Order) -> int:
    """Return the size of graph and weights."""
    planned = plan(order.model, order.precision)
    return planned.weights.size_bytes + int(planned.graph.ByteSize())


def scratch_bytes(order: Order) -> int:  # noqa: ARG001 - the Builder protocol
    """Return 0: it is written at once."""
    return 0


def packages(order: Order) -> tuple[str, ...]:  # noqa: ARG001 - the Builder protocol
    """Return the package that writes the graph."""
    return ("onnx",)


def _recipe(decoder: Decoder) -> str:
    """Say how the file was made, and what of the architecture it cuts short."""
    text = (
        f"ONNX opset {_OPSET}, IR {_IR_VERSION}, onnx {version('onnx')}; synthetic weights seeded "
        "by the names of model and tensor; head rounded like the other matrices, biases, norms "
        "and positions float32; GroupQueryAttention, float32 keys and values; logits of the last "
        "token alone, as onnxruntime-genai's builder makes them with prune_lm_head=true"
    )
    cut = longest(decoder) < decoder.context
    return f"{text}; tables of {longest(decoder)} positions" if cut else text


def _decoder(model: Model) -> Decoder:
    if model.decoder is None:
        raise UnsupportedError(f"{model.name} is no language model", "build it as another graph")
    return model.decoder


def _bits(precision: Precision) -> int:
    if precision not in _BITS:
        raise UnsupportedError(
            f"no ONNX language models at {precision}", f"available: {', '.join(_BITS)}"
        )
    return _BITS[precision]


def _table_bits(decoder: Decoder, precision: Precision) -> int:
    """Return the bits of the embedding's weights.

    In the default forms of onnxruntime-genai's builder it is float32, but for a tied one of int4.
    """
    if precision == "int4_all" and decoder.tied:
        raise UnsupportedError(
            "no int4_all of a model whose head is its embedding", "use int4: both have 4 bits there"
        )
    shared = precision == "int4" and decoder.tied
    return _bits(precision) if shared or precision == "int4_all" else FLOAT_BITS


def _format(decoder: Decoder, precision: Precision) -> str:
    bits, table_bits = _bits(precision), _table_bits(decoder, precision)
    kept = "" if bits == table_bits else "; embedding fp32"
    return _FORMATS[bits] + kept
