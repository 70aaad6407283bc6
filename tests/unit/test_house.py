"""The house holds: no circles, a true map, and no part without docs, extra, fake or scenario."""

from __future__ import annotations

import re
import runpy
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import grimp
import pytest

from cpufit import config
from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of, route_of
from cpufit.catalog import load_models
from cpufit.errors import DataError, UnsupportedError
from cpufit.measuring import camera, procedures, worker
from cpufit.paths import data_root
from cpufit.plan.scenarios import load_scenarios
from cpufit.precisions import PRECISIONS
from cpufit.probes import energy, host
from cpufit.quantities import QUANTITIES, quantity
from cpufit.runtimes import engine_of, engines, load_runtime
from cpufit.schema import Cell, Measure

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.runtimes.engine import Engine
    from cpufit.schema import Model, Scenario, Series

HOUSE = data_root() / "harness" / "cpufit"
PROJECT = tomllib.loads((data_root() / "pyproject.toml").read_text(encoding="utf-8"))
CONTRIBUTING = (data_root() / "CONTRIBUTING.md").read_text(encoding="utf-8")
MEASURING = "".join(
    (data_root() / "docs" / name).read_text(encoding="utf-8")
    for name in ("measuring.md", "models.md")
)
REAL = [engine for engine in engines() if not engine.invented]


# ------------------------------------------------------------------------------------------ layout
@pytest.mark.parametrize("types_too", [False, True])
def test_no_file_comes_back_to_itself(types_too: bool) -> None:
    """Not even for types: whoever reads one file of a circle has to read all."""
    graph = grimp.build_graph("cpufit", exclude_type_checking_imports=not types_too, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(data_root())): lines
        for path in (data_root() / "harness").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long


def test_the_map_names_what_is_there() -> None:
    """Every room once, and no path that does not exist."""
    start = CONTRIBUTING.index("## The map")
    table = CONTRIBUTING[start : CONTRIBUTING.index("\n## ", start + 1)]
    named = re.findall(r"^\| `(\w+)/?`", table, re.MULTILINE)
    rooms = [path.parent.name for path in HOUSE.glob("*/__init__.py")]
    assert sorted(named) == sorted(rooms)
    for path in re.findall(r"`([\w./-]+/[\w.-]*|[\w-]+\.py)`", CONTRIBUTING):
        assert (HOUSE / path).exists() or (data_root() / path).exists() or [*HOUSE.rglob(path)], (
            path
        )


def test_the_way_of_a_cell_is_as_contributing_tells_it() -> None:
    start = CONTRIBUTING.index("## What happens to a cell")
    section = CONTRIBUTING[start : CONTRIBUTING.index("\n## ", start + 1)]
    steps = re.findall(r"^\d+\. .*?`([\w/]+\.py)`, `(\w+)`", section, re.MULTILINE)
    assert len(steps) == 10
    for path, name in steps:
        text = (HOUSE / path).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(def|class) {name}\b", text, re.MULTILINE), (path, name)


# ----------------------------------------------------------------------------------------- engines
@pytest.mark.parametrize("engine", REAL, ids=lambda engine: str(engine.name))
def test_an_engine_is_whole(engine: Engine) -> None:
    extra = PROJECT["project"]["optional-dependencies"][engine.extra]
    assert any(re.match(rf"{re.escape(engine.packages[0])}\b", wanted) for wanted in extra)
    assert engine.extra in PROJECT["project"]["optional-dependencies"]["all"][0]
    assert engine.title.split(" (")[0] in (data_root() / "README.md").read_text(encoding="utf-8")
    assert engine.builds
    assert engine.name in MEASURING
    if engine.version:
        assert engine.version == version(engine.packages[0])
        assert load_runtime(engine.name).versions()
    for usual in engine.usual:
        kinds = [b for b in engine.builds if b.weights == "synthetic" and not b.stored]
        assert any(
            usual.precision in b.precisions and set(usual.families) <= set(b.families)
            for b in kinds
        )


def test_an_engine_is_a_folder_with_the_two_files_that_are_asked_for() -> None:
    folders = {path.parent for path in (HOUSE / "runtimes").glob("*/__init__.py")}
    assert len(folders) == len(engines())
    for folder in folders:
        assert (folder / "runtime.py").is_file()
        assert "ENGINE" in (folder / "__init__.py").read_text(encoding="utf-8")


# -------------------------------------------------------------- procedures, scenarios, quantities
def test_every_procedure_is_a_module_with_a_scenario_and_a_word_in_the_docs() -> None:
    folder = HOUSE / "measuring" / "procedures"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert modules == set(procedures.NAMES)
    assert {one.procedure for one in load_scenarios().values()} == modules
    for name in modules:
        assert re.search(rf"\b{name}\b", MEASURING), name


def test_every_level_holds_a_figure_and_every_limit_is_one() -> None:
    limits = {limit for one in QUANTITIES for limit in one.limits}
    assert {level.limit for level in config.load_settings().levels.levels} == limits


@pytest.mark.parametrize("one", QUANTITIES, ids=lambda one: one.name)
def test_a_figure_is_told_in_the_docs(one: Any) -> None:
    words = {one.name, one.label, one.rate_title, one.label.split(" ")[0]} - {""}
    assert any(word.lower() in MEASURING.lower() for word in words)
    assert one.line.format(label=one.label, size=1, amount="2 ms", rate="3")


def test_a_figure_that_is_none_is_an_error() -> None:
    with pytest.raises(DataError, match="a figure called 'warp'"):
        quantity("warp")


def _fitting(scenario: Scenario) -> list[Model]:
    """Return a model of each task and family that the scenario takes."""
    found: dict[str, Model] = {}
    made = (model for model in load_models().values() if "synthetic" in model.weights)
    for model in made:
        try:
            procedures.procedure(scenario.procedure).check(scenario, model)
        except UnsupportedError:
            continue
        found.setdefault(f"{model.task} {model.family}", model)
    return list(found.values())


@pytest.mark.parametrize("scenario", load_scenarios().values(), ids=lambda one: str(one.name))
def test_the_fake_plays_every_scenario(scenario: Scenario) -> None:
    models = _fitting(scenario)
    assert models
    for model in models:
        route_of(model, "int8", "fake", "synthetic")


class Joules(energy.Total):
    """A meter that counts a joule whenever it is read."""

    def __init__(self, idle_s: float) -> None:
        self.idle_w, self._read = 0.0, 0.0 * idle_s

    def joules(self) -> float:
        self._read += 1
        return self._read


def _played(scenario: Scenario, model: Model, folder: Path) -> tuple[Series, ...]:
    artifact = cache.make(order_of(model, "int8", "fake", "synthetic", folder), folder)
    cell = Cell(
        model=model.name, precision="int8", runtime="fake", scenario=scenario.name, threads=1
    )
    job = Measure(
        cell=cell,
        model=model,
        scenario=procedures.to_wire(scenario),
        budget=config.load_settings().budgets["rapid"],
        cache=str(folder),
        artifact=artifact,
    )
    cores = host.allowed_cores()
    outcome = worker._measure(job, lambda message: None)
    assert outcome.status == "ok", outcome
    assert host.allowed_cores() == cores  # on a clock of its own nothing need move
    return outcome.series


def test_the_fake_samples_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure that no procedure samples could not be tested without a model."""
    monkeypatch.setattr(energy, "Total", Joules)
    nothing = camera.Surroundings(before=lambda: None, after=lambda: None)  # it has no pictures
    monkeypatch.setattr(camera, "around", lambda model, session: nothing)
    found = {
        series.name
        for scenario in load_scenarios().values()
        for model in _fitting(scenario)
        for series in _played(scenario, model, tmp_path)
    }
    assert found == {one.name for one in QUANTITIES}


def test_every_precision_has_a_word_in_the_docs() -> None:
    for precision in PRECISIONS:
        assert precision in MEASURING.lower()
    assert engine_of("fake").invented


def test_the_reference_says_what_the_program_has() -> None:
    """`scripts/write-reference` writes it anew."""
    written = runpy.run_path(str(data_root() / "scripts" / "write-reference"))
    assert written["page"]() == written["PAGE"].read_text(encoding="utf-8")
