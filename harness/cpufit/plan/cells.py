"""Blocks of a suite to cells, in a fixed order, and whether a cell can run. Nothing is started."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from cpufit import runtimes
from cpufit.artifacts.routes import order_of, route_of
from cpufit.catalog.names import split
from cpufit.errors import UnavailableError, UnsupportedError, UsageError, unknown
from cpufit.measuring.procedures import procedure
from cpufit.plan.selection import EVERYTHING, narrow
from cpufit.schema import Cell, Select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cpufit.plan.selection import Selection
    from cpufit.precisions import Precision
    from cpufit.schema import Model, Order, Scenario, Tier


def cells(
    blocks: Iterable[Select],
    models: Mapping[str, Model],
    scenarios: Mapping[str, Scenario],
    threads: Sequence[int],
    asked: Selection = EVERYTHING,
) -> tuple[Cell, ...]:
    """Expand blocks to cells, model by model and each followed by its variants, so that artifacts
    are used while they are warm and a small cache is enough.

    Combinations nobody can build are left out of a block that has others, so that a block may
    name all runtimes. But of a scenario that is `asked` for by name one cell stays, which says why
    not: of each model asked for by name, or of any. Raises UsageError for a model, runtime or
    scenario that does not exist. A cell named twice is run once.
    """
    found: dict[str, Cell] = {}
    refused: list[Cell] = []
    for block in blocks:
        _check_block(block, models, scenarios)
        expanded = [
            Cell(
                **_named(models[model]),
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
        unable = [
            cell for cell in expanded if _refusal(cell, models[cell.card], scenarios[cell.scenario])
        ]
        lost = {cell.id for cell in unable}
        able = [cell for cell in expanded if cell.id not in lost]
        found |= {cell.id: cell for cell in able or expanded if cell.id not in found}
        refused += unable
    found |= {cell.id: cell for cell in _missed(refused, found.values(), asked)}
    models_in_order = dict.fromkeys(cell.model for cell in found.values())
    place = {name: index for index, name in enumerate(models_in_order)}

    def by_model(cell: Cell) -> tuple[int, bool]:
        return place[cell.model], bool(cell.variant or cell.size)

    return tuple(sorted(found.values(), key=by_model))


def _missed(refused: Iterable[Cell], found: Iterable[Cell], asked: Selection) -> Iterator[Cell]:
    """Yield a cell of each scenario that was asked for by name and would vanish otherwise."""
    have = {(cell.card, cell.scenario) for cell in found}
    for cell in refused:
        if cell.scenario not in asked.scenarios or (cell.card, cell.scenario) in have:
            continue
        if cell.card in asked.models or all(scenario != cell.scenario for _, scenario in have):
            have.add((cell.card, cell.scenario))
            yield cell


def decisive_first(cells: Sequence[Cell], tiers: Sequence[Tier]) -> tuple[Cell, ...]:
    """Return the cells with those of the tiers' models in front, the lowest tier first.

    So a verdict can be told long before the last cell; a model's cells stay together.
    """
    named = dict.fromkeys(one.model for tier in tiers for one in tier.models)
    place = {name: index for index, name in enumerate(named)}
    return tuple(sorted(cells, key=lambda cell: place.get(cell.card, len(place))))


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
        models=(model.card,),
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
    named = replace(selection, models=(model.card,))
    return cells(narrowed, {model.card: model}, scenarios, threads, named)


def _named(model: Model) -> dict[str, Any]:
    """Return the parts of a model's name, as a cell holds them."""
    if model.file:
        return {"model": model.name, "inputs": model.inputs}
    return split(model.name)._asdict()


def order(cell: Cell, model: Model, scenario: Scenario, cache: Path) -> Order:
    """Return how the cell's artifact is made, once all has been asked that can be asked before.

    Raises UnsupportedError for what nobody can run, UnavailableError for what this host lacks.
    """
    check(cell, model, scenario)
    engine = runtimes.engine_of(cell.runtime)
    if not engine.version:
        raise UnavailableError(f"{engine.name} is not installed", engine.install)
    engine.check(model)
    procedure(scenario.procedure).check_host()
    return order_of(model, cell.precision, cell.runtime, cell.weights, cache)


def check(cell: Cell, model: Model, scenario: Scenario) -> None:
    """Raise UnsupportedError where no host can run the cell: its procedure or engine refuses."""
    procedure(scenario.procedure).check(scenario, model)
    route_of(model, cell.precision, cell.runtime, cell.weights)


def _refusal(cell: Cell, model: Model, scenario: Scenario) -> str:
    try:
        check(cell, model, scenario)
    except UnsupportedError as error:
        return error.problem
    return ""


def _batches(model: Model, scenario: Scenario) -> tuple[int, ...]:
    return procedure(scenario.procedure).batches(scenario, model.task)


def _check_block(
    block: Select, models: Mapping[str, Model], scenarios: Mapping[str, Scenario]
) -> None:
    for name in block.models:
        if name not in models:
            raise unknown("model", name, models)
    for name in block.runtimes:
        runtimes.engine_of(name)
    for name in block.scenarios:
        if name not in scenarios:
            raise unknown("scenario", name, scenarios)
