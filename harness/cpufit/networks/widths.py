"""Widths of pruned and factorised layers."""

from __future__ import annotations

# Builders of graphs whose linear layers may be two factors each; the other ones have hardly any.
WITH_LINEAR = frozenset(
    {
        "blip",
        "clip",
        "clip_image",
        "clip_text",
        "mobilevit_xxs",
        "whisper_base",
        "whisper_tiny",
    }
)

_FACTOR_MULTIPLE = 32  # inner widths: whole blocks of a 4-bit format


def keep(whole: int, percent: int, step: int = 1) -> int:
    """Return the multiple of `step` nearest to `percent` of `whole`; the larger of two."""
    return (2 * whole * percent + 100 * step) // (200 * step) * step


def rank(lowrank: int, inputs: int, outputs: int) -> int:
    """Return the inner width of a factorised layer with a `lowrank`-th of its parameters."""
    exact = inputs * outputs / (lowrank * (inputs + outputs))
    return max(1, round(exact / _FACTOR_MULTIPLE)) * _FACTOR_MULTIPLE
