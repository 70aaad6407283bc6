"""The description of decoders that every format starts from: counts, weights, rotation, network."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cpufit.artifacts.rounding import asymmetric, symmetric
from cpufit.artifacts.stream import cut, pad
from cpufit.catalog import load_models, pick
from cpufit.networks.decoder import pools
from cpufit.networks.decoder.reference import reference_logits
from cpufit.networks.decoder.rope import factors, frequencies
from cpufit.networks.decoder.tensors import Tensor, macs_per_token, parameters, tensors
from cpufit.networks.widths import rank
from cpufit.schema.shapes import Decoder, RopeScaling

if TYPE_CHECKING:
    from io import FileIO

    import numpy.typing as npt

# Parameters as published (where they are), multiply-adds and KV bytes per token.
FACTS = {
    "distilgpt2": (81_912_576, 81_064_704, 18_432),
    "gpt2": (124_439_808, 123_532_032, 36_864),
    "smollm2-135m": (134_515_008, 134_479_872, 23_040),
    "gpt2-medium": (354_823_168, 353_453_056, 98_304),
    "smollm2-360m": (361_821_120, 361_758_720, 40_960),
    "qwen2.5-0.5b": (494_032_768, 493_961_216, 12_288),
    "tinyllama-1.1b": (1_100_048_384, 1_034_420_224, 22_528),
    "starcoderbase-1b": (1_137_207_296, 1_119_879_168, 12_288),
    "llama-3.2-1b": (1_235_814_400, 1_235_746_816, 32_768),
    "qwen2.5-1.5b": (1_543_714_304, 1_543_569_408, 28_672),
    "qwen-1.8b": (1_836_828_672, 1_525_415_936, 196_608),
    "gemini-nano-proxy": (1_845_544_960, 1_845_493_760, 12_288),
    "gemma-2b": (2_506_172_416, 2_506_096_640, 18_432),
    "phi-3-mini": (3_821_079_552, 3_722_379_264, 393_216),
    "hunyuan-4b": (4_221_757_440, 4_221_523_968, 147_456),
    "llama-2-7b": (6_738_415_616, 6_607_077_376, 524_288),
    "mistral-7b": (7_241_732_096, 7_110_393_856, 131_072),
    "llama-3-8b": (8_030_261_248, 7_504_658_432, 131_072),
    "llama-2-13b": (13_015_864_320, 12_851_609_600, 819_200),
}
TINY = Decoder(
    arch="llama",
    layers=2,
    hidden=32,
    ffn=48,
    heads=4,
    kv_heads=2,
    head_dim=8,
    vocab=50,
    context=64,
)
GPT2 = replace(
    TINY,
    kv_heads=4,
    position="learned",
    norm="layer",
    activation="gelu",
    gated=False,
    biases="all",
    fused_qkv=True,
    tied=True,
)
LLAMA_3_2 = RopeScaling(factor=32, low=1, high=4, original=8192)
IDS = (3, 14, 15, 9, 26, 5)
POOLS = [("weight", 64), ("weight", 2048), ("weight", 16_384), ("bias", 768), ("norm", 2048)]
GOLDEN = {
    ("weight", 2048): "da2ff69696ed131dbd67f395dc3778c3822c0058ec69facca658346a460fc693",
    ("bias", 768): "950425ddda6c928bd66e42c5d435863c3467008dcc0eb604f88e11dee6bc42a7",
    ("norm", 2048): "e707df9a59a211fe967a6676986db836e64e09316bdb5fbd02a512a1c116cb48",
}


# ---------------------------------------------------------------------------------- published facts
def test_every_language_model_has_facts() -> None:
    assert {name for name, model in load_models().items() if model.family == "llm"} == set(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_published_figures(name: str) -> None:
    model = pick(name)
    assert model.decoder is not None
    found = (
        parameters(model.decoder),
        macs_per_token(model.decoder),
        model.decoder.kv_bytes_per_token,
    )
    assert found == FACTS[name]
    assert (model.parameters, model.macs) == FACTS[name][:2]


def shapes(decoder: Decoder) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in tensors(decoder)}


def test_tensors_of_a_plain_model() -> None:
    found = shapes(replace(TINY, layers=1))
    assert found == {
        "token_embd.weight": (32, 50),
        "blk.0.attn_norm.weight": (32,),
        "blk.0.attn_q.weight": (32, 32),
        "blk.0.attn_k.weight": (32, 16),
        "blk.0.attn_v.weight": (32, 16),
        "blk.0.attn_output.weight": (32, 32),
        "blk.0.ffn_norm.weight": (32,),
        "blk.0.ffn_gate.weight": (32, 48),
        "blk.0.ffn_up.weight": (32, 48),
        "blk.0.ffn_down.weight": (48, 32),
        "output_norm.weight": (32,),
        "output.weight": (32, 50),
    }


def test_fields_of_a_card_change_its_tensors() -> None:
    fused = shapes(replace(TINY, fused_qkv=True, fused_ffn=True, biases="qkv"))
    assert fused["blk.1.attn_qkv.weight"] == (32, 64)
    assert fused["blk.1.attn_qkv.bias"] == (64,)
    assert fused["blk.1.ffn_up.weight"] == (32, 96)
    assert "blk.1.attn_output.bias" not in fused
    learned = shapes(GPT2)
    assert learned["position_embd.weight"] == (32, 64)
    assert learned["blk.0.ffn_down.bias"] == learned["output_norm.bias"] == (32,)
    assert not {"output.weight", "blk.0.ffn_gate.weight"} & learned.keys()
    wide = shapes(replace(TINY, head_dim=24, qk_norm=True))
    assert wide["blk.0.attn_q_norm.weight"] == (24,)
    assert wide["blk.0.attn_output.weight"] == (96, 32)


def test_factorised_layers_have_the_promised_parameters() -> None:
    decoder = replace(TINY, hidden=1024, ffn=4096, lowrank=4)
    inner = rank(decoder.lowrank, 1024, 4096)
    assert inner % 32 == 0
    assert inner * (1024 + 4096) == pytest.approx(1024 * 4096 / 4, rel=0.1)
    found = shapes(decoder)
    assert found["blk.0.ffn_up_a.weight"] == (1024, inner)
    assert found["blk.0.ffn_up_b.weight"] == (inner, 4096)
    assert found["token_embd.weight"] == (1024, 50)


# ------------------------------------------------------------------------------------------ weights
@pytest.mark.parametrize(("kind", "fan_in"), POOLS)
def test_pools_have_the_promised_distribution(kind: str, fan_in: int) -> None:
    found = pools.pool("m", kind, fan_in)
    assert found.dtype == np.float32
    assert found.shape == (pools.SIZE,)
    if kind == "norm":
        assert 0.75 <= found.min() < found.max() < 1.25
        assert found.mean() == pytest.approx(1, abs=1e-3)
        return
    std = 1 / math.sqrt(fan_in)
    assert found.std() == pytest.approx(std, rel=0.005)
    assert abs(found.mean()) < 0.005 * std
    assert 3 * std < abs(found).max() < 3.5 * std
    kurtosis = float(((found / std) ** 4).mean())
    assert kurtosis == pytest.approx(3 - 1.2 / 4, abs=0.05)  # of four uniform numbers added up


@pytest.mark.parametrize(("kind", "fan_in"), POOLS)
def test_no_weight_is_a_denormal_float16(kind: str, fan_in: int) -> None:
    found = pools.pool("m", kind, fan_in).astype(np.float16)
    assert abs(found).min() >= np.finfo(np.float16).smallest_normal


@pytest.mark.parametrize(("kind", "fan_in"), GOLDEN)
def test_pools_are_the_same_everywhere(kind: str, fan_in: int) -> None:
    found = pools.pool("m", kind, fan_in).astype("<f4").tobytes()
    assert hashlib.sha256(found).hexdigest() == GOLDEN[kind, fan_in]


def test_pools_cannot_be_changed_and_differ() -> None:
    first = pools.pool("m", "weight", 64)
    assert not first.flags.writeable
    assert not np.array_equal(first, pools.pool("n", "weight", 64))
    assert not np.array_equal(first, pools.pool("m", "bias", 64))


def test_values_walk_the_pool_round_and_round() -> None:
    tensor = Tensor("token_embd", "weight", (64, 40_000))  # more than the pool holds
    found = pools.values("m", tensor).reshape(-1)
    source, begin = pools.pool("m", "weight", 64), pools.start("m", tensor) * pools.UNIT
    np.testing.assert_array_equal(found, np.resize(np.roll(source, -begin), found.size))
    rows = found.reshape(40_000, 64)[: pools.SIZE // 64]
    assert len({row.tobytes() for row in rows}) == len(rows)


def test_tensors_begin_at_places_of_their_own() -> None:
    found = tensors(replace(TINY, layers=20))
    matrices = [t for t in found if len(t.shape) == 2]
    places = {(*pools.key(t), pools.start("m", t)) for t in matrices}
    assert len(places) > 0.95 * len(matrices)  # two may meet by chance
    assert pools.start("m", found[0]) != pools.start("n", found[0])


class Sink(io.BytesIO):
    """A file that takes only a few bytes at once, as a raw file may."""

    def write(self, data: Any) -> int:
        return super().write(bytes(data)[:5])


def test_cut_goes_round_and_pad_fills_up() -> None:
    sink = Sink()
    cut(cast("FileIO", sink), memoryview(b"0123456789"), 7, 16)
    assert sink.getvalue() == b"7890123456789012"
    sink = Sink(b"123")
    sink.seek(0, io.SEEK_END)
    assert pad(cast("FileIO", sink), 8) == 8
    assert sink.getvalue() == b"123" + bytes(5)


# ----------------------------------------------------------------------------------------- rounding
@given(
    arrays(
        np.float32,
        st.integers(1, 4).map(lambda groups: (groups, 32)),
        elements=st.one_of(st.floats(2.0**-10, 8, width=32), st.floats(-8, -(2.0**-10), width=32)),
    ),
    st.sampled_from([4, 8]),
)
def test_codes_are_within_a_step(values: npt.NDArray[np.float32], bits: int) -> None:
    codes, scales = symmetric(values, 32, bits)
    assert codes.shape == values.shape
    lowest = -(1 << (bits - 1))
    assert codes.min() >= lowest
    assert codes.max() <= -lowest - 1
    found = codes.reshape(-1, 32) * scales[:, None]
    # The one code that the other side has more may be missed by the opposite of the extreme.
    assert (abs(found - values.reshape(-1, 32)) <= 1.001 * abs(scales[:, None])).all()
    extremes = abs(values.reshape(-1, 32)).argmax(axis=1)
    assert (codes.reshape(-1, 32)[np.arange(len(scales)), extremes] == lowest).all()


@given(
    arrays(
        np.float32, st.integers(1, 4).map(lambda n: (n, 32)), elements=st.floats(-8, 8, width=32)
    ),
    st.sampled_from([4, 8]),
)
def test_codes_with_zero_points_are_within_a_step(
    values: npt.NDArray[np.float32], bits: int
) -> None:
    codes, zeros, scales = asymmetric(values, 32, bits)
    assert codes.shape == values.shape
    assert codes.max(initial=0) < 1 << bits
    found = (codes.reshape(-1, 32).astype(np.float32) - zeros[:, None]) * scales[:, None]
    assert (abs(found - values.reshape(-1, 32)) <= 1.001 * scales[:, None]).all()
    assert (found[values.reshape(-1, 32) == 0] == 0).all()


# ----------------------------------------------------------------------------------------- rotation
def test_frequencies_fall_from_one() -> None:
    found = frequencies(TINY)
    np.testing.assert_allclose(found, [1, 0.1, 0.01, 0.001])


def test_factors_of_llama_3_2() -> None:
    """Worked out by hand, wavelengths 2 pi 500000**(i/32): 8192/4 = 2048 and 8192/1 are the marks.

    The wavelength of pair 14 is 1956, below 2048: 1. That of pair 18 is 10090, above 8192: 32. That
    of pair 16 is 4442.9: turns 1.84385, smooth 0.281284, so 1 / (0.718716 / 32 + 0.281284).
    """
    decoder = replace(TINY, head_dim=64, rope_base=500_000.0, rope_scaling=LLAMA_3_2)
    found = factors(decoder)
    assert found.shape == (32,)
    assert (found[:15] == 1).all()
    assert (found[18:] == 32).all()
    assert found[16] == pytest.approx(3.29223, rel=1e-4)
    assert (np.diff(found) >= 0).all()
    np.testing.assert_allclose(
        frequencies(decoder), 500_000.0 ** (-np.arange(32) / 32) / found, rtol=1e-12
    )


# ------------------------------------------------------------------------------------------ network
def logits(decoder: Decoder, ids: tuple[int, ...] = IDS) -> npt.NDArray[np.float32]:
    return reference_logits("m", decoder, ids)


def test_logits_have_the_scale_of_weights_that_keep_it() -> None:
    for decoder in (TINY, GPT2, replace(TINY, qk_norm=True, tied=True)):
        found = logits(decoder)
        assert found.shape == (50,)
        assert 0.3 < found.std() < 3


@pytest.mark.parametrize(
    "changes",
    [
        {"tied": True},
        {"kv_heads": 1},
        {"qk_norm": True},
        {"biases": "qkv"},
        {"rope_base": 100.0},
        {"rope_scaling": RopeScaling(factor=8, low=1, high=4, original=16)},
        {"activation": "gelu"},
        {"gated": False},
        {"embedding_scale": 5.0},
        {"sliding_window": 3},
        {"norm": "layer"},
        {"position": "learned"},
        {"norm_eps": 0.5},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_field_of_a_card_counts(changes: dict[str, Any]) -> None:
    assert not np.allclose(logits(replace(TINY, **changes)), logits(TINY), atol=1e-3)


def test_a_window_that_holds_all_tokens_changes_nothing() -> None:
    np.testing.assert_array_equal(logits(replace(TINY, sliding_window=len(IDS))), logits(TINY))


def test_a_window_hides_what_is_before_it() -> None:
    """With one layer the last of six tokens sees four: itself and three before."""
    decoder = replace(TINY, layers=1, sliding_window=4)
    near, far = (9, 9, *IDS[2:]), (*IDS[:2], 9, *IDS[3:])
    np.testing.assert_array_equal(logits(decoder, near), logits(decoder))
    assert not np.allclose(logits(decoder, far), logits(decoder), atol=1e-3)


def test_no_blocks_by_hand() -> None:
    decoder = replace(TINY, layers=0)
    table, gain, head = (pools.values("m", tensor) for tensor in tensors(decoder))
    x = table[IDS[0]]
    expected = head @ (x / np.sqrt((x * x).mean() + 1e-5) * gain)
    np.testing.assert_allclose(logits(decoder, IDS[:1]), expected, rtol=1e-5)


def test_tied_head_is_the_embedding() -> None:
    decoder = replace(TINY, layers=0, tied=True)
    table, gain = (pools.values("m", tensor) for tensor in tensors(decoder))
    x = table[IDS[0]]
    expected = table @ (x / np.sqrt((x * x).mean() + 1e-5) * gain)
    np.testing.assert_allclose(logits(decoder, IDS[:1]), expected, rtol=1e-5)


def test_block_by_hand() -> None:
    """One block of two tokens with one key head, written out without the walker."""
    decoder = replace(TINY, layers=1, heads=2, kv_heads=1, head_dim=4)
    own = {tensor.name: pools.values("m", tensor) for tensor in tensors(decoder)}

    def norm(x: Any, name: str) -> Any:
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5) * own[name]

    def rotate(x: Any, position: int) -> Any:
        turns = np.exp(1j * position * np.array([1.0, 0.01]))
        turned = (x[:2] + 1j * x[2:]) * turns
        return np.concatenate([turned.real, turned.imag])

    x = own["token_embd.weight"][list(IDS[:2])].astype(np.float64)
    y = norm(x, "blk.0.attn_norm.weight")
    q, k, v = (y @ own[f"blk.0.attn_{role}.weight"].T for role in "qkv")
    mixed = []
    for head in range(2):
        query = rotate(q[1, 4 * head : 4 * head + 4], 1)
        scores = np.array([query @ rotate(k[place], place) / 2 for place in range(2)])
        mixed.append(np.exp(scores) / np.exp(scores).sum() @ v)
    last = x[1] + own["blk.0.attn_output.weight"] @ np.concatenate(mixed)
    y = norm(last, "blk.0.ffn_norm.weight")
    gate = own["blk.0.ffn_gate.weight"] @ y
    inner = gate / (1 + np.exp(-gate)) * (own["blk.0.ffn_up.weight"] @ y)
    last = last + own["blk.0.ffn_down.weight"] @ inner
    expected = own["output.weight"] @ norm(last, "output_norm.weight")
    np.testing.assert_allclose(logits(decoder, IDS[:2]), expected, rtol=1e-4, atol=1e-5)
