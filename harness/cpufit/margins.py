"""By what share a quantity must be worse for the gate to care. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from cpufit.schema import Kind

Margins = Mapping[Kind, float]

MARGINS: Margins = {
    "time": 0.03,
    "memory": 0.01,
    "load": 0.5,
    "size": 0.01,
    "energy": 0.03,
    "instructions": 0.01,
    "numerics": 0.005,
}
_LEAST, _MOST = 0.001, 1.0
RANGE = f"give {_LEAST:.1%} to {_MOST:.0%}"


def judgeable(share: float) -> bool:
    """Whether anything can be judged by that margin."""
    return _LEAST <= share <= _MOST
