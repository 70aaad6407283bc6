"""What the gate's arithmetic takes for 10,000 cells of 30 pairs each. Asked: 5 s."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpufit.gating import rule, verdict
from cpufit.gating.pairs import LOAD, PEAK, Pair, Trial
from cpufit.schema import Cell

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

CELLS, PAIRS, MARGIN = 10_000, rule.SCREEN + rule.CONFIRM, 0.03


def test_judging_ten_thousand_quantities(benchmark: BenchmarkFixture) -> None:
    logs = np.random.default_rng(0).normal(0, 0.03, (CELLS, PAIRS))

    def judge_all() -> int:
        found = [rule.judge(d[: rule.SCREEN], d[rule.SCREEN :], MARGIN, CELLS) for d in logs]
        return len(found)

    assert benchmark.pedantic(judge_all, rounds=3) == CELLS


def test_judging_ten_thousand_cells_of_three_quantities(benchmark: BenchmarkFixture) -> None:
    trials = _trials()
    count = verdict.tested(trials)

    def judge_all() -> int:
        return sum(len(verdict.judge(trial, count).judged) for trial in trials)

    assert benchmark.pedantic(judge_all, rounds=3) == count


def _trials() -> list[Trial]:
    cell = Cell(model="m", precision="int8", runtime="fake", scenario="latency", threads=1)
    random, names = np.random.default_rng(0), ("latency", PEAK, LOAD)
    return [
        Trial(
            cell=cell,
            against=cell,
            pairs=tuple(
                Pair(
                    stage="screen" if index < rule.SCREEN else "confirm",
                    before=dict.fromkeys(names, 1e6),
                    after=dict(zip(names, (1e6 * np.exp(each)).tolist(), strict=True)),
                    changes={"latency": float(each[0])},
                )
                for index, each in enumerate(random.normal(0, 0.02, (PAIRS, len(names))))
            ),
        )
        for _ in range(CELLS)
    ]
