"""Language models on ONNX Runtime: numerics of every architecture, steps, settings, errors."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import pytest
from tests.runtimes.decoders import (
    CONTEXT,
    FAMILIES,
    IDS,
    TINY,
    artifact_of,
    cosine,
    generate,
    relative,
)

from cpufit.artifacts.onnx import decoder
from cpufit.artifacts.rounding import symmetric
from cpufit.errors import DataError, UnsupportedError
from cpufit.networks.decoder import pools, reference
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Model, Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cpufit.networks.decoder.pools import Floats
    from cpufit.networks.decoder.tensors import Tensor
    from cpufit.precisions import Precision
    from cpufit.runtimes.onnxruntime.decoder import OnnxDecoderSession
    from cpufit.schema import Artifact
    from cpufit.schema.shapes import Decoder

    Make = Callable[[str, Precision], Artifact]

pytestmark = pytest.mark.onnxruntime

SHAPES = FAMILIES | {"narrow": {"tied": True, "hidden": 64, "heads": 2, "kv_heads": 1}}
# Of the logits to those of the unrounded weights: such small models do not average errors out.
COSINES: dict[Precision, float] = {"int8": 0.998, "int4": 0.9, "int4_all": 0.9}
QUANTISED = [
    (shape, precision)
    for shape, changes in SHAPES.items()
    for precision in COSINES
    if not (precision == "int4_all" and changes.get("tied"))  # its int4 is that
]
READ_BY_OTHERS: list[tuple[str, Precision]] = [
    *((shape, "fp32") for shape in SHAPES),
    ("gpt2", "int4"),
    ("gemma", "int8"),
]


def decoder_of(shape: str) -> Decoder:
    return replace(TINY, **SHAPES[shape])


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    made: dict[tuple[str, Precision], Artifact] = {}

    def build(shape: str, precision: Precision) -> Artifact:
        if (shape, precision) not in made:
            made[shape, precision] = _build(shape, precision, tmp_path_factory.mktemp(shape))
        return made[shape, precision]

    return build


def _build(shape: str, precision: Precision, folder: Path) -> Artifact:
    model = Model(
        name="tiny",  # one for all, so that they share their pools
        title="Tiny",
        family="llm",
        parameters=0,
        macs=0,
        source="test",
        decoder=decoder_of(shape),
    )
    built = decoder.build(
        Order(
            builder="onnx.decoder",
            model=model,
            precision=precision,
            runtime="onnxruntime",
            weights="synthetic",
        ),
        folder,
    )
    return artifact_of(built.file)


def load(artifact: Artifact, **options: Any) -> OnnxDecoderSession:
    chosen = LoadOptions(**{"threads": 1, "context_tokens": CONTEXT, **options})
    return cast("OnnxDecoderSession", load_runtime("onnxruntime").load(artifact, chosen))


@pytest.fixture
def session(make: Make) -> Iterator[OnnxDecoderSession]:
    with closing(load(make("llama", "fp32"))) as loaded:
        yield loaded


# ----------------------------------------------------------------------------------------- numerics
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_computes_the_reference_however_the_text_is_cut(make: Make, shape: str) -> None:
    """All at once, token by token, and across the sliding window's end."""
    expected = reference.reference_logits("tiny", decoder_of(shape), IDS)
    with closing(load(make(shape, "fp32"))) as loaded:
        for prompt in (len(IDS), 1, 4, 9):
            found = generate(loaded, IDS[:prompt], IDS[prompt:])
            assert found.shape == (1, TINY.vocab)
            assert relative(found[0], expected) < 1e-4, prompt


@pytest.mark.parametrize(("shape", "precision"), QUANTISED)
def test_quantised_logits_stay_near(
    make: Make, shape: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(load(make(shape, precision))) as loaded:
        found = generate(loaded, IDS[:9], IDS[9:])[0]
        assert cosine(found, generate(loaded, IDS)[0]) > 0.999
    exact = reference.reference_logits("tiny", decoder_of(shape), IDS)
    assert cosine(found, exact) > COSINES[precision]
    # What is left without the rounding of weights is the rounding of activations to int8.
    kept = "" if decoder_of(shape).tied or precision == "int4_all" else "token_embd"
    bits = 8 if precision == "int8" else 4
    monkeypatch.setattr(pools, "values", partial(_rounded, bits, kept))
    rounded = reference.reference_logits("tiny", decoder_of(shape), IDS)
    assert cosine(found, rounded) > 0.998


_values = pools.values


def _rounded(bits: int, kept: str, model: str, tensor: Tensor) -> Floats:
    values = _values(model, tensor)
    if len(tensor.shape) == 1 or tensor.role in ("position_embd", kept):
        return values
    codes, scales = symmetric(values, 32, bits)
    return (codes.reshape(-1, 32) * scales[:, None]).reshape(values.shape)


@pytest.mark.parametrize("shape", ["llama", "phi3", "gpt2", "hunyuan"])
def test_several_sequences_compute_what_one_does(make: Make, shape: str) -> None:
    with (
        closing(load(make(shape, "fp32"))) as one,
        closing(load(make(shape, "fp32"), batch=3)) as n,
    ):
        expected = generate(one, IDS[:9], IDS[9:])
        for _ in range(2):  # a new prompt is shared again
            found = generate(n, IDS[:9], IDS[9:], sequences=3)
            assert found.shape == (3, TINY.vocab)
            for row in found:
                assert relative(row, expected[0]) < 1e-5


def test_sequences_go_their_own_ways(make: Make) -> None:
    with closing(load(make("llama", "fp32"), batch=2)) as session:
        session.prepare(Step(kind="prefill", tokens=2, ids=(1, 2))).run()
        session.prepare(Step(kind="decode", ids=(3, 4))).run()
        found = session.outputs()["logits"]
    for row, last in zip(found, (3, 4), strict=True):
        assert relative(row, reference.reference_logits("tiny", TINY, (1, 2, last))) < 1e-4


# --------------------------------------------------------------------------------- other readers
@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_checker_accepts_every_graph(make: Make, shape: str, precision: Precision) -> None:
    onnx.checker.check_model(make(shape, precision).path, full_check=False)


@pytest.mark.openvino
@pytest.mark.parametrize(("shape", "precision"), READ_BY_OTHERS)
def test_openvino_reads_the_same_file(make: Make, shape: str, precision: Precision) -> None:
    ov = pytest.importorskip("openvino")
    artifact = make(shape, precision)
    model = ov.Core().read_model(artifact.path)
    feed = {port.any_name: _empty_cache(port) for port in model.inputs}
    feed |= {"input_ids": np.array([IDS]), "attention_mask": np.ones((1, len(IDS)), np.int64)}
    if "position_ids" in feed:
        feed["position_ids"] = np.arange(len(IDS))[None]
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # it would compute in bfloat16 where it can
    found = ov.compile_model(model, "CPU", exact)(feed)["logits"].reshape(-1)
    with closing(load(artifact)) as loaded:
        expected = generate(loaded, IDS)[0]
    # OpenVINO does not round activations to int8.
    assert relative(found, expected) < (1e-4 if precision == "fp32" else 0.05)


def _empty_cache(port: Any) -> Any:
    shape = port.partial_shape
    if shape.rank.get_length() != 4:
        return None
    return np.zeros((1, shape[1].get_length(), 0, shape[3].get_length()), np.float32)


@pytest.mark.parametrize(("shape", "precision"), READ_BY_OTHERS)
def test_onnxruntime_genai_generates_the_same(make: Make, shape: str, precision: Precision) -> None:
    genai = pytest.importorskip("onnxruntime_genai")
    artifact = make(shape, precision)
    model = genai.Model(str(Path(artifact.path).parent))
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=CONTEXT)
    generator = genai.Generator(model, params)
    generator.append_tokens(np.array(IDS, np.int32))
    with closing(load(artifact)) as loaded:
        logits = generate(loaded, IDS)[0]
        for _ in range(8):
            found = np.asarray(generator.get_logits()).reshape(-1)
            assert relative(found, logits) < 1e-5
            generator.generate_next_token()
            token = int(logits.argmax())
            assert generator.get_next_tokens().tolist() == [token]
            loaded.prepare(Step(kind="decode", ids=(token,))).run()
            logits = loaded.outputs()["logits"][0]


# -------------------------------------------------------------------------------------------- steps
def test_random_ids_follow_the_seed(make: Make) -> None:
    def logits(seed: int) -> Floats:
        with closing(load(make("llama", "int4"), seed=seed)) as loaded:
            loaded.prepare(Step(kind="prefill", tokens=8)).run()
            work = loaded.prepare(Step(kind="decode"))
            work.run()
            work.run()
            return loaded.outputs()["logits"]

    np.testing.assert_array_equal(logits(1), logits(1))
    assert relative(logits(1), logits(2)) > 0.1


def test_items_are_tokens(make: Make) -> None:
    with closing(load(make("llama", "int4"), batch=3)) as loaded:
        prompt = loaded.prepare(Step(kind="prefill", tokens=7))
        assert prompt.items == 7
        prompt.run()
        assert loaded.outputs()["logits"].shape == (1, TINY.vocab)
        assert loaded.prepare(Step(kind="decode")).items == 3


def test_outputs_are_copies(session: OnnxDecoderSession) -> None:
    first = generate(session, IDS[:5])
    kept = first.copy()
    generate(session, IDS[5:])
    np.testing.assert_array_equal(first, kept)


def test_decoding_goes_on_after_other_preparations(session: OnnxDecoderSession) -> None:
    expected = generate(session, IDS)
    session.prepare(Step(kind="prefill", tokens=19, ids=IDS[:19])).run()
    for token in IDS[19:]:
        session.prepare(Step(kind="decode", ids=(token,))).run()
    assert relative(session.outputs()["logits"], expected) < 1e-5


def test_the_cache_is_full_at_its_end(make: Make) -> None:
    with closing(load(make("llama", "int4"), context_tokens=10)) as loaded:
        loaded.prepare(Step(kind="prefill", tokens=9)).run()
        work = loaded.prepare(Step(kind="decode"))
        work.run()
        with pytest.raises(RuntimeError, match="11 tokens do not fit the cache of 10"):
            work.run()
        with pytest.raises(RuntimeError, match="12 tokens do not fit"):
            loaded.prepare(Step(kind="prefill", tokens=12))


def test_other_steps_are_refused(session: OnnxDecoderSession) -> None:
    with pytest.raises(UnsupportedError, match="no infer step"):
        session.prepare(Step(kind="infer"))


# --------------------------------------------------------------------------------- settings, errors
def test_settings_are_recorded(make: Make) -> None:
    with closing(load(make("gemma", "int4"), batch=2, context_tokens=48)) as loaded:
        found = loaded.settings
    assert found["intra_op_num_threads"] == "1"
    assert found["kv_cache_tokens"] == "48"
    assert found["kv_cache_bytes"] == str(2 * 48 * 2 * 2 * 64 * 4)


def test_a_context_too_long_is_refused(make: Make) -> None:
    with pytest.raises(UnsupportedError, match="65 tokens do not fit the model's context of 64"):
        load(make("llama", "int4"), context_tokens=65)


def test_a_graph_that_does_not_tell_its_context_runs(make: Make, tmp_path: Path) -> None:
    path = Path(make("llama", "int4").path)
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "m.onnx")
    with closing(load(artifact_of(tmp_path / "m.onnx"))) as loaded:
        assert np.isfinite(generate(loaded, IDS)).all()


def test_missing_weights_are_named(make: Make, tmp_path: Path) -> None:
    bare = tmp_path / "model.onnx"
    bare.write_bytes(Path(make("llama", "int4").path).read_bytes())
    with pytest.raises(DataError, match="put the file with the external weights, whole, beside"):
        load(artifact_of(bare))
