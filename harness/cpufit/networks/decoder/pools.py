"""The weights of a decoder: every tensor is cut from a small pool of random numbers.

A pool holds the float32 weights of one kind and fan-in. A tensor begins at a place of its own and
goes through the pool round and round, so that any format can be written at the speed of the disk:
the pool is rounded to that format once, and its bytes are copied. As all formats walk the same
pool from the same place, the same model has the same weights everywhere, up to that rounding.

The numbers come from SHAKE-128 and exact IEEE arithmetic and are the same on every machine. Weights
are bell-shaped like trained ones, with mean 0 and a standard deviation of 1/sqrt(fan-in), which
keeps activations at the scale of their input. None is so small that float16 would hold it as a
denormal number, since the speed would then hang on how a CPU converts those.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpufit.networks.decoder.tensors import Tensor

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

UNIT = 256  # weights; every number format's block divides it
# A prime: rows are whole numbers of blocks, so that walking the pool round and round never meets
# the same row again before the pool is used up.
UNITS = 8191
SIZE = UNITS * UNIT

_SMALLEST = 2.0**-13  # twice the smallest normal float16, so that rounding cannot get below
_PARTS = 4  # 16-bit integers added up for one weight
_CENTRE = _PARTS * (2**16 - 1) / 2
_STD = math.sqrt(_PARTS * (2**32 - 1) / 12)


@lru_cache(maxsize=8)
def pool(model: str, kind: str, fan_in: int) -> Floats:
    """Return the SIZE weights that tensors of `kind` and `fan_in` of `model` are cut from.

    'weight' and 'bias' are bell-shaped with standard deviation 1/sqrt(fan_in); 'norm' holds gains
    between 0.75 and 1.25.
    """
    name = f"{model}/{kind}/{fan_in}".encode()
    parts = 1 if kind == "norm" else _PARTS
    draws = np.frombuffer(hashlib.shake_128(name).digest(2 * parts * SIZE), "<u2")
    if kind == "norm":
        found = (0.75 + draws / 131_072).astype(np.float32)
    else:
        found = _bell(draws.reshape(_PARTS, SIZE), 1 / math.sqrt(fan_in))
    found.flags.writeable = False  # it is shared
    return found


def _bell(draws: NDArray[np.uint16], std: float) -> Floats:
    """Add up uniform integers: bell-shaped within 3.46 standard deviations, and exact."""
    total = draws.sum(axis=0, dtype=np.uint32)
    # Odd halves below 2**17: exact, and never 0.
    found: Floats = (total - _CENTRE).astype(np.float32)
    found *= np.float32(std / _STD)
    small = np.abs(found) < _SMALLEST
    found[small] = np.copysign(np.float32(_SMALLEST), found[small])
    return found


def start(model: str, tensor: Tensor) -> int:
    """Return the unit of its pool at which a tensor begins."""
    digest = hashlib.sha256(f"{model}/{tensor.name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % UNITS


def key(tensor: Tensor) -> tuple[str, int]:
    """Return kind and fan-in of the pool a tensor is cut from."""
    return tensor.kind, tensor.shape[0]


def values(model: str, tensor: Tensor) -> Floats:
    """Return a whole tensor in float32, C order: outputs x inputs. For small tensors and checks."""
    source = pool(model, *key(tensor))
    places = (start(model, tensor) * UNIT + np.arange(tensor.parameters)) % SIZE
    return source[places].reshape(tuple(reversed(tensor.shape)))
