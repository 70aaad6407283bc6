"""llama.cpp over its C interface: numerics of every architecture, steps, settings, errors."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

lib = pytest.importorskip("llama_cpp")

from cpufit.artifacts import gguf  # noqa: E402
from cpufit.artifacts.onnx import graphs  # noqa: E402
from cpufit.errors import DataError, UnsupportedError  # noqa: E402
from cpufit.networks.decoder.reference import reference_logits  # noqa: E402
from cpufit.runtimes import load_runtime  # noqa: E402
from cpufit.runtimes.base import LoadOptions, Step  # noqa: E402
from cpufit.schema import (  # noqa: E402
    Artifact,
    Model,
    Order,
)
from cpufit.schema.shapes import Decoder, Encoder, RopeScaling  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from cpufit.precisions import Precision
    from cpufit.runtimes.llama_cpp.decoder import LlamaSession

    Make = Callable[[str, Precision], Artifact]

pytestmark = pytest.mark.llama_cpp

VOCAB = 1000
CONTEXT = 256
TINY = Decoder(
    arch="llama",
    layers=2,
    hidden=256,
    ffn=512,
    heads=4,
    kv_heads=2,
    head_dim=64,
    vocab=VOCAB,
    context=CONTEXT,
)
GPT2 = replace(
    TINY,
    arch="gpt2",
    kv_heads=4,
    position="learned",
    norm="layer",
    activation="gelu",
    gated=False,
    biases="all",
    fused_qkv=True,
    tied=True,
)
SCALING = RopeScaling(factor=32, low=1, high=4, original=32)
SHAPES = {
    "llama": TINY,
    "tied": replace(TINY, kv_heads=4, tied=True, rope_base=500_000.0, rope_scaling=SCALING),
    # Rows of 192 weights do not divide into super-blocks of 256.
    "narrow": replace(TINY, hidden=192, head_dim=48),
    "qwen": replace(TINY, arch="qwen", kv_heads=4, biases="qkv", fused_qkv=True),
    "qwen2": replace(TINY, arch="qwen2", biases="qkv", tied=True, norm_eps=1e-6),
    "phi3": replace(
        TINY, arch="phi3", kv_heads=4, fused_qkv=True, fused_ffn=True, sliding_window=9
    ),
    "hunyuan": replace(TINY, arch="hunyuan-dense", head_dim=96, qk_norm=True, tied=True),
    "starcoder": replace(GPT2, arch="starcoder", kv_heads=1),
    "gpt2": GPT2,
    "gemma": replace(
        TINY,
        arch="gemma",
        kv_heads=1,
        head_dim=96,
        activation="gelu",
        tied=True,
        embedding_scale=16.0,
    ),
}
# Least cosine to float32. Two layers of random weights do not average rounding out.
COSINES: dict[Precision, float] = {
    "fp16": 0.999,
    "bf16": 0.999,
    "int8": 0.998,
    "int4": 0.91,
    "q4_0": 0.88,
}
IDS = tuple((7 + 37 * place) % VOCAB for place in range(40))
ENCODER = Encoder(
    layers=2,
    hidden=256,
    ffn=512,
    heads=4,
    vocab=500,
    positions=64,
    types=2,
    pooler=True,
    sequence=24,
)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("gguf")
    made: dict[tuple[str, Precision], Artifact] = {}

    def build(shape: str, precision: Precision) -> Artifact:
        if (shape, precision) not in made:
            (folder / precision).mkdir(exist_ok=True)
            model = card(shape, decoder=SHAPES[shape])
            made[shape, precision] = artifact_of(gguf, model, precision, folder / precision)
        return made[shape, precision]

    return build


def card(name: str, decoder: Decoder | None = None, encoder: Encoder | None = None) -> Model:
    return Model(
        name=name,
        title="Tiny",
        family="encoder" if encoder else "llm",
        parameters=0,
        macs=0,
        source="test",
        decoder=decoder,
        encoder=encoder,
    )


def artifact_of(builder: Any, model: Model, precision: Precision, folder: Path) -> Artifact:
    asked = Order(
        builder="gguf", model=model, precision=precision, runtime="llama.cpp", weights="synthetic"
    )
    built = builder.build(asked, folder)
    return Artifact(
        key=model.name,
        path=str(built.file),
        size_bytes=built.file.stat().st_size,
        parameters=built.parameters,
        format=built.format,
        recipe=built.recipe,
        inputs=built.inputs,
    )


def load(
    artifact: Artifact,
    *,
    threads: int = 1,
    batch: int = 1,
    context_tokens: int = CONTEXT,
    seed: int = 0,
) -> LlamaSession:
    options = LoadOptions(threads=threads, batch=batch, context_tokens=context_tokens, seed=seed)
    return cast("LlamaSession", load_runtime("llama.cpp").load(artifact, options))


@pytest.fixture
def session(make: Make) -> Iterator[LlamaSession]:
    loaded = load(make("llama", "int4"))
    yield loaded
    loaded.close()


def logits(session: LlamaSession, row: int = -1) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = session.outputs()["logits"][row]
    return found


def prefill(
    session: LlamaSession, tokens: int = 1, ids: tuple[int, ...] = ()
) -> npt.NDArray[np.float32]:
    session.prepare(Step(kind="prefill", tokens=tokens, ids=ids)).run()
    return logits(session)


def cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    x, y = (np.ravel(array).astype(np.float64) for array in (one, other))
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


@cache
def reference(shape: str) -> npt.NDArray[np.float32]:
    # llama.cpp has no sliding window in these architectures.
    return reference_logits(shape, replace(SHAPES[shape], sliding_window=0), IDS)


def position(session: LlamaSession, sequence: int = 0) -> int:
    return int(lib.llama_memory_seq_pos_max(session._memory, sequence))


# ----------------------------------------------------------------------------------------- numerics
@pytest.mark.parametrize("precision", COSINES)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_the_reference(make: Make, shape: str, precision: Precision) -> None:
    loaded = load(make(shape, precision))
    assert cosine(prefill(loaded, ids=IDS), reference(shape)) >= COSINES[precision]
    loaded.close()


@pytest.mark.parametrize("shape", SHAPES)
def test_prefill_equals_token_by_token(make: Make, shape: str) -> None:
    loaded = load(make(shape, "fp16"))
    expected = prefill(loaded, ids=IDS)
    prefill(loaded, ids=IDS[:3])
    work = loaded.prepare(Step(kind="decode", ids=IDS[3:]))
    for _ in IDS[3:]:
        work.run()
    assert cosine(logits(loaded), expected) > 0.9999
    loaded.close()


def test_random_ids_are_the_same_for_the_same_seed(make: Make) -> None:
    runs = []
    for _ in range(2):
        loaded = load(make("llama", "int4"), seed=7)
        first = prefill(loaded, 33)
        loaded.prepare(Step(kind="decode")).run()
        runs.append(np.stack([first, logits(loaded)]))
        loaded.close()
    np.testing.assert_array_equal(runs[0], runs[1])


def test_the_prompt_decides_the_logits(make: Make) -> None:
    first, second = load(make("llama", "fp16"), seed=1), load(make("llama", "fp16"), seed=2)
    assert not np.allclose(prefill(first, 8), prefill(second, 8))
    first.close()
    second.close()


# -------------------------------------------------------------------------------------------- steps
def test_prefill_starts_from_an_empty_cache(session: LlamaSession) -> None:
    for tokens in (1, 40, 7):
        work = session.prepare(Step(kind="prefill", tokens=tokens))
        assert position(session) == -1
        work.run()
        assert work.items == tokens
        assert position(session) == tokens - 1


def test_decode_appends_one_token_each_time(session: LlamaSession) -> None:
    prefill(session, 5)
    work = session.prepare(Step(kind="decode"))
    seen = []
    for run in range(10):
        work.run()
        assert position(session) == 5 + run
        seen.append(logits(session))
    assert work.items == 1
    assert len({row.tobytes() for row in seen}) == 10


def test_long_prompts_go_in_batches(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from cpufit.runtimes.llama_cpp import decoder

    whole = load(make("llama", "fp16"), seed=3)
    expected = prefill(whole, 100)
    whole.close()
    monkeypatch.setattr(decoder, "_BATCH", 32)
    parts = load(make("llama", "fp16"), seed=3)
    assert parts.settings["n_batch"] == "32"
    found = prefill(parts, 100)
    assert position(parts) == 99
    np.testing.assert_allclose(found, expected, atol=0.05)
    parts.close()


def test_sequences_share_the_prompt(make: Make) -> None:
    loaded = load(make("llama", "fp16"), batch=3, context_tokens=64)
    prefill(loaded, 20)
    assert loaded.prepare(Step(kind="decode")).items == 3
    assert [position(loaded, s) for s in range(3)] == [19, 19, 19]
    loaded.prepare(Step(kind="decode", ids=(5,))).run()
    assert [position(loaded, s) for s in range(3)] == [20, 20, 20]
    rows = [logits(loaded, row) for row in range(3)]
    np.testing.assert_allclose(rows[1], rows[0], atol=0.02)
    np.testing.assert_allclose(rows[2], rows[0], atol=0.02)
    loaded.close()


def test_shared_prompt_gives_the_logits_of_one_sequence(make: Make) -> None:
    found = []
    for batch in (1, 3):
        loaded = load(make("llama", "fp16"), batch=batch, context_tokens=64, seed=4)
        prefill(loaded, 20)
        loaded.prepare(Step(kind="decode", ids=(5,))).run()
        found.append(logits(loaded, batch - 1))
        loaded.close()
    np.testing.assert_allclose(found[1], found[0], atol=0.02)


def test_outputs_have_a_row_for_every_sequence(make: Make) -> None:
    loaded = load(make("llama", "fp16"), batch=3, context_tokens=64)
    prefill(loaded, ids=IDS)
    found = loaded.outputs()["logits"]
    assert found.shape == (3, VOCAB)
    np.testing.assert_array_equal(found[0], found[2])
    work = loaded.prepare(Step(kind="decode", ids=(5, 6, 7)))
    work.run()
    found = loaded.outputs()["logits"]
    assert len({row.tobytes() for row in found}) == 3
    assert work.items == 3
    loaded.close()


def test_a_new_prompt_replaces_every_sequence(make: Make) -> None:
    loaded = load(make("llama", "int8"), batch=2, context_tokens=64)
    for tokens in (30, 10, 20):
        prefill(loaded, tokens)
        work = loaded.prepare(Step(kind="decode"))
        work.run()
        work.run()
        assert [position(loaded, s) for s in range(2)] == [tokens + 1, tokens + 1]
    loaded.close()


def test_a_batch_may_decode_without_a_prompt(make: Make) -> None:
    loaded = load(make("llama", "int4"), batch=2, context_tokens=16)
    loaded.prepare(Step(kind="decode")).run()
    assert [position(loaded, s) for s in range(2)] == [0, 0]
    loaded.close()


# ----------------------------------------------------------------------------------------- settings
def test_settings_are_the_resolved_ones(make: Make) -> None:
    artifact = make("llama", "int4")
    loaded = load(artifact, threads=2, batch=2, context_tokens=100)
    settings = loaded.settings
    loaded.close()
    assert int(settings["n_ctx"]) >= 200
    assert settings["n_seq_max"] == "2"
    assert settings["threads"] == settings["threads_batch"] == "2"
    assert settings["cache_type_k"] == settings["cache_type_v"] == "f16"
    assert settings["mmap"] == "yes"
    assert settings["model_parameters"] == str(artifact.parameters)
    assert 0 < artifact.size_bytes - int(settings["model_bytes"]) < 20_000
    assert "CPU" in settings["system_info"]
    assert " KV " in settings["buffers"]
    assert settings["flash_attention"].startswith("auto")


def test_repacked_weights_are_noted(make: Make) -> None:
    loaded = load(make("llama", "int4"))
    assert len(loaded.notes) == loaded.settings["buffers"].count("REPACK")
    loaded.close()


def test_runtime_tells_versions_and_real_time() -> None:
    runtime = load_runtime("llama.cpp")
    assert runtime.versions()["llama-cpp-python"]
    before = time.perf_counter_ns()
    assert before <= runtime.clock() <= time.perf_counter_ns()


# ------------------------------------------------------------------------------------------- errors
def damaged(artifact: Artifact, folder: Path, content: bytes) -> Artifact:
    file = folder / "damaged.gguf"
    file.write_bytes(content)
    return Artifact(
        key="d", path=str(file), size_bytes=0, parameters=0, format="", recipe=artifact.recipe
    )


@pytest.mark.parametrize(
    ("keep", "reason"),
    [(0, "cannot load .*"), (2000, "cannot load .*"), (-1000, "corrupted or incomplete")],
)
def test_truncated_file(make: Make, tmp_path: Path, keep: int, reason: str) -> None:
    artifact = make("llama", "int4")
    cut = damaged(artifact, tmp_path, Path(artifact.path).read_bytes()[:keep])
    with pytest.raises(DataError, match=reason) as caught:
        load(cut)
    assert "\n" not in str(caught.value)
    assert "no reason given" not in str(caught.value)


def test_other_file(make: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="magic"):
        load(damaged(make("llama", "int4"), tmp_path, b"no model" * 100))


def test_unknown_architecture(make: Make, tmp_path: Path) -> None:
    artifact = make("llama", "int4")
    content = Path(artifact.path).read_bytes().replace(b"llama", b"lxama")
    with pytest.raises(DataError, match="architecture: 'lxama'; update llama") as caught:
        load(damaged(artifact, tmp_path, content))
    assert "\n" not in str(caught.value)


def test_context_beyond_the_model(make: Make) -> None:
    with pytest.raises(UnsupportedError, match=f"10000000000 tokens .* context of {CONTEXT}"):
        load(make("llama", "int4"), context_tokens=10**10)


def test_context_that_cannot_be_made(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib, "llama_init_from_model", lambda *_: None)
    with pytest.raises(RuntimeError, match="cannot hold 512 tokens"):
        load(make("llama", "int4"), batch=2)


def test_full_context_is_an_error(session: LlamaSession) -> None:
    prefill(session, CONTEXT)
    with pytest.raises(RuntimeError, match="code 1: the context is full"):
        session.prepare(Step(kind="decode")).run()


def test_fixed_inputs_are_not_for_language_models(session: LlamaSession) -> None:
    with pytest.raises(UnsupportedError, match="does no infer step"):
        session.prepare(Step(kind="infer"))


def test_closing_twice_is_harmless(make: Make) -> None:
    loaded = load(make("llama", "int4"))
    loaded.close()
    loaded.close()


def test_loading_is_silent(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load(make("llama", "int4"))
    prefill(loaded, 4)
    loaded.close()
    assert capfd.readouterr() == ("", "")


# --------------------------------------------------------------------------------------------- text
def test_text_goes_in_and_comes_out(make: Make) -> None:
    model = lib.Llama(make("llama", "int4").path, n_ctx=64, n_threads=1, verbose=False)
    ids = model.tokenize(b"Hello world, this is text")
    assert len(ids) == 5
    assert all(0 <= token < VOCAB for token in ids)
    answer = model("Hello world, this is text", max_tokens=8, temperature=0)
    model.close()
    assert answer["usage"]["completion_tokens"] == 8
    assert answer["choices"][0]["text"]


# ----------------------------------------------------------------------------------------- encoders
def encode(artifact: Artifact, runtime: str = "llama.cpp", batch: int = 3) -> Any:
    session = load_runtime(runtime).load(artifact, LoadOptions(threads=1, batch=batch))
    work = session.prepare(Step(kind="infer"))
    work.run()
    assert work.items == batch
    found = session.outputs()["last_hidden_state"]
    session.close()
    return found


@pytest.mark.onnxruntime
@pytest.mark.parametrize("hidden", [256, 192])
def test_encoders_agree_with_the_graph(tmp_path: Path, hidden: int) -> None:
    pytest.importorskip("onnxruntime")
    encoder = replace(ENCODER, hidden=hidden, types=2 if hidden == 256 else 0)
    model = card("encoder", encoder=encoder)
    exact = encode(artifact_of(graphs, model, "fp32", tmp_path), "onnxruntime")
    assert exact.shape == (3, 24, hidden)
    least: dict[Precision, float] = {"fp16": 0.9999, "int8": 0.9995, "int4": 0.99}
    for precision, bound in least.items():
        found = encode(artifact_of(gguf, model, precision, tmp_path))
        assert found.shape == exact.shape
        assert cosine(found, exact) >= bound


def test_sequences_of_an_encoder_are_apart(tmp_path: Path) -> None:
    artifact = artifact_of(gguf, card("encoder", encoder=ENCODER), "fp16", tmp_path)
    three, one = encode(artifact, batch=3), encode(artifact, batch=1)
    assert not np.allclose(three[0], three[1])
    np.testing.assert_allclose(three[0], one[0], atol=1e-3)


def test_encoders_generate_nothing(tmp_path: Path) -> None:
    artifact = artifact_of(gguf, card("encoder", encoder=ENCODER), "int8", tmp_path)
    session = load_runtime("llama.cpp").load(artifact, LoadOptions(threads=1))
    assert session.settings["n_ubatch"] == "24"
    with pytest.raises(UnsupportedError, match="does no prefill step"):
        session.prepare(Step(kind="prefill"))
    session.close()
