"""Which number format each tensor gets: the mixtures of llama.cpp's own quantiser.

Source: `src/llama-quant.cpp` of llama.cpp, of which `tests/artifacts/test_gguf_mix.py` asks the
installed one. Vectors and tables of positions and token types stay F32 in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gguf import GGML_QUANT_SIZES, LlamaFileType
from gguf import GGMLQuantizationType as Type

from cpufit.errors import UnsupportedError

if TYPE_CHECKING:
    from cpufit.networks.decoder.tensors import Tensor
    from cpufit.precisions import Precision


@dataclass(frozen=True)
class Mix:
    """A file type of llama.cpp: `name` as people say it, `base` what most matrices get."""

    name: str
    file_type: LlamaFileType
    base: Type


F16 = Mix("F16", LlamaFileType.MOSTLY_F16, Type.F16)
BF16 = Mix("BF16", LlamaFileType.MOSTLY_BF16, Type.BF16)
Q8_0 = Mix("Q8_0", LlamaFileType.MOSTLY_Q8_0, Type.Q8_0)
Q4_0 = Mix("Q4_0", LlamaFileType.MOSTLY_Q4_0, Type.Q4_0)
# No precision of its own: for files beside a published one of this format.
Q4_1 = Mix("Q4_1", LlamaFileType.MOSTLY_Q4_1, Type.Q4_1)
Q4_K_M = Mix("Q4_K_M", LlamaFileType.MOSTLY_Q4_K_M, Type.Q4_K)

_PRECISIONS: dict[Precision, Mix] = {
    "fp16": F16,
    "bf16": BF16,
    "int8": Q8_0,
    "q4_0": Q4_0,
    "int4": Q4_K_M,
}
_PLAIN = (Type.F16, Type.BF16, Type.Q8_0)  # every matrix gets the same, the head too
_VALUES = ("attn_v", "attn_qkv")
_TABLES = ("position_embd", "token_types")
# Super-blocks hold 256 weights of a row; rows that do not divide get the nearest 32-weight format.
_FALLBACK = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}


def mix_of(precision: Precision) -> Mix:
    """Return the mixture a precision stands for; raise UnsupportedError where there is none."""
    if precision not in _PRECISIONS:
        raise UnsupportedError(f"no GGUF at {precision}", f"available: {', '.join(_PRECISIONS)}")
    return _PRECISIONS[precision]


def type_of(tensor: Tensor, mix: Mix, *, layers: int, tied: bool, is_70b: bool = False) -> Type:
    """Return the number format of `tensor` in a model of so many blocks."""
    if len(tensor.shape) == 1 or tensor.role in _TABLES:
        return Type.F32
    head = "token_embd" if tied else "output"
    if mix.base in _PLAIN:
        wanted = mix.base
    elif tensor.role == head:
        wanted = Type.Q6_K
    else:
        wanted = _q4_k_m(tensor, layers, is_70b=is_70b) if mix is Q4_K_M else mix.base
    return _fitting(wanted, tensor.shape[0])


def _fitting(wanted: Type, row: int) -> Type:
    """Return the format, or what llama.cpp puts in its place where rows are not whole blocks."""
    for kind in (wanted, _FALLBACK.get(wanted, wanted)):
        block_size, _ = GGML_QUANT_SIZES[kind]
        if row % block_size == 0:
            return kind
    return Type.F16


def _q4_k_m(tensor: Tensor, layers: int, *, is_70b: bool) -> Type:
    """Give more bits to what suffers most, in some blocks; a fused projection holds values too."""
    if tensor.role in (*_VALUES, "ffn_down") and _more_bits(tensor.block, layers):
        return Type.Q6_K
    return Type.Q5_K if is_70b and tensor.role in _VALUES else Type.Q4_K


def _more_bits(block: int, layers: int) -> bool:
    """Whether a block is among the first or last eighth, or every third of the rest."""
    first = layers // 8
    return block < first or block >= 7 * layers // 8 or (block - first) % 3 == 2
