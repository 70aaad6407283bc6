"""Where a graph's numbers come from: one graph code, two kinds of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cpufit.errors import DataError
from cpufit.networks import weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


class Source(Protocol):
    """Gives a named float32 array; `std` and `mean` matter only to sources that make one up."""

    def take(
        self, name: str, shape: tuple[int, ...], std: float, mean: float
    ) -> NDArray[np.float32]:
        """Return the array called `name`, of exactly `shape`."""


@dataclass(frozen=True)
class Synthetic:
    """Seeded weights of the model called `model`."""

    model: str

    def take(
        self, name: str, shape: tuple[int, ...], std: float, mean: float
    ) -> NDArray[np.float32]:
        """Draw the array."""
        return weights.tensor(self.model, name, shape, std, mean)


@dataclass(frozen=True)
class Stored:
    """Published weights, read from a file that `where` names."""

    arrays: Mapping[str, NDArray[np.float32]]
    where: str

    def take(
        self,
        name: str,
        shape: tuple[int, ...],
        std: float,  # noqa: ARG002
        mean: float,  # noqa: ARG002
    ) -> NDArray[np.float32]:
        """Look the array up; raise DataError where the file lacks it or has another shape."""
        found = self.arrays.get(name)
        if found is None or found.shape != shape:
            has = "no such tensor" if found is None else f"shape {found.shape}"
            raise DataError(
                f"{self.where}: {name} should have shape {shape}, but there is {has}",
                "fetch the weights again",
            )
        return found
