"""Pairs for the self-test of the gate, taken here: of equal arms, with extra work, beside a hog."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from cpufit.errors import DataError
from cpufit.files import replacing
from cpufit.gating.pairs import MARGINS, Trial
from cpufit.paths import data_root
from cpufit.run import arms, gate
from cpufit.run.child import Interpreter
from cpufit.run.gate import Match
from cpufit.run.request import Request, resolve
from cpufit.selftest import Finding
from cpufit.selftest import gate as replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cpufit.run.flow import Place
    from cpufit.run.gate import Observer
    from cpufit.schema import Cell

SUITE = "gate"
EXTRA = 0.05
_TRIALS = TypeAdapter(list[Trial])
_SAME, _WORSE = "gate-same", "gate-worse"
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
    same = _taken(_match(), pairs, _SAME, place, observer)
    worse = _taken(replace(_match(), extra_work=EXTRA), pairs, _WORSE, place, observer)
    yield hogged(place, observer)
    yield from replayed(same, worse)


def recorded(folders: Sequence[Path]) -> Iterator[Finding]:
    """Replay recorded pairs; those that ship where no folder is named."""
    where = folders or sorted((data_root() / "reference_results").glob("*/*"))
    same, worse = (
        [trial for folder in where for path in sorted(folder.glob(f"{kind}*.json"))
         for trial in _read(path)]
        for kind in (_SAME, _WORSE)
    )  # fmt: skip
    if not same or not worse:
        raise DataError("no recorded pairs there", "give a folder of `cpufit selftest gate`")
    yield from replayed(same, worse)


def replayed(same: Sequence[Trial], worse: Sequence[Trial]) -> Iterator[Finding]:
    """Try the rule, and those of others, on pairs that do not differ and on such that do."""
    equal, slower = replay.recorded(same), replay.recorded(worse)
    if not equal or not slower:
        raise DataError("too few undisturbed pairs", "take more, on a quieter host")
    yield replay.spread(equal)
    yield replay.alarms(equal)
    yield replay.detection(slower, EXTRA)
    yield from replay.others(equal, slower)


def hogged(place: Place, observer: Observer) -> Finding:
    """Compare equal arms while a program that never rests runs beside one of them."""
    match = _match()
    cell = next(c for c, _ in match.contests if c.runtime == "onnxruntime")
    with tempfile.TemporaryDirectory(prefix="cpufit-") as folder:
        path = Path(folder) / "python"
        path.write_text(_HOGGED.format(python=sys.executable), encoding="utf-8")
        path.chmod(0o755)
        before, after = match.arms
        hog = replace(after, interpreter=Interpreter(str(path)))
        alone = replace(match, contests=((cell, cell),), arms=(before, hog))
        (found,) = gate.go(alone, place, observer)
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


def _match() -> Match:
    """Return the suite `gate`, both arms of which are this very installation.

    Language models are left out: a pair of them takes half a minute.
    """
    plan, here = resolve(Request(suite=SUITE, budget="rapid")), arms.here()
    cells = [cell for cell in plan.cells if plan.models[cell.card].task == "infer"]
    contests: tuple[tuple[Cell, Cell], ...] = tuple((cell, cell) for cell in cells)
    return Match(contests=contests, plans=(plan, plan), arms=(here, here), margins=MARGINS)


def _taken(match: Match, pairs: int, name: str, place: Place, observer: Observer) -> list[Trial]:
    """Take the pairs and keep them in the output folder."""
    trials = gate.record(match, pairs, place, observer)
    place.output.mkdir(parents=True, exist_ok=True)
    with replacing(place.output / f"{name}.json") as file:
        file.write(_TRIALS.dump_json([_rounded(trial) for trial in trials]))
    return trials


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


def _read(path: Path) -> list[Trial]:
    try:
        return _TRIALS.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} does not hold recorded pairs", "record them anew") from error
