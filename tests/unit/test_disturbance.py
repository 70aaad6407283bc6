"""What counts as a disturbance, from the figures a record keeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.stats import disturbance

QUIET = {
    "wall_s": 2.0,
    "cpu_s": 3.9,
    "foreign_s": 0.02,
    "steal_s": 0.01,
    "quota_periods": 20.0,
    "quota_stops": 0.0,
    "heat_throttles": 0.0,
    "mhz_before": 3000.0,
    "mhz_after": 2900.0,
    "major_faults": 3.0,
    "suspended_s": 0.0,
    "clock_step_s": 0.001,
    "hash_ns_before": 1e5,
    "hash_ns_after": 1.1e5,
}


def test_a_quiet_process_is_not_disturbed() -> None:
    assert disturbance.reasons(QUIET, 2) == ()
    assert disturbance.remarks(QUIET) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"foreign_s": 1.0}, "other programs used 25.0% of the CPU"),
        ({"steal_s": 0.2}, "5.0% of the CPU was stolen by other guests"),
        ({"heat_throttles": 1.0}, "the CPU slowed down for its temperature"),
        ({"mhz_after": 1500.0}, "the clock fell from 3,000 to 1,500 MHz"),
        ({"hash_ns_after": 2e5}, "a fixed piece of work took 2.00 times as long after as before"),
        ({"major_faults": 100.0}, "50 pages a second came from the disk"),
        ({"suspended_s": 30.0}, "the machine slept for 30.0 s"),
    ],
)
def test_each_disturbance_has_its_words(change: dict[str, float], words: str) -> None:
    assert disturbance.reasons(QUIET | change, 2) == (words,)


def test_those_that_take_turns_share_what_is_stolen() -> None:
    noise = QUIET | {"steal_s": 0.2}
    assert disturbance.reasons(noise, 2, disturbance.SHARED_STEAL_SHARE) == ()


def test_a_clock_that_is_set_is_a_remark() -> None:
    assert disturbance.reasons(QUIET | {"clock_step_s": -3600.0}, 2) == ()
    (words,) = disturbance.remarks(QUIET | {"clock_step_s": -3600.0})
    assert words.startswith("the clock was set by -3600.0 s")


def test_a_quota_is_the_containers_nature_and_no_disturbance() -> None:
    """All of its processes meet it, and so will whoever uses the container."""
    noise = QUIET | {"quota_stops": 19.0}
    assert disturbance.reasons(noise, 2) == ()
    (words,) = disturbance.remarks(noise)
    assert words.startswith("its CPU quota was used up in 95.0% of all periods: valid for such")


@given(st.dictionaries(st.sampled_from(sorted(QUIET)), st.floats(0, 1e9)), st.floats(0, 256))
def test_whatever_a_host_shows_can_be_judged(noise: dict[str, float], cores: float) -> None:
    assert all(words for words in disturbance.reasons(noise, cores))


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({}, 1.0),
        ({"foreign_s": 0.25}, 1.1 / (1 - 0.26)),
        ({"foreign_s": 1.0}, disturbance.MOST_SLOWED),
        ({"mhz_after": 1500.0}, 2.0 / (1 - 0.03)),
        ({"hash_ns_after": 2e5}, 2.0 / (1 - 0.03)),
        ({"heat_throttles": 1.0}, disturbance.MOST_SLOWED),
        ({"major_faults": 100.0}, disturbance.MOST_SLOWED),
        ({"suspended_s": 30.0}, disturbance.MOST_SLOWED),
    ],
)
def test_how_much_a_disturbance_explains(change: dict[str, float], factor: float) -> None:
    assert disturbance.slowdown(QUIET | change, 2, 0.5) == pytest.approx(factor, rel=0.03)


@given(
    count=st.integers(1, 40),
    hit=st.floats(0.5, 1.0),
    lost=st.floats(0.05, 5.0),
    share=st.sampled_from([0.5, 0.1]),
)
def test_other_work_never_explains_less_than_it_can_have_done(
    count: int, hit: float, lost: float, share: float
) -> None:
    """Work that stops `hit` of equal samples of 1 s for `lost` s each, and so their percentile."""
    stopped = max(round(count * hit), 1)
    noise = QUIET | {"wall_s": count + stopped * lost, "foreign_s": stopped * lost}
    if disturbance.reasons(noise, 1):
        most = min(1 + lost, disturbance.MOST_SLOWED)
        assert disturbance.slowdown(noise, 1, share) >= most * (1 - 1e-9)
