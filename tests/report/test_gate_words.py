"""What CI reads of a gate: bounded, and each failure with all that repeats it."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from xml.etree import ElementTree as ET

from cpufit.gating import rule
from cpufit.gating.pairs import Trial
from cpufit.gating.rule import Judged
from cpufit.gating.verdict import Found
from cpufit.report import gate_words
from cpufit.report.gate_words import Verdict
from cpufit.schema import Cell


def _judged(word: str, ratio: float) -> Judged:
    return Judged(
        verdict=word,  # type: ignore[arg-type]
        ratio=ratio,
        interval=(ratio - 0.02, ratio + 0.02) if ratio != 1 else (0.0, inf),
        pairs=20,
        p=1e-6,
        smallest=0.04,
    )


def _gate(worse: int, same: int = 2) -> Verdict:
    """Return a gate with so many cells that are worse, and one that is open."""
    words = [*["same"] * same, *["regression"] * worse, "inconclusive"]
    found = []
    for index, word in enumerate(words):
        cell = Cell(
            model=f"m{index}", precision="int8", runtime="fake", scenario="latency", threads=1
        )
        judged = _judged(word, 1.08 if word == "regression" else 1.0)
        found.append(Found(trial=Trial(cell=cell, against=cell), judged={"latency": judged}))
    return Verdict(
        before="onnxruntime==1.30.0",
        after="installed here",
        differences={"onnxruntime": ("1.30.0", "1.31.1")},
        host="a host, 2 cores (f00)",
        found=tuple(found),
        repeat={one.trial.cell.id: f"cpufit gate --model {one.trial.cell.card}" for one in found},
    )


def test_a_failure_says_all_that_repeats_it() -> None:
    (line,) = gate_words.workflow_commands(_gate(1))
    assert line == (
        "::error title=cpufit gate::m2/int8/fake/latency/t1: latency +8.0%25 (+6.0 to +10.0), "
        "20 pairs, p 1e-06, sees 4.0%25 and more%0Abefore: onnxruntime==1.30.0%0A"
        "after: installed here%0Apackages: onnxruntime 1.30.0 -> 1.31.1%0A"
        "host: a host, 2 cores (f00)%0Aagain: cpufit gate --model m2"
    )
    (failure,) = ET.fromstring(gate_words.as_junit(_gate(1))).iter("failure")
    assert failure.text is not None
    assert failure.text.splitlines()[1:] == line.replace("%25", "%").split("%0A")[1:]


def test_the_worst_comes_first_in_what_to_repeat() -> None:
    assert gate_words.again(_gate(2)) == [f"cpufit gate --model m{index}" for index in (2, 3, 4)]
    assert gate_words.again(_gate(0, same=3)) == ["cpufit gate --model m3"]


def test_nothing_outgrows_what_github_shows() -> None:
    many = _gate(20_000)
    assert len(gate_words.workflow_commands(many)) == 10
    text = gate_words.as_markdown(many)
    assert len(text.encode()) < 1_000_000
    assert "more lines, all in the JSON" in text


def test_what_fails_comes_first_and_nothing_is_no_figure() -> None:
    cell = Cell(model="m", precision="int8", runtime="fake", scenario="latency", threads=1)
    judged = {
        "latency": rule.nothing("10 undisturbed pairs are needed"),
        "file size": _judged("improvement", 0.9),
        "peak memory": _judged("regression", 1.2),
    }
    told = replace(_gate(0), found=(Found(trial=Trial(cell=cell, against=cell), judged=judged),))
    (failure,) = ET.fromstring(gate_words.as_junit(told)).iter("failure")
    assert failure.get("message") == (
        "peak memory: +20.0% (+18.0 to +22.0), regression, 20 pairs, p 1e-06, sees 4.0% and more"
    )
    assert failure.text is not None
    nothing = "latency: \N{EN DASH}, inconclusive, 10 undisturbed pairs are needed"
    assert failure.text.splitlines()[1] == nothing
    whole = json.loads(gate_words.as_json(told))["cells"][0]["quantities"]
    assert (whole["latency"]["ratio"], whole["peak memory"]["ratio"]) == (None, 1.2)
