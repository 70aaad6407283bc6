"""What a run's cells say together of how much processes differ, and what its file keeps of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cpufit import analysis, config
from cpufit.analysis import spreads
from cpufit.schema import Series
from cpufit.stats import moderated
from tests.samples import RECORD

if TYPE_CHECKING:
    from cpufit.schema import Record

LEVELS = config.load_settings().levels


def cell(name: str, spread: float, processes: int, **noise: float) -> list[Record]:
    """Return processes of one cell, of a second each, that differ by so much."""
    random = np.random.default_rng(len(name) + processes)
    found = []
    for repeat, luck in enumerate(random.normal(0, spread, processes)):
        values = (float(1e6 * np.exp(luck)),) * 3
        series = Series(name="latency", unit="ns", size=1, items=1, values=values)
        outcome = replace(RECORD.outcome, series=(series,), noise={"wall_s": 1.0, **noise})
        found.append(
            replace(RECORD, cell=replace(RECORD.cell, model=name), repeat=repeat, outcome=outcome)
        )
    return found


def typical(*cells: list[Record]) -> dict[str, float]:
    rows = analysis.rows([record for each in cells for record in each], LEVELS)
    return spreads.of_run(spreads.of_cell(row, 0.9) for row in rows)


def test_a_run_of_one_cell_says_nothing_of_others() -> None:
    assert typical(cell("a", 0.05, 5)) == {}


def test_five_cells_of_two_processes_say_what_is_typical() -> None:
    cells = [cell("a" * n, 0.05, 2) for n in range(1, 6)]
    assert typical(*cells[:4], cell("once", 0.05, 1)) == {}
    assert typical(*cells).keys() == {"median", "tail"}
    many = [cell("a" * n, 0.05, 4) for n in range(1, 40)]
    assert typical(*many)["median"] == pytest.approx(0.05, rel=0.25)


def test_processes_that_were_set_aside_do_not_count() -> None:
    cells = [cell("a" * n, 0.02, 4) for n in range(1, 20)]
    hogged = [
        [*each, *(replace(r, repeat=9) for r in cell("a" * n, 1.0, 1, foreign_s=1.0))]
        for n, each in enumerate(cells, 1)
    ]
    assert typical(*hogged) == typical(*cells)


def test_where_all_are_disturbed_all_count() -> None:
    cells = [cell("a" * n, 0.3, 4, foreign_s=1.0) for n in range(1, 20)]
    assert typical(*cells)["median"] > 0.15


def test_a_row_is_judged_by_what_its_run_knew_last() -> None:
    """A run that was resumed on a noisier day is judged by all of its days."""
    first, last = {"median": 0.01, "tail": 0.02}, {"median": 0.1, "tail": 0.2}
    records = [
        replace(record, typical=known)
        for record, known in zip(cell("a", 0.02, 3), ({}, first, last), strict=True)
    ]
    (row,) = analysis.rows(records, LEVELS)
    assert row.typical == moderated.Typical(**last)
    (before,) = analysis.rows(records[:2], LEVELS)
    assert before.typical == moderated.Typical(**first)
    (elsewhere,) = analysis.rows([replace(r, typical={}) for r in records], LEVELS)
    assert elsewhere.typical == moderated.UNKNOWN
    assert row.metrics[0].estimate.half_width > before.metrics[0].estimate.half_width


def test_other_runs_in_the_same_files_keep_their_own() -> None:
    quiet = [replace(r, typical={"median": 0.01, "tail": 0.01}) for r in cell("a", 0.01, 3)]
    loud = [replace(r, run_id="other", typical={"median": 0.2, "tail": 0.2}) for r in quiet]
    rows = analysis.rows([*quiet, *loud], LEVELS)
    assert [row.typical.median for row in rows] == [0.01, 0.2]
