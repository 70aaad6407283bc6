"""Which engines are installed, and whether they were built for this CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.doctor.checks import Check
from cpufit.probes import host
from cpufit.runtimes import engines

if TYPE_CHECKING:
    from cpufit.runtimes.engine import Engine


def examine() -> list[Check]:
    """Look at each engine that runs models."""
    flags = host.flags()
    return [_check(engine, flags) for engine in engines() if not engine.invented]


def _check(engine: Engine, flags: frozenset[str]) -> Check:
    if engine.version:
        problem, remedy = engine.fault(flags)
        value = f"{engine.version}, {problem}" if problem else engine.version
        return Check(engine.name, "bad" if problem else "good", value, remedy)
    return Check(engine.name, "warn", "not installed", engine.install)
