"""`cpufit doctor`: is this host fit to measure, and what would make it fitter?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cpufit.cli.options import cache_folder, console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cpufit.doctor.checks import Check


def doctor(
    *, cache: Path | None = None, json_: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """Say whether this host is fit to measure, and what would make it fitter.

    Parameters
    ----------
    cache
        Folder for the models that are built; the user's cache folder by default.
    json_
        For machines.
    """
    from cpufit.doctor import checks, engines

    found = [*checks.examine(cache_folder(cache)), *engines.examine()]
    if json_:
        print(json.dumps([asdict(check) for check in found], indent=2))
    else:
        console().print(_table(found))


def _table(found: Sequence[Check]) -> Table:
    """Return the findings for people."""
    from rich.text import Text

    from cpufit.report.terminal import table

    marks = {"good": ("good", "green"), "warn": ("note", "yellow"), "bad": ("bad", "red")}
    lines = [(Text(*marks[c.level]), c.name, c.value, c.remedy) for c in found]
    return table("", ("", "check", "seen here", "remedy"), lines)
