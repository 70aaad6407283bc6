"""How long a report of 5,000 cells takes, from starting Python to the file. Asked: 5 s and 5 MB.

Nothing here asserts a time: the figures are for reading, `pytest tests/perf --benchmark-only`.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.report import drawn
from tests.report.samples import in_processes, many

from cpufit import store
from cpufit.config import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from cpufit.schema import Record

COUNT = 5000
IMPORT = "import cpufit.report.html, cpufit.config; cpufit.config.load_settings()"


def test_import(benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-c", IMPORT]
    done = benchmark.pedantic(subprocess.run, args=(command,), rounds=3)
    assert done.returncode == 0


def test_render(benchmark: BenchmarkFixture) -> None:
    records, settings = many(COUNT), load_settings()
    samples = sum(len(s.values) for r in records for s in r.outcome.series)
    page = benchmark.pedantic(drawn.page, args=(records, settings), rounds=3)
    benchmark.extra_info["samples"] = samples
    benchmark.extra_info["megabytes"] = len(page.encode()) / 1e6
    assert page.count("<tr") > COUNT


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of 5,000 cells in 3 processes each, every cell with figures of its own."""
    whole = list({(r.host.fingerprint, r.cell.id): r for r in many(2 * COUNT)}.values())[:COUNT]
    assert len(whole) == COUNT
    random = np.random.default_rng(0)
    results = store.create(tmp_path_factory.mktemp("long") / "run-1.parquet", "{}")
    for record, share in zip(whole, random.lognormal(0, 0.5, COUNT), strict=True):
        results.add(in_processes(_moved(record, float(share)), 3))
    results.close()
    return results.path


def _moved(whole: Record, share: float) -> Record:
    """Return a record that took so many times the time and memory."""
    found, memory = whole.outcome, whole.outcome.memory
    series = tuple(
        replace(s, values=tuple(float(round(v * share)) for v in s.values)) for s in found.series
    )
    if memory:
        memory = replace(memory, peak_bytes=round(memory.peak_bytes * share))
    load_ns, first_ns = round(found.load_ns * share), round(found.first_ns * share)
    found = replace(found, series=series, memory=memory, load_ns=load_ns, first_ns=first_ns)
    return replace(whole, outcome=found)


def test_the_whole_command(benchmark: BenchmarkFixture, cells: Path) -> None:
    page = cells.with_name("report.html")
    command = [sys.executable, "-m", "cpufit", "report", str(cells), "-o", str(page)]
    done = benchmark.pedantic(subprocess.run, args=(command,), rounds=3)
    benchmark.extra_info["megabytes"] = page.stat().st_size / 1e6
    assert done.returncode == 0
