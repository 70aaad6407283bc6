"""From measured rows to a tier."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cpufit import analysis, config, sizing
from cpufit.analysis import words
from cpufit.config import load_settings
from cpufit.schema import Cell, Memory, Outcome, Series, Tier, TierModel
from tests.samples import HOST, RECORD

if TYPE_CHECKING:
    from cpufit.schema import Family, Record

MS = 1e6
GB = 10**9
BOX = replace(HOST, memory_limit_bytes=8 * GB)
SETTINGS = load_settings()
LEVELS = SETTINGS.levels


def _tier(name: str, *models: str) -> Tier:
    return Tier(
        name=name,
        title=name,
        device="",
        ram_gb=(1, 2),
        cores=1,
        models=tuple(TierModel(model=m, precision="int4") for m in models),
        memory_share=0.5,
        prompt_tokens=128,
        min_tokens_per_s=5,
    )


def _series(name: str, ms: float, size: int = 1, n: int = 100) -> Series:
    return Series(name=name, unit="ns", size=size, items=1, values=(ms * MS,) * n)


def _row(
    model: str, family: Family, *series: Series, peak: float = 1 * GB, runtime: str = "fake"
) -> Record:
    return replace(
        RECORD,
        cell=Cell(model=model, precision="int4", runtime=runtime, scenario="latency", threads=2),
        host=BOX,
        family=family,
        title=model,
        outcome=Outcome(
            status="ok",
            series=series,
            memory=Memory(baseline_bytes=0, peak_bytes=int(peak), anon_bytes=0, file_bytes=0),
        ),
    )


def _llm(model: str, ttft_ms: float, tpot_ms: float = 50, **kwargs: float) -> Record:
    return _row(
        model,
        "llm",
        _series("ttft", ttft_ms, 128),
        _series("tpot", tpot_ms),
        **kwargs,  # type: ignore[arg-type]
    )


def _recommend(records: list[Record], *tiers: Tier) -> sizing.Recommendation:
    return sizing.recommend(analysis.rows(records, LEVELS), BOX, replace(SETTINGS, tiers=tiers))


def test_models_of_no_tier_say_nothing_of_tiers() -> None:
    own = _llm("mine", 100)
    own = replace(own, cell=replace(own.cell, weights="real"))
    found = _recommend([own], _tier("low", "a"))
    assert (found.tiers, found.met, found.next) == ((), None, None)
    assert found.headline == "What was measured on this host"
    other = replace(own, cell=replace(own.cell, model="mistral-7b"))
    assert not _recommend([own, other], _tier("low", "a")).tiers
    promised = replace(own, cell=replace(own.cell, model="a"))
    assert len(_recommend([own, promised], _tier("low", "a")).tiers) == 1


def test_the_highest_tier_whose_models_all_pass() -> None:
    found = _recommend(
        [_llm("a", 100), _llm("b", 400), _llm("c", 2000)],
        _tier("low", "a"),
        _tier("mid", "a", "b"),
        _tier("high", "c"),
    )
    assert found.met is not None
    assert found.met.tier.name == "mid"
    assert found.next is not None
    assert found.next.tier.name == "high"
    assert "c INT4 on fake" in found.nearest_miss[0]
    assert "TTFT at 128 tokens 2.00 s (p90) (limit 500 ms)" in found.nearest_miss[0]


def test_a_tier_above_a_missed_one_is_not_recommended() -> None:
    found = _recommend([_llm("a", 900), _llm("b", 100)], _tier("low", "a"), _tier("mid", "b"))
    assert found.met is None
    assert found.headline == "No tier is recommended for this host"


def test_memory_beyond_the_share_misses() -> None:
    found = _recommend([_llm("a", 100, peak=4.1 * GB)], _tier("low", "a"))
    assert found.met is None
    assert "memory 4.10 GB at the peak (limit 4.00 GB, 50% of 8.00 GB)" in found.nearest_miss[0]


def test_slow_generation_misses() -> None:
    found = _recommend([_llm("a", 100, tpot_ms=250)], _tier("low", "a"))
    assert "decode 4.00 tokens/s (limit at least 5.00 tokens/s)" in found.nearest_miss[0]


def _processes(records: list[Record]) -> list[Record]:
    return [replace(record, repeat=repeat) for repeat, record in enumerate(records)]


def test_tokens_per_second_near_the_floor_are_undecided() -> None:
    near = _processes([_llm("a", 100, tpot_ms=ms) for ms in (180, 199, 214)])
    found = _recommend(near, _tier("low", "a"))
    assert found.met is None
    assert found.tiers[0].answer == "undecided"
    assert "decode 5.06 tokens/s (limit at least 5.00 tokens/s, undecided)" in found.nearest_miss[0]
    sure = _processes([_llm("a", 100, tpot_ms=ms) for ms in (100, 101, 102)])
    assert _recommend(sure, _tier("low", "a")).met is not None


def test_memory_that_some_processes_exceed_is_undecided() -> None:
    found = _recommend(
        _processes([_llm("a", 100, peak=peak * GB) for peak in (3.9, 3.9, 4.1)]), _tier("low", "a")
    )
    assert found.tiers[0].answer == "undecided"
    assert (
        "memory 4.10 GB at the peak (limit 4.00 GB, 50% of 8.00 GB, undecided)"
        in found.nearest_miss[0]
    )


def test_a_model_without_rows_is_not_measured_and_never_passes() -> None:
    found = _recommend([_llm("a", 100)], _tier("low", "a", "b"))
    assert found.met is None
    assert found.nearest_miss == ["b INT4: not measured"]


def test_what_was_measured_is_named_before_what_was_not() -> None:
    found = _recommend([_llm("c", 2000), _llm("b", 900)], _tier("low", "a", "c", "b"))
    assert [sentence[0] for sentence in found.nearest_miss] == ["b", "c", "a"]


def test_a_miss_outweighs_what_was_not_measured() -> None:
    found = _recommend([_llm("a", 900)], _tier("low", "a", "b"))
    assert found.tiers[0].answer == "no"


def test_too_few_samples_are_undecided_and_do_not_pass() -> None:
    slow = _row("a", "llm", _series("ttft", 450, 128, n=10), _series("tpot", 50))
    found = _recommend([slow], _tier("low", "a"))
    assert found.met is None
    assert found.tiers[0].answer == "undecided"
    assert found.nearest_miss[0].endswith("(limit 500 ms, undecided)")


def test_the_best_runtime_counts() -> None:
    rows = [
        _row("a", "vision", _series("latency", 900), runtime="openvino"),
        _row("a", "vision", _series("latency", 90), runtime="onnxruntime"),
    ]
    found = _recommend(rows, _tier("low", "a"))
    assert found.met is not None
    assert found.met.models[0].runtime == "onnxruntime"


def test_rows_of_another_host_and_failed_rows_do_not_count() -> None:
    strange = replace(_llm("a", 100), host=replace(BOX, fingerprint="other"))
    failed = replace(_llm("a", 100), outcome=Outcome(status="failed"))
    assert _recommend([strange, failed], _tier("low", "a")).met is None


def test_flags_say_value_and_ratio_and_come_slowest_first() -> None:
    rows = analysis.rows([_llm("a", 900), _llm("b", 4900), _llm("c", 10)], LEVELS)
    found = [words.flagged(flag) for flag in analysis.flags(rows)]
    assert found == [
        "b INT4 on fake, synthetic weights: TTFT at 128 tokens 4.90 s (p90), "
        "9.8 times the 500 ms threshold",
        "a INT4 on fake, synthetic weights: TTFT at 128 tokens 900 ms (p90), "
        "1.8 times the 500 ms threshold",
    ]


def test_a_clear_flag_needs_no_p90_and_a_close_one_stays_open() -> None:
    few = _row("a", "llm", _series("ttft", 5000, 128, n=2), _series("ttft", 470, 512, n=5))
    flags = analysis.flags(analysis.rows([few], LEVELS))
    assert [flag.metric.verdict for flag in flags] == ["over", "undecided"]
    assert "(p50)" in words.flagged(flags[0])
    assert "undecided, 5 samples are too few" in words.flagged(flags[1])


def test_rates_are_items_over_time() -> None:
    series = Series(name="decode", unit="ns", size=4, items=4, values=(100 * MS, 300 * MS))
    row = analysis.rows([_row("a", "llm", series)], LEVELS)[0]
    assert row.metrics[0].rate == 20.0
    assert row.metrics[0].verdict is None


def test_the_shipped_tiers_can_all_be_met() -> None:
    """A fast enough host with enough memory is recommended the highest tier."""
    tiers = config.load_settings().tiers
    wanted = {(m.model, m.precision) for tier in tiers for m in tier.models}
    records = []
    for model, precision in wanted:
        vision = model in ("mobilenet-v3-small", "yolov8n")
        record = _row(model, "vision", _series("latency", 5)) if vision else _llm(model, 50)
        records.append(replace(record, cell=replace(record.cell, precision=precision)))
    found = _recommend(records, *tiers)
    assert found.met is not None
    assert found.met.tier.name == "high"
    assert found.next is None
    assert found.nearest_miss == []
