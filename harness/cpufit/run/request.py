"""What a run was asked to do: kept in its results file, so that `--resume` can ask again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from cpufit import config, plan
from cpufit.artifacts.asis import precision_of
from cpufit.artifacts.routes import known_suffixes, runtimes_of_file
from cpufit.catalog import load_models, model_of_file
from cpufit.errors import DataError, UsageError, unknown
from cpufit.plan import Selection
from cpufit.probes.host import default_threads

if TYPE_CHECKING:
    from cpufit.schema import Budget, Cell, Model, Scenario


@dataclass(frozen=True, kw_only=True)
class Request:
    """The user's words, checked for shape only."""

    suite: str = "quick"
    budget: str = ""  # '' takes the suite's
    selection: Selection = field(default_factory=Selection)
    files: tuple[str, ...] = ()  # absolute paths of the user's own models

    def to_json(self) -> str:
        """Return what is kept in the results file."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is decided before the first process starts."""

    cells: tuple[Cell, ...]
    models: dict[str, Model]
    scenarios: dict[str, Scenario]
    budget: Budget


def from_json(text: str, path: Path) -> Request:
    """Read what a results file was asked to do; raise DataError where it does not say."""
    try:
        return TypeAdapter(Request).validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path} does not say what it was to run", "start a new run") from error


def resolve(request: Request) -> Plan:
    """Turn words into cells; raise UsageError or DataError for what does not exist."""
    settings, suite, models = (
        config.load_settings(),
        config.load_suite(request.suite),
        load_models(),
    )
    plan.check(request.selection, models, settings)
    budget = request.budget or suite.budget
    if budget not in settings.budgets:
        raise unknown("budget", budget, settings.budgets)
    threads = request.selection.threads or (default_threads(),)
    if request.files:
        models = {}
        cells: tuple[Cell, ...] = ()
        for name in request.files:
            model = _own_model(Path(name), models)
            cells += plan.cells_of_file(
                model,
                precision_of(Path(name)),
                runtimes_of_file(Path(name).suffix),
                settings.scenarios,
                request.selection,
                threads,
            )
    else:
        blocks = plan.blocks_of(request.selection, suite.cells)
        cells = plan.cells(blocks, models, settings.scenarios, threads)
    return Plan(
        cells=cells,
        models=models,
        scenarios=settings.scenarios,
        budget=settings.budgets[budget],
    )


def _own_model(path: Path, models: dict[str, Model]) -> Model:
    """Describe a file and add it to `models` under a name no other file has."""
    if not runtimes_of_file(path.suffix):
        raise UsageError(
            f"no runtime reads {path.name}", f"give a file ending in {', '.join(known_suffixes())}"
        )
    model = model_of_file(path)
    if model.name in models:
        raise UsageError(f"two files are called {model.name}", "rename one of them")
    models[model.name] = model
    return model
