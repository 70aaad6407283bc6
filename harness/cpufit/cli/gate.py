"""`cpufit gate`: two arms on this host, or this host against its stored results."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cpufit.cli.options import Many, Number, Wholes, Words, cache_folder, console, recovered
from cpufit.errors import DataError, UsageError, unknown
from cpufit.files import append, save, try_out
from cpufit.units import counted, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from cpufit.analysis import Row
    from cpufit.gating.pairs import Stage
    from cpufit.gating.verdict import Found
    from cpufit.margins import Margins
    from cpufit.plan.request import Request
    from cpufit.plan.selection import Selection
    from cpufit.report.gate_words import Verdict
    from cpufit.run.flow import Place
    from cpufit.run.gate.road import Setup
    from cpufit.schema import Cell, Host, Kind

SUITES = ("gate",)
_INTERRUPTED, _NOT_COMPARABLE, _REFUSED = 130, 3, 2


def gate(
    files: tuple[Path, ...] = (),
    /,
    *,
    against: str = "",
    against_model: Annotated[tuple[Path, Path] | None, Parameter(consume_multiple=True)] = None,
    baseline: Path | None = None,
    inputs: Annotated[Words, Parameter(name="--input", consume_multiple=True)] = (),
    suite: Annotated[Words, Many] = (),
    model: Annotated[Words, Many] = (),
    runtime: Annotated[Words, Many] = (),
    precision: Annotated[Words, Many] = (),
    scenario: Annotated[Words, Many] = (),
    threads: Wholes = (),
    margin: Annotated[Words, Many] = (),
    max_minutes: Number | None = None,
    junit: Path | None = None,
    markdown: Path | None = None,
    json: Path | None = None,
    github: bool = False,
    cache: Path | None = None,
) -> None:
    """Say whether something became slower or larger: 0 no, 1 yes, 3 cannot tell, 4 cells missing.

    Parameters
    ----------
    files
        With --baseline: the models of your own that were measured, where it was not you, here.
    against
        The other arm, compared with what is installed here: a requirement of pip's
        ('onnxruntime==1.30.0'), or a path: a wheel, a folder of sources, another environment's
        python. A file of the current folder needs its folder too: ./name.whl.
    against_model
        Two model files, the old one and the new one.
    baseline
        Results of `cpufit run` on this very host, several runs of them.
    inputs
        What goes into the inputs of the two model files, as of 'cpufit run'.
    suite
        Which cells: names of 'cpufit list suites', or TOML files; 'gate' by default.
    model
        Only these models.
    runtime
        Only these runtimes; by default those whose packages differ between the arms.
    precision
        Only these precisions.
    scenario
        Only these scenarios.
    threads
        Thread counts; one per usable physical core by default.
    margin
        How much worse may be: 'time=3%' 'memory=1%'; likewise load, size, energy, instructions,
        numerics. 'numerics=any' compares the speed of files with other weights, whatever they
        answer; likewise 'size=any'.
    max_minutes
        Stop then; what is not decided is inconclusive.
    junit
        Write JUnit XML there.
    markdown
        Write a Markdown summary there.
    json
        Write everything there, every pair.
    github
        Add the summary to GitHub's, and annotate what fails.
    cache
        Folder for models and environments; the user's cache folder by default.
    """
    from cpufit.gating.verdict import exit_code
    from cpufit.plan.request import Request
    from cpufit.plan.selection import Selection
    from cpufit.report import gate_words
    from cpufit.run import flow

    ways = [bool(against), against_model is not None, baseline is not None]
    if sum(ways) != 1:
        raise UsageError("give one of --against, --against-model and --baseline", "see --help")
    if files and baseline is None:
        raise UsageError("files go with --baseline", "compare two by --against-model OLD NEW")
    if inputs and against_model is None:
        raise UsageError("--input is for --against-model", "earlier runs keep what theirs were")
    given = parse_margins(margin)
    selection = Selection(
        models=model, runtimes=runtime, precisions=precision, scenarios=scenario, threads=threads
    )
    summary = _summary() if github else None
    _check_targets((junit, markdown, json), summary)
    screen, place = console(), flow.Place(output=Path(), cache=cache_folder(cache))
    if baseline is not None and max_minutes is not None:
        raise UsageError(
            "--max-minutes cannot be combined with --baseline", "name fewer cells instead"
        )
    limit_s = float("inf") if max_minutes is None else _seconds(max_minutes)
    start = time.monotonic()
    if baseline is not None:
        told = _against_past(baseline, files, suite, selection, given, place, screen)
    else:
        asked = Request(budget="rapid", selection=selection, inputs=inputs)
        setup = _setup(against, against_model, suite, asked, given, place)
        found = _compared(replace(setup, max_s=limit_s), place, screen)
        told = _told(setup, found)
    told = replace(told, seconds=time.monotonic() - start)
    screen.print(gate_words.terminal(told))
    for command in gate_words.again(told):
        screen.print(f"again: {command}", soft_wrap=True)
    screen.print(f"\n{told.headline}", soft_wrap=True)
    if github:
        print("\n".join(gate_words.workflow_commands(told)))
    texts = {
        junit: gate_words.as_junit(told),
        markdown: gate_words.as_markdown(told),
        json: gate_words.as_json(told),
    }
    refused = _write(told, texts, summary)
    sys.stderr.write("".join(f"cpufit: {words}\n" for words in refused))
    sys.exit(exit_code(told.found) or (_REFUSED if refused else 0))


def _summary() -> Path | None:
    """Return where GitHub wants a step's summary; None where it asks for none."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(name) if name else None


def parse_margins(words: Sequence[str]) -> Margins:
    """Return the margins that are given, by kind; raise UsageError."""
    from cpufit.margins import MARGINS

    found: dict[Kind, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        kind = next((kind for kind in MARGINS if kind == name), None)
        if kind is None:
            raise unknown("margin", name, MARGINS)
        found[kind] = _share(word, text)
    return found


def _share(word: str, text: str) -> float:
    from cpufit.margins import ANY, LEFT_OUT, RANGE, judgeable

    if text == "any":
        if word.partition("=")[0] in LEFT_OUT:
            return ANY
        raise UsageError(f"--margin {word}: only {listed(LEFT_OUT)} can be left out", RANGE)
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"--margin {word}: {text!r} is no share", "write 'time=3%'") from None
    if not judgeable(share):
        raise UsageError(f"--margin {word} cannot be judged by", RANGE)
    return share


def _seconds(minutes: float) -> float:
    if not minutes > 0:
        raise UsageError(f"--max-minutes {minutes:g} leaves no time", "give some")
    return minutes * 60


def _check_targets(paths: Sequence[Path | None], summary: Path | None) -> None:
    """Refuse what cannot be written before anything is measured."""
    for path in paths:
        if path is not None:
            try_out(path)
    if summary is not None:
        append(b"", summary)


def _setup(
    against: str,
    files: tuple[Path, Path] | None,
    suite: Words,
    asked: Request,
    given: Margins,
    place: Place,
) -> Setup:
    """Decide what is compared with what."""
    from cpufit.artifacts.cache import check_writable
    from cpufit.plan.own import told_apart
    from cpufit.plan.request import resolve
    from cpufit.run.gate import arms
    from cpufit.run.gate.road import Setup

    check_writable(place.cache)
    here = arms.here()
    if files is not None:
        if suite:
            raise UsageError("--suite cannot be combined with --against-model", "leave it out")
        plans = tuple(
            resolve(replace(asked, files=(str(file.absolute()),))).with_margins(given)
            for file in files
        )
        cells = {_how(cell): cell for cell in plans[0].cells}
        contests = tuple((cells[_how(c)], c) for c in plans[1].cells if _how(c) in cells)
        if not cells:
            raise UsageError(
                f"no runtime reads both {files[0].name} and {files[1].name}", "give one kind"
            )
        old, new = (replace(here, name=name) for name in told_apart(files))
        return Setup(cells=contests, plans=(plans[0], plans[1]), arms=(old, new))
    plan = resolve(replace(asked, suite=suite or SUITES))
    plan = plan.with_margins(given)
    other = arms.other(against, place.cache)
    used = [c for c in plan.cells if asked.selection.runtimes or arms.uses(here, other, c.runtime)]
    if not used:
        raise UsageError(
            f"{against} has what is installed here: {len(plan.cells)} cells would be compared "
            "with themselves",
            "name another version, or --runtime to compare all the same",
        )
    contests = tuple((cell, cell) for cell in used)
    return Setup(cells=contests, plans=(plan, plan), arms=(other, here))


def _how(cell: Cell) -> tuple[object, ...]:
    return cell.runtime, cell.scenario, cell.threads, cell.batch


def _compared(setup: Setup, place: Place, console: Console) -> list[Found]:
    from cpufit.run.gate import road

    with console.status("") as status:
        try:
            return road.go(setup, place, _Watcher(console, status.update))
        except KeyboardInterrupt:
            console.print("interrupted: nothing is decided", soft_wrap=True)
            sys.exit(_INTERRUPTED)


class _Watcher:
    """Says in one line which cell fights; in a log, what each came to now and then."""

    _SILENCE_S = 60.0

    def __init__(self, console: Console, update: object) -> None:
        self._console, self._update = console, update
        self._cell, self._pairs, self._printed = "", 0, time.monotonic()

    def began(self, setup: Setup) -> None:
        """Say what is compared with what."""
        from cpufit.gating.rule import SCREEN
        from cpufit.report.gate_words import packages

        before, after = (arm.name for arm in setup.arms)
        if setup.plans[0] is setup.plans[1]:
            versions = packages(setup.arms[0].differs(setup.arms[1])) or "the same packages"
            words = f"before: {before}; after: {after} ({versions})"
        else:
            words = f"before: {before}; after: {after}"
        self._console.print(words, soft_wrap=True)
        total = len(setup.cells)
        words = f"{counted(total, 'cell')}, {SCREEN} pairs of processes each at least"
        self._console.print(words)

    def started(self, cell: Cell) -> None:
        """Show the cell."""
        self._cell = cell.id

    def stage(self, text: str) -> None:
        """Show what its process does."""
        from rich.text import Text

        assert callable(self._update)
        self._update(Text(f"pair {self._pairs + 1}: {self._cell}: {text}"))

    def paired(self, found: Found, stage: Stage, left: int) -> None:
        """Count the pair; in a log, say so once a minute."""
        self._pairs += 1
        if not self._console.is_terminal and time.monotonic() - self._printed > self._SILENCE_S:
            self._printed = time.monotonic()
            cell = found.trial.cell.id
            words = f"{self._pairs} pairs; {cell} ({stage}): {found.word} so far; {left} cells open"
            self._console.print(words, soft_wrap=True)


def _against_past(
    baseline: Path,
    own: Sequence[Path],
    suite: Words,
    selection: Selection,
    given: Margins,
    place: Place,
    console: Console,
) -> Verdict:
    """Measure the cells of earlier runs once more; leave with 3 where they are of another host."""
    from cpufit import analysis, config, store
    from cpufit.gating import baseline as past
    from cpufit.plan.request import resolve
    from cpufit.report.gate_words import Verdict
    from cpufit.run import here

    files = recovered(store.runs(baseline) if baseline.is_dir() else [baseline])
    if not files:
        raise DataError(f"no results in {baseline}", "name a file of `cpufit run`, or its folder")
    records, host, settings = store.read(files), here.describe(), config.load_settings()
    mine = [record for record in records if record.host.fingerprint == host.fingerprint]
    if not mine:
        others = sorted({f"{r.host.cpu_model} ({r.host.fingerprint})" for r in records})
        console.print(
            f"not comparable: {baseline} was measured on {', '.join(others) or 'nothing'}, this is "
            f"{host.cpu_model} ({host.fingerprint})",
            soft_wrap=True,
        )
        sys.exit(_NOT_COMPARABLE)
    earlier: dict[str, list[Row]] = {}
    for row in analysis.rows(mine, settings.levels):
        if row.ok:
            earlier.setdefault(row.record.cell.id, []).append(row)
    request = _asked(files[-1], suite, selection, own)
    plan = resolve(request).with_margins(given)
    if not any(cell.id in earlier for cell in plan.cells):
        raise UsageError(f"{baseline} has none of these cells", "name what it measured")
    rows = _measured(request, place, console)
    tested, found = past.quantities(rows), []
    for row in rows:
        cell = row.record.cell
        judged = past.judge(earlier.get(cell.id, ()), row, plan.margins_of(cell), tested)
        found.append(judged)
    return Verdict(
        before=f"{len({record.run_id for record in mine})} earlier runs",
        after="this run",
        differences={},
        host=_host_words(host),
        found=tuple(found),
        repeat={
            one.trial.cell.id: _repeat(one.trial.cell, of_files=bool(request.files))
            for one in found
        },
    )


def _host_words(here: Host) -> str:
    return f"{here.cpu_model}, {here.usable_cores:g} cores ({here.fingerprint})"


def _asked(file: Path, suite: Words, selection: Selection, own: Sequence[Path] = ()) -> Request:
    """Return what the earlier run was asked to do, narrowed to what is asked for now."""
    from cpufit import store
    from cpufit.plan.remembered import recall
    from cpufit.plan.request import SUITES, from_json

    text = store.request_of(file)
    request = from_json(text, file) if own or suite else recall(file, text)
    if own or suite:
        named = tuple(str(path.absolute()) for path in own)
        request = replace(request, suite=suite or SUITES, files=named)
    given = {name: value for name, value in vars(selection).items() if value}
    return replace(request, selection=replace(request.selection, **given))


def _measured(request: Request, place: Place, console: Console) -> list[Row]:
    from cpufit import analysis, config, store, temporary
    from cpufit.cli.progress import Watcher
    from cpufit.run import flow

    settings = config.load_settings()
    with temporary.folder() as folder:
        todo = flow.begin(request, replace(place, output=folder))
        with Watcher(console, settings) as watcher:
            flow.go(todo, place, watcher)
        return analysis.rows(store.read([todo.results.path]), settings.levels)


def _told(setup: Setup, found: list[Found]) -> Verdict:
    from cpufit.gating.verdict import restless
    from cpufit.report.gate_words import Verdict
    from cpufit.run import here

    before, after = setup.arms
    host = here.describe()
    return Verdict(
        before=before.name,
        after=after.name,
        differences=before.differs(after),
        host=_host_words(host),
        found=tuple(found),
        repeat=_repeats(found, of_files=setup.plans[0] is not setup.plans[1]),
        notes=(
            *(f"{one.trial.cell.id}: {note}" for one in found for note in one.trial.notes),
            *filter(None, (restless(found),)),
        ),
    )


def _repeats(found: Sequence[Found], *, of_files: bool) -> dict[str, str]:
    return {one.trial.cell.id: _repeat(one.trial.cell, of_files=of_files) for one in found}


def _repeat(cell: Cell, *, of_files: bool) -> str:
    """Return the command that compares just that cell, by the one that was typed.

    Of files of the user's own it compares all, which no option chooses among.
    """
    words, keep = [], True
    filters = ("--model", "--runtime", "--precision", "--scenario", "--threads")
    outputs = ("--junit", "--markdown", "--json", "--github")
    for word in sys.argv[1:]:
        if word.startswith("--"):
            keep = word.partition("=")[0] not in (*filters, *outputs)
        if keep:
            words.append(word)
    own = {"--runtime": cell.runtime, "--scenario": cell.scenario, "--threads": str(cell.threads)}
    if not of_files:
        own = {"--model": cell.card, "--precision": cell.precision, **own}
    return shlex.join(["cpufit", *words, *(part for pair in own.items() for part in pair)])


def _write(told: Verdict, texts: Mapping[Path | None, str], summary: Path | None) -> list[str]:
    """Write every file that can be; return why others cannot, in words."""
    from cpufit.report import gate_words

    refused = []
    jobs = [partial(save, text.encode(), path) for path, text in texts.items() if path is not None]
    if summary is not None:
        jobs.append(partial(append, gate_words.as_markdown(told).encode(), summary))
    for job in jobs:
        try:
            job()
        except DataError as error:
            refused.append(str(error))
    return refused
