"""Errors a user can mend: one line that says what is wrong, where, and what to do.

Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable


_FEW = 12  # names that a line has room for


class CpufitError(Exception):
    """A mistake or a lack outside this program: `problem` says what, `remedy` what to do.

    `status` is what becomes of a cell that meets it.
    """

    status: ClassVar[Literal["failed", "unsupported", "unavailable"]] = "failed"

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}" if remedy else problem)


class UsageError(CpufitError):
    """What the user typed or wrote into a TOML file makes no sense."""


class DataError(CpufitError):
    """A file cannot be read or written: corrupt, truncated, too new, no space, no permission."""


class UnsupportedError(CpufitError):
    """A combination of model, precision, runtime and weights that nobody can build or run."""

    status = "unsupported"


class UnavailableError(CpufitError):
    """Something this host lacks: a package, a counter, fetched weights."""

    status = "unavailable"


def misread(option: str, text: str, why: str, example: str) -> UsageError:
    """Build the error for a word of an option that takes many; a file among them came too late."""
    late = text.endswith(".parquet") or Path(text).exists()
    remedy = f"name files before {option}" if late else f"write {option} {example}"
    return UsageError(f"{option} {text!r} {why}", remedy)


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that is not in `known`, pointing at the nearest one that is."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = [f"did you mean {near[0]!r}?"] if near else []
    all_ = [f"known: {', '.join(names)}"] if not near or len(names) <= _FEW else []
    remedy = " ".join([*hint, *all_])
    return UsageError(f"unknown {kind} {name!r}", remedy)
