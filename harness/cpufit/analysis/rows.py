"""Records to rows: what each cell measured. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cpufit import units
from cpufit.analysis.metric import summed_up
from cpufit.precisions import label, precision
from cpufit.quantities import quantity
from cpufit.stats import disturbance
from cpufit.stats.moderated import UNKNOWN, Typical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cpufit.analysis.metric import Metric
    from cpufit.schema import Levels, Memory, Record, Series, Verdict

FEWEST_QUIET = 3  # processes nothing disturbed, for the disturbed ones to be left out
_WORST_FIRST: tuple[Verdict, ...] = ("over", "undecided", "under")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell: the records of its processes, and what they come to."""

    records: tuple[Record, ...]  # in order of time
    used: tuple[Record, ...]  # the processes whose samples count
    disturbances: dict[int, tuple[str, ...]]  # what disturbed which process: repeat -> reasons
    metrics: tuple[Metric, ...]
    typical: Typical  # how much processes of its run's cells differ

    @cached_property
    def record(self) -> Record:
        """The record that speaks for the cell where processes need not be told apart."""
        return next(iter(self.used), self.records[-1])

    @cached_property
    def memory(self) -> Memory | None:
        """What the process took that took most."""
        found = (record.outcome.memory for record in self.used)
        return max((m for m in found if m), key=lambda m: m.peak_bytes, default=None)

    @property
    def ok(self) -> bool:
        """Whether the cell was measured."""
        return self.record.outcome.status == "ok"

    @property
    def disturbed(self) -> bool:
        """Whether disturbed processes are among those that count, for want of better ones."""
        return _any_of(self.disturbances, self.used)

    def slowdown(self, share: float) -> float:
        """How many times slower a disturbance may have made that share of its samples."""
        return _slowdown(self.used, share)

    @property
    def label(self) -> str:
        """What a person calls the cell: 'Mistral 7B INT4 on llama.cpp, synthetic weights'."""
        cell = self.record.cell
        name = self.record.title or cell.card
        return f"{name} {label(cell.precision)} on {cell.runtime}, {cell.weights} weights"

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict of its metrics, None where no threshold applies."""
        found = {metric.verdict for metric in self.metrics}
        return next((word for word in _WORST_FIRST if word in found), None)

    @property
    def cosine(self) -> float | None:
        """How near the outputs are to float32's; None where that was not checked."""
        found = self.record.outcome.numerics
        return found.cosine if found else None

    @property
    def inexact(self) -> bool:
        """Whether the outputs are farther from float32's than the precision explains."""
        lowest = precision(self.record.cell.precision).lowest_cosine
        return self.cosine is not None and self.cosine < lowest

    @property
    def fps_words(self) -> str:
        """Which camera rates it keeps up with: 'holds 10 and 15 FPS, not 30'."""
        frame = self.metric("frame")
        rates: dict[Verdict, list[str]] = {"under": [], "undecided": [], "over": []}
        for name, verdict in frame.holds if frame else ():
            rates[verdict].append(name.removesuffix(" FPS"))
        held, unsure, missed = rates.values()
        words = [f"holds {units.listed(held)} FPS"] if held else []
        words += [f"{units.listed(unsure)} FPS undecided"] if unsure else []
        if missed:
            words.append(
                f"not {units.listed(missed, 'or')}" if words else f"does not hold {missed[0]} FPS"
            )
        return ", ".join(words)

    def series_of(self, metric: Metric) -> list[Series]:
        """Return the metric's samples of each process that counts and has some."""
        every = (series for record in self.used for series in record.outcome.series)
        wanted = metric.name, metric.size
        return [one for one in every if one.values and (one.name, one.size) == wanted]

    def metric(self, name: str, size: int | None = None) -> Metric | None:
        """Return the metric of that name (and size), None where the cell has none."""
        found = (m for m in self.metrics if m.name == name and size in (None, m.size))
        return next(found, None)


def rows(records: Iterable[Record], levels: Levels) -> list[Row]:
    """Sum up every cell, measured or not, in the order given.

    Raises DataError for a figure that nobody knows.
    """
    cells: dict[tuple[str, str, str], list[Record]] = {}
    typical: dict[tuple[str, str], Typical] = {}  # of each run as it was known last
    for record in records:
        run = (record.run_id, record.host.fingerprint)
        cells.setdefault((*run, record.cell.id), []).append(record)
        if record.typical:
            typical[run] = Typical(**record.typical)
    return [
        _row(tuple(found), levels, typical.get((run, host), UNKNOWN))
        for (run, host, _), found in cells.items()
    ]


def host_names(cpus: Mapping[str, str]) -> dict[str, str]:
    """Name each fingerprint by its CPU; by its fingerprint too where two share a CPU."""
    models = list(cpus.values())
    return {
        fingerprint: model if models.count(model) == 1 else f"{model} ({fingerprint[:8]})"
        for fingerprint, model in cpus.items()
    }


def _row(records: tuple[Record, ...], levels: Levels, typical: Typical) -> Row:
    """Sum up one cell's processes."""
    reasons = (
        (r.repeat, disturbance.reasons(r.outcome.noise, r.host.logical_cores)) for r in records
    )
    disturbances = {repeat: words for repeat, words in reasons if words}
    used = _used(records, disturbances)
    return Row(
        records=records,
        used=used,
        disturbances=disturbances,
        typical=typical,
        metrics=_metrics(used, levels, _slowdown(used, 0.5) if disturbances else 1.0, typical),
    )


def _slowdown(used: Iterable[Record], share: float) -> float:
    """Return how much slower than it is the most disturbed process may look."""
    found = (disturbance.slowdown(r.outcome.noise, r.host.logical_cores, share) for r in used)
    return max(found, default=1.0)


def _any_of(disturbances: Mapping[int, object], records: Iterable[Record]) -> bool:
    return any(record.repeat in disturbances for record in records)


def _used(records: Sequence[Record], disturbances: Mapping[int, object]) -> tuple[Record, ...]:
    """Return the measured processes; without the disturbed ones where enough others are left.

    None where the model's file was replaced between them.
    """
    if len({record.artifact.key for record in records if record.artifact}) > 1:
        return ()
    measured = tuple(record for record in records if record.outcome.status == "ok")
    quiet = tuple(record for record in measured if record.repeat not in disturbances)
    return quiet if len(quiet) >= min(FEWEST_QUIET, len(measured)) else measured


def _metrics(
    used: Sequence[Record], levels: Levels, slowdown: float, typical: Typical
) -> tuple[Metric, ...]:
    found: dict[tuple[str, int], list[Series]] = {}
    for record in used:
        for series in record.outcome.series:
            if quantity(series.name) and series.values:
                found.setdefault((series.name, series.size), []).append(series)
    return tuple(summed_up(every, levels, slowdown, typical) for every in found.values())
