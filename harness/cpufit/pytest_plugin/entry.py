"""A cell as an entry of pytest-benchmark: its rounds, what else it measured, and its host.

The rounds are the medians of the cell's fresh processes. Samples of one process agree with each
other more than with the next process's (docs/methodology.md): a thousand of them as rounds would
make pytest-benchmark's deviation that of one process, and its minimum the luckiest request.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from cpufit import units
from cpufit.analysis.choice import response, speed
from cpufit.run import here
from cpufit.stats import percentiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cpufit.analysis import Metric, Row

_SECONDS, _JOULES, _GIGABYTES = "s", "J", "GB"
# Facts of which a difference explains another fingerprint.
_TELLING = (
    "cpu_model microcode sockets physical_cores logical_cores usable_cores memory_limit_bytes "
    "kernel governor turbo hypervisor"
).split()


class Benchmark(Protocol):
    """As much of pytest-benchmark's fixture as is used here."""

    enabled: bool
    skipped: bool
    group: str | None
    extra_info: dict[str, Any]

    def pedantic(self, target: Callable[[], object], rounds: int = 1) -> object:
        """Call and time `target` so many times; only once where benchmarks are disabled."""


class Replay:
    """A timer that plays durations back: the target it times has run long ago, elsewhere."""

    def __init__(self) -> None:
        self._ticks: Iterator[float] = iter(())

    def __call__(self) -> float:
        """Return 0 where a round begins, then how long it took, in seconds."""
        return next(self._ticks, 0.0)

    def __repr__(self) -> str:
        return "medians of cpufit's processes"

    def load(self, rounds: Sequence[float]) -> None:
        """Play these durations next."""
        self._ticks = (tick for value in rounds for tick in (0.0, value))


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The one quantity of a cell that pytest-benchmark compares."""

    name: str  # 'TTFT at 128 tokens'
    unit: str
    rounds: tuple[float, ...]  # one of each process that counts
    value: float  # cpufit's own estimate from them
    interval: tuple[float, float] | None  # 95 %

    @property
    def group(self) -> str:
        """Names the table it stands in; pytest-benchmark itself takes all for seconds."""
        return self.name if self.unit == _SECONDS else f"{self.name} in {self.unit}, not seconds"


def record(benchmark: Benchmark, row: Row, replay: Replay) -> None:
    """Make the row an entry of pytest-benchmark."""
    found = headline(row)
    benchmark.group = found.group
    benchmark.extra_info["cpufit"] = extra_info(row, found)
    replay.load(found.rounds)
    benchmark.pedantic(lambda: None, rounds=len(found.rounds))


def headline(row: Row) -> Headline:
    """Return what a user waits for, or the throughput, energy or memory of a cell without that."""
    metric = response(row) or speed(row)
    if metric is None:
        return _memory(row)
    scale = _scale(metric)
    interval = metric.estimate.interval
    return Headline(
        name=metric.label,
        unit=_unit(metric),
        rounds=tuple(
            percentiles.percentile(series.values, 0.5) * scale
            for process in row.used
            for series in process.outcome.series
            if (series.name, series.size) == (metric.name, metric.size) and series.values
        ),
        value=metric.p50 * scale,
        interval=(interval[0] * scale, interval[1] * scale) if interval else None,
    )


def extra_info(row: Row, found: Headline) -> dict[str, Any]:
    """Return all that one number does not hold; times in s, sizes in bytes, energy in J."""
    outcome, cell, artifact = row.record.outcome, row.record.cell, row.record.artifact
    return {
        "cell": cell.id,
        "model": row.record.title or cell.card,
        "weights": cell.weights,
        "precision": cell.precision,
        "format": artifact.format if artifact else "",
        "metric": found.name,
        "unit": found.unit,
        "value": found.value,
        "interval": found.interval,
        "n": _count(row, found),
        "processes": len(row.used),
        "verdict": row.verdict,
        "disturbed": row.disturbed,
        "disturbances": {str(k): list(v) for k, v in row.disturbances.items()},
        "metrics": {metric.label: _metric(metric) for metric in row.metrics},
        "memory": asdict(row.memory) if row.memory else None,
        "load_s": outcome.load_ns / units.NS_PER_S,
        "first_s": outcome.first_ns / units.NS_PER_S,
        "size_bytes": artifact.size_bytes if artifact else 0,
        "cosine": row.cosine,
        "counters": outcome.counters,
        "settings": outcome.settings,
        "versions": outcome.versions,
        "notes": list(outcome.notes),
        "budget": row.record.budget,
        "stop": row.records[-1].settled,
        "run": row.record.run_id,
    }


def host_facts() -> dict[str, Any]:
    """Return what is known of this host, its fingerprint first."""
    return asdict(here.describe())


def refuse_another_host(here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Raise pytest.UsageError where the fingerprints differ, naming the facts that do."""
    if here["fingerprint"] == there.get("fingerprint"):
        return
    differing = [name for name in _TELLING if here.get(name) != there.get(name)]
    facts = "; ".join(f"{name} {there.get(name)!r}, here {here.get(name)!r}" for name in differing)
    raise pytest.UsageError(
        "cpufit: the saved run was measured on another host"
        + (f" ({facts})" if facts else "")
        + ": its figures say nothing about this one. Save a run here first, or look at both side "
        "by side with `pytest-benchmark compare`"
    )


def _memory(row: Row) -> Headline:
    peaks = tuple(r.outcome.memory.peak_bytes / units.GB for r in row.used if r.outcome.memory)
    return Headline(
        name="peak memory", unit=_GIGABYTES, rounds=peaks, value=max(peaks), interval=None
    )


def _metric(metric: Metric) -> dict[str, Any]:
    scale = _scale(metric)

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * scale

    return {
        "unit": _unit(metric),
        "median": metric.p50 * scale,
        "interval": tuple(map(scaled, metric.estimate.interval or ())) or None,
        "p90": scaled(metric.p90),
        "p95": scaled(metric.p95),
        "p99": scaled(metric.p99),
        "n": metric.n,
        "per_s": metric.rate,
        "verdict": metric.verdict,
        "threshold": metric.threshold * scale or None,
        "keeps_up_with_fps": {name.removesuffix(" FPS"): verdict for name, verdict in metric.holds},
    }


def _count(row: Row, found: Headline) -> int:
    """Return the number of samples behind the headline."""
    return next((m.n for m in row.metrics if m.label == found.name), len(found.rounds))


def _unit(metric: Metric) -> str:
    return _SECONDS if metric.unit == "ns" else _JOULES


def _scale(metric: Metric) -> float:
    return 1 / units.NS_PER_S if metric.unit == "ns" else 1.0
