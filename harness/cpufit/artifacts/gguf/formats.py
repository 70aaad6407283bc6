"""Round float32 weights to the number formats of a GGUF file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf.quants import quantize

from cpufit.artifacts.gguf.kquants import q4_k, q5_k, q6_k

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpufit.artifacts.gguf.kquants import Bytes
    from cpufit.networks.decoder.pools import Floats

_SUPER_BLOCKS: dict[Type, Callable[[Floats], Bytes]] = {
    Type.Q4_K: q4_k,
    Type.Q5_K: q5_k,
    Type.Q6_K: q6_k,
}


def rounded(rows: Floats, kind: Type) -> Bytes:
    """Return the bytes of a matrix in format `kind`; its rows must be whole blocks.

    F32, F16, BF16 and the formats of 32 weights are rounded by the gguf package.
    """
    if kind in _SUPER_BLOCKS:
        return _SUPER_BLOCKS[kind](rows).reshape(-1)
    found: Bytes = quantize(rows, kind).view(np.uint8).reshape(-1)
    return found


def stored_bytes(weights: int, kind: Type) -> int:
    """Return the bytes of so many weights in format `kind`."""
    block_size, block_bytes = GGML_QUANT_SIZES[kind]
    return int(weights // block_size * block_bytes)
