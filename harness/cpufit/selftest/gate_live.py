"""Pairs for the self-test of the gate, taken here: of equal arms, with extra work, beside a hog."""

from __future__ import annotations

import gzip
import sys
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from cpufit import temporary
from cpufit.errors import DataError, UnavailableError
from cpufit.files import save
from cpufit.gating.pairs import Trial
from cpufit.paths import data_root
from cpufit.plan.request import Request, resolve
from cpufit.plan.selection import Selection
from cpufit.probes.host import default_threads
from cpufit.run.child import Interpreter
from cpufit.run.gate import arms, road
from cpufit.run.gate.road import Setup
from cpufit.runtimes import engine_of
from cpufit.selftest import Finding
from cpufit.selftest import gate as replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cpufit.run.flow import Place
    from cpufit.run.gate.road import Observer
    from cpufit.schema import Cell

SUITE, MATRIX = "gate", "matrix"
EXTRA = 0.05
_TRIALS = TypeAdapter(list[Trial])
_SAME, _WORSE, _MATRIX = "gate-same", "gate-worse", "gate-matrix"
_DIGITS = 6
# Beside the interpreter that it stands for, a program that never rests.
_HOGGED = """#!/bin/sh
"{python}" -c 'while True: pass' &
"{python}" "$@"
code=$?
kill $!
exit $code
"""


def on_this_host(pairs: int, place: Place, observer: Observer) -> Iterator[Finding]:
    """Take pairs of the suite `gate` and replay the rule on them."""
    setup = _setup(SUITE)
    same = road.record(setup, pairs, place, observer)
    _keep(same, _SAME, place)
    worse = road.record(replace(setup, extra_work=EXTRA), pairs, place, observer)
    _keep(worse, _WORSE, place)
    yield hogged(place, observer)
    yield from replayed(same, worse)


def matrices(
    count: int, place: Place, observer: Observer, *, apart: bool = False
) -> Iterator[Finding]:
    """Let the gate compare this installation with itself, so many times; keep each.

    Or, `apart`, with an environment made of the same wheels: its files lie in other pages.
    """
    setup = _setup(MATRIX, Selection(threads=tuple(sorted({1, default_threads()}))))
    if apart:
        setup = _apart(setup, place)
    taken = []
    for _ in range(count):
        taken.append([found.trial for found in road.go(setup, place, observer)])
        kind = f"{_MATRIX}-apart" if apart else _MATRIX
        _keep(taken[-1], f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}", place)
        yield replay.matrices(taken)
    yield replay.going_first([trial for trials in taken for trial in trials])


def _apart(setup: Setup, place: Place) -> Setup:
    """Return it with the second arm in an environment of its own; of the engine it holds alone."""
    engine = engine_of("onnxruntime")
    if not engine.version:
        raise UnavailableError(f"{engine.name} is not installed", engine.install)
    arm = arms.other(f"{engine.packages[0]}=={engine.version}", place.cache)
    cells = tuple(pair for pair in setup.cells if pair[1].runtime == engine.name)
    return replace(setup, cells=cells, arms=(setup.arms[0], arm))


def recorded(folders: Sequence[Path]) -> Iterator[Finding]:
    """Replay recorded pairs; those that ship where no folder is named."""
    where = folders or sorted((data_root() / "reference_results").glob("*/*"))
    same, worse, whole = (_found(where, kind) for kind in (_SAME, _WORSE, _MATRIX))
    if not (same and worse) and not whole:
        raise DataError("no recorded pairs there", "give a folder of `cpufit selftest gate`")
    if whole:
        yield replay.matrices(whole)
        yield replay.going_first([trial for trials in whole for trial in trials])
    if same and worse:
        yield from replayed(*([trial for trials in each for trial in trials]
                              for each in (same, worse)))  # fmt: skip


def replayed(same: Sequence[Trial], worse: Sequence[Trial]) -> Iterator[Finding]:
    """Try the rule, and those of others, on pairs that do not differ and on such that do."""
    equal, slower = replay.recorded(same), replay.recorded(worse)
    if not equal or not slower:
        raise DataError("too few undisturbed pairs", "take more, on a quieter host")
    yield replay.spread(equal)
    yield replay.going_first(same)
    yield replay.alarms(equal)
    yield replay.detection(slower, EXTRA)
    yield from replay.others(equal, slower)


def hogged(place: Place, observer: Observer) -> Finding:
    """Compare equal arms while a program that never rests runs beside one of them."""
    setup = _setup(SUITE)
    cell = next(c for c, _ in setup.cells if c.runtime == "onnxruntime")
    with temporary.folder() as folder:
        path = folder / "python"
        path.write_text(_HOGGED.format(python=sys.executable), encoding="utf-8")
        path.chmod(0o755)
        before, after = setup.arms
        hog = replace(after, interpreter=Interpreter(str(path)))
        alone = replace(setup, cells=((cell, cell),), arms=(before, hog))
        (found,) = road.go(alone, place, observer)
    time = next(iter(found.judged.values()), None)
    disturbed = [pair.disturbed[0] for pair in found.trial.pairs if pair.disturbed]
    return Finding(
        name="gate: a CPU hog beside one arm",
        value=f"{found.word}; {len(disturbed)} of {len(found.trial.pairs)} pairs disturbed"
        + (f", such as: {disturbed[0]}" if disturbed else "")
        + (f"; {time.why}" if time else ""),
        asked="never a regression",
        good=found.word != "regression",
    )


def _setup(suite: str, selection: Selection = Selection()) -> Setup:  # noqa: B008 - frozen
    """Return a suite both arms of which are this very installation.

    Language models are left out: a pair of them takes four times as long as another.
    """
    request = Request(suite=(suite,), budget="rapid", selection=selection)
    plan, here = resolve(request), arms.here()
    cells = [cell for cell in plan.cells if plan.models[cell.card].task == "infer"]
    twice: tuple[tuple[Cell, Cell], ...] = tuple((cell, cell) for cell in cells)
    return Setup(cells=twice, plans=(plan, plan), arms=(here, here))


def _keep(trials: Sequence[Trial], name: str, place: Place) -> None:
    text = _TRIALS.dump_json([_rounded(trial) for trial in trials], exclude_defaults=True)
    save(gzip.compress(text, mtime=0), place.output / f"{name}.json.gz")


def _rounded(trial: Trial) -> Trial:
    pairs = tuple(
        replace(
            pair,
            before={name: float(f"{v:.{_DIGITS}g}") for name, v in pair.before.items()},
            after={name: float(f"{v:.{_DIGITS}g}") for name, v in pair.after.items()},
            changes={name: round(v, _DIGITS) for name, v in pair.changes.items()},
        )
        for pair in trial.pairs
    )
    return replace(trial, pairs=pairs)


def _found(folders: Sequence[Path], kind: str) -> list[list[Trial]]:
    return [_read(path) for where in folders for path in sorted(where.glob(f"{kind}*.json.gz"))]


def _read(path: Path) -> list[Trial]:
    try:
        return _TRIALS.validate_json(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error, ValidationError) as error:
        raise DataError(f"{path} does not hold recorded pairs", "record them anew") from error
