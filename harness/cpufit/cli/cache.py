"""`cpufit cache`: what lies there, as a table for people and JSON for machines, and clearing it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Group
from rich.text import Text

from cpufit import units
from cpufit.artifacts import storage
from cpufit.cli.options import Words, cache_folder, console
from cpufit.errors import UsageError, unknown
from cpufit.files import unwritable
from cpufit.report.terminal import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from cpufit.artifacts.storage import Entry


app = App(name="cache")


@app.default
def show(
    *, cache: Path | None = None, json_: Annotated[bool, Parameter(name="--json")] = False
) -> None:
    """Show the models that were built: sizes, and which was used last.

    Parameters
    ----------
    cache
        Which folder; the user's cache folder by default.
    json_
        For machines.
    """
    if json_:
        print(as_json(cache_folder(cache)))
    else:
        console().print(as_table(cache_folder(cache)), soft_wrap=True)


@app.command
def clear(models: Words = (), /, *, cache: Path | None = None) -> None:
    """Remove models that were built; those that a running process uses stay.

    Parameters
    ----------
    models
        Only these, as `cpufit cache` calls them; all by default.
    cache
        Which folder; the user's cache folder by default.
    """
    console().print(cleared_as_text(cleared(cache_folder(cache), models)), soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """What clearing did."""

    removed: tuple[Entry, ...]
    kept: tuple[Entry, ...]  # in use


def as_table(root: Path) -> RenderableType:
    """Return what lies in the cache for people."""
    found = storage.entries(root)
    lines = [
        (e.model, e.precision, e.format or "damaged", units.size(e.size_bytes), _when(e.used_s))
        for e in found
    ]
    columns = ("model", "precision", "format", ">size", "last used")
    total = units.size(storage.total_bytes(root))
    room = unwritable(root) or f"{units.size(storage.free_bytes(root))} of its disk are free"
    words = Text(
        f"\n{units.counted(len(found), 'artifact')}, {total} in {root}\n"
        f"{room}\n"
        "no limit but the disk; `cpufit run --cache-max 20GB` sets one for a run"
    )
    return Group(table("", columns, lines), words) if found else words


def as_json(root: Path) -> str:
    """Return what lies in the cache for machines."""
    found = [
        {**asdict(e), "folder": str(e.folder), "used_at": _iso(e.used_s)}
        for e in storage.entries(root)
    ]
    for entry in found:
        del entry["used_s"]
    sizes = {"total_bytes": storage.total_bytes(root), "free_bytes": storage.free_bytes(root)}
    return json.dumps({"path": str(root), **sizes, "artifacts": found}, indent=2)


def cleared(root: Path, models: Sequence[str]) -> Cleared:
    """Remove the artifacts of `models`, or all; those in use stay.

    Raises UsageError for a model that has none, before anything is removed.
    """
    found = storage.entries(root)
    names = {entry.model for entry in found}
    for name in models:
        if not names:
            raise UsageError(f"the cache {root} holds no {name}", "it is empty already")
        if name not in names:
            raise unknown("model in the cache", name, names)
    storage.sweep(root)
    chosen = [entry for entry in found if entry.model in models or not models]
    done = {entry: storage.remove(entry.folder, root) for entry in chosen}
    return Cleared(
        removed=tuple(entry for entry in chosen if done[entry]),
        kept=tuple(entry for entry in chosen if not done[entry]),
    )


def cleared_as_text(cleared: Cleared) -> str:
    """Say what clearing did."""
    freed = units.size(sum(entry.size_bytes for entry in cleared.removed))
    return "\n".join(
        [
            *(f"removed {_name(e)}, {units.size(e.size_bytes)}" for e in cleared.removed),
            *(f"kept {_name(e)}: a running process uses it" for e in cleared.kept),
            f"{units.counted(len(cleared.removed), 'artifact')} removed, {freed}",
        ]
    )


def _name(entry: Entry) -> str:
    return f"{entry.model} {entry.precision} ({entry.format or 'damaged'})"


def _when(used_s: float) -> str:
    if not used_s:
        return ""
    return datetime.fromtimestamp(used_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _iso(used_s: float) -> str:
    return datetime.fromtimestamp(used_s, UTC).isoformat(timespec="seconds")
