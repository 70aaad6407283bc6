"""Runs and hosts side by side: ratios, geometric means, what is missing, dollars, and the page.

`pytest tests/report --regenerate-golden` rewrites the golden files: read their diff.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import exp, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from cpufit import analysis, units
from cpufit.errors import CpufitError
from cpufit.stats import intervals
from cpufit.tables import page
from cpufit.tables.compare import MEMORY, Ratio, compare
from tests.report import samples

if TYPE_CHECKING:
    from cpufit.schema import Record, Settings
    from cpufit.tables.compare import Comparison, Line

GOLDEN = Path(__file__).parent / "golden"
BOARD = replace(samples.HOST, fingerprint="0f0f0f0f0f0f", cpu_model="ARM Cortex-A72")


def base() -> list[Record]:
    found = [*samples.llm_records(32)[:3], *samples.infer_records(32)[:4]]
    return [process for record in found for process in samples.in_processes(record, 4)]


def on_board(speed: float, threads: int = 4) -> list[Record]:
    return [
        samples.scaled(
            record, speed, 1.0, run_id="board", host=BOARD,
            cell=replace(record.cell, threads=threads),
        )
        for record in base()
    ]  # fmt: skip


def lines(found: Comparison) -> list[Line]:
    return [line for block in found.blocks for line in block.lines]


def terminal(found: Comparison) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(page.as_text(found), soft_wrap=True)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def mixed(settings: Settings) -> Comparison:
    """Return two hosts of which the second lacks something, with prices."""
    board = [
        r if r.cell.card != "qwen2.5-0.5b" else replace(r, outcome=samples.refused(), artifact=None)
        for r in on_board(2.5)
    ]
    failed = [replace(r, host=BOARD) for r in samples.unmeasured()]
    files = [*base(), samples.energy_record()], [*board[:-4], *failed]
    prices = {"ARM Cortex-A72": 60.0, samples.HOST.fingerprint: 900.0}
    return compare(files, settings.levels, prices)


def test_a_run_against_itself_is_the_same_everywhere(settings: Settings) -> None:
    found = compare([base(), base()], settings.levels, {})
    assert len(lines(found)) > 10
    for line in lines(found):
        (ratio,) = line.ratios
        assert ratio is not None
        assert ratio.value == 1
        assert ratio.kind == "same"
    assert [side.letter for side in found.sides] == ["A", "B"]
    assert not any(cells for _, cells in found.missing)


def test_a_ratio_is_that_of_the_intervals(settings: Settings) -> None:
    found = compare([base(), on_board(1.5)], settings.levels, {})
    table = analysis.rows(base(), settings.levels)
    logs = np.log([np.median(r.outcome.series[0].values) for r in table[0].used])
    line = next(line for line in lines(found) if line.figure == "TTFT at 128 tokens")
    (ratio,) = line.ratios
    assert ratio is not None
    assert ratio.value == pytest.approx(1.5)
    expected = intervals.ratio(logs + np.log(1.5), logs)
    assert ratio.interval == pytest.approx(expected)
    assert ratio.kind == "more"
    assert {line.ratios[0].kind for line in lines(found) if line.ratios[0]} == {"more", "same"}
    assert {
        line.figure for line in lines(found) if line.ratios[0] and line.ratios[0].kind == "same"
    } == {MEMORY}


def test_memory_of_processes_that_differ_agrees_with_its_ratio(settings: Settings) -> None:
    """The largest of each side, as in the report, may come to another ratio than is printed."""
    one = samples.infer_records(8)[0]
    sides = [
        [samples.scaled(one, 1.0, size, repeat=number) for number, size in enumerate(sizes)]
        for sizes in ((1.0, 1.0, 1.5), (1.5, 1.5, 1.5))
    ]
    line = next(of for of in lines(compare(sides, settings.levels, {})) if of.figure == MEMORY)
    (ratio,) = line.ratios
    assert ratio is not None
    before, after = (float(words.split()[0]) for (words,) in line.values)
    assert after / before == pytest.approx(ratio.value, rel=0.01)
    assert ratio.value > 1.2


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.8214, "0.821"), (0.9999, "1.000"), (1.0041, "1.004"), (1.26, "1.26"), (12.34, "12.3")],
)
def test_a_ratio_near_one_is_told_from_one(value: float, words: str) -> None:
    assert Ratio(value=value, interval=None).value_words == words


def test_a_geometric_mean_is_of_the_cells_and_narrower_than_each(settings: Settings) -> None:
    found = compare([base(), on_board(0.5)], settings.levels, {})
    for block in found.blocks:
        for figure, (mean,) in block.means:
            mine = [line.ratios[0] for line in block.lines if line.figure == figure]
            assert mean is not None
            assert mean.count == len(mine)
            values = [ratio.value for ratio in mine if ratio]
            assert mean.value == pytest.approx(exp(np.mean(np.log(values))))
            each = [ratio.interval for ratio in mine if ratio and ratio.interval]
            assert mean.interval is not None
            low, high = mean.interval
            assert low <= mean.value <= high
            if figure == MEMORY:  # the same in each process
                continue
            if len(mine) > 1:
                assert high / low < max(b / a for a, b in each)
            else:
                assert (low, high) == pytest.approx(each[0])


def test_geometric_means_of_equal_cells_hold_one_as_often_as_promised(settings: Settings) -> None:
    """A/A of drawn processes: the interval excludes 1 in about 5 of 100 cases."""
    random = np.random.default_rng(1)
    outside = 0
    whole = [samples.infer_records(4)[0], samples.infer_records(4)[4]]
    for _ in range(300):
        sides = []
        for _ in range(2):
            side = []
            for record in whole:
                for repeat in range(4):
                    speed = float(random.lognormal(0, 0.1))
                    side.append(samples.scaled(record, speed, 1.0, repeat=repeat))
            sides.append(side)
        found = compare(sides, settings.levels, {})
        (mean,) = next(means for figure, means in found.blocks[0].means if figure == "latency")
        assert mean is not None
        outside += mean.kind != "same"
    assert outside / 300 <= 0.05 + 3 * sqrt(0.05 * 0.95 / 300)


def test_threads_may_differ_where_each_side_has_one_count(settings: Settings) -> None:
    found = compare([base(), on_board(1.0, threads=2)], settings.levels, {})
    assert all(line.cell.endswith("t4/2") for line in lines(found))
    swept = [replace(r, cell=replace(r.cell, threads=1)) for r in base()]
    with pytest.raises(CpufitError, match="no cell was measured on two sides"):
        compare([[*base(), *swept], on_board(1.0, threads=2)], settings.levels, {})


def test_what_is_missing_says_why(settings: Settings) -> None:
    found = mixed(settings)
    (_, in_first), (_, in_board) = found.missing
    assert in_first == ()
    text = "\n".join(in_board)
    assert "qwen2.5-0.5b int4 llama.cpp latency t4: unsupported: llama.cpp has no" in text
    assert "smollm2-135m int4 llama.cpp energy t4: not in these results" in text


def test_one_process_has_a_ratio_without_an_interval(settings: Settings) -> None:
    one = samples.llm_records(8)
    twice = [samples.scaled(r, 2.0, 1.0) for r in one]
    found = compare([one, twice], settings.levels, {})
    ratio = lines(found)[0].ratios[0]
    assert ratio is not None
    assert ratio.words == "2.00 (no interval)"


def test_it_says_how_many_ratios_would_differ_by_chance(settings: Settings) -> None:
    same = compare([base(), base()], settings.levels, {})
    ratios = [ratio for line in lines(same) for ratio in line.ratios if ratio and ratio.interval]
    chance = units.significant(0.05 * len(ratios), 2)
    told = f"Of {len(ratios)} ratios 0 differ from 1; by chance about {chance} would."
    assert same.by_chance == told
    assert told in terminal(same)
    assert told in page.as_html(same)
    single = samples.llm_records(8)
    assert compare([single, single], settings.levels, {}).by_chance == ""


def test_dollars_divide_the_rate(settings: Settings) -> None:
    found = mixed(settings)
    line = next(line for line in lines(found) if line.figure == "TPOT")
    (_, dear), (_, cheap) = line.values
    rates = [float(words.split()[0]) for words in (dear, cheap)]
    assert rates[1] / rates[0] == pytest.approx(900 / 60 / 2.5, rel=0.01)
    assert dear.endswith(" tokens/s per USD")


def test_a_file_of_two_hosts_is_two_sides(settings: Settings) -> None:
    found = compare([[*base(), *on_board(3.0)]], settings.levels, {})
    assert [side.host for side in found.sides] == [samples.HOST.cpu_model, "ARM Cortex-A72"]


@pytest.mark.parametrize(
    ("prices", "files", "words"),
    [
        ({}, 1, "there is one side only; give two files"),
        ({"Cortex": 3.0}, 2, "unknown host of --price 'Cortex'"),
    ],
)
def test_what_cannot_be_compared(
    settings: Settings, prices: dict[str, float], files: int, words: str
) -> None:
    with pytest.raises(CpufitError, match=re.escape(words)):
        compare([base(), on_board(1.0)][:files], settings.levels, prices)


@pytest.mark.parametrize("name", ["compare.txt", "compare.html"])
def test_what_is_shown_is_the_golden_one(
    settings: Settings, name: str, pytestconfig: pytest.Config
) -> None:
    found = mixed(settings)
    text = terminal(found) if name.endswith("txt") else page.as_html(found)
    text = re.sub(r"<style>.*?</style>", "<style/>", text, flags=re.DOTALL)
    golden = GOLDEN / name
    if pytestconfig.getoption("--regenerate-golden", default=False):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_markup_of_users_stays_text(settings: Settings) -> None:
    evil = [replace(r, cell=replace(r.cell, model="<script>")) for r in base()]
    bold = [replace(r, cell=replace(r.cell, model="net[v1]")) for r in base()]
    text = page.as_html(compare([evil, evil], settings.levels, {}))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    text = terminal(compare([bold, bold], settings.levels, {}))
    assert "net[v1]" in text


def test_a_figure_that_one_side_lacks_is_missing(settings: Settings) -> None:
    (record, *_) = samples.llm_records(32)
    series = tuple(s for s in record.outcome.series if (s.name, s.size) != ("ttft", 512))
    shorter = replace(record, outcome=replace(record.outcome, series=series))
    found = compare([[record], [shorter]], settings.levels, {})
    words = "smollm2-135m int4 llama.cpp latency t4: no TTFT at 512 tokens"
    assert found.missing == (("A", ()), ("B", (words,)))
