"""Inputs: the same bytes everywhere, of the distribution that was asked for."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.errors import UnsupportedError
from cpufit.runtimes.inputs import check_batch, make_input, shape_of
from cpufit.schema import Input

IMAGE = Input(name="images", dtype="float32", shape=("batch", 3, 224, 224), fill="normal")
IDS = Input(name="input_ids", dtype="int64", shape=("batch", 128), fill="ids:30522")


def test_only_the_named_axis_is_the_batch() -> None:
    spec = Input(name="state", dtype="float32", shape=(2, "batch", 128), fill="zeros")
    assert shape_of(spec, 8) == (2, 8, 128)


def test_bytes_are_those_of_every_other_machine() -> None:
    digests = [
        hashlib.sha256(make_input(spec, 2, 7).tobytes()).hexdigest()[:16] for spec in (IMAGE, IDS)
    ]
    assert digests == ["aad2f68986abe48c", "a95c9615046dd57b"]


def test_normal_is_standard_normal_to_the_second_moment() -> None:
    array = make_input(IMAGE, 8, 0)
    assert array.dtype == np.float32
    assert array.shape == (8, 3, 224, 224)
    assert abs(float(array.mean())) < 0.003  # standard error 0.0009
    assert abs(float(array.std()) - 1) < 0.003
    assert 3.2 < float(np.abs(array).max()) < 3.4642
    lag = float(np.corrcoef(array.reshape(-1)[:-1], array.reshape(-1)[1:])[0, 1])
    assert abs(lag) < 0.004


def test_samples_of_a_batch_differ_and_begin_with_the_single_one() -> None:
    one, many = make_input(IMAGE, 1, 3), make_input(IMAGE, 3, 3)
    assert np.array_equal(many[:1], one)
    assert not np.array_equal(many[1], many[2])


def test_seed_and_name_change_the_values() -> None:
    other = Input(name="other", dtype="int64", shape=IDS.shape, fill=IDS.fill)
    drawn = [make_input(IDS, 1, 0), make_input(IDS, 1, 1), make_input(other, 1, 0)]
    assert len({array.tobytes() for array in drawn}) == 3


@given(rows=st.integers(1, 2**31), seed=st.integers(0, 2**63))
def test_ids_stay_below_the_vocabulary(rows: int, seed: int) -> None:
    spec = Input(name="ids", dtype="int64", shape=("batch", 16), fill=f"ids:{rows}")
    array = make_input(spec, 2, seed)
    assert int(array.min()) >= 0
    assert int(array.max()) < rows


def test_ids_reach_the_whole_vocabulary() -> None:
    spec = Input(name="ids", dtype="int32", shape=("batch", 4096), fill="ids:10")
    counts = np.bincount(make_input(spec, 8, 0).reshape(-1))
    assert len(counts) == 10
    assert counts.min() > 3000  # 3277 expected, standard deviation 54


@pytest.mark.parametrize(("fill", "value"), [("ones", 1), ("zeros", 0)])
@pytest.mark.parametrize("dtype", ["bool", "int64", "float16"])
def test_constant_fills(fill: str, value: int, dtype: str) -> None:
    array = make_input(Input(name="x", dtype=dtype, shape=("batch", 5), fill=fill), 2, 0)
    assert array.dtype == np.dtype(dtype)
    assert np.array_equal(array, np.full((2, 5), value))


def test_an_unknown_type_is_refused_in_words() -> None:
    spec = Input(name="x", dtype="float7", shape=("batch", 5), fill="normal")
    with pytest.raises(UnsupportedError, match="input x is float7"):
        make_input(spec, 1, 0)


def test_a_batch_needs_an_open_axis() -> None:
    fixed = Input(name="x", dtype="float32", shape=(1, 3), fill="normal")
    check_batch((fixed,), 1)
    check_batch((fixed, IDS), 8)
    with pytest.raises(UnsupportedError, match=r"x\[1, 3\].*a batch of 8 does not fit"):
        check_batch((fixed,), 8)
