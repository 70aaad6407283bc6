"""How much the processes of each cell differ, and what that says of a whole run. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpufit.stats import intervals, moderated, percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cpufit.analysis.rows import Row
    from cpufit.stats.percentiles import Samples

    Spread = tuple[float, int]  # standard deviation of the logarithms, degrees of freedom
    Spreads = tuple[tuple[Spread, ...], tuple[Spread, ...]]  # of medians, of judged percentiles


def of_cell(row: Row, share: float) -> Spreads:
    """Return the spread of every duration of the cell, of its medians and of that percentile."""
    times = [metric for metric in row.metrics if metric.unit == "ns"]  # energy may be nothing
    every = [[one.values for one in row.series_of(metric)] for metric in times]
    several = [processes for processes in every if len(processes) > 1]
    medians = tuple(of_series(processes, 0.5) for processes in several)
    return medians, tuple(of_series(processes, share) for processes in several)


def of_run(cells: Iterable[Spreads]) -> dict[str, float]:
    """Return what a record keeps of a run's cells (`Record.typical`); empty where it is unknown."""
    known = list(cells)
    found = {
        name: moderated.of_run([spread for each in known for spread in each[index]])
        for index, name in enumerate(("median", "tail"))
    }
    return found if all(found.values()) else {}


def of_series(processes: Sequence[Samples], share: float) -> Spread:
    """Return the spread of that percentile of each process's samples in ns; of one, none."""
    figures = [max(percentiles.percentile(values, share), 1.0) for values in processes]
    return intervals.own_spread(np.log(figures))
