"""The ways of taking samples, by name: each is a module here with its `PROCEDURE`."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from cpufit.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpufit.measuring.procedures.base import Procedure
    from cpufit.schema import Scenario

NAMES = ("latency", "throughput", "frames", "memory", "energy")


def procedure(name: str) -> Procedure:
    """Return the procedure of that name; raise UsageError naming the nearest one."""
    if name not in NAMES:
        raise unknown("procedure", name, NAMES)
    return cast("Procedure", import_module(f"{__name__}.{name}").PROCEDURE)


def to_wire(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as it crosses the pipe."""
    return asdict(scenario)


def from_wire(table: Mapping[str, Any]) -> Scenario:
    """Return a scenario as its procedure reads it."""
    kind: type[Scenario] = procedure(table["procedure"]).scenario
    return TypeAdapter(kind).validate_python(dict(table))
