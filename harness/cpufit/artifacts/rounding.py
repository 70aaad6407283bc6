"""Integer weights with one scale per group, as weight-only quantisers make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpufit.networks.decoder.pools import Floats


def symmetric(values: Floats, group: int, bits: int) -> tuple[NDArray[np.int8], Floats]:
    """Return codes -2**(bits-1) .. 2**(bits-1)-1 and one scale per `group`: value = code * scale.

    The number of largest size in a group gets the lowest code, whatever its sign: the one code
    more on that side is used, and the scale may be negative.
    """
    rows = values.reshape(-1, group)
    lowest = -(1 << (bits - 1))
    extremes = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    scales = extremes / np.float32(lowest)
    codes = np.clip(np.rint(rows / scales), lowest, -lowest - 1).astype(np.int8)
    return codes.reshape(values.shape), scales.reshape(-1)


def asymmetric(
    values: Floats, group: int, bits: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Floats]:
    """Return codes 0 .. 2**bits-1, zero points and scales: value = (code - zero point) * scale.

    A `group` has one of each; its codes span from its smallest number to its largest, and 0 among
    them, which is a code itself. So NNCF computes them (`calculate_integer_quantization_params`).
    """
    rows = values.reshape(-1, group)
    highest = (1 << bits) - 1
    low = np.minimum(rows.min(axis=1, keepdims=True), 0)
    high = np.maximum(rows.max(axis=1, keepdims=True), 0)
    scales = np.maximum((high - low) / np.float32(highest), np.finfo(np.float32).eps)
    zeros = np.clip(-np.rint(low / scales), 0, highest)
    codes = np.clip(np.rint(rows / scales + zeros), 0, highest).astype(np.uint8)
    return codes.reshape(values.shape), zeros.astype(np.uint8).reshape(-1), scales.reshape(-1)
