"""Model files measured as they are: the user's own, and packaged ones. Nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cpufit.artifacts.asis import apart

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import Built
    from cpufit.precisions import Precision
    from cpufit.schema import Model, Order

NAME = "cpufit.artifacts.asis"
VERSION = 1


def build(order: Order, folder: Path) -> Built:  # noqa: ARG001 - the Builder protocol
    """Describe the order's file; raise DataError where it cannot be used."""
    built = apart.look(_file(order), order.model).built
    if isinstance(built, apart.Problem):
        raise built.error()
    return built


def estimate_bytes(order: Order) -> int:
    """Return the size of the file."""
    return _file(order).stat().st_size


def scratch_bytes(order: Order) -> int:  # noqa: ARG001 - the Builder protocol
    """Return 0: nothing is written."""
    return 0


def packages(order: Order) -> tuple[str, ...]:  # noqa: ARG001 - the Builder protocol
    """Return none: no package decides the bytes."""
    return ()


def precision_of(file: Path, model: Model) -> Precision:
    """Return the precision nearest to the file's number formats; raise DataError if damaged.

    The model is the one that `build` is asked for: so the file is read once for both.
    """
    found = apart.look(file, model).precision
    if isinstance(found, apart.Problem):
        raise found.error()
    return found


def _file(order: Order) -> Path:
    return cast("Path", order.real_file)  # routes sends only requests for real weights here
