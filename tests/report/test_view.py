"""What the page says in words: picks, flags, verdicts, sort keys, and the suite that repeats it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from cpufit import analysis
from cpufit.analysis import words
from cpufit.config import load_suite
from cpufit.errors import DataError
from cpufit.report import cells, view
from cpufit.schema import Numerics, Series
from tests.report import drawn, samples

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.analysis import Row
    from cpufit.schema import Record, Settings


def with_values(record: Record, *values_ms: float) -> Record:
    """Return `record` with one series: its first, holding these values."""
    first = record.outcome.series[0]
    values = tuple(value * samples.MS for value in values_ms)
    return replace(record, outcome=replace(record.outcome, series=(replace(first, values=values),)))


def row(record: Record, settings: Settings) -> Row:
    return analysis.rows([record], settings.levels)[0]


def test_largest_and_fastest_are_named(settings: Settings) -> None:
    block = drawn.seen(samples.realistic(), settings).hosts[0]
    said = {pick.what: pick.who for pick in block.picks}
    assert said == {
        "Largest language model": "Qwen 1.8B INT4 on llama.cpp, synthetic weights",
        "Fastest language model": "DistilGPT-2 INT4 on llama.cpp, synthetic weights",
        "Largest other model": ("DistilBERT base INT8 on openvino, synthetic weights"),
        "Fastest other model": ("MobileNetV3-Small INT8 on openvino, synthetic weights"),
    }


def test_where_nothing_is_fast_enough_the_nearest_is_named(settings: Settings) -> None:
    slow = [r for r in samples.llm_records(128) if r.cell.model in ("phi-3-mini", "mistral-7b")]
    nearest, rest = drawn.seen(slow, settings).hosts[0].picks
    assert nearest.what == "No language model is surely under the threshold"
    assert nearest.who == "Phi-3-mini 4k 3.8B INT4 on llama.cpp, synthetic weights"
    assert nearest.why.endswith("3.8 times the threshold")
    assert rest.who == "not measured"


def test_undecided_is_not_called_over_or_under(settings: Settings) -> None:
    few = with_values(samples.llm_records(128)[0], *[300.0] * 5)
    nearest = drawn.seen([few], settings).hosts[0].picks[0]
    assert nearest.what == "No language model is surely under the threshold"
    assert (
        nearest.why == "nearest: TTFT at 128 tokens 300 ms (p50), undecided: 5 samples are too few"
    )


def test_cell_words_of_batched_decoding(settings: Settings) -> None:
    words = cells.cell_row(row(samples.batched_llm(), settings), {"a1b2c3d4e5f6": "host"})
    assert words.threads == "4, batch 4"
    assert words.rate[0].endswith(" tokens/s")
    assert words.rate[1] == "decode x4"
    assert words.rate[2].startswith("prefill@512 ")


def test_slow_tokens_are_not_interactive(settings: Settings) -> None:
    record = samples.llm_records(128)[0]
    crawling = samples.series("tpot", "crawl", 900, 64)
    record = replace(
        record,
        outcome=replace(record.outcome, series=(record.outcome.series[0], crawling)),
    )
    picks = drawn.seen([record], settings).hosts[0].picks
    assert picks[0].what == "No language model is surely under the threshold"


def test_flags_part_the_sure_from_the_undecided(settings: Settings) -> None:
    over = with_values(samples.infer_records(5)[0], *[900.0] * 5)
    maybe = replace(
        with_values(over, 480.0, 510.0), cell=replace(over.cell, model="maybe", runtime="other")
    )
    block = drawn.seen([over, maybe], settings).hosts[0]
    assert [words.against(flag) for flag in block.over] == ["1.8 times the 500 ms threshold"]
    assert [words.against(flag) for flag in block.undecided] == [
        "0.99 times the 500 ms threshold; undecided, 2 samples are too few"
    ]
    assert block.over_heading == "Over 500 ms: 1 of 2 judged cases"


@pytest.mark.parametrize(
    ("values", "word"),
    [([10.0] * 64, "under"), ([900.0] * 64, "over"), ([400.0, 600.0], "undecided")],
)
def test_worst_verdict_of_a_row(settings: Settings, values: list[float], word: str) -> None:
    measured = row(with_values(samples.infer_records(5)[0], *values), settings)
    assert cells.verdict(measured) == word


def test_rows_without_verdict_say_which_kind(settings: Settings) -> None:
    assert cells.verdict(row(samples.memory_record(), settings)) == "no threshold"
    assert cells.verdict(row(samples.unmeasured()[0], settings)) == "not measured"


def test_cell_words_of_a_language_model(settings: Settings) -> None:
    words = cells.cell_row(row(samples.llm_records(128)[0], settings), {"a1b2c3d4e5f6": "host"})
    assert words.response[0].endswith(" ms")
    assert words.response[1].startswith("p90 ")
    assert words.response[1].endswith(" ms, TTFT@128")
    assert words.response[2].endswith("TTFT@512")
    assert words.rate[0].endswith(" tokens/s")
    assert words.rate[1].startswith("TPOT ")
    assert words.memory == ("318 MB", "+257 MB")
    assert words.samples == ("128", "1 process")
    assert words.host == ""


def test_a_variant_goes_by_its_title(settings: Settings) -> None:
    record = samples.variants(samples.llm_records(5)[4])[0]
    words = cells.cell_row(row(record, settings), {"a1b2c3d4e5f6": "host"})
    assert words.model == "TinyLlama 1.1B, 60 % of FFN"
    bare = cells.cell_row(row(replace(record, title=""), settings), {"a1b2c3d4e5f6": "host"})
    assert bare.model == "tinyllama-1.1b@ffn60"


def test_a_formats_name_is_not_said_twice(settings: Settings) -> None:
    plain = samples.language_records(5)[6]
    assert plain.cell.precision == "q4_0"
    assert cells.cell_row(row(plain, settings), {"a1b2c3d4e5f6": "host"}).format == ""
    mixed = samples.llm_records(5)[0]
    assert cells.cell_row(row(mixed, settings), {"a1b2c3d4e5f6": "host"}).format == "Q4_K_M"


def far(cosine: float) -> Record:
    """Return a vision record at INT8 with this cosine to float32."""
    record = samples.infer_records(64)[2]
    assert record.cell.precision == "int8"
    found = Numerics(cosine=cosine, what="outputs")
    return replace(record, outcome=replace(record.outcome, numerics=found))


def test_cosines_below_what_the_precision_keeps_are_flagged(settings: Settings) -> None:
    names = {"a1b2c3d4e5f6": "host"}
    assert cells.cell_row(row(far(0.9899), settings), names).cosine == ("0.9899", "below 0.99")
    assert cells.cell_row(row(far(0.9901), settings), names).cosine == ("0.9901",)
    assert cells.cell_row(row(samples.real_llm(5), settings), names).keys[12] is None
    block = drawn.seen([far(0.5), replace(far(0.4), run_id="later")], settings).hosts[0]
    assert block.inexact_heading == "Outputs far from float32: 1 of 1 checked"
    assert [words.inexact(one) for one in block.inexact] == ["cosine 0.4000, INT8 should keep 0.99"]


def test_without_a_check_nothing_is_said_of_numerics(settings: Settings) -> None:
    assert drawn.seen([samples.real_llm(5)], settings).hosts[0].inexact_heading == ""


@pytest.mark.parametrize(
    ("arch", "flags", "expected"),
    [
        ("x86_64", ("avx2", "avx_vnni"), False),
        ("x86_64", ("avx2", "fma"), True),
        ("aarch64", ("neon",), False),
    ],
)
def test_saturation_is_explained_where_it_happens(
    settings: Settings, arch: str, flags: tuple[str, ...], expected: bool
) -> None:
    record = replace(far(0.5), host=replace(samples.HOST, arch=arch, flags=flags))
    assert drawn.seen([record], settings).hosts[0].without_vnni is expected
    assert ("This CPU has no VNNI" in drawn.page([record], settings)) is expected


def test_cell_words_of_energy(settings: Settings) -> None:
    words = cells.cell_row(row(samples.energy_record(), settings), {"a1b2c3d4e5f6": "host"})
    assert words.rate == ("0.151 J", "per token")
    assert words.response == ("",)


def test_small_series_has_no_p90(settings: Settings) -> None:
    words = cells.cell_row(
        row(with_values(samples.infer_records(5)[0], 3.0, 4.0), settings), {"a1b2c3d4e5f6": "host"}
    )
    assert words.response == ("3.50 ms", "p90: n too small")


def test_sort_keys_are_numbers_where_the_column_is(settings: Settings) -> None:
    for record in samples.two_hosts():
        names = {record.host.fingerprint: "host"}
        keys = cells.cell_row(row(record, settings), names).keys
        assert len(keys) == len(cells.COLUMNS)
        for key, (_, _, number) in zip(keys, cells.COLUMNS, strict=True):
            assert key is None or isinstance(key, int | float) is number


def test_unmeasured_rows_sort_last_by_numbers(settings: Settings) -> None:
    keys = cells.cell_row(row(samples.unmeasured()[0], settings), {"a1b2c3d4e5f6": "host"}).keys
    assert keys[6:13] == (None,) * 7


def test_hosts_of_one_cpu_are_told_apart(settings: Settings) -> None:
    one = samples.infer_records(5)[0]
    other = replace(one, host=replace(one.host, fingerprint="ffffffff0000"))
    runs = drawn.seen([one, other], settings).runs
    assert [run.host for run in runs] == [
        "Intel(R) Core(TM) i5-1145G7E @ 2.60GHz (a1b2c3d4)",
        "Intel(R) Core(TM) i5-1145G7E @ 2.60GHz (ffffffff)",
    ]


def test_unknown_host_facts_say_so() -> None:
    bare = replace(samples.HOST, governor="", max_mhz=0.0, flags=(), l3_bytes=0, packages={})
    facts = dict(view.host_facts(bare))
    unknown = ("Governor", "Highest clock", "Instruction sets", "Packages")
    assert {facts[name] for name in unknown} == {"not known"}
    assert facts["Caches"] == "L1d 48 KiB, L2 1.25 MiB"


def test_weights_are_stated(settings: Settings) -> None:
    synthetic, real = samples.llm_records(5)[:1], [samples.real_llm(5)]
    claim = "exact published shapes, seeded random values"
    assert claim in drawn.seen(synthetic, settings).weights
    assert drawn.seen(real, settings).weights == "All weights are real."
    mixed = drawn.seen(synthetic + real, settings).weights
    assert claim in mixed
    assert "1 of 2 cells use real weights" in mixed


def test_suite_repeats_exactly_these_cells(tmp_path: Path) -> None:
    records = samples.realistic(5)
    file = tmp_path / "again.toml"
    file.write_text(view.suite(records), encoding="utf-8")
    suite = load_suite(str(file))
    assert suite.budget == "quick"
    repeated = {
        combination
        for block in suite.cells
        for combination in product(
            block.models, block.runtimes, block.precisions, block.scenarios, block.weights
        )
    }
    assert repeated == {
        (c.card, c.runtime, c.precision, c.scenario, c.weights)
        for c in (record.cell for record in records)
    }


def test_command_repeats_the_thread_counts(settings: Settings) -> None:
    one = samples.infer_records(5)[0]
    other = replace(one, cell=replace(one.cell, threads=2))
    page = drawn.seen([one, other], settings)
    assert page.command == "cpufit run --suite again.toml --threads 2 --threads 4"


def test_a_figure_that_nobody_knows_is_an_error_not_silence(settings: Settings) -> None:
    record = samples.infer_records(5)[0]
    odd = Series(name="itl", unit="ns", size=1, items=1, values=(1.0,))
    odd_only = replace(record, outcome=replace(record.outcome, series=(odd,)))
    with pytest.raises(DataError, match="a figure called 'itl', which this cpufit does not know"):
        drawn.seen([odd_only], settings)
