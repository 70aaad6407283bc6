"""Will a cell fit, before anything is started? Otherwise the numbers why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.artifacts import cache, storage
from cpufit.artifacts.routes import builder
from cpufit.probes.memory import host_available_bytes
from cpufit.runtimes.inputs import bytes_of
from cpufit.schema import Outcome
from cpufit.units import MIB, size

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.runtimes.base import LoadOptions
    from cpufit.schema import Artifact, Order

_PROCESS_BYTES = 128 * MIB  # an interpreter with a runtime, before any model
_DISK_RESERVE_BYTES = 256 * MIB


def too_large_to_make(order: Order, root: Path, limit_bytes: int | None) -> Outcome | None:
    """Return why the artifact cannot be written, None where it can.

    The least recently used artifacts of the cache go where that makes the room for it.
    """
    if order.builder == "asis":  # nothing is written
        return None
    need = cache.needed_bytes(order)
    storage.make_room(root, need, limit_bytes, _DISK_RESERVE_BYTES)
    free, held = storage.free_bytes(root), storage.total_bytes(root)
    if limit_bytes is not None and held + need > limit_bytes:
        return Outcome(
            status="skipped",
            reason=(
                f"the artifact needs {size(need)} of the cache, which may hold "
                f"{size(limit_bytes)} and has {size(held)} in it"
            ),
            remedy="allow more with --cache-max, or wait for what uses the cache",
        )
    if need + _DISK_RESERVE_BYTES <= free:
        return None
    return Outcome(
        status="skipped",
        reason=f"the artifact needs {size(need)} of disk, {size(free)} are free at {root}",
        remedy="free some space or name another folder with --cache",
    )


def too_large_to_run(
    options: LoadOptions, artifact: Artifact | None, order: Order
) -> Outcome | None:
    """Return why a session cannot be held in memory, None where it may.

    The need is a lower bound: the weights, the inputs, the KV cache and a bare process.
    """
    weights = artifact.size_bytes if artifact else builder(order).estimate_bytes(order)
    card = artifact or order.model.decoder
    per_token = card.kv_bytes_per_token if card else 0
    kv = options.context_tokens * options.batch * per_token
    inputs = bytes_of(artifact.inputs, options.batch) if artifact else 0
    need, free = weights + kv + inputs + _PROCESS_BYTES, host_available_bytes()
    if need <= free:
        return None
    held = {"weights": weights, "KV cache": kv, "inputs": inputs}
    parts = [f"{size(count)} {what}" for what, count in held.items() if count]
    return Outcome(
        status="skipped",
        reason=(
            f"needs at least {size(need)} of memory ({', '.join(parts)}), "
            f"{size(free)} are available"
        ),
        remedy="close other programs, or take a smaller model, batch or precision",
    )
