"""Which engines are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.doctor.checks import Check
from cpufit.runtimes import engines

if TYPE_CHECKING:
    from cpufit.runtimes.engine import Engine


def examine() -> list[Check]:
    """Look at each engine that runs models."""
    return [_installed(engine) for engine in engines() if not engine.invented]


def _installed(engine: Engine) -> Check:
    if engine.version:
        return Check(engine.name, "good", engine.version)
    return Check(engine.name, "warn", "not installed", engine.install)
