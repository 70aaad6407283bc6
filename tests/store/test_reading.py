"""Records to disk and back, as a journal, as Parquet and as both; files of any version."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from cpufit.store import rows
from tests.samples import RECORD, stored

if TYPE_CHECKING:
    from cpufit.schema import Record

VERSION_1 = (
    Path(__file__).parents[2]
    / "reference_results/20261121/amd-epyc-milan-2core/run-20261121T121151623948Z.parquet"
)
_Text = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=20)  # a plain line
_Number = st.floats(-(2.0**62), 2.0**62)
_Series = st.builds(
    Series,
    name=st.sampled_from(["latency", "ttft"]),
    unit=st.sampled_from(["ns", "j"]),
    size=st.integers(0, 10**6),
    items=st.integers(1, 10**6),
    values=st.lists(_Number, max_size=5).map(tuple),
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
    noise=st.dictionaries(_Text, _Number, max_size=3),
    counters=st.dictionaries(_Text, _Number, max_size=3),
    notes=st.lists(_Text, max_size=3).map(tuple),
)
_Records = st.lists(
    st.builds(
        replace,
        st.just(RECORD),
        outcome=_Outcome,
        artifact=st.none() | st.just(RECORD.artifact),
        parent=_Text,
        spent_s=_Number,
    ),
    max_size=4,
)
_fresh = count()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(before=_Records, after=_Records, request_=_Text)
def test_what_is_stored_is_what_is_read(
    tmp_path: Path, before: list[Record], after: list[Record], request_: str
) -> None:
    path = tmp_path / f"run-{next(_fresh)}.parquet"
    results = store.create(path, request_)
    for record in before:
        results.add([record])
    assert store.read([path]) == before  # a journal
    results.close()
    assert store.read([path]) == before  # Parquet
    results = store.reopen(path, ["ok", "failed", "oom", "timeout"])
    results.add(after)
    assert store.read([path]) == [*before, *after]  # both
    assert store.request_of(path) == request_
    results.close()
    assert store.read([path]) == [*before, *after]
    assert store.request_of(path) == request_


@settings(max_examples=100)
@given(records=_Records, start=st.integers(0, 4), length=st.integers(0, 4))
def test_rows_are_the_values_that_pyarrow_says(
    records: list[Record], start: int, length: int
) -> None:
    batch = rows.table(records).to_struct_array().combine_chunks() if records else None
    if batch is not None:
        some = batch.slice(start, length)
        assert rows._plain(some) == some.to_pylist(maps_as_pydicts="strict")


def test_lists_that_are_absent_are_none() -> None:
    kind = pa.struct({"a": pa.list_(pa.int64()), "b": pa.map_(pa.string(), pa.float64())})
    made: list[dict[str, Any] | None] = [
        {"a": [1, None], "b": {"x": 1.0}},
        {"a": None, "b": None},
        None,
        {"a": [], "b": {}},
    ]
    assert rows._plain(pa.array(made, kind)) == made


@pytest.mark.parametrize("names", [["model"], ["host.fingerprint", "noise", "series", "repeat"]])
def test_columns_are_those_of_both_files(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "run-1.parquet"
    records = [
        replace(RECORD, repeat=index, cell=replace(RECORD.cell, model=f"m{index}"))
        for index in range(6)
    ]
    whole = stored(tmp_path / "run-2.parquet", records)
    results = store.create(path, "{}")
    results.add(records[:2])
    expected = store.columns([whole], names)
    assert store.columns([path], names).to_pylist() == expected.slice(0, 2).to_pylist()
    results.close()
    results = store.reopen(path, ["ok"])
    results.add(records[2:])
    assert store.columns([path], names).to_pylist() == expected.to_pylist()
    assert store.columns([path, whole], names).num_rows == 12


def test_a_truncated_file_is_said_to_be_so(tmp_path: Path) -> None:
    path = stored(tmp_path / "run-1.parquet", [])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        store.read([path])


def test_a_file_of_which_any_byte_is_wrong_is_refused_or_reads_the_same(tmp_path: Path) -> None:
    records = [replace(RECORD, repeat=repeat) for repeat in range(3)]
    path = stored(tmp_path / "run-1.parquet", records)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # the pages have checksums
    refused = 0
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert store.read([path]) == records or place >= footer, place
        except DataError:
            refused += 1
    assert refused


def test_a_file_of_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = stored(tmp_path / "run-1.parquet", [])
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
    new = stored(tmp_path / "run-2.parquet", [replace(RECORD, parent="p")])
    both = store.read([VERSION_1, new])
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
    assert version_of(path) == SCHEMA_VERSION == 6
    assert store.read([path]) == [*kept, replace(RECORD, parent="p")]
    run.results.close()
    assert store.read([path]) == [*kept, replace(RECORD, parent="p")]


def test_columns_of_files_of_several_versions_are_joined(tmp_path: Path) -> None:
    new = stored(
        tmp_path / "new.parquet", [replace(RECORD, cell=replace(RECORD.cell, inputs="n=9"))]
    )
    words = store.columns([VERSION_1, new], ["model", "inputs", "settled"]).to_pylist()
    assert [row["inputs"] for row in words] == [*[""] * (len(words) - 1), "n=9"]


def test_a_file_of_version_2_must_have_its_columns(tmp_path: Path) -> None:
    path = stored(tmp_path / "run-1.parquet", [RECORD])
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
