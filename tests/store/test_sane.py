"""What cannot be stored is a record that says so; no other record of its run is lost for it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit import analysis, config, store
from cpufit.report import html
from cpufit.schema import Memory, Numerics, Outcome, Series
from tests.samples import RECORD, stored

if TYPE_CHECKING:
    from pathlib import Path

    from cpufit.schema import Record

_SETTINGS = config.load_settings()
_NAN, _INF = float("nan"), float("inf")


def _measured(**parts: object) -> Record:
    return replace(RECORD, outcome=replace(RECORD.outcome, **parts))  # type: ignore[arg-type]


def _samples(*values: float) -> Record:
    return _measured(series=(Series(name="latency", unit="ns", size=1, items=1, values=values),))


def _memory(peak_bytes: int) -> Memory:
    return Memory(baseline_bytes=1, peak_bytes=peak_bytes, anon_bytes=1, file_bytes=1)


BAD = {
    "nan": _samples(1.0, _NAN),
    "infinite": _samples(_INF),
    "beyond sums": _samples(1e308, 1e308),
    "memory": _measured(memory=_memory(2**70)),
    "load": _measured(load_ns=10**30),
    "cosine": _measured(numerics=Numerics(cosine=_NAN, what="x")),
    "noise": _measured(noise={"steal_s": -_INF}),
    "parameters": replace(RECORD, parameters=2**100),
    "time": replace(RECORD, spent_s=_NAN),
}


@pytest.mark.parametrize("name", BAD)
def test_a_figure_that_is_none_costs_its_record_alone(tmp_path: Path, name: str) -> None:
    path = stored(tmp_path / "run.parquet", [RECORD, BAD[name], RECORD])
    before, told, after = store.read([path])
    assert before == after == RECORD
    assert told.cell == RECORD.cell
    assert told.outcome.why.startswith("failed: its record cannot be stored: ")
    assert "cannot be stored" in html.render(analysis.rows([told], _SETTINGS.levels), _SETTINGS)


def test_a_journal_that_holds_such_a_record_is_compacted(tmp_path: Path) -> None:
    """One of an earlier version, which had nothing against it."""
    run = store.begin(tmp_path, datetime.now(UTC), "{}")
    run._journal.append([BAD["load"], RECORD])
    run._journal.close()
    assert store.recover([run.path]) == []
    assert [record.outcome.status for record in store.read([run.path])] == ["failed", "ok"]


@given(st.text(max_size=200) | st.text("\x1b\r\n\u202e\ud800\0x", max_size=2000))
def test_any_text_becomes_a_plain_line(text: str) -> None:
    notes = ("plain", text)
    found = store.sane(replace(RECORD, title=text, outcome=Outcome(status="ok", notes=notes)))
    for words in (found.title, *found.outcome.notes):
        assert words.isprintable() or set(words) & {"\u200c", "\u200d"}
        assert len(words) <= 1000
        assert json.loads(json.dumps(words).encode()) == words
    assert found.outcome.notes[0] == "plain"


def test_a_record_that_is_well_is_the_same_object() -> None:
    assert store.sane(RECORD) is RECORD
