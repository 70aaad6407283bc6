"""Users' own OpenVINO models that keep a state: emptied before each request, outside the clock."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.runtimes.decoders import generate

from cpufit.artifacts import asis
from cpufit.artifacts.asis import ir_file
from cpufit.catalog import model_of_file
from cpufit.errors import UnsupportedError
from cpufit.measuring.procedures.base import requests
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Artifact

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import About
    from cpufit.runtimes.base import Session

pytestmark = pytest.mark.openvino
ov = pytest.importorskip("openvino")
op = pytest.importorskip("openvino.opset13")

VOCAB, WIDTH, IDS = 50, 8, (3, 17, 8, 30, 1, 1, 22, 9)
_RANDOM = np.random.default_rng(0)
TABLE = _RANDOM.standard_normal((VOCAB, WIDTH)).astype(np.float32)
HEAD = _RANDOM.standard_normal((WIDTH, VOCAB)).astype(np.float32)


def _parameter(name: str, kind: Any, shape: list[int]) -> Any:
    found = op.parameter(shape, kind, name=name)
    found.output(0).set_names({name})
    return found


def _state(shape: list[int]) -> Any:
    empty = op.constant(np.zeros([max(size, 0) for size in [1, *shape[1:]]], np.float32))
    return op.read_value(empty, "cache", ov.Type.f32, ov.PartialShape(shape))


def summing(path: Path) -> Path:
    """Write a model that adds each input to all before it."""
    x = _parameter("x", np.float32, [1, 4])
    total = op.add(_state([1, 4]), x)
    sink, result = (
        op.assign(total, "cache"),
        op.result(op.multiply(total, op.constant(np.float32(2)))),
    )
    ov.save_model(ov.Model([result], [sink], [x], "sum"), path, compress_to_fp16=False)
    return path


def text(path: Path, *, beams: bool = True, extra: str = "") -> Path:
    """Write a language model as optimum-intel does, without positions: it averages what it read."""
    ids = _parameter("input_ids", np.int64, [-1, -1])
    mask = _parameter("attention_mask", np.int64, [-1, -1])
    beam = _parameter("beam_idx", np.int32, [-1])
    first = op.constant(np.int64(0))
    words = op.gather(op.constant(TABLE), ids, first)
    state = _state([-1, -1, WIDTH])
    cache = op.concat([op.gather(state, beam, first) if beams else state, words], 1)
    counted = op.unsqueeze(op.convert(mask, "f32"), op.constant(np.int64(2)))
    mean = op.reduce_sum(op.multiply(cache, counted), op.constant(np.array([1])), True)
    share = op.divide(mean, op.reduce_sum(counted, op.constant(np.array([1])), True))
    heard = op.add(words, share)
    logits = op.result(op.matmul(heard, op.constant(HEAD), False, False))
    inputs = [ids, mask, *([beam] if beams else [])]
    if extra:
        inputs.append(_parameter(extra, np.float32, [1]))
    model = ov.Model([logits], [op.assign(cache, "cache")], inputs, "text")
    model.outputs[0].set_names({"logits"})
    model.set_rt_info(64, ["cpufit", "context"])
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def expected(ids: tuple[int, ...]) -> Any:
    words = TABLE[list(ids)]
    return (words[-1] + words.mean(0)) @ HEAD


def about(path: Path) -> About:
    return asis.about(path, model_of_file(path))


def load(path: Path, **options: Any) -> Session:
    built = ir_file.inspect(path, model_of_file(path))
    artifact = Artifact(
        key="k",
        path=str(path),
        size_bytes=1,
        parameters=1,
        format="f",
        recipe="r",
        inputs=built.inputs,
    )
    return load_runtime("openvino").load(artifact, LoadOptions(threads=1, **options))


@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_every_request_starts_without_what_came_before(tmp_path: Path, goal: str) -> None:
    with closing(load(summing(tmp_path / "sum.xml"), goal=goal)) as session:
        found = []
        for _ in range(3):
            work = session.prepare(Step(kind="infer"))
            assert work.once
            work.run()
            (output,) = session.outputs().values()
            found.append(output)
        np.testing.assert_array_equal(found[0], 2 * session.inputs()["x"])
        np.testing.assert_array_equal(found[0], found[2])


def test_a_state_is_emptied_before_each_sample(tmp_path: Path) -> None:
    """A probe gets ready anew for every run, which is outside of what it times."""

    class Bench:
        session: Any
        model: Any
        cell: Any
        scenario = None

    path, bench = summing(tmp_path / "sum.xml"), Bench()
    known = about(path)
    bench.model = asis.known(model_of_file(path), known)
    bench.cell = type("Cell", (), {"batch": 1})
    with closing(load(path)) as session:
        bench.session = session
        (probe,) = requests(bench, "latency", "", "")  # type: ignore[arg-type]
        clock = iter(range(10**6)).__next__
        assert len(probe.timed(5, clock)) == 5
        (output,) = session.outputs().values()
        np.testing.assert_array_equal(output, 2 * session.inputs()["x"])
    assert known.family == "own"
    assert "it keeps a state" in ir_file.inspect(path, model_of_file(path)).notes[-1]


@pytest.mark.parametrize("beams", [True, False])
def test_what_reads_ids_is_a_language_model(tmp_path: Path, beams: bool) -> None:
    path = text(tmp_path / "model.xml", beams=beams)
    known = about(path)
    assert (known.family, known.context_tokens) == ("llm", 64)
    assert asis.known(model_of_file(path), known).task == "generate"
    with closing(load(path, context_tokens=32)) as session:
        for cut in (len(IDS), 5, 1):
            found = generate(session, IDS[:cut], IDS[cut:])
            np.testing.assert_allclose(found, expected(IDS)[None], rtol=1e-3, atol=1e-3)
    assert "openvino-genai cuts" in ir_file.inspect(path, model_of_file(path)).notes[0]


def test_a_prompt_is_handed_on_by_beam_idx(tmp_path: Path) -> None:
    with closing(load(text(tmp_path / "a.xml"), context_tokens=32, batch=3)) as session:
        assert generate(session, IDS[:5], IDS[5:], sequences=3).shape == (3, VOCAB)
    with pytest.raises(UnsupportedError, match="has no beam_idx"):
        load(text(tmp_path / "b.xml", beams=False), context_tokens=32, batch=3)


def test_what_cannot_be_given_is_said(tmp_path: Path) -> None:
    path = text(tmp_path / "model.xml", extra="encoder_hidden_states")
    with pytest.raises(UnsupportedError, match=r"model\.xml .* takes encoder_hidden_states too"):
        about(path)
