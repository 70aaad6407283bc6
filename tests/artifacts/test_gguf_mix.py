"""Every tensor's number format, held against the quantiser of the installed llama.cpp.

It looks at names, rows and the header only, so the files it is given have rows of the true width,
two of them in each matrix, and every block.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import llama_cpp
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader

from cpufit.artifacts.gguf import decoders, encoders, mix
from cpufit.artifacts.gguf.write import Entry, write
from cpufit.catalog import load_models, pick
from cpufit.catalog.variants import standard
from cpufit.runtimes.llama_cpp import library
from cpufit.schema.shapes import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import FileIO
    from pathlib import Path

    from cpufit.artifacts.gguf.mix import Mix
    from cpufit.artifacts.gguf.write import Header
    from cpufit.schema import Model

MIXES = (mix.F16, mix.BF16, mix.Q8_0, mix.Q4_0, mix.Q4_1, mix.Q4_K_M)
BIG = Decoder(
    arch="llama",
    layers=80,
    hidden=512,
    ffn=1024,
    heads=8,
    kv_heads=2,
    head_dim=64,
    vocab=100,
    context=64,
)
FUSED: dict[str, Any] = {"kv_heads": 8, "biases": "qkv", "fused_qkv": True}
OTHERS = {
    "a 70B": BIG,
    "a 65B": replace(BIG, kv_heads=8),
    "a 72B": replace(BIG, arch="qwen2", biases="qkv"),
    "80 fused layers": replace(BIG, arch="qwen", **FUSED),
    "no whole blocks": replace(BIG, layers=11, hidden=400, ffn=1000, head_dim=50),
    "tied, no whole super-blocks": replace(BIG, layers=9, hidden=96, ffn=352, tied=True),
    "fused, no whole super-blocks": replace(
        BIG, arch="qwen", layers=9, hidden=480, head_dim=60, **FUSED
    ),
    "one layer": replace(BIG, layers=1),
}


def catalog() -> Iterable[Model]:
    """Return every model that llama.cpp writes or reads with, and its standard variants."""
    for model in load_models().values():
        if model.decoder or model.encoder:
            yield model
            yield from (v for v in standard(model) if not (v.decoder or v.encoder).lowrank)  # type: ignore[union-attr]


NAMES = [model.name for model in catalog()]


def plan(model: Model, kind: Mix) -> tuple[Header, list[Entry]]:
    """Return what would be written; the header is that of a float file with a small vocabulary."""
    if model.decoder:
        small = replace(model.decoder, vocab=10)
        entries = decoders.entries(model.name, model.decoder, kind)
        return decoders.header(model.name, small, mix.F16), entries
    assert model.encoder
    small_encoder = replace(model.encoder, vocab=10)
    entries = encoders.entries(model, model.encoder, kind)
    return encoders.header(model.name, small_encoder, mix.F16), entries


def put_noise(count: int, file: FileIO) -> None:
    file.write(np.random.default_rng(count).standard_normal(count).astype("<f4").tobytes())


def as_float(entry: Entry) -> Entry:
    tensor = entry.tensor
    rows = 1 if len(tensor.shape) == 1 else 2
    shape = tensor.shape if rows == 1 else (tensor.shape[0], rows)
    put = partial(put_noise, rows * tensor.shape[0])
    return Entry(replace(tensor, shape=shape), Type.F32, put)


def quantised(source: Path, kind: Mix) -> dict[str, Type]:
    """Return the format of every tensor, as llama.cpp chooses it."""
    library.begin()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = int(kind.file_type), 1
    target = source.with_name("quantised.gguf")
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params) == 0
    return {tensor.name: tensor.tensor_type for tensor in GGUFReader(target).tensors}


def check(model: Model, folder: Path) -> None:
    source = folder / "float.gguf"
    header, entries = plan(model, mix.F16)
    write(source, header, [as_float(entry) for entry in entries])
    for kind in MIXES:
        ours = {entry.tensor.name: entry.kind for entry in plan(model, kind)[1]}
        assert ours == quantised(source, kind), kind.name


@pytest.mark.parametrize("name", NAMES)
def test_formats_of_the_catalog_are_those_of_llama_cpp(name: str, tmp_path: Path) -> None:
    check(pick(name), tmp_path)


@pytest.mark.parametrize("decoder", OTHERS.values(), ids=OTHERS)
def test_formats_of_other_cards_are_those_of_llama_cpp(decoder: Decoder, tmp_path: Path) -> None:
    check(replace(pick("gpt2"), name="tiny", decoder=decoder), tmp_path)
