"""Two ways of doing the same thing, taken in turns, and how their ratio is quoted."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Figures = dict[str, float]  # name of a quantity -> its median in one fresh process

_DRAWS = 10_000
_ORDERS = ((0, 1), (1, 0))  # in turns, so that a slow drift cancels out


def in_turns(
    first: Callable[[], Figures], second: Callable[[], Figures], pairs: int
) -> dict[str, list[float]]:
    """Run both `pairs` times and return, for each quantity, the ratios first / second."""
    orders = cycle(_ORDERS)

    def both() -> tuple[Figures, Figures]:
        found: list[Figures] = [{}, {}]
        for which in next(orders):
            found[which] = (first, second)[which]()
        return found[0], found[1]

    return paired(both, pairs)


def paired(both: Callable[[], tuple[Figures, Figures]], pairs: int) -> dict[str, list[float]]:
    """Return, for each quantity, the ratios first / second of what is timed side by side."""
    ratios: dict[str, list[float]] = {}
    for _ in range(pairs):
        first, second = both()
        for name, value in first.items():
            ratios.setdefault(name, []).append(value / second[name])
    return ratios


def quote(ratios: Sequence[float]) -> str:
    """Return the median ratio with its 95 % bootstrap interval: '1.012 (0.991 to 1.034, n=8)'."""
    values = np.asarray(ratios)
    draws = np.random.default_rng(0).choice(values, (_DRAWS, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return f"{np.median(values):.3f} ({low:.3f} to {high:.3f}, n={len(values)})"
