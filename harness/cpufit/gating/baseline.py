"""A run against earlier runs of the same host. Pure.

Runs of one host differ by more than their intervals say: each has one mood. So a run is one value,
and Student's prediction bound of the earlier runs says how far a further one may lie. Only what
does not vary, sizes and outputs, is judged from one earlier run.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, expm1, inf, log, log1p, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from cpufit import units
from cpufit.gating import rule, verdict
from cpufit.gating.pairs import Facts, Trial, kind_of, values_of
from cpufit.gating.rule import FAMILY_ALPHA, Judged
from cpufit.gating.verdict import Found
from cpufit.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.analysis import Row
    from cpufit.gating.pairs import Values
    from cpufit.gating.rule import Logs, Verdict
    from cpufit.margins import Margins

FEWEST = 10  # earlier runs, to know how far runs differ
_SURE = 2.326  # normal quantile: missed in 1 of 100 cases
_UNDISTURBED = ("memory", "instructions")  # by other programs


def judge(past: Sequence[Row], now: Row, margins: Margins, tested: int) -> Found:
    """Judge a cell of a new run by the same cell of earlier ones; `tested` are all quantities."""
    cell = now.record.cell
    before = _facts(past[-1]) if past else Facts()
    problem = _missing(past, now)
    trial = Trial(
        cell=cell,
        against=cell,
        before=before,
        after=_facts(now),
        problem=problem,
        margins=margins,
    )
    if problem:
        return Found(trial=trial, judged={})
    if _file(past[-1]) != _file(now):
        why = "not comparable: the baseline measured another model file"
        return Found(trial=trial, judged={verdict.PAIRS: rule.nothing(why)})
    earlier = [_values(row) for row in past]
    judged = {}
    for name, value in _values(now).items():
        if logs := [log(old[name]) for old in earlier if name in old]:
            margin = margins[kind_of(name)]
            one = _quantity(np.array(logs), log(value), margin, tested)
            doubtful = now.disturbed and kind_of(name) not in _UNDISTURBED
            judged[name] = _doubtful(one) if doubtful else one
    return Found(trial=trial, judged=judged | verdict.facts(before, trial.after, margins))


def quantities(rows: Sequence[Row]) -> int:
    """Return how many quantities are tested, which the family's error is shared among."""
    return sum(len(_values(row)) for row in rows if row.ok)


def _missing(past: Sequence[Row], now: Row) -> str:
    """Return why there is nothing to compare, '' where there is."""
    if not now.ok:
        return now.record.outcome.why
    return "" if past else "the baseline has not measured it"


def _file(row: Row) -> str:
    artifact = row.record.artifact
    return artifact.key if artifact else ""


def _facts(row: Row) -> Facts:
    artifact = row.record.artifact
    return Facts(size_bytes=artifact.size_bytes if artifact else 0, cosine=row.cosine)


def _values(row: Row) -> Values:
    """Return what a run says of a cell: the centre of its processes."""
    found: dict[str, list[float]] = {}
    for record in row.used:
        for name, value in values_of(record.outcome).items():
            found.setdefault(name, []).append(value)
    return {name: exp(intervals.hodges_lehmann(np.log(each))) for name, each in found.items()}


def _doubtful(judged: Judged) -> Judged:
    return replace(judged, verdict="inconclusive", why="this run was disturbed")


def _quantity(past: Logs, now: float, margin: float, tested: int) -> Judged:
    change, count = now - float(past.mean()), len(past)
    if count < FEWEST:
        why = f"{units.counted(count, 'earlier run')}: {FEWEST} tell their luck from a change"
        return _judged("inconclusive", change, inf, count, inf, why)
    spread = float(np.std(past, ddof=1)) * sqrt(1 + 1 / count)
    bound = float(stdtrit(count - 1, 1 - FAMILY_ALPHA / max(tested, 1))) * spread
    reach = float(stdtrit(count - 1, 0.975)) * spread

    def sees(share: float) -> float:
        return expm1(max(bound, log1p(share)) + _SURE * spread)

    smallest = sees(margin)
    if change > bound and change >= log1p(margin):
        return _judged("regression", change, reach, count, smallest)
    if smallest > 2 * margin:
        why = rule.doubt(sees, margin)
        return _judged("inconclusive", change, reach, count, smallest, why)
    better = -change > bound and -change >= log1p(margin)
    return _judged("improvement" if better else "same", change, reach, count, smallest)


def _judged(
    word: Verdict, change: float, reach: float, count: int, smallest: float, why: str = ""
) -> Judged:
    return Judged(
        verdict=word,
        ratio=exp(change),
        interval=(exp(change - reach), exp(change + reach)) if reach < inf else (0.0, inf),
        pairs=count,
        p=float("nan"),
        smallest=smallest,
        why=why or f"{count} earlier runs, sees {smallest:.1%} and more",
    )
