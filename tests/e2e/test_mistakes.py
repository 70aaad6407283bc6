"""Every user's mistake is one line and exit code 2, and leaves nothing half-written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cpufit import store
from tests.e2e.helpers import FAST, cpufit, timings
from tests.samples import RECORD

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--model", "mistal-7b"), "unknown model 'mistal-7b'; did you mean 'mistral-7b'?"),
        (("run", "--model", "gpt2@ffn6"), "unknown variant 'ffn6' of gpt2; known: ffn10 to ffn95"),
        (("run", "--runtime", "onnx-runtime"), "did you mean 'onnxruntime'?"),
        (("run", "--precision", "int3"), "unknown precision 'int3'"),
        (("run", "--scenario", "latncy"), "did you mean 'latency'?"),
        (("run", "--suite", "qick"), "did you mean 'quick'?"),
        (("run", "--budget", "quik"), "did you mean 'quick'?"),
        (("run", "--threads", "0"), "--threads 0 is not a thread count; give 1 to 1024"),
        (("run", "--threads", "1000000"), "is not a thread count"),
        (("run", "--threads", "two"), "--threads"),
        (
            ("run", "--batch", "4", "--scenario", "latency"),
            "--batch does not go with --scenario",
        ),
        (("run", "--batch", "0"), "--batch 0 is not a batch; give 1 to 1,000,000"),
        (
            ("run", "--model", "yolov8n?size=300"),
            "yolov8n cannot take 300 x 300 pixels; use a multiple of 32",
        ),
        (
            ("run", "--model", "yolov8n?size=big"),
            "'size=big' is not a size; write yolov8n?size=320",
        ),
        (("run", "--model", "bert-base?size=320"), "bert-base has no input size to choose"),
        (("run", "--model", "yolov8n@prune95"), "known: prune5 to prune90"),
        (("run", "--modell", "x"), "--modell"),
        (("run", "none.gguf"), "no file"),
        (("run", "none.toml"), "no file"),
        (
            ("run", "none.toml", "--model", "mine"),
            "--model cannot be combined with files of your own",
        ),
        (("run", "--cache-max", "20"), "--cache-max '20' is not a size; give one such as 20GB"),
        (("run", "--resume"), "no results in"),
        (("run", "--suite", "none.toml"), "no file none.toml"),
        (("report",), "no results in"),
        (("report", "none.parquet"), "no file none.parquet"),
        (("list", "planets"), "planets"),
        (("list", "suites", "--variants"), "--variants goes with `list models` only"),
        (("cache", "cleer"), "cleer"),
        (("cache", "clear", "gpt2", "--cache", "none"), "holds no gpt2; it is empty already"),
        (("fetch", "mistral-7b"), "mistral-7b"),
        (("rum",), "rum"),
    ],
)
def test_words_that_cannot_be_meant(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    assert message in cpufit(*words, cwd=tmp_path).mistake
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_key_in_a_suite(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("title = 'x'\nbudgett = 'quick'\ncells = []\n")
    said = cpufit("run", "--suite", "s.toml", cwd=tmp_path).mistake
    assert "budgett: unknown key (did you mean 'budget'?)" in said
    assert "budget: missing" in said


def test_a_wrong_card(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[m]\ntitle = 'x'\nfamily = 'llm'\n[m.decoder]\nlayerss = 1\n")
    said = cpufit("run", "c.toml", cwd=tmp_path).mistake
    assert "c.toml: m.source: missing; m.decoder.arch: missing" in said
    assert "m.decoder.layerss: unknown key (did you mean 'layers'?)" in said


def test_a_scenario_for_other_models(tmp_path: Path) -> None:
    words = ("--runtime", "fake", "--model", "gpt2", "--scenario", "caption", "streams")
    said = cpufit("run", *words, "--budget", "rapid", "--cache", "cache", cwd=tmp_path)
    assert "unsupported: scenario caption is for models that write about a picture" in said.out
    assert "unsupported: scenario streams is for models of one pass" in said.out


def test_no_scenario_that_was_named_vanishes(tmp_path: Path) -> None:
    timings(tmp_path, "m", **FAST)
    said = cpufit("run", "m.timings", "--scenario", "memory", "caption", "-o", "o", cwd=tmp_path)
    assert said.code == 0
    assert "unsupported: scenario caption is for models that write about a picture" in said.out


def test_a_run_of_nothing_but_what_cannot_be(tmp_path: Path) -> None:
    timings(tmp_path, "m", **FAST)
    said = cpufit("run", "m.timings", "--scenario", "caption", "-o", "o", cwd=tmp_path)
    assert "nothing was measured: unsupported: scenario caption is for models" in said.mistake


@pytest.mark.onnxruntime
def test_what_goes_in_and_what_comes_out_is_told(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["n"], ["zeros"]),
         helper.make_node("Log", ["zeros"], ["y"])],
        "g",
        [helper.make_tensor_value_info("n", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    words = ("run", "m.onnx", "--runtime", "onnxruntime", "--scenario", "memory", "-o", "o")
    said = cpufit(*words, "--input", "n=9", "--cache", "cache", cwd=tmp_path)
    assert said.code == 0, said
    (record,) = store.read([store.newest(tmp_path / "o")])
    assert record.cell.id.startswith("m?n=9:real/")
    assert "output y: 9 of 9 numbers are NaN or infinite" in record.outcome.notes
    assert "Of your own files:" in said.out
    assert "  - m.onnx: output y: 9 of 9 numbers are NaN or infinite" in said.out
    assert record.artifact is not None
    assert record.artifact.inputs[0].fill == "values:9"


def test_an_image_of_the_wrong_layout(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64, 64, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    said = cpufit("run", "m.onnx", "--cache", "cache", cwd=tmp_path)
    assert "input x is n x 64 x 64 x 3, but the model takes its channels from axis 1: 3" in said.out


@pytest.mark.parametrize("suffix", [".gguf", ".onnx", ".xml", ".timings"])
def test_a_corrupt_model_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"m{suffix}").write_bytes(b"\0nonsense" * 99)
    said = cpufit("run", f"m{suffix}", "--cache", "cache", cwd=tmp_path)
    words = said.mistake if said.code == 2 else said.out
    assert f"m{suffix}" in words
    assert "Traceback" not in said.out + said.err


def test_an_unknown_kind_of_model_file(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"x")
    said = cpufit("run", "m.pt", cwd=tmp_path).mistake
    assert "no runtime reads m.pt; give a file ending in .gguf, .onnx, .xml, .toml" in said


def test_json_beside_a_model_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    said = cpufit("run", "config.json", cwd=tmp_path).mistake
    assert "config.json is JSON, not a model; name the model beside it" in said


def test_a_file_that_cannot_be_loaded_is_loaded_once(tmp_path: Path) -> None:
    (tmp_path / "m.timings").write_text('{"colour": 1}', encoding="utf-8")
    words = ("--threads", "1", "2", "--scenario", "latency", "memory", "-o", "o", "--cache", "c")
    said = cpufit("run", "m.timings", *words, cwd=tmp_path).mistake
    assert "nothing was measured: failed: " in said
    records = store.read([store.newest(tmp_path / "o")])
    assert [record.spent_s > 0 for record in records] == [True, False, False, False]
    assert len({record.outcome.reason for record in records}) == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("cache", "clera"), "Did you mean 'clear'?"),
        (("selftest", "gat"), "did you mean `cpufit selftest gate`?"),
    ],
)
def test_a_command_of_a_command_is_pointed_at(
    tmp_path: Path, words: tuple[str, ...], hint: str
) -> None:
    assert hint in cpufit(*words, cwd=tmp_path).mistake


def test_a_runtime_that_does_not_read_the_file(tmp_path: Path) -> None:
    timings(tmp_path, "m", **FAST)
    said = cpufit("run", "m.timings", "--runtime", "openvino", cwd=tmp_path).mistake
    assert "m.timings cannot be run on openvino; it runs on fake" in said


def test_an_unwritable_output_and_cache(tmp_path: Path) -> None:
    timings(tmp_path, "m", **FAST)
    (tmp_path / "file").write_text("in the way")
    said = cpufit("run", "m.timings", "--cache", "cache", "-o", "file/out", cwd=tmp_path).mistake
    assert "cannot write file/out" in said
    said = cpufit("run", "m.timings", "--cache", "file/cache", "-o", "out", cwd=tmp_path).mistake
    assert "cannot write to the cache" in said
    assert "--cache" in said


def test_resume_takes_no_other_words(tmp_path: Path) -> None:
    store.create(tmp_path / "cpufit-results" / "run-1.parquet", "{}")
    said = cpufit("run", "--resume", "--model", "mistral-7b", cwd=tmp_path).mistake
    assert "--resume goes on with what the run was asked to do" in said


def test_results_that_are_corrupt_or_empty(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    said = cpufit("report", "bad.parquet", cwd=tmp_path).mistake
    assert "bad.parquet is not a readable Parquet file" in said
    store.create(tmp_path / "run-1.parquet", "{}")
    assert "holds no cells yet" in cpufit("report", "run-1.parquet", cwd=tmp_path).mistake


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    results = store.create(tmp_path / "run-1.parquet", "{}")
    results.add([RECORD])
    said = cpufit("report", "run-1.parquet", "-o", "/dev/null/report.html", cwd=tmp_path)
    assert "cannot write /dev/null/report.html" in said.mistake
