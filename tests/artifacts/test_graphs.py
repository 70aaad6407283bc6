"""The rebuilt graphs against published counts, reference outputs and runtimes' expectations."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cpufit.artifacts.onnx import graphs, wire
from cpufit.artifacts.samples import sample
from cpufit.catalog import load_models
from cpufit.errors import DataError, UnsupportedError, UsageError
from cpufit.networks.families import graph_of
from cpufit.networks.graph import Graph
from cpufit.networks.sources import Stored, Synthetic
from cpufit.schema import Order
from cpufit.schema.shapes import Encoder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cpufit.artifacts.base import Built
    from cpufit.precisions import Precision
    from cpufit.schema import Model

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnxruntime

VISION = (
    "mobilenet-v2",
    "mobilenet-v3-small",
    "mobilenet-v3-large",
    "efficientnet-lite0",
    "squeezenet-1.1",
    "resnet-18",
    "resnet-50",
    "resnet-152",
    "mobilevit-xxs",
    "yolov5s",
    "yolov8n",
)
MODELS = (*VISION, "distilbert")


def card(name: str, resolution: int = 0) -> Model:
    model = load_models()[name]
    if resolution:
        assert model.vision
        return replace(model, vision=replace(model.vision, resolution=resolution))
    return model


def small(name: str) -> Model:
    """Return the card at a size that runs at once; the architecture stays."""
    model = card(name)
    if model.encoder:
        return replace(model, encoder=replace(model.encoder, layers=2, vocab=1000, sequence=16))
    return card(name, 64)


def build(model: Model, folder: Path, precision: Precision = "fp32") -> Built:
    request = Order(
        builder="onnx.graphs",
        model=model,
        precision=precision,
        runtime="onnxruntime",
        weights="synthetic",
    )
    return graphs.build(request, folder)


def session(file: Path | bytes, dump: Path | None = None, batch: int = 1) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.add_free_dimension_override_by_name("batch", batch)
    if dump:
        options.optimized_model_filepath = str(dump)
    given = file if isinstance(file, bytes) else str(file)
    return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def run(file: Path | bytes, feeds: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    batch = len(next(iter(feeds.values())))
    output: NDArray[np.float32] = session(file, batch=batch).run(None, feeds)[0]
    return output


# ------------------------------------------------------------------------------------- the facts
@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_macs_are_those_of_the_card(name: str) -> None:
    model = card(name)
    graph = graph_of(model, Synthetic(name))
    assert graph.parameters == model.parameters
    assert graph.macs == model.macs


def test_counts_are_the_published_ones() -> None:
    published = {  # parameters, and millions of multiply-adds
        "mobilenet-v2": (3_504_872, 300.8),
        "mobilenet-v3-small": (2_542_856, 56.5),
        "mobilenet-v3-large": (5_483_032, 216.6),
        "efficientnet-lite0": (4_652_008, 385.2),
        "squeezenet-1.1": (1_235_496, 349.2),
        "resnet-18": (11_689_512, 1814.1),
        "resnet-50": (25_557_032, 4089.2),
        "resnet-152": (60_192_808, 11513.6),
        "mobilevit-xxs": (1_272_024, 407.4),
        "yolov5s": (7_235_389, 8217.0),
        "yolov8n": (3_157_200, 4372.0),
        "distilbert": (66_362_880, 5586.8),
    }
    assert list(published) == list(MODELS)
    for name, (parameters, millions) in published.items():
        assert card(name).parameters == parameters, name
        assert card(name).macs / 1e6 == pytest.approx(millions, abs=0.6), name


@pytest.mark.parametrize(
    ("shape", "parameters", "macs"),
    [
        ((6, 384, 1536), 22_713_216, 1_435_000_000),  # all-MiniLM-L6-v2
        ((12, 768, 3072), 109_482_240, 11_174_000_000),  # BERT-base
    ],
)
def test_other_encoders_have_their_published_counts(
    shape: tuple[int, int, int], parameters: int, macs: int
) -> None:
    layers, hidden, ffn = shape
    spec = Encoder(
        layers=layers,
        hidden=hidden,
        ffn=ffn,
        heads=12,
        vocab=30_522,
        positions=512,
        types=2,
        pooler=True,
    )
    graph = graph_of(replace(card("distilbert"), encoder=spec), Synthetic("other"))
    assert graph.parameters == parameters
    assert graph.macs == pytest.approx(macs, rel=0.001)
    assert [i.name for i in graph.inputs] == ["input_ids", "token_type_ids", "attention_mask"]


# ------------------------------------------------------------------------------------- the files
@pytest.mark.parametrize("name", MODELS)
def test_file_is_valid_and_shapes_agree_with_onnx(name: str, tmp_path: Path) -> None:
    built = build(small(name), tmp_path)
    onnx.checker.check_model(str(built.file), full_check=True)
    model = onnx.load(built.file)
    assert [len(model.graph.input), len(model.graph.output)] == [len(built.inputs), 1]
    declared = session(built.file).get_outputs()[0].shape
    assert list(run(built.file, sample(built.inputs, 0)).shape) == declared
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_batch_axis_is_open_and_first(tmp_path: Path) -> None:
    built = build(small("yolov8n"), tmp_path)
    assert built.inputs[0].shape == ("batch", 3, 64, 64)
    info = onnx.load(built.file).graph.input[0].type.tensor_type.shape.dim
    assert info[0].dim_param == "batch"


@pytest.mark.parametrize("name", MODELS)
def test_samples_of_a_batch_do_not_mix(name: str, tmp_path: Path) -> None:
    built = build(small(name), tmp_path)
    feeds = [sample(built.inputs, i) for i in range(2)]
    both = {key: np.concatenate([feed[key] for feed in feeds]) for key in feeds[0]}
    together = run(built.file, both)
    for i, feed in enumerate(feeds):
        alone = run(built.file, feed)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-3, atol=1e-3)
    assert not np.allclose(together[0], together[1], rtol=1e-2, atol=1e-2)


def test_same_bytes_every_time(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.append(build(small("yolov8n"), tmp_path / name).file.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("name", MODELS)
def test_estimate_is_close(name: str, tmp_path: Path) -> None:
    model = card(name)
    request = Order(
        builder="onnx.graphs",
        model=model,
        precision="fp32",
        runtime="onnxruntime",
        weights="synthetic",
    )
    size = graphs.build(request, tmp_path).file.stat().st_size
    assert graphs.estimate_bytes(request) == pytest.approx(size, rel=0.02)


def test_other_resolutions_follow(tmp_path: Path) -> None:
    built = build(card("yolov8n", 96), tmp_path)
    assert run(built.file, sample(built.inputs, 0)).shape == (1, 84, 12 * 12 + 6 * 6 + 3 * 3)
    model, linear = card("efficientnet-lite0"), 1280 * 1000
    double = graph_of(card(model.name, 448), Synthetic("m"))
    assert double.macs - linear == 4 * (model.macs - linear)
    assert double.parameters == model.parameters


def test_user_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="multiple of 32"):
        build(card("yolov8n", 100), tmp_path)
    model = card("yolov8n")
    assert model.vision
    wrong = replace(model, vision=replace(model.vision, builder="yolov8m"))
    with pytest.raises(UsageError, match="did you mean 'yolov8n'"):
        build(wrong, tmp_path)
    with pytest.raises(UnsupportedError, match="fp16"):
        build(model, tmp_path, "fp16")


def test_a_name_cannot_be_given_twice() -> None:
    graph = Graph("g", Synthetic("g"))
    graph.weight("w", (1,), 1.0)
    with pytest.raises(ValueError, match="two tensors called 'w'"):
        graph.weight("w", (1,), 1.0)


# ------------------------------------------------------------------------------- what they compute
def test_encoder_computes_what_the_paper_says(tmp_path: Path) -> None:
    model = small("distilbert")
    assert model.encoder
    spec = replace(model.encoder, hidden=48, heads=3, ffn=96, sequence=8)
    built = build(replace(model, encoder=spec), tmp_path)
    w = {
        i.name: numpy_helper.to_array(i).astype(np.float64)
        for i in onnx.load(built.file).graph.initializer
    }
    feeds = sample(built.inputs, 0)
    feeds["attention_mask"][0, 6:] = 0

    def linear(x: NDArray[Any], name: str) -> NDArray[Any]:
        return np.asarray(x @ w[f"{name}.weight"] + w[f"{name}.bias"])

    def norm(x: NDArray[Any], name: str) -> NDArray[Any]:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + spec.norm_eps)
        return np.asarray(scaled * w[f"{name}.weight"] + w[f"{name}.bias"])

    def heads(x: NDArray[Any]) -> NDArray[Any]:
        return x.reshape(8, 3, 16).swapaxes(0, 1)

    from math import erf

    gelu = np.vectorize(lambda v: v / 2 * (1 + erf(v / 2**0.5)))
    x = w["embeddings.word.weight"][feeds["input_ids"][0]] + w["embeddings.position.weight"][:8]
    x = norm(x, "embeddings.norm")
    for i in range(spec.layers):
        name = f"layer.{i}"
        q, k, v = (heads(linear(x, f"{name}.attention.{p}")) for p in ("query", "key", "value"))
        scores = np.exp(q @ k.swapaxes(1, 2) / 4) * feeds["attention_mask"][0]
        mixed = scores / scores.sum(-1, keepdims=True) @ v
        joined = mixed.swapaxes(0, 1).reshape(8, 48)
        x = norm(x + linear(joined, f"{name}.attention.out"), f"{name}.attention.norm")
        inner = gelu(linear(x, f"{name}.ffn.0"))
        x = norm(x + linear(inner, f"{name}.ffn.1"), f"{name}.norm")
    np.testing.assert_allclose(run(built.file, feeds)[0], x, rtol=1e-3, atol=1e-4)


def test_types_and_pooler_of_bert_work(tmp_path: Path) -> None:
    model = small("distilbert")
    assert model.encoder
    spec = replace(model.encoder, hidden=48, heads=3, ffn=96, types=2, pooler=True)
    built = build(replace(model, encoder=spec), tmp_path)
    onnx.checker.check_model(str(built.file), full_check=True)
    feeds = sample(built.inputs, 0)
    assert not feeds["token_type_ids"].any()
    opened = session(built.file)
    state, pooled = opened.run(None, feeds)
    w = {i.name: numpy_helper.to_array(i) for i in onnx.load(built.file).graph.initializer}
    expected = np.tanh(state[:, 0] @ w["pooler.weight"] + w["pooler.bias"])
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-5)
    feeds["token_type_ids"][:] = 1
    assert not np.allclose(opened.run(None, feeds)[0], state, atol=1e-3)


def test_yolo_boxes_lie_around_their_cells(tmp_path: Path) -> None:
    built = build(card("yolov8n", 96), tmp_path)
    found = run(built.file, sample(built.inputs, 0))[0]
    boxes, scores = found[:4], found[4:]
    grids = [(side, 96 // side) for side in (12, 6, 3)]
    strides = np.concatenate([np.full(side * side, stride) for side, stride in grids])
    columns, rows = (
        np.concatenate(
            [np.indices((side, side))[axis].ravel() * stride + stride / 2 for side, stride in grids]
        )
        for axis in (1, 0)
    )
    # Four sides, each an expected value over bins 0..15: positive, and far from saturated.
    assert np.all(np.abs(boxes[0] - columns) < 7.5 * strides)
    assert np.all(np.abs(boxes[1] - rows) < 7.5 * strides)
    sides = boxes[2:] / strides
    assert np.all((sides > 0) & (sides < 30))
    assert 5 < sides.mean() < 25
    assert np.all((scores > 0) & (scores < 1))


# -------------------------------------------------------------------------------- what runtimes see
def optimised(built: Built, tmp_path: Path) -> Counter[str]:
    dump = tmp_path / "optimised.onnx"
    session(built.file, dump)
    return Counter(node.op_type for node in onnx.load(dump).graph.node)


@pytest.mark.parametrize("name", VISION)
def test_onnxruntime_folds_norms_and_activations(name: str, tmp_path: Path) -> None:
    ops = optimised(build(small(name), tmp_path), tmp_path)
    left = {"BatchNormalization", "Clip", "Relu", "HardSwish"} & set(ops)
    assert not left
    if name == "yolov8n":  # 57 SiLUs, each one node instead of Sigmoid and Mul
        assert ops["QuickGelu"] == 57


def test_onnxruntime_fuses_the_encoder(tmp_path: Path) -> None:
    model = small("distilbert")
    assert model.encoder
    layers = model.encoder.layers
    ops = optimised(build(model, tmp_path), tmp_path)
    assert ops["SkipLayerNormalization"] == 2 * layers + 1
    assert ops["Gelu"] + ops["BiasGelu"] == layers
    assert ops["FusedMatMul"] == layers  # scores, with the division by the root inside
    assert not {"LayerNormalization", "Erf", "Div"} & set(ops)


def test_stored_arrays_must_fit(tmp_path: Path) -> None:
    def write(arrays: dict[str, NDArray[np.float32]]) -> None:
        wire.write(
            graph_of(card("efficientnet-lite0"), Stored(arrays, "f.pth")), tmp_path / "model.onnx"
        )

    with pytest.raises(DataError, match=r"f\.pth: _conv_stem\.weight .*no such tensor"):
        write({})
    with pytest.raises(DataError, match=r"shape \(32, 3, 5, 5\)"):
        write({"_conv_stem.weight": np.zeros((32, 3, 5, 5), np.float32)})
