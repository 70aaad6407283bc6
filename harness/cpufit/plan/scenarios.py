"""The scenarios of `scenarios.toml`, each table as its procedure reads it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from cpufit.config import load_tables, parse
from cpufit.errors import CpufitError, UsageError
from cpufit.measuring import procedures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cpufit.schema import Scenario


@cache
def load_scenarios() -> Mapping[str, Scenario]:
    """Return every scenario by name; raise UsageError listing all that is wrong in the file."""
    path, tables = load_tables("scenario")
    found: dict[str, Scenario] = {}
    problems = []
    for name, table in tables.items():
        try:
            found[name] = _scenario(name, table, path)
        except CpufitError as error:
            problems.append(error.problem.removeprefix(f"{path}: "))
    if problems:
        raise UsageError(f"{path}: {'; '.join(problems)}")
    return found


def with_batches(
    scenarios: Mapping[str, Scenario], batches: tuple[int, ...]
) -> Mapping[str, Scenario]:
    """Return the scenarios, those that have batches with these where any are given."""
    if not batches:
        return scenarios
    return {
        name: procedures.procedure(scenario.procedure).with_batches(scenario, batches)
        for name, scenario in scenarios.items()
    }


def _scenario(name: str, table: Any, path: Path) -> Scenario:
    where = ("scenario", name)
    if not isinstance(table, dict) or not isinstance(table.get("procedure"), str):
        raise UsageError(f"{'.'.join(where)}: must be a table with a procedure")
    kind = procedures.procedure(table["procedure"]).scenario
    return parse(kind, {"name": name, **table}, path, where)
