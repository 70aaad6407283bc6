"""Activations of synthetic models, layer by layer.

Denormals cost up to a hundredfold, infinities and zeros may cost nothing: both would falsify times.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from cpufit.artifacts.onnx import graphs
from cpufit.artifacts.samples import sample
from cpufit.catalog import load_models, pick
from cpufit.errors import UsageError
from cpufit.networks import unet
from cpufit.networks.vision.yolo import DECODE
from cpufit.schema import Order

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cpufit.schema import Input, Model

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnxruntime

SMALL_SIDE = 128
LARGEST_LOGITS = 15.0  # standard deviation; 8-bit formats lose much of larger ones
TOWERS = {"clip-vit-b32", "minigpt4-light"}  # made of CLIP's towers, which have cards of their own
GRAPHS = [name for name, m in load_models().items() if (m.vision or m.sense) and name not in TOWERS]


def small(name: str) -> Model:
    """Return the card with small pictures and few words, where that can be."""
    model = pick(name)
    if model.writer:
        return replace(model, writer=replace(model.writer, layers=2, vocab=200))
    try:
        return pick(f"{name}?size={SMALL_SIDE}")
    except UsageError:
        return model


@pytest.mark.parametrize("name", [*GRAPHS, "distilbert"])
def test_activations_have_a_sane_scale(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet, "_WIDTHS", (32, 64, 64, 64))  # published: 3.4 GB
    model = small(name)
    request = Order(
        builder="onnx.graphs",
        model=model,
        precision="fp32",
        runtime="onnxruntime",
        weights="synthetic",
    )
    built = graphs.build(request, tmp_path)
    sense = tmp_path / "sense.onnx"
    found = check(sense if sense.exists() else built.file, built.inputs)
    if model.vision and model.vision.answer == "classes":  # of trained ones, a few units
        assert 0.5 < found.std() < LARGEST_LOGITS


def check(file: Path, inputs: tuple[Input, ...]) -> NDArray[Any]:
    """Run with every activation an output; return the model's first."""
    model = onnx.shape_inference.infer_shapes(onnx.load(file))
    floats = [v for v in model.graph.value_info if v.type.tensor_type.elem_type == 1]
    model.graph.output.extend(floats)
    assert len(floats) > 20
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    opened = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in opened.get_outputs()]
    values: list[NDArray[Any]] = opened.run(None, sample(inputs, 3))
    for key, value in zip(names, values, strict=True):
        if value.dtype != np.float32 or value.size < 2:
            continue
        assert np.isfinite(value).all(), key
        size = np.abs(value[value != 0])
        assert not np.any(size < np.finfo(np.float32).tiny), key
        # Nothing is masked, or everything that comes later; boxes may lie at the edge.
        if key.startswith(("mask/", DECODE)) or key.endswith("/masked"):
            continue
        assert 1e-4 < value.std() < 1e4, key
        assert size.size > 0.2 * value.size, key
    return values[0]
