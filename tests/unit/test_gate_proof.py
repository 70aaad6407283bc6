"""The gate's proof on invented pairs whose truth is known, and on those that ship."""

from __future__ import annotations

import gzip
from dataclasses import replace
from importlib.metadata import version
from math import exp
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from cpufit.errors import DataError
from cpufit.gating import verdict
from cpufit.gating.pairs import Pair, Trial
from cpufit.run.gate import arms, road
from cpufit.run.stages import Place
from cpufit.schema import Cell
from cpufit.selftest import gate, gate_live

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cpufit.gating.verdict import Found
    from cpufit.run.gate.road import Observer
    from cpufit.selftest import Finding


def trials(change: float, spread: float, count: int = 40) -> list[Trial]:
    """Return three cells whose pairs differ by so much, besides noise."""
    cell = Cell(model="m", precision="fp32", runtime="fake", scenario="latency", threads=1)
    found = []
    for index in range(3):
        random = np.random.default_rng(index)
        pairs = tuple(
            Pair(
                stage="screen",
                before={"latency": 1e6 * mood},
                after={"latency": 1e6 * mood * exp(d)},
                changes={"latency": float(d)},
            )
            for d, mood in zip(
                random.normal(np.log1p(change), spread, count),
                random.lognormal(0, 0.05, count),
                strict=True,
            )
        )
        named = replace(cell, model=f"m{index}")
        found.append(Trial(cell=named, against=named, pairs=pairs))
    return found


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_little_noise_is_no_alarm_and_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MATRICES", 40)
    found = by_name(gate_live.replayed(trials(0.0, 0.02), trials(0.06, 0.015)))
    assert found["gate: 40 matrices of 30 times that do not differ"].good
    assert found["gate: 5% of real extra work"].good
    assert found["rule of cpufit"].value.startswith("0.")
    assert "; 0.0% were they" not in found["rule of benchstat (Mann-Whitney, p < 0.05)"].value


def test_an_alarm_is_counted_where_equal_pairs_are_none() -> None:
    (finding,) = [gate.alarms(gate.recorded(trials(0.08, 0.01)))]
    assert not finding.good
    assert finding.value.startswith("299 with a false alarm (100.0%)")


def test_noise_that_hides_it_is_said_to_allow_no_trial() -> None:
    finding = gate.detection(gate.recorded(trials(0.05, 0.2)), 0.05)
    assert finding.good is None
    assert finding.value.startswith("no trial")


def test_a_drawn_series_keeps_neighbours_together() -> None:
    numbers = np.arange(40.0)
    drawn = gate.Recorded(numbers, numbers, numbers).drawn(30, np.random.default_rng(0))
    steps = np.diff(drawn.logs.reshape(6, 5)) % 40
    assert (steps == 1).all()


def test_a_real_matrix_is_judged_as_a_gate_would() -> None:
    equal, slower = trials(0.0, 0.01), trials(0.08, 0.01)
    slower = [
        replace(t, pairs=tuple(replace(p, stage="confirm") if i > 9 else p
                               for i, p in enumerate(t.pairs)))
        for t in slower
    ]  # fmt: skip
    good, bad = gate.matrices([equal]), gate.matrices([equal, slower])
    assert (good.good, bad.good) == (True, False)
    assert bad.value.startswith("1 with a false alarm")


def test_disturbed_pairs_are_left_out() -> None:
    (trial, *_) = trials(0.0, 0.01)
    hogged = [replace(p, disturbed=("a hog",)) for p in trial.pairs[:35]]
    assert gate.recorded([replace(trial, pairs=(*hogged, *trial.pairs[35:]))]) == []


def test_what_it_costs_to_go_first_is_told_from_noise() -> None:
    def ordered(trial: Trial, cost: float) -> Trial:
        """Let either arm go first in turn, and the one that does lose so much."""
        pairs = tuple(
            replace(
                pair,
                after_first=bool(index % 2),
                changes={"latency": pair.changes["latency"] + (cost if index % 2 else -cost)},
            )
            for index, pair in enumerate(trial.pairs)
        )
        return replace(trial, pairs=pairs)

    found = gate.going_first([ordered(trial, 0.01) for trial in trials(0.0, 0.001)])
    assert found.value.startswith("costs +1.00% ")
    assert found.value.endswith("which is 99% of the variance of pairs")
    none = gate.going_first([ordered(trial, 0.0) for trial in trials(0.0, 0.01)])
    assert float(none.value.split()[1].rstrip("%")) == pytest.approx(0, abs=0.3)
    assert gate.going_first(trials(0.0, 0.01)).value == "the pairs do not say who did"


def test_a_second_environment_holds_the_same_wheels_and_its_own_cells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[road.Setup] = []

    def go(setup: road.Setup, *_: object) -> list[Found]:
        seen.append(setup)
        return [verdict.judge(trial, 3) for trial in trials(0.0, 0.01)]

    monkeypatch.setattr(arms, "other", lambda wanted, _: arms.Arm(name=wanted, packages={}))
    monkeypatch.setattr(road, "go", go)
    place, nobody = Place(output=tmp_path, cache=tmp_path), cast("Observer", None)
    found = by_name(gate_live.matrices(1, place, nobody, apart=True))
    (setup,) = seen
    assert setup.arms[1].name == f"onnxruntime=={version('onnxruntime')}"
    assert {pair[1].runtime for pair in setup.cells} == {"onnxruntime"}
    assert found["gate: 1 real matrices of 3 cells"].good
    assert [path.name.startswith("gate-matrix-apart-") for path in tmp_path.iterdir()] == [True]


def test_the_pairs_that_ship_are_as_asked() -> None:
    found = by_name(gate_live.recorded(()))
    assert [name for name, finding in found.items() if finding.good is False] == []
    assert found["gate: 5% of real extra work"].good


@pytest.mark.parametrize(
    "found", [b"", b"no gzip", gzip.compress(b"{}", mtime=0), gzip.compress(b"[1]", mtime=0)]
)
def test_a_file_that_holds_no_pairs_is_named(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "gate-same.json.gz").write_bytes(found)
    with pytest.raises(DataError, match=r"gate-same\.json\.gz does not hold recorded pairs"):
        list(gate_live.recorded([tmp_path]))


def test_a_folder_without_pairs_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recorded pairs there"):
        list(gate_live.recorded([tmp_path]))
