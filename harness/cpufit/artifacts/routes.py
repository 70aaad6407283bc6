"""Which builder makes a model for an engine: what the engines' own `builds` say."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cpufit.artifacts.real import locate
from cpufit.errors import UnsupportedError
from cpufit.runtimes import engine_of, engines, reading
from cpufit.runtimes.engine import Build
from cpufit.schema import Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpufit.artifacts.base import Builder
    from cpufit.precisions import Precision
    from cpufit.runtimes.engine import Engine
    from cpufit.schema import Family, Model, Weights


def route_of(model: Model, precision: Precision, runtime: str, weights: Weights) -> Build:
    """Return how the model is made; raise UnsupportedError saying what would work instead."""
    found, family = engine_of(runtime), _family(model)
    if model.file:
        if reason := found.refuses(model):
            able = [name for name in reading(Path(model.file).suffix) if name != runtime]
            raise UnsupportedError(f"{runtime} {reason}", f"run it on {' or '.join(able)}")
        return Build(families=(model.family,), weights=weights, builder="asis")
    if reason := found.refuses(model):
        others = _others(family, lambda other: not other.refuses(model))
        raise UnsupportedError(f"{runtime} {reason}", f"this variant runs on {others}")
    builds = [build for build in found.builds if family in build.families]
    if not builds:
        raise UnsupportedError(
            f"no {model.family} models on {runtime} yet",
            f"this model runs on {_others(family, lambda _: True)}",
        )
    if weights not in model.weights:
        raise UnsupportedError(
            f"{model.name} has no {weights} weights", f"it has {', '.join(model.weights)}"
        )
    builds = [build for build in builds if build.weights == weights]
    for build in builds:
        if precision in (build.precisions or _real_precision(model)):
            return build
    allowed = sorted({p for build in builds for p in build.precisions or _real_precision(model)})
    raise UnsupportedError(
        f"no {precision} of {model.name} with {weights} weights on {runtime}",
        f"available: {', '.join(allowed) or 'none'}",
    )


def order_of(
    model: Model, precision: Precision, runtime: str, weights: Weights, cache: Path
) -> Order:
    """Return how an artifact is made, and for real weights the file; raise where either lacks."""
    route = route_of(model, precision, runtime, weights)
    real = None
    if weights == "real":
        real = Path(model.file) if model.file else locate(model, cache)
    return Order(
        model=model,
        precision=route.stored or precision,
        runtime=runtime,
        weights=weights,
        builder=route.builder,
        real_file=real,
    )


def builder(order: Order) -> Builder:
    """Import what makes the artifact."""
    return cast("Builder", import_module(f"cpufit.artifacts.{order.builder}"))


def _family(model: Model) -> Family:
    """Return what decides which builder is asked: a decoder is made as a language model's."""
    return "llm" if model.decoder else model.family


def _others(family: Family, takes: Callable[[Engine], bool]) -> str:
    able = [
        one.name
        for one in engines()
        if takes(one) and not one.invented and any(family in b.families for b in one.builds)
    ]
    return ", ".join(sorted(able))


def _real_precision(model: Model) -> tuple[Precision, ...]:
    return (model.real.precision,) if model.real else ()
