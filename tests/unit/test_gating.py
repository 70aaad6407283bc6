"""The gate's rule on invented pairs whose truth is known, and what it makes of cells."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit import analysis, config
from cpufit.cli.gate import parse_margins
from cpufit.errors import UsageError
from cpufit.gating import baseline, rule, verdict
from cpufit.gating.pairs import PEAK, Facts, Pair, Trial, kind_of, settled, values_of
from cpufit.margins import MARGINS
from cpufit.report import gate_words
from cpufit.schema import Cell
from tests.report import samples

CELL = Cell(model="m", precision="int8", runtime="fake", scenario="latency", threads=1)
THRESHOLDS = config.load_settings().levels


def trial(screen: list[float], confirm: list[float] = [], disturbed: int = 0) -> Trial:  # noqa: B006
    """Return a trial whose latency changed by so much in each pair."""
    pairs = [Pair(stage="screen", before={"latency": 1.0}, after={"latency": r}) for r in screen]
    pairs += [Pair(stage="confirm", before={"latency": 1.0}, after={"latency": r}) for r in confirm]
    pairs[:disturbed] = [replace(pair, disturbed=("a hog",)) for pair in pairs[:disturbed]]
    return Trial(cell=CELL, against=CELL, pairs=tuple(pairs))


def noise(seed: int, count: int, change: float = 0.0, spread: float = 0.02) -> list[float]:
    random = np.random.default_rng(seed)
    return list(np.exp(log(1 + change) + random.normal(0, spread, count)))


@pytest.mark.parametrize("count", [1, 5, 9])
def test_signed_ranks_are_exact(count: int) -> None:
    values = np.random.default_rng(count).normal(0.3, 1, count)
    ranks = np.argsort(np.argsort(np.abs(values))) + 1
    above = ranks[values > 0].sum()
    sums = [np.dot(signs, ranks) for signs in product((0, 1), repeat=count)]
    assert rule.signed_rank(values) == pytest.approx(np.mean([s >= above for s in sums]))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_both_sides_of_a_test_cover_everything(values: list[float]) -> None:
    logs = np.array(values)
    assert 0 < rule.signed_rank(logs) <= 1
    assert rule.signed_rank(logs) + rule.signed_rank(-logs) >= 1


def test_values_that_are_all_equal_prove_nothing_when_zero() -> None:
    assert rule.signed_rank(np.zeros(10)) == 1
    assert rule.signed_rank(np.full(10, 0.01)) == 2**-10


def test_a_slowdown_is_screened_confirmed_and_told() -> None:
    slow = trial(noise(1, 10, 0.06))
    assert verdict.wants(slow, 30) == "confirm"
    (found,) = verdict.judge(slow, 30).judged.values()
    assert found.verdict == "inconclusive"
    assert found.why == "worse on the screen, but 0 of 20 pairs to confirm it"
    sure = trial(noise(1, 10, 0.06), noise(2, 20, 0.06))
    assert verdict.wants(sure, 30) is None
    found = verdict.judge(sure, 30).judged["latency"]
    assert found.verdict == "regression"
    assert found.interval[0] < 1.06 < found.interval[1]


def test_what_is_not_confirmed_is_no_regression() -> None:
    found = verdict.judge(trial(noise(1, 10, 0.06), noise(2, 20)), 30)
    assert found.word == "same"


def test_a_slowdown_below_the_margin_passes() -> None:
    small = trial(noise(1, 10, 0.02, 0.001), noise(2, 20, 0.02, 0.001))
    assert verdict.judge(small, 30).word == "same"


def test_an_improvement_is_told_and_passes() -> None:
    found = verdict.judge(trial(noise(1, 10, -0.1)), 30)
    assert found.word == "improvement"
    assert verdict.exit_code([found]) == 0


def test_an_improvement_says_whether_fresh_pairs_confirm_it() -> None:
    screened, confirmed = (
        verdict.judge(trial(noise(1, 10, -0.1), fresh), 30).judged["latency"]
        for fresh in ([], noise(2, 20, -0.1))
    )
    assert screened.verdict == confirmed.verdict == "improvement"
    assert screened.why == "on the screen alone: a command that measures again confirms it"
    assert confirmed.why == ""
    assert gate_words.reason(screened).startswith("10 pairs, p ")
    assert gate_words.reason(screened).endswith(screened.why)


def test_what_is_little_known_promises_less() -> None:
    """Noise of ten pairs is itself not known: Student's quantile, not the normal one."""
    few, many = np.tile([-0.02, 0.02], 5), np.tile([-0.02, 0.02], 500)
    sees = [rule.smallest(logs, rule.SCREEN, 0.03, 30) for logs in (few, many)]
    assert sees[0] > 1.05 * sees[1]
    assert rule.smallest(few, rule.SCREEN, 0.03, 30, stages=2) > sees[0]
    assert rule.smallest(few[:2], rule.SCREEN, 0.03, 30, stages=2) == np.inf


@pytest.mark.parametrize(("shift", "restless"), [(0.0, False), (0.012, True)])
def test_one_side_that_is_a_little_slower_in_all_is_noted(shift: float, restless: bool) -> None:
    """Each by itself is the same within the margin; together they are not."""
    trials = [trial(noise(seed, 10, shift, 0.02)) for seed in range(30)]
    found = [verdict.judge(one, 30) for one in trials]
    assert {one.word for one in found} <= {"same", "inconclusive"}
    assert bool(verdict.restless(found)) is restless
    assert not verdict.restless(found[:5])


def test_fresh_pairs_tell_an_improvement_that_the_screen_did_not_show() -> None:
    screen = np.array([-0.05, -0.06, -0.04, 0.05, 0.06, -0.05, 0.04, -0.06, -0.05, 0.06])
    fresh = np.log(noise(1, 20, -0.06))
    assert rule.judge(screen, np.array([]), 0.03, 30).verdict != "improvement"
    assert rule.judge(screen, fresh, 0.03, 30).verdict == "improvement"


def test_noise_asks_for_more_pairs_and_is_never_passed() -> None:
    loud = trial(noise(1, 10, 0, 0.1))
    assert verdict.wants(loud, 30) == "screen"
    enough = trial(noise(1, rule.SCREEN_MOST, 0, 0.1))
    assert verdict.wants(enough, 30) is None
    found = verdict.judge(enough, 30)
    assert found.word == "inconclusive"
    told = re.fullmatch(
        r"too noisy: only (\d+)% would be found; a margin of (\d+)% could be judged",
        found.judged["latency"].why,
    )
    assert told
    assert found.judged["latency"].smallest == pytest.approx(int(told[1]) / 100, abs=0.006)
    least = int(told[2]) / 100
    for share, word in ((least, "same"), (least - 0.01, "inconclusive")):
        asked = replace(enough, margins={**MARGINS, "time": share})
        assert verdict.judge(asked, 30).word == word
    assert verdict.exit_code([found]) == 3


def test_disturbed_pairs_are_no_evidence() -> None:
    """Beside a hog even a clear slowdown is nothing but undecided."""
    hogged = trial(noise(1, 30, 0.5), disturbed=25)
    assert verdict.wants(hogged, 30) is None
    found = verdict.judge(hogged, 30)
    assert found.word == "inconclusive"
    assert found.judged["latency"].why == "5 undisturbed pairs, 10 are needed"
    nothing = verdict.judge(trial(noise(1, 30), disturbed=30), 30)
    assert nothing.word == "inconclusive"


def test_the_worst_word_decides_the_exit_code() -> None:
    same = verdict.judge(trial(noise(1, 10, 0, 0.01)), 3)
    slow = verdict.judge(trial(noise(1, 10, 0.1), noise(2, 20, 0.1)), 3)
    lost = verdict.judge(replace(trial([]), problem="oom"), 3)
    assert same.word == "same"
    assert verdict.exit_code([same]) == 0
    assert verdict.exit_code([same, lost]) == 4
    assert verdict.exit_code([same, lost, slow]) == 1


def test_sizes_and_cosines_are_exact() -> None:
    before, after = Facts(size_bytes=100, cosine=0.999), Facts(size_bytes=104, cosine=0.98)
    found = verdict.judge(replace(trial(noise(1, 10)), before=before, after=after), 3)
    assert found.judged[verdict.SIZE].verdict == "regression"
    assert found.judged[verdict.COSINE].verdict == "regression"
    assert found.judged[verdict.COSINE].ratio == pytest.approx(0.98 / 0.999)


def test_files_of_other_weights_are_compared_by_speed_alone() -> None:
    before, after = Facts(size_bytes=100, cosine=1.0), Facts(size_bytes=100, cosine=-0.1)
    other = replace(trial(noise(1, 10)), before=before, after=after)
    found = verdict.judge(other, 3).judged[verdict.COSINE]
    assert found.verdict == "regression"
    (words,) = [word for word in found.why.split() if word.startswith("numerics=")]
    speed = replace(other, margins={**MARGINS, **parse_margins([words])})
    assert verdict.COSINE not in verdict.judge(speed, 3).judged
    with pytest.raises(UsageError, match="only size and numerics can be left out"):
        parse_margins(["time=any"])


def test_the_promise_holds() -> None:
    """What the rule says it would find, it finds in 99 of 100 cases, or nearly."""
    random = np.random.default_rng(0)
    change = rule.smallest(random.normal(0, 0.025, 4000), rule.SCREEN, 0.03, 30)
    found = 0
    for _ in range(400):
        screen, confirm = (log(1 + change) + random.normal(0, 0.025, n) for n in (10, 20))
        confirm = confirm if rule.flagged(screen, 0.03) else confirm[:0]
        found += rule.judge(screen, confirm, 0.03, 30).verdict == "regression"
    assert found >= 390


def test_a_matrix_of_equal_arms_hardly_ever_fails() -> None:
    random, failed = np.random.default_rng(0), 0
    for _ in range(60_000):
        screen = random.normal(0, 0.03, 10)
        if rule.flagged(screen, 0.03):
            confirm = random.normal(0, 0.03, 20)
            failed += rule.judge(screen, confirm, 0.03, 500).verdict == "regression"
    assert failed / (60_000 / 500) <= 0.02


def test_quantities_of_a_process() -> None:
    record = samples.llm_records(64)[0]
    values = values_of(record.outcome)
    assert {"TTFT at 128 tokens", "TPOT", PEAK, "load"} <= values.keys()
    assert [kind_of(name) for name in ("TPOT", PEAK, "load")] == ["time", "memory", "load"]


# ------------------------------------------------------------------------------- earlier runs
def runs(count: int, changes: list[float], peaks: list[int] | None = None) -> list[analysis.Row]:
    """Return rows of so many runs of one cell, each slower by its change, of so large processes."""
    whole = samples.infer_records(60)[0]
    found = []
    for index, change in zip(range(count), changes, strict=True):
        for record in samples.in_processes(whole, 3):
            series = tuple(
                replace(s, values=tuple(v * (1 + change) for v in s.values))
                for s in record.outcome.series
            )
            memory = record.outcome.memory
            if peaks:
                assert memory is not None
                memory = replace(memory, peak_bytes=peaks[index] * 10**6)
            outcome = replace(record.outcome, series=series, memory=memory)
            found.append(replace(record, run_id=f"run-{index}", outcome=outcome))
    return analysis.rows(found, THRESHOLDS)


def test_ten_earlier_runs_tell_a_change() -> None:
    moods = [0.002 * (-1) ** index for index in range(12)]
    past = runs(12, moods)
    (same,) = runs(1, [0.003])
    (slow,) = runs(1, [0.12])
    assert baseline.judge(past, same, MARGINS, 5).word == "same"
    found = baseline.judge(past, slow, MARGINS, 5)
    assert found.judged["latency"].verdict == "regression"
    assert found.judged["latency"].ratio == pytest.approx(1.12, abs=0.01)


def test_memory_that_varies_between_runs_is_no_regression() -> None:
    """What a process of ONNX Runtime takes at most depends on chance, by some percent."""
    past = runs(12, [0.0] * 12, peaks=[100, 103, 98, 101, 99, 104, 97, 102, 100, 103, 98, 101])
    (now,) = runs(1, [0.0], peaks=[103])
    found = baseline.judge(past, now, MARGINS, 5).judged[PEAK]
    assert found.verdict == "inconclusive"
    assert found.why.startswith("too noisy: ")
    (larger,) = runs(1, [0.0], peaks=[140])
    assert baseline.judge(past, larger, MARGINS, 5).judged[PEAK].verdict == "regression"


def test_one_earlier_run_tells_sizes_only() -> None:
    (slow,) = runs(1, [0.12])
    found = baseline.judge(runs(1, [0.0]), slow, MARGINS, 5)
    assert found.word == "inconclusive"
    assert found.judged["latency"].why == "1 earlier run: 10 tell their luck from a change"
    assert found.judged[PEAK].verdict == "inconclusive"
    assert found.judged[verdict.SIZE].verdict == "same"


def test_another_file_is_not_compared() -> None:
    (now,) = runs(1, [0.0])
    record = now.records[0]
    assert record.artifact is not None
    other = replace(record, artifact=replace(record.artifact, key="another"))
    (past,) = analysis.rows([other], THRESHOLDS)
    found = baseline.judge([past], now, MARGINS, 5)
    assert found.word == "inconclusive"
    assert found.judged[verdict.PAIRS].why.endswith("another model file")
    assert baseline.judge([], now, MARGINS, 5).trial.problem == "the baseline has not measured it"


def test_a_pair_goes_on_while_any_quantity_of_its_slices_differs() -> None:
    quiet, loud = noise(1, 8, 0.2, 0.005), noise(2, 8, 0.2, 0.1)
    before = [(1.0, 1.0)] * 8
    assert settled(before, [*zip(quiet, quiet, strict=True)])
    assert not settled(before, [*zip(quiet, loud, strict=True)])
    assert not settled([(1.0,)], [(1.0,)])


@given(st.lists(st.tuples(st.floats(1, 2), st.floats(1, 2)), min_size=2, max_size=16))
def test_when_a_pair_ends_does_not_depend_on_which_arm_is_slower(
    slices: list[tuple[float, float]],
) -> None:
    before, after = [(b,) for b, _ in slices], [(a,) for _, a in slices]
    assert settled(before, after) == settled(after, before)
