"""The sizing report: one HTML file that asks nothing of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cpufit import units
from cpufit.errors import DataError
from cpufit.files import replacing
from cpufit.paths import data_root
from cpufit.report import cells, view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cpufit.schema import Record, Settings


def render(records: Sequence[Record], settings: Settings) -> str:
    """Return the page. The same records give the same bytes: no clock, no host is asked."""
    folder = data_root() / "reports"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = units.duration
    environment.filters["against"] = view.against
    environment.filters["inexact"] = view.inexact_words
    page = view.page(records, settings)
    return environment.get_template("report.html.j2").render(
        page=page,
        columns=cells.COLUMNS,
        island=Markup(page.island),  # noqa: S704 - escaped for <script> where it is made
        style=_read(folder / "report.css"),
        script=_read(folder / "report.js"),
    )


def write(records: Sequence[Record], settings: Settings, path: Path) -> None:
    """Write the page to `path`, whole or not at all; raise DataError where that is refused."""
    text = render(records, settings)
    try:
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise DataError(
            f"cannot write the report {path}: {error.strerror}", "choose another path"
        ) from error


def _read(path: Path) -> Markup:
    return Markup(path.read_text(encoding="utf-8"))  # noqa: S704 - our own file
