"""One run of cpufit inside pytest's session: cells in, rows out, a line of progress for each."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cpufit import temporary, units
from cpufit.paths import cache_root
from cpufit.run import flow
from cpufit.run.record import log_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.analysis import Row
    from cpufit.plan.request import Plan
    from cpufit.schema import Cell, Record

# What this host lacks, nobody can run or does not fit; all else that is not 'ok' is a failure.
NOT_HERE = ("unavailable", "unsupported", "skipped")
ALONE = (
    "cpufit does not measure beside other workers of pytest-xdist, which would take its CPU: "
    "run these tests without -n"
)


class _Stopped(Exception):  # noqa: N818 - no error: -x was asked for
    """Enough cells have failed."""


class Measuring:
    """What cpufit did in this session of pytest."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._kept = ExitStack()
        self._temporary: Path | None = None
        self._runs: list[Path] = []

    @classmethod
    def of(cls, config: pytest.Config) -> Measuring:
        """Return the session's only one."""
        return config.stash.setdefault(_KEY, cls(config))

    @property
    def kept(self) -> Sequence[Path]:
        """The results files that stay."""
        return self._runs if self._config.getoption("cpufit_output") else ()

    def budget(self, otherwise: str = "") -> str:
        """Return the name of the budget that was asked for."""
        return str(self._config.getoption("cpufit_budget") or otherwise)

    def run(
        self, plan: Plan, cells: Sequence[Cell], request: str = "", stop_after: int = 0
    ) -> dict[str, Row]:
        """Measure the cells in rounds, until `stop_after` of them have failed; 0: all.

        Returns the rows by the cells' ids. Raises CpufitError where a folder cannot be written;
        on that and on KeyboardInterrupt every finished process is stored.
        """
        place = flow.Place(output=self._folder(), cache=cache_root())
        run = flow.start(plan, tuple(cells), request, place)
        self._runs.append(run.results.path)
        voice = _Voice(self._config, len(cells), stop_after)
        with suppress(_Stopped):
            flow.go(run, place, voice)
        return voice.rows()

    def log(self, record: Record) -> str:
        """Return what a dead process said last: the traceback of a bug; '' for none."""
        for path in self._runs:
            if path.stem == record.run_id and (log := log_of(path, record.cell)).is_file():
                return log.read_text(encoding="utf-8", errors="replace")
        return ""

    def close(self) -> None:
        """Remove what is not to be kept."""
        self._kept.close()

    def _folder(self) -> Path:
        asked = self._config.getoption("cpufit_output")
        if asked:
            return Path(self._config.invocation_params.dir / asked)
        if self._temporary is None:
            self._temporary = self._kept.enter_context(temporary.folder())
        return self._temporary


_KEY = pytest.StashKey[Measuring]()


def refuse_workers(config: pytest.Config) -> None:
    """Skip the test in a worker of pytest-xdist."""
    if hasattr(config, "workerinput"):
        pytest.skip(ALONE)


def failure_of(row: Row) -> Record | None:
    """Return the process that failed, one of several being enough; None where none did."""
    found = (r for r in row.records if r.outcome.status not in ("ok", *NOT_HERE))
    return next(found, None)


def failure_words(record: Record, log: str) -> str:
    """Return why a process failed, what to do, and for a bug its traceback."""
    if log:
        return f"{record.cell.id} {record.outcome.why}\n\n{log.rstrip()}"
    return f"{record.cell.id} {record.outcome.why_and_remedy}"


class _Voice:
    """Observes a run for pytest's terminal: a line when a cell is done."""

    def __init__(self, config: pytest.Config, total: int, stop_after: int) -> None:
        self._total = total
        self._stop_after = stop_after
        self._rows: dict[str, Row] = {}
        self._failed: set[str] = set()
        self._terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._quiet = config.get_verbosity() < 0 or self._terminal is None

    def rows(self) -> dict[str, Row]:
        """Return what the cells came to, by their ids."""
        return self._rows

    def planned(self, plan: Plan, done: Sequence[Record]) -> None:
        """Say how much there is to do."""
        words = f"{units.counted(self._total, 'cell')}, budget {plan.budget.name}"
        self._say(f"cpufit measures {words}{', resumed' if done else ''}")

    def started(self, cell: Cell) -> None:
        """Say nothing."""

    def stage(self, text: str) -> None:
        """Say nothing."""

    def finished(self, row: Row) -> None:
        """Say what a cell came to, and stop where -x asks for it."""
        # It brings matplotlib, which collecting must not wait for.
        from cpufit.report.terminal import cell_line

        record = row.records[-1]
        self._rows[record.cell.id] = row
        if record.settled:
            done = sum(bool(each.records[-1].settled) for each in self._rows.values())
            self._say(f"[{done}/{self._total}] {cell_line(row)}")
        if record.outcome.status not in ("ok", *NOT_HERE):
            self._failed.add(record.cell.id)
        if self._stop_after and len(self._failed) >= self._stop_after:
            raise _Stopped

    def rounded(self) -> None:
        """Say nothing."""

    def _say(self, words: str) -> None:
        if self._quiet:
            return
        capture = self._capture
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            self._terminal.ensure_newline()
            self._terminal.write_line(words)
