"""Pools of valid random blocks, one per number format and fan-in.

A pool is what a file is cut from. Its bits come from SHAKE-128 and its scales from exact IEEE
arithmetic, so it is the same on every machine. Dequantised weights have mean 0 and a standard
deviation of 1/sqrt(fan-in), which keeps activations at the scale of their input. The f16 scales
vary by a quarter around their mean and are never denormal: real files hold denormal ones, but
their speed would then hang on how a CPU converts them. Block layouts: llama.cpp's `ggml-common.h`.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type

if TYPE_CHECKING:
    from collections.abc import Callable

# A prime: rows are whole numbers of blocks, so that cutting one row after another from a pool that
# is walked round and round never meets the same row again before the pool is used up.
POOL_BLOCKS = 16_381
_PLAIN_BLOCK = 32  # weights; F16 and F32 have no blocks of their own

Bytes: TypeAlias = npt.NDArray[np.uint8]


def block_bytes(kind: Type) -> int:
    """Return the bytes of one block of a pool."""
    block_size, size = GGML_QUANT_SIZES[kind]
    return int(size * _PLAIN_BLOCK if block_size == 1 else size)


def pool(kind: Type, role: str, fan_in: int, seed: str) -> memoryview:
    """Return POOL_BLOCKS random blocks of `kind`; `role` is 'weight', 'bias' or 'norm'."""
    size = block_bytes(kind)
    name = f"{seed}/{kind.name}/{role}/{fan_in}"
    raw = bytearray(hashlib.shake_128(name.encode()).digest(POOL_BLOCKS * size))
    blocks = np.frombuffer(raw, np.uint8).reshape(POOL_BLOCKS, size)
    if role == "norm":
        _gains(blocks)
    else:
        _FILL[kind](blocks, 1 / math.sqrt(fan_in))
    return memoryview(raw)


def _spread(field: Bytes) -> npt.NDArray[np.float64]:
    """Turn two random bytes per row into uniform factors 0.75 .. 1.25 whose mean square is 1."""
    draws = field.view("<u2").astype(np.float64)
    factors: npt.NDArray[np.float64] = (0.75 + draws / 131_072) / math.sqrt(1 + 1 / 48)
    return factors


def _put_f16(field: Bytes, values: npt.NDArray[np.float64]) -> None:
    field[:] = values.astype("<f2").view(np.uint8)


def _signs(field: Bytes) -> npt.NDArray[np.float64]:
    """Return -1 or 1 per row, from the lowest bit."""
    signs: npt.NDArray[np.float64] = np.where(field & 1, -1.0, 1.0)
    return signs


def _f16(blocks: Bytes, std: float) -> None:
    draws = blocks.view("<u2")
    blocks[:] = _away_from_zero(draws, std).astype("<f2").view(np.uint8)


def _f32(blocks: Bytes, std: float) -> None:
    draws = blocks.view("<u2")[:, ::2]
    blocks[:] = _away_from_zero(draws, std).astype("<f4").view(np.uint8)


def _away_from_zero(draws: npt.NDArray[np.uint16], std: float) -> npt.NDArray[np.float64]:
    """Turn 16 random bits into numbers of either sign and size 0.25 .. 1.25, scaled to `std`."""
    size = 0.25 + (draws & 0x7FFF) / 32_768
    return np.where(draws & 0x8000, -size, size) * (std / math.sqrt(31 / 48))


def _gains(blocks: Bytes) -> None:
    """Fill with F32 gains of a norm, 0.75 .. 1.25."""
    draws = blocks.view("<u2")[:, ::2]
    blocks[:] = (0.75 + draws / 131_072).astype("<f4").view(np.uint8)


def _q8_0(blocks: Bytes, std: float) -> None:
    """Scale, then 32 int8: w = d q."""
    quants = blocks[:, 2:].view(np.int8)
    quants[quants == -128] = 0  # the quantiser never writes it; now the mean is 0
    mean_square = 2 * sum(q * q for q in range(128)) / 256
    _put_f16(blocks[:, :2], _spread(blocks[:, :2].copy()) * (std / math.sqrt(mean_square)))


def _q5_0(blocks: Bytes, std: float) -> None:
    """Scale, 4 bytes of high bits, 16 of low: w = d (q - 16), where d has either sign."""
    mean_square = sum((q - 16) ** 2 for q in range(32)) / 32
    field = blocks[:, :2].copy()
    scale = _spread(field) * _signs(field[:, :1]) * (std / math.sqrt(mean_square))
    _put_f16(blocks[:, :2], scale)


def _q5_1(blocks: Bytes, std: float) -> None:
    """Scale, minimum, then as Q5_0: w = d q + m."""
    scale = _spread(blocks[:, :2].copy()) * (std / math.sqrt((32**2 - 1) / 12))
    _put_f16(blocks[:, :2], scale)
    _put_f16(blocks[:, 2:4], scale * -15.5)


def _q4_k(blocks: Bytes, std: float) -> None:
    _super_block(blocks, std, levels=16)


def _q5_k(blocks: Bytes, std: float) -> None:
    _super_block(blocks, std, levels=32)


def _super_block(blocks: Bytes, std: float, levels: int) -> None:
    """d, dmin, 12 bytes of 6-bit scales and minima, quants: w = d s q - dmin m.

    With m = s and dmin = d (levels - 1) / 2 every sub-block has mean 0.
    """
    scales = 4 + (blocks[:, 4:12] & 7)  # 4 .. 11 of 63, so that d stays normal
    mean_square = sum(s * s for s in range(4, 12)) / 8 * (levels**2 - 1) / 12
    d = _spread(blocks[:, :2].copy()) * (std / math.sqrt(mean_square))
    _put_f16(blocks[:, :2], d)
    _put_f16(blocks[:, 2:4], d * ((levels - 1) / 2))
    low, high = scales[:, :4], scales[:, 4:]  # sub-blocks 0 .. 3 and 4 .. 7; all below 16
    blocks[:, 4:8] = low
    blocks[:, 8:12] = low
    blocks[:, 12:16] = high | high << 4


def _q6_k(blocks: Bytes, std: float) -> None:
    """128 bytes of low bits, 64 of high, 16 int8 scales, d: w = d s (q - 32)."""
    field = blocks[:, 192:208]
    sizes = (3 + (field & 3)).astype(np.int8)  # 3 .. 6, so that d stays normal
    field.view(np.int8)[:] = np.where(field & 0x80, -sizes, sizes)
    mean_square = sum(s * s for s in range(3, 7)) / 4 * sum((q - 32) ** 2 for q in range(64)) / 64
    _put_f16(blocks[:, 208:], _spread(blocks[:, 208:].copy()) * (std / math.sqrt(mean_square)))


_FILL: dict[Type, Callable[[Bytes, float], None]] = {
    Type.F32: _f32,
    Type.F16: _f16,
    Type.Q8_0: _q8_0,
    Type.Q5_0: _q5_0,
    Type.Q5_1: _q5_1,
    Type.Q4_K: _q4_k,
    Type.Q5_K: _q5_k,
    Type.Q6_K: _q6_k,
}
