"""The page of a comparison in a real browser: phone and laptop, light and dark, silence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cpufit.config import load_settings
from cpufit.tables import page
from cpufit.tables.compare import compare
from tests.browser.test_report_page import CHROMIUM, browser, colour  # noqa: F401 - a fixture
from tests.report import samples

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from playwright.sync_api import Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    board = replace(samples.HOST, fingerprint="0f", cpu_model="ARM Cortex-A72")
    base = samples.realistic(16)
    other = [replace(record, host=board) for record in base[5:]]
    prices = {"ARM Cortex-A72": 60.0}
    file: Path = tmp_path_factory.mktemp("compare") / "compare.html"
    found = compare([base, other], load_settings().levels, prices)
    file.write_text(page.as_html(found), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_follows_the_scheme(
    browser: Browser,  # noqa: F811
    address: str,
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    trouble: list[str] = []
    opened.on("console", lambda message: trouble.append(message.text))
    opened.on("request", lambda asked: trouble.append(asked.url) if asked.url != address else None)
    opened.goto(address)
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    assert (sum(colour(opened, "body", "background-color")) < 150) is (scheme == "dark")
    assert opened.locator("table.matrix").count() >= 4
    assert "ARM Cortex-A72 against Intel" in opened.inner_text("h1")
    opened.close()
    assert [url for url in trouble if not url.startswith("data:")] == []


def test_a_phone_shows_the_ratios_without_scrolling(
    browser: Browser,  # noqa: F811
    address: str,
) -> None:
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    opened.goto(address)
    for table in opened.locator(".scroll").all():
        assert table.evaluate("box => box.scrollWidth <= box.clientWidth")
    opened.close()
