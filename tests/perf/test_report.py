"""How long a report of 5,000 records takes, from starting Python to the written file.

Nothing here asserts a time: the figures are for reading, `pytest tests/perf --benchmark-only`.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.report.samples import many

from cpufit.config import load_settings
from cpufit.report import html

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

COUNT = 5000
IMPORT = "import cpufit.report.html, cpufit.config; cpufit.config.load_settings()"


def test_import(benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-c", IMPORT]
    done = benchmark.pedantic(subprocess.run, args=(command,), rounds=3)
    assert done.returncode == 0


def test_render(benchmark: BenchmarkFixture) -> None:
    records, settings = many(COUNT), load_settings()
    samples = sum(len(s.values) for r in records for s in r.outcome.series)
    page = benchmark.pedantic(html.render, args=(records, settings), rounds=3)
    benchmark.extra_info["samples"] = samples
    benchmark.extra_info["megabytes"] = len(page.encode()) / 1e6
    assert page.count("<tr") > COUNT
