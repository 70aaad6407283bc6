"""The same float32 graph on ONNX Runtime and on OpenVINO gives the same answer."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.runtimes.decoders import relative

from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import load_models, pick
from cpufit.errors import UsageError
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cpufit.runtimes.inputs import Array
    from cpufit.schema import Model

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = [pytest.mark.onnxruntime, pytest.mark.openvino]

RUNTIMES = ("onnxruntime", "openvino")
LARGE = {"sd15-unet"}  # its weights alone are 3.4 GB
RANKED = {"boxes", "scores", "labels"}  # in an order that rounding changes


def small(name: str) -> Model:
    """Return the card with pictures of 128 pixels where it takes them."""
    try:
        return pick(f"{name}?size=128")
    except UsageError:
        return pick(name)


def names() -> Iterator[str]:
    for name, model in load_models().items():
        built = model.vision or model.sense or model.encoder
        if built and model.task == "infer" and name not in LARGE:
            yield name


def answers(model: Model, runtime: str, folder: Path) -> dict[str, Array]:
    request = order_of(model, "fp32", runtime, "synthetic", folder)
    artifact = cache.make(request, folder)
    with closing(load_runtime(runtime).load(artifact, LoadOptions(threads=2))) as session:
        session.prepare(Step(kind="infer")).run()
        return dict(session.outputs())


@pytest.mark.parametrize("name", list(names()))
def test_the_runtimes_agree(name: str, tmp_path: Path) -> None:
    model = small(name)
    one, other = (answers(model, runtime, tmp_path) for runtime in RUNTIMES)
    assert one.keys() == other.keys()
    for output in one.keys() - RANKED:
        assert np.isfinite(one[output]).all()
        assert relative(other[output], one[output]) < 1e-4, output
