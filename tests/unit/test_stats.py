"""Percentiles that need enough samples, and the verdict's promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.stats import percentiles

Samples = st.lists(st.floats(0, 1e12), min_size=1, max_size=300)


@pytest.mark.parametrize(("share", "needed"), [(0.9, 64), (0.95, 130), (0.99, 662)])
def test_percentiles_need_as_many_samples_as_loadgen_asks(share: float, needed: int) -> None:
    assert percentiles.samples_needed(share, 0.99) == needed


@given(Samples, st.floats(0.01, 0.99))
def test_a_percentile_is_a_sample_that_enough_others_do_not_exceed(
    values: list[float], share: float
) -> None:
    found = percentiles.percentile(values, share)
    if share != 0.5:
        assert found in values
        assert sum(v <= found for v in values) >= share * len(values) - 1e-9


def test_the_median_of_an_even_number_lies_between() -> None:
    assert percentiles.percentile([1.0, 2.0, 3.0, 10.0], 0.5) == 2.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([600.0] * 2, "over"),
        ([600.0], "undecided"),
        ([400.0] * 44, "under"),
        ([400.0] * 43, "undecided"),
        ([400.0] * 90 + [600.0] * 10, "undecided"),
        ([], "undecided"),
    ],
)
def test_verdicts_at_the_edges(values: list[float], expected: str) -> None:
    assert percentiles.verdict(values, 500.0, 0.9, 0.99) == expected


@given(Samples, st.floats(0, 1e12))
def test_a_verdict_is_never_contradicted_by_the_plain_percentile(
    values: list[float], threshold: float
) -> None:
    found = percentiles.verdict(values, threshold, 0.9, 0.99)
    plain = percentiles.percentile(values, 0.9)
    assert not (found == "under" and plain > threshold)
    assert not (found == "over" and plain <= threshold)


def test_a_verdict_at_the_threshold_errs_no_more_than_it_says() -> None:
    """A true p90 exactly at the threshold: each answer is wrong in at most 1 % of trials."""
    rng = np.random.default_rng(7)
    trials = [percentiles.verdict(rng.random(100).tolist(), 0.9, 0.9, 0.99) for _ in range(4000)]
    assert trials.count("under") / 4000 <= 0.0155  # 1 % plus four standard errors
    assert trials.count("over") / 4000 <= 0.0155
