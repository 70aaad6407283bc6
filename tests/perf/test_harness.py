"""What the harness itself costs: per cell, per iteration, and while a child measures."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
from tests.e2e.helpers import timings
from tests.samples import RECORD

from cpufit import config, store
from cpufit.catalog import model_of_file
from cpufit.cli.progress import Watcher
from cpufit.measuring import probe
from cpufit.plan.request import Plan
from cpufit.run import flow
from cpufit.run.stages import Road, run_cell
from cpufit.schema import Cell, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from pytest_benchmark.fixture import BenchmarkFixture


class Nobody:
    """Watches and does nothing."""

    def planned(self, plan: object, done: object) -> None: ...
    def started(self, cell: object) -> None: ...
    def stage(self, text: str) -> None: ...
    def finished(self, row: object) -> None: ...
    def rounded(self) -> None: ...


def test_fixed_cost_of_a_cell(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """One fake cell whose work takes no real time, through child, pipe and Parquet: <= 0.5 s."""
    plan, cell = _fake_plan(tmp_path, infer_ms=100)
    place = flow.Place(output=tmp_path, cache=tmp_path)
    results = store.create(tmp_path / "run-1.parquet", "")

    def once() -> None:
        made = run_cell(cell, Road(plan=plan, place=place, say=Nobody().stage))
        assert made.outcome.status == "ok", made
        results.add([replace(RECORD, outcome=made.outcome, artifact=made.artifact)])

    benchmark.pedantic(once, rounds=10, warmup_rounds=1)


def test_loop_overhead_per_iteration(benchmark: BenchmarkFixture) -> None:
    """100,000 timed runs of nothing: what the clock and the loop add. Divide by 100,000."""
    benchmark.pedantic(
        lambda: probe._repeat(lambda: None, time.perf_counter_ns, 100_000), rounds=20
    )


def test_parent_cpu_while_a_child_measures(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent's CPU seconds over wall seconds while a child works for 10 s, with a live bar.

    Printed as extra_info `core_share`; the goal is 0.01.
    """
    from rich.console import Console

    plan, cell = _fake_plan(tmp_path, infer_ms=100, fail="hang")
    place = flow.Place(output=tmp_path, cache=tmp_path)
    plan = replace(plan, budget=replace(plan.budget, timeout_s=10))
    with (tmp_path / "screen").open("w", encoding="utf-8") as screen:
        console = Console(file=screen, force_terminal=True, width=120)
        with Watcher(console, config.load_settings()) as watcher:
            watcher.planned(plan, [])
            road = Road(plan=plan, place=place, say=watcher.stage)
            run_cell(cell, road)  # once, so that imports are paid
            before, start = psutil.Process().cpu_times(), time.perf_counter()
            benchmark.pedantic(lambda: run_cell(cell, road), rounds=1, iterations=1)
            after, end = psutil.Process().cpu_times(), time.perf_counter()
    used = after.user + after.system - before.user - before.system
    benchmark.extra_info["core_share"] = share = used / (end - start)
    print(f"\nparent: {share:.2%} of a core over {end - start:.1f} s")


def _fake_plan(folder: Path, **values: object) -> tuple[Plan, Cell]:
    path = timings(folder, "nothing", **values)
    model = model_of_file(path)
    cell = Cell(
        model=model.name,
        precision="fp32",
        runtime="fake",
        scenario="latency",
        threads=1,
        weights="real",
    )
    scenario = Scenario(name="latency", title="", procedure="latency")
    plan = Plan(
        cells=(cell,),
        models={model.name: model},
        scenarios={"latency": scenario},
        budget=config.load_settings().budgets["rapid"],
        levels=config.load_settings().levels,
    )
    return plan, cell
