"""What `cpufit list runs` shows: the runs of a folder, and which of them go on with --resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cpufit import store
from cpufit.cli.options import recovered
from cpufit.errors import DataError
from cpufit.plan.request import from_json

if TYPE_CHECKING:
    from pathlib import Path


def entries(folder: Path, *, even_none: bool) -> list[dict[str, Any]]:
    """Return a folder's runs, the oldest first; what killed ones left is put together.

    One that cannot be read says why and hides no other. Raises DataError where there is none, or,
    with `even_none`, no folder.
    """
    if not (even_none and folder.is_dir()):
        store.newest(folder)
    return [_entry(path) for path in store.runs(folder)]


def _entry(path: Path) -> dict[str, Any]:
    nothing = {"suites": [], "recorded": "", "processes": 0, "done": 0, "cells": 0, "problem": ""}
    entry = {"name": path.name, "path": str(path)} | nothing
    try:
        return entry | _measured(*recovered([path]))
    except DataError as error:
        return entry | {"problem": str(error)}


def _measured(path: Path) -> dict[str, Any]:
    found = store.columns([path], ["settled", "recorded_at"])
    try:
        asked = from_json(store.request_of(path), path)
        suites, cells = list(asked.suite), len(asked.cells)
    except DataError:  # what pytest or the self-test measured
        suites, cells = [], 0
    done = sum(bool(words) for words in found["settled"].to_pylist())
    return {
        "suites": suites,
        "recorded": max(found["recorded_at"].to_pylist(), default=""),
        "processes": found.num_rows,
        "done": done,  # cells
        "cells": cells or done,
    }


def lines(found: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the same for people."""
    return [
        (
            run["name"],
            run["recorded"][:16].replace("T", " "),
            run["problem"] or ", ".join(run["suites"]),
            f"{run['done']} of {run['cells']}" if run["done"] < run["cells"] else str(run["done"]),
            str(run["processes"]),
        )
        for run in found
    ]
