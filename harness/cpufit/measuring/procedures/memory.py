"""Peak resident memory of a process that does one request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cpufit.measuring.probe import Measured
from cpufit.measuring.procedures.base import Procedure, requests
from cpufit.schema import Scenario

if TYPE_CHECKING:
    from cpufit.measuring.bench import Bench
    from cpufit.runtimes.base import LoadOptions
    from cpufit.schema import Cell, Task


@dataclass(frozen=True, kw_only=True)
class Memory(Scenario):
    """What its tables hold besides."""

    context_tokens: int = 0  # room of the KV cache; 0: what the longest request needs


class MemoryProcedure(Procedure):
    """Does every request once, for what is not a time."""

    scenario = Memory
    watches_memory = True

    def fitted(self, scenario: Scenario, context: int) -> tuple[Scenario, tuple[str, ...]]:
        """Return it with a cache of the model's context, where that is less."""
        found, notes = super().fitted(scenario, context)
        assert isinstance(found, Memory)
        if 0 < context < found.context_tokens:
            notes = (*notes, f"the KV cache holds the model's whole context of {context} tokens")
            found = replace(found, context_tokens=context)
        return found, notes

    def options(self, cell: Cell, scenario: Scenario, task: Task, repeat: int = 0) -> LoadOptions:
        """Say how long a text must fit."""
        assert isinstance(scenario, Memory)
        usual = super().options(cell, scenario, task, repeat)
        room = max(usual.context_tokens, scenario.context_tokens) if task != "infer" else 0
        return replace(usual, context_tokens=room)

    def measure(self, bench: Bench) -> Measured:
        """Do every request once; the bench watches the memory."""
        found = requests(bench, "latency", "ttft", "tpot")
        bench.say("measuring")
        durations = [probe.timed(1, bench.clock)[0] for probe in found]
        return Measured(first_ns=durations[0], series=(), stop="one full request", valid=True)


PROCEDURE = MemoryProcedure()
