"""The tensors of a decoder, named and shaped as llama.cpp's loader wants them.

The fields of the card decide which tensors a block has; names and shapes are those of llama.cpp's
`src/models/*.cpp`. Shapes stand in GGUF order: the first axis is the input of a matrix product, so
that a matrix in C order is `shape[1]` rows (outputs) of `shape[0]` weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

from cpufit.networks.widths import rank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cpufit.schema.shapes import Decoder

    Named = tuple[str, str, tuple[int, ...]]  # role, suffix, shape


@dataclass(frozen=True)
class Tensor:
    """One tensor of the model; `block` is -1 outside the blocks."""

    role: str  # the name without block number and suffix: 'attn_q', 'output_norm'
    suffix: str  # 'weight' or 'bias'
    shape: tuple[int, ...]
    block: int = -1

    @property
    def name(self) -> str:
        """The name in a GGUF file: 'blk.3.attn_q.weight'."""
        prefix = f"blk.{self.block}." if self.block >= 0 else ""
        return f"{prefix}{self.role}.{self.suffix}"

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def kind(self) -> Literal["norm", "weight", "bias"]:
        """What decides the distribution of its weights, together with its first axis."""
        if self.suffix == "bias":
            return "bias"
        return "norm" if self.role.endswith("_norm") else "weight"


def tensors(decoder: Decoder) -> tuple[Tensor, ...]:
    """Return every tensor of the model in file order."""
    before = (Tensor(*named) for named in _before(decoder))
    blocks = (
        Tensor(role, suffix, shape, block)
        for block in range(decoder.layers)
        for role, suffix, shape in (*_attention(decoder), *_ffn(decoder))
    )
    after = (Tensor(*named) for named in _after(decoder))
    return (*before, *blocks, *after)


def parameters(decoder: Decoder) -> int:
    """Count every weight once: a tied head is the embedding."""
    return sum(tensor.parameters for tensor in tensors(decoder))


def macs_per_token(decoder: Decoder) -> int:
    """Count the multiply-adds of all matrices and the head, without attention over the cache."""
    tables = {"token_embd", "position_embd"}  # looked up, not multiplied
    found = sum(
        t.parameters for t in tensors(decoder) if len(t.shape) == 2 and t.role not in tables
    )
    return found + (decoder.hidden * decoder.vocab if decoder.tied else 0)


def _before(decoder: Decoder) -> Iterator[Named]:
    yield "token_embd", "weight", (decoder.hidden, decoder.vocab)
    if decoder.position == "learned":
        yield "position_embd", "weight", (decoder.hidden, decoder.context)


def _after(decoder: Decoder) -> Iterator[Named]:
    yield from _norm(decoder, "output_norm")
    if not decoder.tied:
        yield "output", "weight", (decoder.hidden, decoder.vocab)


def _attention(decoder: Decoder) -> Iterator[Named]:
    hidden, head = decoder.hidden, decoder.head_dim
    queries, keys = decoder.heads * head, decoder.kv_heads * head
    split = (("attn_q", queries), ("attn_k", keys), ("attn_v", keys))
    fused = (("attn_qkv", queries + 2 * keys),)
    yield from _norm(decoder, "attn_norm")
    for role, width in fused if decoder.fused_qkv else split:
        yield from _linear(decoder, role, hidden, width, biased=decoder.biases != "none")
    if decoder.qk_norm:
        yield "attn_q_norm", "weight", (head,)
        yield "attn_k_norm", "weight", (head,)
    yield from _linear(decoder, "attn_output", queries, hidden, biased=decoder.biases == "all")


def _ffn(decoder: Decoder) -> Iterator[Named]:
    hidden, ffn, biased = decoder.hidden, decoder.ffn, decoder.biases == "all"
    yield from _norm(decoder, "ffn_norm")
    if decoder.fused_ffn:
        yield from _linear(decoder, "ffn_up", hidden, 2 * ffn, biased=biased)
    else:
        if decoder.gated:
            yield from _linear(decoder, "ffn_gate", hidden, ffn, biased=biased)
        yield from _linear(decoder, "ffn_up", hidden, ffn, biased=biased)
    yield from _linear(decoder, "ffn_down", ffn, hidden, biased=biased)


def _norm(decoder: Decoder, role: str) -> Iterator[Named]:
    yield role, "weight", (decoder.hidden,)
    if decoder.norm == "layer":
        yield role, "bias", (decoder.hidden,)


def _linear(
    decoder: Decoder, role: str, inputs: int, outputs: int, *, biased: bool
) -> Iterator[Named]:
    if decoder.lowrank:
        inner = rank(decoder.lowrank, inputs, outputs)
        yield f"{role}_a", "weight", (inputs, inner)
        yield f"{role}_b", "weight", (inner, outputs)
        role = f"{role}_b"
    else:
        yield role, "weight", (inputs, outputs)
    if biased:
        yield role, "bias", (outputs,)
