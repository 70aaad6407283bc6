"""BERT-like encoders: post-norm, learned positions, GELU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpufit.networks.layers import add
from cpufit.networks.transformer import Attention, attention, gelu, layer_norm, linear, table

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph, Value
    from cpufit.schema.shapes import Encoder

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
        "Tanh", "pooler/tanh", [linear(graph, token, "pooler", x.shape[1])], token.shape
    )


def _embed(graph: Graph, spec: Encoder) -> Value:
    shape = (spec.sequence, spec.hidden)
    ids = graph.input("input_ids", "int64", (spec.sequence,), f"ids:{spec.vocab}")
    words = table(graph, "embeddings.word", spec.vocab, spec.hidden)
    x = graph.node("Gather", "embeddings/words", [words, ids], shape)
    places = table(graph, "embeddings.position", spec.positions, spec.hidden)
    index = graph.constant("embeddings.index", np.arange(spec.sequence, dtype=np.int64)[None])
    positions = graph.node("Gather", "embeddings/positions", [places, index], shape)
    x = add(graph, x, positions, "embeddings/add_positions")
    if spec.types:
        kinds = graph.input("token_type_ids", "int64", (spec.sequence,), f"zeros:{spec.types}")
        rows = table(graph, "embeddings.type", spec.types, spec.hidden)
        types = graph.node("Gather", "embeddings/types", [rows, kinds], shape)
        x = add(graph, x, types, "embeddings/add_types")
    return layer_norm(graph, x, "embeddings.norm", spec.norm_eps)


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
    heads = Attention(heads=spec.heads, lowrank=spec.lowrank)
    attended = attention(graph, x, f"{name}.attention", heads, mask=mask)
    x = add(graph, attended, x, f"{name}/add_attention")
    x = layer_norm(graph, x, f"{name}.attention.norm", spec.norm_eps)
    inner = gelu(graph, linear(graph, x, f"{name}.ffn.0", spec.ffn, lowrank=spec.lowrank))
    inner = linear(graph, inner, f"{name}.ffn.1", spec.hidden, lowrank=spec.lowrank)
    x = add(graph, inner, x, f"{name}/add_ffn")
    return layer_norm(graph, x, f"{name}.norm", spec.norm_eps)
