"""What a run was asked to do: kept with its results, so that `--resume` can ask again."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from cpufit import config
from cpufit.artifacts import asis
from cpufit.artifacts.base import About
from cpufit.catalog import load_models, model_of_file, read_cards, with_variants
from cpufit.errors import DataError, UnsupportedError, UsageError, unknown
from cpufit.given import told
from cpufit.margins import MARGINS
from cpufit.plan import cells as of_blocks
from cpufit.plan.found import CARDS, found_at
from cpufit.plan.own import called_apart
from cpufit.plan.scenarios import load_scenarios, with_batches
from cpufit.plan.selection import Selection, blocks_of, check
from cpufit.plan.usual import expanded
from cpufit.precisions import PRECISIONS
from cpufit.probes.host import default_threads, flags
from cpufit.runtimes import engines, reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cpufit.margins import Margins
    from cpufit.precisions import Precision
    from cpufit.schema import Budget, Cell, Levels, Model, Order, Scenario, Select, Suite

SUITES = ("quick",)
_UNREAD = About(precision="fp32", family="own")  # of a file that cannot be read


def _each(value: object) -> object:
    return (value,) if isinstance(value, str) else value  # as earlier results have it


@dataclass(frozen=True, kw_only=True)
class Request:
    """The user's words, checked for shape only."""

    suite: Annotated[tuple[str, ...], BeforeValidator(_each)] = SUITES
    budget: str = ""  # '' takes the suites'
    selection: Selection = field(default_factory=Selection)
    files: tuple[str, ...] = ()  # absolute paths of the user's own models and cards
    inputs: tuple[str, ...] = ()  # what goes into those models (`given.py`)
    cells: tuple[str, ...] = ()  # ids of those it came to; empty in what earlier versions wrote

    def to_json(self) -> str:
        """Return it as text, to be read back by `from_json`."""
        return json.dumps(asdict(self))

    def shared(self) -> Request:
        """Return what results say of it: the names of its files, not where they lie."""
        suites = (Path(name).name if name.endswith(CARDS) else name for name in self.suite)
        return replace(
            self, suite=tuple(suites), files=tuple(Path(name).name for name in self.files)
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is decided before the first process starts."""

    cells: tuple[Cell, ...]
    models: dict[str, Model]  # by card
    scenarios: Mapping[str, Scenario]
    budget: Budget
    levels: Levels
    extra_work: dict[str, float] = field(default_factory=dict)  # by card: the self-test's
    limits: dict[str, tuple[Levels, ...]] = field(default_factory=dict)  # by cell: of tests
    margins: dict[str, Margins] = field(default_factory=dict)  # by cell, where not the usual

    why: tuple[str, ...] = ()  # its cells are these, where the suite left that to the host

    def levels_of(self, cell: Cell) -> tuple[Levels, ...]:
        """Return what must be clear before the cell is settled: its own limits, or the usual."""
        return self.limits.get(cell.id, (self.levels,))

    def margins_of(self, cell: Cell) -> Margins:
        """Return by what shares the cell may be worse: its suite's, or the usual."""
        return self.margins.get(cell.id, MARGINS)

    def order(self, cell: Cell, cache: Path) -> Order:
        """Return how the cell's artifact is made; raise CpufitError for why it cannot be run."""
        return of_blocks.order(cell, self.models[cell.card], self.scenarios[cell.scenario], cache)

    def with_margins(self, given: Margins) -> Plan:
        """Return the plan with margins that outrank its suites'."""
        margins: dict[str, Margins] = {
            cell.id: {**self.margins_of(cell), **given} for cell in self.cells
        }
        return replace(self, margins=margins)


def from_json(text: str, path: Path) -> Request:
    """Read what a results file was asked to do; raise DataError where it does not say."""
    try:
        return TypeAdapter(Request).validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path} does not say what it was to run", "start a new run") from error


def cells_of(text: str) -> tuple[str, ...]:
    """Return the ids of the cells that a results file was to hold; empty where it does not say."""
    with suppress(ValidationError):
        return TypeAdapter(Request).validate_json(text).cells
    return ()


def resolve(request: Request) -> Plan:
    """Turn words into cells; raise UsageError or DataError for what does not exist."""
    settings, suites = config.load_settings(), [config.load_suite(name) for name in request.suite]
    if request.files:
        _refuse_what_does_not_apply(request)
    elif request.inputs:
        raise UsageError("--input is for model files of your own", "name one, or leave it out")
    named = [block for suite in suites for block in suite.cells]
    models = _catalog(request.selection, named)
    in_suites, why = expanded(named, models, flags())
    check(request.selection, models, load_scenarios())
    scenarios = with_batches(load_scenarios(), request.selection.batches)
    budget = request.budget or _budget_of(suites)
    if budget not in settings.budgets:
        raise unknown("budget", budget, settings.budgets)
    threads = request.selection.threads or (default_threads(),)
    blocks: tuple[Select, ...] = ()
    if request.files:
        models, cells = _own(request, scenarios, threads)
    else:
        blocks = blocks_of(request.selection, in_suites)
        cells = of_blocks.cells(blocks, models, scenarios, threads, request.selection)
    return Plan(
        cells=cells,
        models=models,
        scenarios=scenarios,
        budget=settings.budgets[budget],
        levels=settings.levels,
        why=() if request.selection.runtimes else _of(why, cells),
        margins={
            cell.id: {**MARGINS, **block.margin}
            for block in blocks
            if block.margin
            for cell in of_blocks.cells((block,), models, scenarios, threads)
        },
    )


def _of(why: Mapping[str, str], cells: Iterable[Cell]) -> tuple[str, ...]:
    """Return why the engines that cells are of were chosen, where a suite left that open."""
    found = dict.fromkeys(cell.runtime for cell in cells if cell.weights == "synthetic")
    return tuple(why[name] for name in found if name in why)


def _budget_of(suites: Sequence[Suite]) -> str:
    budgets = {suite.budget: suite.name for suite in suites}
    if len(budgets) > 1:
        words = ", ".join(f"{name} takes {budget}" for budget, name in budgets.items())
        raise UsageError(f"the suites want different budgets: {words}", "name one by --budget")
    return next(iter(budgets))


def _catalog(selection: Selection, in_suites: Sequence[Select]) -> dict[str, Model]:
    """Return the catalog, and the variants that are named beyond it."""
    named = [name for block in in_suites for name in block.models]
    return with_variants(load_models(), [*selection.models, *named])


def _own(
    request: Request, scenarios: Mapping[str, Scenario], threads: Sequence[int]
) -> tuple[dict[str, Model], tuple[Cell, ...]]:
    """Return the user's own models, and the cells of all."""
    models: dict[str, Model] = {}
    cells: tuple[Cell, ...] = ()
    paths = [found_at(Path(name)) for name in request.files]
    for path, called in zip(paths, called_apart(paths), strict=True):
        for model, about in _models_in(path, called, request.inputs, alone=len(paths) == 1):
            if model.card in models:
                again = model.file and model.file == models[model.card].file
                raise UsageError(
                    f"{path.name} is named twice"
                    if again
                    else f"two models are called {model.name}",
                    "name it once" if again else "rename one of them",
                )
            models[model.card] = model
            precisions, runtimes = _how_to_run(model, about, request.selection)
            cells += of_blocks.cells_of_own(
                model, precisions, runtimes, scenarios, request.selection, threads
            )
    return models, cells


def _refuse_what_does_not_apply(request: Request) -> None:
    chosen = request.selection
    holds_model = any(Path(name).suffix.lower() != CARDS for name in request.files)
    for option, given, reason in (
        ("--suite", request.suite != SUITES, "--budget sets the time"),
        ("--model", chosen.models, "all models of the files are measured"),
        ("--weights", chosen.weights, "cards have synthetic weights, model files their own"),
        ("--precision", chosen.precisions and holds_model, "a model file has its own"),
    ):
        if given:
            raise UsageError(
                f"{option} cannot be combined with files of your own: {reason}", "leave it out"
            )


def _models_in(
    path: Path, called: str, inputs: Sequence[str], *, alone: bool
) -> tuple[tuple[Model, About | None], ...]:
    """Return the models of a file of cards, or that of a model file with what it says of itself."""
    if path.suffix.lower() == CARDS:
        if inputs:
            raise UsageError(f"--input is for model files, {path.name} has cards", "leave it out")
        return tuple((model, None) for model in read_cards(path).values())
    model = replace(model_of_file(path, called), inputs=told(inputs))
    if inputs:
        asis.check_given(model)
    try:
        about = asis.about(path, model)
    except (DataError, UnsupportedError):
        if alone:
            raise
        about = _UNREAD  # its cells will say why; the other models are measured
    return ((asis.known(model, about), about),)


def _how_to_run(
    model: Model, about: About | None, selection: Selection
) -> tuple[tuple[Precision, ...], tuple[str, ...]]:
    """Return precisions and runtimes to choose from; a card's are what most people deploy."""
    if about:
        return (about.precision,), reading(Path(model.file).suffix)
    usual: Precision = "int4" if model.family == "llm" else "int8"
    precisions = PRECISIONS if selection.precisions else (usual,)
    wanted = selection.runtimes
    runtimes = (one.name for one in engines() if not one.invented or one.name in wanted)
    return precisions, tuple(runtimes)
