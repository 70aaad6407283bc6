"""What the other cells of a run say of how much one cell's processes differ."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.stats import intervals, moderated

SPREADS = st.lists(
    st.tuples(st.floats(0, 0.5), st.integers(1, 30)), min_size=moderated.FEWEST_SERIES, max_size=60
)


@given(SPREADS)
def test_the_order_of_cells_does_not_matter(spreads: list[tuple[float, int]]) -> None:
    found = moderated.of_run(spreads)
    assert found >= 0
    assert found == pytest.approx(moderated.of_run(spreads[::-1]))


def test_too_few_series_say_nothing() -> None:
    few = [(0.05, 2)] * (moderated.FEWEST_SERIES - 1)
    assert moderated.of_run(few) == 0
    assert moderated.of_run([*few, (0.05, 0)]) == 0
    assert moderated.of_run([*few, (0.05, 2)]) > 0


def test_two_runtimes_with_noise_a_hundredfold_apart_have_nothing_typical() -> None:
    random = np.random.default_rng(0)
    spreads = np.repeat([[0.001], [0.1]], 10, axis=0)
    found = [(intervals.deviation(row), 2) for row in random.normal(0, spreads, (20, 3))]
    assert moderated.of_run(found) == 0
    assert moderated.of_run(found[:10]) == pytest.approx(0.001, rel=0.3)
    assert moderated.of_run(found[10:]) == pytest.approx(0.1, rel=0.3)


def test_it_finds_what_cells_were_drawn_from() -> None:
    """Smyth's model itself: variances of cells around s0, with three degrees."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(200):
        cells = 0.06 * np.sqrt(3 / random.chisquare(3, 40))
        drawn = random.normal(0, 1, (40, 3)) * cells[:, None]
        found.append(moderated.of_run([(intervals.deviation(row), 2) for row in drawn]))
    assert np.median(found) == pytest.approx(0.06, rel=0.1)


@given(st.floats(0, 1), st.integers(0, 30), st.floats(1e-3, 1))
def test_a_noisy_cell_is_believed_and_degrees_add_up(own: float, degrees: int, run: float) -> None:
    spread, of = moderated.spread(own, degrees, run)
    assert spread >= max(own, moderated.LEAST)
    assert spread <= max(own, run, moderated.LEAST) + 1e-12
    assert of == degrees + moderated.DEGREES


def test_one_process_of_a_known_run_has_an_interval() -> None:
    one = [[10.0, 10.0, 10.0]]
    assert intervals.estimate(one).interval is None
    interval = intervals.estimate(one, 0.05).interval
    assert interval is not None
    half = intervals.quantile(moderated.CONFIDENCE, 3.0) * 0.05
    assert np.log(interval[1] / 10) == pytest.approx(half)


def test_agreeing_by_chance_no_longer_counts() -> None:
    agreeing = [[10.0], [10.001], [10.0]]
    alone, helped = (intervals.estimate(agreeing, run).half_width for run in (0.0, 0.06))
    assert helped > 3 * 0.06 / sqrt(3) / 2 > alone


def test_a_run_of_quiet_cells_is_narrower_and_energy_of_nothing_stays() -> None:
    quiet = [[10.0], [10.05], [9.96]]
    alone, helped = (intervals.estimate(quiet, run).half_width for run in (0.0, 0.005))
    assert helped < alone
    nothing = [[0.0], [0.1], [0.2]]
    assert intervals.estimate(nothing, 0.05) == intervals.estimate(nothing)
