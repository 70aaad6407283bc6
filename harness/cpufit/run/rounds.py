"""In what order processes follow one another: every cell once, then all open ones again, shuffled.

A host is slow for minutes at a time. Processes that follow each other agree better than those of
ten minutes later, and their interval holds the truth too seldom: taken in rounds with those of all
other cells it does (docs/methodology.md).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cpufit.schema import Cell

MOST_CELLS = 64  # of a block: some minutes for a round


def blocks(
    cells: Sequence[Cell], size_of: Callable[[Cell], int], room: int
) -> Iterator[tuple[Cell, ...]]:
    """Cut the cells, in their order, where their artifacts would not lie in `room` bytes together.

    `size_of` is of the cell's artifact; cells that share one cost it once.
    """
    block: list[Cell] = []
    held: dict[tuple[str, ...], int] = {}
    for cell in cells:
        key = (cell.card, cell.weights, cell.precision, cell.runtime)
        wanted = held | {key: size_of(cell)}
        if block and (len(block) == MOST_CELLS or sum(wanted.values()) > room):
            yield tuple(block)
            block, wanted = [], {key: wanted[key]}
        block.append(cell)
        held = wanted
    if block:
        yield tuple(block)


def shuffled(cells: Sequence[Cell], index: int, seed: str) -> list[Cell]:
    """Return the cells in the order of round `index`; the first keeps theirs, to build in turn."""
    order = list(cells)
    if index:
        Random(f"{seed} {index}").shuffle(order)  # noqa: S311 - not for secrets
    return order
