"""Sizes as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.errors import UsageError
from cpufit.pytest_plugin import limits
from cpufit.sizes import parse_size
from cpufit.units import size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("20GB", 20 * 10**9),
        ("20 gb", 20 * 10**9),
        (" 500 MB ", 5 * 10**8),
        ("1.5TB", 1_500 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("64KiB", 65_536),
        ("7B", 7),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text, "--cache-max") == count


@pytest.mark.parametrize(
    "text",
    ["", "GB", "20", "-1GB", "+1GB", "1,5GB", "1e3GB", "nan GB", "infGB", "20 G", "20PB", "2iB"],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=r"--cache-max .* is not a size; give one such as 20GB"):
        parse_size(text, "--cache-max")


def test_a_size_of_nothing() -> None:
    with pytest.raises(UsageError, match="leaves no room"):
        parse_size("0.0 GB", "--cache-max")


@given(st.integers(1, 10**15))
def test_what_is_printed_can_be_typed(count: int) -> None:
    text = size(count).replace(",", "")
    assert parse_size(text, "--cache-max") == pytest.approx(count, rel=0.01)


@given(st.text(max_size=8))
def test_any_text_is_a_size_or_a_mistake(text: str) -> None:
    try:
        assert parse_size(text, "--cache-max") > 0
    except UsageError as error:
        assert "--cache-max" in str(error)  # noqa: PT017


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, -1, 0, True, "20"])
def test_a_limit_of_a_test_is_a_number_that_can_be_held(value: object) -> None:
    with pytest.raises(UsageError, match="is not a limit; give a number above 0"):
        limits.parse({"max_latency_ms": value})
