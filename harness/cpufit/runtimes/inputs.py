"""Inputs of one-pass models: the same bytes from the same seed, on every machine."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cpufit.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cpufit.schema import Artifact, Input

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_CHUNK = 1 << 16  # elements drawn at once, so that scratch memory stays out of the measured peak
_HALF_RANGE = 4 * (2**16 - 1) / 2  # mean of four 16-bit integers added up
_STD = (4 * (2**32 - 1) / 12) ** 0.5  # and their standard deviation


def shape_of(spec: Input, batch: int) -> tuple[int, ...]:
    """Return the shape of an input with its batch axis, the one named by a string, filled in."""
    return tuple(batch if isinstance(axis, str) else axis for axis in spec.shape)


def bytes_of(inputs: Iterable[Input], batch: int) -> int:
    """Return the size of all inputs together."""
    return sum(math.prod(shape_of(spec, batch)) * _dtype(spec).itemsize for spec in inputs)


def check_batch(inputs: Sequence[Input], batch: int) -> None:
    """Raise UnsupportedError where a batch is asked of a model whose inputs have a fixed one."""
    if batch != 1 and not any(isinstance(axis, str) for spec in inputs for axis in spec.shape):
        shapes = ", ".join(f"{spec.name}{list(spec.shape)}" for spec in inputs)
        raise UnsupportedError(
            f"the model's shapes are fixed ({shapes}), a batch of {batch} does not fit",
            "measure it with batch 1 or export it with an open batch axis",
        )


def advice(artifact: Artifact) -> str:
    """Return what to try where a user's file fails that was given made-up inputs; '' otherwise."""
    if not artifact.as_it_is:
        return ""
    words = []
    guessed = {note.split(":")[0].removeprefix("input ") for note in artifact.notes}
    if sized := next((spec for spec in artifact.inputs if spec.name in guessed), None):
        sizes = "x".join(map(str, shape_of(sized, 1))) + "x" * (len(sized.shape) == 1)
        words.append(f"sizes were guessed: give others, as in --input {sized.name}={sizes}")
    if drawn := next((spec for spec in artifact.inputs if spec.fill.startswith("ids:")), None):
        below = drawn.fill.removeprefix("ids:")
        words.append(
            f"the numbers of input {drawn.name} were drawn below {below}: give such as it gets in "
            f"use, as in --input {drawn.name}=1"
        )
    return "; ".join(words)


def last_resort(artifact: Artifact) -> str:
    """Return what to do with a user's file where nobody knows better; '' for others."""
    return "export it again, or ask the engine's own forum" if artifact.as_it_is else ""


def make_input(spec: Input, batch: int, seed: int) -> Array:
    """Return a C-contiguous array for `spec`: dtype and fill as it says, `shape_of(spec, batch)`.

    'normal' is the sum of four 16-bit uniform integers, centred and scaled to variance 1: bell
    shaped within 3.47 standard deviations, and exact, unlike draws that go through log and sqrt.
    """
    array = np.empty(shape_of(spec, batch), _dtype(spec))
    kind, _, bound = spec.fill.partition(":")
    flat = array.reshape(-1)
    if kind in ("ones", "zeros"):
        flat[:] = kind == "ones"
        return array
    if kind == "values":
        array[...] = _numbers(bound.split(","), array.dtype)
        return array
    bits = np.random.PCG64(_seed(spec.name, seed))
    draw: Callable[[int], Array] = (
        (lambda count: _normal(bits, count))
        if kind == "normal"
        else (lambda count: bits.random_raw(count) % np.uint64(bound))
    )
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        part[:] = draw(part.size)
    return array


def _numbers(words: Sequence[str], dtype: np.dtype[Any]) -> Array:
    """Return numbers as they were written: integers of 64 bits are not exact as floats."""
    whole = dtype.kind in "iub"
    return np.array([int(word) if whole else float(word) for word in words]).astype(dtype)


def _dtype(spec: Input) -> np.dtype[Any]:
    try:
        return np.dtype(spec.dtype)
    except TypeError:
        raise UnsupportedError(
            f"input {spec.name} is {spec.dtype}, which cannot be filled in",
            "export the model with float32, float16 or integer inputs",
        ) from None


def _seed(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{name}/{seed}".encode()).digest()[:8], "little")


def _normal(bits: np.random.PCG64, count: int) -> Array:
    # '<u8' fixes the byte order, hence the split into 16-bit parts, on any machine.
    raw = bits.random_raw(count).astype("<u8", copy=False)
    total: Array = raw.view("<u2").reshape(count, 4).sum(axis=1, dtype=np.float64)
    return (total - _HALF_RANGE) / _STD
