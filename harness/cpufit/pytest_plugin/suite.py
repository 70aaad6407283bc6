"""A suite given to pytest: each of its cells is a test, and all of a session take turns.

The first cell's test measures all that were selected, in rounds, because processes that follow
each other agree better than the truth allows (docs/methodology.md); then each reports its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cpufit.errors import CpufitError
from cpufit.plan.request import Request, resolve
from cpufit.pytest_plugin import entry
from cpufit.pytest_plugin.measuring import (
    NOT_HERE,
    Measuring,
    failure_of,
    failure_words,
    refuse_workers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cpufit.analysis import Row
    from cpufit.plan.request import Plan
    from cpufit.pytest_plugin.entry import Benchmark
    from cpufit.schema import Cell

_ROWS = pytest.StashKey[dict["Path", dict[str, "Row"]]]()


class CellError(Exception):
    """A cell that failed, in words."""


class SuiteFile(pytest.Module):
    """A suite's TOML file; a Module, so that fixtures of a module's scope have one."""

    obj = None
    plan: Plan
    request: Request

    def collect(self) -> Iterable[pytest.Item]:
        """Decide on the cells; nothing is measured. A mistake in the file is one line."""
        budget = Measuring.of(self.config).budget()
        self.request = Request(suite=(str(self.path),), budget=budget)
        try:
            self.plan = resolve(self.request)
        except CpufitError as error:
            raise self.CollectError(str(error)) from None
        with_benchmark = self.config.pluginmanager.hasplugin("benchmark")
        test = _test_with_benchmark if with_benchmark else _test
        for cell in self.plan.cells:
            yield CellItem.from_parent(self, name=cell.id, callobj=test, cell=cell)


class CellItem(pytest.Function):
    """One cell; a Function, so that it may use the fixture `benchmark` as any test does."""

    parent: SuiteFile

    def __init__(self, *, cell: Cell, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cell = cell
        self.replay = entry.Replay()
        if "benchmark" in self.fixturenames:
            self.add_marker(pytest.mark.benchmark(timer=self.replay))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where it comes from: the suite, not this module."""
        return self.path, 0, self.name

    def repr_failure(  # type: ignore[override]  # as Function itself has it
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> Any:
        """Say in words how a cell failed; what else is raised is a bug and keeps its traceback."""
        if isinstance(excinfo.value, (CellError, CpufitError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def measured(self, *, briefly: bool) -> Row:
        """Return the cell's row, measured with all others of its suite if it is the first.

        `briefly` is one process each. Skips where the cell cannot be measured here, raises
        CellError where it failed.
        """
        refuse_workers(self.config)
        every = self.config.stash.setdefault(_ROWS, {})
        if self.path not in every:
            every[self.path] = {}  # an interrupted run is not tried again
            every[self.path] = _measure(self, briefly=briefly)
        row = every[self.path].get(self.cell.id)
        failed = failure_of(row) if row else None
        if failed:
            raise CellError(failure_words(failed, Measuring.of(self.config).log(failed)))
        if row is None or not row.records[-1].settled:
            pytest.skip("not measured to its end: the run stopped at a failure (-x) or broke off")
        if row.record.outcome.status in NOT_HERE:
            pytest.skip(row.record.outcome.why_and_remedy)
        return row


def _test_with_benchmark(request: pytest.FixtureRequest, benchmark: Benchmark) -> None:
    item = request.node
    try:
        row = item.measured(briefly=not benchmark.enabled)
    except (CellError, CpufitError) as error:
        # A fixture that goes unused warns; one that fails leaves no entry.
        benchmark.pedantic(_raising(error))
    except BaseException:  # skipped, or Ctrl-C
        benchmark.skipped = True
        raise
    else:
        entry.record(benchmark, row, item.replay)


def _test(request: pytest.FixtureRequest) -> None:
    request.node.measured(briefly=False)


def _raising(error: Exception) -> Any:
    def fail() -> None:
        raise error from None

    return fail


def _measure(item: CellItem, *, briefly: bool) -> dict[str, Row]:
    """Measure the selected cells of the item's suite in one run."""
    session, suite = item.session, item.parent
    found = [i for i in session.items if isinstance(i, CellItem) and i.path == item.path]
    cells = {i.cell.id: i.cell for i in found}
    plan = suite.plan
    if briefly:  # --benchmark-disable: does it run at all?
        plan = replace(plan, budget=replace(plan.budget, processes=(1, 1)))
    limit = int(item.config.getoption("maxfail") or 0)
    stop_after = max(limit - session.testsfailed, 1) if limit else 0
    return Measuring.of(item.config).run(
        plan, tuple(cells.values()), suite.request.shared().to_json(), stop_after
    )
