"""The report in a real browser: sorting, filtering, opening, phone width, dark, print, silence."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cpufit.config import load_settings
from cpufit.report import cells, html
from tests.report import drawn, samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
).split()
DRAWN = """() => Promise.race([
    new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(() => drawn(true)))),
    new Promise(late => setTimeout(late, 10_000, false)),
])"""
COLUMN = {key: index for index, (key, _, _) in enumerate(cells.COLUMNS)}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    evil = replace(
        samples.unmeasured()[0],
        run_id="another",
        title="<img src=http://example.com/x onerror=alert(1)>",
        outcome=replace(samples.unmeasured()[0].outcome, notes=("<script>alert(2)</script>",)),
    )
    drawn.write([*samples.two_hosts(), evil], load_settings(), file)
    return file


@pytest.fixture
def visit(browser: Browser, report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    visit.page.close()
    assert visit.trouble == []


class Visit:
    """One look at the page; whatever it logs, asks for or pops up is trouble."""

    def __init__(self, browser: Browser, report: Path) -> None:
        self.trouble: list[str] = []
        self.report = report.as_uri()
        self.browser = browser
        self.page = self._open(1280, 900)

    def _open(self, width: int, height: int) -> Page:
        """Open the report; a busy Chromium may never draw a page, so it gets two more tries."""
        for _ in range(3):
            page = self.browser.new_page(viewport={"width": width, "height": height})
            page.on("console", lambda message: self.trouble.append(message.text))
            page.on("pageerror", lambda error: self.trouble.append(str(error)))
            page.on("dialog", lambda dialog: self.trouble.append(dialog.message))
            page.on("request", lambda request: self._check(request.url))
            page.goto(self.report)
            if page.evaluate(DRAWN):
                return page
            page.close()
        raise AssertionError("three pages were never drawn")

    def _check(self, url: str) -> None:
        if url != self.report and not url.startswith("data:"):
            self.trouble.append(url)

    def at(self, width: int) -> None:
        """Open the report anew at a width; a live page that is resized may lose its next frame."""
        self.page.close()
        self.page = self._open(width, 844)

    def column(self, key: str) -> list[str]:
        """Return the text of one column of the visible measured rows."""
        rows = self.page.locator("#table > tbody > tr:not(.unmeasured):not(.more):visible")
        column = rows.locator(f"xpath=*[{COLUMN[key] + 1}]")
        return [text.strip() for text in column.all_inner_texts()]

    def head(self, key: str) -> str:
        return f"#table thead th:nth-child({COLUMN[key] + 1})"

    def sort(self, key: str) -> None:
        self.page.click(f"{self.head(key)} button")

    def count(self) -> str:
        return self.page.inner_text("#count")


def seconds(words: str) -> float:
    number, unit, *_ = words.split("\n")[0].split()
    return float(number.replace(",", "")) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]


def test_numbers_sort_as_numbers_and_empty_last(visit: Visit) -> None:
    visit.sort("response")
    assert visit.page.get_attribute(visit.head("response"), "aria-sort") == "ascending"
    found = visit.column("response")
    timed = [seconds(words) for words in found if words]
    assert len(timed) > 20
    assert timed == sorted(timed)
    assert found[len(timed) :] == [""] * (len(found) - len(timed))
    visit.sort("response")
    assert visit.page.get_attribute(visit.head("response"), "aria-sort") == "descending"
    falling = visit.column("response")
    assert [seconds(words) for words in falling if words] == sorted(timed, reverse=True)
    assert falling[0] != ""


def test_sorting_by_text_is_stable(visit: Visit) -> None:
    visit.sort("load")
    visit.sort("runtime")
    rows = list(zip(visit.column("runtime"), visit.column("load"), strict=True))
    for runtime in {name for name, _ in rows}:
        loads = [seconds(load) for name, load in rows if name == runtime and load]
        assert loads == sorted(loads)
    assert [name for name, _ in rows] == sorted(name for name, _ in rows)
    sorted_heads = visit.page.locator("#table th[aria-sort]")
    assert sorted_heads.count() == 1


def test_sorting_works_from_the_keyboard(visit: Visit) -> None:
    visit.page.focus(f"{visit.head('size')} button")
    visit.page.keyboard.press("Enter")
    assert visit.page.get_attribute(visit.head("size"), "aria-sort") == "ascending"


def test_filters_filter_and_count(visit: Visit) -> None:
    assert visit.count() == "83 of 83 cells"
    visit.page.select_option("[data-filter=runtime]", "openvino")
    assert set(visit.column("runtime")) == {"openvino"}
    visit.page.select_option("[data-filter=precision]", "int8")
    assert visit.count() == "8 of 83 cells"
    visit.page.fill("#find", "yolo latency")
    assert visit.count() == "1 of 83 cells"
    visit.page.click("#clear")
    visit.page.locator("#count", has_text="83 of 83 cells").wait_for()
    assert not visit.page.is_visible("#clear")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("family", "ocr"),
        ("scenario", "throughput"),
        ("weights", "real"),
        ("status", "oom"),
        ("verdict", "undecided"),
        ("host", "ARM Cortex-A72"),
    ],
)
def test_every_select_narrows(visit: Visit, name: str, value: str) -> None:
    visit.page.select_option(f"[data-filter={name}]", value)
    shown = int(visit.count().split()[0])
    assert 0 < shown < 80
    assert visit.page.locator("#table > tbody > tr:visible").count() == shown


def test_no_match_says_so(visit: Visit) -> None:
    visit.page.fill("#find", "no such model")
    assert visit.count() == "0 of 83 cells"
    assert visit.page.is_visible("#empty")
    assert not visit.page.is_visible("#table")


def test_row_opens_and_closes(visit: Visit) -> None:
    button = visit.page.locator("#table > tbody > tr > th button").first
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    opened = visit.page.inner_text(".opened")
    for words in (
        "TTFT at 512 tokens",
        "n too small",
        "Recipe",
        "steal_share",
        "smollm2-135m/int4",
    ):
        assert words in opened
    button.click()
    assert visit.page.locator(".opened").count() == 0


def test_open_row_follows_its_row(visit: Visit) -> None:
    visit.page.locator("#table > tbody > tr > th button").first.click()
    visit.sort("response")
    before = visit.page.inner_text("#table > tbody > tr:has(+ tr.more) > th")
    assert "SmolLM2 135M" in before
    visit.page.select_option("[data-filter=runtime]", "openvino")
    assert not visit.page.is_visible(".opened")


def test_markup_of_users_is_shown_as_text(visit: Visit) -> None:
    row = visit.page.locator("#table > tbody > tr", has_text="onerror=alert(1)")
    row.locator("button").click()
    assert "<script>alert(2)</script>" in visit.page.inner_text(".opened")
    assert visit.page.locator("img").count() == 0


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_page_never_scrolls_sideways(visit: Visit, width: int) -> None:
    visit.at(width)
    visit.page.locator("#table > tbody > tr > th button").nth(3).click()
    for details in visit.page.locator("main details").all():
        details.locator("summary").first.click()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width


def test_whole_table_fits_a_laptop(visit: Visit) -> None:
    box = visit.page.locator(".scroll:has(> #table)")
    assert box.evaluate("found => found.scrollWidth - found.clientWidth") <= 0


def test_cosines_sort_and_the_bad_one_is_first(visit: Visit) -> None:
    visit.sort("cosine")
    found = visit.column("cosine")
    assert found[0].split("\n") == ["0.9712", "below 0.99"]
    checked = [float(words.split("\n")[0]) for words in found if words]
    assert checked == sorted(checked)
    assert found[len(checked) :] == [""] * (len(found) - len(checked))


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize("table", [".matrix", ".compressing"])
def test_wide_tables_scroll_in_their_own_box_on_a_phone(
    visit: Visit, table: str, width: int
) -> None:
    visit.at(width)
    box = visit.page.locator(f".scroll:has(> {table})").first
    assert box.evaluate("found => found.scrollWidth > found.clientWidth")
    assert box.evaluate("found => found.getBoundingClientRect().right") <= width
    name = box.locator("tbody th").last
    box.evaluate("found => { found.scrollLeft = found.scrollWidth; }")
    assert box.evaluate("found => found.scrollLeft") > 0
    place = (name.locator(".stay") if table == ".compressing" else name).bounding_box()
    assert place is not None
    assert 0 <= place["x"] < 40  # it stays in sight
    assert place["x"] + place["width"] <= width


def test_phone_shows_cards_with_labels(visit: Visit) -> None:
    visit.at(390)
    rows = visit.page.locator("#table > tbody > tr:not(.unmeasured)")
    box = rows.first.bounding_box()
    assert box is not None
    assert box["width"] < 390
    label = (
        rows.first.locator("td")
        .nth(COLUMN["response"] - 1)
        .evaluate("cell => getComputedStyle(cell, '::before').content")
    )
    assert label == '"latency or TTFT"'
    visit.sort("response")
    assert visit.page.get_attribute(visit.head("response"), "aria-sort") == "ascending"


def test_figure_text_is_legible_on_a_phone(visit: Visit) -> None:
    visit.at(390)
    texts = visit.page.locator("figure svg text")
    heights = texts.evaluate_all("found => found.map(t => t.getBoundingClientRect().height)")
    assert min(heights) >= 10


def colour(page: Page, selector: str, name: str) -> tuple[int, ...]:
    value = page.locator(selector).first.evaluate(
        f"found => getComputedStyle(found).getPropertyValue('{name}')"
    )
    return tuple(int(part) for part in re.findall(r"\d+", value)[:3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_scheme(visit: Visit, scheme: Literal["light", "dark"]) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    paper = sum(colour(visit.page, "body", "background-color"))
    ink = sum(colour(visit.page, "body", "color"))
    drawn = sum(colour(visit.page, "figure svg text", "fill"))
    assert (paper < 150) is (scheme == "dark")
    assert (ink > 600) is (scheme == "dark")
    assert (drawn > 350) is (scheme == "dark")


def test_print_leaves_the_controls_out_and_is_light(visit: Visit) -> None:
    visit.page.emulate_media(media="print", color_scheme="dark")
    assert not visit.page.is_visible("#controls")
    assert not visit.page.is_visible("nav")
    assert visit.page.is_visible("#table")
    assert sum(colour(visit.page, "body", "background-color")) == 3 * 255
    assert sum(colour(visit.page, "body", "color")) < 150
    assert visit.page.pdf().startswith(b"%PDF")


def test_table_is_whole_without_javascript(browser: Browser, report: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(report.as_uri())
    assert page.locator("#table > tbody > tr:visible").count() == 83
    assert not page.is_visible("#controls")
    assert "need JavaScript" in page.inner_text("#cells")
    page.close()


def test_a_long_table_unpacks_to_the_same(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for limit in (10, 1000):
        monkeypatch.setattr(html, "LONG", limit)
        drawn.write(samples.two_hosts(), load_settings(), tmp_path / f"{limit}.html")
        visit = Visit(browser, tmp_path / f"{limit}.html")
        visit.page.locator("#controls").wait_for(state="visible")
        visit.page.click("#table tbody tr:not(.unmeasured) th button")
        visit.page.locator("#table .opened").wait_for()
        found.append((visit.page.inner_html("#table"), visit.count()))
        visit.page.close()
        assert visit.trouble == []
    assert found[0] == found[1]
