"""Write a GGUF file: the header through the gguf package, the data straight from where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gguf
import numpy as np

from cpufit.artifacts.gguf.formats import stored_bytes
from cpufit.artifacts.stream import pad

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from io import FileIO
    from pathlib import Path

    from cpufit.artifacts.gguf.mix import Mix
    from cpufit.networks.decoder.tensors import Tensor

_ALIGNMENT = gguf.GGUF_DEFAULT_ALIGNMENT
_QUANTIZATION_VERSION = 2
_ANY = np.dtype(np.float32)  # the writer wants one and ignores it where raw_dtype is given
_TOKEN_BYTES = 18  # of a token in the header: a length of 8 bytes and a short name


@dataclass(frozen=True)
class Entry:
    """A tensor of a file: its number format, and what writes its data to an unbuffered file."""

    tensor: Tensor
    kind: gguf.GGMLQuantizationType
    put: Callable[[FileIO], None]


@dataclass(frozen=True)
class Header:
    """What a file says of itself; `describe` adds the keys of the architecture."""

    arch: str
    name: str
    mix: Mix
    vocab: int  # 0 for what has none
    describe: Callable[[gguf.GGUFWriter], None]


def write(file: Path, header: Header, entries: Sequence[Entry]) -> None:
    """Write the file, one tensor after another. Raises OSError where the disk is full."""
    _write_header(file, header, entries)
    with file.open("ab", buffering=0) as opened:
        pad(opened, _ALIGNMENT)
        for entry in entries:
            entry.put(opened)
            pad(opened, _ALIGNMENT)


def file_bytes(entries: Sequence[Entry], vocab: int) -> int:
    """Return the size of the file `write` would write, to a few bytes per tensor and token."""
    data = sum(stored_bytes(entry.tensor.parameters, entry.kind) for entry in entries)
    return data + 100 * len(entries) + _TOKEN_BYTES * vocab


def _write_header(file: Path, header: Header, entries: Sequence[Entry]) -> None:
    writer = gguf.GGUFWriter(file, header.arch)
    # No general.name: llama.cpp looks into it for models whose tokens it knows.
    writer.add_description(f"{header.name}: published architecture, synthetic weights")
    writer.add_file_type(header.mix.file_type)
    writer.add_quantization_version(_QUANTIZATION_VERSION)
    header.describe(writer)
    if header.vocab:
        # llama.cpp's tokenizer for tests takes any text and any vocabulary: five bytes become one
        # token by their hash. It has no token that ends a text.
        writer.add_tokenizer_model("test")
        writer.add_token_list([f"tok_{i}" for i in range(header.vocab)])
    for entry in entries:
        shape = tuple(reversed(entry.tensor.shape))
        size = stored_bytes(entry.tensor.parameters, entry.kind)
        writer.add_tensor_info(entry.tensor.name, shape, _ANY, size, raw_dtype=entry.kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
