"""Parameters and multiply-adds of a card, from its shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.artifacts import encoder_counts
from cpufit.artifacts.decoder import tensors
from cpufit.schema import Decoder

if TYPE_CHECKING:
    from cpufit.schema import Encoder


def counts(shape: Decoder | Encoder) -> tuple[int, int]:
    """Return parameters, and MACs per generated token or per pass."""
    if isinstance(shape, Decoder):
        return tensors.parameters(shape), tensors.macs_per_token(shape)
    return encoder_counts.parameters(shape), encoder_counts.macs(shape)
