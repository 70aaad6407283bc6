"""The ONNX Runtime runtime: real sessions on small graphs."""

from __future__ import annotations

import multiprocessing
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cpufit.errors import DataError, UnsupportedError
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.runtimes.inputs import make_input
from cpufit.runtimes.onnxruntime.axes import axis_names
from cpufit.schema import Artifact, Input

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpufit.runtimes.inputs import Array
    from cpufit.runtimes.onnxruntime.one_pass import OnnxPassSession

pytestmark = pytest.mark.onnxruntime

INFER = Step(kind="infer")
X = Input(name="x", dtype="float32", shape=("batch", 3), fill="normal")
WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)


def _model(
    axes: Sequence[int | str] = ("batch", 3), weights: Array = WEIGHTS, **versions: int
) -> onnx.ModelProto:
    """Return the model y = x @ weights."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(axes))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = helper.make_opsetid("", versions.get("opset", 17))
    return helper.make_model(graph, opset_imports=[opset], ir_version=versions.get("ir", 8))


def _save(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


def _artifact(path: Path, *inputs: Input) -> Artifact:
    return Artifact(
        key="k",
        path=str(path),
        size_bytes=path.stat().st_size,
        parameters=12,
        format="fp32",
        recipe="by hand",
        inputs=inputs or (X,),
    )


def _load(path: Path, *inputs: Input, **options: object) -> OnnxPassSession:
    chosen = LoadOptions(**{"threads": 1, **options})  # type: ignore[arg-type]
    return load_runtime("onnxruntime").load(_artifact(path, *inputs), chosen)  # type: ignore[return-value]


@pytest.mark.parametrize("batch", [1, 5])
def test_a_run_computes_the_model_on_the_seeded_input(tmp_path: Path, batch: int) -> None:
    session = _load(_save(tmp_path / "m.onnx", _model()), batch=batch, seed=11)
    work = session.prepare(INFER)
    work.run()
    assert work.items == batch
    expected = make_input(X, batch, 11) @ WEIGHTS
    np.testing.assert_allclose(session.outputs()["y"], expected, rtol=1e-6, atol=1e-6)


def test_every_setting_is_read_back(tmp_path: Path) -> None:
    session = _load(_save(tmp_path / "m.onnx", _model()), threads=2, batch=3)
    assert session.settings["providers"] == "CPUExecutionProvider"
    assert session.settings["intra_op_num_threads"] == "2"
    assert session.settings["inter_op_num_threads"] == "1"
    assert session.settings["execution_mode"] == "ORT_SEQUENTIAL"
    assert session.settings["graph_optimization_level"] == "ORT_ENABLE_ALL"
    assert session.settings["session.intra_op.allow_spinning"] == "1"
    assert session.settings["free_dimensions"] == "batch=3"
    assert "Release" in session.settings["build"]
    assert all(isinstance(value, str) for value in session.settings.values())
    assert session.notes == ()


def test_versions_name_the_package() -> None:
    import onnxruntime

    versions = load_runtime("onnxruntime").versions()
    assert versions == {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__}


def test_named_axes_of_a_users_model_become_fixed(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.onnx", _model(("N", "height", 3)))
    spec = Input(name="x", dtype="float32", shape=("batch", 6, 3), fill="normal")
    session = _load(path, spec, batch=2)
    session.prepare(INFER).run()
    assert session.settings["free_dimensions"] == "N=2,height=6"
    assert session.outputs()["y"].shape == (2, 6, 4)


def test_one_name_for_axes_that_differ_stays_open_and_is_noted(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.onnx", _model(("?", "?", 3)))
    session = _load(path, Input(name="x", dtype="float32", shape=(2, 6, 3), fill="normal"))
    session.prepare(INFER).run()
    assert session.settings["free_dimensions"] == ""
    assert session.outputs()["y"].shape == (2, 6, 4)
    assert len(session.notes) == 1
    assert "'?'" in session.notes[0]


def test_the_outputs_memory_is_reused(tmp_path: Path) -> None:
    session = _load(_save(tmp_path / "m.onnx", _model()))
    work = session.prepare(INFER)
    work.run()
    first = session._binding.get_outputs()[0].data_ptr()
    work.run()
    assert session._binding.get_outputs()[0].data_ptr() == first


@pytest.mark.parametrize("kind", ["prefill", "decode"])
def test_other_steps_are_refused(tmp_path: Path, kind: str) -> None:
    session = _load(_save(tmp_path / "m.onnx", _model()))
    with pytest.raises(UnsupportedError, match=kind):
        session.prepare(Step(kind=kind))  # type: ignore[arg-type]


def test_a_batch_of_a_fixed_model_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.onnx", _model((1, 3)))
    spec = Input(name="x", dtype="float32", shape=(1, 3), fill="normal")
    with pytest.raises(UnsupportedError, match="batch of 8"):
        _load(path, spec, batch=8)


def test_an_input_the_model_refuses_is_said_in_one_line(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.onnx", _model())
    spec = Input(name="x", dtype="float32", shape=("batch", 4), fill="normal")
    work = _load(path, spec).prepare(INFER)
    with pytest.raises(DataError, match=r"Got: 4 Expected: 3.*open axes do not fit") as caught:
        work.run()
    assert "\n" not in str(caught.value)


def _custom() -> onnx.ModelProto:
    model = _model()
    model.graph.node[0].op_type = "Frobnicate"
    return model


DAMAGED = {
    "cut short": (_model().SerializeToString()[:60], "copy or export it again"),
    "text": (b"hello world" * 50, "copy or export it again"),
    "empty": (b"", "copy or export it again"),
    "opset": (_model(opset=99).SerializeToString(), "update onnxruntime"),
    "ir version": (_model(ir=99).SerializeToString(), "IR version: 99.*update onnxruntime"),
    "operator": (_custom().SerializeToString(), "Frobnicate.*without custom operators"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_file_that_cannot_run_is_said_in_one_line(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content, words = DAMAGED[case]
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        _load(path)
    text = str(caught.value)
    assert text.startswith("onnxruntime cannot load m.onnx: ")
    assert "\n" not in text
    assert ".cc" not in text
    assert "onnxruntime_src" not in text
    assert len(text) < 400
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("left", [b"", None])
def test_missing_and_short_external_weights(tmp_path: Path, left: bytes | None) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(_model(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    if left is None:
        (tmp_path / "m.data").unlink()
    else:
        (tmp_path / "m.data").write_bytes(left)
    with pytest.raises(DataError, match="external weights, whole, beside the model"):
        _load(path)


def test_axis_names_at_any_cut_never_raise(tmp_path: Path) -> None:
    whole = _model(("batch", 3)).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(whole)
    assert axis_names(path) == {"x": ("batch", "")}
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert set(axis_names(path)) <= {"x", ""}


def test_axis_names_do_not_read_the_weights(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.onnx", _model(weights=np.ones((3, 1 << 20), np.float32)))
    tracemalloc.start()
    try:
        assert axis_names(path) == {"x": ("batch", "")}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20  # the weights are 12 MiB


# ------------------------------------------------------------------------------- several processes
def test_streams_are_processes_that_all_do_their_share(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.onnx", _model())
    session = _load(path, threads=3, batch=2, streams=True, goal="throughput")
    try:
        work = session.prepare(INFER)
        work.run()
        work.run()
        assert work.items == 3 * 4 * 2  # processes x rounds x batch
        assert session.settings["processes"] == "3"
        assert session.settings["intra_op_num_threads"] == "1"
        assert session.outputs()["y"].shape == (2, 4)
        helpers = multiprocessing.active_children()
        assert len(helpers) == 2
    finally:
        session.close()
    for process in helpers:
        process.join(timeout=20)
        assert process.exitcode == 0


def test_a_stream_that_cannot_load_ends_in_words(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(DataError, match="cannot load"):
        _load(path, threads=2, streams=True)
