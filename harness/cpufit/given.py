"""What a user says of a model file's inputs: 'sr=16000' (values), 'x=1x3x48x320' (sizes). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cpufit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

JOINED = "&"  # between words, in the name of a cell
_SIZES = re.compile(r"\d+(x\d+)+|\d+x")  # of one axis '128x', since '128' is a value
_LARGEST = 2**31 - 1
_EXAMPLE = "write --input NAME=16000 for a value, --input NAME=1x3x48x320 for sizes"


@dataclass(frozen=True)
class Given:
    """What is said of one input; what is empty is left to cpufit."""

    name: str
    sizes: tuple[int, ...] = ()  # of all its axes
    values: tuple[str, ...] = ()  # along the last axis, and the same along all others

    @property
    def words(self) -> tuple[str, ...]:
        """The words that say so."""
        parts = ("x".join(map(str, self.sizes)), ",".join(self.values))
        alone = "x" if len(self.sizes) == 1 else ""
        found = (parts[0] + alone if parts[0] else "", parts[1])
        return tuple(f"{self.name}={part}" for part in found if part)


def parse(words: Iterable[str]) -> tuple[Given, ...]:
    """Read words, by the inputs' names in order; an input may have both, sizes and values.

    Raises UsageError for what makes no sense.
    """
    found: dict[str, Given] = {}
    for word in words:
        one = _one(word)
        before = found.get(one.name, Given(one.name))
        if (one.sizes and before.sizes) or (one.values and before.values):
            raise UsageError(f"--input says twice what {one.name} is", "leave one of them away")
        found[one.name] = replace(
            before, sizes=one.sizes or before.sizes, values=one.values or before.values
        )
    return tuple(found[name] for name in sorted(found))


def told(words: Iterable[str]) -> str:
    """Return the same as one text, the same for what means the same; '' for nothing."""
    return JOINED.join(word for one in parse(words) for word in one.words)


def read(text: str) -> tuple[Given, ...]:
    """Read what `told` returned."""
    return parse(text.split(JOINED)) if text else ()


def _one(word: str) -> Given:
    name, sign, text = word.rpartition("=")
    if not sign:
        raise UsageError(f"--input {word!r} names no input", f"{_EXAMPLE}, after all files")
    if not name or JOINED in name:
        raise UsageError(f"--input {word!r} names no input", _EXAMPLE)
    if _SIZES.fullmatch(text):
        sizes = tuple(int(part) for part in text.split("x") if part)
        if not all(1 <= size <= _LARGEST for size in sizes):
            raise UsageError(f"--input {word!r}: a size is out of range", f"give 1 to {_LARGEST}")
        return Given(name, sizes=sizes)
    return Given(name, values=tuple(_value(part, word) for part in text.split(",")))


def _value(text: str, word: str) -> str:
    """Return a number as Python writes it, so that the same number is the same text."""
    for kind in (int, float):
        try:
            return repr(kind(text))
        except ValueError:
            continue
    raise UsageError(f"--input {word!r}: {text!r} is not a number", _EXAMPLE)
