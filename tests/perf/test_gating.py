"""What the gate's arithmetic takes: 10,000 quantities of 30 pairs each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpufit.gating import rule

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

CELLS, MARGIN = 10_000, 0.03


def test_judging_ten_thousand_quantities(benchmark: BenchmarkFixture) -> None:
    logs = np.random.default_rng(0).normal(0, 0.03, (CELLS, rule.SCREEN + rule.CONFIRM))

    def judge_all() -> int:
        found = [rule.judge(d[: rule.SCREEN], d[rule.SCREEN :], MARGIN, CELLS) for d in logs]
        return len(found)

    assert benchmark.pedantic(judge_all, rounds=3) == CELLS
