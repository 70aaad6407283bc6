"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit import units


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (9.999, "10.0"), (0.01234, "0.0123"), (1234567, "1,230,000"), (-4.2, "-4.20")],
)
def test_significant(value: float, text: str) -> None:
    assert units.significant(value) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [(870, "0.870 us"), (7_420_000, "7.42 ms"), (1.3e9, "1.30 s"), (500e6, "500 ms")],
)
def test_duration(ns: float, text: str) -> None:
    assert units.duration(ns) == text


@pytest.mark.parametrize(
    ("bytes_", "text"), [(999, "999 B"), (4_367_704_064, "4.37 GB"), (103_668_480, "104 MB")]
)
def test_size(bytes_: float, text: str) -> None:
    assert units.size(bytes_) == text


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (1, "cell", "1 cell"),
        (0, "cell", "0 cells"),
        (1200, "cell", "1,200 cells"),
        (3, "process", "3 processes"),
        (0.5, "core", "0.5 cores"),
        (2.0, "core", "2 cores"),
    ],
)
def test_counted(count: float, noun: str, text: str) -> None:
    assert units.counted(count, noun) == text


@pytest.mark.parametrize(("seconds", "text"), [(42, "0:42"), (725, "12:05"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert units.clock(seconds) == text


@given(st.floats(1e-6, 1e15))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    assert float(units.significant(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


@given(st.integers(0, 10**15))
def test_counts_and_sizes_keep_their_magnitude(value: int) -> None:
    factors = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}
    number, _, unit = units.count(value).partition(" ")
    assert float(number.replace(",", "")) * factors[unit] == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.0, "1.0000"), (0.98999, "0.9899"), (0.99996, "0.9999"), (0.0, "0.0000"), (-0.2, "-0.2000")],
)
def test_cosines_are_rounded_down(value: float, words: str) -> None:
    assert units.cosine(value) == words


@pytest.mark.parametrize(
    ("words", "text"),
    [((), ""), (("10",), "10"), (("10", "15"), "10 and 15"), (("5", "10", "15"), "5, 10 and 15")],
)
def test_lists(words: tuple[str, ...], text: str) -> None:
    assert units.listed(words) == text
    assert units.listed(words, "or") == text.replace("and", "or")
