"""The ways of taking samples, by name: each is a module here with its `PROCEDURE`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from cpufit.errors import unknown
from cpufit.measuring.procedures import energy, frames, latency, memory, throughput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.measuring.procedures.base import Procedure
    from cpufit.schema import Scenario

_PROCEDURES: dict[str, Procedure] = {
    "latency": latency.PROCEDURE,
    "throughput": throughput.PROCEDURE,
    "frames": frames.PROCEDURE,
    "memory": memory.PROCEDURE,
    "energy": energy.PROCEDURE,
}
NAMES = tuple(_PROCEDURES)


def procedure(name: str) -> Procedure:
    """Return the procedure of that name; raise UsageError naming the nearest one."""
    if name not in _PROCEDURES:
        raise unknown("procedure", name, NAMES)
    return _PROCEDURES[name]


def to_wire(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as it crosses the pipe."""
    return asdict(scenario)


def from_wire(table: Mapping[str, Any]) -> Scenario:
    """Return a scenario as its procedure reads it."""
    kind: type[Scenario] = procedure(table["procedure"]).scenario
    return TypeAdapter(kind).validate_python(dict(table))
