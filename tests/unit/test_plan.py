"""Suites and selections to cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit import config, plan
from cpufit.catalog import load_models
from cpufit.errors import UsageError
from cpufit.plan import Selection
from cpufit.schema import PRECISIONS

if TYPE_CHECKING:
    from cpufit.schema import Cell

SETTINGS = config.load_settings()
QUICK = config.load_suite("quick").cells


def _cells(selection: Selection, threads: tuple[int, ...] = (2,)) -> tuple[Cell, ...]:
    blocks = plan.blocks_of(selection, QUICK)
    return plan.cells(blocks, load_models(), SETTINGS.scenarios, threads)


def test_no_selection_is_the_whole_suite() -> None:
    assert len(_cells(Selection())) == len({cell.id for cell in _cells(Selection())}) > 30


def test_a_selection_inside_the_suite_only_narrows_it() -> None:
    found = _cells(Selection(models=("mistral-7b",), scenarios=("latency",)))
    assert [cell.id for cell in found] == ["mistral-7b/int4/llama.cpp/latency/t2"]


def test_what_the_suite_leaves_out_can_be_named() -> None:
    found = _cells(Selection(models=("llama-2-13b",), scenarios=("latency",), precisions=("int4",)))
    assert [cell.id for cell in found] == ["llama-2-13b/int4/llama.cpp/latency/t2"]


def test_a_precision_beyond_the_suite_joins_what_it_has() -> None:
    found = _cells(Selection(models=("mistral-7b",), precisions=("int4", "fp16")))
    assert {cell.precision for cell in found} == {"int4", "fp16"}


def test_what_nobody_can_build_stays_to_be_reported() -> None:
    found = _cells(Selection(models=("mistral-7b",), runtimes=("onnxruntime",)))
    assert found
    assert {cell.runtime for cell in found} == {"onnxruntime"}


def test_batches_of_throughput_are_cells_of_their_own() -> None:
    found = _cells(Selection(models=("smollm2-135m",), scenarios=("throughput",)))
    assert {cell.batch for cell in found} == set(SETTINGS.scenarios["throughput"].generate_batches)


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
    ],
)
def test_names_that_do_not_exist(selection: Selection, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan.check(selection, load_models(), SETTINGS)


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
