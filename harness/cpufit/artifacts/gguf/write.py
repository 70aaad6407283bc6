"""Write a GGUF file: header and metadata through the gguf package, data straight from the pools."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import gguf
import numpy as np

from cpufit.artifacts.gguf.blocks import POOL_BLOCKS, block_bytes, pool
from cpufit.artifacts.gguf.layout import tensors
from cpufit.artifacts.gguf.mix import stored_bytes, type_of

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from cpufit.artifacts.gguf.layout import Tensor
    from cpufit.artifacts.gguf.mix import Mix
    from cpufit.schema import Decoder

_ALIGNMENT = gguf.GGUF_DEFAULT_ALIGNMENT
_QUANTIZATION_VERSION = 2
_ANY = np.dtype(np.float32)  # the writer wants one and ignores it where raw_dtype is given


def write(file: Path, name: str, decoder: Decoder, mix: Mix) -> None:
    """Write a model of random weights; memory holds the pools and never a tensor.

    `name` seeds the weights and is stored as general.name. Raises OSError where the disk is full.
    """
    plan = [(tensor, type_of(tensor, mix, decoder)) for tensor in tensors(decoder)]
    _write_header(file, name, decoder, mix, plan)
    pools: dict[tuple[gguf.GGMLQuantizationType, str, int], memoryview] = {}
    with file.open("ab", buffering=0) as opened:
        _pad(opened)
        for tensor, kind in plan:
            key = (kind, *_role(tensor))
            if key not in pools:
                pools[key] = pool(*key, seed=name)
            _write_data(opened, pools[key], f"{name}/{tensor.name}", tensor, kind)
            _pad(opened)


def estimate(decoder: Decoder, mix: Mix) -> int:
    """Return the size of the file `write` would write, to a few bytes per tensor."""
    plan = tensors(decoder)
    data = sum(stored_bytes(tensor, type_of(tensor, mix, decoder)) for tensor in plan)
    return data + 100 * len(plan)


def _role(tensor: Tensor) -> tuple[str, int]:
    """Return what decides a tensor's distribution: its kind of weight and its fan-in."""
    if tensor.role.endswith("_norm"):
        return "norm", 1
    return tensor.suffix, tensor.shape[0]


def _write_header(
    file: Path,
    name: str,
    decoder: Decoder,
    mix: Mix,
    plan: list[tuple[Tensor, gguf.GGMLQuantizationType]],
) -> None:
    writer = gguf.GGUFWriter(file, decoder.arch)
    _add_metadata(writer, name, decoder, mix)
    for tensor, kind in plan:
        shape = tuple(reversed(tensor.shape))
        size = stored_bytes(tensor, kind)
        writer.add_tensor_info(tensor.name, shape, _ANY, size, raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()


def _add_metadata(writer: gguf.GGUFWriter, name: str, decoder: Decoder, mix: Mix) -> None:
    writer.add_name(name)
    writer.add_description("synthetic: published architecture, random weights")
    writer.add_file_type(mix.file_type)
    writer.add_quantization_version(_QUANTIZATION_VERSION)
    writer.add_context_length(decoder.context)
    writer.add_embedding_length(decoder.hidden)
    writer.add_block_count(decoder.layers)
    writer.add_feed_forward_length(decoder.ffn)
    writer.add_head_count(decoder.heads)
    writer.add_head_count_kv(decoder.kv_heads)
    writer.add_key_length(decoder.head_dim)
    writer.add_value_length(decoder.head_dim)
    writer.add_rope_dimension_count(decoder.head_dim)
    writer.add_rope_freq_base(decoder.rope_base)
    writer.add_layer_norm_rms_eps(decoder.norm_eps)
    # No tokenizer: prompts are token ids. llama.cpp then reads the vocabulary's size from here.
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(decoder.vocab)


def _write_data(
    file: FileIO, source: memoryview, seed: str, tensor: Tensor, kind: gguf.GGMLQuantizationType
) -> None:
    """Copy the tensor's bytes out of its pool, from a block of its own on, round and round."""
    draw = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    start = draw % POOL_BLOCKS * block_bytes(kind)
    left = stored_bytes(tensor, kind)
    while left:
        piece = source[start : start + left]
        written = file.write(piece)
        left -= written
        start = (start + written) % len(source)


def _pad(file: FileIO) -> None:
    file.write(bytes(-file.tell() % _ALIGNMENT))
