"""Processes of two kinds, and a drift over the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.stats import intervals, unsteady

if TYPE_CHECKING:
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


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12))
def test_what_need_not_be_asked_shows_nothing(values: list[float]) -> None:
    found = unsteady.seen(np.array(values))
    if found is not None:
        assert list(unsteady.may_be(np.array([values]))) == [0]


def test_the_interval_holds_both_kinds_and_a_threshold_between_them_is_open() -> None:
    kinds = [[value * 1e8] for value in (4.6, 5.5, 4.61, 5.49, 4.59, 5.51)]
    made = intervals.estimate(kinds)
    assert made.unsteady is not None
    assert made.interval is not None
    low, high = made.interval
    assert low <= 4.61e8
    assert high >= 5.49e8
    assert intervals.judge(kinds, 5e8, 0.9, 0.99) == "undecided"
