"""Parquet and back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpufit import store
from cpufit.errors import DataError
from cpufit.probes import host
from cpufit.run import flow
from cpufit.schema import SCHEMA_VERSION, Numerics, Outcome, Series
from tests.samples import RECORD

if TYPE_CHECKING:
    from cpufit.schema import Record

VERSION_1 = (
    Path(__file__).parents[2]
    / "reference_results/20261121/amd-epyc-milan-2core/run-20261121T121151623948Z.parquet"
)
_Text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
_Series = st.builds(
    Series,
    name=st.sampled_from(["latency", "ttft"]),
    unit=st.sampled_from(["ns", "j"]),
    size=st.integers(0, 10**6),
    items=st.integers(1, 10**6),
    values=st.lists(st.floats(0, 1e15), max_size=5).map(tuple),
)
_Outcome = st.builds(
    Outcome,
    status=st.sampled_from(["ok", "failed", "oom", "timeout"]),
    reason=_Text,
    remedy=_Text,
    stop=_Text,
    valid=st.booleans(),
    load_ns=st.integers(0, 2**62),
    first_ns=st.integers(0, 2**62),
    series=st.lists(_Series, max_size=3).map(tuple),
    memory=st.none() | st.just(RECORD.outcome.memory),
    numerics=st.none() | st.builds(Numerics, cosine=st.floats(-1, 1), what=_Text),
    settings=st.dictionaries(_Text, _Text, max_size=3),
    versions=st.dictionaries(_Text, _Text, max_size=3),
    noise=st.dictionaries(_Text, st.floats(0, 1e9), max_size=3),
    notes=st.lists(_Text, max_size=3).map(tuple),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(outcomes=st.lists(_Outcome, min_size=1, max_size=4), bare=st.booleans(), parent=_Text)
def test_what_is_stored_is_what_is_read(
    tmp_path: Path, outcomes: list[Outcome], bare: bool, parent: str
) -> None:
    artifact = None if bare else RECORD.artifact
    records = [replace(RECORD, outcome=o, artifact=artifact, parent=parent) for o in outcomes]
    results = store.create(tmp_path / "run-x.parquet", "{}")
    for record in records:
        results.add([record])
    assert store.read([results.path]) == records


def test_every_cell_is_on_disk_when_add_returns_and_nothing_else_is(tmp_path: Path) -> None:
    results = store.create(tmp_path / "run-1.parquet", '{"suite": "x"}')
    assert store.read([results.path]) == []
    for count in (1, 2, 3):
        results.add([RECORD])
        assert len(store.read([results.path])) == count
    assert [p.name for p in tmp_path.iterdir()] == ["run-1.parquet"]
    assert store.request_of(results.path) == '{"suite": "x"}'


def test_reopening_keeps_the_request_and_the_rows_it_is_told(tmp_path: Path) -> None:
    results = store.create(tmp_path / "run-1.parquet", '{"suite": "x"}')
    results.add([RECORD, RECORD])
    again = store.reopen(results.path, [RECORD])
    again.add([RECORD])
    assert len(store.read([results.path])) == 2
    assert store.request_of(results.path) == '{"suite": "x"}'


def test_a_truncated_file_is_said_to_be_so(tmp_path: Path) -> None:
    path = store.create(tmp_path / "run-1.parquet", "").path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        store.read([path])


def test_a_file_of_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = store.create(tmp_path / "run-1.parquet", "").path
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"cpufit_schema_version": b"99"}), path)
    with pytest.raises(DataError, match=r"schema version 99.*pip install -U"):
        store.read([path])


def version_of(path: Path) -> int:
    return int(pq.read_schema(path).metadata[b"cpufit_schema_version"])


def test_a_file_of_version_1_is_read() -> None:
    assert version_of(VERSION_1) == 1
    assert not {"parent", "numerics"} & set(pq.read_schema(VERSION_1).names)
    records = store.read([VERSION_1])
    assert len(records) > 30
    assert {(record.parent, record.outcome.numerics) for record in records} == {("", None)}
    assert {record.schema_version for record in records} == {1}


def test_versions_may_be_read_together(tmp_path: Path) -> None:
    new = store.create(tmp_path / "run-2.parquet", "")
    new.add([replace(RECORD, parent="p")])
    both = store.read([VERSION_1, new.path])
    assert both[-1].parent == "p"
    assert both[0].parent == ""


def test_a_run_of_version_1_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / VERSION_1.name
    shutil.copy(VERSION_1, path)
    before: list[Record] = store.read([path])
    monkeypatch.setattr(host, "describe", lambda packages: before[0].host)
    run = flow.resume(path, flow.Place(output=tmp_path, cache=tmp_path / "cache"))
    kept = [record for record in before if record.outcome.status == "ok"]
    assert list(run.done) == kept
    run.results.add([replace(RECORD, parent="p")])
    assert version_of(path) == SCHEMA_VERSION == 4
    assert store.read([path]) == [*kept, replace(RECORD, parent="p")]


def test_a_file_of_version_2_must_have_its_columns(tmp_path: Path) -> None:
    path = store.create(tmp_path / "run-1.parquet", "").path
    store.reopen(path, [RECORD])
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["numerics"]), path)
    with pytest.raises(DataError, match="does not hold cpufit records: KeyError: 'numerics'"):
        store.read([path])


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DataError, match="not written by cpufit"):
        store.read([path])


def test_a_missing_file_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        store.read([tmp_path / "none.parquet"])
    with pytest.raises(DataError, match="no results in"):
        store.newest(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = store.create(tmp_path / "run-1.parquet", "")
    results.add([RECORD])

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(DataError, match=r"cannot write .*No space left on device"):
        results.add([RECORD])
    monkeypatch.undo()
    assert store.read([results.path]) == [RECORD]
    assert len(list(tmp_path.iterdir())) == 1


def test_the_newest_run_is_the_last_by_name(tmp_path: Path) -> None:
    for name in ("run-20260101T000000Z", "run-20260301T000000Z", "run-20260201T000000Z"):
        store.create(tmp_path / f"{name}.parquet", "")
    assert store.newest(tmp_path).name == "run-20260301T000000Z.parquet"
