"""How each precision stores a decoder's tensors as OpenVINO constants, and the bytes of those.

A matrix is one constant of floats, or the codes, zero points and scales that optimum-intel's
`--weight-format int8` and `int4` leave, by NNCF: u8 with a zero point and a scale per output, u4
with those per group of 128 inputs, embeddings and head in u8. Where 128 does not divide the inputs,
that command stops and asks for a smaller group; here the largest power of two is taken that does,
as by `--group-size-fallback adjust`. Vectors are float32.

For some checkpoints, by name, optimum-intel has other settings (`_DEFAULT_4BIT_WQ_CONFIGS`): groups
of 64, symmetric codes, some layers in int8. They keep that checkpoint's accuracy, of which random
weights tell nothing; every model here has the general ones.

The KV cache has the type that Hugging Face's exporter asks for, f16 beside float weights, else the
u8 that OpenVINO's CPU plugin takes by default (optimum-intel pull request 1043); fp32 is f32
throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cpufit.artifacts.rounding import asymmetric
from cpufit.networks.decoder import pools

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from cpufit.networks.decoder.pools import Floats
    from cpufit.networks.decoder.tensors import Tensor
    from cpufit.precisions import Precision
    from cpufit.schema.shapes import Decoder

Element = Literal["f32", "f16", "bf16", "u8", "u4"]
Part = Literal["", "/zero_point", "/scale"]

_BITS: dict[Element, int] = {"f32": 32, "f16": 16, "bf16": 16, "u8": 8, "u4": 4}
_FLOATS: dict[Precision, Element] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
_INT8_ROLES = ("token_embd", "position_embd", "output")
_GROUPS = (128, 64, 32)  # of int4: the first that divides the inputs; where none does, int8
_CACHES: dict[Precision, str] = {"fp32": "f32", "fp16": "f16", "bf16": "f16"}
_TITLES: dict[Precision, str] = {
    "fp32": "FP32",
    "fp16": "FP16",
    "bf16": "BF16",
    "int8": "INT8 asymmetric, per output channel",
}


@dataclass(frozen=True)
class Constant:
    """One constant of a stored tensor: its numbers or codes, their zero points or scales."""

    tensor: Tensor
    element: Element
    shape: tuple[int, ...]  # in C order
    bits: int = 0  # of the codes; 0: plain numbers
    group: int = 0  # weights that share a zero point and a scale
    part: Part = ""

    @property
    def name(self) -> str:
        """The name of its node in the graph: 'blk.0.attn_q.weight/scale'."""
        return self.tensor.name + self.part

    @property
    def size_bytes(self) -> int:
        """The bytes it takes in the file."""
        return -(-prod(self.shape) * _BITS[self.element] // 8)

    def source(self, model: str) -> tuple[memoryview, int]:
        """Return the bytes it is cut from, round and round, and the byte at which it begins."""
        key = pools.key(self.tensor)
        if self.bits:
            encoded = _rounded(model, key, self.bits, self.group)[self.part]
        else:
            encoded = _plain(model, key, self.element)
        return encoded, pools.start(model, self.tensor) * (len(encoded) // pools.UNITS)


def constants(tensor: Tensor, precision: Precision) -> tuple[Constant, ...]:
    """Return what a tensor is stored in: its numbers, or its codes and their scales."""
    shape = tuple(reversed(tensor.shape))
    if len(shape) == 1:
        return (Constant(tensor, "f32", shape),)
    if precision in _FLOATS:
        return (Constant(tensor, _FLOATS[precision], shape),)
    outputs, inputs = shape
    group = next((size for size in _GROUPS if inputs % size == 0), 0)
    if precision == "int8" or tensor.role in _INT8_ROLES or not group:
        # One pool makes all rows: its zero point and scale serve each, the scale a tenth or two
        # wider than a row's own.
        return _quantised(tensor, "u8", shape, pools.SIZE)
    return _quantised(tensor, "u4", (outputs, inputs // group, group), group)


def title(precision: Precision, weights: Iterable[Constant]) -> str:
    """Return the exact number format: 'INT4 asymmetric, group 128, embeddings and head INT8'."""
    if precision in _TITLES:
        return _TITLES[precision]
    groups = sorted({c.group for c in weights if c.element == "u4"}, reverse=True)
    sizes = " and ".join(str(group) for group in groups)
    return f"INT4 asymmetric, group {sizes}, embeddings and head INT8"


def cache_type(precision: Precision) -> str:
    """Return the element type of the KV cache: 'f32', 'f16', or 'u8'."""
    return _CACHES.get(precision, "u8")


def cache_bytes(decoder: Decoder, precision: Precision) -> int:
    """Return what one token of one sequence takes in the caches of all layers.

    A head's u8 numbers have a float32 scale and offset. Each cache has one int32 to find a token's
    sequence by. Source: `nodes/memory.cpp` and `nodes/scaled_attn.cpp` of OpenVINO's CPU plugin.
    """
    size = {"f32": 4, "f16": 2, "u8": 1}[cache_type(precision)]
    head = decoder.head_dim * size + (8 if cache_type(precision) == "u8" else 0)
    return 2 * decoder.layers * (decoder.kv_heads * head + 4)


def _quantised(
    tensor: Tensor, element: Element, shape: tuple[int, ...], group: int
) -> tuple[Constant, ...]:
    bits, groups = _BITS[element], (*shape[:-1], 1)
    return (
        Constant(tensor, element, shape, bits, group),
        Constant(tensor, element, groups, bits, group, "/zero_point"),
        Constant(tensor, "f16", groups, bits, group, "/scale"),
    )


@lru_cache(maxsize=16)
def _plain(model: str, key: tuple[str, int], element: Element) -> memoryview:
    """Encode the numbers of a whole pool: equally many bytes for each of its units."""
    return _bytes(_floats(pools.pool(model, *key), element))


@lru_cache(maxsize=16)
def _rounded(model: str, key: tuple[str, int], bits: int, group: int) -> dict[Part, memoryview]:
    """Encode codes, zero points and scales of a pool: each equally many bytes a unit."""
    codes, zeros, scales = asymmetric(pools.pool(model, *key), group, bits)
    groups = max(scales.size, pools.UNITS)
    zeros, halves = np.resize(zeros, groups), np.resize(scales.astype("<f2"), groups)
    if bits == 4:
        codes, zeros = _pairs(codes), _pairs(zeros)
    return {"": _bytes(codes), "/zero_point": _bytes(zeros), "/scale": _bytes(halves)}


def _floats(values: Floats, element: Element) -> NDArray[Any]:
    if element == "bf16":  # the upper half of a float32, to the nearest even
        raw = values.view("<u4")
        rounded: NDArray[Any] = (raw + 0x7FFF + (raw >> 16 & 1)) >> 16
        return rounded.astype("<u2")
    return values.astype("<f4" if element == "f32" else "<f2")


def _pairs(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack two 4-bit codes in a byte, the first in its lower half."""
    packed: NDArray[np.uint8] = codes[0::2] | codes[1::2] << np.uint8(4)
    return packed


def _bytes(values: NDArray[Any]) -> memoryview:
    return memoryview(values.tobytes())
