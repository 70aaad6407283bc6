"""Which tier of model this host can run, from measured rows only. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cpufit import units
from cpufit.catalog import load_models
from cpufit.precisions import label
from cpufit.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cpufit.analysis import Metric, Row
    from cpufit.precisions import Precision
    from cpufit.schema import Host, Settings, Tier, TierModel, Verdict

Answer = Literal["yes", "no", "undecided", "not measured"]
_ANSWERS: dict[Verdict | None, Answer] = {"under": "yes", "over": "no", "undecided": "undecided"}
_RANK: tuple[Answer, ...] = ("yes", "undecided", "no", "not measured")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One demand of a tier on one of its models."""

    what: str  # memory, TTFT at 128 tokens, tokens per second, latency
    value: str  # as measured, in words; '' where not measured
    limit: str
    answer: Answer
    ratio: float = 0.0  # value over limit, so that more than 1 misses; 0 where not measured


@dataclass(frozen=True, kw_only=True)
class ModelFit:
    """How one model of a tier did, on the runtime where it did best."""

    model: str
    precision: Precision
    runtime: str  # '' where nothing was measured
    weights: str
    checks: tuple[Check, ...]

    @property
    def title(self) -> str:
        """What a person calls the model."""
        card = load_models().get(self.model)
        return card.title if card else self.model

    @property
    def answer(self) -> Answer:
        """The worst of its checks."""
        return worst([check.answer for check in self.checks])

    @property
    def ratio(self) -> float:
        """By how much its worst check misses; without end where nothing was measured."""
        return max(check.ratio for check in self.checks) if self.runtime else math.inf


@dataclass(frozen=True, kw_only=True)
class TierFit:
    """How a tier did: as its worst model."""

    tier: Tier
    models: tuple[ModelFit, ...]

    @property
    def answer(self) -> Answer:
        """'no' as soon as one model misses: measuring the rest cannot mend it."""
        answers = [fit.answer for fit in self.models]
        return "no" if "no" in answers else worst(answers)


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The highest tier met, and every tier's checks."""

    host: Host
    tiers: tuple[TierFit, ...]  # low to high

    @property
    def met(self) -> TierFit | None:
        """The highest tier whose models all fit, with every lower one met as well."""
        met = None
        for fit in self.tiers:
            if fit.answer != "yes":
                break
            met = fit
        return met

    @property
    def next(self) -> TierFit | None:
        """The lowest tier that is not met; None where all are."""
        return next((fit for fit in self.tiers if fit.answer != "yes"), None)

    @property
    def headline(self) -> str:
        """The recommendation in a sentence."""
        if not self.tiers:
            return "What was measured on this host"
        if self.met is None:
            lowest = self.tiers[0]
            if lowest.answer == "no":
                return "No tier is recommended for this host"
            return (
                f"No tier can be recommended yet: the {lowest.tier.name} tier is not all measured"
            )
        tier = self.met.tier
        return f"Recommended tier: {tier.name} ({tier.title})"

    @property
    def reasons(self) -> list[str]:
        """Why this tier: one sentence for each of its models."""
        fits = self.met.models if self.met else ()
        return [_sentence(fit, fit.checks) for fit in fits]

    @property
    def nearest_miss(self) -> list[str]:
        """What keeps the host from the next tier, one sentence for each model that misses.

        The nearest comes first, and what was not measured last: how near it is, nobody knows.
        """
        if self.next is None:
            return []
        missed = [f for f in self.next.models if f.answer != "yes"]
        missed.sort(key=lambda f: f.ratio)
        return [_sentence(f, [c for c in f.checks if c.answer != "yes"]) for f in missed]


def recommend(table: Sequence[Row], host: Host, settings: Settings) -> Recommendation:
    """Hold every tier's models against the measured rows of one host.

    There are no tiers where no row is of a tier's model: others say nothing of them.
    """
    confidence = settings.levels.confidence
    promised = {one.model for tier in settings.tiers for one in tier.models}
    tiers = settings.tiers if any(row.record.cell.card in promised for row in table) else ()
    measured = [row for row in table if row.ok and row.record.host.fingerprint == host.fingerprint]
    return Recommendation(
        host=host,
        tiers=tuple(
            TierFit(
                tier=tier,
                models=tuple(_fit(model, tier, measured, confidence) for model in tier.models),
            )
            for tier in tiers
        ),
    )


def of_own_alone(table: Sequence[Row]) -> bool:
    """Whether all rows are of users' own model files."""
    return bool(table) and all(of_own(row) for row in table)


def of_own(row: Row) -> bool:
    """Whether it is of a user's own model file."""
    cell = row.record.cell
    return cell.weights == "real" and cell.model not in load_models()


def worst(answers: Sequence[Answer]) -> Answer:
    """Return the least favourable answer."""
    return max(answers, key=_RANK.index)


def _fit(wanted: TierModel, tier: Tier, measured: Sequence[Row], confidence: float) -> ModelFit:
    """Check each runtime, weights and thread count that was measured; keep the best."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in measured:
        cell = row.record.cell
        if (cell.card, cell.precision, cell.batch) == (wanted.model, wanted.precision, 1):
            groups.setdefault((cell.runtime, cell.weights, cell.threads), []).append(row)
    if not groups:
        nothing = Check(what="measurement", value="", limit="", answer="not measured")
        return ModelFit(
            model=wanted.model,
            precision=wanted.precision,
            runtime="",
            weights="",
            checks=(nothing,),
        )
    fits = [
        ModelFit(
            model=wanted.model,
            precision=wanted.precision,
            runtime=runtime,
            weights=weights,
            checks=_checks(rows, tier, confidence),
        )
        for (runtime, weights, _), rows in groups.items()
    ]
    return min(fits, key=lambda f: (_RANK.index(f.answer), f.ratio))


def _checks(rows: Sequence[Row], tier: Tier, confidence: float) -> tuple[Check, ...]:
    if rows[0].record.family == "llm":
        ttft = _find(rows, "ttft", tier.prompt_tokens)
        return (
            _memory(rows, tier),
            _speed(f"TTFT at {tier.prompt_tokens} tokens", ttft),
            _decode(rows, tier.min_tokens_per_s, confidence),
        )
    return (_memory(rows, tier), _speed("latency", _find(rows, "latency")))


def _find(rows: Sequence[Row], name: str, size: int | None = None) -> Metric | None:
    found = (row.metric(name, size) for row in rows)
    return next((metric for metric in found if metric is not None), None)


def _memory(rows: Sequence[Row], tier: Tier) -> Check:
    """Judge by every process of the scenario that takes most; open where they do not agree."""
    whole = rows[0].record.host.memory_limit_bytes
    limit = tier.memory_share * whole
    words = f"{units.size(limit)}, {tier.memory_share:.0%} of {units.size(whole)}"
    every = [[m.peak_bytes for r in row.used if (m := r.outcome.memory)] for row in rows]
    peaks = max(every, key=lambda found: max(found, default=0))
    if not peaks:
        return Check(what="memory", value="", limit=words, answer="not measured")
    peak = max(peaks)
    fits = {found <= limit for found in peaks}
    return Check(
        what="memory",
        value=f"{units.size(peak)} at the peak",
        limit=words,
        answer="undecided" if len(fits) > 1 else "yes" if peak <= limit else "no",
        ratio=peak / limit,
    )


def _speed(what: str, metric: Metric | None) -> Check:
    if metric is None:
        return Check(what=what, value="", limit="", answer="not measured")
    return Check(
        what=what,
        value=f"{units.duration(metric.figure)} ({metric.figure_name})",
        limit=units.duration(metric.threshold),
        answer=_ANSWERS[metric.verdict],
        ratio=metric.ratio,
    )


def _decode(rows: Sequence[Row], floor: float, confidence: float) -> Check:
    """Judge by whether the typical token comes in time, as sure as any verdict."""
    limit = f"at least {units.significant(floor)} tokens/s"
    row = next((row for row in rows if row.metric("tpot")), None)
    metric = row.metric("tpot") if row else None
    if row is None or metric is None:
        return Check(what="decode", value="", limit=limit, answer="not measured")
    every = row.series_of(metric)
    verdict = intervals.judge(
        [series.values for series in every],
        every[0].items * units.NS_PER_S / floor,
        0.5,
        confidence,
        row.slowdown(0.5),
        row.typical.median,
    )
    return Check(
        what="decode",
        value=f"{units.significant(metric.rate)} tokens/s",
        limit=limit,
        answer=_ANSWERS[verdict],
        ratio=floor / metric.rate,
    )


def _sentence(fit: ModelFit, checks: Sequence[Check]) -> str:
    name = f"{fit.title} {label(fit.precision)}"
    if not fit.runtime:
        return f"{name}: not measured"
    words = ", ".join(map(_check_words, checks))
    return f"{name} on {fit.runtime}, {fit.weights} weights: {words}"


def _check_words(check: Check) -> str:
    notes = [f"limit {check.limit}"] if check.limit else []
    notes += ["undecided"] if check.answer == "undecided" else []
    words = f"{check.what} {check.value or 'not measured'}"
    return f"{words} ({', '.join(notes)})" if notes else words
