"""The page of a small record set, word for word; its drawings, style and script left out.

Drawings change with matplotlib's version; style and script are files one can read.
`pytest tests/report --regenerate-golden` rewrites it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.report import drawn
from tests.report.samples import (
    energy_record,
    infer_records,
    language_records,
    llm_records,
    real_llm,
    unmeasured,
)

if TYPE_CHECKING:
    import pytest

    from cpufit.schema import Settings

GOLDEN = Path(__file__).parent / "golden" / "report.html"
DATA = '<script type="application/json" id="data">'


def words_only(page: str) -> str:
    """Drop what is not the page's own words, and put each object of the data on a line."""
    page = re.sub(r"<svg .*?</svg>", "<svg/>", page, flags=re.DOTALL)
    page = re.sub(r"<style>.*?</style>", "<style/>", page, flags=re.DOTALL)
    page = re.sub(r"<script>.*?</script>", "<script/>", page, flags=re.DOTALL)
    before, data = page.split(DATA)
    return before + DATA + data.replace('},{"keys"', '},\n{"keys"').replace("]],[", "]],\n[")


def test_page_is_the_golden_one(settings: Settings, pytestconfig: pytest.Config) -> None:
    small = [*llm_records(64)[:5], real_llm(64), energy_record()]
    records = [*small, *language_records(64)[4:], *infer_records(64)[:3], *unmeasured()]
    text = words_only(drawn.page(records, settings))
    if pytestconfig.getoption("--regenerate-golden", default=False):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
