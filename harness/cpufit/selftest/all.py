"""Every check in order, each said as soon as it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit import analysis, config, store
from cpufit.paths import data_root
from cpufit.selftest import live, replay, worlds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cpufit.analysis import Row
    from cpufit.run.flow import Observer, Place
    from cpufit.selftest import Finding

RECORDED = "reference_results"
_PAIRS = 8
_DRAWS = 100  # of each recorded run


def recorded(files: Sequence[Path]) -> Iterator[Finding]:
    """Replay recorded processes; those that ship where none are named."""
    settings = config.load_settings()
    found = files or sorted((data_root() / RECORDED).glob("*/*/selftest-*.parquet"))
    yield from _replayed(analysis.rows(store.read(found), settings.levels))


def on_this_host(processes: int, place: Place, observer: Observer) -> Iterator[Finding]:
    """Measure for some minutes, and replay what was measured."""
    yield from live.overhead(3, place)
    yield live.guards()
    yield from live.fidelity(_PAIRS, place, observer)
    yield from live.sensitivity(processes, place, observer)
    yield live.hog(3, place, observer)
    yield from _replayed(live.again(processes, place, observer))


def _replayed(rows: Sequence[Row]) -> Iterator[Finding]:
    settings, traces = config.load_settings(), replay.traces(rows)
    levels = settings.levels
    for name in ("rapid", "quick"):  # verdicts of the last: both take as many processes
        budget = settings.budgets[name]
        yield worlds.left_out(replay.by_run(traces), budget, _DRAWS)
        yield from worlds.coverage(budget)
    yield from worlds.verdicts(budget, levels)
    yield from worlds.coverage(settings.budgets["full"], worlds.HARD)
    yield worlds.early()
    yield replay.again(traces, 5)
    yield replay.in_turns(traces, 5)
    yield from replay.estimators(traces, 5)
    yield from replay.verdicts(traces, budget, levels)
