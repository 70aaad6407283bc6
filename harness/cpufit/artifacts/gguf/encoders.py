"""The tensors of a BERT-like encoder in a GGUF file, with the weights of its ONNX graph."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cpufit.artifacts.gguf.formats import rounded
from cpufit.artifacts.gguf.mix import type_of
from cpufit.artifacts.gguf.write import Entry, Header
from cpufit.artifacts.stream import cut
from cpufit.networks import weights
from cpufit.networks.decoder.tensors import Tensor
from cpufit.networks.families import graph_of
from cpufit.networks.sources import Synthetic

if TYPE_CHECKING:
    from io import FileIO

    import gguf

    from cpufit.artifacts.gguf.mix import Mix
    from cpufit.networks.graph import Drawn, Graph
    from cpufit.schema import Input, Model
    from cpufit.schema.shapes import Encoder

_ROLES = {
    "embeddings.word": "token_embd",
    "embeddings.position": "position_embd",
    "embeddings.type": "token_types",
    "embeddings.norm": "token_embd_norm",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.out": "attn_output",
    "attention.norm": "attn_output_norm",
    "ffn.0": "ffn_up",
    "ffn.1": "ffn_down",
    "norm": "layer_output_norm",
}
_WEIGHTS_AT_ONCE = 1 << 20  # rounded in one go


def inputs(model: Model) -> tuple[Input, ...]:
    """Return the token ids, as the model's graph takes them; there is no mask and no type."""
    return tuple(i for i in _graph(model).inputs if i.name == "input_ids")


def header(name: str, encoder: Encoder, mix: Mix) -> Header:
    """Return the header of llama.cpp's architecture `bert`."""
    return Header("bert", name, mix, encoder.vocab, partial(_describe, encoder))


def entries(model: Model, encoder: Encoder, mix: Mix) -> list[Entry]:
    """Return the tensors in the graph's order, less the pooler: llama.cpp does not compute it."""
    found = []
    for drawn in _graph(model).drawn:
        if not drawn.name.startswith("pooler."):
            tensor = _tensor(drawn)
            kind = type_of(tensor, mix, layers=encoder.layers, tied=True)
            found.append(Entry(tensor, kind, partial(_put, model.name, drawn, kind)))
    return found


def _graph(model: Model) -> Graph:
    return graph_of(model, Synthetic(model.name))


def _tensor(drawn: Drawn) -> Tensor:
    path, _, suffix = drawn.name.rpartition(".")
    block = -1
    if path.startswith("layer."):
        _, number, path = path.split(".", 2)
        block = int(number)
    turned = drawn.shape if _is_linear(drawn) else tuple(reversed(drawn.shape))
    return Tensor(_ROLES[path], suffix, turned, block)


def _is_linear(drawn: Drawn) -> bool:
    """Whether it is a matrix, which the graph stores as inputs x outputs; tables are rows."""
    return len(drawn.shape) == 2 and not drawn.name.startswith("embeddings.")


def _put(model: str, drawn: Drawn, kind: gguf.GGMLQuantizationType, file: FileIO) -> None:
    values = weights.tensor(model, *drawn)
    rows = values.T if _is_linear(drawn) else np.atleast_2d(values)
    count = max(1, _WEIGHTS_AT_ONCE // rows.shape[1])
    for first in range(0, len(rows), count):
        data = rounded(np.ascontiguousarray(rows[first : first + count]), kind)
        cut(file, data.data, 0, len(data))


def _describe(encoder: Encoder, writer: gguf.GGUFWriter) -> None:
    writer.add_context_length(encoder.positions)
    writer.add_embedding_length(encoder.hidden)
    writer.add_block_count(encoder.layers)
    writer.add_feed_forward_length(encoder.ffn)
    writer.add_head_count(encoder.heads)
    writer.add_layer_norm_eps(encoder.norm_eps)
    writer.add_causal_attention(False)
    writer.add_token_type_count(max(encoder.types, 1))  # llama.cpp wants one at least
