"""Records to findings: what each cell measured, and which cases are not interactive. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from cpufit import disturbance, intervals, stats, units

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cpufit.intervals import Estimate
    from cpufit.schema import Memory, Precision, Record, Series, Thresholds, Verdict

LABELS = {
    "latency": "latency",
    "ttft": "TTFT",
    "tpot": "TPOT",
    "encode": "encoder alone",
    "prefill": "prefill",
    "decode": "decode",
    "batch": "batch",
    "frame": "frame",
    "preprocess": "preprocessing",
    "inference": "inference",
    "postprocess": "postprocessing",
    "energy": "energy",
    "energy_ttft": "energy of the prompt, per token",
    "energy_tpot": "energy per generated token",
}

FRAME_STAGES = ("preprocess", "inference", "postprocess")  # of a frame, which counts whole

# Cosine to float32 below which more is lost than by rounding. Rounding alone leaves samples of the
# catalog's language models 0.86 to 0.99 at 4 bits (groups of 32 to 128) and 0.999 at 8 bits; random
# weights suffer more from it than trained ones. Saturating 8-bit products can cost far more.
LOWEST_COSINE: dict[Precision, float] = {
    "fp32": 0.9999,
    "fp16": 0.999,
    "bf16": 0.999,
    "int8": 0.99,
    "int4": 0.8,
    "q4_0": 0.8,
}

FEWEST_QUIET = 3  # processes nothing disturbed, for the disturbed ones to be left out
_WORST_FIRST: tuple[Verdict, ...] = ("over", "undecided", "under")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One quantity of one cell, summed up. Times in ns, energy in J per item."""

    name: str
    size: int  # prompt length, batch or parallel sequences
    unit: str
    n: int  # samples, of all processes that count
    values: tuple[float, ...]
    estimate: Estimate  # of the median
    p90: float | None  # of all samples; None: n too small
    p95: float | None
    p99: float | None
    rate: float  # all items over all the time, per second; 0 for energy
    verdict: Verdict | None  # None: no threshold applies
    threshold: float  # same unit; 0 where none applies
    holds: tuple[tuple[int, Verdict], ...] = ()  # frames per second, and whether it keeps up

    @property
    def label(self) -> str:
        """What a person calls it: 'TTFT at 128 tokens', 'latency', 'decode x4'."""
        return label_of(self.name, self.size)

    @property
    def p50(self) -> float:
        """The median request."""
        return self.estimate.value

    @property
    def figure(self) -> float:
        """The value held against the threshold: p90, or p50 where n is too small for it."""
        return self.p50 if self.p90 is None else self.p90

    @property
    def figure_name(self) -> str:
        """Which of the two `figure` is."""
        return "p50" if self.p90 is None else "p90"

    @property
    def ratio(self) -> float:
        """`figure` over the threshold; 0 where none applies."""
        return self.figure / self.threshold if self.threshold else 0.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell: the records of its processes, and what they come to."""

    records: tuple[Record, ...]  # in order of time
    used: tuple[Record, ...]  # the processes whose samples count
    disturbances: dict[int, tuple[str, ...]]  # what disturbed which process: repeat -> reasons
    metrics: tuple[Metric, ...]

    @cached_property
    def record(self) -> Record:
        """The record that speaks for the cell where processes need not be told apart."""
        return next(iter(self.used), self.records[0])

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

    @property
    def label(self) -> str:
        """What a person calls the cell: 'Mistral 7B INT4 on llama.cpp, synthetic weights'."""
        cell = self.record.cell
        name = self.record.title or cell.card
        return f"{name} {cell.precision.upper()} on {cell.runtime}, {cell.weights} weights"

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
        lowest = LOWEST_COSINE[self.record.cell.precision]
        return self.cosine is not None and self.cosine < lowest

    @property
    def fps_words(self) -> str:
        """Which camera rates it keeps up with: 'holds 10 and 15 FPS, not 30'."""
        frame = self.metric("frame")
        rates: dict[Verdict, list[str]] = {"under": [], "undecided": [], "over": []}
        for fps, verdict in frame.holds if frame else ():
            rates[verdict].append(str(fps))
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


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A case that is over the threshold, or may be."""

    row: Row
    metric: Metric

    @property
    def words(self) -> str:
        """One sentence: which case, its value, its ratio to the threshold, how sure."""
        metric = self.metric
        limit = units.duration(metric.threshold)
        value = f"{metric.label} {units.duration(metric.figure)} ({metric.figure_name})"
        times = f"{units.significant(metric.ratio, 2)} times the {limit} threshold"
        if metric.verdict == "over":
            return f"{self.row.label}: {value}, {times}"
        return f"{self.row.label}: {value}, {times}: undecided, {self.why}"

    @property
    def why(self) -> str:
        """What keeps an undecided case open."""
        metric, count = self.metric, self.metric.estimate.processes
        if self.row.disturbed:
            return "the processes were disturbed"
        if count > 1:
            return f"{metric.n} samples of {count} processes do not tell"
        return f"{metric.n} samples are too few"


def label_of(name: str, size: int) -> str:
    """Return what a person calls a series."""
    words = LABELS[name]
    if name in ("ttft", "prefill"):
        return f"{words} at {size} tokens"
    return f"{words} x{size}" if name in ("decode", "batch") else words


def rows(records: Iterable[Record], thresholds: Thresholds) -> list[Row]:
    """Sum up every cell, measured or not, in the order given."""
    cells: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        key = (record.run_id, record.host.fingerprint, record.cell.id)
        cells.setdefault(key, []).append(record)
    return [_row(tuple(found), thresholds) for found in cells.values()]


def rate_unit(name: str) -> str:
    """Return what a series' rate counts: 'tokens/s', 'FPS', '/s'."""
    if name in ("tpot", "decode", "prefill", "ttft"):
        return "tokens/s"
    return "FPS" if name == "frame" else "/s"


def host_names(cpus: Mapping[str, str]) -> dict[str, str]:
    """Name each fingerprint by its CPU; by its fingerprint too where two share a CPU."""
    models = list(cpus.values())
    return {
        fingerprint: model if models.count(model) == 1 else f"{model} ({fingerprint[:8]})"
        for fingerprint, model in cpus.items()
    }


def flags(table: Iterable[Row]) -> list[Flag]:
    """Return the cases over or perhaps over the threshold, the slowest first.

    An undecided case counts where its figure is above the threshold or within a tenth of it.
    """
    found = [
        Flag(row=row, metric=metric)
        for row in table
        for metric in row.metrics
        if metric.verdict == "over" or (metric.verdict == "undecided" and metric.ratio > 0.9)
    ]
    return sorted(found, key=lambda flag: -flag.metric.ratio)


def inexact(table: Iterable[Row]) -> list[Row]:
    """Return one row of each case whose outputs are too far from float32's, the worst first."""
    found = {row.label: row for row in table if row.inexact}
    return sorted(found.values(), key=lambda row: row.cosine or 0.0)


def _row(records: tuple[Record, ...], thresholds: Thresholds) -> Row:
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
        metrics=_metrics(used, thresholds, _any_of(disturbances, used)),
    )


def _any_of(disturbances: Mapping[int, object], records: Iterable[Record]) -> bool:
    return any(record.repeat in disturbances for record in records)


def _used(records: Sequence[Record], disturbances: Mapping[int, object]) -> tuple[Record, ...]:
    """Return the measured processes; without the disturbed ones where enough others are left."""
    measured = tuple(record for record in records if record.outcome.status == "ok")
    quiet = tuple(record for record in measured if record.repeat not in disturbances)
    return quiet if len(quiet) >= min(FEWEST_QUIET, len(measured)) else measured


def _metrics(used: Sequence[Record], thresholds: Thresholds, disturbed: bool) -> tuple[Metric, ...]:
    found: dict[tuple[str, int], list[Series]] = {}
    for record in used:
        for series in record.outcome.series:
            if series.values and series.name in LABELS:
                found.setdefault((series.name, series.size), []).append(series)
    return tuple(_metric(every, thresholds, disturbed) for every in found.values())


def _metric(every: Sequence[Series], thresholds: Thresholds, disturbed: bool) -> Metric:
    """Sum up one series of every process."""
    series = every[0]
    processes = [np.sort(one.values) for one in every]  # once: thousands of cells have many samples
    pooled = np.sort(np.concatenate(processes)) if len(every) > 1 else processes[0]
    limit = _threshold_ns(series.name, thresholds)
    share, confidence = thresholds.percentile, thresholds.confidence

    def verdict(limit: float) -> Verdict:
        return intervals.judge(processes, limit, share, confidence, disturbed=disturbed)

    return Metric(
        name=series.name,
        size=series.size,
        unit=series.unit,
        n=len(pooled),
        values=tuple(chain.from_iterable(one.values for one in every)),
        estimate=intervals.estimate(processes),
        p90=stats.supported_percentile(pooled, 0.9, confidence),
        p95=stats.supported_percentile(pooled, 0.95, confidence),
        p99=stats.supported_percentile(pooled, 0.99, confidence),
        rate=_rate(series.items, pooled) if series.unit == "ns" else 0.0,
        verdict=verdict(limit) if limit else None,
        threshold=limit,
        holds=tuple(
            (fps, verdict(units.NS_PER_S / fps))
            for fps in (thresholds.fps if series.name == "frame" else ())
        ),
    )


def _threshold_ns(name: str, thresholds: Thresholds) -> float:
    """Only one-stream latencies are interactive; batches and energy have no threshold."""
    limits_ms = {
        "latency": thresholds.latency_ms,
        "frame": thresholds.latency_ms,
        "ttft": thresholds.ttft_ms,
        "tpot": thresholds.tpot_ms,
    }
    return limits_ms.get(name, 0.0) * units.NS_PER_MS


def _rate(items: int, values: NDArray[np.float64]) -> float:
    total_ns = float(values.sum())
    return items * len(values) * units.NS_PER_S / total_ns if total_ns else 0.0
