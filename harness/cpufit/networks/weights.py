"""Synthetic weights: the same bytes on every machine, from the names of model and tensor alone."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = 1 << 16


def raw(model: str, name: str, count: int) -> NDArray[np.uint16]:
    """Return `count` uniform random 16-bit integers, seeded by SHA-256 of the two names.

    Philox is used by its raw output, the one stream NumPy promises never to change (NEP 19).
    """
    digest = hashlib.sha256(f"{model}\0{name}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    words = np.random.Philox(key=key).random_raw(-(-count // 4))
    return words.astype("<u8", copy=False).view("<u2")[:count]


def tensor(
    model: str, name: str, shape: tuple[int, ...], std: float, mean: float = 0.0
) -> NDArray[np.float32]:
    """Return seeded float32 values, uniform with the given mean and standard deviation.

    The values are odd integers times one rounded factor: exactly symmetric about the mean, at most
    1.74 `std` away from it, and (where the mean is 0) never nearer to it than 2.6e-5 `std`: no
    zeros and no denormals, on which kernels are faster or slower than on trained weights.
    """
    drawn = raw(model, name, math.prod(shape)).astype(np.float32)
    drawn *= 2
    drawn -= _LEVELS - 1  # exact: odd integers below 2**16
    drawn *= np.float32(math.sqrt(3) * std / _LEVELS)
    if mean:
        drawn += np.float32(mean)
    return drawn.reshape(shape)
