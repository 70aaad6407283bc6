"""The layers transformers are made of, in the form exporters give them.

A value's shape ends in rows (tokens) and features. Runtimes recognise attention, GELU and residual
norms by their pattern of nodes, so the order of operands here is part of the speed: tests hold that
ONNX Runtime and OpenVINO fuse them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cpufit.networks.graph import Value
from cpufit.networks.layers import add, transpose
from cpufit.networks.widths import rank

if TYPE_CHECKING:
    from cpufit.networks.graph import Graph

_TABLE_STD = 0.02  # BERT's initializer_range
_BIAS_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Attention:
    """How queries meet keys; `lowrank` as of a card."""

    heads: int
    biases: str = "qkv"  # which of queries, keys and values have one
    fused: bool = False  # queries, keys and values come from one matrix
    lowrank: int = 0


def table(graph: Graph, name: str, rows: int, width: int) -> str:
    """Take an embedding table and return the name of its array."""
    return graph.weight(f"{name}.weight", (rows, width), _TABLE_STD)


def linear(
    graph: Graph, x: Value, name: str, features: int, *, bias: bool = True, lowrank: int = 0
) -> Value:
    """Add a fully connected layer on the last axis; the weight is stored in x out.

    With `lowrank` it is two factors, which together have that share of its parameters.
    """
    if lowrank:
        x = _matmul(graph, x, f"{name}.a", rank(lowrank, x.shape[-1], features))
        name = f"{name}.b"
    x = _matmul(graph, x, name, features)
    if not bias:
        return x
    array = graph.weight(f"{name}.bias", (features,), _BIAS_STD)
    return graph.node("Add", f"{name}/bias", [x, array], x.shape)


def attention(
    graph: Graph,
    x: Value,
    name: str,
    spec: Attention,
    *,
    mask: Value | str | None = None,
    context: Value | None = None,
) -> Value:
    """Add attention of `x` to itself, or to the rows of `context`; scores have `mask` added."""
    features, low, other = x.shape[-1], spec.lowrank, x if context is None else context
    if spec.fused:
        whole = linear(graph, x, f"{name}.qkv", 3 * features, lowrank=low)
        query, key, value = _thirds(graph, whole, f"{name}/split")
    else:
        query, key, value = (
            linear(graph, y, f"{name}.{part}", features, bias=part[0] in spec.biases, lowrank=low)
            for part, y in (("query", x), ("key", other), ("value", other))
        )
    query = heads(graph, query, f"{name}.query", spec.heads)
    key = heads(graph, key, f"{name}.key", spec.heads, turned=True)
    value = heads(graph, value, f"{name}.value", spec.heads)
    mixed = mix(graph, (query, key, value), name, mask)
    return linear(graph, mixed, f"{name}.out", x.shape[-1], lowrank=spec.lowrank)


def mix(
    graph: Graph, given: tuple[Value, Value, Value], name: str, mask: Value | str | None = None
) -> Value:
    """Add softmax(q k / root) v and join the heads: heads,rows,depth -> rows,heads x depth.

    `given` are queries (heads,rows,depth), keys (heads,depth,others), values (heads,others,depth).
    """
    query, key, value = given
    heads, rows, depth = query.shape
    shape = (heads, rows, key.shape[-1])
    graph.work(2 * math.prod(shape) * depth)
    x = graph.node("MatMul", f"{name}/scores", [query, key], shape)
    root = graph.scalar(f"{name}.root", math.sqrt(depth))
    x = graph.node("Div", f"{name}/scaled", [x, root], shape)
    if mask is not None:
        x = graph.node("Add", f"{name}/masked", [x, mask], shape)
    x = graph.node("Softmax", f"{name}/softmax", [x], shape, axis=3)
    x = graph.node("MatMul", f"{name}/mixed", [x, value], query.shape)
    x = transpose(graph, x, f"{name}/rows", (1, 0, 2))
    return _shaped(graph, x, f"{name}/joined", (rows, heads * depth))


@dataclass(frozen=True, kw_only=True)
class Block:
    """A pre-norm block: attention, then two linear layers, each after a norm and added on."""

    attention: Attention
    ffn: int
    eps: float
    activation: Literal["gelu", "quick_gelu"]


def block(graph: Graph, x: Value, name: str, spec: Block, mask: Value | str | None = None) -> Value:
    """Add a pre-norm block on rows,features."""
    low = spec.attention.lowrank
    inner = layer_norm(graph, x, f"{name}.norm1", spec.eps)
    inner = attention(graph, inner, f"{name}.attention", spec.attention, mask=mask)
    x = add(graph, x, inner, f"{name}/add1")
    inner = layer_norm(graph, x, f"{name}.norm2", spec.eps)
    inner = linear(graph, inner, f"{name}.ffn.0", spec.ffn, lowrank=low)
    inner = gelu(graph, inner) if spec.activation == "gelu" else quick_gelu(graph, inner)
    inner = linear(graph, inner, f"{name}.ffn.1", x.shape[-1], lowrank=low)
    return add(graph, x, inner, f"{name}/add2")


def layer_norm(graph: Graph, x: Value, name: str, eps: float) -> Value:
    """Add a layer normalisation with scale and bias over the last axis."""
    scale = graph.weight(f"{name}.weight", x.shape[-1:], 0.1, 1.0)
    bias = graph.weight(f"{name}.bias", x.shape[-1:], 0.1)
    return graph.node(
        "LayerNormalization", f"{name}/norm", [x, scale, bias], x.shape, axis=-1, epsilon=eps
    )


def gelu(graph: Graph, x: Value) -> Value:
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


def quick_gelu(graph: Graph, x: Value) -> Value:
    """Add x * sigmoid(1.702 x), which CLIP was trained with."""
    name = f"{x.name}/quick_gelu"
    inner = graph.node("Mul", f"{name}/scaled", [x, graph.scalar(f"{name}.factor", 1.702)], x.shape)
    inner = graph.node("Sigmoid", f"{name}/sigmoid", [inner], x.shape)
    return graph.node("Mul", name, [x, inner], x.shape)


def causal(graph: Graph, name: str, rows: int) -> str:
    """Add the mask by which a row attends to itself and those before it."""
    hidden = np.triu(np.full((rows, rows), np.finfo(np.float32).min, np.float32), 1)
    return graph.constant(name, hidden[None, None])


def heads(graph: Graph, x: Value, name: str, count: int, *, turned: bool = False) -> Value:
    """Part into heads: rows,features -> heads,rows,depth, or heads,depth,rows."""
    rows, features = x.shape
    x = _shaped(graph, x, f"{name}/heads", (rows, count, features // count))
    return transpose(graph, x, f"{name}/turned", (1, 2, 0) if turned else (1, 0, 2))


def _shaped(graph: Graph, x: Value, name: str, shape: tuple[int, ...]) -> Value:
    """Reshape what belongs to each row; how many rows there are may stay open in the file."""
    target = graph.constant(f"{name}.shape", np.array((0, 0, *shape[1:]), np.int64))
    return graph.node("Reshape", name, [x, target], shape)


def _thirds(graph: Graph, x: Value, name: str) -> list[Value]:
    third = x.shape[-1] // 3
    parts = [Value(f"{name}.{i}", (*x.shape[:-1], third)) for i in range(3)]
    sizes = graph.constant(f"{name}.sizes", np.full(3, third, np.int64))
    graph.nodes("Split", name, [x, sizes], [part.name for part in parts], axis=-1)
    return parts


def _matmul(graph: Graph, x: Value, name: str, features: int) -> Value:
    width = x.shape[-1]
    weight = graph.weight(f"{name}.weight", (width, features), width**-0.5)
    graph.work(math.prod(x.shape) * features)
    return graph.node("MatMul", f"{name}/matmul", [x, weight], (*x.shape[:-1], features))
