"""As much as the CPU gives: batches, parallel sequences, or requests side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cpufit.measuring.procedures.base import Procedure, requests, timed
from cpufit.schema import Scenario

if TYPE_CHECKING:
    from cpufit.measuring.bench import Bench
    from cpufit.measuring.probe import Measured
    from cpufit.runtimes.base import LoadOptions
    from cpufit.schema import Cell, Task


@dataclass(frozen=True, kw_only=True)
class Throughput(Scenario):
    """What its tables hold besides."""

    generate_batches: tuple[int, ...] = (1,)  # parallel sequences, one cell each
    infer_batches: tuple[int, ...] = (1,)  # samples per pass, one cell each
    streams: bool = False  # several requests side by side, in as many processes where it must be


class ThroughputProcedure(Procedure):
    """Times batches, or prefill and parallel decode."""

    scenario = Throughput
    goal = "throughput"
    batched = True
    sliced = True

    def batches(self, scenario: Scenario, task: Task) -> tuple[int, ...]:
        """Return those of its table; a model that is told about a picture takes one at a time."""
        assert isinstance(scenario, Throughput)
        if task == "describe":
            return (1,)
        return scenario.generate_batches if task == "generate" else scenario.infer_batches

    def with_batches(self, scenario: Scenario, batches: tuple[int, ...]) -> Scenario:
        """Return the scenario with these batches, of either kind of model."""
        assert isinstance(scenario, Throughput)
        return replace(scenario, infer_batches=batches, generate_batches=batches)

    def options(self, cell: Cell, scenario: Scenario, task: Task, repeat: int = 0) -> LoadOptions:
        """Say whether requests run side by side."""
        assert isinstance(scenario, Throughput)
        usual = super().options(cell, scenario, task, repeat)
        return replace(usual, streams=scenario.streams)

    def measure(self, bench: Bench) -> Measured:
        """Time them until they are known well enough."""
        return timed(requests(bench, "batch", "prefill", "decode"), bench)


PROCEDURE = ThroughputProcedure()
