"""The OpenVINO runtime: real compiled models on small graphs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cpufit.errors import DataError, UnsupportedError
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.runtimes.inputs import make_input
from cpufit.schema import Artifact, Input

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpufit.runtimes.openvino.one_pass import OpenVinoPassSession

pytestmark = pytest.mark.openvino

INFER = Step(kind="infer")
X = Input(name="x", dtype="float32", shape=("batch", 3), fill="normal")
WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)


def _model(axes: Sequence[int | str] = ("batch", 3), operator: str = "MatMul") -> onnx.ModelProto:
    """Return the model y = x @ WEIGHTS."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(axes))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(params=["onnx", "xml"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the small model as a file of each kind that OpenVINO reads."""
    path = tmp_path / "m.onnx"
    onnx.save(_model(), path)
    return path if request.param == "onnx" else _as_ir(path)


def _as_ir(path: Path) -> Path:
    import openvino as ov

    ir = path.with_suffix(".xml")
    ov.save_model(ov.Core().read_model(path), ir, compress_to_fp16=False)
    return ir


def _load(path: Path, *inputs: Input, **options: object) -> OpenVinoPassSession:
    artifact = Artifact(
        key="k",
        path=str(path),
        size_bytes=path.stat().st_size,
        parameters=12,
        format="fp32",
        recipe="by hand",
        inputs=inputs or (X,),
    )
    chosen = LoadOptions(**{"threads": 1, **options})  # type: ignore[arg-type]
    return load_runtime("openvino").load(artifact, chosen)  # type: ignore[return-value]


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_a_run_computes_the_model_on_the_seeded_input(small: Path, batch: int, goal: str) -> None:
    session = _load(small, batch=batch, seed=11, goal=goal)
    work = session.prepare(INFER)
    work.run()
    work.run()
    expected = make_input(X, batch, 11) @ WEIGHTS
    np.testing.assert_allclose(session.outputs()["y"], expected, rtol=1e-5, atol=1e-5)


def test_latency_covers_one_pass_by_one_request(small: Path) -> None:
    session = _load(small, threads=2, batch=3)
    assert session.prepare(INFER).items == 3
    assert session.settings["infer_requests"] == "1"
    assert session.settings["PERFORMANCE_HINT"] == "LATENCY"
    assert session.settings["NUM_STREAMS"] == "1"


def test_throughput_keeps_every_request_busy(small: Path) -> None:
    session = _load(small, threads=2, batch=3, goal="throughput")
    work = session.prepare(INFER)
    requests = int(session.settings["infer_requests"])
    done: list[int] = []
    session._queue.set_callback(lambda _request, _data: done.append(1))
    work.run()
    assert session.settings["PERFORMANCE_HINT"] == "THROUGHPUT"
    assert session.settings["OPTIMAL_NUMBER_OF_INFER_REQUESTS"] == str(requests)
    assert len(done) % requests == 0
    assert work.items == 3 * len(done)


def test_every_setting_is_read_back(small: Path) -> None:
    settings = _load(small, threads=1).settings
    assert settings["INFERENCE_NUM_THREADS"] == "1"
    assert settings["EXECUTION_DEVICES"] == "CPU"
    assert settings["INFERENCE_PRECISION_HINT"] == "f32"  # on a CPU with bfloat16 too
    assert {"ENABLE_CPU_PINNING", "ENABLE_HYPER_THREADING", "SCHEDULING_CORE_TYPE"} <= set(settings)
    assert "FP32" in settings["OPTIMIZATION_CAPABILITIES"]
    assert all("<" not in value and "[" not in value for value in settings.values())


def test_nothing_is_reported_to_anyone(tmp_path: Path) -> None:
    code = (
        "import cpufit.runtimes.openvino.runtime, sys\n"
        "assert sys.modules['openvino_telemetry'] is None"
    )
    subprocess.run([sys.executable, "-c", code], env={"HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []  # no client id


def test_versions_name_the_build() -> None:
    versions = load_runtime("openvino").versions()
    assert set(versions) == {"openvino", "numpy"}
    assert versions["openvino"].count("-") >= 1  # version and build number


def test_open_axes_become_fixed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(_model(("N", "?", 3)), path)
    spec = Input(name="x", dtype="float32", shape=("batch", 6, 3), fill="normal")
    session = _load(path, spec, batch=2)
    session.prepare(INFER).run()
    assert not session._compiled.input(0).partial_shape.is_dynamic
    assert session.outputs()["y"].shape == (2, 6, 4)


@pytest.mark.parametrize("kind", ["prefill", "decode"])
def test_other_steps_are_refused(small: Path, kind: str) -> None:
    session = _load(small)
    with pytest.raises(UnsupportedError, match=kind):
        session.prepare(Step(kind=kind))  # type: ignore[arg-type]


def test_a_batch_of_a_fixed_model_is_refused(small: Path) -> None:
    spec = Input(name="x", dtype="float32", shape=(1, 3), fill="normal")
    with pytest.raises(UnsupportedError, match="batch of 8"):
        _load(small, spec, batch=8)


def test_shapes_the_model_refuses_are_said_in_one_line(small: Path) -> None:
    spec = Input(name="x", dtype="float32", shape=("batch", 4), fill="normal")
    with pytest.raises(DataError, match=r"openvino cannot load m.*open axes do not fit") as caught:
        _load(small, spec)
    assert "\n" not in str(caught.value)


def _refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        _load(path)
    text = str(caught.value)
    assert text.startswith(f"openvino cannot load {path.name}: ")
    assert "\n" not in text
    assert ".cpp" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize("name", ["m.onnx", "m.xml"])
@pytest.mark.parametrize("content", [b"", b"hello world" * 50, _model().SerializeToString()[:60]])
def test_a_damaged_file_is_said_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert "damaged" in _refused(path)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(_model(operator="Frobnicate"), path)
    text = _refused(path)
    assert "Frobnicate" in text
    assert "onnxruntime" in text


def test_missing_weights_of_either_format_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(_model(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    ir = _as_ir(path)
    (tmp_path / "m.data").unlink()
    assert "external weights" in _refused(path)
    ir.with_suffix(".bin").write_bytes(b"short")
    assert ".bin file" in _refused(ir)
    ir.with_suffix(".bin").unlink()
    assert ".bin file" in _refused(ir)


def test_weights_behind_a_link_out_of_the_folder_are_named(tmp_path: Path) -> None:
    """So a hub's cache has them."""
    (tmp_path / "hub").mkdir()
    path = tmp_path / "hub" / "m.onnx"
    onnx.save(_model(), path, save_as_external_data=True, location="m.onnx_data", size_threshold=0)
    (tmp_path / "hub" / "m.onnx_data").rename(tmp_path / "d2f0a1")
    (tmp_path / "hub" / "m.onnx_data").symlink_to("../d2f0a1")
    assert "a link out of its folder" in _refused(path)
