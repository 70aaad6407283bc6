"""Synthetic weights: fixed bytes, the promised distribution, nothing that falsifies timing."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.networks import weights


def test_bytes_are_fixed_for_ever() -> None:
    drawn = weights.tensor("model", "layer.weight", (64, 33), 0.05)
    digest = hashlib.sha256(drawn.astype("<f4").tobytes()).hexdigest()
    assert digest[:16] == "0553ae603e5c6eb5"


def test_model_and_tensor_names_both_decide() -> None:
    keys = [("a", "b"), ("a", "c"), ("b", "b"), ("ab", ""), ("", "ab")]
    drawn = {weights.tensor(*key, (64,), 1.0).tobytes() for key in keys}
    assert len(drawn) == len(keys)


@given(
    shape=st.lists(st.integers(1, 7), max_size=4).map(tuple),
    std=st.floats(1e-4, 10),
    mean=st.sampled_from([0.0, 1.0, -0.5]),
)
def test_any_shape_stays_within_the_promised_bounds(
    shape: tuple[int, ...], std: float, mean: float
) -> None:
    drawn = weights.tensor("m", "t", shape, std, mean)
    assert drawn.shape == shape
    assert drawn.dtype == np.float32
    assert np.abs(drawn - mean).max() <= 1.74 * std + 1e-6


@pytest.mark.parametrize(("std", "mean"), [(1.0, 0.0), (0.02, 0.0), (0.1, 1.0)])
def test_mean_and_deviation_are_as_asked(std: float, mean: float) -> None:
    drawn = weights.tensor("m", "t", (400_000,), std, mean).astype(np.float64)
    assert drawn.mean() == pytest.approx(mean, abs=4 * std / math.sqrt(400_000))
    assert drawn.std() == pytest.approx(std, rel=0.005)


def test_nothing_is_zero_or_denormal() -> None:
    drawn = np.abs(weights.tensor("m", "t", (1_000_000,), 0.01))
    assert drawn.min() > 2.5e-5 * 0.01


def test_neighbours_are_independent() -> None:
    drawn = weights.tensor("m", "t", (100_000,), 1.0)
    for lag in (1, 2, 3, 4):
        assert abs(float(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1])) < 0.015


def test_raw_is_a_prefix_of_a_longer_draw() -> None:
    np.testing.assert_array_equal(weights.raw("m", "t", 7), weights.raw("m", "t", 101)[:7])
