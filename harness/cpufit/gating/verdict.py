"""From trials to what the gate says: of each quantity, each cell, and all of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np

from cpufit.gating import rule
from cpufit.gating.pairs import kind_of
from cpufit.gating.rule import Judged
from cpufit.margins import ANY
from cpufit.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cpufit.gating.pairs import Facts, Stage, Trial
    from cpufit.gating.rule import Logs, Verdict
    from cpufit.margins import Margins

Word = Literal["regression", "missing", "inconclusive", "improvement", "same"]

SIZE, COSINE, PAIRS = "file size", "cosine", "pairs"
_WORST_FIRST: tuple[Word, ...] = ("regression", "missing", "inconclusive", "improvement", "same")
EXIT_CODES: Mapping[Word, int] = {"regression": 1, "missing": 4, "inconclusive": 3}
_OTHER_WEIGHTS = "exact; where other weights are meant, --margin numerics=any compares speed alone"
_FEWEST_ERRORS, _MOST_RESTLESS = 10, 1.3  # quantities; root mean square of their standard errors
_MOST_DISTURBED = 0.5  # of all pairs, before asking for more is hopeless


@dataclass(frozen=True, kw_only=True)
class Found:
    """A trial, and what its pairs say."""

    trial: Trial
    judged: Mapping[str, Judged]  # by quantity

    @property
    def word(self) -> Word:
        """The worst of its quantities; 'missing' where nothing could be compared."""
        if self.trial.problem or not self.judged:
            return "missing"
        return worst([judged.verdict for judged in self.judged.values()])


def worst(words: Sequence[Word]) -> Word:
    """Return the word that decides: 'same' of none."""
    return next((word for word in _WORST_FIRST if word in words), "same")


def exit_code(found: Sequence[Found]) -> int:
    """Return 0 for a pass, 1 a regression, 3 inconclusive, 4 missing cells."""
    return EXIT_CODES.get(worst([one.word for one in found]), 0)


def tested(trials: Sequence[Trial]) -> int:
    """Return how many quantities are tested, which the family's error is shared among."""
    return sum(len(trial.names) for trial in trials)


def judge(trial: Trial, count: int) -> Found:
    """Judge every quantity of a trial; `count` is how many are tested in all."""
    judged = {
        name: rule.judge(*_stages(trial, name), trial.margins[kind_of(name)], count)
        for name in trial.names
    }
    if not judged and not trial.problem:
        judged[PAIRS] = rule.nothing("the time was over before the first pair")
    return Found(trial=trial, judged=judged | facts(trial.before, trial.after, trial.margins))


def wants(trial: Trial, count: int) -> Stage | None:
    """Return what further pair the trial needs, None for none.

    How many the screen takes depends on how much pairs differ, never on which arm looks better.
    """
    if trial.problem:
        return None
    margins, pairs = trial.margins, {"screen": 0, "confirm": 0}
    quiet = dict(pairs)
    for pair in trial.pairs:
        pairs[pair.stage] += 1
        quiet[pair.stage] += not pair.disturbed
    logs = {name: _stages(trial, name) for name in trial.names}
    if not pairs["confirm"] and pairs["screen"] < rule.SCREEN_MOST:
        noisy = any(
            rule.too_noisy(screen, len(screen), margins[kind_of(name)], count)
            for name, (screen, _) in logs.items()
        )
        if quiet["screen"] < rule.SCREEN or noisy:
            return "screen"
    if quiet["screen"] < rule.SCREEN or quiet["confirm"] >= rule.CONFIRM:
        return None
    if pairs["confirm"] - quiet["confirm"] > _MOST_DISTURBED * rule.CONFIRM:
        return None
    worse = any(rule.flagged(screen, margins[kind_of(n)]) for n, (screen, _) in logs.items())
    return "confirm" if worse else None


def restless(found: Sequence[Found]) -> str:
    """Say so where times that are the same lie further from 1 than pairs explain; '' if not.

    Each ratio is taken in standard errors: of equal arms and independent pairs their root mean
    square is 1. Recorded matrices of equal arms have 0.70 to 1.06.
    """
    errors = [
        float(screen.mean()) / (intervals.deviation(screen) / sqrt(len(screen)))
        for one in found
        for name in one.trial.names
        if kind_of(name) == "time" and one.judged[name].verdict in ("same", "inconclusive")
        for screen, _ in [_stages(one.trial, name)]
        if len(screen) >= rule.SCREEN and intervals.deviation(screen) > 0
    ]
    rms = sqrt(sum(error**2 for error in errors) / len(errors)) if errors else 0.0
    if len(errors) < _FEWEST_ERRORS or rms <= _MOST_RESTLESS:
        return ""
    return (
        f"{len(errors)} times lie {rms:.1f} times as far from the same as their pairs explain: "
        "small changes within the margin, or one side is a little slower in all"
    )


def _stages(trial: Trial, name: str) -> tuple[Logs, Logs]:
    """Return the logarithms of after / before of a quantity's undisturbed pairs, by stage."""
    found: dict[Stage, list[float]] = {"screen": [], "confirm": []}
    for pair in trial.pairs:
        if not pair.disturbed:
            found[pair.stage].append(pair.change(name))
    return np.array(found["screen"]), np.array(found["confirm"])


def facts(before: Facts, after: Facts, margins: Margins) -> dict[str, Judged]:
    """Judge what is exact: file sizes, and how near outputs are to float32's."""
    found = {}
    if before.size_bytes and after.size_bytes and margins["size"] < ANY:
        ratio = after.size_bytes / before.size_bytes
        found[SIZE] = exact(ratio, ratio, margins["size"])
    if before.cosine is not None and after.cosine is not None and margins["numerics"] < ANY:
        lost = before.cosine / after.cosine if after.cosine > 0 else inf
        ratio = after.cosine / before.cosine if before.cosine else 1.0
        found[COSINE] = exact(ratio, lost, margins["numerics"])
        if found[COSINE].verdict == "regression" and before.cosine == 1.0:  # beside itself
            found[COSINE] = replace(found[COSINE], why=_OTHER_WEIGHTS)
    return found


def exact(ratio: float, worse: float, margin: float) -> Judged:
    """Judge what does not vary: `worse` is the ratio that counts as worse above 1."""
    word: Verdict = "same"
    if worse > 1 + margin:
        word = "regression"
    elif worse < 1 / (1 + margin):
        word = "improvement"
    return Judged(verdict=word, ratio=ratio, interval=(ratio, ratio), pairs=1, p=0.0, smallest=0.0)
