"""A model file that is replaced while it is measured, or before the run goes on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from cpufit import analysis, config, store
from cpufit.plan.remembered import remember
from cpufit.plan.request import Request
from cpufit.plan.selection import Selection
from cpufit.run import flow
from tests.e2e.helpers import FAST, timings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cpufit.analysis import Row
    from cpufit.plan.request import Plan
    from cpufit.schema import Cell, Record


@dataclass
class Meddler:
    """Watches a run and replaces the file once: after a process, or while one measures."""

    replace: Callable[[], object]
    at: str
    done: list[str] = field(default_factory=list)

    def planned(self, plan: Plan, done: Sequence[Record]) -> None: ...

    def started(self, cell: Cell) -> None: ...

    def rounded(self) -> None: ...

    def stage(self, text: str) -> None:
        self._once(text)

    def finished(self, row: Row) -> None:
        self._once("finished")

    def _once(self, what: str) -> None:
        if what == self.at and not self.done:
            self.done.append(what)
            self.replace()


def _begun(folder: Path) -> tuple[flow.Run, flow.Place]:
    path = timings(folder, "net", luck=0.3, **FAST)
    selection = Selection(scenarios=("latency",))
    request = Request(budget="rapid", selection=selection, files=(str(path),))
    place = flow.Place(output=folder, cache=folder / "cache")
    run = flow.begin(request, place)
    remember(run.results.path, request)
    return run, place


def _another(folder: Path) -> None:
    """Put another model in its place: as large, as old, and whole at every moment."""
    path, other = folder / "net.timings", folder / "other"
    before = path.stat()
    other.write_bytes(path.read_bytes().replace(b'"infer_ms": 4', b'"infer_ms": 9'))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def _row(path: Path) -> Row:
    (row,) = analysis.rows(store.read([path]), config.load_settings().levels)
    return row


@pytest.mark.parametrize("at", ["finished", "measuring"])
def test_a_cell_ends_whose_file_is_replaced(tmp_path: Path, at: str) -> None:
    run, place = _begun(tmp_path)
    meddler = Meddler(lambda: _another(tmp_path), at)
    flow.go(run, place, meddler)
    assert meddler.done
    row = _row(run.results.path)
    assert not row.ok
    assert row.metrics == ()
    assert "net.timings was replaced while it was measured" in row.record.outcome.why


def test_what_was_measured_of_another_file_is_measured_anew(tmp_path: Path) -> None:
    run, place = _begun(tmp_path)
    flow.go(run, place, Meddler(lambda: None, ""))
    kept = flow.resume(run.results.path, place)
    assert len(kept.done) == len(_row(run.results.path).records)
    assert kept.cells == ()
    kept.results.close()
    _another(tmp_path)
    again = flow.resume(run.results.path, place)
    assert again.done == ()
    flow.go(again, place, Meddler(lambda: None, ""))
    row = _row(run.results.path)
    assert row.ok
    assert row.metrics[0].p50 > 5e6
