"""Fill in what a model file leaves open: the sizes of its inputs and what goes into them.

Every guess is a note that travels with the result, since it decides what was measured.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from cpufit.errors import DataError
from cpufit.schema import Input

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cpufit.schema import Family

BATCH = "batch"
_BATCH_NAME = re.compile(r"batch|^n$|^b$|^bs$", re.IGNORECASE)
_SEQUENCE_NAME = re.compile(r"seq|len|time|token", re.IGNORECASE)
_IDS_NAME = re.compile(r"(^|_)ids$|tokens?$", re.IGNORECASE)
_IMAGE_AXES = 4
_IMAGE_SIZE = 224
_SEQUENCE = 128
_CHANNELS = (1, 3, 4)


def family_of(looks: bool, names: Iterable[str]) -> Family:
    """Return what kind of model has inputs of these names, one of them a picture if it `looks`."""
    reads = any(_IDS_NAME.search(name) for name in names)
    if looks:
        return "multimodal" if reads else "vision"
    return "encoder" if reads else "own"


def describe_input(
    name: str,
    dtype: str,
    axes: tuple[int | str, ...],
    rows: int,
    sample: tuple[int, ...],
    channels: tuple[int, int] | None = None,
) -> tuple[Input, tuple[str, ...]]:
    """Return the input with every axis settled, and a note for each size that was guessed.

    `axes` holds a number or, for an open axis, its name in the file ('' for none); `rows` the
    height of the embedding table the input indexes, 0 for none; `sample` the shape to measure,
    aligned to the right, where a model card gives it; `channels` the axis of an image's channels
    and how many the model takes, where it shows that. Raises DataError where the file's own axes
    contradict it.
    """
    _check_layout(name, axes, channels)
    batch = _batch_axis(axes)
    given = (0,) * (len(axes) - len(sample)) + sample[max(0, len(sample) - len(axes)) :]
    shape: list[int | str] = []
    notes: list[str] = []
    for place, axis in enumerate(axes):
        if isinstance(axis, int):
            shape.append(axis)
        elif place == batch:
            shape.append(BATCH)
        elif given[place]:
            shape.append(given[place])
        else:
            size = _guess(axes, place, channels)
            shape.append(size)
            title = f"axis {place}" + (f" ({axis})" if axis else "")
            notes.append(f"input {name}: {title} is open in the file, measured at {size}")
    spec = Input(name=name, dtype=dtype, shape=tuple(shape), fill=_fill(name, dtype, rows))
    return spec, tuple(notes)


def _batch_axis(axes: tuple[int | str, ...]) -> int:
    """Return which open axis is the batch: one called so, else the first; -1 for none."""
    for place, axis in enumerate(axes):
        if isinstance(axis, str) and _BATCH_NAME.search(axis):
            return place
    first = axes[0] if axes else 1
    return 0 if isinstance(first, str) and not _SEQUENCE_NAME.search(first) else -1


def _check_layout(name: str, axes: tuple[int | str, ...], channels: tuple[int, int] | None) -> None:
    if channels is None or len(axes) != _IMAGE_AXES:
        return
    place, count = channels
    if isinstance(axes[place], int) and axes[place] != count:
        shape = " x ".join(str(axis or "?") for axis in axes)
        raise DataError(
            f"input {name} is {shape}, but the model takes its channels from axis {place}: {count}",
            "export the model with that layout, or with a Transpose before the convolution",
        )


def _guess(axes: tuple[int | str, ...], place: int, channels: tuple[int, int] | None) -> int:
    if channels and len(axes) == _IMAGE_AXES:
        return channels[1] if place == channels[0] else _IMAGE_SIZE
    if _SEQUENCE_NAME.search(str(axes[place])):
        return _SEQUENCE
    if len(axes) == _IMAGE_AXES:
        last = axes[3] in _CHANNELS and axes[1] not in _CHANNELS
        return 3 if place == (3 if last else 1) else _IMAGE_SIZE
    return _SEQUENCE if len(axes) in (2, 3) and place == 1 else 1


def _fill(name: str, dtype: str, rows: int) -> str:
    if dtype == "bool" or (not _is_float(dtype) and "mask" in name.lower()):
        return "ones"
    if _is_float(dtype):
        return "normal"
    if "type" in name.lower():
        return "zeros"
    return f"ids:{rows or (256 if dtype == 'uint8' else 2)}"


def _is_float(dtype: str) -> bool:
    # Not numpy's own kinds: bfloat16 and its like are registered by ml_dtypes as kind 'V'.
    return "float" in dtype and (dtype.startswith("bfloat") or np.dtype(dtype).kind == "f")
