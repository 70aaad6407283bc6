"""Graphs of models that see or hear, against published counts and what their papers say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from cpufit.artifacts.onnx import graphs
from cpufit.artifacts.samples import sample
from cpufit.catalog import load_models
from cpufit.errors import UsageError
from cpufit.networks.counts import counts
from cpufit.networks.families import graphs_of
from cpufit.networks.sources import Synthetic
from cpufit.schema import Order

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cpufit.artifacts.base import Built
    from cpufit.schema import Model

ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.onnxruntime

MODELS = {name: model for name, model in load_models().items() if model.sense}
WRITERS = [name for name, model in MODELS.items() if model.writer]


def small(name: str) -> Model:
    """Return the card with a writer of one narrow layer, where it has one."""
    model = MODELS[name]
    if model.writer is None:
        return model
    return replace(model, writer=replace(model.writer, layers=1, vocab=100))


def build(model: Model, folder: Path) -> Built:
    request = Order(
        builder="onnx.graphs",
        model=model,
        precision="fp32",
        runtime="onnxruntime",
        weights="synthetic",
    )
    return graphs.build(request, folder)


def opened(file: Path) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_macs_are_those_of_the_card(name: str) -> None:
    model = MODELS[name]
    assert counts(model) == (model.parameters, model.macs)


def test_work_is_the_published_one() -> None:
    billions = {"clip-vit-b32-image": 4.409, "clip-vit-b32-text": 2.980, "sd15-unet": 401.6}
    for name, published in billions.items():
        assert MODELS[name].macs / 1e9 == pytest.approx(published, rel=2e-3), name
    senses = {"whisper-tiny": 18.469 + 1.769, "whisper-base": 43.684 + 4.719,
              "blip-base": 55.484 + 8.168}  # fmt: skip
    for name, published in senses.items():
        made = graphs_of(MODELS[name], Synthetic(name))
        assert made["sense"].macs / 1e9 == pytest.approx(published, rel=2e-3), name


@pytest.mark.parametrize("name", ["clip-vit-b32-image", "clip-vit-b32-text", *WRITERS])
def test_files_are_valid(name: str, tmp_path: Path) -> None:
    build(small(name), tmp_path)
    for file in tmp_path.glob("*.onnx"):
        onnx.checker.check_model(str(file), full_check=True)


def test_the_size_of_an_int8_form_is_foreseen(tmp_path: Path) -> None:
    """The disk must hold it, and the float form it is made from."""
    request = Order(
        builder="onnx.graphs",
        model=MODELS["whisper-tiny"],
        precision="int8",
        runtime="onnxruntime",
        weights="synthetic",
    )
    graphs.build(request, tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert graphs.estimate_bytes(request) == pytest.approx(size, rel=0.1)
    whole = replace(request, precision="fp32")
    assert graphs.scratch_bytes(request) == graphs.estimate_bytes(whole)
    assert graphs.scratch_bytes(whole) == 0


def test_clip_scores_every_text_for_one_image(tmp_path: Path) -> None:
    built = build(MODELS["clip-vit-b32"], tmp_path)
    feeds = sample(built.inputs, 0)
    texts = np.concatenate([sample(built.inputs, i)["input_ids"] for i in range(3)])
    session = opened(built.file)
    (scores,) = session.run(None, {**feeds, "input_ids": texts})
    assert scores.shape == (3, 1)
    assert np.all(np.abs(scores) <= 100)
    (alone,) = session.run(None, {**feeds, "input_ids": texts[1:2]})
    np.testing.assert_allclose(alone[0], scores[1], rtol=1e-3, atol=1e-3)


def test_a_text_counts_up_to_its_end_only(tmp_path: Path) -> None:
    built = build(MODELS["clip-vit-b32-text"], tmp_path)
    ids = sample(built.inputs, 0)["input_ids"] % 49_000
    ids[0, 20] = 49_407  # the end
    session = opened(built.file)
    (found,) = session.run(None, {"input_ids": ids})
    ids[0, 30] = 5
    np.testing.assert_allclose(session.run(None, {"input_ids": ids})[0], found, atol=1e-5)
    ids[0, 10] = 5
    assert not np.allclose(session.run(None, {"input_ids": ids})[0], found, atol=1e-3)


def written(
    session: Any, ids: NDArray[np.int64], cross: dict[str, Any], past: dict[str, Any]
) -> dict[str, Any]:
    before = next(iter(past.values())).shape[2]
    count = ids.shape[1]
    mask = np.triu(np.full((count, before + count), -1e9, np.float32), before + 1)
    feeds = {
        "input_ids": ids,
        "position_ids": np.arange(before, before + count)[None],
        "mask": mask[None, None],
        **cross,
        **past,
    }
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


@pytest.mark.parametrize("name", WRITERS)
def test_a_text_in_one_go_is_a_text_token_by_token(name: str, tmp_path: Path) -> None:
    model = small(name)
    writer = model.writer
    assert writer
    built = build(model, tmp_path)
    sense, session = opened(tmp_path / "sense.onnx"), opened(built.file)
    names = [output.name for output in sense.get_outputs()]
    cross = dict(zip(names, sense.run(None, sample(built.inputs, 0)), strict=True))
    empty = np.zeros((1, writer.heads, 0, writer.hidden // writer.heads), np.float32)
    past = {f"past.0.{kind}": empty for kind in ("key", "value")}
    ids = np.array([[5, 7, 11, 13]], np.int64)
    whole = written(session, ids, cross, past)
    for token in ids[0]:
        step = written(session, np.array([[token]]), cross, past)
        past = {f"past.0.{kind}": step[f"present.0.{kind}"] for kind in ("key", "value")}
    np.testing.assert_allclose(step["logits"], whole["logits"], rtol=1e-3, atol=1e-4)
    other = {key: value[..., ::-1] for key, value in cross.items()}
    assert not np.allclose(written(session, ids, other, past)["logits"], whole["logits"], atol=1e-3)


def test_sizes_that_cannot_be_are_refused() -> None:
    for name, side in (("clip-vit-b32-image", 100), ("sd15-unet", 500), ("blip-base", 100)):
        model = MODELS[name]
        assert model.sense
        wrong = replace(model, sense=replace(model.sense, size=side))
        with pytest.raises(UsageError, match=r"cannot (take|make)"):
            graphs_of(wrong, Synthetic(name))
