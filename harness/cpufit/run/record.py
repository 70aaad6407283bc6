"""What one process made of a cell, as a row of the results."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cpufit import files, store, units
from cpufit.schema import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.plan.request import Plan
    from cpufit.run.stages import Ended
    from cpufit.schema import Cell, Host, Outcome


def record_of(
    cell: Cell, plan: Plan, host: Host, ended: Ended, results: Path, repeat: int, cache: Path
) -> Record:
    """Return the record of a process; a bug's last words are kept beside the results."""
    model, artifact = plan.models[cell.card], ended.artifact
    outcome = _keep_log(ended, cell, results) if ended.log else ended.outcome
    folders = [Path(model.file).parent] if model.file else []
    folders += [Path(artifact.path).parent] if artifact else []
    folders += [cache, results.parent, Path.cwd()]
    if artifact is not None:  # results are passed on: where the file lay is nobody's business
        artifact = replace(artifact, path=Path(artifact.path).name)
    made = Record(
        run_id=results.stem,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cell=cell,
        repeat=repeat,
        spent_s=ended.spent_s,
        budget=plan.budget.name,
        host=host,
        outcome=_beyond_cores(without_folders(outcome, folders), cell, host),
        artifact=artifact,
        family=model.family,
        title=model.title,
        parent=model.parent,
        parameters=model.parameters or (artifact.parameters if artifact else 0),
        macs=model.macs,
    )
    return store.sane(made)


def _beyond_cores(outcome: Outcome, cell: Cell, host: Host) -> Outcome:
    """Note where threads had to take turns, which makes a figure about neither."""
    if outcome.status != "ok" or cell.threads <= host.usable_cores:
        return outcome
    cores = units.counted(host.usable_cores, "usable core")
    return replace(outcome, notes=(*outcome.notes, f"{cell.threads} threads shared {cores}"))


def without_folders(outcome: Outcome, folders: Sequence[Path]) -> Outcome:
    """Return the same outcome, its words without where this user's files lie.

    Engines name a file by its whole path; results and reports are passed on.
    """
    home = str(Path.home())
    whole = {str(one) for path in folders for one in (path.absolute(), path.resolve())}
    known = sorted(whole - {"/", home}, key=len, reverse=True)

    def short(text: str) -> str:
        for folder in known:
            if folder in text:
                text = re.sub(rf"{re.escape(folder)}/", "", text)
                text = re.sub(rf"{re.escape(folder)}(?![\w.-])", Path(folder).name, text)
        return text if home == "/" else re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)

    return replace(
        outcome,
        reason=short(outcome.reason),
        remedy=short(outcome.remedy),
        notes=tuple(map(short, outcome.notes)),
        settings={name: short(value) for name, value in outcome.settings.items()},
    )


def log_of(results: Path, cell: Cell) -> Path:
    """Return where a bug's traceback of this cell lies, if it had one."""
    return results.with_name(f"{results.stem}-{files.name_of(cell.id.replace('/', '-'))}.log")


def _keep_log(ended: Ended, cell: Cell, results: Path) -> Outcome:
    """Write what a dead child said beside the results, so that a bug keeps its traceback."""
    outcome, path = ended.outcome, log_of(results, cell)
    path.write_text(ended.log, encoding="utf-8")
    if outcome.status == "ok":  # so it was the check that died
        return replace(outcome, notes=(*outcome.notes, f"the check's last words: {path.name}"))
    return replace(outcome, remedy=outcome.remedy or f"its last words are in {path}")
