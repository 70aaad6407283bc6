"""What a log tells while rounds go on, and what the time left is guessed from."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from cpufit import analysis, config
from cpufit.cli import progress
from cpufit.doctor import checks
from cpufit.plan.request import Plan
from cpufit.probes import host
from tests.report import samples

if TYPE_CHECKING:
    from cpufit.schema import Record


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    monkeypatch.setattr(checks, "watch", lambda _: ())
    monkeypatch.setattr(host, "usable_cores", lambda: 4.0)
    return found


def watched(
    watcher: progress.Watcher, clock: Clock, record: Record, seconds: float, *before: Record
) -> None:
    watcher.started(record.cell)
    clock.now += seconds
    watcher.finished(analysis.rows([*before, record], config.load_settings().levels)[0])


def test_a_log_says_each_cell_twice_and_is_never_silent_for_long(clock: Clock) -> None:
    out = io.StringIO()
    watcher = progress.Watcher(Console(file=out, width=400), config.load_settings())
    first, *between, last = samples.in_processes(samples.infer_records(60)[0], 5)
    watcher.planned(_plan(first), ())
    watched(watcher, clock, first, 5)
    for count, record in enumerate(between, 1):
        watched(watcher, clock, record, 40, first, *between[: count - 1])
    watched(watcher, clock, replace(last, settled="clear"), 5, first, *between)
    header, begun, beat, ended = out.getvalue().splitlines()
    assert header.startswith("1 cell, budget quick; about ")
    assert begun.startswith(f"[0/1] {first.cell.id}: ")
    assert "n 12 in 1 process" in begun
    assert beat.startswith(f"[0/1] process 3 of {first.cell.id} is done; about ")
    assert ended.startswith(f"[1/1] {first.cell.id}: ")
    assert "n 60 in 5 processes" in ended


def test_more_threads_than_cores_are_told_of(clock: Clock) -> None:
    out = io.StringIO()
    watcher = progress.Watcher(Console(file=out, width=400), config.load_settings())
    (record,) = _one()
    watcher.planned(_plan(replace(record, cell=replace(record.cell, threads=99))), ())
    assert "note: 99 threads take turns on 4 usable cores" in out.getvalue()


def test_a_log_says_what_the_page_says_when_that_changes(clock: Clock) -> None:
    out, asked = io.StringIO(), list[bool]()
    said = iter(["", "so far: none", "so far: none", "so far: low"])

    def draw(round_over: bool) -> str:
        asked.append(round_over)
        return next(said)

    watcher = progress.Watcher(Console(file=out, width=400), config.load_settings(), draw)
    first, second, last = samples.in_processes(samples.infer_records(60)[0], 3)
    watcher.planned(_plan(first), ())
    watched(watcher, clock, first, 5)
    watcher.rounded()
    watched(watcher, clock, second, 5, first)
    watcher.rounded()
    assert asked == [False, True, False, True]
    said = iter([""])
    watched(watcher, clock, last, 5, first, second)
    watcher.rounded()  # which is the end: the run draws the page and says what it says
    assert asked == [False, True, False, True, False]
    assert [line for line in out.getvalue().splitlines() if line.startswith("so far")] == [
        "so far: none",
        "so far: low",
    ]


def test_time_left_learns_how_many_processes_cells_take(clock: Clock) -> None:
    watcher = progress.Watcher(Console(file=io.StringIO()), config.load_settings())
    cells = [replace(r, cell=replace(r.cell, threads=t)) for t in range(8) for r in _one()]
    watcher.planned(_plan(*cells), ())
    guessed = watcher._left_s()
    for record in cells[:4]:  # settled at once, and each takes a minute
        watched(watcher, clock, replace(record, settled="clear"), 60)
    assert 4 * 40 < watcher._left_s() < 4 * 60 * 3
    assert guessed > 0


def _one() -> list[Record]:
    return samples.infer_records(60)[:1]


def _plan(*records: Record) -> Plan:
    settings = config.load_settings()
    return Plan(
        cells=tuple(record.cell for record in records),
        models={},
        scenarios={},
        budget=settings.budgets["quick"],
        levels=settings.levels,
    )
