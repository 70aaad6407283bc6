"""Which number format each tensor gets: the mixtures of llama.cpp's own quantiser.

Source: `src/llama-quant.cpp` of llama.cpp, for Q4_K_M, Q8_0 and F16. Vectors stay F32 in all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gguf import GGML_QUANT_SIZES, LlamaFileType
from gguf import GGMLQuantizationType as Type

from cpufit.errors import UnsupportedError

if TYPE_CHECKING:
    from cpufit.artifacts.gguf.layout import Tensor
    from cpufit.schema import Decoder, Precision


@dataclass(frozen=True)
class Mix:
    """A file type of llama.cpp: `name` as people say it, `base` what most matrices get."""

    name: str
    file_type: LlamaFileType
    base: Type


_MIXES: dict[Precision, Mix] = {
    "fp16": Mix("F16", LlamaFileType.MOSTLY_F16, Type.F16),
    "int8": Mix("Q8_0", LlamaFileType.MOSTLY_Q8_0, Type.Q8_0),
    "int4": Mix("Q4_K_M", LlamaFileType.MOSTLY_Q4_K_M, Type.Q4_K),
}
# Super-blocks hold 256 weights of a row; rows that do not divide get the nearest 32-weight format.
_FALLBACK = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}


def mix_of(precision: Precision) -> Mix:
    """Return the mixture a precision stands for; raise UnsupportedError where there is none."""
    if precision not in _MIXES:
        raise UnsupportedError(f"no GGUF at {precision}", f"available: {', '.join(_MIXES)}")
    return _MIXES[precision]


def type_of(tensor: Tensor, mix: Mix, decoder: Decoder) -> Type:
    """Return the number format of `tensor`."""
    if len(tensor.shape) == 1:
        return Type.F32
    wanted = _q4_k_m(tensor, decoder) if mix.base is Type.Q4_K else mix.base
    block_size, _ = GGML_QUANT_SIZES[wanted]
    return wanted if tensor.shape[0] % block_size == 0 else _FALLBACK[wanted]


def stored_bytes(tensor: Tensor, kind: Type) -> int:
    """Return the bytes of `tensor` in format `kind`."""
    block_size, block_bytes = GGML_QUANT_SIZES[kind]
    return int(tensor.parameters // block_size * block_bytes)


def _q4_k_m(tensor: Tensor, decoder: Decoder) -> Type:
    head = "token_embd" if decoder.tied else "output"
    if tensor.role == head:
        return Type.Q6_K
    if tensor.role == "attn_qkv":
        return Type.Q5_K
    if tensor.role in ("attn_v", "ffn_down") and _more_bits(tensor.block, decoder.layers):
        return Type.Q6_K
    return Type.Q4_K


def _more_bits(block: int, layers: int) -> bool:
    """Whether a block is among the first or last eighth, or every third of the rest."""
    first = layers // 8
    return block < first or block >= 7 * layers // 8 or (block - first) % 3 == 2
