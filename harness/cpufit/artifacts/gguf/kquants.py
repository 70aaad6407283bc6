"""Round weights to llama.cpp's formats of 256-weight super-blocks, which gguf can only read.

Layouts: llama.cpp's `ggml-common.h`. Each super-block has float16 scales of its own and small
integer scales for its sub-blocks. Those float16 scales are kept out of the denormal range, where
the files of wide models have theirs: the speed would hang on how a CPU converts them. The scales of
the sub-blocks are found by their extremes, without a search for the smallest error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from cpufit.networks.decoder.pools import Floats

    Bytes = npt.NDArray[np.uint8]

_SMALLEST = 2.0**-14  # normal float16
_LOW = np.uint8(15)  # the lower four bits
_2, _4, _6 = np.uint8(2), np.uint8(4), np.uint8(6)


def q4_k(weights: Floats) -> Bytes:
    """Return super-blocks x 144 bytes."""
    head, codes = _with_minimum(weights, levels=16)
    return np.concatenate([head, _nibbles(codes)], axis=1)


def q5_k(weights: Floats) -> Bytes:
    """Return super-blocks x 176 bytes."""
    head, codes = _with_minimum(weights, levels=32)
    high = np.packbits(codes >> _4, axis=1, bitorder="little").reshape(-1, 32)
    return np.concatenate([head, high, _nibbles(codes & _LOW)], axis=1)


def q6_k(weights: Floats) -> Bytes:
    """Return super-blocks x 210 bytes: w = d s (q - 32) in sub-blocks of 16."""
    x = weights.reshape(-1, 16, 16)
    low, high = x.min(axis=2), x.max(axis=2)
    wanted = np.where(-low > high, low, high) / -32  # the largest weight gets the code -32
    d = _float16(np.abs(wanted).max(axis=1, keepdims=True) / 127)
    # Away from zero, so that the largest weight fits: 'd' may be too coarse for the nearest.
    scales = np.copysign(np.clip(np.ceil(np.abs(wanted / d)), 1, 127), wanted)
    codes = _codes(x, np.float32(1) / (d * scales), np.float32(32), levels=64)
    parts = codes.reshape(-1, 2, 4, 32)  # halves, then quarters of these
    lower, upper = parts & _LOW, parts >> _4
    both = lower[:, :, :2] | lower[:, :, 2:] << _4
    top = upper[:, :, 0] | upper[:, :, 1] << _2 | upper[:, :, 2] << _4 | upper[:, :, 3] << _6
    fields = [both, top, scales.astype(np.int8).view(np.uint8), _stored(d)]
    return np.concatenate([field.reshape(len(x), -1) for field in fields], axis=1)


def _with_minimum(weights: Floats, levels: int) -> tuple[Bytes, Bytes]:
    """Round to w = d s q - dmin m in sub-blocks of 32; return the first 16 bytes and the codes."""
    x = weights.reshape(-1, 8, 32)
    low, high = np.minimum(x.min(axis=2), 0), x.max(axis=2)
    # No scale is 0, so that every sub-block can be divided by it.
    d, scales = _six_bits((high - low) / np.float32(levels - 1), least=1)
    dmin, minima = _six_bits(-low, least=0)
    codes = _codes(x, np.float32(1) / (d * scales), dmin * minima / (d * scales), levels)
    return np.concatenate([_stored(d), _stored(dmin), _pack(scales, minima)], axis=1), codes


def _six_bits(wanted: Floats, least: int) -> tuple[Floats, Floats]:
    """Return one factor per super-block, and integers up to 63 that it brings near `wanted`."""
    factor = _float16(wanted.max(axis=1, keepdims=True) / 63)
    return factor, np.clip(np.rint(wanted / factor), least, 63)


def _codes(x: Floats, inverse: Floats, offset: Floats | np.float32, levels: int) -> Bytes:
    """Return x * inverse + offset, to the nearest of 0 .. levels - 1; one inverse per sub-block."""
    scaled = x * inverse[..., None]
    scaled += np.asarray(offset)[..., None] + np.float32(0.5)
    np.clip(scaled, 0, levels - 1, out=scaled)
    return scaled.astype(np.uint8)


def _float16(values: Floats) -> Floats:
    return np.maximum(values, np.float32(_SMALLEST)).astype(np.float16).astype(np.float32)


def _stored(values: Floats) -> Bytes:
    return values.astype("<f2").view(np.uint8)


def _pack(scales: Floats, minima: Floats) -> Bytes:
    """Pack eight scales and eight minima of 6 bits into 12 bytes."""
    s, m = scales.astype(np.uint8), minima.astype(np.uint8)
    first = [part[:, :4] | part[:, 4:] >> _4 << _6 for part in (s, m)]
    return np.concatenate([*first, s[:, 4:] & _LOW | (m[:, 4:] & _LOW) << _4], axis=1)


def _nibbles(codes: Bytes) -> Bytes:
    """Put sub-blocks 0 and 1, 2 and 3, ... side by side into low and high halves of bytes."""
    pairs = codes.reshape(-1, 4, 2, 32)
    return (pairs[:, :, 0] | pairs[:, :, 1] << _4).reshape(len(pairs), 128)
