"""Model files measured as they are: the user's own, and packaged ones. Nothing is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from cpufit.artifacts.asis import apart

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.artifacts.base import About, Built
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


def about(file: Path, model: Model) -> About:
    """Return what decides the file's cells; raise DataError where it is damaged, or no model.

    The model is the one that `build` is asked for: so the file is read once for both.
    """
    found = apart.look(file, model).about
    if isinstance(found, apart.Problem):
        raise found.error()
    return found


def known(model: Model, about: About) -> Model:
    """Return a user's own model with what its file says of it."""
    return replace(model, family=about.family, context_tokens=about.context_tokens)


def _file(order: Order) -> Path:
    return cast("Path", order.real_file)  # routes sends only requests for real weights here
