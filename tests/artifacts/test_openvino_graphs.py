"""OpenVINO IR of catalog models at small input sizes: same numbers as ONNX, honest INT8."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, cast
from xml.etree import ElementTree as Xml

import numpy as np
import pytest

from cpufit.artifacts.onnx import graphs
from cpufit.artifacts.openvino import graphs as ir
from cpufit.artifacts.routes import order_of
from cpufit.catalog import pick
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Artifact, Order

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cpufit.artifacts.base import Built
    from cpufit.precisions import Precision
    from cpufit.runtimes.inputs import Array
    from cpufit.runtimes.openvino.one_pass import OpenVinoPassSession
    from cpufit.schema import Model

pytestmark = [pytest.mark.openvino, pytest.mark.onnxruntime]

NAMES = ("mobilenet-v3-small", "efficientnet-lite0", "squeezenet-1.1", "yolov8n", "distilbert")


def _small(name: str) -> Model:
    model = pick(name)
    if model.vision:
        return replace(model, vision=replace(model.vision, resolution=64))
    assert model.encoder
    small = replace(
        model.encoder, layers=2, hidden=128, ffn=512, heads=4, vocab=1000, positions=64, sequence=32
    )
    return replace(model, encoder=small)


def _request(name: str, precision: Precision) -> Order:
    return Order(
        builder="openvino.graphs",
        model=_small(name),
        precision=precision,
        runtime="openvino",
        weights="synthetic",
    )


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Precision], Built]:
    """Return a function that builds the IR of a small model once."""
    done: dict[tuple[str, str], Built] = {}

    def once(name: str, precision: Precision) -> Built:
        if (name, precision) not in done:
            folder = tmp_path_factory.mktemp("ir")
            done[name, precision] = ir.build(_request(name, precision), folder)
        return done[name, precision]

    return once


def _output(built: Built, runtime: str = "openvino") -> Array:
    artifact = Artifact(
        key="",
        path=str(built.file),
        size_bytes=0,
        parameters=0,
        format="",
        recipe="",
        inputs=built.inputs,
    )
    options = LoadOptions(threads=1, batch=2, seed=5)
    session = cast("OpenVinoPassSession", load_runtime(runtime).load(artifact, options))
    session.prepare(Step(kind="infer")).run()
    (output,) = session.outputs().values()
    session.close()
    return output.astype(np.float64)


def _cosine(a: Array, b: Array) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("name", NAMES)
def test_fp32_gives_what_onnxruntime_gives(
    name: str, make: Callable[[str, Precision], Built], tmp_path: Path
) -> None:
    ours = _output(make(name, "fp32"))
    theirs = _output(graphs.build(_request(name, "fp32"), tmp_path), "onnxruntime")
    assert np.isfinite(ours).all()
    assert float(np.abs(ours - theirs).max()) < 1e-4 * float(np.abs(theirs).max())


@pytest.mark.parametrize("name", NAMES)
def test_int8_stays_near_fp32(name: str, make: Callable[[str, Precision], Built]) -> None:
    full, quantized = _output(make(name, "fp32")), _output(make(name, "int8"))
    assert _cosine(full, quantized) > 0.99
    assert not np.array_equal(full, quantized)


@pytest.mark.parametrize("name", NAMES)
def test_int8_weights_are_stored_in_bytes(
    name: str, make: Callable[[str, Precision], Built]
) -> None:
    full, quantized = make(name, "fp32").file, make(name, "int8").file
    ratio = quantized.with_suffix(".bin").stat().st_size / full.with_suffix(".bin").stat().st_size
    assert 0.24 < ratio < 0.36


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_folder_holds_the_pair_and_no_scratch(
    precision: Precision, make: Callable[[str, Precision], Built]
) -> None:
    built = make("squeezenet-1.1", precision)
    assert sorted(path.name for path in built.file.parent.iterdir()) == ["model.bin", "model.xml"]
    assert built.file.name == "model.xml"
    assert built.parameters == 1_235_496
    assert built.inputs[0].shape == ("batch", 3, 64, 64)


def test_the_recipe_names_what_made_it(make: Callable[[str, Precision], Built]) -> None:
    full, quantized = make("squeezenet-1.1", "fp32"), make("squeezenet-1.1", "int8")
    assert full.format == "fp32"
    assert "OpenVINO" in full.recipe
    assert "NNCF" not in full.recipe
    assert quantized.format == "FakeQuantize u8s8 per-channel"
    assert "NNCF" in quantized.recipe


def test_the_box_arithmetic_stays_in_float(make: Callable[[str, Precision], Built]) -> None:
    layers = Xml.parse(make("yolov8n", "int8").file).iterfind("layers/layer")
    quantized = [layer.get("name", "") for layer in layers if layer.get("type") == "FakeQuantize"]
    assert len(quantized) > 60
    inside = [name for name in quantized if name.startswith("decode/") and "joined" not in name]
    assert inside == []


def test_packages_that_decide_the_bytes() -> None:
    assert ir.packages(_request("yolov8n", "fp32")) == ("onnx", "openvino")
    assert ir.packages(_request("yolov8n", "int8")) == ("onnx", "openvino", "nncf")


def test_bfloat16_is_the_float_file_computed_otherwise(tmp_path: Path) -> None:
    model = pick("resnet-50")
    request = order_of(model, "bf16", "openvino", "synthetic", tmp_path)
    assert request.precision == "fp32"
    assert request.builder == "openvino.graphs"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_estimate_is_near(
    precision: Precision, make: Callable[[str, Precision], Built]
) -> None:
    real = make("squeezenet-1.1", precision).file.with_suffix(".bin").stat().st_size
    estimate = ir.estimate_bytes(_request("squeezenet-1.1", precision))
    assert 0.9 * real < estimate < 1.1 * real


BUILD = """
import socket, sys
from pathlib import Path
calls = []
def refuse(*args, **kwargs):
    calls.append(args)
    raise OSError("no network here")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from dataclasses import replace
from cpufit.artifacts.openvino import graphs
from cpufit.schema import Order
from cpufit.catalog import pick
model = pick("squeezenet-1.1")
model = replace(model, vision=replace(model.vision, resolution=64))
request = Order(
    builder="openvino.graphs", model=model, precision="int8",
    runtime="openvino", weights="synthetic",
)
graphs.build(request, Path(sys.argv[1]))
assert not calls, calls
assert "torch" not in sys.modules
assert sys.modules["openvino_telemetry"] is None
"""


def test_int8_is_built_silently_offline_and_with_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for attempt in ("one", "two"):
        folder, home = tmp_path / attempt, tmp_path / f"home-{attempt}"
        folder.mkdir()
        home.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(folder)],
            capture_output=True,
            text=True,
            env={"HOME": str(home), "ORT_DISABLE_TELEMETRY": "1"},
            timeout=120,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert list(home.iterdir()) == []  # no consent file, no client id
        files = [folder / "model.xml", folder / "model.bin"]
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1]
