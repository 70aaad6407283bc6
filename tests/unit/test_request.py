"""From the user's words to cells: suites, variants, and models and cards of the user's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from cpufit.artifacts.cache import key_of
from cpufit.errors import DataError, UsageError
from cpufit.margins import MARGINS
from cpufit.plan.request import Request, from_json, resolve
from cpufit.plan.selection import Selection
from tests.samples import CARDS


def _own(folder: Path, *, cards: bool = True, model: bool = False) -> tuple[str, ...]:
    (folder / "cards.toml").write_text(CARDS, encoding="utf-8")
    (folder / "model.timings").write_text(json.dumps({"infer_ms": 1}), encoding="utf-8")
    names = ["cards.toml"] * cards + ["model.timings"] * model
    return tuple(str(folder / name) for name in names)


def _ids(request: Request) -> list[str]:
    return [cell.id.rsplit("/", 1)[0] for cell in resolve(request).cells]


def test_a_card_of_ones_own_runs_on_every_runtime(tmp_path: Path) -> None:
    files, latency = _own(tmp_path), Selection(scenarios=("latency",))
    assert _ids(Request(files=files, selection=latency)) == [
        "tiny/int4/llama.cpp/latency",
        "tiny/int4/onnxruntime/latency",
        "tiny/int4/openvino/latency",
        "small/int8/llama.cpp/latency",
        "small/int8/onnxruntime/latency",
        "small/int8/openvino/latency",
    ]


def test_a_card_of_ones_own_in_every_scenario(tmp_path: Path) -> None:
    found = resolve(Request(files=_own(tmp_path), selection=Selection(runtimes=("fake",))))
    assert {cell.scenario for cell in found.cells} == {
        name for name, scenario in found.scenarios.items() if not scenario.tasks
    }
    assert set(found.models) == {cell.card for cell in found.cells} == {"tiny", "small"}


def test_a_card_of_ones_own_as_asked_for(tmp_path: Path) -> None:
    selection = Selection(
        precisions=("fp16", "q4_0"), runtimes=("llama.cpp",), scenarios=("memory",)
    )
    assert _ids(Request(files=_own(tmp_path), selection=selection)) == [
        "tiny/fp16/llama.cpp/memory",
        "tiny/q4_0/llama.cpp/memory",
        "small/fp16/llama.cpp/memory",
    ]


def test_cards_and_model_files_together(tmp_path: Path) -> None:
    selection = Selection(runtimes=("fake",), scenarios=("latency",))
    assert _ids(Request(files=_own(tmp_path, model=True), selection=selection)) == [
        "tiny/int4/fake/latency",
        "small/int8/fake/latency",
        "model:real/fp32/fake/latency",
    ]


def test_a_request_with_files_can_be_read_back(tmp_path: Path) -> None:
    request = Request(files=_own(tmp_path), selection=Selection(scenarios=("latency",)))
    assert from_json(request.to_json(), tmp_path) == request


def _steered(folder: Path) -> str:
    """Write a model that makes as many numbers as its input `n` says."""
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["n"], ["y"])],
        "g",
        [helper.make_tensor_value_info("n", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    path = folder / "net.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return str(path)


def test_other_inputs_are_other_cells(tmp_path: Path) -> None:
    selection = Selection(runtimes=("onnxruntime",), scenarios=("memory",))
    request = Request(files=(_steered(tmp_path),), selection=selection)
    given = replace(request, inputs=("n=9",))
    assert _ids(request) == ["net:real/fp32/onnxruntime/memory"]
    assert _ids(given) == ["net?n=9:real/fp32/onnxruntime/memory"]
    plan = resolve(from_json(given.to_json(), tmp_path))
    (cell,) = plan.cells
    assert (cell.model, cell.inputs) == ("net", "n=9")
    assert plan.order(cell, tmp_path).model.inputs == "n=9"
    keys = {key_of(each.order(each.cells[0], tmp_path)) for each in (plan, resolve(request))}
    assert len(keys) == 2


def test_inputs_are_of_model_files_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"net\.onnx: --input: the model has no input 'm'"):
        resolve(Request(files=(_steered(tmp_path),), inputs=("m=9",)))
    for files in ((), _own(tmp_path), _own(tmp_path, cards=False, model=True)):
        with pytest.raises(UsageError, match="--input"):
            resolve(Request(files=files, inputs=("n=9",)))


@pytest.mark.parametrize(
    ("model", "suite", "selection", "option"),
    [
        (False, "quick", Selection(models=("tiny",)), "--model"),
        (True, "quick", Selection(models=("gpt2",)), "--model"),
        (False, "quick", Selection(weights=("synthetic",)), "--weights"),
        (True, "quick", Selection(weights=("real",)), "--weights"),
        (True, "quick", Selection(precisions=("int8",)), "--precision"),
        (False, "smoke", Selection(), "--suite"),
    ],
)
def test_options_that_do_not_go_with_files(
    tmp_path: Path, model: bool, suite: str, selection: Selection, option: str
) -> None:
    files = _own(tmp_path, model=model)
    with pytest.raises(UsageError, match=f"{option} cannot be combined with files of your own"):
        resolve(Request(files=files, suite=(suite,), selection=selection))


def test_two_models_of_one_name(tmp_path: Path) -> None:
    files = _own(tmp_path)
    with pytest.raises(UsageError, match="two models are called tiny; rename one of them"):
        resolve(Request(files=(*files, *files)))


def test_a_variant_is_among_the_models_of_a_plan() -> None:
    selection = Selection(models=("gpt2@lowrank4",), runtimes=("llama.cpp",))
    found = resolve(Request(selection=selection))
    assert {cell.card for cell in found.cells} == {"gpt2@lowrank4"}
    assert found.models["gpt2@lowrank4"].parent == "gpt2"


_TEXT = """
title = "mine"
budget = "rapid"
[[cells]]
models = ["gpt2", "gpt2@depth75"]
runtimes = ["fake"]
precisions = ["int4"]
scenarios = ["latency"]
"""


def test_several_suites_are_one_plan(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(_TEXT, encoding="utf-8")
    second.write_text(_TEXT.replace('"gpt2", ', '"mistral-7b", '), encoding="utf-8")
    request = Request(suite=(str(first), str(second)))
    cells = ["gpt2/int4", "gpt2@depth75/int4", "mistral-7b/int4"]  # what both name is run once
    assert _ids(request) == [f"{cell}/fake/latency" for cell in cells]
    only = Selection(models=("mistral-7b",))
    assert _ids(replace(request, selection=only)) == ["mistral-7b/int4/fake/latency"]
    second.write_text(_TEXT.replace("rapid", "full"), encoding="utf-8")
    with pytest.raises(UsageError, match="first takes rapid, second takes full; name one by --bud"):
        resolve(request)
    assert resolve(replace(request, budget="quick")).cells


def test_margins_of_a_suite_and_those_that_outrank_them(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(f"{_TEXT}margin = {{ time = 0.2, memory = 0.05 }}\n")
    plan = resolve(Request(suite=(str(tmp_path / "s.toml"), "smoke"), budget="rapid"))
    found = plan.with_margins({"memory": 0.3})
    first = next(cell for cell in plan.cells if cell.model == "gpt2")
    last = next(cell for cell in plan.cells if cell.model == "smollm2-135m")
    assert plan.margins_of(first) == {**MARGINS, "time": 0.2, "memory": 0.05}
    assert plan.margins_of(last) == MARGINS
    assert found.margins_of(first) == {**MARGINS, "time": 0.2, "memory": 0.3}
    assert found.margins_of(last) == {**MARGINS, "memory": 0.3}


def test_a_request_of_one_suite_is_read_as_it_was_written_before() -> None:
    assert from_json('{"suite": "smoke"}', Path("a")) == Request(suite=("smoke",))
    assert from_json(Request().to_json(), Path("a")) == Request()


def test_a_suite_may_name_variants(tmp_path: Path) -> None:
    suite, text = tmp_path / "mine.toml", _TEXT
    suite.write_text(text, encoding="utf-8")
    assert _ids(Request(suite=(str(suite),))) == [
        "gpt2/int4/fake/latency",
        "gpt2@depth75/int4/fake/latency",
    ]
    only = Selection(models=("gpt2@depth75",))
    assert _ids(Request(suite=(str(suite),), selection=only)) == ["gpt2@depth75/int4/fake/latency"]
    suite.write_text(text.replace("depth75", "depth5"), encoding="utf-8")
    with pytest.raises(UsageError, match="unknown variant 'depth5' of gpt2"):
        resolve(Request(suite=(str(suite),)))


def test_a_damaged_file_ends_no_run_of_others(tmp_path: Path) -> None:
    """Alone it is refused; beside others its cells are there, and say why they cannot run."""
    files, bad = _own(tmp_path), tmp_path / "bad.onnx"
    bad.write_bytes(b"x")
    chosen = Selection(scenarios=("latency",))
    with pytest.raises(DataError, match=r"bad\.onnx is not a whole ONNX model"):
        resolve(Request(files=(str(bad),), selection=chosen))
    found = _ids(Request(files=(*files, str(bad)), selection=chosen))
    assert any(name.startswith("bad:real/") for name in found)
    assert len(found) > len(_ids(Request(files=files, selection=chosen)))
