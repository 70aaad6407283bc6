"""Several processes to one figure: properties, and how often it holds where the truth is known."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.stats import intervals, percentiles

MS = 1e6
Process = st.lists(st.floats(1, 1e12), min_size=1, max_size=20)
Processes = st.lists(Process, min_size=1, max_size=8)


@given(Processes)
def test_the_value_lies_among_the_processes_and_in_its_interval(found: list[list[float]]) -> None:
    medians = [float(np.median(values)) for values in found]
    made = intervals.estimate(found)
    assert min(medians) * (1 - 1e-9) <= made.value <= max(medians) * (1 + 1e-9)
    assert made.processes == len(found)
    if made.interval is None:
        assert len(found) == 1
        assert made.half_width == inf
    else:
        low, high = made.interval
        assert low <= made.value * (1 + 1e-9)
        assert made.value <= high * (1 + 1e-9)


@given(Processes, st.floats(1e-3, 1e3))
def test_it_does_not_matter_in_what_unit(found: list[list[float]], unit: float) -> None:
    one = intervals.estimate(found)
    other = intervals.estimate([[value * unit for value in values] for values in found])
    assert other.value == pytest.approx(one.value * unit)
    assert other.half_width == pytest.approx(one.half_width, rel=1e-6, abs=1e-9)


def test_energy_above_idle_may_be_nothing() -> None:
    made = intervals.estimate([[0.0], [0.1], [-0.1]])
    assert made.value == pytest.approx(0)
    assert made.interval is not None
    assert made.interval[0] < 0 < made.interval[1]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12), st.floats(-1e6, 1e6))
def test_the_centre_moves_with_its_values(values: list[float], by: float) -> None:
    here = intervals.hodges_lehmann(np.array(values))
    assert min(values) <= here <= max(values)
    there = intervals.hodges_lehmann(np.array(values) + by)
    assert there == pytest.approx(here + by, abs=1e-6)


def test_one_wild_process_hardly_moves_the_value() -> None:
    calm = [[10.0], [10.2], [9.9], [10.1], [10.0]]
    assert intervals.estimate([*calm, [90.0]]).value < 10.4


@pytest.mark.parametrize(("processes", "most"), [(2, 1.0), (3, 0.99), (5, 0.985), (10, 0.98)])
def test_the_interval_holds_the_truth_as_often_as_it_says(processes: int, most: float) -> None:
    """It is wider than it need be here, where nothing stops by what it sees (`cpufit selftest`)."""
    random = np.random.default_rng(processes)
    held = 0
    for _ in range(2000):
        luck = np.exp(random.normal(0, 0.08, processes))
        made = intervals.estimate([[value] for value in luck])
        assert made.interval is not None
        held += made.interval[0] <= 1 <= made.interval[1]
    assert 0.95 <= held / 2000 <= most


def _verdict(found: list[list[float]], slowdown: float = 1.0) -> str:
    return intervals.judge(found, 500 * MS, 0.9, 0.99, slowdown)


def test_far_from_the_threshold_a_handful_of_samples_is_enough() -> None:
    assert _verdict([[5 * MS] * 2, [5.2 * MS] * 2]) == "under"
    assert _verdict([[5000 * MS], [5300 * MS]]) == "over"


def test_near_it_they_are_not() -> None:
    near = [[480 * MS] * 9, [490 * MS] * 9]
    assert _verdict(near) == "undecided"
    assert _verdict([[450 * MS] * 9] * 12) == "under"


def test_two_processes_that_agree_by_chance_are_not_sure_for_that() -> None:
    assert _verdict([[450 * MS] * 100, [450 * MS] * 100]) == "undecided"


def test_one_process_is_judged_by_its_samples() -> None:
    assert _verdict([[400 * MS] * 44]) == "under"
    assert _verdict([[400 * MS] * 43]) == "undecided"


def test_one_process_or_two_that_are_far_from_it_suffice() -> None:
    assert _verdict([[2001 * MS]]) == "over"
    assert _verdict([[1999 * MS]]) == "undecided"
    assert _verdict([[751 * MS], [752 * MS]]) == "over"
    assert _verdict([[749 * MS], [900 * MS]]) == "undecided"
    bound = intervals.bound_of([[2001 * MS]], 0.9, 0.99)
    assert bound.low > 500 * MS
    assert _verdict([[120 * MS] * 3]) == "under"
    assert _verdict([[126 * MS] * 3]) == "undecided"
    assert _verdict([[119 * MS, 90 * MS, 80 * MS]]) == "undecided"  # more samples may be slower
    assert _verdict([[300 * MS] * 9, [310 * MS] * 9]) == "under"


@pytest.mark.parametrize("samples", [1, 2, 3, 10])
def test_few_samples_are_not_taken_for_a_low_percentile(samples: int) -> None:
    """Processes that agree on what lies just below: their requests' p90 need not."""
    random = np.random.default_rng(samples)
    few = [list(450 * MS * np.exp(random.normal(0, 0.06, samples))) for _ in range(20)]
    assert intervals.bound_of(few, 0.9, 0.99).high > 450 * MS * np.exp(1.28 * 0.06)
    many = [list(450 * MS * np.exp(random.normal(0, 0.02, 300))) for _ in range(20)]
    assert _verdict(many) == "under"


def test_samples_like_their_neighbours_count_as_fewer() -> None:
    random = np.random.default_rng(0)
    mixed = list(np.exp(random.normal(0, 0.1, 100)) * 300 * MS)
    assert percentiles.independent(mixed) > 80
    assert percentiles.independent(sorted(mixed)) < 10
    assert percentiles.independent([5.0] * 100) == 100
    assert percentiles.independent(sorted(mixed)[:9]) == 9
    assert (_verdict([mixed]), _verdict([sorted(mixed)])) == ("under", "undecided")


def test_what_is_disturbed_is_over_only_where_that_could_not_be_the_reason() -> None:
    assert _verdict([[900 * MS], [950 * MS], [920 * MS]]) == "over"
    assert _verdict([[900 * MS], [950 * MS], [920 * MS]], 1.8) == "over"
    assert _verdict([[900 * MS], [950 * MS], [920 * MS]], 1.9) == "undecided"
    assert _verdict([[90 * MS], [95 * MS], [92 * MS]], 4.0) == "under"
    one_bad_tail = [[400 * MS] * 8 + [5000 * MS] * 92] * 3
    assert _verdict(one_bad_tail, 4.0) == "over"
    assert _verdict([[510 * MS] * 80 + [5000 * MS] * 20] * 3, 1.2) == "undecided"


@given(Processes)
def test_slower_is_never_judged_faster(found: list[list[float]]) -> None:
    rank = {"under": 0, "undecided": 1, "over": 2}
    slower = [[2 * value for value in values] for values in found]
    assert rank[_verdict(found)] <= rank[_verdict(slower)]


def test_a_bound_says_what_the_verdict_says() -> None:
    processes = [[400 * MS] * 30, [420 * MS] * 30, [440 * MS] * 30]
    bound = intervals.bound([max(found) for found in processes], 0.99)
    assert bound.low < bound.centre < bound.high
    assert bound.centre == pytest.approx(420 * MS, rel=0.01)
    for threshold in (0.99 * bound.low, bound.centre, 1.01 * bound.high):
        assert bound.against(threshold) == intervals.judge(processes, threshold, 0.9, 0.99)
    assert bound.against(0.99 * bound.low, 1.5) == "undecided"
    assert bound.against(bound.low / 4, 4.0) == "over"
    assert intervals.bound([5.0], 0.99).against(5_000) == "undecided"
