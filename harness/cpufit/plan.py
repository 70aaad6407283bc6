"""What will be run: suite and selection to cells, in a fixed order. Pure; nothing is started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, TypeVar

from cpufit import runtimes
from cpufit.artifacts.routes import route_of
from cpufit.catalog.names import split
from cpufit.errors import UnsupportedError, UsageError, unknown
from cpufit.precisions import PRECISIONS
from cpufit.schema import WEIGHTS, Cell, Select

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cpufit.precisions import Precision
    from cpufit.schema import Model, Scenario, Settings

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


def check(selection: Selection, models: Mapping[str, Model], settings: Settings) -> None:
    """Raise UsageError for the first name that does not exist, pointing at the nearest."""
    vocabulary: tuple[tuple[str, Sequence[str], Iterable[str]], ...] = (
        ("model", selection.models, models),
        ("runtime", selection.runtimes, runtimes.names()),
        ("precision", selection.precisions, PRECISIONS),
        ("scenario", selection.scenarios, settings.scenarios),
        ("weights", selection.weights, WEIGHTS),
    )
    for kind, names, known in vocabulary:
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    for count in selection.threads:
        if not 1 <= count <= MOST_THREADS:
            raise UsageError(
                f"--threads {count} is not a thread count", f"give 1 to {MOST_THREADS}"
            )
    for count in selection.batches:
        if not 1 <= count <= MOST_BATCH:
            raise UsageError(f"--batch {count} is not a batch", f"give 1 to {MOST_BATCH:,}")


def with_batches(
    scenarios: Mapping[str, Scenario], batches: tuple[int, ...]
) -> dict[str, Scenario]:
    """Return the scenarios, those of throughput with these batches where any are given."""
    return {
        name: replace(scenario, infer_batches=batches, generate_batches=batches)
        if batches and scenario.procedure == "throughput"
        else scenario
        for name, scenario in scenarios.items()
    }


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


def cells(
    blocks: Iterable[Select],
    models: Mapping[str, Model],
    scenarios: Mapping[str, Scenario],
    threads: Sequence[int],
) -> tuple[Cell, ...]:
    """Expand blocks to cells, model by model and each followed by its variants, so that artifacts
    are used while they are warm and a small cache is enough.

    Combinations nobody can build are left out of a block that has others, so that a block may
    name all runtimes. Raises UsageError for a model, runtime or scenario that does not exist. A
    cell named twice is run once.
    """
    found: dict[str, Cell] = {}
    for block in blocks:
        _check_block(block, models, scenarios)
        expanded = [
            Cell(
                **split(model)._asdict(),
                weights=weights,
                precision=precision,
                runtime=runtime,
                scenario=scenario,
                threads=count,
                batch=batch,
            )
            for model, weights, precision, runtime, count, scenario in product(
                block.models,
                block.weights,
                block.precisions,
                block.runtimes,
                threads,
                block.scenarios,
            )
            for batch in _batches(models[model], scenarios[scenario])
        ]
        buildable = [cell for cell in expanded if _can_run(cell, models, scenarios)]
        found |= {cell.id: cell for cell in buildable or expanded if cell.id not in found}
    models_in_order = list(dict.fromkeys(cell.model for cell in found.values()))
    return tuple(
        sorted(
            found.values(),
            key=lambda cell: (models_in_order.index(cell.model), bool(cell.variant or cell.size)),
        )
    )


def cells_of_own(
    model: Model,
    precisions: Sequence[Precision],
    runtimes: Sequence[str],
    scenarios: Mapping[str, Scenario],
    selection: Selection,
    threads: Sequence[int],
) -> tuple[Cell, ...]:
    """Return the cells of a model the user brought, on every one of `runtimes`.

    They are of the scenarios that are for all models, and of those that are asked for.
    Raises UsageError where the selection leaves nothing.
    """
    block = Select(
        models=(model.name,),
        runtimes=tuple(runtimes),
        precisions=tuple(precisions),
        scenarios=tuple(
            name for name, s in scenarios.items() if not s.tasks or name in selection.scenarios
        ),
        weights=model.weights,
    )
    narrowed = narrow((block,), selection)
    if not narrowed:
        raise UsageError(
            f"{model.title} cannot be run on {', '.join(selection.runtimes)}",
            f"it runs on {', '.join(runtimes)}",
        )
    return cells(narrowed, {model.name: model}, scenarios, threads)


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


def _can_run(cell: Cell, models: Mapping[str, Model], scenarios: Mapping[str, Scenario]) -> bool:
    model, scenario = models[cell.card], scenarios[cell.scenario]
    if scenario.procedure == "frames" and not model.vision:
        return False
    if scenario.tasks and model.task not in scenario.tasks:
        return False
    longest = max(scenario.prompt_tokens) + scenario.generate_tokens
    if model.writer and longest > model.writer.positions:
        return False
    try:
        route_of(model, cell.precision, cell.runtime, cell.weights)
    except UnsupportedError:
        return False
    return True


def _batches(model: Model, scenario: Scenario) -> tuple[int, ...]:
    if model.task == "describe":
        return (1,)
    return scenario.generate_batches if model.task == "generate" else scenario.infer_batches


def _check_block(
    block: Select, models: Mapping[str, Model], scenarios: Mapping[str, Scenario]
) -> None:
    for name in block.models:
        if name not in models:
            raise unknown("model", name, models)
    for name in block.runtimes:
        if name not in runtimes.names():
            raise unknown("runtime", name, runtimes.names())
    for name in block.scenarios:
        if name not in scenarios:
            raise unknown("scenario", name, scenarios)
