"""Detectors: the arithmetic of boxes inside a graph, and Faster R-CNN as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper

from cpufit.artifacts.onnx import graphs, wire
from cpufit.artifacts.samples import sample
from cpufit.catalog import pick
from cpufit.networks.boxes import Boxes, anchors
from cpufit.networks.families import vision_graph
from cpufit.networks.graph import Graph
from cpufit.networks.sources import Synthetic
from cpufit.schema import Order

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cpufit.artifacts.base import Built

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnxruntime

NAME = "faster-rcnn-r50-half"


def build(side: int, folder: Path) -> Built:
    model = pick(f"{NAME}?size={side}")
    request = Order(
        builder="onnx.graphs",
        model=model,
        precision="fp32",
        runtime="onnxruntime",
        weights="synthetic",
    )
    return graphs.build(request, folder)


def computed(file: Path, feeds: dict[str, Any]) -> dict[str, NDArray[Any]]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def test_counts_are_those_of_the_card_and_of_torchvision() -> None:
    model = pick(NAME)
    assert model.vision
    half = vision_graph("m", model.vision, Synthetic("m"))
    assert (half.parameters, half.macs) == (model.parameters, model.macs)
    assert half.parameters == 10_560_054
    assert half.macs / 1e9 == pytest.approx(34.14, abs=0.01)
    whole = vision_graph("m", replace(model.vision, keep=100), Synthetic("m"))
    assert whole.parameters == 41_755_286
    assert whole.macs / 1e9 == pytest.approx(134.38, abs=0.01)


def test_anchors_are_as_many_and_as_large_as_torchvisions() -> None:
    planes = [(200, 200), (100, 100), (50, 50), (25, 25), (13, 13)]
    found = anchors(planes, (32, 64, 128, 256, 512), (0.5, 1.0, 2.0), 800)
    assert found.shape == (159_882, 4)
    np.testing.assert_array_equal(
        found[:3], [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    )
    np.testing.assert_array_equal(
        found[3], [-19, -11, 27, 11]
    )  # the cell to the right, 4 pixels on
    np.testing.assert_array_equal(found[200 * 3], [-23, -7, 23, 15])  # the cell below


def test_the_file_is_valid_and_gives_a_fixed_number_of_detections(tmp_path: Path) -> None:
    built = build(128, tmp_path)
    onnx.checker.check_model(str(built.file), full_check=True)
    assert built.inputs[0].shape == (1, 3, 128, 128)
    found = computed(built.file, sample(built.inputs, 0))
    assert {name: array.shape for name, array in found.items()} == {
        "boxes": (1, 100, 4),
        "scores": (1, 100),
        "labels": (1, 100),
        "objectness": (1, 3 * (32**2 + 16**2 + 8**2 + 4**2 + 2**2)),
    }
    boxes, scores, labels = found["boxes"][0], found["scores"][0], found["labels"][0]
    assert boxes.min() >= 0
    assert boxes.max() <= 128
    assert np.all(boxes[:, 2:] >= boxes[:, :2])
    assert np.all((scores > 0) & (scores < 1))
    assert set(labels) <= set(range(90))
    assert np.all(np.diff(scores[:50]) <= 0)


def emitted(tmp_path: Path, make: Callable[[Boxes], str], shape: list[int]) -> NDArray[Any]:
    """Run a graph of box arithmetic alone."""
    graph = Graph("boxes", Synthetic("boxes"))
    name = make(Boxes(graph, "test"))
    initializers = [
        helper.make_tensor(
            a.name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, wire._bytes(a), raw=True
        )
        for a in graph.arrays
    ]
    output = onnx.ValueInfoProto(name=name)
    made = helper.make_graph(wire.nodes(graph), "g", [], [output], initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = tmp_path / "boxes.onnx"
    onnx.save(model, file)
    (found,) = computed(file, {}).values()
    assert list(found.shape) == shape
    return found


def test_no_change_leaves_the_anchors(tmp_path: Path) -> None:
    given = np.array([[10, 20, 30, 60], [0, 0, 8, 8]], np.float32)
    found = emitted(
        tmp_path,
        lambda b: b.decode(
            b.constant(np.zeros((2, 4), np.float32)), b.constant(given), (1, 1, 1, 1), 100
        ),
        [2, 4],
    )
    np.testing.assert_allclose(found, given, atol=1e-5)


def test_deltas_move_and_stretch_and_stay_inside(tmp_path: Path) -> None:
    given = np.array([[10, 20, 30, 60]] * 3, np.float32)
    deltas = np.array([[0.5, 0, 0, 0], [0, 0, np.log(2), 0], [0, 0, 99, 99]], np.float32)
    found = emitted(
        tmp_path,
        lambda b: b.decode(b.constant(deltas), b.constant(given), (1, 1, 1, 1), 100),
        [3, 4],
    )
    np.testing.assert_allclose(
        found, [[20, 20, 40, 60], [0, 20, 40, 60], [0, 0, 100, 100]], atol=1e-3
    )


def test_suppression_keeps_groups_apart_and_fills_up(tmp_path: Path) -> None:
    same = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [1, 1, 10, 10], [50, 50, 60, 60]], np.float32)
    groups = np.array([0, 1, 0, 0], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    found = emitted(
        tmp_path,
        lambda b: b.suppress(b.constant(same), b.constant(scores), b.constant(groups), 0.5, 4, 100),
        [4],
    )
    assert found.tolist() == [0, 1, 3, 0]  # the third overlaps the first of its group
