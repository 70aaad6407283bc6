"""What a `Work.run` costs over the runtime's own call, on a graph that does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Artifact, Input

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cpufit.runtimes.base import Work

SHAPE = (1, 3)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    axes: list[str | int | None] = ["batch", 3]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, axes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def _work(runtime: str, path: Path) -> Work:
    spec = Input(name="x", dtype="float32", shape=("batch", 3), fill="normal")
    artifact = Artifact(
        key="", path=str(path), size_bytes=0, parameters=0, format="", recipe="", inputs=(spec,)
    )
    session = load_runtime(runtime).load(artifact, LoadOptions(threads=1))
    return session.prepare(Step(kind="infer"))


def _raw_onnxruntime(path: Path) -> Callable[[], Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("x", np.zeros(SHAPE, np.float32))
    binding.bind_output("y", "cpu")
    return lambda: session.run_with_iobinding(binding)


def _raw_openvino(path: Path) -> Callable[[], Any]:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(path)
    model.reshape(SHAPE)
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}
    request = core.compile_model(model, "CPU", config).create_infer_request()
    request.set_input_tensor(ov.Tensor(np.zeros(SHAPE, np.float32)))
    return lambda: request.infer(share_outputs=True)


RAW = {
    "onnxruntime": pytest.param("onnxruntime", _raw_onnxruntime, marks=pytest.mark.onnxruntime),
    "openvino": pytest.param("openvino", _raw_openvino, marks=pytest.mark.openvino),
}


@pytest.mark.benchmark(group="identity", min_rounds=2000)
@pytest.mark.parametrize(("runtime", "raw"), RAW.values(), ids=RAW)
def test_raw_call(
    runtime: str, raw: Callable[[Path], Callable[[], Any]], identity: Path, benchmark: Any
) -> None:
    benchmark(raw(identity))


@pytest.mark.benchmark(group="identity", min_rounds=2000)
@pytest.mark.parametrize(
    "runtime", [pytest.param(name, marks=RAW[name].marks) for name in RAW], ids=RAW
)
def test_work_run(runtime: str, identity: Path, benchmark: Any) -> None:
    benchmark(_work(runtime, identity).run)
