"""The tensors of a decoder, named and shaped as llama.cpp's loader wants them.

The fields of the card decide which tensors a block has; names and shapes are those of llama.cpp's
`src/models/*.cpp`. Shapes stand in GGUF order: the first axis is the input of a matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cpufit.schema import Decoder


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file; `block` is -1 outside the blocks."""

    role: str  # the name without block number and suffix: 'attn_q', 'output_norm'
    suffix: str  # 'weight' or 'bias'
    shape: tuple[int, ...]
    block: int = -1

    @property
    def name(self) -> str:
        """The name in the file: 'blk.3.attn_q.weight'."""
        prefix = f"blk.{self.block}." if self.block >= 0 else ""
        return f"{prefix}{self.role}.{self.suffix}"

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


def tensors(decoder: Decoder) -> tuple[Tensor, ...]:
    """Return every tensor of the model in file order."""
    hidden, vocab = decoder.hidden, decoder.vocab
    blocks = (
        Tensor(role, suffix, shape, block)
        for block in range(decoder.layers)
        for role, suffix, shape in (*_attention(decoder), *_ffn(decoder))
    )
    head = () if decoder.tied else (Tensor("output", "weight", (hidden, vocab)),)
    return (
        Tensor("token_embd", "weight", (hidden, vocab)),
        *blocks,
        Tensor("output_norm", "weight", (hidden,)),
        *head,
    )


def _attention(decoder: Decoder) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    hidden = decoder.hidden
    queries = decoder.heads * decoder.head_dim
    keys = decoder.kv_heads * decoder.head_dim
    split = (("attn_q", queries), ("attn_k", keys), ("attn_v", keys))
    yield "attn_norm", "weight", (hidden,)
    for role, width in (("attn_qkv", queries + 2 * keys),) if decoder.fused_qkv else split:
        yield role, "weight", (hidden, width)
        if decoder.qkv_bias:
            yield role, "bias", (width,)
    yield "attn_output", "weight", (queries, hidden)


def _ffn(decoder: Decoder) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    hidden, ffn = decoder.hidden, decoder.ffn
    yield "ffn_norm", "weight", (hidden,)
    if decoder.fused_ffn:
        yield "ffn_up", "weight", (hidden, 2 * ffn)
    else:
        yield "ffn_gate", "weight", (hidden, ffn)
        yield "ffn_up", "weight", (hidden, ffn)
    yield "ffn_down", "weight", (ffn, hidden)
