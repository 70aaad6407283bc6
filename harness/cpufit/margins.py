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
# Facts that may be left out, where the arms shall differ in them: 'numerics=any'.
LEFT_OUT: tuple[Kind, ...] = ("size", "numerics")
ANY = 1e9  # their margin then; finite, since JSON has no infinity
_LEAST, _MOST = 0.001, 1.0
RANGE = f"give {_LEAST:.1%} to {_MOST:.0%}"


def judgeable(share: float) -> bool:
    """Whether anything can be judged by that margin."""
    return _LEAST <= share <= _MOST
