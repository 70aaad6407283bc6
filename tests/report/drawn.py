"""The page of records: what `cpufit report` does between reading and writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit import analysis
from cpufit.report import html, view

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cpufit.report.view import Page
    from cpufit.schema import Record, Settings


def seen(records: Iterable[Record], settings: Settings) -> Page:
    """Return all that the page shows."""
    return view.page(analysis.rows(records, settings.levels), settings)


def page(records: Iterable[Record], settings: Settings, so_far: str = "") -> str:
    """Return the page's text."""
    return html.render(analysis.rows(records, settings.levels), settings, so_far)


def write(records: Iterable[Record], settings: Settings, path: Path) -> None:
    """Write the page."""
    html.write(analysis.rows(records, settings.levels), settings, path)
