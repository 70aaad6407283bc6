"""When is a cell measured well enough? Pure, over the rows so far, so that it can be replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpufit import units
from cpufit.analysis.choice import response

if TYPE_CHECKING:
    from cpufit.analysis import Metric, Row
    from cpufit.schema import Budget


def settled(row: Row, budget: Budget) -> str:
    """Return why the cell needs no further process, '' where it does.

    Disturbed processes are asked for again, as many more as the budget allows at most; and as many
    more where a verdict is open.
    """
    last, count = row.records[-1].outcome, len(row.used)
    if last.status != "ok":
        return f"not measured: {last.status}"
    if not row.metrics:
        return "one process is enough"
    fewest, most = budget.processes
    if budget.ends_early and not row.disturbed and _far_over(row):
        return f"over by far after {units.counted(len(row.records), 'process')}"
    if count >= fewest and not row.disturbed and not _open(row, budget):
        return f"within {budget.half_width:.0%} and clear after {len(row.records)} processes"
    doubtful = row.disturbed or any(metric.verdict == "undecided" for metric in row.metrics)
    if len(row.records) >= 2 * most or (count >= most and not doubtful):
        return f"the most processes of the budget, {len(row.records)}"
    spent = sum(record.spent_s for record in row.records)
    each = spent / len(row.records)
    if spent + each > budget.cell_s and len(row.records) >= fewest:
        return f"the {budget.cell_s:g} s of a cell were over"
    return ""


def _far_over(row: Row) -> bool:
    """Whether what a user waits for is over by far; longer prompts and further tokens follow."""
    first = response(row)
    return first is not None and first.far_over


def _open(row: Row, budget: Budget) -> list[Metric]:
    """Return what is not narrow or not clear yet."""
    return [
        metric
        for metric in row.metrics
        if not metric.quantity.stage_of
        and (metric.estimate.half_width > budget.half_width or metric.verdict == "undecided")
    ]
