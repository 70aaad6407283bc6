"""Tests of a user's own repository: the marker `cpufit`, and the fixture `cpufit_measure`.

All marked tests of a session are measured in one run of turns, at the first of them; what a test's
fixtures build only then is measured when its turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import pytest

from cpufit import config
from cpufit.catalog import load_models
from cpufit.errors import CpufitError, UsageError
from cpufit.plan.request import Plan
from cpufit.pytest_plugin import asked, limits
from cpufit.pytest_plugin.measuring import (
    NOT_HERE,
    Measuring,
    failure_of,
    failure_words,
    refuse_workers,
)
from cpufit.pytest_plugin.undecided import UndecidedWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cpufit.analysis import Row
    from cpufit.pytest_plugin.asked import Asked, Wanted
    from cpufit.pytest_plugin.limits import Limit, Quantity, Reading
    from cpufit.schema import Cell, Levels

    Key = tuple[str, tuple[int, int]]  # a cell's id, and its file's stamp

_BUDGET = "rapid"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model took; None where it does not do such a thing.

    Each is a `Reading` with `value`, `low` and `high`: times of requests are 90th percentiles.
    """

    latency_ms: Reading | None
    ttft_ms: Reading | None
    tpot_ms: Reading | None
    tokens_per_s: Reading | None
    load_ms: Reading | None
    rss_bytes: Reading | None
    size_bytes: Reading | None

    @classmethod
    def of(cls, found: Mapping[Quantity, Reading]) -> Measured:
        """Return the readings by name."""
        every: dict[str, Reading] = dict(found)  # type: ignore[arg-type]
        return cls(**{field.name: every.get(field.name) for field in fields(cls)})


class Measure:
    """What the fixture `cpufit_measure` is."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def __call__(self, model: object, /, **keywords: object) -> Measured:
        """Measure a model file or a model of the catalog, now and alone.

        Takes the marker's keywords; limits may be left out. Fails the test where one is surely
        missed, skips it where this host cannot measure the model.
        """
        __tracebackhide__ = True
        refuse_workers(self._item.config)
        session = _Session.of(self._item.config)
        try:
            words = asked.parse((model,), keywords, self._item.config.rootpath)
            want = asked.wanted(words, everything=True)
            rows = session.measure([want])
            found = _settle(self._item, want, words.limits, [rows[c.id] for c in want.cells])
        except CpufitError as error:
            raise _mistake(error) from None
        return Measured.of(found)


class _Session:
    """What the marked tests of this session need, and what was measured of it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._rows: dict[Key, Row] = {}
        # Of models from files: name -> path. Names of the catalog are taken.
        self._names = dict.fromkeys(load_models(), "")

    @classmethod
    def of(cls, config: pytest.Config) -> _Session:
        return config.stash.setdefault(_KEY, cls(config))

    def wanted(self, words: Asked) -> Wanted:
        """Return what tells; two files of one name are told apart by a number."""
        want = asked.wanted(words)
        if not want.model.file:
            return want
        name, count = want.model.name, 1
        while self._names.setdefault(name, want.model.file) != want.model.file:
            count += 1
            name = f"{want.model.name}-{count}"
        return asked.wanted(words, name) if count > 1 else want

    def rows(self, item: pytest.Item, want: Wanted) -> list[Row]:
        """Return a marked test's rows; what is missing is measured with that of later tests."""
        if any(_key(cell, want) not in self._rows for cell in want.cells):
            open_ = [w for w in (want, *self._later(item)) if self._lacks(w)]
            found = self.measure(open_)
            self._rows |= {_key(c, w): found[c.id] for w in open_ for c in w.cells}
        return [self._rows[_key(cell, want)] for cell in want.cells]

    def measure(self, wants: Sequence[Wanted]) -> dict[str, Row]:
        """Measure all cells in one run; return the rows by id."""
        settings, measuring = config.load_settings(), Measuring.of(self._config)
        budget = measuring.budget(_BUDGET)
        if budget not in settings.budgets:
            raise UsageError(
                f"--cpufit-budget {budget} is no budget", f"give {', '.join(settings.budgets)}"
            )
        cells = {cell.id: cell for want in wants for cell in want.cells}
        plan = Plan(
            cells=tuple(cells.values()),
            models={want.model.card: want.model for want in wants},
            scenarios={k: v for want in wants for k, v in want.scenarios.items()},
            budget=settings.budgets[budget],
            levels=limits.levels((), settings.levels),
            limits=_limits(wants),
        )
        return measuring.run(plan, plan.cells)

    def _lacks(self, want: Wanted) -> bool:
        return any(_key(cell, want) not in self._rows for cell in want.cells)

    def _later(self, item: pytest.Item) -> Iterable[Wanted]:
        """Return what later tests want, as far as that can be told before their turn."""
        items = item.session.items
        for other in items[items.index(item) + 1 :]:
            if _is_skipped(other):
                continue
            for marker in other.iter_markers("cpufit"):
                try:
                    yield self.wanted(_parse(marker, other))
                except CpufitError:
                    continue  # it says so itself, or its model is built by then


_KEY = pytest.StashKey[_Session]()


def check(item: pytest.Item) -> None:
    """Fail a test whose marker makes no sense."""
    for marker in item.iter_markers("cpufit"):
        try:
            _parse(marker, item)
        except CpufitError as error:
            raise _mistake(error) from None


def hold(item: pytest.Item) -> None:
    """Fail a marked test whose model is surely over a limit; warn where that is undecided."""
    refuse_workers(item.config)
    session = _Session.of(item.config)
    for marker in item.iter_markers("cpufit"):
        try:
            words = _parse(marker, item)
            want = session.wanted(words)
            _settle(item, want, words.limits, session.rows(item, want))
        except CpufitError as error:
            raise _mistake(error) from None


def _mistake(error: CpufitError) -> BaseException:
    """Return what fails a test with one line."""
    return pytest.fail.Exception(str(error), pytrace=False)


def _parse(marker: pytest.Mark, item: pytest.Item) -> Asked:
    words = asked.parse(marker.args, marker.kwargs, item.config.rootpath)
    if not words.limits:
        raise UsageError("the marker cpufit has no limit", f"give {', '.join(limits.LIMITS)}")
    return words


def _settle(
    item: pytest.Item, want: Wanted, asked_for: Sequence[Limit], rows: Sequence[Row]
) -> dict[Quantity, Reading]:
    """Fail, skip or warn for what came out, and return it."""
    for row in rows:
        failed = failure_of(row)
        if failed:
            log = Measuring.of(item.config).log(failed)
            pytest.fail(failure_words(failed, log), pytrace=False)
        outcome = row.record.outcome
        if outcome.status == "unsupported":  # no host can: the test would never test anything
            pytest.fail(f"{row.record.cell.id} {outcome.why_and_remedy}", pytrace=False)
        if outcome.status in NOT_HERE:
            pytest.skip(f"{row.record.cell.id} {outcome.why_and_remedy}")
    general = config.load_settings().levels
    found = limits.readings(rows, general)
    for limit in asked_for:
        if limit.quantity not in found:
            pytest.fail(f"{want.label}: nothing was measured for {limit.name}", pytrace=False)
    slowdown = max(row.slowdown(1 - general.percentile) for row in rows)
    findings = limits.hold(want.label, asked_for, found, slowdown)
    over = [finding.words for finding in findings if finding.verdict == "over"]
    if over:
        pytest.fail("\n".join(over), pytrace=False)
    for finding in findings:
        if finding.verdict == "undecided":
            _warn(item, finding.words)
    return found


def _warn(item: pytest.Item, words: str) -> None:
    """Warn; where the user has made warnings errors, that fails the test in the same words."""
    try:
        item.warn(UndecidedWarning(words))
    except UndecidedWarning:
        raise pytest.fail.Exception(words, pytrace=False) from None


def _key(cell: Cell, want: Wanted) -> Key:
    return cell.id, want.stamp


def _limits(wants: Iterable[Wanted]) -> dict[str, tuple[Levels, ...]]:
    """Return what each cell is held against, by all tests that share it."""
    found: dict[str, tuple[Levels, ...]] = {}
    for want in wants:
        for cell in want.cells:
            others = found.get(cell.id, ())
            found[cell.id] = tuple(dict.fromkeys((*others, want.levels)))
    return found


def _is_skipped(item: pytest.Item) -> bool:
    """Return whether a marker surely skips the test; a condition in words is not evaluated."""
    if item.get_closest_marker("skip") is not None:
        return True
    return any(True in marker.args for marker in item.iter_markers("skipif"))
