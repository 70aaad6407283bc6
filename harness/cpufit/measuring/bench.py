"""What a procedure is given: a loaded session, and what it is measured with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpufit.measuring.cores import stay

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpufit.measuring.cores import Move
    from cpufit.measuring.probe import Clock, Meter
    from cpufit.measuring.slices import Turns
    from cpufit.runtimes.base import Session
    from cpufit.schema import Budget, Cell, Model, Scenario


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A loaded session, and what a procedure measures it with."""

    session: Session
    cell: Cell
    model: Model
    scenario: Scenario
    budget: Budget
    clock: Clock
    say: Callable[[str], None]
    meter: Meter  # totals of hardware counters; {} without
    turns: Turns | None = None  # in slices, beside a rival; None: at once
    move: Move = stay  # puts the requests on another core
    idle: object = None  # what the procedure saw before anything was loaded
