"""What a gate found, as words, and as the files that CI reads: JSON, JUnit XML, Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import isfinite, nan
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from rich.text import Text

from cpufit import plain, units
from cpufit.gating.verdict import EXIT_CODES, exit_code, worst
from cpufit.report.terminal import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from cpufit.gating.rule import Judged
    from cpufit.gating.verdict import Found, Word

VERSION = 1  # of the JSON
NOTHING = "\N{EN DASH}"
# GitHub shows 10 annotations of a step, and 1 MiB of a summary.
MOST_ANNOTATIONS, _MOST_BYTES = 10, 1_000_000
_MOST_COMMANDS = 10
_MOST_WORDS = 16_000  # letters on a cell, the end of a log among them
_STYLE = {"regression": "red", "missing": "red", "inconclusive": "yellow", "improvement": "green"}
_TITLES: Mapping[Word, str] = {
    "regression": "worse",
    "missing": "not compared",
    "inconclusive": "undecided",
    "improvement": "better",
    "same": "the same",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A whole gate, ready to be told."""

    before: str  # what the arms are called
    after: str
    differences: Mapping[str, tuple[str, str]]  # versions by package, before and after
    host: str
    found: tuple[Found, ...]
    repeat: Mapping[str, str]  # by cell id: the command that compares just that cell
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> Word:
        """What decides the exit code."""
        return worst([one.word for one in self.found])

    @property
    def headline(self) -> str:
        """The outcome in one line: 'regression: of 14 cells 2 are worse, 12 the same'."""
        counts = [(word, sum(one.word == word for one in self.found)) for word in _TITLES]
        parts = [f"{count} {_TITLES[word]}" for word, count in counts if count]
        total = len(self.found)
        return f"{self.word}: of {units.counted(total, 'cell')} {', '.join(parts)}"


def change(judged: Judged) -> str:
    """Return '+5.2% (+3.8 to +6.6)': after against before, with its 95 % interval; or a dash."""
    if not judged.pairs:
        return NOTHING
    low, high = (100 * (limit - 1) for limit in judged.interval)
    centre = f"{100 * (judged.ratio - 1):+.1f}%"
    if low == high:
        return centre
    return f"{centre} ({low:+.1f} to {high:+.1f})" if isfinite(high) else f"{centre} (unknown)"


def shown(one: Found) -> list[tuple[str, Judged]]:
    """Return what a reader wants of a cell: whatever is not the same, the worst first.

    Where all is the same, that is its first quantity.
    """
    order = list(_TITLES)
    found = [(name, j) for name, j in one.judged.items() if j.verdict != "same"]
    found.sort(key=lambda pair: order.index(pair[1].verdict))
    return found or list(one.judged.items())[:1]


def reason(judged: Judged) -> str:
    """Return how sure a verdict is, in words."""
    if judged.why and judged.verdict != "improvement":
        return judged.why
    if judged.pairs == 1:
        return "exact"
    words = f"{judged.pairs} pairs, p {judged.p:.2g}, sees {judged.smallest:.1%} and more"
    return f"{words}; {judged.why}" if judged.why else words


def terminal(found: Verdict) -> Table:
    """Return the table of a gate."""
    made = table("", ("cell", "quantity", "after / before", "verdict", ""), ())
    for one in found.found:
        name = one.trial.cell.id
        if one.trial.problem:
            made.add_row(name, "", "", _word("missing"), one.trial.problem)
        for quantity, judged in shown(one):
            words = (quantity, change(judged), _word(judged.verdict), reason(judged))
            made.add_row(name, *words)
            name = ""
    return made


def _word(word: Word) -> Text:
    return Text(word, style=_STYLE.get(word, ""))


def again(found: Verdict) -> list[str]:
    """Return the commands that compare one cell each of those which do not pass, the worst first.

    No more than anybody would type.
    """
    open_ = [one for one in _worst_first(found) if one.word in EXIT_CODES]
    commands = [found.repeat.get(one.trial.cell.id, "") for one in open_]
    return [command for command in commands if command][:_MOST_COMMANDS]


def _worst_first(found: Verdict) -> list[Found]:
    order = list(_TITLES)
    return sorted(found.found, key=lambda one: order.index(one.word))


def as_json(found: Verdict) -> str:
    """Return all of it for machines: every pair, so that any other rule can be tried on them."""
    whole = {
        "version": VERSION,
        "verdict": found.word,
        "exit_code": exit_code(found.found),
        "before": found.before,
        "after": found.after,
        "differences": {name: list(pair) for name, pair in found.differences.items()},
        "host": found.host,
        "seconds": round(found.seconds, 1),
        "notes": list(found.notes),
        "cells": [
            {
                "id": one.trial.cell.id,
                "verdict": one.word,
                "repeat": found.repeat.get(one.trial.cell.id, ""),
                "quantities": {n: _finite(j) for n, j in one.judged.items()},
                **asdict(one.trial),
            }
            for one in found.found
        ],
    }
    return json.dumps(whole, indent=1)


def _finite(judged: Judged) -> dict[str, object]:
    """Return it without infinities, which JSON has not, and without a ratio that nothing gave."""
    interval = judged.interval if isfinite(judged.interval[1]) else None
    ratio = judged.ratio if judged.pairs else nan
    numbers = {"ratio": ratio, "p": judged.p, "smallest": judged.smallest}
    kept = {name: value if isfinite(value) else None for name, value in numbers.items()}
    return {**asdict(judged), "interval": interval, **kept}


def as_junit(found: Verdict) -> str:
    """Return JUnit XML: a test case per cell; inconclusive ones count as skipped."""
    cells = found.found
    suite = ET.Element(
        "testsuite",
        name="cpufit gate",
        tests=str(len(cells)),
        failures=str(sum(one.word == "regression" for one in cells)),
        errors=str(sum(one.word == "missing" for one in cells)),
        skipped=str(sum(one.word == "inconclusive" for one in cells)),
        time=f"{found.seconds:.1f}",
    )
    for one in cells:
        name = plain.line(one.trial.cell.id)
        case = ET.SubElement(suite, "testcase", classname="cpufit.gate", name=name)
        tag = {"regression": "failure", "missing": "error", "inconclusive": "skipped"}.get(one.word)
        words = _cell_words(one, found)
        if tag:
            ET.SubElement(case, tag, message=plain.line(words[0])).text = _body(words)
        else:
            ET.SubElement(case, "system-out").text = _body(words)
    root = ET.Element("testsuites")
    root.append(suite)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _body(words: Sequence[str]) -> str:
    return plain.lines("\n".join(words), _MOST_WORDS)


def _cell_words(one: Found, found: Verdict) -> list[str]:
    """Return what a failing cell must say: quantity, ratio, both arms, how to repeat it."""
    words = [one.trial.problem] if one.trial.problem else []
    words += [f"{name}: {change(j)}, {j.verdict}, {reason(j)}" for name, j in shown(one)]
    return [*words, *_circumstances(one, found)]


def _circumstances(one: Found, found: Verdict) -> list[str]:
    """Return what any complaint about a cell ends with."""
    words = [f"before: {found.before}", f"after: {found.after}"]
    if found.differences:
        words.append(f"packages: {packages(found.differences)}")
    return [*words, f"host: {found.host}", f"again: {found.repeat.get(one.trial.cell.id, '')}"]


def as_markdown(found: Verdict) -> str:
    """Return a summary within GitHub's limit; what has no room is counted."""
    changed = packages(found.differences)
    head = [
        f"### cpufit gate: {found.headline}",
        "",
        f"{plain.markdown(found.after)} against {plain.markdown(found.before)}, "
        f"on {plain.markdown(found.host)}, "
        f"in {units.clock(found.seconds)}."
        + (f" Packages: {plain.markdown(changed, plain.LONG)}." if changed else ""),
        "",
        "| cell | quantity | after / before (95 %) | verdict | |",
        "|--|--|--|--|--|",
    ]
    lines = []
    for one in _worst_first(found):
        cell = plain.markdown_code(one.trial.cell.id)
        if one.trial.problem:
            lines.append(f"| {cell} | | | missing | {plain.markdown(one.trial.problem)} |")
        lines += [
            f"| {cell} | {name} | {change(judged)} | {_bold(judged.verdict)} | {reason(judged)} |"
            for name, judged in shown(one)
        ]
    commands = [f"- {plain.markdown_code(command, plain.LONG)}" for command in again(found)]
    tail = ["", "Again, one at a time:", *commands] if commands else []
    return _within(head, lines, tail)


def _within(head: Sequence[str], lines: Sequence[str], tail: Sequence[str]) -> str:
    room = _MOST_BYTES - len("\n".join([*head, *tail]).encode()) - 100
    kept: list[str] = []
    for line in lines:
        room -= len(line.encode()) + 1
        if room < 0:
            kept.append(f"| and {len(lines) - len(kept)} more lines, all in the JSON | | | | |")
            break
        kept.append(line)
    return "\n".join([*head, *kept, *tail]) + "\n"


def packages(differences: Mapping[str, tuple[str, str]]) -> str:
    """Return 'onnxruntime 1.30.0 -> 1.31.1, ...'."""
    pairs = differences.items()
    return ", ".join(f"{name} {old or 'none'} -> {new or 'none'}" for name, (old, new) in pairs)


def _bold(word: str) -> str:
    return f"**{word}**" if word in EXIT_CODES else word


def workflow_commands(found: Verdict) -> list[str]:
    """Return GitHub's workflow commands for what is worse or missing, no more than it shows."""
    lines = [
        _command("\n".join([f"{one.trial.cell.id}: {words}", *_circumstances(one, found)]))
        for one in _worst_first(found)
        for words in _failures(one)
    ]
    return lines[:MOST_ANNOTATIONS]


def _failures(one: Found) -> list[str]:
    problem = [one.trial.problem] if one.trial.problem else []
    return problem + [
        f"{name} {change(judged)}, {reason(judged)}"
        for name, judged in one.judged.items()
        if judged.verdict == "regression"
    ]


def _command(text: str) -> str:
    return f"::error title=cpufit gate::{plain.command(text)}"
