"""Compressed forms of a model, named 'mistral-7b@ffn60'.

Speed and memory of a pruned or factorised model depend on its shapes only, so that they can be
measured before anyone trains it. Nothing is said about what it would still know.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING

from cpufit.catalog.counts import counts
from cpufit.errors import UsageError, unknown
from cpufit.schema import Decoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cpufit.schema import Model

STANDARD = ("ffn60", "depth75", "lowrank4")

_LIMITS = {"ffn": (10, 95), "depth": (10, 95), "lowrank": (2, 16)}
_KNOWN = ", ".join(f"{kind}{low} to {kind}{high}" for kind, (low, high) in _LIMITS.items())
_FORM = re.compile(r"([a-z]+)([1-9][0-9]?)")
_STEP = 256  # FFN widths: the largest block of a number format


def variant_of(parent: Model, variant: str) -> Model:
    """Return the card of `parent` pruned to a share of its FFN width ('ffn60') or of its layers
    ('depth75') in percent, or with factorised layers of a quarter of the parameters ('lowrank4').

    Raises UsageError for another word, and where the model has nothing to compress that way.
    """
    kind, amount = _parse(parent, variant)
    shape = parent.decoder or parent.encoder
    if shape is None:
        raise UsageError(
            f"{parent.name} has no variants", "language models and encoders have; name one of those"
        )
    small = _compress(shape, kind, amount)
    parameters, macs = counts(small)
    words = _words(kind, amount, shape, small)
    if not 0 < parameters < parent.parameters or small.layers < 1 or small.ffn < 1:
        raise UsageError(
            f"{parent.name}@{variant} would keep nothing or everything of {parent.name}",
            f"take another amount: {_KNOWN}",
        )
    return replace(
        parent,
        name=f"{parent.name}@{variant}",
        title=f"{parent.title}, {words}",
        parameters=parameters,
        macs=macs,
        source=f"shapes of {parent.name}, {words}",
        decoder=small if isinstance(small, Decoder) else None,
        encoder=small if isinstance(small, Encoder) else None,
        real=None,
        parent=parent.name,
    )


def standard(parent: Model) -> tuple[Model, ...]:
    """Return the variants that are listed and measured by default; none of other kinds of model."""
    if not (parent.decoder or parent.encoder):
        return ()
    return tuple(variant_of(parent, variant) for variant in STANDARD)


def named(name: str, models: Mapping[str, Model]) -> Model:
    """Return the model or variant called `name`; raise UsageError naming the nearest one."""
    base, at, variant = name.partition("@")
    if base not in models:
        raise unknown("model", base, models)
    return variant_of(models[base], variant) if at else models[base]


def with_variants(models: Mapping[str, Model], names: Iterable[str]) -> dict[str, Model]:
    """Add the variants among `names` to `models`; raise UsageError for one that cannot be."""
    return {**models, **{name: named(name, models) for name in names if "@" in name}}


def keep(whole: int, percent: int, step: int = 1) -> int:
    """Return the multiple of `step` nearest to `percent` of `whole`; the larger of two."""
    return (2 * whole * percent + 100 * step) // (200 * step) * step


def _parse(parent: Model, variant: str) -> tuple[str, int]:
    found = _FORM.fullmatch(variant)
    kind, amount = (found[1], int(found[2])) if found else ("", 0)
    low, high = _LIMITS.get(kind, (1, 0))
    if not low <= amount <= high:
        raise UsageError(f"unknown variant {variant!r} of {parent.name}", f"known: {_KNOWN}")
    return kind, amount


def _compress(shape: Decoder | Encoder, kind: str, amount: int) -> Decoder | Encoder:
    if kind == "ffn":
        return replace(shape, ffn=keep(shape.ffn, amount, gcd(shape.ffn, _STEP)))
    if kind == "depth":
        return replace(shape, layers=keep(shape.layers, amount))
    return replace(shape, lowrank=amount)


def _words(kind: str, amount: int, whole: Decoder | Encoder, small: Decoder | Encoder) -> str:
    if kind == "ffn":
        return f"FFN {small.ffn:,} of {whole.ffn:,}"
    if kind == "depth":
        return f"{small.layers} of {whole.layers} layers"
    return f"layers factorised to 1/{amount}"
