"""The results that ship: readable by this version, honest about weights, free of local paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpufit import analyse, config, sizing, store

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
    assert {record.cell.weights for record in records} == {"synthetic", "real"}
    assert len({record.cell.id for record in records}) == len(records)
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
    rows = analyse.rows(records, settings.thresholds)
    found = sizing.recommend(rows, records[0].host, settings.tiers)
    assert found.tiers[0].answer != "not measured"
