"""What is left of a journal whose writer was killed, and journals of another kind."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cpufit import store
from cpufit.errors import DataError
from cpufit.store import journal
from tests.samples import RECORD, stored

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = [replace(RECORD, repeat=index) for index in range(3)]
TORN = "a torn last record was dropped"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Return the journal of a run that was killed after three records."""
    store.create(tmp_path / "run-1.parquet", '{"suite": "x"}').add(RECORDS)
    return tmp_path / "run-1.journal"


def ends(path: Path) -> list[int]:
    """Return how long the journal is after its head and after each record."""
    found = journal.find(path)
    assert found
    return [found._start, *(end for _, end in found._entries())]


def repeats(path: Path) -> list[int]:
    found = journal.find(path)
    assert found
    return [record.repeat for record in found.records()]


def test_a_journal_of_any_length_holds_the_records_that_are_whole(left: Path) -> None:
    marks = ends(left)
    for length in reversed(range(marks[0], marks[-1] + 1)):
        os.truncate(left, length)
        kept = sum(length >= end for end in marks[1:])
        assert repeats(left) == list(range(kept)), length
        found = journal.find(left)
        assert found
        assert found.torn() == (length not in marks), length


def test_a_last_record_of_which_any_byte_is_wrong_is_dropped(left: Path) -> None:
    whole, marks = left.read_bytes(), ends(left)
    for place in range(marks[2], len(whole)):
        left.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        assert repeats(left) == [0, 1], place


def test_zeros_that_a_file_system_leaves_are_no_record(left: Path) -> None:
    left.write_bytes(left.read_bytes() + bytes(5000))
    assert repeats(left) == [0, 1, 2]
    assert TORN in store.recover([left.with_suffix(".parquet")])[0]


def test_a_head_that_is_not_whole_is_said_to_be_so(left: Path) -> None:
    whole, start = left.read_bytes(), ends(left)[0]
    for length in (0, 5, start - 1):
        left.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"not a journal of cpufit|its head is not whole"):
            store.read([left.with_suffix(".parquet")])


def test_a_folder_that_is_named_like_a_journal_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "run-1.journal").mkdir()
    for asked in (store.read, store.recover):
        with pytest.raises(DataError, match=r"cannot read .*run-1.journal: Is a directory; move"):
            asked([tmp_path / "run-1.parquet"])


def test_a_journal_of_a_newer_schema_asks_for_an_upgrade(left: Path) -> None:
    head = json.dumps({"id": "", "schema_version": 99, "request": "{}"})
    left.write_bytes(journal._MAGIC + journal._entry(head.encode()))
    with pytest.raises(DataError, match=r"schema version 99.*pip install -U"):
        store.read([left.with_suffix(".parquet")])


@pytest.mark.parametrize("cut", [1, 8, 200])
def test_recovering_says_once_that_a_record_is_torn(left: Path, cut: int) -> None:
    path = left.with_suffix(".parquet")
    left.write_bytes(left.read_bytes()[:-cut])
    assert store.read([path]) == RECORDS[:2]
    (line,) = store.recover([path])
    assert line.startswith(f"{TORN}: {path} ")
    assert store.recover([path]) == []
    assert store.read([path]) == RECORDS[:2]
    assert [p.name for p in left.parent.iterdir()] == ["run-1.parquet"]


def test_a_torn_record_makes_room_for_the_next_run(left: Path) -> None:
    path = left.with_suffix(".parquet")
    left.write_bytes(left.read_bytes()[:-7])
    results = store.reopen(path, ["ok"])
    results.add(RECORDS[2:])
    assert store.read([path]) == RECORDS
    results.close()
    assert store.read([path]) == RECORDS


def test_killed_after_compacting_every_record_counts_once(left: Path) -> None:
    path, content = left.with_suffix(".parquet"), left.read_bytes()
    assert store.recover([path]) == []
    left.write_bytes(content)  # as if the process had been killed before it removed it
    assert store.read([path]) == RECORDS
    assert store.columns([path], ["repeat"])["repeat"].to_pylist() == [0, 1, 2]
    assert store.recover([path]) == []
    assert not left.exists()
    assert store.read([path]) == RECORDS


def test_killed_while_reopening_what_is_kept_counts_once(left: Path) -> None:
    path = left.with_suffix(".parquet")
    bad = replace(RECORD, outcome=replace(RECORD.outcome, status="failed"))
    stored(path, [*RECORDS, bad])
    store.reopen(path, ["ok"])
    assert store.read([path]) == RECORDS
    results = store.reopen(path, ["ok"])
    results.add([bad, RECORD])
    content = left.read_bytes()
    del results
    assert store.reopen(path, ["ok"]).path == path
    left.write_bytes(content)  # the old one, whose records are in the Parquet file already
    assert store.read([path]) == [*RECORDS, RECORD]


def test_leftovers_of_a_killed_compaction_go(left: Path) -> None:
    (left.parent / ".run-1.parquet-abc").write_bytes(b"half")
    (left.parent / ".run-12.parquet-abc").write_bytes(b"another's")
    store.recover([left.with_suffix(".parquet")])
    assert sorted(p.name for p in left.parent.iterdir()) == [".run-12.parquet-abc", "run-1.parquet"]
