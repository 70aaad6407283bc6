"""`cpufit run`: measure, and write results and report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cpufit.cli.options import Many, Wholes, Words, cache_folder, console, results
from cpufit.config import load_settings
from cpufit.errors import DataError, UsageError
from cpufit.paths import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.plan.request import Request
    from cpufit.run.flow import Place
    from cpufit.schema import Record


def _budgets() -> str:
    """Return the help of --budget, by what scenarios.toml says."""
    found = (
        f"{one.name}: {one.title}, {one.cell_s:g} s of samples a cell at most"
        for one in load_settings().budgets.values()
    )
    return f"How far to measure; the suite's own by default. {'; '.join(found)}."


def run(
    files: tuple[Path, ...] = (),
    /,
    *,
    suite: Annotated[Words, Many] = (),
    model: Annotated[Words, Many] = (),
    runtime: Annotated[Words, Many] = (),
    precision: Annotated[Words, Many] = (),
    scenario: Annotated[Words, Many] = (),
    weights: Annotated[Words, Many] = (),
    budget: Annotated[str, Parameter(help=_budgets())] = "",
    threads: Wholes = (),
    batch: Wholes = (),
    inputs: Annotated[Words, Parameter(name="--input", consume_multiple=True)] = (),
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = OUTPUT,
    cache: Path | None = None,
    cache_max: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    resume: bool = False,
) -> None:
    """Measure a suite's cells, each in a fresh process, and write results and report.

    Parameters
    ----------
    files
        Your own, measured instead of the suite: models (.gguf, .onnx, .xml), a folder with one,
        or model cards (.toml), tables as in the catalog, whose 'parameters' and 'macs' may be
        left out. Cards get synthetic weights and run on every runtime, language models at int4,
        others at int8.
    suite
        What to run: names of 'cpufit list suites', or TOML files; 'quick' by default.
    model
        Only these models; any of 'cpufit list models', or a variant: 'mistral-7b@ffn60' (60 % of
        the FFN width), '@depth75' (75 % of the layers), '@lowrank4' (factorised to a quarter),
        'yolov8n@prune30' (30 % of the channels), or another size: 'yolov8n?size=320'.
    runtime
        Only these runtimes: llama.cpp, onnxruntime, openvino.
    precision
        Only these: fp32, fp16, bf16, int8, int4, int4_all, q4_0.
    scenario
        Only these: any of 'cpufit list scenarios'.
    weights
        Only these: synthetic, real.
    threads
        Thread counts to sweep; one per usable physical core by default.
    batch
        Batches to sweep, or parallel sequences of language models; of the throughput scenario
        unless --scenario names others.
    inputs
        What goes into the inputs of your own .onnx and .xml files: values ('sr=16000', 'ids=1,2,3')
        or sizes ('x=1x3x48x320', of one axis '128x'). All else is made up, and notes say what.
    output
        Folder for results and report; ./cpufit-results by default.
    cache
        Folder for the models that are built; the user's cache folder by default.
    cache_max
        Most that folder may hold, such as 20GB: the least recently used models make room. By
        default only the disk sets a limit.
    resume
        Go on with the newest run in the output folder.
    """
    from cpufit.plan.request import SUITES, Request
    from cpufit.plan.selection import Selection
    from cpufit.run import flow
    from cpufit.sizes import parse_size

    selection = Selection(
        models=model,
        runtimes=runtime,
        precisions=precision,
        scenarios=scenario or (("throughput",) if batch else ()),
        weights=weights,
        threads=threads,
        batches=batch,
    )
    request = Request(
        suite=suite or SUITES,
        budget=budget,
        selection=selection,
        files=tuple(str(path.absolute()) for path in files),
        inputs=inputs,
    )
    limit = None if cache_max is None else parse_size(cache_max, "--cache-max")
    place = flow.Place(output=output, cache=cache_folder(cache), cache_limit_bytes=limit)
    _run(request, place, resume)


def _run(request: Request, place: Place, resume: bool) -> None:
    from cpufit import analysis, store
    from cpufit.analysis.open import so_far
    from cpufit.cli.drawing import Drawing
    from cpufit.cli.progress import Watcher
    from cpufit.plan.remembered import remember
    from cpufit.plan.request import Request, cells_of
    from cpufit.report import html
    from cpufit.report.terminal import summary
    from cpufit.run import flow

    screen, settings = console(), load_settings()
    if resume and request != Request():
        raise UsageError(
            "--resume goes on with what the run was asked to do",
            "leave the other options away, or start a new run",
        )
    todo = flow.resume(results([place.output])[0], place) if resume else flow.begin(request, place)
    interrupted, path = False, todo.results.path
    if not resume:
        remember(path, request)
    with Watcher(screen, settings, Drawing(path)) as watcher:
        try:
            flow.go(todo, place, watcher)
        except KeyboardInterrupt:
            interrupted = True
    records = store.read([path])
    if records:
        target = path.parent / "report.html"
        how_far = so_far([(records, cells_of(todo.results.request))])
        rows = analysis.rows(records, settings.levels)
        screen.print(summary(rows, settings, how_far), soft_wrap=not screen.is_terminal)
        html.write(rows, settings, target, how_far)
        screen.print(f"\nreport   {target}\nresults  {path}", soft_wrap=True)
    if interrupted:
        screen.print(f"interrupted; `{_go_on(place)}` goes on", soft_wrap=True)
        sys.exit(130)
    if not any(record.outcome.status == "ok" for record in records):
        raise DataError(_nothing(records))  # single missing cells are in the report
    sys.exit(0)  # it is on the disk, whatever became of the words


def _go_on(place: Place) -> str:
    """Return the command that goes on with a run in the same folders."""
    words = ["cpufit", "run", "--resume"]
    words += ["-o", str(place.output)] if place.output != OUTPUT else []
    words += ["--cache", str(place.cache)] if place.cache != cache_folder(None) else []
    limit = place.cache_limit_bytes
    words += ["--cache-max", f"{limit}B"] if limit is not None else []
    return shlex.join(words)


def _nothing(records: Sequence[Record]) -> str:
    """Say that nothing at all was measured, and why."""
    why = list(dict.fromkeys(record.outcome.why_and_remedy for record in records))
    others = f" (and {len(why) - 1} other reasons, above)" if why[1:] else ""
    return f"nothing was measured: {why[0] if why else 'there was no cell'}{others}"
