"""Compressed forms of a model, named 'mistral-7b@ffn60', and other input sizes.

Speed and memory of a pruned or factorised model depend on its shapes only, so that they can be
measured before anyone trains it. Nothing is said about what it would still know.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING, TypeVar

from cpufit.catalog.names import is_plain, split
from cpufit.errors import UsageError, unknown
from cpufit.networks.counts import counts
from cpufit.networks.widths import WITH_LINEAR, keep
from cpufit.schema.shapes import Decoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cpufit.schema import Model
    from cpufit.schema.shapes import Vision

Blocks = TypeVar("Blocks", Decoder, Encoder)

# What can be compressed how, each with the limits of its amount.
_LOWRANK = {"lowrank": (2, 16)}
_TRANSFORMER = {"ffn": (10, 95), "depth": (10, 95), **_LOWRANK}
_CONVOLUTIONS = {"prune": (5, 90)}
_STANDARD = {"ffn": (60,), "depth": (75,), "lowrank": (4,), "prune": (30, 50)}
_FORM = re.compile(r"([a-z]+)([1-9][0-9]?)")
_STEP = 256  # FFN widths: the largest block of a number format


def variant_of(parent: Model, variant: str) -> Model:
    """Return the card of `parent` pruned to a share of its FFN width ('ffn60') or of its layers
    ('depth75') in percent, with factorised layers of a quarter of the parameters ('lowrank4'), or
    without a share of its channels ('prune30').

    Raises UsageError for another word, and where the model has nothing to compress that way.
    """
    kind, amount = _parse(parent, variant)
    small = _compress(parent, kind, amount)
    parameters, macs = counts(small)
    if not 0 < parameters < parent.parameters or _is_empty(small):
        raise UsageError(
            f"{parent.name}@{variant} would keep nothing or everything of {parent.name}",
            f"take another amount: {_known(parent)}",
        )
    words = _words(kind, amount, parent, small)
    return replace(
        small,
        name=f"{parent.name}@{variant}",
        title=f"{parent.title}, {words}",
        parameters=parameters,
        macs=macs,
        source=f"shapes of {parent.name}, {words}",
        real=None,
        parent=parent.name,
    )


def sized(model: Model, side: int) -> Model:
    """Return the card of a model that is given square images of `side` pixels.

    Raises UsageError where it takes no images of its own, or none of that size.
    """
    if model.vision:
        found = replace(model, vision=replace(model.vision, resolution=side))
    elif model.sense and model.sense.size and not model.writer:
        found = replace(model, sense=replace(model.sense, size=side))
    else:
        raise UsageError(f"{model.name} has no input size to choose", "leave '?size=' away")
    parameters, macs = counts(found)
    return replace(
        found,
        name=f"{model.name}?size={side}",
        title=f"{model.title} at {side} x {side}",
        parameters=parameters,
        macs=macs,
        parent=model.parent or model.name,
    )


def standard(parent: Model) -> tuple[Model, ...]:
    """Return the variants that are listed and measured by default; none of other kinds of model."""
    words = [f"{kind}{n}" for kind in _kinds(parent) for n in _STANDARD[kind]]
    return tuple(variant_of(parent, word) for word in words)


def named(name: str, models: Mapping[str, Model]) -> Model:
    """Return the model, variant or size called `name`; raise UsageError naming the nearest one."""
    base, variant, side = split(name)
    if base not in models:
        raise unknown("model", base, models)
    found = variant_of(models[base], variant) if "@" in name else models[base]
    return sized(found, side) if side else found


def with_variants(models: Mapping[str, Model], names: Iterable[str]) -> dict[str, Model]:
    """Add the variants and sizes among `names` to `models`.

    Raises UsageError for one that cannot be.
    """
    return {**models, **{name: named(name, models) for name in names if not is_plain(name)}}


def _kinds(model: Model) -> dict[str, tuple[int, int]]:
    if model.decoder or model.encoder:
        return _TRANSFORMER
    if model.vision:
        linear = model.vision.builder in WITH_LINEAR
        return _CONVOLUTIONS | (_LOWRANK if linear else {})
    return _LOWRANK if model.sense and model.sense.builder in WITH_LINEAR else {}


def _known(model: Model) -> str:
    return ", ".join(f"{kind}{low} to {kind}{high}" for kind, (low, high) in _kinds(model).items())


def _parse(parent: Model, variant: str) -> tuple[str, int]:
    if not _kinds(parent):
        raise UsageError(
            f"{parent.name} has no variants", "`cpufit list models --variants` shows those that are"
        )
    found = _FORM.fullmatch(variant)
    kind, amount = (found[1], int(found[2])) if found else ("", 0)
    low, high = _kinds(parent).get(kind, (1, 0))
    if not low <= amount <= high:
        raise UsageError(
            f"unknown variant {variant!r} of {parent.name}", f"known: {_known(parent)}"
        )
    return kind, amount


def _compress(model: Model, kind: str, amount: int) -> Model:
    """Change the shapes; a sense and the writer after it are factorised alike."""
    if model.decoder:
        return replace(model, decoder=_compress_blocks(model.decoder, kind, amount))
    if model.encoder:
        return replace(model, encoder=_compress_blocks(model.encoder, kind, amount))
    if model.vision:
        return replace(model, vision=_compress_vision(model.vision, kind, amount))
    return replace(
        model,
        sense=replace(model.sense, lowrank=amount) if model.sense else None,
        writer=replace(model.writer, lowrank=amount) if model.writer else None,
    )


def _compress_vision(shape: Vision, kind: str, amount: int) -> Vision:
    if kind == "prune":
        return replace(shape, keep=shape.keep * (100 - amount) // 100)
    return replace(shape, lowrank=amount)


def _compress_blocks(shape: Blocks, kind: str, amount: int) -> Blocks:
    if kind == "ffn":
        return replace(shape, ffn=keep(shape.ffn, amount, gcd(shape.ffn, _STEP)))
    if kind == "depth":
        return replace(shape, layers=keep(shape.layers, amount))
    return replace(shape, lowrank=amount)


def _is_empty(model: Model) -> bool:
    blocks = model.decoder or model.encoder
    return blocks is not None and (blocks.layers < 1 or blocks.ffn < 1)


def _words(kind: str, amount: int, whole: Model, small: Model) -> str:
    if kind == "prune":
        return f"{amount} % of the channels pruned"
    if kind == "lowrank":
        return f"layers factorised to 1/{amount}"
    before, after = whole.decoder or whole.encoder, small.decoder or small.encoder
    assert before
    assert after
    if kind == "ffn":
        return f"FFN {after.ffn:,} of {before.ffn:,}"
    return f"{after.layers} of {before.layers} layers"
