"""The arrays a tensor is stored as, and the bytes a whole pool of weights becomes in each.

Quantised weights are symmetric blocks of 32 along the inputs: one array of codes, one of float32
scales. Codes are unsigned with the middle as zero point, what MatMulNBits and GatherBlockQuantized
take when they are given none; of two 4-bit codes in a byte the first is the low one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from cpufit.artifacts.rounding import symmetric
from cpufit.networks.decoder import pools

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpufit.networks.decoder.pools import Floats

BLOCK = 32  # weights that share a scale


@dataclass(frozen=True)
class Plane:
    """One of the arrays a tensor is stored as."""

    name: str
    bits: int  # of a weight; the planes of one width belong together
    element: int  # of onnx.TensorProto.DataType
    unit_bytes: int  # that pools.UNIT weights take


FLOAT_BITS = 32
FLOATS = Plane("float32", FLOAT_BITS, TensorProto.FLOAT, 4 * pools.UNIT)
CODES = {
    4: Plane("codes of 4 bits", 4, TensorProto.UINT8, pools.UNIT // 2),
    8: Plane("codes of 8 bits", 8, TensorProto.UINT8, pools.UNIT),
}
SCALES = {
    4: Plane("scales of 4 bits", 4, TensorProto.FLOAT, 4 * pools.UNIT // BLOCK),
    8: Plane("scales of 8 bits", 8, TensorProto.FLOAT, 4 * pools.UNIT // BLOCK),
}


def render(values: Floats, bits: int) -> dict[Plane, memoryview]:
    """Return the bytes of a pool's `values` in every plane of that width."""
    if bits == FLOAT_BITS:
        return {FLOATS: raw(values)}
    codes, scales = symmetric(values.reshape(-1), BLOCK, bits)
    unsigned = codes.view(np.uint8) + np.uint8(1 << bits - 1)  # wraps: -128 becomes 0
    packed = unsigned if bits == 8 else unsigned[::2] | unsigned[1::2] << 4
    return {CODES[bits]: raw(packed), SCALES[bits]: raw(scales)}


def raw(array: NDArray[np.generic]) -> memoryview:
    """Return an array's bytes, little-endian as ONNX wants them."""
    ordered = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return ordered.reshape(-1).view(np.uint8).data
