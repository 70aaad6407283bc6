"""`cpufit compare`: runs or hosts side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cpufit.cli.options import Many, console, results
from cpufit.errors import misread


def compare(
    files: tuple[Path, ...],
    /,
    *,
    html: Annotated[Path | None, Parameter(name=["--html", "-o"])] = None,
    price: Annotated[tuple[str, ...], Many] = (),
) -> None:
    """Put runs or hosts side by side: the same cells, each figure as a ratio with its interval.

    Parameters
    ----------
    files
        Parquet files, or folders of runs; the first is what the others are held against. A file of
        several hosts is as many sides.
    html
        Write a page too, in the style of the report.
    price
        What a host costs, 'NAME=USD', by its name in the report or its fingerprint: adds tokens or
        requests per second and dollar.
    """
    from cpufit import config, store
    from cpufit.files import save
    from cpufit.tables import compare as comparing
    from cpufit.tables import page

    prices = dict(_price(text) for text in price)
    records = [store.read([path]) for path in results(files)]
    limits = config.load_settings().levels
    found = comparing.compare(records, limits, prices)
    screen = console(160)
    screen.print(page.as_text(found), soft_wrap=not screen.is_terminal)
    if html:
        save(page.as_html(found).encode(), html)
        screen.print(f"\npage  {html}", soft_wrap=True)


def _price(text: str) -> tuple[str, float]:
    """Read 'AMD EPYC=450'."""
    host, _, amount = text.rpartition("=")
    try:
        usd = float(amount)
    except ValueError:
        usd = 0.0
    if not (host and 0 < usd < float("inf")):
        raise misread("--price", text, "is no price", "'AMD EPYC=450'")
    return host, usd
