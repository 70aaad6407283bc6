"""This host, with the versions of the engines' packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit.probes import host
from cpufit.runtimes import engines

if TYPE_CHECKING:
    from cpufit.schema import Host


def describe() -> Host:
    """Return this host's facts; takes about a second."""
    packages = (package for engine in engines() for package in engine.packages)
    return host.describe(("cpufit", "numpy", *packages))
