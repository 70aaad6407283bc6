"""What each version of the schema added, and how it reads in files that are older."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cpufit.errors import DataError
from cpufit.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from pathlib import Path

_SINCE: dict[int, dict[str, Any]] = {
    2: {"parent": "", "numerics": None},
    3: {"size": 0},
    4: {"repeat": 0, "settled": "", "spent_s": 0.0, "counters": {}},
    5: {"inputs": ""},
    6: {"typical": {}},
}


def absent(version: int) -> dict[str, Any]:
    """Return the columns a file of this version lacks, each with what it reads as there."""
    later = [new for since, new in _SINCE.items() if since > version]
    return {name: value for new in later for name, value in new.items()}


def check(path: Path, version: int) -> None:
    """Raise DataError of a file that a later cpufit wrote."""
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {version}, this cpufit reads up to {SCHEMA_VERSION}",
            "upgrade: pip install -U cpufit",
        )
