"""Symmetric integer weights with one scale per group, as weight-only quantisers make them."""

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
