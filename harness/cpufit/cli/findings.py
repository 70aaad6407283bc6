"""`cpufit selftest` on the terminal: each finding as it comes, and whether all are as asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from cpufit.selftest import all as everything
from cpufit.selftest import gate_live

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

    from cpufit.analysis import Row
    from cpufit.gating.pairs import Stage
    from cpufit.gating.verdict import Found
    from cpufit.plan.request import Plan
    from cpufit.run.flow import Place
    from cpufit.run.gate.road import Setup
    from cpufit.schema import Cell, Record
    from cpufit.selftest import Finding

FEWEST = 12
_MARKS = {True: ("good", "green"), False: ("NOT AS ASKED", "red"), None: ("", "")}


class _Status:
    """Says in one line which process runs; findings go above it."""

    def __init__(self, console: Console) -> None:
        self.status = console.status("")
        self._cell, self._done = "", 0

    def planned(self, plan: Plan, done: Sequence[Record]) -> None:
        """Show nothing yet."""

    def started(self, cell: Cell) -> None:
        """Show the cell."""
        self._cell = cell.id
        self.stage("starting")

    def stage(self, text: str) -> None:
        """Show what its process does."""
        self.status.update(Text(f"process {self._done + 1}: {self._cell}: {text}"))

    def began(self, setup: Setup) -> None:
        """Show nothing yet."""

    def paired(self, found: Found, stage: Stage, left: int) -> None:  # noqa: ARG002 - an observer's
        """Count two."""
        self._done += 2

    def finished(self, row: Row) -> None:  # noqa: ARG002 - an observer's
        """Count it."""
        self._done += 1

    def rounded(self) -> None:
        """Go on."""


def show(
    console: Console, files: Sequence[Path], *, recorded: bool, processes: int, place: Place
) -> bool:
    """Print every finding; return whether none is other than asked."""
    watcher = _Status(console)
    found = (
        everything.recorded(files)
        if recorded or files
        else everything.on_this_host(processes, place, watcher)
    )
    return _told(found, watcher, console)


def show_gate(
    console: Console,
    folders: Sequence[Path],
    *,
    recorded: bool,
    pairs: int,
    matrices: int,
    apart: bool,
    place: Place,
) -> bool:
    """Print every finding about the gate; return whether none is other than asked."""
    watcher = _Status(console)
    if recorded:
        found = gate_live.recorded(folders)
    elif matrices:
        found = gate_live.matrices(matrices, place, watcher, apart=apart)
    else:
        found = gate_live.on_this_host(pairs, place, watcher)
    return _told(found, watcher, console)


def _told(found: Iterable[Finding], watcher: _Status, console: Console) -> bool:
    good = True
    with watcher.status:
        for finding in found:
            console.print(_line(finding), soft_wrap=True)
            good &= finding.good is not False
    console.print("all as asked" if good else "not all as asked: see docs/methodology.md")
    return good


def _line(finding: Finding) -> Text:
    mark, style = _MARKS[finding.good]
    line = Text(f"{finding.name}: ", style="bold")
    line.append(finding.value, style="not bold")
    if finding.asked:
        line.append(f"  ({finding.asked}: ", style="not bold")
        return line.append(mark, style=style).append(")", style="not bold")
    return line
