"""Processes of two kinds, and a drift over the run."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit import analysis, config
from cpufit.analysis import words
from cpufit.report import cells
from cpufit.schema import Series
from cpufit.stats import intervals, unsteady
from tests.samples import RECORD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def logs(*values: float) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log(np.array(values))
    return found


def test_two_kinds_are_named_with_the_middle_of_each() -> None:
    found = unsteady.seen(logs(7.2, 7.9, 7.21, 7.88, 7.19, 7.91))
    assert found is not None
    assert found.kind == "two kinds"
    assert found.values == pytest.approx((7.2, 7.9), rel=0.01)


def test_a_drift_is_named_from_first_to_last() -> None:
    found = unsteady.seen(logs(7.0, 7.15, 7.3, 7.45, 7.6))
    assert found is not None
    assert found.kind == "drift"
    assert found.values == pytest.approx((7.0, 7.6), rel=0.01)
    down = unsteady.seen(logs(7.6, 7.45, 7.3, 7.15, 7.0))
    assert down is not None
    assert down.values[0] > down.values[1]


def test_one_that_had_bad_luck_is_no_kind() -> None:
    assert unsteady.seen(logs(7.2, 7.21, 9.0, 7.19, 7.22)) is None


def test_too_few_or_too_near_show_nothing() -> None:
    assert unsteady.seen(logs(7.2, 7.2, 9.0, 9.0)) is None
    assert unsteady.seen(logs(7.2, 7.25, 7.21, 7.24, 7.2, 7.25)) is None


@pytest.mark.parametrize("count", [5, 8, 20])
def test_processes_of_one_kind_are_seldom_taken_for_two(count: int) -> None:
    random = np.random.default_rng(count)
    taken = [unsteady.seen(random.normal(0, 0.06, count)) for _ in range(2000)]
    assert np.mean([found is not None for found in taken]) < 0.05


@given(st.integers(1, 12), st.integers(0, 99))
def test_many_cells_are_seen_as_each_by_itself(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    kinds = random.integers(0, 2, (20, count)) * random.choice([0, 0.3], (20, 1))
    block = random.normal(kinds + np.linspace(0, 0.1, count) * (seed % 2), 0.02)
    ends, drifts = unsteady.of_cells(block)
    for row, pair, drift in zip(block, ends, drifts, strict=True):
        found = unsteady.seen(row)
        assert (found is None) == bool(np.isnan(pair).any())
        if found:
            assert found.values == pytest.approx(np.exp(pair))
            assert (found.kind == "drift") == drift


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=12), st.floats(-5, 5))
def test_what_all_are_multiplied_by_does_not_matter(values: list[float], by: float) -> None:
    found, other = unsteady.seen(np.array(values)), unsteady.seen(np.array(values) + by)
    if found and other:
        assert np.array(other.values) / np.exp(by) == pytest.approx(found.values)


def test_the_interval_holds_both_kinds_and_a_threshold_between_them_is_open() -> None:
    kinds = [[value * 1e8] for value in (4.6, 5.5, 4.61, 5.49, 4.59, 5.51)]
    made = intervals.estimate(kinds)
    assert made.unsteady is not None
    assert made.interval is not None
    low, high = made.interval
    assert low <= 4.61e8
    assert high >= 5.49e8
    assert intervals.judge(kinds, 5e8, 0.9, 0.99) == "undecided"


# ---------------------------------------------------------------------------------------- in words
def row(*processes: Sequence[float]) -> analysis.Row:
    """Return a cell of these processes, their samples in ms."""
    records = []
    for repeat, ms in enumerate(processes):
        values = tuple(1e6 * each for each in ms)
        series = Series(name="latency", unit="ns", size=1, items=1, values=values)
        outcome = replace(RECORD.outcome, series=(series,), noise={"wall_s": 1.0})
        records.append(replace(RECORD, repeat=repeat, outcome=outcome))
    (found,) = analysis.rows(records, config.load_settings().levels)
    return found


def test_the_row_says_what_its_processes_are() -> None:
    kinds = row(*([ms] * 3 for ms in (7.2, 7.9, 7.21, 7.88, 7.19, 7.91)))
    assert cells.samples(kinds) == "18 in 6 processes (two kinds of processes: 7.20 ms and 7.90 ms)"
    drift = row(*([ms] * 3 for ms in (7.0, 7.15, 7.3, 7.45, 7.6)))
    assert cells.samples(drift) == "15 in 5 processes (processes drift from 7.00 ms to 7.60 ms)"


def test_an_open_verdict_says_what_keeps_it_open() -> None:
    between = row(*([ms] * 3 for ms in (460, 550, 461, 549, 459, 551)))
    assert between.verdict == "undecided"
    assert words.why_open(between, between.metrics[0]).startswith("two kinds of processes: 460 ms")
    slowly = row([float(ms) for ms in np.linspace(380, 480, 60)])
    assert slowly.verdict == "undecided"
    told = words.why_open(slowly, slowly.metrics[0])
    assert re.fullmatch(r"60 samples, each like the one before, tell as much as \d", told)
