"""`cpufit report`: the page once more, from results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cpufit.cli.options import console, results
from cpufit.errors import UsageError
from cpufit.paths import OUTPUT


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
    import gc

    from cpufit import analysis, config, store, units
    from cpufit.analysis.open import so_far
    from cpufit.plan.request import cells_of
    from cpufit.report import html
    from cpufit.report.terminal import verdicts

    gc.disable()  # thousands of records live to the end: looking for dead ones takes a tenth
    paths = results(files or (OUTPUT,))
    runs = [(store.read([path]), cells_of(store.request_of(path))) for path in paths]
    records = [record for of_run, _ in runs for record in of_run]
    if not records:
        raise UsageError(f"{paths[0]} holds no cells yet", f"go on with {store.go_on(paths[0])}")
    target = output or paths[0].parent / "report.html"
    settings, how_far = config.load_settings(), so_far(runs)
    rows = analysis.rows(records, settings.levels)
    html.write(rows, settings, target, how_far)
    for words in verdicts(rows, settings):
        console().print(f"{how_far}. {words}" if how_far else words, soft_wrap=True)
    count = units.counted(len(rows), "cell")
    console().print(f"report of {count}: {target}", soft_wrap=True)
    if open_:
        import webbrowser

        webbrowser.open(target.resolve().as_uri())
