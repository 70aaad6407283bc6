"""`cpufit table`: one figure of many cells, in documents."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from cpufit.cli.options import Many, results
from cpufit.errors import UsageError
from cpufit.paths import OUTPUT, as_argument

if TYPE_CHECKING:
    from collections.abc import Sequence

Format = Literal["md", "rst", "html", "latex", "csv", "json"]


def table(
    files: tuple[Path, ...] = (),
    /,
    *,
    rows: str = "",
    cols: str = "",
    metric: str = "",
    where: Annotated[tuple[str, ...], Many] = (),
    format_: Annotated[Format, Parameter(name="--format")] = "md",
    update: Annotated[tuple[Path, ...], Many] = (),
    check: bool = False,
) -> None:
    """Print one figure of many cells as a table for documents, or keep those in documents fresh.

    Parameters
    ----------
    files
        Parquet files of any number of runs and hosts, or folders of runs; the newest run of
        ./cpufit-results by default. With --check alone: Markdown files.
    rows
        What the rows are: model (the default), variant, size, weights, precision, runtime,
        scenario, threads, batch, family, host, run, or several: 'model,precision'.
    cols
        What the columns are, likewise; runtime by default.
    metric
        The figure: latency, ttft, tpot, encode, frame, preprocess, inference, postprocess, their
        '-p90', '-p95' and '-p99', ttft and prefill also '@512' (the shortest prompt by default);
        tokens/s, prefill, throughput, fps; memory, file, load, cosine; energy, energy_ttft,
        energy_tpot.
    where
        Only these cells: 'precision=int4', 'model=gpt2,gpt2-medium', 'variant=' (none).
    format_
        md (the default), rst, html, latex, csv or json.
    update
        Write the tables between the markers of these Markdown files anew: docs/tables.md.
    check
        Write nothing; exit 1 where a table of these Markdown files is stale or edited by hand.
    """
    from cpufit.tables import table as tables
    from cpufit.tables import wish, write

    if update or check:
        if (update and files) or rows or cols or metric or where or format_ != "md":
            raise UsageError("tables in files say themselves what they show", "name the files only")
        _documents(update or files, check)
        return
    paths = results(files or (OUTPUT,))
    names = [str(path) for path in paths]
    wished = wish.of_words(names, rows or "model", cols or "runtime", metric, where)
    command = shlex.join(["cpufit", "table", *map(as_argument, paths), *wished.options])
    made = tables.make(wished, paths, command, _confidence())
    sys.stdout.write(write.FORMATS[format_](made))


def _documents(paths: Sequence[Path], check: bool) -> None:
    """Write the tables of Markdown files anew, or say what is wrong with them and exit 1."""
    from cpufit.tables import markers

    if not paths:
        raise UsageError("no Markdown file is named", "such as cpufit table --check README.md")
    found = markers.examine(paths, _confidence())
    wrong = [one for one in found if one.state != "as it should be"]
    if check:
        sys.stderr.write("".join(f"cpufit: {one.words}\n" for one in wrong))
        if wrong:
            names = shlex.join(dict.fromkeys(as_argument(one.path) for one in wrong))
            sys.stderr.write(f"cpufit: `cpufit table --update {names}` updates them\n")
            sys.exit(1)
    else:
        markers.update(found)
        sys.stdout.write("".join(f"{one.words}, updated\n" for one in wrong))
    if count := len(found) - len(wrong):
        words = "1 table is as it" if count == 1 else f"{count} tables are as they"
        sys.stdout.write(f"{words} should be\n")


def _confidence() -> float:
    from cpufit import config

    return config.load_settings().levels.confidence
