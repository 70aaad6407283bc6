"""What a user sees while a run goes on: a bar with the time left and a live table, or lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.text import Text

from cpufit import analysis, units
from cpufit.doctor import checks as doctor
from cpufit.probes import host
from cpufit.report.terminal import cell_line, cell_table, table_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.progress import Task

    from cpufit.analysis import Row
    from cpufit.plan.request import Plan
    from cpufit.report.terminal import TableLine
    from cpufit.schema import Cell, Record, Settings

_ROOM = 80  # columns; a narrower terminal gets lines, as a log does
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
    """Observes a run for a terminal, or for a log where output is not one.

    It keeps words, no samples: what it holds does not grow with them.
    """

    def __init__(
        self, console: Console, settings: Settings, draw: Callable[[bool], str] | None = None
    ) -> None:
        self._console = console
        self._settings = settings
        self._live: Live | None = None
        self._lines: dict[str, TableLine] = {}  # of each cell that was begun, by its id
        self._counts: dict[str, int] = {}  # processes of the same
        self._settled: list[int] = []  # processes that settled cells took
        self._open: dict[str, None] = {}  # ids of cells that are not settled, in order
        self._spent_s: list[float] = []
        self._began, self._running = 0.0, ""
        self._printed = 0.0
        self._plan: Plan | None = None
        self._draw = draw  # the report, after a round or within; returns what it says
        self._verdict = ""
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
        self._open = {cell.id: None for cell in plan.cells}
        for row in analysis.rows(done, self._settings.levels):
            self._note(row)
        total = len(plan.cells)
        self._bar.update(self._task, total=total, completed=total - len(self._open))
        kept = f", {units.counted(len(done), 'process')} kept from before" if done else ""
        self._console.print(
            f"{units.counted(total, 'cell')}, budget {plan.budget.name}{kept}; "
            f"about {units.clock(self._left_s())}"
        )
        for words in plan.why:
            self._console.print(words, soft_wrap=True)
        self._warn_of_threads(max((cell.threads for cell in plan.cells), default=0))
        self._warn_of_noise()
        if self._console.is_terminal and self._console.width >= _ROOM and self._open:
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

    def finished(self, row: Row) -> None:
        """Put what the cell comes to now into the table; or print its line, first and last."""
        record = row.records[-1]
        self._spent_s.append(time.monotonic() - self._began)
        self._running = ""
        self._note(row)
        if record.settled:
            self._bar.advance(self._task)
        if self._live is not None:
            self._live.update(self._view())
        elif record.settled or not record.repeat:
            self._log(cell_line(row))
        elif time.monotonic() - self._printed > _SILENCE_S:
            process = f"process {record.repeat + 1} of {record.cell.id}"
            self._log(f"{process} is done; about {units.clock(self._left_s())} left")

        self._redraw(round_over=False)

    def rounded(self) -> None:
        """Let the report be drawn; the end of a run draws it whole."""
        if self._open:
            self._redraw(round_over=True)

    def _redraw(self, *, round_over: bool) -> None:
        words = self._draw(round_over) if self._draw else ""
        if not words or words == self._verdict:
            return
        self._verdict = words
        if self._live is not None:
            self._live.update(self._view())
        else:
            self._console.print(words, soft_wrap=True)

    def _note(self, row: Row) -> None:
        """Keep a cell's line, and how many processes it took."""
        name, last = row.record.cell.id, row.records[-1]
        self._lines[name], self._counts[name] = table_line(row), len(row.records)
        if last.settled:
            self._open.pop(name, None)
            self._settled += [len(row.records)] if last.outcome.status == "ok" else []

    def _log(self, words: str) -> None:
        total = len(self._plan.cells) if self._plan else 0
        done = f"[{total - len(self._open)}/{total}]"
        self._console.print(f"{done} {words}", soft_wrap=True)
        self._printed = time.monotonic()

    def _warn_of_threads(self, most: int) -> None:
        usable = host.usable_cores()
        if most > usable:
            words = f"note: {most} threads take turns on {usable:g} usable cores: slower than fewer"
            self._console.print(words, style="yellow", soft_wrap=True)

    def _warn_of_noise(self) -> None:
        """Say what would spoil the run: even a little foreign load makes all threads wait."""
        for check in doctor.watch(_LOOK_S):
            if check.level == "bad":
                words = f"note: {check.name}: {check.value}; {check.remedy}"
                self._console.print(words, style="yellow", soft_wrap=True)

    def _describe(self, text: str) -> None:
        self._bar.update(self._task, description=text)

    def _view(self) -> Group:
        verdict = [Text(f"\n{self._verdict}", style="bold")] if self._verdict else []
        return Group(cell_table(self._lines.values()), *verdict, Text(), self._bar)

    def _left_s(self) -> float:
        """Estimate from the budget, then more and more from the processes that are done."""
        if self._plan is None:
            return 0.0
        budget = self._plan.budget
        guess = budget.warmup_s + sum(budget.process_s) / 2 + _START_S
        each = (sum(self._spent_s) + 2 * guess) / (len(self._spent_s) + 2)
        typical = (sum(self._settled) + sum(budget.processes)) / (len(self._settled) + 2)
        left = sum(max(typical - self._counts.get(name, 0), 1.0) for name in self._open)
        running = time.monotonic() - self._began if self._running else 0.0
        return float(max(each * left - min(running, each), 0.0))
