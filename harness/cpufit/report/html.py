"""The sizing report: one HTML file that asks nothing of the network."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from cpufit import units
from cpufit.analysis import words
from cpufit.files import save
from cpufit.paths import data_root
from cpufit.report import cells, view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpufit.analysis import Row
    from cpufit.schema import Settings

LONG = 1000  # cells; what the rows of a longer table open to is packed


def render(table: Sequence[Row], settings: Settings, so_far: str = "") -> str:
    """Return the page; `so_far` says how far a run is that goes on.

    The same rows give the same bytes: no clock, no host is asked.
    """
    page = view.page(table, settings)
    return filled(
        "report.html.j2",
        page=page,
        so_far=so_far,
        columns=cells.COLUMNS,
        island=Markup(page.island),  # noqa: S704 - escaped for <script> where it is made
        packed=_packed(page.island) if len(page.cells) > LONG else "",
        script=_read("report.js"),
        unpack=_read("unpack.js"),
    )


def _lines(words: Sequence[str]) -> Markup:
    """Return a figure and its small print; a long table has too many for macros."""
    return escape(words[0]) + Markup("").join([_small(line) for line in words[1:]])


def _small(words: str) -> Markup:
    return Markup(f"<small>{escape(words)}</small>") if words else Markup("")  # noqa: S704 - escaped


def _packed(text: str) -> str:
    """Return what unpack.js makes the text of again, in a tenth of its bytes."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def filled(template: str, **values: object) -> str:
    """Return a template of `reports/`, filled in and in the report's style."""
    environment = Environment(
        loader=FileSystemLoader(data_root() / "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["lines"] = _lines
    environment.filters["small"] = _small
    environment.filters["duration"] = units.duration
    environment.filters["against"] = words.against
    environment.filters["inexact"] = words.inexact
    return environment.get_template(template).render(style=_read("report.css"), **values)


def write(table: Sequence[Row], settings: Settings, path: Path, so_far: str = "") -> None:
    """Write the page to `path`, whole or not at all; raise DataError where that is refused."""
    save(render(table, settings, so_far).encode(), path)


def _read(name: str) -> Markup:
    return Markup((data_root() / "reports" / name).read_text(encoding="utf-8"))  # noqa: S704 - ours
