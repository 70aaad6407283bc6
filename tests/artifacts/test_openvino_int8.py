"""INT8 of OpenVINO: quantised where its users' files are, by what NNCF makes of the same graph."""

from __future__ import annotations

import io
import platform
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cpufit.artifacts.onnx import graphs
from cpufit.artifacts.openvino import graphs as ir
from cpufit.artifacts.samples import sample
from cpufit.catalog import pick
from cpufit.networks.vision.yolo import DECODE
from cpufit.schema import Order

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cpufit.precisions import Precision

ov = pytest.importorskip("openvino")
pytestmark = [pytest.mark.openvino, pytest.mark.onnxruntime]

Places = list[tuple[str, tuple[int, ...]]]

# How many inputs of each kind of operation are quantised. A release of OpenVINO or NNCF that does
# it otherwise is seen here: the figures measured before it are of other files then.
QUANTISED = {
    "mobilenet-v2?size=64": {
        "Add": 20, "Convolution": 35, "GroupConvolution": 17, "ReduceMean": 1, "Reshape": 1,
    },
    "mobilenet-v3-small?size=64": {
        "Add": 12, "Convolution": 41, "GroupConvolution": 11, "MatMul": 1, "Multiply": 18,
        "ReduceMean": 10, "Reshape": 1,
    },
    "efficientnet-lite0?size=64": {
        "Add": 18, "Convolution": 33, "GroupConvolution": 16, "ReduceMean": 1, "Reshape": 1,
    },
    "resnet-18?size=64": {
        "Add": 15, "Convolution": 19, "MaxPool": 1, "ReduceMean": 1, "Reshape": 1,
    },
    "mobilevit-xxs?size=64": {
        "Add": 39, "Concat": 6, "Convolution": 22, "GroupConvolution": 7, "MVN": 18, "MatMul": 27,
        "ReduceMean": 1, "Reshape": 28, "Transpose": 6,
    },
    "yolov8n?size=64": {
        "Add": 8, "Concat": 19, "Convolution": 42, "Interpolate": 2, "MaxPool": 1,
        "VariadicSplit": 8,
    },
    "faster-rcnn-r50-half?size=160": {
        "Add": 38, "Convolution": 73, "Interpolate": 3, "MatMul": 4, "MaxPool": 2,
    },
}  # fmt: skip
# Convolutions that are computed in float all the same: YOLOv8's fixed one, which decodes boxes.
IN_FLOAT = {
    "mobilenet-v2?size=64": 0,
    "mobilenet-v3-small?size=64": 0,
    "efficientnet-lite0?size=64": 0,
    "resnet-18?size=64": 0,
    "yolov8n?size=64": 1,
}


def order(name: str, precision: Precision) -> Order:
    return Order(
        builder="openvino.graphs",
        model=pick(name),
        precision=precision,
        runtime="openvino",
        weights="synthetic",
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Return a function that builds the INT8 form of a model once and opens it."""

    @cache
    def once(name: str) -> Any:
        built = ir.build(order(name, "int8"), tmp_path_factory.mktemp("int8"))
        return ov.Core().read_model(built.file)

    return once


def places(model: Any) -> Places:
    """Return every operation from first to last, and which of its inputs are quantised values.

    Names are no help: OpenVINO numbers what it fuses.
    """
    return [
        (
            node.get_type_name(),
            tuple(
                port.get_index()
                for port in node.inputs()
                if port.get_source_output().get_node().get_type_name() == "FakeQuantize"
            ),
        )
        for node in model.get_ordered_ops()
    ]


def kinds(model: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ops())


@pytest.mark.parametrize("name", QUANTISED)
def test_as_many_inputs_are_quantised_as_ever(name: str, made: Callable[[str], Any]) -> None:
    found = Counter(kind for kind, ports in places(made(name)) for _ in ports)
    assert found == QUANTISED[name]


@pytest.mark.parametrize("name", QUANTISED)
def test_norms_are_folded_so_that_depthwise_convolutions_are_quantised(
    name: str, made: Callable[[str], Any]
) -> None:
    found = kinds(made(name))
    assert found["BatchNormInference"] == 0
    assert found["GroupConvolution"] == QUANTISED[name].get("GroupConvolution", 0)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels of x86")
@pytest.mark.parametrize("name", IN_FLOAT)
def test_convolutions_are_computed_in_bytes(name: str, made: Callable[[str], Any]) -> None:
    model = made(name).clone()
    model.reshape([1, 3, 64, 64])
    facts = [
        n.get_rt_info() for n in ov.Core().compile_model(model, "CPU").get_runtime_model().get_ops()
    ]
    found = Counter(
        fact["runtimePrecision"].astype(str)
        for fact in facts
        if fact["layerType"].astype(str) == "Convolution"
    )
    assert found.total() - found["u8"] - found["i8"] == IN_FLOAT[name]


def by_hand(name: str, folder: Path) -> tuple[Any, Any]:
    """Return the model as its users have it: converted, and quantised with NNCF's own settings."""
    import nncf

    built = graphs.build(order(name, "fp32"), folder)
    samples = nncf.Dataset([sample(built.inputs, index) for index in range(2)])
    kind = nncf.ModelType.TRANSFORMER if pick(name).encoder else None
    ignored = nncf.IgnoredScope(patterns=[f"{DECODE}.*"], validate=False)
    converted = ov.convert_model(built.file)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        quantised = nncf.quantize(
            converted, samples, subset_size=2, model_type=kind, ignored_scope=ignored
        )
    ov.save_model(quantised, folder / "by-hand.xml", compress_to_fp16=False)
    return converted, ov.Core().read_model(folder / "by-hand.xml")


@pytest.mark.parametrize(
    "name", ["mobilenet-v2?size=64", "mobilevit-xxs?size=64", "yolov8n?size=64", "all-minilm-l6-v2"]
)
def test_ours_is_quantised_where_nncf_by_itself_does(
    name: str, made: Callable[[str], Any], tmp_path: Path
) -> None:
    converted, theirs = by_hand(name, tmp_path)
    ours = made(name)
    assert places(ours) == places(theirs)
    for mine, given in zip(
        (*ours.inputs, *ours.outputs), (*converted.inputs, *converted.outputs), strict=True
    ):
        assert mine.get_names() == given.get_names()
        assert mine.get_partial_shape() == given.get_partial_shape()


def test_a_sense_is_compressed_as_nncf_by_itself_does(tmp_path: Path) -> None:
    """By default with zero points, which optimum-intel's files have too."""
    model = ov.Core().read_model(ir.build(order("whisper-tiny", "int8"), tmp_path).file)
    stored = Counter(
        str(node.get_element_type().to_string())
        for node in model.get_ops()
        if node.get_type_name() == "Constant"
    )
    assert stored["u8"] > 0
    assert stored["i8"] == 0


def output(model: Any, given: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    found = ov.Core().compile_model(model, "CPU")(given)[0]
    return np.ravel(found).astype(np.float64)


@pytest.mark.parametrize("start", [0, 64, 128])
def test_both_token_types_stay_near_fp32(
    start: int, made: Callable[[str], Any], tmp_path: Path
) -> None:
    """Ranges of the first type alone gave a cosine of 0.71 on the second."""
    name = "all-minilm-l6-v2"
    built = graphs.build(order(name, "fp32"), tmp_path)
    given = sample(built.inputs, 100)
    given["token_type_ids"][:] = np.arange(128) >= start
    one, other = (output(m, given) for m in (ov.Core().read_model(built.file), made(name)))
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.99
