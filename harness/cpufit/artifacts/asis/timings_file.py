"""Timings for the fake runtime, which checks the keys itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cpufit.artifacts.base import About, Built
from cpufit.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.schema import Model


def inspect(file: Path, model: Model) -> Built:  # noqa: ARG001 - the Inspector protocol
    """Describe the file; raise DataError where it is not JSON."""
    try:
        json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", "check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not valid JSON: {error}", "correct the file") from error
    return Built(file=file, parameters=0, format="timings", recipe=f"as it is: {file.name}")


def about(file: Path) -> About:  # noqa: ARG001 - the Inspector protocol
    """Return float32: nothing is computed."""
    return About(precision="fp32", family="own")
