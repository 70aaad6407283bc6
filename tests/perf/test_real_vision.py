"""Real against synthetic weights of vision models, in pairs of fresh processes that take turns.

EfficientNet-Lite0 has a card with both. PP-OCRv4's detector exists as a file only: its twin is the
same graph, each of its arrays drawn anew with the mean and spread it had. Both need `cpufit fetch`.
Nothing here asserts a time: run it with `-s` on a quiet machine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.perf.one_pass import made, side_by_side
from tests.perf.pairs import paired, quote

from cpufit.errors import UnavailableError
from cpufit.networks import weights

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.schema import Artifact

pytestmark = pytest.mark.onnxruntime

ROUNDS = 40
_SMALLEST = 16  # shorter arrays are sizes and scales, by which the graph is what it is


def _redrawn(real: Artifact, file: Path) -> Artifact:
    """Write the model with other weights; variances, which must be positive, stay so."""
    model = onnx.load(real.path)
    for constant in [*model.graph.initializer, *_constants(model)]:
        array = numpy_helper.to_array(constant)
        if array.dtype != np.float32 or array.size < _SMALLEST:
            continue
        drawn = weights.tensor("twin", constant.name or str(array.shape), array.shape, 1.0)
        drawn = drawn * array.std() + array.mean()
        name, positive = constant.name, bool((array > 0).all())
        constant.CopyFrom(numpy_helper.from_array(np.abs(drawn) if positive else drawn, name))
    onnx.save(model, file)
    return replace(real, key="twin", path=str(file))


def _constants(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    nodes = [node for node in model.graph.node if node.op_type == "Constant"]
    return [a.t for node in nodes for a in node.attribute if a.name == "value"]


@pytest.mark.parametrize("name", ["efficientnet-lite0", "pp-ocrv4-det"])
def test_real_against_synthetic(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Print the time of real weights over that of synthetic ones."""
    try:
        real = made(name, "fp32", "onnxruntime", "real")
    except UnavailableError as error:
        pytest.skip(str(error))
    twin = (
        _redrawn(real, tmp_path / "twin.onnx")
        if name.startswith("pp-")
        else made(name, "fp32", "onnxruntime")
    )
    ratios = paired(lambda: side_by_side(real, twin, "onnxruntime"), ROUNDS)
    with capsys.disabled():
        print(f"\n{name} fp32 p50: {quote(ratios['p50'])} of the time of synthetic weights")
