"""Interval arithmetic of many cells: what a report of a whole catalog waits for. Asked: 3 s."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tests.samples import RECORD

from cpufit import analysis
from cpufit.config import load_settings
from cpufit.schema import Series

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

CELLS, PROCESSES, SAMPLES = 5_000, 5, 40


def test_intervals_of_5000_cells(benchmark: BenchmarkFixture) -> None:
    random = np.random.default_rng(0)
    records = []
    for index in range(CELLS):
        cell = replace(RECORD.cell, model=f"m{index}")
        for repeat in range(PROCESSES):
            values = tuple(1e7 * random.lognormal(0, 0.05, SAMPLES))
            series = Series(name="latency", unit="ns", size=1, items=1, values=values)
            outcome = replace(RECORD.outcome, series=(series,))
            records.append(replace(RECORD, cell=cell, repeat=repeat, outcome=outcome))
    limits = load_settings().levels
    rows = benchmark.pedantic(lambda: analysis.rows(records, limits), rounds=3, iterations=1)
    assert len(rows) == CELLS
