"""The results that ship: readable by this version, honest about weights, free of local paths."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from cpufit import analysis, config, sizing, store

ROOT = Path(__file__).parents[2] / "reference_results"
FILES = sorted(ROOT.glob("*/*/*.parquet"))


def test_there_are_some_by_date_and_machine() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_reference_file(path: Path) -> None:
    records = store.read([path])
    settings = config.load_settings()
    assert {record.run_id for record in records} == {path.stem}
    assert path.parents[1].name == records[0].recorded_at[:10].replace("-", "")
    assert {record.cell.weights for record in records} <= {"synthetic", "real"}
    assert len({(record.cell.id, record.repeat) for record in records}) == len(records)
    assert "fake" not in {record.cell.runtime for record in records}
    for record in records:
        outcome = record.outcome
        assert outcome.status == "ok" or outcome.reason
        if outcome.status == "ok":
            assert outcome.load_ns > 0
            assert outcome.first_ns > 0
            assert outcome.memory is not None
            assert outcome.versions
            assert record.artifact is not None
            assert "/" not in record.artifact.path
    if records[0].budget == "selftest" or not any(r.family == "llm" for r in records):
        return
    rows = analysis.rows(records, settings.levels)
    found = sizing.recommend(rows, records[0].host, settings)
    assert found.tiers[0].answer != "not measured"


def test_pandas_reads_them_as_the_docs_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = (ROOT.parent / "docs" / "measuring.md").read_text(encoding="utf-8")
    code = docs.split("```python\n")[1].split("```")[0]
    (tmp_path / "cpufit-results").mkdir()
    shutil.copy(FILES[0], tmp_path / "cpufit-results")
    (tmp_path / "cpufit-results" / "report.html").write_text("as a run leaves it beside")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)  # the documented lines, as a reader would type them
    (record,) = (
        r
        for r in store.read(FILES[:1])
        if r.cell.id.startswith("mistral-7b/int4/llama.cpp/latency")
    )
    ttft = next(s for s in record.outcome.series if s.name == "ttft")
    shown = names["table"].loc[("mistral-7b", "synthetic", "int4", "llama.cpp"), "ttft@128"]
    assert shown == pytest.approx(median(ttft.values) / 1e6)
    assert "mistral-7b" in capsys.readouterr().out
