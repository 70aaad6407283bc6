"""The tensors of a decoder in a GGUF file: cut from pools that are rounded once per format."""

from __future__ import annotations

from functools import partial
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType as Type

from cpufit.artifacts.gguf.architectures import check, describe, is_70b, rotates_neighbours
from cpufit.artifacts.gguf.formats import rounded, stored_bytes
from cpufit.artifacts.gguf.mix import type_of
from cpufit.artifacts.gguf.write import Entry, Header
from cpufit.artifacts.stream import cut
from cpufit.networks.decoder import pools
from cpufit.networks.decoder.rope import factors
from cpufit.networks.decoder.tensors import Tensor, tensors

if TYPE_CHECKING:
    from io import FileIO

    from cpufit.artifacts.gguf.kquants import Bytes
    from cpufit.artifacts.gguf.mix import Mix
    from cpufit.schema.shapes import Decoder


def header(name: str, decoder: Decoder, mix: Mix) -> Header:
    """Return the header; raise where llama.cpp has no such architecture."""
    check(decoder)
    return Header(decoder.arch, name, mix, decoder.vocab, partial(describe, decoder))


def entries(name: str, decoder: Decoder, mix: Mix) -> list[Entry]:
    """Return the tensors in file order; `name` seeds the weights."""
    rounding = _Rounding(name)
    kind_of = partial(
        type_of, mix=mix, layers=decoder.layers, tied=decoder.tied, is_70b=is_70b(decoder)
    )
    found = []
    for tensor in tensors(decoder):
        kind = kind_of(tensor)
        if rotates_neighbours(decoder) and tensor.role in ("attn_q", "attn_k"):
            put = partial(rounding.put_interleaved, tensor, kind, decoder.head_dim)
        else:
            put = partial(rounding.put, tensor, kind)
        found.append(Entry(tensor, kind, put))
    if decoder.rope_scaling:
        found.append(_frequency_factors(decoder))
    return found


class _Rounding:
    """The pools of a model, rounded to each format when it is first wanted."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._found: dict[tuple[str, int, Type], Bytes] = {}

    def put(self, tensor: Tensor, kind: Type, file: FileIO) -> None:
        begin = stored_bytes(pools.start(self._model, tensor) * pools.UNIT, kind)
        length = stored_bytes(tensor.parameters, kind)
        cut(file, self._pool(tensor, kind).data, begin, length)

    def put_interleaved(self, tensor: Tensor, kind: Type, head_dim: int, file: FileIO) -> None:
        """Write row j + p * head_dim/2 of every head as its row 2j + p."""
        width, outputs = tensor.shape
        piece = gcd(width, pools.UNIT)  # weights: whole blocks that rows and pool consist of
        pieces = self._pool(tensor, kind).reshape(-1, stored_bytes(piece, kind))
        rows = np.arange(outputs).reshape(-1, 2, head_dim // 2).swapaxes(1, 2).reshape(-1, 1)
        row_pieces = width // piece
        first = pools.start(self._model, tensor) * (pools.UNIT // piece)
        places = first + rows * row_pieces + np.arange(row_pieces)
        taken = pieces[places % len(pieces)].reshape(-1)
        cut(file, taken.data, 0, len(taken))

    def _pool(self, tensor: Tensor, kind: Type) -> Bytes:
        key = (*pools.key(tensor), kind)
        if key not in self._found:
            weights = pools.pool(self._model, *pools.key(tensor))
            self._found[key] = rounded(weights.reshape(-1, pools.UNIT), kind)
        return self._found[key]


def _frequency_factors(decoder: Decoder) -> Entry:
    """Return what llama.cpp divides the frequencies by; no learned weights."""
    data = factors(decoder).astype("<f4").tobytes()
    tensor = Tensor("rope_freqs", "weight", (decoder.head_dim // 2,))

    def put(file: FileIO) -> None:
        file.write(data)

    return Entry(tensor, Type.F32, put)
