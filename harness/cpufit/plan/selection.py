"""What a suite is narrowed down to, and what the user named beyond it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from cpufit import runtimes
from cpufit.catalog.names import split
from cpufit.errors import UsageError, unknown
from cpufit.measuring.procedures import procedure
from cpufit.precisions import PRECISIONS
from cpufit.schema import WEIGHTS, Select

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cpufit.schema import Model, Scenario

T = TypeVar("T")

MOST_THREADS = 1024
MOST_BATCH = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the user narrowed a suite down to; an empty tuple leaves a dimension as it is."""

    models: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()  # of throughput scenarios


EVERYTHING = Selection()


def check(
    selection: Selection, models: Mapping[str, Model], scenarios: Mapping[str, Scenario]
) -> None:
    """Raise UsageError for the first name that does not exist, pointing at the nearest."""
    vocabulary: tuple[tuple[str, Sequence[str], Iterable[str]], ...] = (
        ("model", selection.models, models),
        ("precision", selection.precisions, PRECISIONS),
        ("scenario", selection.scenarios, scenarios),
        ("weights", selection.weights, WEIGHTS),
    )
    for kind, names, known in vocabulary:
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    for name in selection.runtimes:
        runtimes.engine_of(name)
    for count in selection.threads:
        if not 1 <= count <= MOST_THREADS:
            raise UsageError(
                f"--threads {count} is not a thread count", f"give 1 to {MOST_THREADS}"
            )
    for count in selection.batches:
        if not 1 <= count <= MOST_BATCH:
            raise UsageError(f"--batch {count} is not a batch", f"give 1 to {MOST_BATCH:,}")
    named = [procedure(scenarios[name].procedure) for name in selection.scenarios]
    if selection.batches and named and not any(one.batched for one in named):
        raise UsageError(
            f"--batch does not go with --scenario {' '.join(selection.scenarios)}: its requests "
            "come one by one",
            "leave it away, or name --scenario throughput",
        )


def narrow(blocks: Iterable[Select], selection: Selection) -> tuple[Select, ...]:
    """Keep of each block what the selection names; blocks that lose a dimension drop out."""
    kept = (
        replace(
            block,
            models=_keep(block.models, selection.models),
            runtimes=_keep(block.runtimes, selection.runtimes),
            precisions=_keep(block.precisions, selection.precisions),
            scenarios=_keep(block.scenarios, selection.scenarios),
            weights=_keep(block.weights, selection.weights),
        )
        for block in blocks
    )
    return tuple(
        b for b in kept if b.models and b.runtimes and b.precisions and b.scenarios and b.weights
    )


def blocks_of(selection: Selection, suite_blocks: Sequence[Select]) -> tuple[Select, ...]:
    """Return what to run: the suite narrowed, and what the user named beyond it.

    A model, precision or runtime that the suite leaves out is combined with the rest of the
    selection, as far as anyone can build it; where nobody can, it stays and is reported so. A
    variant is measured as its model is.
    """
    kept = narrow(suite_blocks, selection)
    if _covers(kept, selection):
        return kept
    wanted = (*selection.models, *(_base(name) for name in selection.models))
    base = narrow(suite_blocks, Selection(models=wanted)) or suite_blocks
    beyond = Select(
        models=selection.models or _union(b.models for b in base),
        runtimes=selection.runtimes or _union(b.runtimes for b in suite_blocks),
        precisions=tuple(p for p in PRECISIONS if p in selection.precisions)
        or _union(b.precisions for b in base),
        scenarios=selection.scenarios or _union(b.scenarios for b in base),
        weights=tuple(w for w in WEIGHTS if w in selection.weights) or ("synthetic",),
    )
    return (*kept, beyond)


def _covers(blocks: Sequence[Select], selection: Selection) -> bool:
    named = (
        (selection.models, (b.models for b in blocks)),
        (selection.runtimes, (b.runtimes for b in blocks)),
        (selection.precisions, (b.precisions for b in blocks)),
        (selection.scenarios, (b.scenarios for b in blocks)),
        (selection.weights, (b.weights for b in blocks)),
    )
    return all(set(wanted) <= set(_union(have)) for wanted, have in named)


def _union(groups: Iterable[Iterable[T]]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(item for group in groups for item in group))


def _keep(have: tuple[T, ...], wanted: Sequence[object]) -> tuple[T, ...]:
    return tuple(item for item in have if item in wanted) if wanted else have


def _base(name: str) -> str:
    """Return the model of which `name` may be a variant or another size."""
    return split(name).model
