"""The page is whole, safe against names and reasons of users, the same every time, and complete."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import sys
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cpufit.errors import DataError
from cpufit.paths import data_root
from cpufit.report import html
from cpufit.schema import Outcome
from tests.report import drawn, samples

if TYPE_CHECKING:
    from cpufit.schema import Record, Settings

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 1234 * 4321 }}"
VOID = {"meta", "link", "input", "br", "img", "path", "use", "rect"}


def island(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


class Outline(HTMLParser):
    """Collects elements, ids, text and whatever is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_markup_is_well_formed_and_ids_are_unique(settings: Settings) -> None:
    outline = Outline(drawn.page(samples.two_hosts(), settings))
    assert outline.wrong == []
    assert outline.open == []
    ids = [attrs["id"] for _, attrs in outline.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in outline.elements:
        targets = (attrs.get("aria-labelledby") or "").split()
        targets += [(attrs.get("href") or "").removeprefix("#")] if "href" in attrs else []
        assert set(targets) <= {*ids, "data:,"}


def test_headings_skip_no_level(realistic_page: str) -> None:
    levels = [int(level) for level in re.findall(r"<h([1-6])", realistic_page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_nothing_is_loaded_from_elsewhere(realistic_page: str) -> None:
    policy = "default-src 'none'"
    assert policy in realistic_page
    outline = Outline(realistic_page)
    for tag, attrs in outline.elements:
        assert tag not in {"img", "iframe", "object", "embed"}
        assert "src" not in attrs
        assert not any(name.startswith("on") for name in attrs)
        for name in ("href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:,"))
    assert "@import" not in realistic_page
    urls = set(re.findall(r"https?://[^\s\"'<]+", realistic_page))
    assert urls <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_page_is_small(realistic_page: str) -> None:
    assert len(realistic_page.encode()) < 400_000


def test_same_records_give_the_same_bytes(realistic_page: str, settings: Settings) -> None:
    assert drawn.page(samples.realistic(), settings) == realistic_page


def evil() -> Record:
    """Return a measured record whose every text is markup."""
    tame = samples.llm_records(64)[2]
    assert tame.artifact is not None
    return replace(
        tame,
        title=EVIL,
        run_id=EVIL,
        budget=EVIL,
        cell=replace(tame.cell, model=EVIL, runtime=EVIL, variant=EVIL),
        host=replace(tame.host, cpu_model=EVIL, flags=(EVIL,), packages={EVIL: EVIL}),
        artifact=replace(tame.artifact, format=EVIL, recipe=EVIL, notes=(EVIL,)),
        outcome=replace(
            tame.outcome,
            stop=EVIL,
            settings={EVIL: EVIL},
            versions={EVIL: EVIL},
            noise={EVIL: 1.0},
            notes=(EVIL,),
            memory=replace(tame.outcome.memory, method=EVIL) if tame.outcome.memory else None,
        ),
    )


def test_text_of_users_stays_text(settings: Settings) -> None:
    failed = Outcome(status="failed", reason=EVIL, remedy=EVIL)
    page = drawn.page([evil(), replace(evil(), outcome=failed)], settings)
    assert page.count("<script") == page.count("</script") == 2
    assert "<img" not in page
    assert "5332114" not in page
    assert Outline(page).wrong == []
    sections = json.dumps(island(page)["sections"])
    assert json.dumps(EVIL)[1:-1] in sections


def test_no_record_is_dropped_whatever_its_status(settings: Settings) -> None:
    records = samples.realistic()
    page = drawn.page(records, settings)
    body = re.search(r'<table class="cells".*?</table>', page, re.DOTALL)
    assert body is not None
    assert body[0].count("<tr") == len({record.cell.id for record in records}) + 1
    assert len(island(page)["rows"]) == len({record.cell.id for record in records})
    for record in samples.unmeasured():
        reason = record.outcome.reason.replace("'", "&#39;")
        assert reason in body[0]
        assert record.outcome.remedy.replace("'", "&#39;") in body[0]
        assert f">{record.outcome.status}<" in body[0]


def test_weights_stand_on_every_row(settings: Settings) -> None:
    page = drawn.page(samples.realistic(), settings)
    body = re.search(r'<table class="cells".*?</table>', page, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr.*?</tr>", body[0], re.DOTALL)[1:]
    assert all("<td>synthetic</td>" in row or "<td>real</td>" in row for row in rows)
    assert sum("<td>real</td>" in row for row in rows) == 5


def test_details_hold_what_was_recorded(settings: Settings) -> None:
    record = samples.llm_records(128)[0]
    data = island(drawn.page([record], settings))
    sections = dict(data["sections"][index] for index in data["rows"][0]["sections"])
    measured = {line[0]: line[1:] for line in sections["Measured"]}
    assert measured["TTFT at 128 tokens"][1] == "unknown: one process"
    assert measured["TTFT at 128 tokens"][6] == "128"
    # p90 wants 64 samples, p95 130, p99 662.
    assert "n too small" not in measured["TTFT at 128 tokens"][3]
    assert measured["TTFT at 128 tokens"][4:6] == ["n too small", "n too small"]
    assert measured["TTFT at 512 tokens"][3:7] == [*["n too small"] * 3, "32"]
    assert ["llama-cpp-python", "0.3.36"] in sections["Versions"]
    assert ["threads", "4"] in sections["Settings"]
    assert ["Format", "Q4_K_M"] in sections["Artifact"]
    assert ["Sampling ended", record.outcome.stop] in sections["Run"]


def test_shared_sections_are_kept_once(settings: Settings) -> None:
    record = samples.llm_records(5)[0]
    slower = replace(record, cell=replace(record.cell, threads=8))
    once = island(drawn.page([record], settings))["sections"]
    twice = island(drawn.page([record, slower], settings))["sections"]
    assert len(twice) == len(once) + 1  # the cell's own name


def test_each_process_of_a_cell_is_told(settings: Settings) -> None:
    calm = samples.in_processes(samples.infer_records(60)[0], 4)
    calm[3] = replace(calm[3], outcome=replace(calm[3].outcome, notes=("the clock was set",)))
    data = island(drawn.page([calm[0], samples.disturbed(calm[1]), *calm[2:]], settings))
    sections = dict(data["sections"][index] for index in data["rows"][0]["sections"])
    assert [line[2] for line in sections["Processes"][1:]] == [
        "",
        "other programs used 30.0% of the CPU",
        "",
        "",
    ]
    assert ["Samples", "45 in 3 processes, 1 disturbed set aside"] in sections["Run"]
    assert " to " in sections["Measured"][1][2]
    assert ["", "the clock was set"] in sections["Notes"]


def test_each_host_has_its_recommendation(settings: Settings) -> None:
    page = drawn.page(samples.two_hosts(), settings)
    assert "Recommended tier: low" in page
    assert ">No tier " in page
    assert page.count('<section class="host"') == 2
    assert '<select data-filter="host">' in page


def test_missed_tier_says_why_nothing_was_measured(settings: Settings) -> None:
    """An out-of-memory model is not 'no record': its reason is what a buyer must read."""
    page = drawn.page(samples.realistic(), settings)
    assert "oom on llama.cpp: killed for memory at 15.9 GB resident" in page


def test_every_tier_met_leaves_no_next(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    low = replace(settings, tiers=settings.tiers[:1])
    page = drawn.page(samples.realistic(), low)
    assert "Every tier is met" in page
    assert "Nearest miss" not in page


def test_without_records_the_page_says_so(settings: Settings) -> None:
    page = drawn.page([], settings)
    assert "the results hold no records" in page
    assert Outline(page).wrong == []


def test_only_unmeasured_records(settings: Settings) -> None:
    page = drawn.page(samples.unmeasured(), settings)
    assert ">No tier " in page
    assert "<figure>" not in page
    assert "0 measured, 7 not" in page


def test_page_of_thousands_stays_reasonable(settings: Settings) -> None:
    page = drawn.page([replace(r, outcome=short(r.outcome)) for r in samples.many(2000)], settings)
    assert len(page.encode()) < 2_500_000


def short(outcome: Outcome) -> Outcome:
    """Keep five samples: sizes, not samples, are asked for."""
    series = tuple(replace(s, values=s.values[:5]) for s in outcome.series)
    return replace(outcome, series=series)


# ------------------------------------------------------------------------------------------ writing
def test_data_of_a_long_page_are_packed(
    realistic_page: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "LONG", 10)
    page = drawn.page(samples.realistic(), settings)
    packed = re.search(r'id="packed">([^<]+)<', page)
    plain = re.search(r'id="data">([^<]+)<', realistic_page)
    assert packed
    assert plain
    assert zlib.decompress(base64.b64decode(packed[1])).decode() == plain[1]
    assert page.count("<tr") == realistic_page.count("<tr")
    assert len(page) < len(realistic_page)


def test_write_replaces_the_file_whole(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    records = samples.unmeasured()
    drawn.write(records, settings, target)
    assert target.read_text(encoding="utf-8") == drawn.page(records, settings)
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]
    if sys.platform != "win32":
        assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_write_refused_is_one_line(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot write .*missing.*: No such file"):
        drawn.write(samples.unmeasured(), settings, tmp_path / "missing" / "report.html")


def test_write_that_fails_leaves_the_old_file(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        drawn.write(samples.unmeasured(), settings, target)
    assert target.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


# ------------------------------------------------------------------------------------------- colour
def variables(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", css))


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_aa(scheme: str) -> None:
    css = (data_root() / "reports" / "report.css").read_text(encoding="utf-8")
    first, second, *_ = css.split(":root {")[1:]
    colours = variables(first.split("}")[0] if scheme == "light" else second.split("}")[0])
    for ground in ("paper", "raised"):
        for name in ("ink", "muted", "accent", "under", "over", "undecided"):
            a, b = sorted((luminance(colours[name]), luminance(colours[ground])))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (name, ground)


def test_verdicts_are_words(settings: Settings) -> None:
    page = drawn.page(samples.realistic(), settings)
    answers = re.findall(r'class="v-([a-z-]+)">([a-z ]+)', page)
    assert {name for name, _ in answers} >= {"yes", "no", "under", "over", "undecided"}
