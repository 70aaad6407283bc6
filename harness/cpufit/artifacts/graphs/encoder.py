"""BERT-like encoders (post-norm, learned positions, GELU), in the form exporters give them.

Runtimes recognise attention by its pattern of nodes, so the order of operands here is part of the
speed: a test holds that ONNX Runtime fuses every layer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cpufit.artifacts.decoder.tensors import rank
from cpufit.artifacts.graphs.layers import add, reshape, transpose

if TYPE_CHECKING:
    from cpufit.artifacts.graphs.builder import Graph, Value
    from cpufit.schema import Encoder

_MASKED = -10_000.0  # added to the scores of masked tokens, as the original BERT does


def encoder(graph: Graph, spec: Encoder) -> Value:
    """Add inputs and encoder; return the last hidden state: sequence,hidden."""
    x = _embed(graph, spec)
    mask = _mask(graph, spec.sequence)
    for i in range(spec.layers):
        x = _layer(graph, x, mask, f"layer.{i}", spec)
    return x


def pooler(graph: Graph, x: Value) -> Value:
    """Add BERT's pooler on the first token: sequence,hidden -> hidden."""
    first = graph.constant("pooler.first", np.array(0, np.int64))
    token = graph.node("Gather", "pooler/gather", [x, first], x.shape[1:], axis=1)
    return graph.node(
        "Tanh", "pooler/tanh", [_linear(graph, token, "pooler", x.shape[1])], token.shape
    )


def _embed(graph: Graph, spec: Encoder) -> Value:
    shape = (spec.sequence, spec.hidden)
    ids = graph.input("input_ids", "int64", (spec.sequence,), f"ids:{spec.vocab}")
    words = _table(graph, "embeddings.word", spec.vocab, spec.hidden)
    x = graph.node("Gather", "embeddings/words", [words, ids], shape)
    table = _table(graph, "embeddings.position", spec.positions, spec.hidden)
    index = graph.constant("embeddings.index", np.arange(spec.sequence, dtype=np.int64)[None])
    positions = graph.node("Gather", "embeddings/positions", [table, index], shape)
    x = add(graph, x, positions, "embeddings/add_positions")
    if spec.types:
        kinds = graph.input("token_type_ids", "int64", (spec.sequence,), "zeros")
        table = _table(graph, "embeddings.type", spec.types, spec.hidden)
        types = graph.node("Gather", "embeddings/types", [table, kinds], shape)
        x = add(graph, x, types, "embeddings/add_types")
    return _layer_norm(graph, x, "embeddings.norm", spec.norm_eps)


def _table(graph: Graph, name: str, rows: int, width: int) -> str:
    return graph.weight(f"{name}.weight", (rows, width), 0.02)  # BERT's initializer_range


def _mask(graph: Graph, sequence: int) -> Value:
    """Turn 1 = attend, 0 = not into what is added to the scores, broadcast over heads and rows."""
    given = graph.input("attention_mask", "int64", (sequence,), "ones")
    axis = graph.constant("mask.axis1", np.array([1], np.int64))
    x = graph.node("Unsqueeze", "mask/unsqueeze1", [given, axis], (1, sequence))
    axis = graph.constant("mask.axis2", np.array([2], np.int64))
    x = graph.node("Unsqueeze", "mask/unsqueeze2", [x, axis], (1, 1, sequence))
    x = graph.node("Cast", "mask/cast", [x], x.shape, to=1)
    x = graph.node("Sub", "mask/sub", [graph.scalar("mask.one", 1), x], x.shape)
    weight = graph.scalar("mask.weight", _MASKED)
    return graph.node("Mul", "mask/mul", [x, weight], x.shape)


def _layer(graph: Graph, x: Value, mask: Value, name: str, spec: Encoder) -> Value:
    attended = _attention(graph, x, mask, f"{name}.attention", spec)
    x = add(graph, attended, x, f"{name}/add_attention")
    x = _layer_norm(graph, x, f"{name}.attention.norm", spec.norm_eps)
    inner = _gelu(graph, _factorised(graph, x, f"{name}.ffn.0", spec.ffn, spec))
    inner = _factorised(graph, inner, f"{name}.ffn.1", spec.hidden, spec)
    x = add(graph, inner, x, f"{name}/add_ffn")
    return _layer_norm(graph, x, f"{name}.norm", spec.norm_eps)


def _attention(graph: Graph, x: Value, mask: Value, name: str, spec: Encoder) -> Value:
    (sequence, hidden), heads = x.shape, spec.heads
    depth = hidden // heads
    query = _heads(graph, x, f"{name}.query", spec, (1, 0, 2))
    key = _heads(graph, x, f"{name}.key", spec, (1, 2, 0))
    value = _heads(graph, x, f"{name}.value", spec, (1, 0, 2))
    shape = (heads, sequence, sequence)
    graph.macs += 2 * math.prod(shape) * depth
    x = graph.node("MatMul", f"{name}/scores", [query, key], shape)
    root = graph.scalar(f"{name}.root", math.sqrt(depth))
    x = graph.node("Div", f"{name}/scaled", [x, root], shape)
    x = graph.node("Add", f"{name}/masked", [x, mask], shape)
    x = graph.node("Softmax", f"{name}/softmax", [x], shape, axis=3)
    x = graph.node("MatMul", f"{name}/mixed", [x, value], (heads, sequence, depth))
    x = transpose(graph, x, f"{name}/rows", (1, 0, 2))
    x = reshape(graph, x, f"{name}/joined", (sequence, hidden))
    return _factorised(graph, x, f"{name}.out", hidden, spec)


def _heads(graph: Graph, x: Value, name: str, spec: Encoder, order: tuple[int, int, int]) -> Value:
    sequence, hidden = x.shape
    x = _factorised(graph, x, name, hidden, spec)
    x = reshape(graph, x, f"{name}/heads", (sequence, spec.heads, hidden // spec.heads))
    return transpose(graph, x, f"{name}/turned", order)


def _factorised(graph: Graph, x: Value, name: str, features: int, spec: Encoder) -> Value:
    """Add a layer of a block, or the two factors it was split into."""
    if spec.lowrank:
        x = _matmul(graph, x, f"{name}.a", rank(spec, x.shape[-1], features))
        name = f"{name}.b"
    return _linear(graph, x, name, features)


def _linear(graph: Graph, x: Value, name: str, features: int) -> Value:
    """Add a fully connected layer with bias on the last axis."""
    x = _matmul(graph, x, name, features)
    bias = graph.weight(f"{name}.bias", (features,), 0.02)
    return graph.node("Add", f"{name}/bias", [x, bias], x.shape)


def _matmul(graph: Graph, x: Value, name: str, features: int) -> Value:
    """Add a matrix product over the last axis; the weight is stored in x out."""
    width = x.shape[-1]
    weight = graph.weight(f"{name}.weight", (width, features), width**-0.5)
    graph.macs += math.prod(x.shape) * features
    return graph.node("MatMul", f"{name}/matmul", [x, weight], (*x.shape[:-1], features))


def _gelu(graph: Graph, x: Value) -> Value:
    """Add x / 2 * (1 + erf(x / sqrt(2))); its fused form has no operator before opset 20."""
    name, shape = f"{x.name}/gelu", x.shape
    root, one, half = (
        graph.scalar(f"{name}.{key}", number)
        for key, number in (("root", math.sqrt(2)), ("one", 1), ("half", 0.5))
    )
    inner = graph.node("Div", f"{name}/div", [x, root], shape)
    inner = graph.node("Erf", f"{name}/erf", [inner], shape)
    inner = graph.node("Add", f"{name}/add", [inner, one], shape)
    inner = graph.node("Mul", f"{name}/mul", [x, inner], shape)
    return graph.node("Mul", f"{name}/half", [inner, half], shape)


def _layer_norm(graph: Graph, x: Value, name: str, eps: float) -> Value:
    scale = graph.weight(f"{name}.weight", x.shape[-1:], 0.1, 1.0)
    bias = graph.weight(f"{name}.bias", x.shape[-1:], 0.1)
    return graph.node(
        "LayerNormalization", f"{name}/norm", [x, scale, bias], x.shape, axis=-1, epsilon=eps
    )
