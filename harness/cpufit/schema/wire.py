"""What crosses the pipe between a run and the process that works for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from cpufit.schema.asked import Budget, Cell, Order
from cpufit.schema.models import Model
from cpufit.schema.results import Artifact, Numerics, Outcome


@dataclass(frozen=True, kw_only=True)
class Make:
    """Make an artifact."""

    order: Order
    cache: str
    task: Literal["make"] = "make"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure a cell."""

    cell: Cell
    model: Model
    scenario: dict[str, Any]  # as its procedure reads it
    budget: Budget
    cache: str
    artifact: Artifact
    stamp: tuple[tuple[str, int, int, int], ...] = ()  # which very file that is; empty: any
    repeat: int = 0
    extra_work: float = 0.0  # real work behind each request, as a share of it: the self-test's
    slice_s: float = 0.0  # in slices of so long, one for each line on stdin; 0: at once
    task: Literal["measure"] = "measure"


@dataclass(frozen=True, kw_only=True)
class Check:
    """Compare a cell's outputs with float32's, or with those of `reference`."""

    cell: Cell
    model: Model
    cache: str
    artifact: Artifact
    reference: Artifact | None = None
    task: Literal["check"] = "check"


Job: TypeAlias = Make | Measure | Check


@dataclass(frozen=True, kw_only=True)
class Message:
    """Child to parent, one JSON line each: what it is doing, and at last what came out."""

    stage: str = ""
    artifact: Artifact | None = None
    numerics: Numerics | None = None
    outcome: Outcome | None = None
    slices_ns: tuple[float, ...] = ()  # the medians of the slices just done, of every quantity
