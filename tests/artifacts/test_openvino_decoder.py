"""OpenVINO IR of language models: exact counts, packed weights, small memory, the same bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

pytest.importorskip("openvino")

from cpufit.artifacts.openvino import decoder
from cpufit.artifacts.openvino.decoder import formats
from cpufit.artifacts.openvino.decoder.graph import build_graph
from cpufit.artifacts.rounding import asymmetric
from cpufit.catalog import load_models, pick
from cpufit.networks.decoder import pools
from cpufit.networks.decoder.tensors import tensors
from cpufit.schema import Model, Order
from cpufit.schema.shapes import Decoder

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import Built
    from cpufit.networks.decoder.pools import Floats
    from cpufit.networks.decoder.tensors import Tensor
    from cpufit.precisions import Precision

    Places = dict[str, tuple[str, int, int]]

pytestmark = pytest.mark.openvino

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "int4")
DECODERS = [name for name, model in load_models().items() if model.family == "llm"]
TINY = Decoder(
    arch="llama",
    layers=2,
    hidden=96,
    ffn=128,
    heads=3,
    kv_heads=1,
    head_dim=32,
    vocab=101,
    context=256,
    tied=True,
    biases="qkv",
)


def tiny(name: str = "tiny", **changes: Any) -> Model:
    return Model(
        name=name,
        title="Tiny",
        family="llm",
        parameters=0,
        macs=0,
        source="test",
        decoder=replace(TINY, **changes),
    )


def request(model: Model, precision: Precision) -> Order:
    return Order(
        builder="openvino.decoder",
        model=model,
        precision=precision,
        runtime="openvino",
        weights="synthetic",
    )


def build(folder: Path, precision: Precision, model: Model | None = None) -> Built:
    folder.mkdir(exist_ok=True)
    return decoder.build(request(model or tiny(), precision), folder)


def places(built: Built) -> Places:
    """Return element type, offset and length of every weight's constant, by its name."""
    found = {}
    for layer in Xml.parse(built.file).iter("layer"):
        if layer.attrib["type"] == "Const" and re.search(r"\.(weight|bias)", layer.attrib["name"]):
            data = layer.find("data")
            assert data is not None
            facts = data.attrib
            place = facts["element_type"], int(facts["offset"]), int(facts["size"])
            found[layer.attrib["name"]] = place
    return found


def stored(built: Built, name: str) -> Any:
    """Return a constant as it stands in the file, flat."""
    element, offset, length = places(built)[name]
    raw = built.file.with_suffix(".bin").read_bytes()[offset : offset + length]
    if element == "u4":
        return unpacked(np.frombuffer(raw, np.uint8))
    if element == "bf16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, {"f32": "<f4", "f16": "<f2", "u8": "u1"}[element])


def unpacked(pairs: Any) -> Any:
    """Return the 4-bit numbers of bytes that hold two, the first in the lower half."""
    return np.stack([pairs & 0xF, pairs >> 4], axis=1).reshape(-1)


# ------------------------------------------------------------------------------------------- counts
@pytest.mark.parametrize("name", DECODERS)
def test_every_card_has_its_parameters(name: str) -> None:
    model = pick(name)
    assert model.decoder
    graph = build_graph(name, model.decoder, "int4")
    assert graph.parameters == model.parameters
    assert {constant.tensor for constant in graph.weights} == set(tensors(model.decoder))


def test_published_sizes_at_int4() -> None:
    """4 bits and 20 for 128 of them in the layers, 8 and 24 for a row in embeddings and head."""
    card = pick("tinyllama-1.1b")
    table, norms = 32_000 * 2048, 45 * 2048
    layers = card.parameters - 2 * table - norms
    expected = layers // 2 + layers // 128 * 5 // 2 + 2 * (table + 3 * 32_000) + 4 * norms
    assert decoder.estimate_bytes(request(card, "int4")) == expected


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_estimate_is_the_size_of_the_weights(tmp_path: Path, precision: Precision) -> None:
    built = build(tmp_path, precision)
    estimate = decoder.estimate_bytes(request(tiny(), precision))
    found = places(built)
    assert sum(length for _, _, length in found.values()) == estimate
    size = built.file.with_suffix(".bin").stat().st_size
    assert 0 <= size - estimate < 64 * len(found) + 4096  # the graph's own constants


def test_parameters_count_a_tied_head_once(tmp_path: Path) -> None:
    untied = tiny(tied=False)
    tied = build(tmp_path, "int8").parameters
    assert build(tmp_path, "int8", untied).parameters == tied + TINY.vocab * TINY.hidden


# Rows of 96 divide into groups of 32, rows of 128 into one of 128.
@pytest.mark.parametrize(
    ("precision", "title", "cache", "cache_bytes"),
    [
        ("fp32", "FP32", "f32", 2 * 2 * (32 * 4 + 4)),
        ("fp16", "FP16", "f16", 2 * 2 * (32 * 2 + 4)),
        ("bf16", "BF16", "f16", 2 * 2 * (32 * 2 + 4)),
        ("int8", "INT8 asymmetric, per output channel", "u8", 2 * 2 * (32 + 8 + 4)),
        (
            "int4",
            "INT4 asymmetric, group 128 and 32, embeddings and head INT8",
            "u8",
            2 * 2 * (32 + 8 + 4),
        ),
    ],
)
def test_format_and_cache_are_told(
    tmp_path: Path, precision: Precision, title: str, cache: str, cache_bytes: int
) -> None:
    built = build(tmp_path, precision)
    assert built.format == title
    assert f"KV cache {cache} " in built.recipe
    assert built.kv_bytes_per_token == cache_bytes
    options = Xml.parse(built.file).getroot().find("rt_info/runtime_options/KV_CACHE_PRECISION")
    assert options is not None
    assert options.attrib["value"] == cache


# ------------------------------------------------------------------------------------------ weights
def _all(model: Model) -> list[tuple[Tensor, Floats]]:
    assert model.decoder
    return [(t, pools.values(model.name, t)) for t in tensors(model.decoder)]


@pytest.mark.parametrize(
    ("precision", "error"), [("fp32", 0), ("fp16", 2.0**-11), ("bf16", 2.0**-8)]
)
def test_float_weights_are_those_of_the_pools(
    tmp_path: Path, precision: Precision, error: float
) -> None:
    built = build(tmp_path, precision)
    for tensor, values in _all(tiny()):
        wanted = error if len(tensor.shape) > 1 else 0
        np.testing.assert_allclose(stored(built, tensor.name), values.reshape(-1), rtol=wanted)


def test_int8_is_a_step_of_its_scale_away(tmp_path: Path) -> None:
    built = build(tmp_path, "int8")
    for tensor, values in _all(tiny()):
        if len(tensor.shape) > 1:
            scales = stored(built, tensor.name + "/scale").astype(np.float32)[:, None]
            zeros = stored(built, tensor.name + "/zero_point").astype(np.float32)[:, None]
            codes = stored(built, tensor.name).reshape(values.shape)
            assert scales.shape == zeros.shape == (len(values), 1)
            # A step where the zero point is rounded too, and what a float16 scale is off.
            limit = (1 + 128 * 2.0**-11) * scales
            assert (np.abs((codes - zeros) * scales - values) <= limit).all()


def test_int4_is_rounded_group_by_group(tmp_path: Path) -> None:
    built = build(tmp_path, "int4")
    found = places(built)
    for tensor, values in _all(tiny()):
        if len(tensor.shape) == 1:
            assert found[tensor.name][0] == "f32"
        elif tensor.role == "token_embd":
            assert found[tensor.name][0] == "u8"
        else:
            group = 128 if tensor.shape[0] == 128 else 32
            codes, zeros, scales = asymmetric(values, group, 4)
            np.testing.assert_array_equal(stored(built, tensor.name), codes.reshape(-1))
            np.testing.assert_array_equal(stored(built, tensor.name + "/zero_point"), zeros)
            np.testing.assert_array_equal(
                stored(built, tensor.name + "/scale"), scales.astype(np.float16)
            )


def test_rows_that_no_group_divides_stay_int8(tmp_path: Path) -> None:
    found = places(build(tmp_path, "int4", tiny(ffn=100)))
    assert found["blk.0.ffn_down.weight"][0] == "u8"
    assert found["blk.0.ffn_up.weight"][0] == "u4"


def test_learned_positions_are_an_embedding(tmp_path: Path) -> None:
    built = build(tmp_path, "int4", tiny(position="learned"))
    assert places(built)["position_embd.weight"][0] == "u8"


def test_constants_are_aligned_and_apart(tmp_path: Path) -> None:
    spans = sorted(
        (offset, length) for _, offset, length in places(build(tmp_path, "int4")).values()
    )
    assert all(offset % 64 == 0 for offset, _ in spans)
    assert all(a + n <= b for (a, n), (b, _) in pairwise(spans))


@given(
    arrays.arrays(np.uint8, st.integers(1, 40).map(lambda n: 2 * n), elements=st.integers(0, 15))
)
def test_pairs_unpack_to_what_was_packed(codes: Any) -> None:
    np.testing.assert_array_equal(unpacked(formats._pairs(codes)), codes)


@given(st.floats(2.0**-100, 2.0**100, width=32), st.sampled_from([-1, 1]))
def test_bfloat16_is_the_nearest(size: float, sign: int) -> None:
    value = np.array([sign * size], np.float32)
    code = formats._floats(value, "bf16")
    around = np.array([code[0] - 1, code[0], code[0] + 1], np.uint32) << 16
    errors = np.abs(around.view(np.float32).astype(np.float64) - value[0])
    assert errors.argmin() == 1 or (errors[1] == errors.min() and code[0] % 2 == 0)


# ------------------------------------------------------------------------------------------ writing
@pytest.mark.parametrize("precision", ["fp16", "int4"])
def test_the_same_model_has_the_same_bytes(tmp_path: Path, precision: Precision) -> None:
    first, second = (build(tmp_path / name, precision) for name in "ab")
    for suffix in (".xml", ".bin"):
        bytes_of = [built.file.with_suffix(suffix).read_bytes() for built in (first, second)]
        assert bytes_of[0] == bytes_of[1]


def test_another_name_has_other_weights_in_the_same_graph(tmp_path: Path) -> None:
    first = build(tmp_path / "a", "int8")
    second = build(tmp_path / "b", "int8", tiny("other"))
    assert places(first) == places(second)
    name = "blk.1.ffn_down.weight"
    assert (stored(first, name) != stored(second, name)).mean() > 0.9


MEASURE = """
import pathlib, sys
from cpufit.artifacts.openvino import decoder as module
from cpufit.schema import Order
from cpufit.probes.memory import resident
from cpufit.schema import Model
from cpufit.schema.shapes import Decoder
decoder = Decoder(arch="llama", layers=6, hidden=2048, ffn=5632, heads=32, kv_heads=4, head_dim=64,
                  vocab=32000, context=2048)
model = Model(name="m", title="", family="llm", parameters=0, macs=0, source="", decoder=decoder)
request = Order(
    builder="openvino.decoder", model=model, precision="fp16",
    runtime="openvino", weights="synthetic",
)
module.build(request, pathlib.Path(sys.argv[1]))
print(resident().peak_bytes)  # unlike ru_maxrss it knows nothing of the process that started this
"""


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "model.bin").stat().st_size > 750e6
    assert int(done.stdout) < 400e6


def test_the_package_that_writes_enters_the_key() -> None:
    assert decoder.packages(request(tiny(), "int4")) == ("openvino",)
