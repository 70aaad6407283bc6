"""llama.cpp over its C interface: numerics of every architecture, steps, settings, errors."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

lib = pytest.importorskip("llama_cpp")

from cpufit.artifacts import gguf  # noqa: E402
from cpufit.artifacts.base import Request  # noqa: E402
from cpufit.errors import DataError, UnsupportedError  # noqa: E402
from cpufit.runtimes import load_runtime  # noqa: E402
from cpufit.runtimes.base import LoadOptions, Step  # noqa: E402
from cpufit.schema import Artifact, Decoder, Model  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from cpufit.runtimes.llama_cpp import LlamaSession
    from cpufit.schema import Precision

    Make = Callable[[str, Precision], Artifact]

pytestmark = pytest.mark.llama_cpp

VOCAB = 1000
CONTEXT = 256
# 'narrow' has rows of 192 weights, which do not divide into super-blocks of 256.
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"arch": "llama", "hidden": 256, "kv_heads": 2},
    "tied": {"arch": "llama", "hidden": 256, "kv_heads": 4, "tied": True},
    "narrow": {"arch": "llama", "hidden": 192, "kv_heads": 2},
    "qwen2": {"arch": "qwen2", "hidden": 256, "kv_heads": 2, "tied": True, "qkv_bias": True},
    "phi3": {"arch": "phi3", "hidden": 256, "kv_heads": 4, "fused_qkv": True, "fused_ffn": True},
}
PRECISIONS: tuple[Precision, ...] = ("fp16", "int8", "int4")


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("gguf")
    made: dict[tuple[str, Precision], Artifact] = {}

    def build(shape: str, precision: Precision) -> Artifact:
        if (shape, precision) not in made:
            made[shape, precision] = _build(shape, precision, folder)
        return made[shape, precision]

    return build


def _build(shape: str, precision: Precision, folder: Path) -> Artifact:
    sizes = {"layers": 2, "ffn": 512, "heads": 4, "vocab": VOCAB, "context": CONTEXT}
    facts = sizes | SHAPES[shape]
    decoder = Decoder(head_dim=facts["hidden"] // 4, **facts)
    model = Model(
        name=f"{shape}-{precision}",
        title="Tiny",
        family="llm",
        parameters=0,
        macs=0,
        source="test",
        decoder=decoder,
    )
    built = gguf.build(
        Request(model=model, precision=precision, runtime="llama.cpp", weights="synthetic"), folder
    )
    return Artifact(
        key=model.name,
        path=str(built.file),
        size_bytes=built.file.stat().st_size,
        parameters=built.parameters,
        format=built.format,
        recipe=built.recipe,
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
    found = lib.llama_get_logits_ith(session._context, row)
    return np.ctypeslib.as_array(found, (VOCAB,)).copy()


def prefill(session: LlamaSession, tokens: int) -> npt.NDArray[np.float32]:
    session.prepare(Step(kind="prefill", tokens=tokens)).run()
    return logits(session)


def position(session: LlamaSession, sequence: int = 0) -> int:
    return int(lib.llama_memory_seq_pos_max(session._memory, sequence))


# ----------------------------------------------------------------------------------------- numerics
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_sane_and_repeatable(make: Make, shape: str, precision: Precision) -> None:
    runs = []
    for _ in range(2):
        loaded = load(make(shape, precision), seed=7)
        first = prefill(loaded, 33)
        loaded.prepare(Step(kind="decode")).run()
        runs.append(np.stack([first, logits(loaded)]))
        loaded.close()
    assert np.isfinite(runs[0]).all()
    assert (runs[0].std(axis=1) > 0.3).all()
    assert (runs[0].std(axis=1) < 3).all()
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
    from cpufit.runtimes import llama_cpp

    whole = load(make("llama", "fp16"), seed=3)
    expected = prefill(whole, 100)
    whole.close()
    monkeypatch.setattr(llama_cpp, "_BATCH", 32)
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
    loaded._draw = lambda count: [5] * count  # type: ignore[method-assign]
    loaded.prepare(Step(kind="decode")).run()
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
        loaded._draw = lambda count: [5] * count  # type: ignore[method-assign]
        loaded.prepare(Step(kind="decode")).run()
        found.append(logits(loaded, batch - 1))
        loaded.close()
    np.testing.assert_allclose(found[1], found[0], atol=0.02)


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
    assert 0 < artifact.size_bytes - int(settings["model_bytes"]) < 10_000
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


def test_fixed_inputs_are_not_for_llama_cpp(session: LlamaSession) -> None:
    with pytest.raises(UnsupportedError, match="infer"):
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
