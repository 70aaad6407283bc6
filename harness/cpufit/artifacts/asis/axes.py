"""Fill in what a model file leaves open: the sizes of its inputs and what goes into them.

Every guess is a note that travels with the result, since it decides what was measured. What the
user gives (`given.py`) is no guess.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cpufit.errors import DataError, UnsupportedError, UsageError
from cpufit.given import Given, read
from cpufit.schema import Input
from cpufit.units import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cpufit.artifacts.base import Guessed
    from cpufit.schema import Family, Model

    Axes = tuple[int | str, ...]
    Place = tuple[int, int]  # which input, which of its axes

BATCH = "batch"
_BATCH_NAME = re.compile(r"batch|^n$|^b$|^bs$", re.IGNORECASE)
_NAME = re.compile(r"(?!None)[A-Za-z]")  # and not '?', which an exporter writes for any
_SEQUENCE_NAME = re.compile(r"seq|len|time|token", re.IGNORECASE)
_IDS_NAME = re.compile(r"(^|_)ids$|tokens?$", re.IGNORECASE)
_IMAGE_AXES = 4
_CHANNELS = (1, 3, 4)
_LINE = 64  # pixels a picture is high at most that shows a line of text
_LINE_WIDTH = 320
_SOUND_NAME = re.compile(r"wav|audio|sample|pcm|signal", re.IGNORECASE)
_SOUND = 16_000  # samples: a second


def family_of(looks: bool, names: Iterable[str]) -> Family:
    """Return what kind of model has inputs of these names, one of them a picture if it `looks`."""
    reads = any(_IDS_NAME.search(name) for name in names)
    if looks:
        return "multimodal" if reads else "vision"
    return "encoder" if reads else "own"


@dataclass(frozen=True)
class Guess:
    """What to take for sizes of which a file says nothing."""

    picture: tuple[int, int] = (224, 224)  # height and width, where both are open
    sequence: int = 128


# The usual first; the others are for graphs that it does not fit.
GUESSES = (
    Guess(),
    *(Guess(picture=size) for size in ((48, 320), (32, 320), (640, 640))),
    *(Guess(sequence=length) for length in (_SOUND, 77, 64, 32, 16)),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """An input as its file describes it."""

    name: str
    dtype: str  # numpy's name
    axes: Axes  # a number or, for an open axis, its name in the file, '' for none
    rows: int = 0  # of the smallest table its numbers look up; 0 for none
    channels: tuple[int, int] | None = None  # axis of a picture's channels, and their number
    steers: tuple[str, ...] = ()  # operators whose amount of work its numbers decide


def describe(
    found: Sequence[Found],
    given: Sequence[Given] = (),
    sample: tuple[int, ...] = (),
    guess: Guess = GUESSES[0],
) -> tuple[tuple[Input, ...], tuple[str, ...]]:
    """Return the inputs with every axis settled, and a note for each thing that was guessed.

    `sample` is the shape to measure, aligned to the right, where a model card gives it. Raises
    UsageError for what is given and cannot be so, DataError where the file's axes contradict it.
    """
    said = _said(found, given)
    for one in found:
        _check_layout(one)
        if 0 in one.axes:
            raise UnsupportedError(
                f"input {one.name} is {' x '.join(map(str, one.axes))}, which holds nothing",
                "export the model with an input that does",
            )
    sizes = _given_sizes(found, said)
    batches = _batch_axes(found, sizes)
    inputs, notes = [], []
    guesses = _guesses(found, sizes, batches, sample, guess)
    for which, one in enumerate(found):
        shape: list[int | str] = []
        for place, axis in enumerate(one.axes):
            where = (which, place)
            if isinstance(axis, int):
                shape.append(axis)
            elif where in batches:
                shape.append(BATCH)
            else:
                size, sure = guesses[where]
                shape.append(size)
                notes += [] if sure else [_guessed(one, place, size)]
        fill, drawn = _fill(one, said[which], shape)
        inputs.append(Input(name=one.name, dtype=one.dtype, shape=tuple(shape), fill=fill))
        notes += [_steering(one, drawn)] if drawn and one.steers else []
    return tuple(inputs), tuple(notes)


def described(found: Sequence[Found], model: Model) -> list[Guessed]:
    """Return the inputs as `describe` does: by the usual guess, then by the others that differ."""
    sample = model.real.sample_shape if model.real else ()
    given = read(model.inputs)
    every = dict(describe(found, given, sample, guess) for guess in GUESSES)
    return list(every.items())


def may_steer(dtype: str, axes: Axes) -> bool:
    """Whether the numbers of an input may decide what is computed; pictures and sounds do not."""
    return not _is_float(dtype) or all(axis == 1 for axis in axes)


# ------------------------------------------------------------------------------- what is given
def _said(found: Sequence[Found], given: Sequence[Given]) -> list[Given]:
    """Return what is given of each input; raise UsageError for what cannot be of it."""
    names = [one.name for one in found]
    for words in given:
        if words.name not in names:
            known = ", ".join(names) or "none"
            raise UsageError(f"--input: the model has no input {words.name!r}", f"it has {known}")
    by_name = {one.name: one for one in given}
    said = [by_name.get(one.name, Given(one.name)) for one in found]
    for one, words in zip(found, said, strict=True):
        _check_sizes(one, words)
        _check_values(one, words)
    return said


def _check_sizes(one: Found, words: Given) -> None:
    if not words.sizes:
        return
    shape = _written(one.axes)
    if len(words.sizes) != len(one.axes):
        raise UsageError(
            f"--input {words.words[0]}: {one.name} has {len(one.axes)} axes ({shape})",
            f"give {len(one.axes)} sizes" if one.axes else "give a value only",
        )
    for axis, size in zip(one.axes, words.sizes, strict=True):
        if isinstance(axis, int) and axis != size:
            raise UsageError(
                f"--input {words.words[0]}: {one.name} is {shape} in the file, {axis} is fixed",
                f"give {axis} there",
            )


def _check_values(one: Found, words: Given) -> None:
    if not words.values:
        return
    what = f"--input {words.words[-1]}"
    for text in words.values:
        if not _holds(one.dtype, text):
            raise UsageError(f"{what}: {one.name} is {one.dtype}", f"{text} is none: give another")
    last = words.sizes[-1] if words.sizes else one.axes[-1] if one.axes else 1
    count = len(words.values)
    if count > 1 and isinstance(last, int) and last != count:
        raise UsageError(
            f"{what}: {count} values, but the last axis of {one.name} ({_written(one.axes)}) "
            f"takes {last}",
            f"give one value for all, or {last}",
        )


def _holds(dtype: str, text: str) -> bool:
    """Whether a number of that type can be this one."""
    if _is_float(dtype):
        return True
    try:
        value = int(text)
    except ValueError:
        return False
    if dtype == "bool":
        return value in (0, 1)
    limits = np.iinfo(np.dtype(dtype))
    return bool(limits.min <= value <= limits.max)


def _given_sizes(found: Sequence[Found], said: Sequence[Given]) -> dict[Place, int]:
    """Return the sizes given to open axes, to all of a name together.

    Raises UsageError where one name is given two.
    """
    sizes: dict[Place, int] = {}
    for which, (one, words) in enumerate(zip(found, said, strict=True)):
        for place, size in enumerate(words.sizes):
            sizes[which, place] = size
        if len(words.values) > 1 and one.axes and not isinstance(one.axes[-1], int):
            sizes[which, len(one.axes) - 1] = len(words.values)
    for name, places in _by_name(found).items():
        asked = {place: sizes[place] for place in places if place in sizes}
        if len({which for which, _ in asked}) < len(set(asked.values())):
            continue  # some exporters give one name to axes that differ
        if len(set(asked.values())) > 1:
            every = [f"{size} in {found[which].name}" for (which, _), size in asked.items()]
            raise UsageError(
                f"--input: axis {name} is {listed(every)}", "it has one size in all inputs"
            )
        sizes |= {place: size for size in asked.values() for place in places}
    return sizes


# -------------------------------------------------------------------------------- open axes
def _by_name(found: Sequence[Found]) -> dict[str, list[Place]]:
    """Return where each name of an open axis stands."""
    names: dict[str, list[Place]] = defaultdict(list)
    for which, one in enumerate(found):
        for place, axis in enumerate(one.axes):
            if isinstance(axis, str) and _NAME.search(axis):
                names[axis].append((which, place))
    return names


def _batch_axes(found: Sequence[Found], sizes: Mapping[Place, int]) -> set[Place]:
    """Return which open axes are the batch: those called so, else the first ones.

    A name is the batch in all inputs or in none: one that stands elsewhere too is another size.
    """
    names = _by_name(found)
    called = {name for name in names if _BATCH_NAME.search(name)}
    batches = {place for name in called for place in names[name]}
    for which, one in enumerate(found):
        first = one.axes[0] if one.axes else 1
        if isinstance(first, int) or any((which, n) in batches for n in range(len(one.axes))):
            continue
        everywhere = all(place == 0 for _, place in names.get(first, ()))
        if everywhere and not _SEQUENCE_NAME.search(first) and not (called and first):
            batches.add((which, 0))
    return {place for place in batches if sizes.get(place, 1) == 1}


def _guesses(
    found: Sequence[Found],
    sizes: Mapping[Place, int],
    batches: set[Place],
    sample: tuple[int, ...],
    guess: Guess,
) -> dict[Place, tuple[int, bool]]:
    """Return the size of every open axis that is no batch, and whether it is more than a guess."""
    guesses: dict[Place, tuple[int, bool]] = {}
    for which, one in enumerate(found):
        told = (0,) * (len(one.axes) - len(sample)) + sample[max(0, len(sample) - len(one.axes)) :]
        for place, axis in enumerate(one.axes):
            where = (which, place)
            if isinstance(axis, str) and where not in batches:
                sure = sizes.get(where) or told[place]
                guesses[where] = (sure or _guess(one, place, guess), bool(sure))
    for places in _by_name(found).values():
        mine = [guesses[place] for place in places if place in guesses]
        best = max(mine, key=lambda guess: (guess[1], guess[0]), default=(0, False))
        guesses |= {place: best for place in places if place in guesses}
    return guesses


def _guess(one: Found, place: int, guess: Guess) -> int:
    axes = one.axes
    if _SEQUENCE_NAME.search(str(axes[place])) and not one.channels:
        return guess.sequence
    if len(axes) == _IMAGE_AXES and place:
        last = axes[3] in _CHANNELS and axes[1] not in _CHANNELS
        of, count = one.channels or (3 if last else 1, 3)
        return count if place == of else _side(axes, of, place, guess.picture)
    if place and place == len(axes) - 1 and _is_sound(one):
        return _SOUND
    return guess.sequence if len(axes) in (2, 3) and place == 1 else 1


def _is_sound(one: Found) -> bool:
    return _is_float(one.dtype) and bool(_SOUND_NAME.search(f"{one.name} {one.axes[-1]}"))


def _side(axes: Axes, channels: int, place: int, picture: tuple[int, int]) -> int:
    """Return the height or width of a picture: as the other one asks where that is fixed."""
    high, wide = (axis for at, axis in enumerate(axes) if at and at != channels)
    at = [n for n in range(1, _IMAGE_AXES) if n != channels].index(place)
    if isinstance(high, int) and at == 1:
        return _LINE_WIDTH if high <= _LINE else high
    if isinstance(wide, int) and at == 0:
        return wide
    return picture[at]


def _guessed(one: Found, place: int, size: int) -> str:
    axis = one.axes[place]
    title = f"axis {place}" + (f" ({axis})" if axis else "")
    return f"input {one.name}: {title} is open in the file, measured at {size}"


def _check_layout(one: Found) -> None:
    if one.channels is None or len(one.axes) != _IMAGE_AXES:
        return
    place, count = one.channels
    if isinstance(one.axes[place], int) and one.axes[place] != count:
        raise DataError(
            f"input {one.name} is {_written(one.axes)}, but the model takes its channels from "
            f"axis {place}: {count}",
            "export the model with that layout, or with a Transpose before the convolution",
        )


def _written(axes: Axes) -> str:
    return " x ".join(str(axis or "?") for axis in axes) or "a single number"


# -------------------------------------------------------------------------------- what goes in
def _fill(one: Found, words: Given, shape: Sequence[int | str]) -> tuple[str, str]:
    """Return what goes into an input, and in words what was made up; '' where nothing was."""
    if words.values:
        return f"values:{','.join(words.values)}", ""
    masks = "mask" in one.name.lower()
    if _is_float(one.dtype) and not one.rows:
        single = math.prod(1 if axis == BATCH else int(axis) for axis in shape) == 1
        return "normal", "a random number" if single else ""
    if one.dtype == "bool" or masks:
        return "ones", "1"
    if "type" in one.name.lower():
        return "zeros", "0"
    if one.steers and not one.rows:
        return "ones", "1"  # drawn anew in every process it would steer each elsewhere
    limit = one.rows or (256 if one.dtype == "uint8" else 2)
    return f"ids:{limit}", f"numbers drawn below {limit}"


def _steering(one: Found, drawn: str) -> str:
    size = "VALUE" if not one.axes else "VALUES"
    return (
        f"input {one.name} decides how much {listed(one.steers)} computes, and was filled with "
        f"{drawn}: give it what it is in use with --input {one.name}={size}"
    )


def _is_float(dtype: str) -> bool:
    # Not numpy's own kinds: bfloat16 and its like are registered by ml_dtypes as kind 'V'.
    return "float" in dtype and (dtype.startswith("bfloat") or np.dtype(dtype).kind == "f")
