"""When the page is drawn while a run goes on, and what it says of how far that is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cpufit import config
from cpufit.analysis.open import so_far
from cpufit.cli import drawing
from cpufit.plan.request import Request, cells_of
from tests.report import drawn, samples
from tests.samples import stored

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """Time that moves when told, or while something is drawn."""

    def __init__(self, costs_s: float) -> None:
        self.now, self.costs_s, self.drawn = 0.0, costs_s, 0

    def draw(self, results: Path) -> str:
        self.now += self.costs_s
        self.drawn += 1
        return results.stem


def _drawing(clock: Clock, path: Path) -> drawing.Drawing:
    return drawing.Drawing(path, clock.draw, lambda: clock.now)


@pytest.mark.parametrize(
    ("round_over", "costs_s", "rests_s"), [(True, 1, 10), (False, 1, 60), (False, 9, 90)]
)
def test_the_page_is_drawn_where_it_costs_little(
    round_over: bool, costs_s: float, rests_s: float, tmp_path: Path
) -> None:
    clock = Clock(costs_s)
    draw = _drawing(clock, tmp_path / "run.parquet")
    assert draw(round_over) == ""  # a short run draws once, at its end
    clock.now += 90
    assert draw(round_over) == "run"
    clock.now += rests_s - 0.5
    assert draw(round_over) == ""
    clock.now += 1
    assert draw(round_over) == "run"
    assert clock.drawn == 2


def test_a_process_of_its_own_draws_the_page_and_says_the_verdict(tmp_path: Path) -> None:
    records = [replace(record, settled="clear") for record in samples.realistic()]
    ids = tuple(record.cell.id for record in records)
    request = Request(cells=(*ids, "another/int8/fake/latency/t2")).to_json()
    path = stored(tmp_path / "run-1.parquet", records, request)
    known = len(set(ids))
    said = drawing._draw(path)
    assert said.startswith(f"So far: {known} of {known + 1} cells are done. ")
    assert "ecommended" in said
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"So far: {known} of {known + 1} cells are done." in page


def test_a_page_that_cannot_be_drawn_says_nothing(tmp_path: Path) -> None:
    assert drawing._draw(tmp_path / "none.parquet") == ""


def test_a_run_at_its_end_is_not_so_far() -> None:
    records = [replace(record, settled="clear") for record in samples.realistic()]
    ids = tuple(record.cell.id for record in records)
    assert so_far([(records, ids)]) == ""
    assert so_far([(records, ()), (records, ids)]) == ""
    assert so_far([(records[:1], ids), (records, ids)]).startswith(f"So far: {len(set(ids)) + 1} ")
    assert "So far" not in drawn.page(records, config.load_settings())
    assert "So far: x." in drawn.page(records, config.load_settings(), "So far: x")


def test_an_earlier_file_does_not_say_which_cells_it_was_to_hold() -> None:
    assert cells_of('{"suite": "smoke"}') == cells_of("") == cells_of("[") == ()
    assert cells_of(Request(cells=("a", "b")).to_json()) == ("a", "b")
