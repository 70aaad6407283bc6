"""Where the numbers of a model's input end up: which tables they look up, and what they steer.

Neutral of formats: a graph is what reads each of its values. Pure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Use:
    """One operator that reads a value, and what it makes of it."""

    op: str
    place: int  # which of its inputs the value is
    gives: tuple[str, ...] = ()  # values that depend on it; none of what weights make data of
    rows: int = 0  # of the table it looks up there


Uses = "Mapping[str, Sequence[Use]]"


@dataclass(frozen=True)
class Words:
    """What the operators of a format do with the numbers they are given."""

    steered: Mapping[str, Sequence[int]]  # operator -> inputs that decide how much it computes
    keeping: Mapping[str, Sequence[int]]  # operator -> inputs whose numbers it hands on


def rows_of(name: str, uses: Mapping[str, Sequence[Use]], words: Words) -> int:
    """Return the rows of the smallest table that an input's numbers look up; 0 for none."""
    found = _reached(name, uses, lambda use: use.place in words.keeping.get(use.op, ()))
    return min((use.rows for use in found if use.rows), default=0)


def steered_by(name: str, uses: Mapping[str, Sequence[Use]], words: Words) -> tuple[str, ...]:
    """Return the operators whose amount of work depends on an input's numbers, in their order."""
    found = _reached(name, uses, lambda _: True)
    names = (use.op for use in found if use.place in words.steered.get(use.op, ()))
    return tuple(dict.fromkeys(names))


def _reached(
    name: str, uses: Mapping[str, Sequence[Use]], follows: Callable[[Use], bool]
) -> list[Use]:
    """Return every use of a value and of what is made of it, as far as `follows` says."""
    seen, waiting, found = {name}, deque([name]), []
    while waiting:
        for use in uses.get(waiting.popleft(), ()):
            found.append(use)
            if follows(use):
                new = [value for value in use.gives if value not in seen]
                seen.update(new)
                waiting.extend(new)
    return found
