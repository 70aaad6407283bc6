"""What a builder is given and what it must hand back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read by pydantic
from typing import TYPE_CHECKING, Protocol, TypeAlias

from cpufit.precisions import Precision  # noqa: TC001 - likewise
from cpufit.schema import Family, Input  # noqa: TC001 - likewise

if TYPE_CHECKING:
    from cpufit.schema import Order


Guessed: TypeAlias = tuple[tuple[Input, ...], tuple[str, ...]]  # and a note for each guess


@dataclass(frozen=True, kw_only=True)
class Built:
    """A builder's answer: `file` lies in the folder it was given, or is `real_file` itself."""

    file: Path
    parameters: int
    format: str
    recipe: str
    inputs: tuple[Input, ...] = ()
    kv_bytes_per_token: int = 0
    notes: tuple[str, ...] = ()
    others: tuple[Guessed, ...] = ()  # inputs to try where it does not run with those


@dataclass(frozen=True, kw_only=True)
class About:
    """What a user's own file says that decides its cells, read before anything starts."""

    precision: Precision  # nearest to its number formats
    family: Family
    context_tokens: int = 0  # how long a text may get; 0 where it does not say


class Builder(Protocol):
    """A module of this package with a `build` function.

    `NAME` and `VERSION` enter the cache key: never change the one, raise the other when the bytes
    of any artifact change. A moved builder keeps its name, so that nobody's cache is made anew.
    Where only some of its artifacts changed, a function `version_of(order)` tells them apart.
    """

    NAME: str
    VERSION: int

    def build(self, order: Order, folder: Path) -> Built:
        """Write the model into `folder`, holding no more than a few tensors in memory."""

    def estimate_bytes(self, order: Order) -> int:
        """Return the size of the file `build` would write, without writing it."""

    def scratch_bytes(self, order: Order) -> int:
        """Return the size of what else it writes there and removes again."""

    def packages(self, order: Order) -> tuple[str, ...]:
        """Return the packages whose version decides the bytes; they enter the cache key."""
