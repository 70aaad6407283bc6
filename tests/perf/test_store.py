"""What it costs to add a record, to compact, and to read 10,000 records of 400 samples back.

Asked: adding at most 5 ms at any size on a quiet disk, beside a plain append of the same bytes; the
parent's memory at most 300 MB and grown by at most 50 MB; reading at most 5 s. Nothing here asserts
a time or a size: `pytest tests/perf/test_store.py` prints the figures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.report.samples import llm_records

from cpufit import store
from cpufit.store import journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from cpufit.schema import Record

COUNT, SAMPLES = 10_000, 400
SIZES = (0, 1_000, 10_000)
ROOT = Path(__file__).parents[2]
GROWTH = f"""
import sys
from pathlib import Path
import pandas  # which pyarrow imports at its first conversion, of a run of any size
from tests.perf.test_store import peaks, records
from cpufit import store

def now_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

results, made = store.create(Path(sys.argv[1]), "{{}}"), records({COUNT})
results.add([next(made)])
start = now_mb()
for record in made:
    results.add([record])
added = peaks()
results.close()
print(start, added, peaks())
"""

RUN = f"""
import sys
from dataclasses import replace
from pathlib import Path
from rich.console import Console
from tests.perf.test_store import peaks, records
from cpufit import config
from cpufit.catalog import load_models
from cpufit.cli.progress import Watcher
from cpufit.plan.request import Plan
from cpufit.plan.scenarios import load_scenarios
from cpufit.run import flow, stages
from cpufit.schema import Cell

made, said = records({COUNT}), []

def measured(cell, road, repeat):
    if not said:
        said.append(peaks())
    record = next(made)
    return stages.Ended(record.outcome, record.artifact)

stages.run_cell = measured
folder, settings = Path(sys.argv[1]), config.load_settings()
cells = tuple(
    Cell(model="smollm2-135m", precision="int4", runtime="fake", scenario="latency", threads=n)
    for n in range(1, {COUNT} // 10 + 1)
)
plan = Plan(
    cells=cells,
    models=load_models(),
    scenarios=load_scenarios(),
    budget=replace(settings.budgets["full"], processes=(10, 10)),
    levels=settings.levels,
)
place = flow.Place(output=folder, cache=folder / "cache")
with open(folder / "log", "w") as log, Watcher(Console(file=log), settings) as watcher:
    flow.go(flow.start(plan, cells, "{{}}", place), place, watcher)
print(said[0], peaks(), next(made, None))
"""


def peaks() -> float:
    """Return the most this process was resident, in MB."""
    return getrusage(RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def records(count: int) -> Iterator[Record]:
    """Yield records of one series of 400 samples, each with samples of its own."""
    whole = llm_records(SAMPLES)[0]
    random = np.random.default_rng(0)
    for repeat in range(count):
        values = tuple(random.lognormal(16, 0.1, SAMPLES).round().tolist())
        series = (replace(whole.outcome.series[0], values=values),)
        yield replace(whole, repeat=repeat, outcome=replace(whole.outcome, series=series))


@pytest.mark.parametrize("size", SIZES)
def test_adding_a_record(benchmark: BenchmarkFixture, tmp_path: Path, size: int) -> None:
    """Flushed to the disk, behind so many records."""
    results = store.create(tmp_path / "run-1.parquet", "{}")
    made = records(size + 200)
    while size:
        results.add([next(made) for _ in range(min(size, 500))])
        size -= min(size, 500)
    benchmark.pedantic(lambda record: results.add([record]), setup=lambda: _next(made), rounds=150)


def test_plain_append_of_the_same_bytes(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """What the disk alone takes."""
    data = journal._entry(journal._payload(next(records(1))))
    benchmark.extra_info["bytes"] = len(data)
    handle = os.open(tmp_path / "plain", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def append() -> None:
        os.write(handle, data)
        os.fdatasync(handle)

    benchmark.pedantic(append, rounds=150)
    os.close(handle)


def _next(made: Iterator[Record]) -> tuple[tuple[Record], dict[str, object]]:
    return (next(made),), {}


def test_memory_while_adding_and_compacting(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """In a process of its own; printed and kept as `extra_info`."""
    command = [sys.executable, "-c", GROWTH, str(tmp_path / "run-1.parquet")]

    def run() -> str:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    start, added, closed = map(float, benchmark.pedantic(run, rounds=1).split())
    benchmark.extra_info.update(start_mb=start, added_mb=added, closed_mb=closed)
    print(
        f"\nresident at 1 record {start:.0f} MB, at most {added:.0f} MB while adding {COUNT:,}, "
        f"{closed:.0f} MB after compacting"
    )


def test_memory_of_a_run(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """A thousand cells, ten processes each, through all of the run but the processes."""
    command = [sys.executable, "-c", RUN, str(tmp_path)]

    def run() -> str:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    first, last, left = benchmark.pedantic(run, rounds=1).split()
    assert left == "None"  # all records were asked for
    benchmark.extra_info.update(first_mb=float(first), last_mb=float(last))
    print(f"\nat most {first} MB before the first record, {last} MB after {COUNT:,}")


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Return a run of 10,000 records that was killed."""
    results, made = store.create(tmp_path / "run-1.parquet", "{}"), records(COUNT)
    for _ in range(COUNT // 500):
        results.add([next(made) for _ in range(500)])
    return results.path


def test_reading_a_journal(benchmark: BenchmarkFixture, left: Path) -> None:
    found = benchmark.pedantic(store.read, args=([left],), rounds=3)
    assert len(found) == COUNT


def test_reading_parquet(benchmark: BenchmarkFixture, left: Path) -> None:
    store.recover([left])
    found = benchmark.pedantic(store.read, args=([left],), rounds=3)
    benchmark.extra_info["bytes"] = left.stat().st_size
    assert len(found) == COUNT


def test_reading_columns(benchmark: BenchmarkFixture, left: Path) -> None:
    store.recover([left])
    found = benchmark.pedantic(store.columns, args=([left], ["model", "series"]), rounds=3)
    assert len(found) == COUNT


def test_compacting(benchmark: BenchmarkFixture, left: Path) -> None:
    benchmark.pedantic(store.recover, args=([left],), rounds=1)
    assert not left.with_suffix(".journal").exists()


def test_reopening(benchmark: BenchmarkFixture, left: Path) -> None:
    store.recover([left])
    benchmark.pedantic(store.reopen, args=(left, ["ok"]), rounds=1)
