"""Model files measured as they are: the user's own, and packaged ones. Nothing is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cpufit.artifacts.asis import apart, fitting
from cpufit.artifacts.split import parts_of
from cpufit.errors import UsageError

if TYPE_CHECKING:
    from cpufit.artifacts.base import About, Built
    from cpufit.schema import Model, Order

NAME = "cpufit.artifacts.asis"
VERSION = 2
_SIZED = (".onnx", ".xml")  # kinds that may leave open what goes into their inputs


def build(order: Order, folder: Path) -> Built:  # noqa: ARG001 - the Builder protocol
    """Describe the order's file; raise DataError where it cannot be used.

    Where it leaves sizes open it is run with one guess after another: not in a process that goes
    on, see `tries`.
    """
    built = _seen(order)
    return fitting.chosen(built, order.runtime) if built.others else built


def tries(order: Order) -> bool:
    """Whether `build` runs the model; raise DataError as it does."""
    return bool(_seen(order).others)


def estimate_bytes(order: Order) -> int:
    """Return the size of the file, of a model in several parts that of them all."""
    return sum(part.stat().st_size for part in parts_of(_file(order)))


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


def check_given(model: Model) -> None:
    """Raise UsageError for what is given of a file's inputs (`Model.inputs`) and cannot be."""
    file = Path(model.file)
    if file.suffix.lower() not in _SIZED:
        raise UsageError(f"--input: {file.name} takes no inputs of its own", "leave it out")
    found = apart.look(file, model).built
    if isinstance(found, apart.Problem) and found.kind == UsageError.__name__:
        raise UsageError(f"{file.name}: {found.problem}", found.remedy)


def _seen(order: Order) -> Built:
    built = apart.look(_file(order), order.model).built
    if isinstance(built, apart.Problem):
        raise built.error()
    return built


def _file(order: Order) -> Path:
    return cast("Path", order.real_file)  # routes sends only requests for real weights here
