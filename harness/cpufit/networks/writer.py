"""Decoders that write text about rows they look at: those of BLIP and of Whisper.

Keys and values of what is looked at are computed once, by `look`, in the encoder's graph. The
decoder's own graph takes them as inputs beside the keys and values of the tokens so far.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cpufit.networks.layers import add
from cpufit.networks.transformer import gelu, heads, layer_norm, linear, mix, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpufit.networks.graph import Graph, Value
    from cpufit.schema.shapes import Writer

_NEW, _ALL, _PAST = "tokens", "all_tokens", "past_tokens"  # open axes


def look(graph: Graph, rows: Value, spec: Writer) -> None:
    """Add the outputs `cross.N.key` (heads,depth,rows) and `cross.N.value` of every layer."""
    for i in range(spec.layers):
        name = f"layer.{i}.cross"
        key = _linear(graph, rows, f"{name}.key", spec, bias=spec.key_bias)
        value = _linear(graph, rows, f"{name}.value", spec)
        graph.output(f"cross.{i}.key", heads(graph, key, f"{name}.key", spec.heads, turned=True))
        graph.output(f"cross.{i}.value", heads(graph, value, f"{name}.value", spec.heads))


def writer(graph: Graph, spec: Writer) -> None:
    """Add the decoder, with inputs and outputs; MACs are those of one token, the first.

    Inputs: `input_ids` and `position_ids` (tokens), `mask` (1,tokens,all), `past.N.key` and
    `.value` (heads,past,depth), `cross.N.key` and `.value`. Outputs: `logits` of the last token,
    and `present.N.key` and `.value` (heads,all,depth).
    """
    x = _embed(graph, spec)
    mask = graph.input("mask", "float32", (1, 1, 1), "zeros", axes={1: _NEW, 2: _ALL})
    for i in range(spec.layers):
        x = _layer(graph, x, mask, i, spec)
    graph.output("logits", _logits(graph, x, spec))


def _embed(graph: Graph, spec: Writer) -> Value:
    ids = graph.input("input_ids", "int64", (1,), f"ids:{spec.vocab}", axes={0: _NEW})
    places = graph.input("position_ids", "int64", (1,), "zeros", axes={0: _NEW})
    shape = (1, spec.hidden)
    words = table(graph, "words", spec.vocab, spec.hidden)
    x = graph.node("Gather", "embed/words", [words, ids], shape)
    rows = table(graph, "positions", spec.positions, spec.hidden)
    x = add(graph, x, graph.node("Gather", "embed/places", [rows, places], shape), "embed/add")
    return x if spec.pre_norm else layer_norm(graph, x, "embed.norm", spec.norm_eps)


def _layer(graph: Graph, x: Value, mask: Value, i: int, spec: Writer) -> Value:
    name = f"layer.{i}"
    x = _around(graph, x, f"{name}.self", spec, lambda y: _attend_self(graph, y, mask, i, spec))
    x = _around(graph, x, f"{name}.cross", spec, lambda y: _attend_rows(graph, y, i, spec))
    return _around(graph, x, f"{name}.ffn", spec, lambda y: _ffn(graph, y, f"{name}.ffn", spec))


def _around(
    graph: Graph, x: Value, name: str, spec: Writer, inner: Callable[[Value], Value]
) -> Value:
    """Add a layer to what goes past it; the norm comes before the layer, or after the sum."""
    if spec.pre_norm:
        y = inner(layer_norm(graph, x, f"{name}.norm", spec.norm_eps))
        return add(graph, x, y, f"{name}/add")
    summed = add(graph, inner(x), x, f"{name}/add")
    return layer_norm(graph, summed, f"{name}.norm", spec.norm_eps)


def _attend_self(graph: Graph, x: Value, mask: Value, i: int, spec: Writer) -> Value:
    name, depth = f"layer.{i}.self", spec.hidden // spec.heads
    query = _linear(graph, x, f"{name}.query", spec)
    query = heads(graph, query, f"{name}.query", spec.heads)
    new = {
        "key": _linear(graph, x, f"{name}.key", spec, bias=spec.key_bias),
        "value": _linear(graph, x, f"{name}.value", spec),
    }
    together = {}
    for kind, value in new.items():
        parted = heads(graph, value, f"{name}.{kind}", spec.heads)
        shape = (spec.heads, 0, depth)
        past = graph.input(f"past.{i}.{kind}", "float32", shape, "zeros", axes={1: _PAST})
        joined = graph.node("Concat", f"{name}/{kind}s", [past, parted], parted.shape, axis=2)
        graph.output(f"present.{i}.{kind}", joined, axes={1: _ALL})
        together[kind] = joined
    keys = together["key"]
    turned = graph.node(
        "Transpose", f"{name}/turned", [keys], (spec.heads, depth, 1), perm=[0, 1, 3, 2]
    )
    mixed = mix(graph, (query, turned, together["value"]), name, mask)
    return _linear(graph, mixed, f"{name}.out", spec)


def _attend_rows(graph: Graph, x: Value, i: int, spec: Writer) -> Value:
    name, depth = f"layer.{i}.cross", spec.hidden // spec.heads
    query = _linear(graph, x, f"{name}.query", spec)
    query = heads(graph, query, f"{name}.query", spec.heads)
    key = graph.input(f"cross.{i}.key", "float32", (spec.heads, depth, spec.rows), "normal")
    value = graph.input(f"cross.{i}.value", "float32", (spec.heads, spec.rows, depth), "normal")
    mixed = mix(graph, (query, key, value), name)
    return _linear(graph, mixed, f"{name}.out", spec)


def _ffn(graph: Graph, x: Value, name: str, spec: Writer) -> Value:
    inner = gelu(graph, linear(graph, x, f"{name}.0", spec.ffn, lowrank=spec.lowrank))
    return _linear(graph, inner, f"{name}.1", spec)


def _linear(graph: Graph, x: Value, name: str, spec: Writer, *, bias: bool = True) -> Value:
    return linear(graph, x, name, spec.hidden, bias=bias, lowrank=spec.lowrank)


def _logits(graph: Graph, x: Value, spec: Writer) -> Value:
    """Compare the last row with every word; the matrix is that of the embedding."""
    last = graph.constant("head.last", np.array(-1, np.int64))
    y = graph.node("Gather", "head/last", [x, last], (spec.hidden,), axis=1)
    extra = []
    if spec.head == "bert":
        y = gelu(graph, linear(graph, y, "head.transform", spec.hidden))
        y = layer_norm(graph, y, "head.norm", spec.norm_eps)
        extra = [graph.weight("head.bias", (spec.vocab,), 0.02)]
    else:
        y = layer_norm(graph, y, "head.norm", spec.norm_eps)
    graph.work(math.prod(y.shape) * spec.vocab)
    return graph.node("Gemm", "head/words", [y, "words.weight", *extra], (spec.vocab,), transB=1)
