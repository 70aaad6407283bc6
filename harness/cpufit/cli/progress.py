"""What a user sees while a run goes on: a bar with the time left and a live table, or lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.text import Text

from cpufit import analyse, units
from cpufit.probes import doctor
from cpufit.report.terminal import cell_line, cell_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.progress import Task

    from cpufit.analyse import Row
    from cpufit.run.request import Plan
    from cpufit.schema import Cell, Record, Settings

_REDRAWS_PER_S = 1  # drawing costs CPU time that the child is measured on
_LOOK_S = 0.3
_START_S = 3.0  # loading and starting, until the first cells tell better
_SILENCE_S = 60.0  # between lines of a log


class _TimeLeft(ProgressColumn):
    """The time left, counted down while a cell runs."""

    def __init__(self, left_s: Callable[[], float]) -> None:
        super().__init__()
        self._left_s = left_s

    def render(self, task: Task) -> Text:  # noqa: ARG002 - rich asks for it
        """Return the time left as rich draws it."""
        return Text(f"{units.clock(self._left_s())} left")


class Watcher:
    """Observes a run for a terminal, or for a log where output is not one."""

    def __init__(self, console: Console, settings: Settings) -> None:
        self._console = console
        self._settings = settings
        self._live: Live | None = None
        self._records: dict[str, list[Record]] = {}  # of each cell, by its id
        self._open: dict[str, None] = {}  # ids of cells that are not settled, in order
        self._spent_s: list[float] = []
        self._began, self._running = 0.0, ""
        self._printed = 0.0
        self._plan: Plan | None = None
        self._bar = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _TimeLeft(self._left_s),
            TextColumn("{task.description}", markup=False),
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def planned(self, plan: Plan, done: Sequence[Record]) -> None:
        """Show what will be run."""
        self._plan = plan
        for record in done:
            self._records.setdefault(record.cell.id, []).append(record)
        settled = {record.cell.id for record in done if record.settled}
        self._open = {cell.id: None for cell in plan.cells if cell.id not in settled}
        total = len(plan.cells)
        self._bar.update(self._task, total=total, completed=len(settled))
        kept = f", {len(done)} process{'es' * (len(done) > 1)} kept from before" if done else ""
        self._console.print(
            f"{total} cell{'s' * (total != 1)}, budget {plan.budget.name}{kept}; "
            f"about {units.clock(self._left_s())}"
        )
        self._warn_of_noise()
        if self._console.is_terminal and self._open:
            self._live = Live(
                self._view(),
                console=self._console,
                refresh_per_second=_REDRAWS_PER_S,
                vertical_overflow="visible",
            )
            self._live.start()

    def started(self, cell: Cell) -> None:
        """Show which cell is measured now."""
        self._began, self._running = time.monotonic(), cell.id
        self._describe(cell.id)

    def stage(self, text: str) -> None:
        """Show what its process does."""
        self._describe(f"{self._running}: {text}")

    def finished(self, record: Record) -> None:
        """Put what the cell comes to now into the table; or print its line, first and last."""
        self._spent_s.append(time.monotonic() - self._began)
        self._running = ""
        self._records.setdefault(record.cell.id, []).append(record)
        if record.settled:
            self._open.pop(record.cell.id, None)
            self._bar.advance(self._task)
        if self._live is not None:
            self._live.update(self._view())
        elif record.settled or not record.repeat:
            self._log(cell_line(self._row(record.cell.id)))
        elif time.monotonic() - self._printed > _SILENCE_S:
            process = f"process {record.repeat + 1} of {record.cell.id}"
            self._log(f"{process} is done; about {units.clock(self._left_s())} left")

    def _log(self, words: str) -> None:
        total = len(self._plan.cells) if self._plan else 0
        done = f"[{total - len(self._open)}/{total}]"
        self._console.print(f"{done} {words}", markup=False, soft_wrap=True)
        self._printed = time.monotonic()

    def _warn_of_noise(self) -> None:
        """Say what would spoil the run: even a little foreign load makes all threads wait."""
        for check in doctor.watch(_LOOK_S):
            if check.level == "bad":
                words = f"note: {check.name}: {check.value}; {check.remedy}"
                self._console.print(words, style="yellow", soft_wrap=True)

    def _describe(self, text: str) -> None:
        self._bar.update(self._task, description=text)

    def _view(self) -> Group:
        rows = [self._row(name) for name in self._records]
        return Group(cell_table(rows), Text(), self._bar)

    def _row(self, name: str) -> Row:
        return analyse.rows(self._records[name], self._settings.thresholds)[0]

    def _left_s(self) -> float:
        """Estimate from the budget, then more and more from the processes that are done."""
        if self._plan is None:
            return 0.0
        budget = self._plan.budget
        guess = budget.warmup_s + sum(budget.process_s) / 2 + _START_S
        each = (sum(self._spent_s) + 2 * guess) / (len(self._spent_s) + 2)
        settled = [
            len(found)
            for name, found in self._records.items()
            if name not in self._open and found[-1].outcome.status == "ok"
        ]
        typical = (sum(settled) + sum(budget.processes)) / (len(settled) + 2)
        left = sum(max(typical - len(self._records.get(name, ())), 1.0) for name in self._open)
        running = time.monotonic() - self._began if self._running else 0.0
        return float(max(each * left - min(running, each), 0.0))
