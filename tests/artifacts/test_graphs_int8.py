"""The int8 forms: close to fp32, integer inside, small, reproducible, made without noise."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from cpufit.artifacts.onnx import graphs
from cpufit.artifacts.samples import sample
from cpufit.catalog import load_models
from cpufit.schema import Order

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cpufit.artifacts.base import Built
    from cpufit.precisions import Precision
    from cpufit.schema import Model

ort = pytest.importorskip("onnxruntime")
tool = pytest.importorskip("onnxruntime.quantization")
pytestmark = pytest.mark.onnxruntime

# Lower bounds of the cosine to the fp32 output. With full 8-bit weights, which overflow on CPUs
# without VNNI, the MobileNet gives 0.936 and the encoder 0.960 at full size.
COSINES = {
    "mobilenet-v3-small": 0.99,
    "efficientnet-lite0": 0.99,
    "squeezenet-1.1": 0.995,
    "yolov8n": 0.99,
    "distilbert": 0.998,
}
INTEGER_OPS = {  # what the runtime makes of the file: products that stay integer
    "mobilenet-v3-small": {"QLinearConv": 52, "QGemm": 2},
    "efficientnet-lite0": {"QLinearConv": 49, "QGemm": 1},
    "squeezenet-1.1": {"QLinearConv": 26},
    "yolov8n": {"QLinearConv": 63, "Conv": 1},  # the fixed one that decodes boxes
    "distilbert": {
        "DynamicQuantizeMatMul": 3,
        "MatMulIntegerToFloat": 3,
        "MatMul": 1,
        "FusedMatMul": 1,
    },
}
PRODUCTS = {op for ops in INTEGER_OPS.values() for op in ops} | {"Gemm", "FusedConv"}


def small(name: str) -> Model:
    model = load_models()[name]
    if model.encoder:
        return replace(model, encoder=replace(model.encoder, layers=1, vocab=1000, sequence=32))
    assert model.vision
    return replace(model, vision=replace(model.vision, resolution=96))


def request(model: Model, precision: Precision) -> Order:
    return Order(
        builder="onnx.graphs",
        model=model,
        precision=precision,
        runtime="onnxruntime",
        weights="synthetic",
    )


def build(model: Model, folder: Path, precision: Precision) -> Built:
    folder.mkdir()
    return graphs.build(request(model, precision), folder)


def session(built: Built, dump: Path | None = None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.add_free_dimension_override_by_name("batch", 1)
    if dump:
        options.optimized_model_filepath = str(dump)
    return ort.InferenceSession(str(built.file), options, providers=["CPUExecutionProvider"])


def outputs(built: Built) -> NDArray[np.float64]:
    """Return the outputs on samples that were not used for calibration."""
    opened = session(built)
    found = [opened.run(None, sample(built.inputs, 100 + i))[0] for i in range(4)]
    return np.concatenate(found).astype(np.float64)


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a.ravel() @ b.ravel() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("name", COSINES)
def test_int8_is_close_small_and_integer(name: str, tmp_path: Path) -> None:
    fp32 = build(small(name), tmp_path / "fp32", "fp32")
    int8 = build(small(name), tmp_path / "int8", "int8")
    assert cosine(outputs(fp32), outputs(int8)) >= COSINES[name]
    assert (int8.parameters, int8.inputs) == (fp32.parameters, fp32.inputs)
    assert int8.file.stat().st_size < 0.35 * fp32.file.stat().st_size
    if small(name).vision:  # whose number of parameters does not depend on the size measured here
        assert graphs.estimate_bytes(request(small(name), "int8")) == pytest.approx(
            int8.file.stat().st_size, rel=0.12
        )
    assert [p.name for p in (tmp_path / "int8").iterdir()] == ["model.onnx"]
    session(int8, tmp_path / "optimised.onnx")
    ops = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert {op: count for op, count in ops.items() if op in PRODUCTS} == INTEGER_OPS[name]


def test_detector_is_decoded_in_float(tmp_path: Path) -> None:
    built = build(small("yolov8n"), tmp_path / "int8", "int8")
    nodes = onnx.load(built.file).graph.node
    made_by = {output: node.op_type for node in nodes for output in node.output}
    inside = [node for node in nodes if node.name.startswith("decode/")]
    feeding = {made_by.get(i) for node in inside for i in node.input if not i.startswith("decode/")}
    assert len(inside) > 15
    assert "Softmax" in {node.op_type for node in inside}
    assert feeding <= {"Conv", "DequantizeLinear", None}
    assert not [
        node for node in nodes if node.op_type == "QuantizeLinear" and "decode/" in node.input[0]
    ]


class _Reader:
    """A CalibrationDataReader: the samples that ranges are taken from, one after the other."""

    def __init__(self, built: Built) -> None:
        self._left = iter([sample(built.inputs, seed) for seed in range(8)])

    def get_next(self) -> Any:
        return next(self._left, None)


def _stored(file: Path) -> tuple[Counter[str], Counter[tuple[int, ...]]]:
    """Count nodes by operation, and constants by element type and shape."""
    graph = onnx.load(file).graph
    constants = Counter((each.data_type, *each.dims) for each in graph.initializer)
    return Counter(node.op_type for node in graph.node), constants


@pytest.mark.parametrize("name", ["squeezenet-1.1", "mobilenet-v3-small"])
def test_static_form_is_that_of_quantize_static(name: str, tmp_path: Path) -> None:
    """As ONNX Runtime's guide has it: `quant_pre_process`, then QDQ per channel, 7-bit weights."""
    fp32 = build(small(name), tmp_path / "fp32", "fp32")
    int8 = build(small(name), tmp_path / "int8", "int8")
    prepared, theirs = tmp_path / "prepared.onnx", tmp_path / "theirs.onnx"
    tool.shape_inference.quant_pre_process(str(fp32.file), str(prepared), skip_symbolic_shape=True)
    tool.quantize_static(
        str(prepared),
        str(theirs),
        _Reader(fp32),
        per_channel=True,
        reduce_range=True,
        activation_type=tool.QuantType.QUInt8,
        weight_type=tool.QuantType.QInt8,
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
    )
    assert _stored(int8.file) == _stored(theirs)


def test_recipe_says_how(tmp_path: Path) -> None:
    static = build(small("squeezenet-1.1"), tmp_path / "static", "int8")
    dynamic = build(small("distilbert"), tmp_path / "dynamic", "int8")
    assert static.format.startswith("QDQ u8s8 per-channel")
    assert dynamic.format.startswith("dynamic u8s8")
    for built in (static, dynamic):
        assert f"onnxruntime {ort.__version__}" in built.recipe
        assert "reduce_range" in built.recipe
    assert "MinMax" in static.recipe


def test_same_bytes_every_time(tmp_path: Path) -> None:
    model = small("squeezenet-1.1")
    assert graphs.packages(request(model, "int8")) == ("onnx", "onnxruntime")
    files = [build(model, tmp_path / name, "int8").file.read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_quantizer_leaves_no_trace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (tempfile.tempdir, list(root.handlers), logging.root.manager.disable)
    build(small("squeezenet-1.1"), tmp_path / "static", "int8")
    build(small("distilbert"), tmp_path / "dynamic", "int8")
    assert (tempfile.tempdir, list(root.handlers), logging.root.manager.disable) == before
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize("name", [n for n, model in load_models().items() if model.encoder])
def test_encoders_have_in_int8_what_the_quantizer_takes_by_default(
    name: str, tmp_path: Path
) -> None:
    """Its options decide the scales only: which operators and weights become integer is its own."""
    from onnxruntime.quantization import quantize_dynamic

    float32, theirs = build(small(name), tmp_path / "float", "fp32"), tmp_path / "theirs.onnx"
    quantize_dynamic(float32.file, theirs)
    ours = build(small(name), tmp_path / "ours", "int8").file
    assert kinds(ours) == kinds(theirs)


def kinds(file: Path) -> tuple[Counter[str], Counter[tuple[int, ...]]]:
    """Return a graph's operators, and the shapes of its 8-bit matrices."""
    graph = onnx.load(file).graph
    eight = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    matrices = [i for i in graph.initializer if i.data_type in eight and len(i.dims) == 2]
    operators = Counter(node.op_type for node in graph.node)
    return operators, Counter(tuple(array.dims) for array in matrices)
