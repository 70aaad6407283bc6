"""Every check in order, each said as soon as it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit import analysis, config, store
from cpufit.paths import data_root
from cpufit.selftest import live, replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cpufit.analysis import Row
    from cpufit.run.flow import Observer, Place
    from cpufit.selftest import Finding

RECORDED = "reference_results"
_PAIRS = 8


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
    settings = config.load_settings()
    traces = replay.traces(rows)
    for name in ("rapid", "quick"):
        yield replay.coverage(traces, settings.budgets[name])
    yield replay.again(traces, 5)
    yield replay.in_turns(traces, 5)
    yield from replay.estimators(traces, 5)
    for name in ("rapid", "quick"):
        yield from replay.verdicts(traces, settings.budgets[name], settings.levels)
