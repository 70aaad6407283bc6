"""Suites and selections to cells."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit import config
from cpufit.catalog import load_models, with_variants
from cpufit.errors import UsageError
from cpufit.measuring.procedures.throughput import Throughput
from cpufit.paths import data_root
from cpufit.plan import cells as of_blocks
from cpufit.plan import selection as selecting
from cpufit.plan.scenarios import load_scenarios, with_batches
from cpufit.plan.selection import Selection
from cpufit.plan.usual import expanded
from cpufit.precisions import PRECISIONS

if TYPE_CHECKING:
    from cpufit.schema import Cell

SETTINGS = config.load_settings()
QUICK, _ = expanded(config.load_suite("quick").cells, load_models(), frozenset({"avx2"}))


def _cells(selection: Selection, threads: tuple[int, ...] = (2,)) -> tuple[Cell, ...]:
    blocks = selecting.blocks_of(selection, QUICK)
    models = with_variants(load_models(), selection.models)
    return of_blocks.cells(blocks, models, load_scenarios(), threads)


def test_no_selection_is_the_whole_suite() -> None:
    assert len(_cells(Selection())) == len({cell.id for cell in _cells(Selection())}) > 30


def test_a_selection_inside_the_suite_only_narrows_it() -> None:
    found = _cells(Selection(models=("mistral-7b",), scenarios=("latency",)))
    assert [cell.id for cell in found] == [
        "mistral-7b/int4/llama.cpp/latency/t2",
        "mistral-7b/int4/onnxruntime/latency/t2",
    ]


def test_what_the_suite_leaves_out_can_be_named() -> None:
    found = _cells(
        Selection(
            models=("llama-2-13b",),
            runtimes=("llama.cpp",),
            scenarios=("latency",),
            precisions=("int4",),
        )
    )
    assert [cell.id for cell in found] == ["llama-2-13b/int4/llama.cpp/latency/t2"]


def test_a_variant_is_a_cell_of_its_model() -> None:
    found = _cells(Selection(models=("mistral-7b@ffn60",), runtimes=("openvino",)))
    assert [cell.id for cell in found] == [
        "mistral-7b@ffn60/int4/openvino/latency/t2",
        "mistral-7b@ffn60/int4/openvino/memory/t2",
    ]  # as the suite measures Mistral itself
    assert {(c.model, c.variant, c.card) for c in found} == {
        ("mistral-7b", "ffn60", "mistral-7b@ffn60")
    }


def test_a_variant_nobody_can_build_for_a_runtime_is_reported() -> None:
    found = _cells(Selection(models=("mistral-7b@lowrank4",), runtimes=("llama.cpp",)))
    assert found
    assert {cell.runtime for cell in found} == {"llama.cpp"}


@pytest.mark.parametrize("name", config.suite_names())
def test_cells_go_model_by_model_with_variants_behind(name: str) -> None:
    suite = config.load_suite(name).cells
    models = with_variants(load_models(), [model for block in suite for model in block.models])
    blocks, _ = expanded(suite, models, frozenset({"avx2"}))
    found = of_blocks.cells(blocks, models, load_scenarios(), (2,))
    assert len([model for model, _ in groupby(found, lambda cell: cell.model)]) == len(
        {cell.model for cell in found}
    )
    for _, cells in groupby(found, lambda cell: cell.model):
        variants = [bool(cell.variant or cell.size) for cell in cells]
        assert variants == sorted(variants)


def test_the_language_suite_has_the_cells_it_says() -> None:
    blocks = config.load_suite("language").cells
    models = with_variants(load_models(), [model for block in blocks for model in block.models])
    found = of_blocks.cells(blocks, models, load_scenarios(), (2,))
    text = (data_root() / "suites" / "language.toml").read_text(encoding="utf-8")
    assert text.startswith(f"# {len(found)} cells")
    llms = [card for card in load_models().values() if card.family == "llm"]
    plain = [cell for cell in found if not cell.variant and cell.weights == "synthetic"]
    for runtime, precisions in (
        ("llama.cpp", {"int4", "q4_0", "int8", "bf16", "fp16"}),
        ("onnxruntime", {"int4", "int8"}),
        ("openvino", {"int4", "int8", "bf16", "fp16"}),
    ):
        for card in llms:
            here = {c.precision for c in plain if (c.model, c.runtime) == (card.name, runtime)}
            assert card.decoder
            more = set()
            if runtime == "onnxruntime":
                more |= {"fp32"} if card.parameters < 1.3e9 else set()
                more |= set() if card.decoder.tied else {"int4_all"}
            assert here == precisions | more
    ids = {cell.id for cell in found}
    assert "mistral-7b@lowrank4/int4/llama.cpp/latency/t2" in ids
    assert "smollm2-135m:real/int4/llama.cpp/latency/t2" in ids


def test_a_precision_beyond_the_suite_joins_what_it_has() -> None:
    found = _cells(Selection(models=("mistral-7b",), precisions=("int4", "fp16")))
    assert {cell.precision for cell in found} == {"int4", "fp16"}


def test_what_nobody_can_build_stays_to_be_reported() -> None:
    found = _cells(
        Selection(models=("mistral-7b",), runtimes=("onnxruntime",), precisions=("fp16",))
    )
    assert found
    assert {(cell.runtime, cell.precision) for cell in found} == {("onnxruntime", "fp16")}


def test_batches_of_throughput_are_cells_of_their_own() -> None:
    found = _cells(Selection(models=("smollm2-135m",), scenarios=("throughput",)))
    scenario = load_scenarios()["throughput"]
    assert isinstance(scenario, Throughput)
    assert {cell.batch for cell in found} == set(scenario.generate_batches)


def test_batches_that_are_asked_for_take_the_place_of_the_scenarios() -> None:
    found = with_batches(load_scenarios(), (3, 64))
    for name in ("throughput", "batches"):
        scenario = found[name]
        assert isinstance(scenario, Throughput)
        assert scenario.infer_batches == scenario.generate_batches == (3, 64)
    assert found["latency"] == load_scenarios()["latency"]
    assert with_batches(load_scenarios(), ()) == load_scenarios()


def test_scenarios_are_for_the_models_they_fit() -> None:
    scenarios = tuple(load_scenarios())
    names = ("mistral-7b", "yolov8n", "bert-base", "blip-base")
    found = _cells(Selection(models=names, runtimes=("fake",), scenarios=scenarios))
    apart = {"frames", "batches", "streams", "caption"}
    assert {
        name: {cell.scenario for cell in found if cell.model == name} & apart for name in names
    } == {
        "mistral-7b": set(),
        "yolov8n": {"frames", "batches", "streams"},
        "bert-base": {"batches", "streams"},
        "blip-base": {"caption"},
    }


def test_threads_are_swept() -> None:
    found = _cells(Selection(models=("yolov8n",), precisions=("fp32",)), threads=(1, 2, 4))
    assert sorted({cell.threads for cell in found}) == [1, 2, 4]


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(models=("mistal-7b",)), "did you mean 'mistral-7b'"),
        (Selection(runtimes=("onxruntime",)), "did you mean 'onnxruntime'"),
        (Selection(precisions=("int3",)), "unknown precision 'int3'"),
        (Selection(scenarios=("latenci",)), "did you mean 'latency'"),
        (Selection(weights=("fake",)), "known: real, synthetic"),
        (Selection(threads=(0,)), "give 1 to 1024"),
        (Selection(threads=(99999,)), "--threads 99999"),
        (Selection(batches=(0,)), "--batch 0 is not a batch"),
    ],
)
def test_names_that_do_not_exist(selection: Selection, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        selecting.check(selection, load_models(), load_scenarios())


@given(
    st.lists(st.sampled_from(sorted(load_models())), max_size=3),
    st.lists(st.sampled_from(PRECISIONS), max_size=2),
    st.lists(st.sampled_from(["llama.cpp", "onnxruntime", "openvino", "fake"]), max_size=2),
)
def test_every_named_value_appears_and_no_other(
    models: list[str], precisions: list[str], runtimes: list[str]
) -> None:
    selection = Selection(
        models=tuple(models), precisions=tuple(precisions), runtimes=tuple(runtimes)
    )
    found = _cells(selection)
    assert found
    assert len({cell.id for cell in found}) == len(found)
    for cell in found:
        assert cell.model in models or not models
        assert cell.precision in precisions or not precisions
        assert cell.runtime in runtimes or not runtimes
