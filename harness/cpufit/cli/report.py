"""`cpufit report`: the page once more, from results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cpufit.cli.options import OUTPUT, console, results
from cpufit.errors import UsageError


def report(
    files: tuple[Path, ...] = (),
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    open_: Annotated[bool, Parameter(name="--open")] = False,
) -> None:
    """Render the HTML report again from results files; needs no runtime.

    Parameters
    ----------
    files
        Parquet files or folders of runs; the newest run of ./cpufit-results by default.
    output
        The HTML file to write; report.html beside the first results file by default.
    open_
        Show it in the browser.
    """
    from cpufit import config, store
    from cpufit.report import html

    paths = results(files or (OUTPUT,))
    records = store.read(paths)
    if not records:
        raise UsageError(f"{paths[0]} holds no cells yet", "go on with `cpufit run --resume`")
    target = output or paths[0].parent / "report.html"
    html.write(records, config.load_settings(), target)
    cells = len({(record.run_id, record.cell.id) for record in records})
    console().print(f"report of {cells} cells: {target}", soft_wrap=True)
    if open_:
        import webbrowser

        webbrowser.open(target.resolve().as_uri())
