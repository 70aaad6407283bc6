"""How a decoder's tensors are put together, once for every format.

`logits` walks the model and calls an `Emitter` for each operation: one writes ONNX nodes, one
OpenVINO operations, one computes with numpy as a reference. Activations are batch x tokens x width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from cpufit.networks.decoder.tensors import tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.networks.decoder.tensors import Tensor
    from cpufit.schema.shapes import Decoder

    Tensors = Mapping[str, Tensor]

T = TypeVar("T")

ATTENTION = ("attn_q", "attn_k", "attn_v")


class Emitter(Protocol[T]):
    """A target for a decoder's operations; it knows the card, and where weights come from."""

    stacks: bool  # wants queries, keys and values as the outputs of one matrix where that can be

    def embedding(self, table: Tensor) -> T:
        """Look up the table's rows for the token ids."""

    def positions(self, table: Tensor) -> T:
        """Look up the table's rows for the positions of the tokens."""

    def linear(self, x: T, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> T:
        """Multiply by matrices stacked output on output, and add biases stacked likewise."""

    def norm(self, x: T, weight: Tensor, bias: Tensor | None) -> T:
        """Apply RMSNorm, or LayerNorm where there is a bias."""

    def attend(self, parts: Sequence[T], block: int, norms: Sequence[Tensor]) -> T:
        """Attend with the KV cache of `block`: rotate, normalise, append, mix, join the heads.

        `parts` are queries, keys and values, or one value that holds them side by side. `norms`,
        for queries and keys, may be empty.
        """

    def activate(self, x: T, kind: Literal["silu", "gelu"]) -> T:
        """Apply SiLU, or GELU by its tanh approximation."""

    def halves(self, x: T) -> tuple[T, T]:
        """Cut the last axis in two."""

    def add(self, x: T, y: T) -> T:
        """Add."""

    def multiply(self, x: T, y: T) -> T:
        """Multiply element by element."""

    def scale(self, x: T, factor: float) -> T:
        """Multiply by a number."""

    def last(self, x: T) -> T:
        """Keep the last token of every sequence."""


def logits(emit: Emitter[T], decoder: Decoder) -> T:
    """Emit the whole model; return the logits of the last token: batch x 1 x vocab."""
    found = {tensor.name: tensor for tensor in tensors(decoder)}
    table = found["token_embd.weight"]
    x = emit.embedding(table)
    if decoder.embedding_scale != 1:
        x = emit.scale(x, decoder.embedding_scale)
    if decoder.position == "learned":
        x = emit.add(x, emit.positions(found["position_embd.weight"]))
    for block in range(decoder.layers):
        prefix = f"blk.{block}."
        own = {n.removeprefix(prefix): t for n, t in found.items() if n.startswith(prefix)}
        x = emit.add(x, _attention(emit, decoder, own, block, _norm(emit, own, "attn_norm", x)))
        x = emit.add(x, _ffn(emit, decoder, own, _norm(emit, own, "ffn_norm", x)))
    x = _norm(emit, found, "output_norm", emit.last(x))
    return emit.linear(x, [table if decoder.tied else found["output.weight"]], [])


def _attention(emit: Emitter[T], decoder: Decoder, own: Tensors, block: int, x: T) -> T:
    if decoder.fused_qkv:
        parts = [_linear(emit, own, "attn_qkv", x)]
    elif emit.stacks and not decoder.lowrank and not decoder.qk_norm:
        biases = [own[f"{role}.bias"] for role in ATTENTION if f"{role}.bias" in own]
        parts = [emit.linear(x, [own[f"{role}.weight"] for role in ATTENTION], biases)]
    else:
        parts = [_linear(emit, own, role, x) for role in ATTENTION]
    roles = ("attn_q_norm.weight", "attn_k_norm.weight") if decoder.qk_norm else ()
    x = emit.attend(parts, block, [own[role] for role in roles])
    return _linear(emit, own, "attn_output", x)


def _ffn(emit: Emitter[T], decoder: Decoder, own: Tensors, x: T) -> T:
    if decoder.fused_ffn:
        gate, up = emit.halves(_linear(emit, own, "ffn_up", x))
        inner = emit.multiply(emit.activate(gate, decoder.activation), up)
    elif decoder.gated:
        gate = emit.activate(_linear(emit, own, "ffn_gate", x), decoder.activation)
        inner = emit.multiply(gate, _linear(emit, own, "ffn_up", x))
    else:
        inner = emit.activate(_linear(emit, own, "ffn_up", x), decoder.activation)
    return _linear(emit, own, "ffn_down", inner)


def _linear(emit: Emitter[T], own: Tensors, role: str, x: T) -> T:
    """Emit a layer, or the two factors it was split into."""
    if f"{role}_a.weight" in own:
        x = emit.linear(x, [own[f"{role}_a.weight"]], [])
        role = f"{role}_b"
    bias = own.get(f"{role}.bias")
    return emit.linear(x, [own[f"{role}.weight"]], [bias] if bias else [])


def _norm(emit: Emitter[T], own: Tensors, role: str, x: T) -> T:
    return emit.norm(x, own[f"{role}.weight"], own.get(f"{role}.bias"))
