"""The tables of language models, and of models against those they were made from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cpufit import analysis
from cpufit.report import compressing, matrix
from tests.report import drawn, samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.report.compressing import Comparison
    from cpufit.report.matrix import Entry, Matrix
    from cpufit.schema import Record, Settings


def matrices(records: Sequence[Record], settings: Settings) -> tuple[Matrix, ...]:
    return matrix.matrices(analysis.rows(records, settings.levels))


def compare(records: Sequence[Record], settings: Settings) -> tuple[Comparison, ...]:
    return compressing.comparisons(analysis.rows(records, settings.levels))


def entries(found: Matrix, name: str) -> dict[str, Entry]:
    """Return a model's entries by 'runtime PRECISION'."""
    columns = [f"{runtime} {p}" for runtime, precisions in found.heads for p in precisions]
    (line,) = (line for line in found.lines if line.name == name)
    return dict(zip(columns, line.entries, strict=True))


@pytest.fixture(scope="module")
def tables(settings: Settings) -> tuple[Matrix, ...]:
    return matrices(samples.realistic(), settings)[:2]


def test_one_table_for_each_figure_from_few_bits_to_many(tables: tuple[Matrix, ...]) -> None:
    assert [found.title for found in tables] == [
        "TTFT at 128 tokens, median",
        "Generated tokens per second",
    ]
    for found in tables:
        assert found.heads == (
            ("llama.cpp", ("Q4_0", "INT4", "INT8", "FP16", "FP32")),
            ("onnxruntime", ("INT4",)),
            ("openvino", ("INT4",)),
        )


def test_every_language_model_has_a_line_and_no_other_has(tables: tuple[Matrix, ...]) -> None:
    llms = {r.cell.card for r in samples.realistic(5) if r.family == "llm"}
    for found in tables:
        names = [line.name for line in found.lines]
        assert len(names) == len(set(names)) == len(llms) + 1
        assert {"Gemini Nano 1.8B (proxy)", "SmolLM2 135M, real weights"} <= set(names)
        assert "DistilBERT base" not in names


def test_the_fastest_of_a_row_is_marked(tables: tuple[Matrix, ...]) -> None:
    for found in tables:
        line = entries(found, "TinyLlama 1.1B")
        assert [name for name, entry in line.items() if entry.kind == "best"] == ["openvino INT4"]
        assert line["llama.cpp INT4"].kind == "measured"


def test_what_was_not_measured_says_why(tables: tuple[Matrix, ...]) -> None:
    for found in tables:
        mistral, llama = entries(found, "Mistral 7B v0.1"), entries(found, "Llama 2 13B")
        assert mistral["llama.cpp FP32"].words == "unsupported"
        assert mistral["llama.cpp FP16"].words == "timeout"
        assert mistral["openvino INT4"].words == matrix.NO_RECORD
        assert llama["llama.cpp INT8"].words == "too large"
        assert llama["llama.cpp INT8"].why == "would need 14.6 GB of 13.7 GB that may be used"
        assert llama["llama.cpp INT4"].words == "oom"


def test_the_fastest_thread_count_counts(settings: Settings) -> None:
    slow = samples.llm_records(5)[0]
    fast = samples.scaled(slow, 0.5, 1.0, cell=replace(slow.cell, threads=8))
    alone, _ = matrices([fast], settings)
    both, _ = matrices([slow, fast], settings)
    assert alone == both


def test_a_measured_cell_beats_one_that_failed(settings: Settings) -> None:
    good = samples.llm_records(5)[0]
    failed = replace(good, cell=replace(good.cell, scenario="energy"), outcome=samples.refused())
    assert matrices([good, failed], settings) == matrices([good], settings)


def test_nothing_timed_no_table(settings: Settings) -> None:
    assert matrices([samples.memory_record()], settings) == ()


def test_models_of_one_pass_have_a_table_of_their_own(settings: Settings) -> None:
    (found,) = matrices([samples.memory_record(), *samples.infer_records(5)], settings)
    assert found.title == "Latency of one pass, median"
    assert {line.name for line in found.lines} >= {"YOLOv8n", "DistilBERT base"}
    assert entries(found, "YOLOv8n")["onnxruntime FP32"].words.endswith(" ms")


def test_frames_and_captions_have_tables_of_their_own(settings: Settings) -> None:
    (found, *_) = matrices([samples.frames_record(9, 40)], settings)
    assert found.title == "Camera frames per second"
    assert entries(found, "YOLOv8n")["onnxruntime INT8"].words == "23.7"
    first, words = matrices([samples.caption_record()], settings)
    assert first.title == "Picture or sound to the first word, median"
    assert words.title == "Generated tokens per second, about a picture or sound"


def test_models_stand_in_order_of_their_size(tables: tuple[Matrix, ...]) -> None:
    names = [line.name for line in tables[0].lines]
    ordered = ["SmolLM2 135M", "Qwen2.5 0.5B", "TinyLlama 1.1B", "Mistral 7B v0.1"]
    assert names[-1] == "Llama 2 13B"
    assert [name for name in names if name in ordered] == ordered


# ------------------------------------------------------------------------------------- compressing
def test_variants_are_held_against_their_parent(settings: Settings) -> None:
    pruned = [c for c in compare(samples.realistic(), settings) if "llama.cpp" in c.heading]
    found = next(c for c in pruned if c.heading.startswith("TinyLlama"))
    assert found.heading == (
        "TinyLlama 1.1B INT4 on llama.cpp, synthetic weights, latency, 4 threads"
    )
    parent, depth, ffn, lowrank = found.lines
    assert (parent.name, depth.name) == ("TinyLlama 1.1B", "TinyLlama 1.1B, 75 % of layers")
    assert parent.figures[2][1:] == ("TTFT@128",)
    assert ffn.figures[0] == ("836 M", "76%")
    assert ffn.figures[1][1] == "76%"
    assert ffn.figures[2][1] == "TTFT@128, 1.28x speed"
    assert ffn.figures[3][1] == "1.28x speed"
    assert ffn.figures[4][1] == "76%"
    assert lowrank.missing == "unsupported: llama.cpp has no factorised layers"


def test_without_its_parent_a_model_is_compared_with_nothing(settings: Settings) -> None:
    child = samples.language_records(5)[8]
    assert child.parent == "gpt2"
    assert compare([child], settings) == ()


def test_a_parent_that_failed_says_so(settings: Settings) -> None:
    parent = samples.llm_records(5)[4]
    failed = replace(parent, outcome=samples.refused())
    (found,) = compare([failed, *samples.variants(parent)], settings)
    assert found.lines[0].missing.startswith("unsupported: ")
    assert found.lines[1].figures[0] == ("858 M",)


@pytest.mark.parametrize(
    "other",
    [{"runtime": "openvino"}, {"precision": "int8"}, {"threads": 8}, {"scenario": "energy"}],
)
def test_only_like_is_held_against_like(settings: Settings, other: dict[str, object]) -> None:
    parent = samples.llm_records(5)[4]
    child = samples.variants(parent)[0]
    strange = replace(parent, cell=replace(parent.cell, **other))  # type: ignore[arg-type]
    assert compare([parent, child], settings)
    assert compare([strange, child], settings) == ()


def test_groups_without_a_time_are_left_to_the_table_of_cells(settings: Settings) -> None:
    refused = samples.variants(samples.llm_records(5)[4])[-1]
    assert compare([refused, samples.memory_record()], settings) == ()


def test_the_page_shows_both_once_for_a_host_that_has_them(settings: Settings) -> None:
    page = drawn.page(samples.two_hosts(5), settings)
    assert page.count("What would compressing buy?</h3>") == 1
    assert page.count('<table class="matrix">') == 4  # those of one column compare nothing
    assert "Gemini Nano 1.8B (proxy)" in page
    plain = drawn.page(samples.infer_records(5)[:3], settings)
    assert "What would compressing buy?" not in plain
    assert plain.count('<table class="matrix">') == 1
