"""Rotary position embedding: the angle every pair of a head's dimensions turns by per position."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpufit.schema.shapes import Decoder, RopeScaling


def frequencies(decoder: Decoder) -> NDArray[np.float64]:
    """Return radians per position, shape head_dim / 2. Pair i is dimensions i and i + head_dim/2.

    Su et al. 2021 (arXiv:2104.09864), with the scaling of Llama 3 where the card has one.
    """
    return _plain(decoder) / factors(decoder)


def factors(decoder: Decoder) -> NDArray[np.float64]:
    """Return what scaling divides each frequency by, shape head_dim / 2; 1 without scaling.

    Source: `_compute_llama3_parameters` of Hugging Face transformers.
    """
    scaling = decoder.rope_scaling
    if scaling is None:
        return np.ones(decoder.head_dim // 2)
    return np.array([_factor(2 * math.pi / f, scaling) for f in _plain(decoder)])


def _plain(decoder: Decoder) -> NDArray[np.float64]:
    exponents = np.arange(0, decoder.head_dim, 2) / decoder.head_dim
    found: NDArray[np.float64] = decoder.rope_base**-exponents
    return found


def _factor(wavelength: float, scaling: RopeScaling) -> float:
    if wavelength < scaling.original / scaling.high:
        return 1.0
    if wavelength > scaling.original / scaling.low:
        return scaling.factor
    turns = scaling.original / wavelength
    smooth = (turns - scaling.low) / (scaling.high - scaling.low)
    return 1 / ((1 - smooth) / scaling.factor + smooth)
