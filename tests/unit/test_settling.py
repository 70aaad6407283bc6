"""When a cell needs no further process, and in what order processes come."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit import analysis, config
from cpufit.analysis.settling import settled
from cpufit.run import rounds
from cpufit.schema import Budget, Cell, Outcome, Series
from tests.samples import RECORD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.schema import Record, Status

MS = 1e6
BUDGET = Budget(
    name="b",
    title="",
    half_width=0.05,
    processes=(3, 6),
    samples=9,
    process_s=(0, 1),
    cell_s=100,
    warmup_s=0,
    timeout_s=9,
)


def _process(repeat: int, ms: float, **noise: float) -> Record:
    series = Series(name="latency", unit="ns", size=1, items=1, values=(ms * MS,) * 3)
    outcome = replace(RECORD.outcome, series=(series,), noise={"wall_s": 1.0, **noise})
    return replace(RECORD, repeat=repeat, outcome=outcome, spent_s=5.0)


def _settled(records: Sequence[Record], budget: Budget = BUDGET) -> str:
    (row,) = analysis.rows(records, config.load_settings().levels)
    return settled(row, budget)


def test_a_cell_ends_when_it_is_narrow_and_clear() -> None:
    calm = [_process(i, 10 + i / 10) for i in range(3)]
    assert _settled(calm[:2]) == ""
    assert _settled(calm) == "within 5% and clear after 3 processes"


def test_a_wide_one_goes_on_to_the_most_processes() -> None:
    wild = [_process(i, ms) for i, ms in enumerate([10, 14, 9, 15, 8, 13])]
    assert [_settled(wild[:n]) for n in range(1, 6)] == [""] * 5
    assert _settled(wild) == "the most processes of the budget, 6"


def test_an_undecided_one_goes_on() -> None:
    near = [_process(i, 495 + i / 10) for i in range(3)]
    assert _settled(near) == ""


def test_an_open_verdict_gets_twice_the_most_processes() -> None:
    near = [_process(i, ms) for i, ms in enumerate([480, 495, 510, 490, 505, 485] * 2)]
    assert _settled(near[:6]) == _settled(near[:11]) == ""
    assert _settled(near) == "the most processes of the budget, 12"


def test_disturbed_processes_are_asked_for_again() -> None:
    calm = [_process(i, 10 + i / 10) for i in range(2)]
    loud = [_process(i, 20, foreign_s=1.0) for i in range(2, 9)]
    assert _settled([*calm, *loud[:6]]) == ""
    assert _settled([*calm, *loud[:3], _process(9, 10.1)]).startswith("within 5%")
    all_loud = [_process(i, 20, foreign_s=1.0) for i in range(12)]
    assert _settled(all_loud[:11]) == ""
    assert _settled(all_loud) == "the most processes of the budget, 12"


def test_time_ends_a_cell_but_not_before_its_fewest_processes() -> None:
    budget = replace(BUDGET, cell_s=4)
    wild = [_process(i, ms) for i, ms in enumerate([10, 14, 9])]
    assert _settled(wild[:1], budget) == _settled(wild[:2], budget) == ""
    assert _settled(wild, budget) == "the 4 s of a cell were over"


def test_what_is_over_by_far_ends_early_where_the_budget_says_so() -> None:
    early = replace(BUDGET, ends_early=True)
    assert _settled([_process(0, 2100)], early) == "over by far after 1 process"
    assert _settled([_process(0, 1900)], early) == ""
    assert _settled([_process(0, 900), _process(1, 800)], early) == "over by far after 2 processes"
    assert _settled([_process(0, 900), _process(1, 700)], early) == ""
    assert _settled([_process(0, 2100)]) == ""
    assert _settled([_process(0, 2100, foreign_s=1.0)], early) == ""


def test_the_shortest_prompt_decides_whether_it_is_over_by_far() -> None:
    early = replace(BUDGET, ends_early=True)
    assert _settled([_prompts(0, 2100, 9000)], early) == "over by far after 1 process"
    records = [_prompts(i, 876, 3460) for i in range(2)]
    assert _settled(records[:1], early) == ""
    assert _settled(records, early) == "over by far after 2 processes"


def _prompts(repeat: int, *ms: float) -> Record:
    series = tuple(
        Series(name="ttft", unit="ns", size=128 * (i + 1), items=1, values=(each * MS,))
        for i, each in enumerate(ms)
    )
    record = _process(repeat, 1)
    return replace(record, outcome=replace(record.outcome, series=series))


@pytest.mark.parametrize("status", ["failed", "oom", "skipped", "unavailable"])
def test_what_cannot_be_measured_is_not_tried_again(status: Status) -> None:
    record = replace(RECORD, outcome=Outcome(status=status, reason="r"))
    assert _settled([record]) == f"not measured: {status}"


def test_memory_needs_one_process() -> None:
    record = replace(RECORD, outcome=replace(RECORD.outcome, series=()))
    assert _settled([record]) == "one process is enough"


def _cells(count: int) -> list[Cell]:
    return [
        Cell(model=f"m{i // 2}", precision="int8", runtime="fake", scenario=f"s{i % 2}", threads=1)
        for i in range(count)
    ]


@given(
    st.integers(0, 40), st.lists(st.integers(0, 9), min_size=20, max_size=20), st.integers(0, 30)
)
def test_blocks_keep_every_cell_and_its_place(count: int, sizes: list[int], room: int) -> None:
    cells = _cells(count)
    found = list(rounds.blocks(cells, lambda cell: sizes[int(cell.model[1:])], room))
    assert [cell for block in found for cell in block] == cells
    assert all(len(block) <= rounds.MOST_CELLS for block in found)
    for block in found:
        held = {cell.model: sizes[int(cell.model[1:])] for cell in block}
        assert sum(held.values()) <= room or len(block) == 1 or len(held) == 1


@given(st.integers(0, 12), st.integers(0, 5))
def test_a_round_is_all_of_them_in_an_order_that_can_be_had_again(count: int, index: int) -> None:
    cells = _cells(count)
    order = rounds.shuffled(cells, index, "seed")
    assert sorted(order, key=lambda cell: cell.id) == sorted(cells, key=lambda cell: cell.id)
    assert order == rounds.shuffled(cells, index, "seed")
    assert index or order == cells
