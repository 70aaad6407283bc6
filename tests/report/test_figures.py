"""Figures show every model, real samples, the colours of the page, and are the same each time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import matplotlib as mpl
import pytest

from cpufit import analysis
from cpufit.report import figures
from tests.report import samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.report.figures import Drawing
    from cpufit.schema import Record, Settings


def draw(records: Sequence[Record], settings: Settings) -> list[Drawing]:
    rows = analysis.rows(records, settings.levels)
    return figures.drawings("host-1", rows, records[0].host, settings.tiers)


@pytest.fixture(scope="module")
def drawn(settings: Settings) -> list[Drawing]:
    return draw(samples.realistic(), settings)


def test_there_are_three_and_each_is_one_element(drawn: list[Drawing]) -> None:
    assert [drawing.title for drawing in drawn] == [
        "How long one request takes",
        "Peak memory on this host",
        "How fast language models run",
    ]
    for drawing in drawn:
        root = ET.fromstring(drawing.svg)
        assert root.tag.endswith("svg")
        assert root.get("role") == "img"
        title, description = root[0], root[1]
        assert title.text == drawing.title
        assert description.text == drawing.caption
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"


def test_every_colour_is_the_pages(drawn: list[Drawing]) -> None:
    """A colour of its own, or black by default, would vanish on a dark page."""
    for drawing in drawn:
        assert re.findall(r"#[0-9a-f]{6}\b", drawing.svg) == []
        texts = re.findall(r"<text [^>]*>", drawing.svg)
        assert texts
        assert all("fill: var(--" in text for text in texts)


def test_text_is_text_in_the_pages_font(drawn: list[Drawing]) -> None:
    assert "PP-OCRv4 detection FP32" in drawn[0].svg
    assert "TinyLlama 1.1B, layers factorise\u2026 INT4" in drawn[2].svg
    assert "Gemini Nano 1.8B (proxy) INT4" in drawn[2].svg
    assert "TinyLlama 1.1B Q4_0" in drawn[2].svg
    assert "500 ms threshold" in drawn[0].svg
    assert "SmolLM2 135M INT4, real weights" in drawn[0].svg
    assert "RAM" in drawn[1].svg
    assert "DejaVu" not in drawn[0].svg


def test_no_date_no_machine_no_stray_ids(drawn: list[Drawing]) -> None:
    for drawing in drawn:
        assert "<metadata" not in drawing.svg
        assert "<style" not in drawing.svg
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', drawing.svg))
        ids = set(re.findall(r' id="([^"]+)"', drawing.svg))
        assert {name for name in ids if not name.startswith("host-1-")} == used


def test_the_same_every_time_whatever_the_users_style(
    drawn: list[Drawing], settings: Settings
) -> None:
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        assert draw(samples.realistic(), settings) == drawn


def test_strokes_are_thinned_but_keep_both_extremes() -> None:
    values = [float(value) for value in range(10_000, 0, -1)]
    thin = figures._thin(values)
    assert len(thin) <= 160
    assert thin[0] == 1.0
    assert thin[-1] == 10_000.0
    assert set(thin) <= set(values)
    assert figures._thin([3.0, 1.0, 2.0]) == [1.0, 2.0, 3.0]


def test_too_many_models_are_counted_not_hidden(settings: Settings) -> None:
    one = samples.infer_records(5)[0]
    many = [
        replace(one, title=f"Net {index}", cell=replace(one.cell, model=f"net-{index}"))
        for index in range(figures.MAX_ROWS + 7)
    ]
    response, memory = draw(many, settings)
    assert "The 7 fastest are left to the table." in response.caption
    assert "The 7 smallest are left to the table." in memory.caption


def test_fastest_runtime_is_drawn(settings: Settings) -> None:
    slow, fast = (
        replace(record, cell=replace(record.cell, runtime=runtime))
        for record, runtime in zip(samples.infer_records(5)[:8:4], ("slow", "fast"), strict=True)
    )
    fast = replace(fast, cell=replace(fast.cell, precision=slow.cell.precision))
    response, *_ = draw([slow, fast], settings)
    assert response.svg.count("MobileNetV3-Small FP32") == 1


def test_newest_record_of_a_cell_counts(settings: Settings) -> None:
    old = samples.infer_records(5)[0]
    new = replace(old, recorded_at="2026-12-01T00:00:00+00:00", title="Again")
    rows = analysis.rows([new, old], settings.levels)
    assert [row.record.title for row in analysis.newest(rows)] == ["Again"]


def test_names_of_users_are_text(settings: Settings) -> None:
    record = samples.infer_records(5)[0]
    named = replace(record, title="<b>$\\frac{1}{0}$ & co")
    response, memory = draw([named], settings)
    for drawing in (response, memory):
        assert "&lt;b&gt;$\\frac{1}{0}$ &amp; co" in drawing.svg


def test_memory_of_decades_is_told_apart(settings: Settings) -> None:
    """A model of 100 MB and one of 10 GB are both readable: each dot has its place on the axis."""
    small, large = samples.infer_records(5)[0], samples.llm_records(5)[0]
    _, memory = draw([with_peak(small, 10**8), with_peak(large, 10**10)], settings)[:2]
    assert "log scale" in memory.svg
    assert all(tick in memory.svg for tick in ("100 MB", "1 GB", "10 GB"))


def with_peak(record: Record, peak_bytes: int) -> Record:
    assert record.outcome.memory
    memory = replace(record.outcome.memory, peak_bytes=peak_bytes)
    return replace(record, outcome=replace(record.outcome, memory=memory))


def test_nothing_measured_draws_nothing(settings: Settings) -> None:
    assert draw(samples.unmeasured(), settings) == []
