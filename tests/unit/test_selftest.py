"""The method replayed on recorded processes, and on invented ones whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest

from cpufit import analysis, config, store
from cpufit.paths import data_root
from cpufit.selftest import all as everything
from cpufit.selftest import replay, worlds
from cpufit.selftest.replay import Trace
from cpufit.stats import intervals

SETTINGS = config.load_settings()


def invented(spread: float, processes: int = 200, within: float = 0.02) -> Trace:
    """Return a trace of 10 ms whose processes differ by `spread`."""
    random = np.random.default_rng(1)
    luck = np.exp(random.normal(0, spread, processes))
    return Trace("t", tuple(1e7 * one * np.exp(random.normal(0, within, 30)) for one in luck))


def test_all_findings_on_the_recorded_noise_are_as_asked() -> None:
    """The noise of a shared virtual machine that ships with cpufit."""
    found = list(everything.recorded(()))
    assert {f.name: f.value for f in found if f.good is False} == {}
    assert len(found) >= 10
    judged = [f for f in found if f.name.startswith("coverage") and f.asked]
    assert len(judged) >= 8
    assert all(93 <= float(f.value.split("%")[0]) <= 99 for f in judged)


def test_there_is_noise_worth_the_name_in_what_is_recorded() -> None:
    files = sorted((data_root() / everything.RECORDED).glob("*/*/selftest-*.parquet"))
    traces = replay.traces(analysis.rows(store.read(files), SETTINGS.levels))
    assert len(traces) >= 5
    assert all(len(trace.processes) >= 12 for trace in traces)
    assert max(float(np.std(trace.logs())) for trace in traces) > 0.03


@pytest.mark.parametrize("spread", [0.003, 0.03, 0.15])
def test_the_interval_of_drawn_processes_holds_those_left_out(spread: float) -> None:
    runs = [[invented(spread).logs()] * 6]
    finding = worlds.left_out(runs, SETTINGS.budgets["quick"], 40)
    share = float(finding.value.split("%")[0]) / 100
    assert share >= 0.93


def test_the_ratio_of_the_same_processes_is_one_and_of_slower_ones_is_not() -> None:
    logs = invented(0.02).logs()
    low, high = intervals.ratio(logs[:20], logs[20:40])
    assert low < 1 < high
    low, high = intervals.ratio(logs[:20] + log(1.1), logs[20:40])
    assert 1 < low < 1.1 < high


def test_the_smallest_change_is_seen_in_four_of_five_cases() -> None:
    random = np.random.default_rng(3)
    change = intervals.smallest_change(0.05, 10)
    seen = 0
    for _ in range(1000):
        before, after = (random.normal(0, 0.05, 10) for _ in range(2))
        low, _ = intervals.ratio(after + log(1 + change), before)
        seen += low > 1
    assert 0.72 <= seen / 1000 <= 0.88


def test_every_estimator_is_tried_on_every_quantile() -> None:
    found = list(replay.estimators([invented(0.05)], 5))
    assert len({finding.name for finding in found}) == 12
    assert all(" held, half width " in finding.value for finding in found)


def test_a_budget_without_a_width_takes_all_its_processes() -> None:
    budget = replace(SETTINGS.budgets["quick"], half_width=0.0)
    assert "4.0 processes" in worlds.left_out([[invented(0.03).logs()] * 2], budget, 5).value
