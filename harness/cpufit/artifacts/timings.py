"""The fake runtime's artifact: how long a model would take, as a few numbers in JSON.

The numbers come from the card by plain arithmetic at round rates, so they rank models as real ones
would rank but describe no machine. Their keys are those of `Timings` in `runtimes/fake/timings.py`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cpufit.artifacts.base import Built
from cpufit.precisions import precision
from cpufit.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.schema import Order

NAME = "cpufit.artifacts.timings"
VERSION = 1

_MS_PER_S = NS_PER_S // NS_PER_MS
_MACS_PER_S = 10e9  # of fp32; other precisions in proportion to their bytes
_BYTES_PER_S = 10e9  # read from memory
_LOAD_BYTES_PER_S = 1e9
_MEMORY_SHARE = 1000  # the fake really allocates its memory, so it takes a thousandth
_JITTER = 0.02


def build(order: Order, folder: Path) -> Built:
    """Write the timings of a model."""
    file = folder / f"{order.model.name}.json"
    file.write_text(_text(order), encoding="utf-8")
    return Built(
        file=file,
        parameters=order.model.parameters,
        format=order.precision,
        recipe="invented timings from the card's parameters and MACs",
    )


def estimate_bytes(order: Order) -> int:
    """Return the size of the JSON text."""
    return len(_text(order).encode())


def scratch_bytes(order: Order) -> int:  # noqa: ARG001 - the Builder protocol
    """Return 0: it is written at once."""
    return 0


def packages(order: Order) -> tuple[str, ...]:  # noqa: ARG001 - the Builder protocol
    """Return none: the text depends on the card alone."""
    return ()


def _text(order: Order) -> str:
    model, width = order.model, precision(order.precision).bytes
    weight_bytes = model.parameters * width
    work_ms = model.macs / _MACS_PER_S * _MS_PER_S * width / precision("fp32").bytes
    values = {"load_ms": weight_bytes / _LOAD_BYTES_PER_S * _MS_PER_S, "first_ms": work_ms / 2}
    if model.task != "infer":
        values["prefill_ms_per_token"] = work_ms
        values["decode_ms"] = weight_bytes / _BYTES_PER_S * _MS_PER_S
    if model.task != "generate":  # one pass, or the encoder before the writing
        values["infer_ms"] = work_ms
    values |= {"jitter": _JITTER, "memory_bytes": int(weight_bytes / _MEMORY_SHARE)}
    return json.dumps(values, indent=1) + "\n"
