"""What llama.cpp's architectures can express, and the metadata that describes a decoder to them.

An architecture is a fixed network: everything about it that a card can say must be as it has it.
Source: llama.cpp's `src/models/*.cpp` and `src/llama-model.cpp`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cpufit.errors import UnsupportedError, unknown

if TYPE_CHECKING:
    import gguf

    from cpufit.schema.shapes import Decoder

_LLAMA: dict[str, Any] = {
    "position": "rope",
    "norm": "rms",
    "qk_norm": False,
    "activation": "silu",
    "gated": True,
    "biases": "none",
    "fused_qkv": False,
    "fused_ffn": False,
    "embedding_scale": 1.0,
    "lowrank": 0,
}
_PLAIN = _LLAMA | {"rope_scaling": None}  # only `llama` reads factors of the frequencies
_GPT = _PLAIN | {
    "position": "learned",
    "norm": "layer",
    "activation": "gelu",
    "gated": False,
    "biases": "all",
    "fused_qkv": True,
}
_CARDS = {
    "llama": _LLAMA,
    "qwen": _PLAIN | {"fused_qkv": True, "biases": "qkv", "tied": False},
    "qwen2": _PLAIN | {"biases": "qkv"},
    "phi3": _PLAIN | {"fused_qkv": True, "fused_ffn": True},
    "hunyuan-dense": _PLAIN | {"qk_norm": True},
    "starcoder": _GPT,
    "gpt2": _GPT,
    "gemma": _PLAIN | {"activation": "gelu", "tied": True},
}
_SQUARE = ("qwen", "qwen2", "phi3", "starcoder", "gpt2")  # the heads' width is the hidden width


def check(decoder: Decoder) -> None:
    """Raise where llama.cpp's architecture of that name is another network than the card's."""
    arch = decoder.arch
    if arch not in _CARDS:
        raise unknown("architecture", arch, _CARDS)
    for field, wanted in (_CARDS[arch] | _computed(decoder)).items():
        found = getattr(decoder, field)
        same = math.isclose(found, wanted) if isinstance(wanted, float) else found == wanted
        if not same:
            raise UnsupportedError(
                f"llama.cpp's architecture {arch} has no {field} = {found!r}",
                f"set decoder.{field} to {wanted!r}, or use onnxruntime or openvino",
            )


def rotates_neighbours(decoder: Decoder) -> bool:
    """Whether it turns dimensions 2i and 2i + 1 together, not i and i + head_dim/2.

    The same network, with the rows of queries and keys in another order.
    """
    return decoder.arch == "llama"


def is_70b(decoder: Decoder) -> bool:
    """Whether llama.cpp takes it for one of the 70B models, whose few values get more bits."""
    shared = decoder.arch == "qwen2" or (
        decoder.arch == "llama" and decoder.heads != decoder.kv_heads
    )
    return shared and decoder.layers == 80


def notes(decoder: Decoder) -> tuple[str, ...]:
    """Return what llama.cpp does otherwise than the published model."""
    if not decoder.sliding_window:
        return ()
    # Of these architectures only phi3 reads a window, and then switches it off with a warning; so
    # none is written.
    return (f"llama.cpp attends to all tokens before, not to the last {decoder.sliding_window}",)


def describe(decoder: Decoder, writer: gguf.GGUFWriter) -> None:
    """Add the keys of the architecture."""
    writer.add_context_length(decoder.context)
    writer.add_embedding_length(decoder.hidden)
    writer.add_block_count(decoder.layers)
    # `qwen` has gate and up projections of half the width it is told.
    writer.add_feed_forward_length(decoder.ffn * (2 if decoder.arch == "qwen" else 1))
    writer.add_head_count(decoder.heads)
    writer.add_head_count_kv(decoder.kv_heads)
    writer.add_key_length(decoder.head_dim)
    writer.add_value_length(decoder.head_dim)
    if decoder.norm == "rms":
        writer.add_layer_norm_rms_eps(decoder.norm_eps)
    else:
        writer.add_layer_norm_eps(decoder.norm_eps)
    if decoder.position == "rope":
        writer.add_rope_dimension_count(decoder.head_dim)
        writer.add_rope_freq_base(decoder.rope_base)


def _computed(decoder: Decoder) -> dict[str, Any]:
    """Return the fields that must follow from other ones."""
    found: dict[str, Any] = {}
    if decoder.arch in _SQUARE:
        found["head_dim"] = decoder.hidden // decoder.heads
    if decoder.arch == "qwen":
        found["kv_heads"] = decoder.heads
    if decoder.arch == "gemma":
        found["embedding_scale"] = math.sqrt(decoder.hidden)
    return found
