"""Every sentence on a verdict, written once: terminal, page and tests say the same. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit import units
from cpufit.precisions import label, precision
from cpufit.stats import percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cpufit.analysis.flags import Flag
    from cpufit.analysis.metric import Metric
    from cpufit.analysis.rows import Row


def value(metric: Metric) -> str:
    """Return the figure that is judged: 'TTFT at 128 tokens 1.26 s (p50)'."""
    return f"{metric.label} {units.duration(metric.figure)} ({metric.figure_name})"


def flagged(flag: Flag) -> str:
    """Return one sentence: which case, its value, its ratio to its own level, how sure."""
    return f"{flag.row.label}: {value(flag.metric)}, {against(flag)}"


def against(flag: Flag) -> str:
    """Hold a flagged figure against its level: '2.5 times the 500 ms threshold'."""
    metric = flag.metric
    words = f"{times(metric)} the {units.duration(metric.threshold)} threshold"
    if metric.verdict == "undecided":
        return f"{words}; undecided, {why_open(flag.row, metric)}"
    return words


def times(metric: Metric) -> str:
    """Return '2.5 times'."""
    return f"{units.significant(metric.ratio, 2)} times"


def why_open(row: Row, metric: Metric) -> str:
    """Say what keeps an undecided case open."""
    count, slowdown = metric.estimate.processes, row.slowdown(0.5)
    if metric.p50 > metric.threshold > metric.p50 / slowdown:
        reason = next(iter(row.disturbances.values()))[0]
        return f"{reason}, which may have made it {units.significant(slowdown, 2)} times slower"
    if count > 1:
        return unsteady(metric) or f"{metric.n} samples in {count} processes leave it open"
    telling = percentiles.independent(metric.values)
    if telling < metric.n:
        return f"{metric.n} samples, each like the one before, tell as much as {telling}"
    return f"{metric.n} samples are too few"


def unsteady(metric: Metric) -> str:
    """Return 'two kinds of processes: 7.20 ms and 7.90 ms'; '' where they are of one kind."""
    odd = metric.estimate.unsteady
    if odd is None:
        return ""
    first, last = (units.amount(value, metric.unit) for value in odd.values)
    if odd.kind == "drift":
        return f"processes drift from {first} to {last}"
    return f"two kinds of processes: {first} and {last}"


def limits(metrics: Iterable[Metric]) -> str:
    """Return what they are held against: '500 ms', or 'the threshold' where it is not the same."""
    found = {metric.threshold for metric in metrics if metric.verdict}
    return units.duration(found.pop()) if len(found) == 1 else "the threshold"


def inexact(row: Row) -> str:
    """Say how far outputs are from float32's, and what their precision should keep."""
    name = row.record.cell.precision
    lowest = precision(name).lowest_cosine
    return f"cosine {units.cosine(row.cosine or 0.0)}, {label(name)} should keep {lowest:g}"
