"""GGUF files: exact shapes, llama.cpp's mixtures, valid random blocks, reproducible bytes.

Expected sizes and histograms are llama.cpp's own, as published files bear them out.
"""

from __future__ import annotations

import hashlib
import math
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGUFReader
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

from cpufit.artifacts import gguf
from cpufit.artifacts.base import Request
from cpufit.artifacts.gguf.blocks import POOL_BLOCKS, block_bytes, pool
from cpufit.artifacts.gguf.layout import Tensor, tensors
from cpufit.artifacts.gguf.mix import mix_of, stored_bytes, type_of
from cpufit.catalog import load_models, pick
from cpufit.errors import UnsupportedError
from cpufit.schema import Decoder, Model

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from cpufit.schema import Precision

# tensors, bytes of F16, Q8_0 and Q4_K_M
FACTS = {
    "smollm2-135m": (272, 269_100_288, 143_025_408, 103_668_480),
    "qwen2.5-0.5b": (290, 988_208_640, 525_120_000, 391_859_712),
    "tinyllama-1.1b": (201, 2_200_281_088, 1_169_072_128, 667_078_656),
    "phi-3-mini": (195, 7_642_558_464, 4_060_483_584, 2_392_493_568),
    "mistral-7b": (291, 14_483_996_672, 7_695_122_432, 4_367_704_064),
    "llama-2-13b": (363, 26_032_558_080, 13_830_574_080, 7_865_210_880),
}
HISTOGRAMS = {
    "phi-3-mini": {"Q4_K": 81, "Q5_K": 32, "Q6_K": 17, "F32": 65},
    "mistral-7b": {"Q4_K": 193, "Q6_K": 33, "F32": 65},
    "tinyllama-1.1b": {"Q4_K": 135, "Q6_K": 21, "F32": 45},
}
MIXES: tuple[Precision, ...] = ("fp16", "int8", "int4")
POOLED = (Type.F16, Type.Q8_0, Type.Q5_0, Type.Q5_1, Type.Q4_K, Type.Q5_K, Type.Q6_K)
DECODERS = [name for name, model in load_models().items() if model.decoder]
TINY = Decoder(
    arch="llama",
    layers=2,
    hidden=256,
    ffn=512,
    heads=4,
    kv_heads=2,
    head_dim=64,
    vocab=1000,
    context=256,
)
GOLDEN = {
    "fp16": "fd4988a999194f05271a733329898867c7f8b11a0238f21bcd3de1f191e24371",
    "int8": "12f506440525c8001956dbb88b60b200f4e55c472177373ee4ed285ca18b5a0f",
    "int4": "d336d0e811357e9952cf23fbc6083cd124b4a22f0aab6943442d2d5768c7b0ce",
}


def tiny(decoder: Decoder | None = TINY, name: str = "tiny") -> Model:
    return Model(
        name=name,
        title="Tiny",
        family="llm",
        parameters=0,
        macs=0,
        source="test",
        decoder=decoder,
    )


def request(model: Model, precision: Precision) -> Request:
    return Request(model=model, precision=precision, runtime="llama.cpp", weights="synthetic")


def decoder_of(name: str) -> Decoder:
    decoder = pick(name).decoder
    assert decoder is not None
    return decoder


def values(tensor: Any) -> npt.NDArray[np.float32]:
    return np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)


# ------------------------------------------------------------------------------ shapes and mixtures
def test_every_language_model_has_facts() -> None:
    assert set(DECODERS) == set(FACTS)


@pytest.mark.parametrize("name", DECODERS)
def test_published_counts_and_sizes(name: str) -> None:
    model, decoder = pick(name), decoder_of(name)
    plan = tensors(decoder)
    sizes = tuple(sum(stored_bytes(t, type_of(t, mix_of(p), decoder)) for t in plan) for p in MIXES)
    assert (len(plan), *sizes) == FACTS[name]
    assert sum(t.parameters for t in plan) == model.parameters
    assert len({t.name for t in plan}) == len(plan)


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_published_histogram(name: str) -> None:
    decoder, mix = decoder_of(name), mix_of("int4")
    found = Counter(type_of(t, mix, decoder).name for t in tensors(decoder))
    assert found == HISTOGRAMS[name]


@pytest.mark.parametrize(
    ("name", "tensor", "expected"),
    [
        ("llama-2-13b", Tensor("output", "weight", (5120, 32_000)), Type.Q6_K),
        ("llama-2-13b", Tensor("token_embd", "weight", (5120, 32_000)), Type.Q4_K),
        ("llama-2-13b", Tensor("ffn_down", "weight", (13_824, 5120), 4), Type.Q6_K),
        ("llama-2-13b", Tensor("ffn_down", "weight", (13_824, 5120), 5), Type.Q4_K),
        ("llama-2-13b", Tensor("attn_v", "weight", (5120, 5120), 7), Type.Q6_K),
        ("llama-2-13b", Tensor("attn_v", "weight", (5120, 5120), 34), Type.Q6_K),
        ("llama-2-13b", Tensor("attn_v", "weight", (5120, 5120), 35), Type.Q6_K),
        ("llama-2-13b", Tensor("attn_q", "weight", (5120, 5120), 0), Type.Q4_K),
        ("llama-2-13b", Tensor("attn_norm", "weight", (5120,), 0), Type.F32),
        ("qwen2.5-0.5b", Tensor("token_embd", "weight", (896, 151_936)), Type.Q8_0),
        ("qwen2.5-0.5b", Tensor("attn_q", "weight", (896, 896), 0), Type.Q5_0),
        ("qwen2.5-0.5b", Tensor("attn_q", "bias", (896,), 0), Type.F32),
        ("qwen2.5-0.5b", Tensor("ffn_down", "weight", (4864, 896), 3), Type.Q4_K),
        ("phi-3-mini", Tensor("attn_qkv", "weight", (3072, 9216), 0), Type.Q5_K),
        ("phi-3-mini", Tensor("attn_qkv", "weight", (96, 288), 0), Type.Q5_1),
    ],
)
def test_formats_of_q4_k_m(name: str, tensor: Tensor, expected: Type) -> None:
    assert type_of(tensor, mix_of("int4"), decoder_of(name)) is expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_other_precisions_are_refused(precision: Precision, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=f"no GGUF at {precision}"):
        gguf.build(request(tiny(), precision), tmp_path)


def test_other_families_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="is no language model"):
        gguf.build(request(tiny(None), "int4"), tmp_path)


# ------------------------------------------------------------------------------------------- blocks
def scales(kind: Type, blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
    """Return every f16 scale and minimum of the blocks."""
    where = {Type.Q6_K: (208,), Type.Q8_0: (0,), Type.Q5_0: (0,)}.get(kind, (0, 2))
    return np.concatenate([blocks[:, i : i + 2].copy().view("<f2") for i in where])


@pytest.mark.parametrize("fan_in", [256, 896, 4096, 14_336])
@pytest.mark.parametrize("kind", POOLED)
def test_weights_have_the_promised_distribution(kind: Type, fan_in: int) -> None:
    raw = np.frombuffer(pool(kind, "weight", fan_in, "seed"), np.uint8)
    found = dequantize(raw.view(np.float16) if kind is Type.F16 else raw, kind).astype(np.float64)
    assert found.size == POOL_BLOCKS * max(GGML_QUANT_SIZES[kind][0], 32)
    assert np.isfinite(found).all()
    assert found.std() == pytest.approx(1 / math.sqrt(fan_in), rel=0.01)
    assert abs(found.mean()) < 0.01 * found.std()
    assert abs(found).max() < 6 * found.std()


@pytest.mark.parametrize("kind", POOLED[1:])
def test_scales_are_normal_numbers_that_vary(kind: Type) -> None:
    blocks = np.frombuffer(pool(kind, "weight", 14_336, "seed"), np.uint8)
    found = abs(scales(kind, blocks.reshape(-1, block_bytes(kind)))).astype(np.float64)
    assert np.isfinite(found).all()
    assert found.min() >= np.finfo(np.float16).smallest_normal
    assert len(np.unique(found)) > 100


def test_f16_weights_are_normal_numbers() -> None:
    found = np.frombuffer(pool(Type.F16, "weight", 14_336, "seed"), np.float16)
    assert abs(found).min() >= np.finfo(np.float16).smallest_normal


def test_quants_use_the_whole_range_and_stay_valid() -> None:
    quants = np.frombuffer(pool(Type.Q8_0, "weight", 256, "s"), np.int8).reshape(-1, 34)[:, 2:]
    assert (quants.min(), quants.max()) == (-127, 127)


def test_vectors_are_gains_and_biases() -> None:
    gains = np.frombuffer(pool(Type.F32, "norm", 1, "seed"), np.float32)
    assert 0.75 <= gains.min() < gains.max() < 1.25
    biases = np.frombuffer(pool(Type.F32, "bias", 64, "seed"), np.float32)
    assert biases.std() == pytest.approx(1 / 8, rel=0.01)
    assert abs(biases.mean()) < 0.001


# -------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize("precision", MIXES)
def test_written_file_is_what_was_planned(tmp_path: Path, precision: Precision) -> None:
    asked = request(tiny(), precision)
    built = gguf.build(asked, tmp_path)
    reader = GGUFReader(built.file)
    planned = {t.name: t for t in tensors(TINY)}
    assert [t.name for t in reader.tensors] == list(planned)
    for tensor in reader.tensors:
        assert tuple(tensor.shape) == planned[tensor.name].shape
        assert tensor.tensor_type is type_of(planned[tensor.name], mix_of(precision), TINY)
        found = values(tensor)
        assert np.isfinite(found).all()
        assert np.count_nonzero(found) > 0.9 * found.size
    assert built.parameters == sum(t.parameters for t in planned.values())
    assert built.format == mix_of(precision).name
    assert built.kv_bytes_per_token == 2 * 2 * 2 * 64 * 2
    assert gguf.estimate_bytes(asked) == pytest.approx(built.file.stat().st_size, rel=0.01)


def test_metadata_says_what_it_is(tmp_path: Path) -> None:
    reader = GGUFReader(gguf.build(request(tiny(), "int4"), tmp_path).file)
    found = {key: field.contents() for key, field in reader.fields.items()}
    assert found["general.name"] == "tiny"
    assert "synthetic" in found["general.description"]
    assert found["general.file_type"] == 15
    assert found["tokenizer.ggml.model"] == "none"
    assert found["llama.vocab_size"] == 1000
    assert found["llama.attention.key_length"] == 64


@pytest.mark.parametrize("precision", MIXES)
def test_bytes_are_the_same_everywhere(tmp_path: Path, precision: Precision) -> None:
    file = gguf.build(request(tiny(), precision), tmp_path).file
    data = file.read_bytes()[GGUFReader(file).data_offset :]
    assert hashlib.sha256(data).hexdigest() == GOLDEN[precision]


def test_every_tensor_and_model_has_its_own_weights(tmp_path: Path) -> None:
    first = GGUFReader(gguf.build(request(tiny(), "int8"), tmp_path).file)
    second = GGUFReader(gguf.build(request(tiny(name="other"), "int8"), tmp_path).file)
    seen = [bytes(t.data[0]) for t in first.tensors + second.tensors if len(t.shape) == 2]
    assert len(set(seen)) == len(seen)


def test_rows_do_not_repeat(tmp_path: Path) -> None:
    reader = GGUFReader(gguf.build(request(tiny(), "int4"), tmp_path).file)
    embedding = reader.tensors[0].data
    assert len({bytes(row) for row in embedding}) == len(embedding)


def test_memory_holds_pools_and_no_tensor(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        built = gguf.build(request(pick("qwen2.5-0.5b"), "int8"), tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = built.file.stat().st_size
    built.file.unlink()
    assert size > 525_120_000
    assert peak < 60_000_000


def test_full_disk_propagates(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        gguf.build(request(tiny(), "int4"), tmp_path)
