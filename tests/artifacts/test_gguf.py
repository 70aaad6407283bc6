"""GGUF files: exact shapes, llama.cpp's mixtures, the promised weights in every format.

Expected sizes and histograms are llama.cpp's own, as published files bear them out.
"""

from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader
from gguf.quants import dequantize

from cpufit.artifacts import gguf
from cpufit.artifacts.gguf import decoders, encoders, mix
from cpufit.artifacts.gguf.formats import rounded, stored_bytes
from cpufit.artifacts.gguf.mix import mix_of, type_of
from cpufit.catalog import load_models, pick
from cpufit.errors import UnsupportedError, UsageError
from cpufit.networks import weights
from cpufit.networks.decoder import pools
from cpufit.networks.decoder.rope import factors
from cpufit.networks.decoder.tensors import Tensor, tensors
from cpufit.schema import Model, Order
from cpufit.schema.shapes import Decoder, Encoder, RopeScaling

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from cpufit.artifacts.gguf.mix import Mix
    from cpufit.precisions import Precision

# tensors, then bytes of F16 and BF16, Q8_0, Q4_0 and Q4_K_M
FACTS = {
    "distilgpt2": (76, 165_520_896, 89_522_736, 58_941_270, 61_070_166),
    "gpt2": (148, 250_695_168, 134_883_888, 83_068_758, 89_455_446),
    "smollm2-135m": (272, 269_100_288, 143_025_408, 89_941_248, 103_668_480),
    "gpt2-medium": (292, 712_386_560, 381_024_320, 217_565_640, 240_273_864),
    "smollm2-360m": (290, 723_767_040, 384_618_240, 227_331_840, 268_803_840),
    "qwen2.5-0.5b": (290, 988_208_640, 525_120_000, 346_206_720, 391_859_712),
    "tinyllama-1.1b": (201, 2_200_281_088, 1_169_072_128, 635_990_016, 667_078_656),
    "starcoderbase-1b": (292, 2_309_070_848, 1_259_184_128, 725_196_800, 791_699_456),
    "llama-3.2-1b": (147, 2_471_764_096, 1_313_251_456, 763_097_216, 799_862_912),
    "qwen2.5-1.5b": (338, 3_087_718_400, 1_640_622_080, 929_004_032, 980_097_536),
    "qwen-1.8b": (195, 3_674_152_960, 1_952_358_400, 1_114_290_176, 1_237_760_000),
    "gemini-nano-proxy": (110, 3_691_192_320, 1_961_041_920, 1_173_463_040, 1_226_178_560),
    "gemma-2b": (164, 5_012_496_384, 2_663_030_784, 1_545_150_464, 1_624_223_744),
    "phi-3-mini": (195, 7_642_558_464, 4_060_483_584, 2_175_438_336, 2_396_032_512),
    "hunyuan-4b": (398, 8_443_981_824, 4_486_303_104, 2_471_228_976, 2_602_612_272),
    "llama-2-7b": (291, 13_477_363_712, 7_160_348_672, 3_825_065_984, 4_080_263_168),
    "mistral-7b": (291, 14_483_996_672, 7_695_122_432, 4_108_181_504, 4_367_704_064),
    "llama-3-8b": (291, 16_061_054_976, 8_532_934_656, 4_653_375_488, 4_912_898_048),
    "llama-2-13b": (363, 26_032_558_080, 13_830_574_080, 7_365_089_280, 7_865_210_880),
}
HISTOGRAMS = {
    "phi-3-mini": {"Q4_K": 97, "Q6_K": 33, "F32": 65},
    "llama-2-7b": {"Q4_K": 193, "Q6_K": 33, "F32": 65},
    "mistral-7b": {"Q4_K": 193, "Q6_K": 33, "F32": 65},
    "llama-3-8b": {"Q4_K": 193, "Q6_K": 33, "F32": 65},
    "tinyllama-1.1b": {"Q4_K": 135, "Q6_K": 21, "F32": 45},
    "qwen-1.8b": {"Q4_K": 85, "Q6_K": 13, "Q8_0": 12, "Q5_0": 12, "F32": 73},
    "hunyuan-4b": {"Q4_K": 216, "Q6_K": 37, "F32": 145},
    "gemma-2b": {"Q4_K": 108, "Q6_K": 19, "F32": 37},
}
# Bytes of a published Q4_K_M file, and of its tokenizer as a vocabulary-only GGUF. Those of fused
# projections were published before llama.cpp chose their formats block by block.
PUBLISHED = {
    "llama-2-7b": (4_081_004_224, 723_869),
    "llama-2-13b": (7_865_956_224, 723_869),
    "mistral-7b": (4_368_438_944, 723_869),
    "llama-3-8b": (4_920_734_272, 7_818_140),
    "llama-3.2-1b": (807_694_464, 7_818_140),
    "qwen2.5-1.5b": (986_048_768, 5_928_681),
    "smollm2-135m": (105_454_432, 1_719_346),
    "smollm2-360m": (270_590_880, 1_719_346),
}
MIXES = (mix.F16, mix.BF16, mix.Q8_0, mix.Q4_0, mix.Q4_1, mix.Q4_K_M)
PRECISIONS: tuple[Precision, ...] = ("fp16", "bf16", "int8", "q4_0", "int4")
DECODERS = [name for name, model in load_models().items() if model.family == "llm"]
ENCODERS = [name for name, model in load_models().items() if model.encoder]
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
GPT = replace(
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
NARROW = replace(GPT, hidden=192, heads=3, kv_heads=3)  # no whole super-blocks
SCALED = replace(TINY, rope_scaling=RopeScaling(factor=32, low=1, high=4, original=64))
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
GOLDEN = {
    "fp16": "06a5fae0b6210a2162c6a35fb359404849019ef0ecd707e0a7cc701ca3a82116",
    "bf16": "c8498261d3d834c2a2de021c7b16644bf49dd62a02cffe3c8ebe5223bf7a0926",
    "int8": "279d0a72c72e64421af1d9ed1da100bb0575f6488f1097597f3045b316851f95",
    "q4_0": "96f877e417494c18bb52bc8917a8c18cef6a170108b1ef81363fe1c07e641c52",
    "int4": "3a57f612fb19b1d6199a3c896e195517d5c41bf6470e80329828b369d449a4e8",
}


def tiny(decoder: Decoder | None = TINY, encoder: Encoder | None = None) -> Model:
    return Model(
        name="tiny",
        title="Tiny",
        family="encoder" if encoder else "llm",
        parameters=0,
        macs=0,
        source="test",
        decoder=decoder,
        encoder=encoder,
    )


def request(model: Model, precision: Precision) -> Order:
    return Order(
        builder="gguf", model=model, precision=precision, runtime="llama.cpp", weights="synthetic"
    )


def decoder_of(name: str) -> Decoder:
    decoder = pick(name).decoder
    assert decoder is not None
    return decoder


def name_of(kind: Type | Mix) -> str:
    return kind.name


def stored(tensor: Any) -> npt.NDArray[np.float32]:
    """Return the values in a file, outputs x inputs."""
    found = dequantize(tensor.data, tensor.tensor_type)
    return np.asarray(found, np.float32).reshape(tuple(reversed(tensor.shape.tolist())))


def is_rounded(tensor: Any, exact: npt.NDArray[np.float32]) -> bool:
    """Whether a file holds exactly these values, rounded to its format."""
    wanted = rounded(np.atleast_2d(exact), tensor.tensor_type)
    return bool(tensor.data.tobytes() == wanted.tobytes())


# ------------------------------------------------------------------------------ shapes and mixtures
def test_every_language_model_has_facts() -> None:
    assert set(DECODERS) == set(FACTS)


@pytest.mark.parametrize("name", DECODERS)
def test_published_counts_and_sizes(name: str) -> None:
    decoder = decoder_of(name)
    decoders.header(name, decoder, mix.F16)  # raises where llama.cpp has no such network
    plans = [decoders.entries(name, decoder, mix_of(precision)) for precision in PRECISIONS]
    sizes = [sum(stored_bytes(e.tensor.parameters, e.kind) for e in plan) for plan in plans]
    assert sizes[0] == sizes[1]
    assert (len(plans[0]), sizes[0], *sizes[2:]) == FACTS[name]
    assert len({entry.tensor.name for entry in plans[0]}) == len(plans[0])


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_published_histogram(name: str) -> None:
    plan = decoders.entries(name, decoder_of(name), mix.Q4_K_M)
    assert Counter(entry.kind.name for entry in plan) == HISTOGRAMS[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_file_is_these_tensors_and_a_tokenizer(name: str) -> None:
    file_bytes, tokenizer_bytes = PUBLISHED[name]
    header_bytes = file_bytes - FACTS[name][4]
    assert tokenizer_bytes < header_bytes < 1.05 * tokenizer_bytes


def test_packaged_smollm2_in_its_own_format() -> None:
    plan = decoders.entries("smollm2-135m", decoder_of("smollm2-135m"), mix.Q4_1)
    assert Counter(entry.kind.name for entry in plan) == {"Q4_1": 210, "Q8_0": 1, "F32": 61}
    assert sum(stored_bytes(e.tensor.parameters, e.kind) for e in plan) == 96_576_768


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (Tensor("output", "weight", (5120, 32_000)), Type.Q6_K),
        (Tensor("token_embd", "weight", (5120, 32_000)), Type.Q4_K),
        (Tensor("ffn_down", "weight", (13_824, 5120), 4), Type.Q6_K),
        (Tensor("ffn_down", "weight", (13_824, 5120), 5), Type.Q4_K),
        (Tensor("attn_v", "weight", (5120, 5120), 7), Type.Q6_K),
        (Tensor("attn_v", "weight", (5120, 5120), 34), Type.Q6_K),
        (Tensor("attn_v", "weight", (5120, 5120), 35), Type.Q6_K),
        (Tensor("attn_q", "weight", (5120, 5120), 0), Type.Q4_K),
        (Tensor("attn_norm", "weight", (5120,), 0), Type.F32),
        (Tensor("position_embd", "weight", (5120, 100)), Type.F32),
        (Tensor("attn_qkv", "weight", (3072, 9216), 0), Type.Q6_K),
        (Tensor("attn_qkv", "weight", (3072, 9216), 5), Type.Q4_K),
        (Tensor("attn_qkv", "weight", (96, 288), 0), Type.Q8_0),
        (Tensor("attn_q", "weight", (896, 896), 0), Type.Q5_0),
        (Tensor("attn_q", "weight", (100, 100), 0), Type.F16),
    ],
)
def test_formats_of_q4_k_m(tensor: Tensor, expected: Type) -> None:
    assert type_of(tensor, mix.Q4_K_M, layers=40, tied=False) is expected


@pytest.mark.parametrize(
    ("kind", "row", "expected"),
    [
        (mix.Q4_0, 2048, Type.Q6_K),
        (mix.Q4_0, 896, Type.Q8_0),
        (mix.Q4_1, 896, Type.Q8_0),
        (mix.Q4_K_M, 896, Type.Q8_0),
        (mix.Q8_0, 2048, Type.Q8_0),
        (mix.BF16, 2048, Type.BF16),
    ],
)
def test_formats_of_a_tied_head(kind: Mix, row: int, expected: Type) -> None:
    table = Tensor("token_embd", "weight", (row, 151_936))
    assert type_of(table, kind, layers=24, tied=True) is expected


def test_other_precisions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no GGUF at fp32; available: fp16, bf16"):
        gguf.build(request(tiny(), "fp32"), tmp_path)


def test_other_families_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="runs decoders and encoders only"):
        gguf.build(request(tiny(None), "int4"), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qk_norm": True}, r"llama has no qk_norm = True; set decoder\.qk_norm to False, or use"),
        ({"lowrank": 4}, r"llama has no lowrank = 4; set decoder\.lowrank to 0"),
        ({"arch": "qwen2", "biases": "qkv", "head_dim": 32}, "qwen2 has no head_dim = 32"),
        ({"arch": "qwen", "fused_qkv": True, "biases": "qkv"}, "qwen has no kv_heads = 2"),
        ({"arch": "gemma", "activation": "gelu", "tied": True}, "embedding_scale to 16.0"),
        (
            {"arch": "qwen2", "biases": "qkv", "rope_scaling": SCALED.rope_scaling},
            "has no rope_scaling = .*; set decoder.rope_scaling to None",
        ),
    ],
)
def test_cards_llama_cpp_cannot_express(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        gguf.build(request(tiny(replace(TINY, **changes)), "int4"), tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_architecture_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown architecture 'lama'; did you mean 'llama'"):
        gguf.build(request(tiny(replace(TINY, arch="lama")), "int4"), tmp_path)


# -------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize("kind", MIXES, ids=name_of)
@pytest.mark.parametrize(
    "decoder", [GPT, replace(GPT, hidden=192, heads=3, kv_heads=3)], ids=["256", "192"]
)
def test_weights_are_the_same_in_every_format(tmp_path: Path, kind: Mix, decoder: Decoder) -> None:
    built = gguf.build_decoder(tmp_path / "x.gguf", "tiny", decoder, kind)
    found = GGUFReader(built.file).tensors
    planned = tensors(decoder)
    assert [t.name for t in found] == [t.name for t in planned]
    for tensor, plan in zip(found, planned, strict=True):
        assert tuple(tensor.shape) == plan.shape
        assert tensor.tensor_type is type_of(plan, kind, layers=2, tied=True)
        assert is_rounded(tensor, pools.values("tiny", plan))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_llama_has_neighbouring_dimensions_in_pairs(tmp_path: Path, precision: Precision) -> None:
    found = {
        t.name: t for t in GGUFReader(gguf.build(request(tiny(), precision), tmp_path).file).tensors
    }
    for plan in tensors(TINY):
        exact, tensor = pools.values("tiny", plan), found[plan.name]
        if plan.role in ("attn_q", "attn_k"):
            turned = np.empty_like(exact)
            for row in range(len(exact)):
                head, inside = divmod(row, 64)
                half, pair = divmod(inside, 32)
                turned[64 * head + 2 * pair + half] = exact[row]
            exact = turned
        assert is_rounded(tensor, exact)


def test_frequency_factors_are_written(tmp_path: Path) -> None:
    built = gguf.build(request(tiny(SCALED), "int4"), tmp_path)
    last = GGUFReader(built.file).tensors[-1]
    assert (last.name, last.tensor_type) == ("rope_freqs.weight", Type.F32)
    np.testing.assert_array_equal(last.data, factors(SCALED).astype(np.float32))
    assert built.parameters == sum(t.parameters for t in tensors(SCALED))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_built_describes_the_file(tmp_path: Path, precision: Precision) -> None:
    asked = request(tiny(), precision)
    built = gguf.build(asked, tmp_path)
    assert built.parameters == sum(t.parameters for t in tensors(TINY))
    assert built.format == mix_of(precision).name
    assert built.kv_bytes_per_token == 2 * 2 * 2 * 64 * 2
    assert built.inputs == ()
    assert built.notes == ()
    assert gguf.estimate_bytes(asked) == pytest.approx(built.file.stat().st_size, rel=0.02)


def test_window_that_llama_cpp_ignores_is_noted(tmp_path: Path) -> None:
    built = gguf.build(request(tiny(replace(TINY, sliding_window=99)), "int4"), tmp_path)
    assert built.notes == ("llama.cpp attends to all tokens before, not to the last 99",)


def metadata(file: Path) -> dict[str, Any]:
    return {key: field.contents() for key, field in GGUFReader(file).fields.items()}


def test_metadata_of_llama(tmp_path: Path) -> None:
    found = metadata(gguf.build(request(tiny(), "int4"), tmp_path).file)
    assert "tiny" in found["general.description"]
    assert "synthetic" in found["general.description"]
    assert found["general.file_type"] == 15
    assert found["tokenizer.ggml.model"] == "test"
    assert found["tokenizer.ggml.tokens"][998:] == ["tok_998", "tok_999"]
    assert found["llama.attention.key_length"] == found["llama.attention.value_length"] == 64
    assert found["llama.rope.freq_base"] == 10_000
    assert found["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert "llama.attention.layer_norm_epsilon" not in found


def test_metadata_of_others(tmp_path: Path) -> None:
    qwen = replace(TINY, arch="qwen", kv_heads=4, fused_qkv=True, biases="qkv")
    found = metadata(gguf.build(request(tiny(qwen), "int4"), tmp_path).file)
    assert found["qwen.feed_forward_length"] == 1024
    found = metadata(gguf.build(request(tiny(GPT), "int4"), tmp_path).file)
    assert found["gpt2.attention.layer_norm_epsilon"] == pytest.approx(1e-5)
    assert not [key for key in found if "rope" in key or "rms" in key]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bytes_are_the_same_everywhere(tmp_path: Path, precision: Precision) -> None:
    file = gguf.build(request(tiny(), precision), tmp_path).file
    data = file.read_bytes()[GGUFReader(file).data_offset :]
    assert hashlib.sha256(data).hexdigest() == GOLDEN[precision]


def test_rows_do_not_repeat(tmp_path: Path) -> None:
    reader = GGUFReader(gguf.build(request(tiny(), "int4"), tmp_path).file)
    embedding = reader.tensors[0].data
    assert len({bytes(row) for row in embedding}) == len(embedding)


def test_memory_holds_pools_and_no_tensor(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        built = gguf.build(request(pick("smollm2-135m"), "fp16"), tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = built.file.stat().st_size
    built.file.unlink()
    assert size > 269_100_288
    assert peak < 120_000_000


def test_full_disk_propagates(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        gguf.build(request(tiny(), "int4"), tmp_path)


# ----------------------------------------------------------------------------------------- encoders
def drawn(name: str, shape: tuple[int, ...], std: float, mean: float = 0.0) -> Any:
    return weights.tensor("tiny", name, shape, std, mean)


def test_encoder_has_the_weights_of_its_graph(tmp_path: Path) -> None:
    built = gguf.build(request(tiny(None, ENCODER), "fp16"), tmp_path)
    found = {t.name: stored(t) for t in GGUFReader(built.file).tensors}
    expected = {
        "token_embd.weight": drawn("embeddings.word.weight", (500, 256), 0.02),
        "position_embd.weight": drawn("embeddings.position.weight", (64, 256), 0.02),
        "token_types.weight": drawn("embeddings.type.weight", (2, 256), 0.02),
        "token_embd_norm.bias": drawn("embeddings.norm.bias", (256,), 0.1),
        "blk.1.attn_q.weight": drawn("layer.1.attention.query.weight", (256, 256), 1 / 16).T,
        "blk.0.attn_output.bias": drawn("layer.0.attention.out.bias", (256,), 0.02),
        "blk.0.attn_output_norm.weight": drawn("layer.0.attention.norm.weight", (256,), 0.1, 1),
        "blk.1.ffn_up.weight": drawn("layer.1.ffn.0.weight", (256, 512), 1 / 16).T,
        "blk.1.ffn_down.weight": drawn("layer.1.ffn.1.weight", (512, 256), 512**-0.5).T,
        "blk.1.layer_output_norm.weight": drawn("layer.1.norm.weight", (256,), 0.1, 1),
    }
    for name, exact in expected.items():
        np.testing.assert_allclose(found[name], exact, rtol=1e-3, atol=1e-6, err_msg=name)
    assert len(found) == 5 + 2 * 16


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_built_describes_the_encoder(tmp_path: Path, precision: Precision) -> None:
    asked = request(tiny(None, ENCODER), precision)
    built = gguf.build(asked, tmp_path)
    (ids,) = built.inputs
    assert (ids.name, ids.shape, ids.fill) == ("input_ids", ("batch", 24), "ids:500")
    assert built.notes == ("without the pooler, which llama.cpp does not compute",)
    assert built.format == mix_of(precision).name
    assert gguf.estimate_bytes(asked) == pytest.approx(built.file.stat().st_size, rel=0.02)
    found = metadata(built.file)
    assert found["general.architecture"] == "bert"
    assert found["bert.attention.causal"] is False
    assert found["tokenizer.ggml.token_type_count"] == 2
    assert found["bert.attention.layer_norm_epsilon"] == pytest.approx(1e-12)


@pytest.mark.parametrize("name", ENCODERS)
def test_published_encoders_less_their_pooler(name: str) -> None:
    model = pick(name)
    assert model.encoder is not None
    plan = encoders.entries(model, model.encoder, mix.Q4_K_M)
    count = sum(entry.tensor.parameters for entry in plan)
    hidden = model.encoder.hidden
    assert count == model.parameters - (hidden * (hidden + 1) if model.encoder.pooler else 0)
    kinds = Counter(entry.kind.name for entry in plan)
    wide = {"Q4_K", "Q6_K", "F32"}
    assert set(kinds) == (wide if hidden % 256 == 0 else wide | {"Q5_0", "Q8_0"})
