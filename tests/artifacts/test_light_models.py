"""Our graphs against the light models of the onnx package: theirs in structure, without weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cpufit.artifacts.onnx import wire
from cpufit.catalog import pick
from cpufit.networks.families import graph_of
from cpufit.networks.sources import Stored, Synthetic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.float32]]

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnxruntime

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
MODELS = {"squeezenet": "squeezenet-1.1", "resnet50": "resnet-50"}
LEARNED = ("Conv", "BatchNormalization", "Gemm")


def light(name: str) -> onnx.ModelProto:
    return onnx.load(LIGHT / f"light_{name}.onnx")


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the light model's weights, in order of the layers."""
    found = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in model.graph.input
    }
    arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            found[node.output[0]] = tuple(int(side) for side in arrays[node.input[0]])
    found |= {name: array.shape for name, array in arrays.items()}
    layers = [node for node in model.graph.node if node.op_type in LEARNED]
    return {name: found[name] for node in layers for name in node.input[1:]}


def ours_with(name: str, values: Arrays, folder: Path) -> Path:
    """Write our graph with arrays that are given in the light model's order of layers."""
    card = pick(MODELS[name])
    names = [array.name for array in graph_of(card, Synthetic("light")).drawn]
    renamed = dict(zip(names, values.values(), strict=True))
    file = folder / "ours.onnx"
    wire.write(graph_of(card, Stored(renamed, "light")), file)
    return file


def run(model: Path | bytes, feeds: dict[str, Any]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Only one of the two graphs can have its norms folded, which rounds otherwise.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = model if isinstance(model, bytes) else str(model)
    session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, feeds)[0]
    return found


def softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = np.exp(x - x.max())
    result: NDArray[np.float32] = shifted / shifted.sum()
    return result


@pytest.mark.parametrize("name", MODELS)
def test_ours_gives_the_output_onnx_publishes(name: str, tmp_path: Path) -> None:
    model = light(name)
    stored = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    constant = {
        weight: stored.get(weight, np.full(shape, 0.02, np.float32))
        for weight, shape in shapes(model).items()
    }
    proto = onnx.TensorProto()
    proto.ParseFromString((LIGHT / f"light_{name}_output_0.pb").read_bytes())
    image = {"images": np.ones((1, 3, 224, 224), np.float32)}
    logits = run(ours_with(name, constant, tmp_path), image)
    expected = numpy_helper.to_array(proto).reshape(1, -1)
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_ours_computes_what_the_light_graph_does(name: str, tmp_path: Path) -> None:
    """With drawn weights, since equal ones make all classes equal."""
    model, source = light(name), Synthetic("light")
    drawn = {
        weight: np.abs(array) + np.float32(0.5) if weight.endswith("_bn_riv_0") else array
        for weight, shape in shapes(model).items()
        for array in (source.take(weight, shape, 1 / np.prod(shape[1:] or (25,)) ** 0.5, 0.0),)
    }
    nodes = [n for n in model.graph.node if not set(n.output) & drawn.keys()]
    last = next(n for n in nodes if n.op_type == "Softmax")
    del model.graph.node[:]
    model.graph.node.extend(n for n in nodes if n is not last)
    kept = [i for i in model.graph.initializer if i.name not in drawn]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in drawn.items())
    model.graph.output[0].name = last.input[0]
    image = source.take("image", (1, 3, 224, 224), 1.0, 0.0)
    (data,) = {i.name for i in model.graph.input} - {i.name for i in model.graph.initializer}
    expected = run(model.SerializeToString(), {data: image}).reshape(1, -1)
    assert expected.std() > 1e-3
    found = run(ours_with(name, drawn, tmp_path), {"images": image})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.std())
