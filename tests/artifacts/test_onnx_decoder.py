"""ONNX folders of language models: exact counts, packed weights, layout, reproducible bytes."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cpufit.artifacts.onnx import decoder
from cpufit.artifacts.onnx.decoder.planes import BLOCK, CODES, FLOATS, SCALES, render
from cpufit.artifacts.rounding import symmetric
from cpufit.catalog import load_models, pick
from cpufit.errors import UnsupportedError
from cpufit.networks.decoder import pools
from cpufit.networks.decoder.tensors import tensors
from cpufit.schema import Model, Order
from cpufit.schema.shapes import Decoder

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.networks.decoder.pools import Floats
    from cpufit.networks.decoder.tensors import Tensor
    from cpufit.precisions import Precision

PRECISIONS: tuple[Precision, ...] = ("int4", "int8", "fp32")
DECODERS = [name for name, model in load_models().items() if model.family == "llm"]
TINY = Decoder(
    arch="llama",
    layers=2,
    hidden=64,
    ffn=96,
    heads=2,
    kv_heads=1,
    head_dim=32,
    vocab=100,
    context=256,
    tied=True,
)


def tiny(**changes: Any) -> Model:
    return Model(
        name="tiny",
        title="Tiny",
        family="llm",
        parameters=0,
        macs=0,
        source="test",
        decoder=replace(TINY, **changes),
    )


def request(model: Model, precision: Precision) -> Order:
    return Order(
        builder="onnx.decoder",
        model=model,
        precision=precision,
        runtime="onnxruntime",
        weights="synthetic",
    )


def places(graph: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """Return offset and length in the data file of every array that lies there."""
    found = {}
    for proto in graph.graph.initializer:
        facts = {entry.key: entry.value for entry in proto.external_data}
        if facts:
            assert facts["location"] == "model.onnx.data"
            found[proto.name] = int(facts["offset"]), int(facts["length"])
    return found


def read(built: Any, name: str, dtype: Any) -> Any:
    """Return an array of the data file, flat."""
    offset, length = places(onnx.load(built.file, load_external_data=False))[name]
    data = built.file.with_name("model.onnx.data").read_bytes()
    return np.frombuffer(data[offset : offset + length], dtype)


# -------------------------------------------------------------------------------------- whole cards
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", DECODERS)
def test_every_card_is_emitted_whole(name: str, precision: Precision) -> None:
    card = pick(name)
    planned = decoder.plan(card, precision)
    assert planned.weights.parameters == card.parameters
    assert sum(length for _, length in set(places(planned.graph).values())) <= (
        planned.weights.size_bytes
    )


def test_long_contexts_have_shorter_tables_and_say_so(tmp_path: Path) -> None:
    built = decoder.build(request(tiny(context=40_000), "int4"), tmp_path)
    assert built.recipe.endswith("; tables of 32768 positions")
    shapes = {i.name: list(i.dims) for i in onnx.load(built.file).graph.initializer}
    assert shapes["cos_cache"] == shapes["sin_cache"] == [32_768, 16]
    config = json.loads((tmp_path / "genai_config.json").read_text("utf-8"))
    assert config["model"]["context_length"] == config["search"]["max_length"] == 32_768


# ------------------------------------------------------------------------------------------ weights
SIZES = st.floats(2.0**-13, 4, width=32)
BLOCKS = arrays.arrays(np.float32, (3, BLOCK), elements=SIZES | SIZES.map(lambda size: -size))


@pytest.mark.parametrize("bits", [4, 8])
@given(values=BLOCKS)
def test_planes_hold_the_rounded_weights(values: Floats, bits: int) -> None:
    planes = render(values, bits)
    assert set(planes) == {CODES[bits], SCALES[bits]}
    packed = np.frombuffer(planes[CODES[bits]], np.uint8)
    unsigned = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=1)
    codes, scales = symmetric(values, BLOCK, bits)
    np.testing.assert_array_equal(
        unsigned.reshape(values.shape).astype(int) - 2 ** (bits - 1), codes.reshape(values.shape)
    )
    np.testing.assert_array_equal(np.frombuffer(planes[SCALES[bits]], "<f4"), scales)


def test_float_planes_are_the_weights_themselves() -> None:
    values = np.arange(8, dtype=np.float32)
    assert bytes(render(values, 32)[FLOATS]) == values.tobytes()


def tensor(name: str) -> Tensor:
    return next(t for t in tensors(TINY) if t.name == name)


def test_a_float_tensor_is_what_the_pools_say(tmp_path: Path) -> None:
    built = decoder.build(request(tiny(), "fp32"), tmp_path)
    joined = [tensor(f"blk.1.attn_{role}.weight") for role in "qkv"]
    expected = np.concatenate([pools.values("tiny", t).ravel() for t in joined])
    found = read(built, "blk.1.attn_q+attn_k+attn_v.weight", "<f4")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_tensor_is_the_rounded_one(tmp_path: Path, bits: int) -> None:
    built = decoder.build(request(tiny(), "int4" if bits == 4 else "int8"), tmp_path)
    planes = render(pools.values("tiny", tensor("blk.0.ffn_down.weight")), bits)
    for plane, end in ((CODES[bits], "codes.blocks"), (SCALES[bits], "scales")):
        assert read(built, f"blk.0.ffn_down.{end}", np.uint8).tobytes() == bytes(planes[plane])


def test_a_tied_head_lies_in_the_file_once() -> None:
    found = places(decoder.plan(tiny(), "int4").graph)
    assert found["token_embd.codes.rows"] == found["token_embd.codes.blocks"]
    apart = places(decoder.plan(tiny(tied=False), "int4_all").graph)
    assert apart["token_embd.codes.rows"] != apart["output.codes.blocks"]


def test_other_embeddings_are_float_by_default() -> None:
    cases: tuple[tuple[Model, Precision], ...] = ((tiny(tied=False), "int4"), (tiny(), "int8"))
    for model, precision in cases:
        found = places(decoder.plan(model, precision).graph)
        assert "token_embd.codes.rows" not in found
        assert found["token_embd.weight"][1] == 4 * TINY.vocab * TINY.hidden


def test_an_embedding_that_is_the_head_has_one_form(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="head is its embedding; use int4: both have 4"):
        decoder.build(request(tiny(), "int4_all"), tmp_path)


def test_arrays_start_on_pages_and_do_not_overlap() -> None:
    planned = decoder.plan(tiny(biases="qkv"), "int4")
    spans = sorted(set(places(planned.graph).values()))
    assert all(offset % 4096 == 0 for offset, _ in spans)
    ends = [0, *(offset + length for offset, length in spans)]
    assert all(start >= end for (start, _), end in zip(spans, ends, strict=False))
    assert planned.weights.size_bytes - ends[-1] in range(4096)


# -------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize("precision", PRECISIONS)
def test_built_is_what_was_asked_for(tmp_path: Path, precision: Precision) -> None:
    asked = request(tiny(), precision)
    built = decoder.build(asked, tmp_path)
    assert built.parameters == sum(t.parameters for t in tensors(TINY))
    assert built.kv_bytes_per_token == 2 * TINY.layers * TINY.kv_heads * TINY.head_dim * 4
    assert (
        built.format.split()[:2]
        == {
            "int4": ["MatMulNBits", "int4,"],
            "int8": ["MatMulNBits", "int8,"],
            "fp32": ["fp32"],
        }[precision]
    )
    written = sum((tmp_path / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert decoder.estimate_bytes(asked) == written


def test_the_folder_is_laid_out_for_onnxruntime_genai(tmp_path: Path) -> None:
    built = decoder.build(request(tiny(position="learned"), "int4"), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.onnx",
        "model.onnx.data",
        "genai_config.json",
    }
    config = json.loads((tmp_path / "genai_config.json").read_text("utf-8"))["model"]
    said, graph = config["decoder"], onnx.load(built.file).graph
    assert (said["filename"], config["vocab_size"]) == (built.file.name, 100)
    names = {given.name for given in graph.input}
    past = {said["inputs"].pop(f"past_{part}_names") for part in ("key", "value")}
    own = set(said["inputs"].values())
    assert names == own | {name % block for name in past for block in range(TINY.layers)}
    assert own == {"input_ids", "attention_mask", "position_ids"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bytes_are_the_same_again(tmp_path: Path, precision: Precision) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        pools.pool.cache_clear()
        decoder.build(request(tiny(), precision), folder)
    first, second = ({p.name: p.read_bytes() for p in f.iterdir()} for f in folders)
    assert first == second


def test_memory_holds_pools_and_no_tensor(tmp_path: Path) -> None:
    pools.pool.cache_clear()
    tracemalloc.start()
    try:
        built = decoder.build(request(pick("qwen2.5-0.5b"), "int4"), tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    data = built.file.with_name("model.onnx.data")
    size = data.stat().st_size
    data.unlink()
    assert size > 300_000_000
    assert peak < 150_000_000


# ------------------------------------------------------------------------------------------- errors
def test_other_precisions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no ONNX language models at bf16; available: int4"):
        decoder.build(request(tiny(), "bf16"), tmp_path)


def test_other_families_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="tiny is no language model"):
        decoder.build(request(replace(tiny(), decoder=None), "int4"), tmp_path)


def test_rows_of_odd_widths_are_refused_where_they_would_be_cut() -> None:
    odd = tiny(ffn=100)
    with pytest.raises(UnsupportedError, match=r"blk.0.ffn_down.weight: rows of 100 weights"):
        decoder.plan(odd, "int4")
    decoder.plan(odd, "fp32")


def test_full_disk_propagates(tmp_path: Path) -> None:
    (tmp_path / "model.onnx.data").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        decoder.build(request(tiny(), "int4"), tmp_path)
