"""Results files that were made to fill the memory are refused in a line, before they are read."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cpufit import store
from cpufit.errors import DataError
from cpufit.store import rows
from tests.samples import RECORD, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TABLE = rows.table([RECORD])


def _written(path: Path, table: pa.Table) -> Path:
    said = {"cpufit_schema_version": "4", "cpufit_request": "{}", "cpufit_journal": ""}
    pq.write_table(table.replace_schema_metadata(said), path, compression="zstd")
    return path


def _with(name: str, values: pa.Array) -> pa.Table:
    return _TABLE.set_column(_TABLE.schema.get_field_index(name), name, values)


def _samples() -> pa.Table:
    count, kind = 3_000_000, _TABLE.schema.field("series").type.value_type
    values = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), pa.repeat(1.0, count))
    parts = [pa.array(["latency"]), pa.array(["ns"]), pa.array([1]), pa.array([1]), values]
    series = pa.StructArray.from_arrays(parts, fields=list(kind))
    return _with("series", pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), series))


HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "rows": (lambda: _TABLE.take(pa.array([0] * 100_000)), "100,000 records"),
    "samples": (_samples, "3,000,001 values"),
    "text": (lambda: _with("title", pa.array(["x" * 70_000_000])), "of text"),
    "columns": (lambda: pa.table({f"c{i}": [1] for i in range(1001)}), "1 rows of 1,001 columns"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_far_more_than_its_bytes_is_refused(tmp_path: Path, name: str) -> None:
    make, words = HOSTILE[name]
    path = _written(tmp_path / "run.parquet", make())
    with pytest.raises(DataError, match=words) as refusal:
        store.read([path])
    assert "\n" not in str(refusal.value)


def test_a_long_text_is_cut_where_it_is_read(tmp_path: Path) -> None:
    path = _written(tmp_path / "run.parquet", _with("title", pa.array(["\x1b[31m" * 100_000])))
    (found,) = store.read([path])
    assert found.title.isprintable()
    assert len(found.title) == 1000


def test_many_equal_records_of_our_own_are_read(tmp_path: Path) -> None:
    path = stored(tmp_path / "run.parquet", [RECORD] * 1000)
    assert len(store.read([path])) == 1000


def _journal(path: Path, *payloads: bytes) -> Path:
    entries = (len(p).to_bytes(4, "little") + zlib.crc32(p).to_bytes(4, "little") for p in payloads)
    parts = [part for pair in zip(entries, payloads, strict=True) for part in pair]
    path.with_suffix(".journal").write_bytes(b"cpufit journal 1\n" + b"".join(parts))
    return path


_HEAD = json.dumps({"id": "i", "schema_version": 4, "request": "{}"}).encode()


@pytest.mark.parametrize(
    "payloads",
    [
        (b"[" * 100_000,),
        (b"{}",),
        (b'{"id": 1, "schema_version": "x", "request": []}',),
        (_HEAD, b"{}"),
        (_HEAD, b"[" * 100_000),
    ],
)
def test_a_journal_of_another_make_is_refused(tmp_path: Path, payloads: tuple[bytes, ...]) -> None:
    path = _journal(tmp_path / "run.parquet", *payloads)
    with pytest.raises(DataError, match="is damaged"):
        store.read([path])


def test_a_hole_is_no_record(tmp_path: Path) -> None:
    path = _journal(tmp_path / "run.parquet", _HEAD)
    with path.with_suffix(".journal").open("r+b") as file:
        file.seek(0, 2)
        file.write((2**31).to_bytes(4, "little") + bytes(4))
        file.truncate(2**32)
    assert store.read([path]) == []
