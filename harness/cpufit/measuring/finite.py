"""Outputs that are no numbers: NaN, infinite, or none. Their time may not be that of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from cpufit.runtimes.inputs import Array


def remarks(outputs: Mapping[str, Array]) -> tuple[str, ...]:
    """Return a note for each output that holds NaN or infinity, or where all hold nothing."""
    if outputs and not any(array.size for array in outputs.values()):
        return ("all outputs are empty: what was timed may have computed nothing",)
    found = ((name, array.size - int(mask(array).sum()), array) for name, array in outputs.items())
    return tuple(
        f"output {name}: {count:,} of {array.size:,} numbers are NaN or infinite"
        for name, count, array in found
        if count
    )


def mask(array: Array) -> NDArray[np.bool_]:
    """Return which numbers are finite; of what is no float, all."""
    if array.dtype.kind == "f" or array.dtype.name.startswith("bfloat"):
        found: NDArray[Any] = np.isfinite(array)
        return found
    return np.ones(array.shape, np.bool_)
