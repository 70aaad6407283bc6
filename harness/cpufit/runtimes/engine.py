"""What an engine says of itself: all that the rest of cpufit knows of it stands in `ENGINE`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpufit.precisions import Precision
    from cpufit.schema import Family, Model, Weights


@dataclass(frozen=True, kw_only=True)
class Build:
    """A kind of model that the engine runs, and the builder that makes its file."""

    families: tuple[Family, ...]
    builder: str  # a module of `artifacts`
    precisions: tuple[Precision, ...] = ()  # empty: whatever the real file holds
    weights: Weights = "synthetic"
    stored: Precision | None = None  # what the file holds, where it is loaded as something else


@dataclass(frozen=True, kw_only=True)
class Usual:
    """Models for which the engine is worth trying on a CPU, by what was recorded."""

    families: tuple[Family, ...]
    precision: Precision
    why: str
    flags: tuple[str, ...] = ()  # instruction sets, one of which the CPU must have; empty: any CPU

    def holds(self, flags: frozenset[str]) -> bool:
        """Whether a CPU with these instruction sets is such a one."""
        return not self.flags or not flags.isdisjoint(self.flags)


def takes_any(model: Model) -> str:  # noqa: ARG001 - what an engine may refuse
    """Refuse no model."""
    return ""


def needs_no_more(model: Model) -> None:
    """Ask nothing beyond the package."""


def built_elsewhere(flags: frozenset[str]) -> tuple[str, str]:  # noqa: ARG001 - of this CPU
    """Find no fault: the package is a wheel, whose kernels are chosen when it runs."""
    return "", ""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One inference engine. Nothing here imports it."""

    name: str
    title: str
    packages: tuple[str, ...]  # the first must be installed; the versions of all tell of its speed
    extra: str  # of cpufit's own package; '' where nothing need be installed
    builds: tuple[Build, ...]
    suffixes: tuple[str, ...] = ()  # of model files it reads as they are
    refuses: Callable[[Model], str] = takes_any  # why it cannot run a model; '' where it can
    check: Callable[[Model], None] = needs_no_more  # raises UnavailableError: parts not built in
    # What is wrong with the build that is installed, given the CPU's instruction sets, and what to
    # do; '' where nothing is. It may start the engine, in a process of its own.
    fault: Callable[[frozenset[str]], tuple[str, str]] = built_elsewhere
    usual: tuple[Usual, ...] = ()
    compiled: bool = False  # on the user's machine, for minutes, before it can be measured
    invented: bool = False  # plays timings: no model runs, so users are not shown it
    keeps_threads: bool = True  # a session's, once it is warm: none is started for a request

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install 'cpufit[{self.extra}]'" if self.extra else ""

    @property
    def version(self) -> str:
        """The version that is installed, '' where it is not."""
        if not self.packages:
            return "built in"
        try:
            return version(self.packages[0])
        except PackageNotFoundError:
            return ""
