"""Runs that go on: what is on disk and when, who may touch it, and what the disk refuses."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from cpufit import store
from cpufit.cli import options
from cpufit.errors import DataError
from tests.samples import RECORD, stored

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
RECORDS = [replace(RECORD, repeat=index) for index in range(4)]
FAILED = replace(RECORD, outcome=replace(RECORD.outcome, status="failed"))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MORNING = NOON.replace(hour=8)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ----------------------------------------------------------------------------------- a run's life
def test_every_record_is_on_disk_when_add_returns_and_nothing_else_is(tmp_path: Path) -> None:
    results = store.create(tmp_path / "run-1.parquet", '{"suite": "x"}')
    assert store.read([results.path]) == []
    for number in (1, 2, 3):
        results.add([RECORD])
        assert len(store.read([results.path])) == number
    assert names(tmp_path) == ["run-1.journal"]
    assert store.request_of(results.path) == '{"suite": "x"}'
    results.close()
    assert names(tmp_path) == ["run-1.parquet"]
    assert store.read([results.path]) == [RECORD] * 3
    assert store.request_of(results.path) == '{"suite": "x"}'


def test_a_run_of_nothing_ends_in_a_file_that_can_be_resumed(tmp_path: Path) -> None:
    path = stored(tmp_path / "run-1.parquet", [], '{"suite": "x"}')
    assert store.read([path]) == []
    results = store.reopen(path, ["ok"])
    assert results.request == '{"suite": "x"}'
    results.add([RECORD])
    assert store.read([path]) == [RECORD]


def test_reopening_drops_what_was_not_ok(tmp_path: Path) -> None:
    path = stored(tmp_path / "run-1.parquet", [RECORDS[0], FAILED, RECORDS[1]])
    results = store.reopen(path, ["ok"])
    assert store.read([path]) == RECORDS[:2]
    results.add([FAILED, RECORDS[2]])
    del results  # killed
    results = store.reopen(path, ["ok"])
    assert store.read([path]) == RECORDS[:3]
    results.close()
    assert store.read([path]) == RECORDS[:3]


def test_many_records_are_compacted_in_pieces(tmp_path: Path) -> None:
    """Each with texts of its own, which pyarrow can hardly join where they are nested."""
    many = [
        replace(
            RECORD,
            repeat=index,
            title=f"t{index}",
            host=replace(RECORD.host, fingerprint=f"f{index % 700}"),
            outcome=replace(RECORD.outcome, notes=(f"n{index}",), noise={f"x{index % 900}": 1.0}),
        )
        for index in range(1300)
    ]
    path = stored(tmp_path / "run-1.parquet", many[:600])
    results = store.reopen(path, ["ok"])
    results.add(many[600:])
    results.close()
    assert store.read([path]) == many
    assert pq.ParquetFile(path).num_row_groups > 2
    names = ["model", "repeat", "host.fingerprint", "noise", "notes", "series"]
    table = store.columns([path], names)
    assert table["repeat"].to_pylist() == list(range(1300))
    assert table["notes"].to_pylist() == [list(record.outcome.notes) for record in many]
    assert table["noise"].to_pylist(maps_as_pydicts="strict") == [r.outcome.noise for r in many]
    assert table["host"].to_pylist() == [{"fingerprint": r.host.fingerprint} for r in many]


def test_a_folder_that_was_deleted_while_the_run_went_on_comes_back(tmp_path: Path) -> None:
    results = store.create(tmp_path / "out" / "run-1.parquet", "{}")
    results.add(RECORDS[:2])
    (tmp_path / "out" / "run-1.journal").unlink()
    (tmp_path / "out").rmdir()
    results.add(RECORDS[2:])
    results.close()
    assert store.read([results.path]) == RECORDS


# ------------------------------------------------------------------------------------ who may touch
def test_a_run_that_goes_on_is_read_but_not_compacted(tmp_path: Path) -> None:
    results = store.create(tmp_path / "run-1.parquet", "{}")
    results.add(RECORDS[:1])
    assert store.recover([results.path]) == []
    assert names(tmp_path) == ["run-1.journal"]
    with pytest.raises(DataError, match="another cpufit is adding to"):
        store.reopen(results.path, ["ok"])
    results.add(RECORDS[1:2])
    assert store.read([results.path]) == RECORDS[:2]
    results.close()


def test_two_runs_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    one = store.begin(tmp_path, NOON, "one")
    two = store.begin(tmp_path, NOON, "two")
    assert one.path != two.path
    for record in RECORDS:
        one.add([record])
        two.add([FAILED])
        assert store.recover(store.runs(tmp_path)) == []
    one.close()
    assert store.read([two.path]) == [FAILED] * 4
    two.close()
    assert store.read([one.path]) == RECORDS
    assert [store.request_of(path) for path in store.runs(tmp_path)] == ["one", "two"]


def test_a_name_is_given_once_only(tmp_path: Path) -> None:
    path = stored(tmp_path / "run-1.parquet", RECORDS)
    for number in (2, 3):
        assert store.create(path, "{}").path.name == f"run-1-{number}.parquet"
    assert store.read([path]) == RECORDS


def test_a_disk_without_links_gives_a_name_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*args: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    one, two = (store.create(tmp_path / "run-1.parquet", "{}") for _ in range(2))
    assert names(tmp_path) == ["run-1-2.journal", "run-1.journal"]
    one.add(RECORDS)
    assert store.read([one.path]) == RECORDS
    two.close()


# ------------------------------------------------------------------------------------- which is new
def test_the_newest_run_is_the_last_by_name_whichever_file_it_has(tmp_path: Path) -> None:
    stored(tmp_path / "run-20260101T000000Z.parquet", [])
    live = store.create(tmp_path / "run-20260301T000000Z.parquet", "{}")
    stored(tmp_path / "run-20260201T000000Z.parquet", [])
    assert store.newest(tmp_path) == live.path
    assert len(store.runs(tmp_path)) == 3


def test_a_run_is_the_newest_though_the_clock_went_back(tmp_path: Path) -> None:
    stems = []
    for clock in (NOON, *[MORNING] * 11, NOON.replace(day=2)):
        results = store.begin(tmp_path, clock, "{}")
        assert store.newest(tmp_path) == results.path
        results.close()
        stems.append(results.path.stem)
    noon = "run-20260301T120000000000Z"
    assert stems[:3] == [noon, f"{noon}-2", f"{noon}-3"]
    assert stems[-2:] == [f"{noon}-12", "run-20260302T120000000000Z"]


def test_a_name_of_the_users_own_does_not_name_runs(tmp_path: Path) -> None:
    stored(tmp_path / "run-zebra.parquet", [])
    assert store.begin(tmp_path, NOON, "{}").path.stem == "run-20260301T120000000000Z"


# -------------------------------------------------------------------------- what the disk refuses
def full_after(count: int) -> Callable[..., int]:
    """Return a disk that takes so many bytes of each write, and no further one."""
    real, left = os.pwrite, [count]

    def pwrite(handle: int, data: memoryview, at: int) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = real(handle, data[: left[0]], at)
        left[0] -= done
        return done

    return pwrite


@pytest.mark.parametrize("count", [0, 1, 7, 8, 500])
@pytest.mark.parametrize("truncates", [True, False])
def test_a_full_disk_is_one_line_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, truncates: bool
) -> None:
    results = store.create(tmp_path / "run-1.parquet", "")
    results.add(RECORDS[:2])

    def refused(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", full_after(count))
        if not truncates:
            broken.setattr(os, "ftruncate", refused)
        with pytest.raises(DataError, match=r"cannot write .*No space left.*name another output"):
            results.add([FAILED])
        assert store.read([results.path]) == RECORDS[:2]
    results.add(RECORDS[2:])
    assert store.read([results.path]) == RECORDS
    results.close()
    assert store.read([results.path]) == RECORDS


def test_a_disk_that_is_full_at_the_end_keeps_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = store.create(tmp_path / "run-1.parquet", "")
    results.add(RECORDS)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(DataError, match=r"cannot write .*No space left on device"):
            results.close()
    assert names(tmp_path) == ["run-1.journal"]
    assert store.read([results.path]) == RECORDS
    results.close()
    assert names(tmp_path) == ["run-1.parquet"]
    assert store.read([results.path]) == RECORDS


LIMITED = """
import resource, sys
from pathlib import Path
from cpufit import store
from cpufit.errors import DataError
from tests.samples import RECORD
results = store.create(Path(sys.argv[1]), "{}")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
added = 0
try:
    while True:
        results.add([RECORD])
        added += 1
except DataError as error:
    print(added, error)
"""


def test_a_file_that_may_not_grow_is_one_line_and_readable(tmp_path: Path) -> None:
    """The kernel writes the last record in part and refuses the rest."""
    path = tmp_path / "run-1.parquet"
    command = [sys.executable, "-c", LIMITED, str(path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    added, words = said.split(" ", 1)
    assert words.startswith(f"cannot write {path}: File too large; name another output folder")
    assert int(added) > 10
    assert store.read([path]) == [RECORD] * int(added)
    assert store.recover([path]) == []


def refuse_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse new files, as a read-only folder does; root, whom modes do not bind, included."""

    def refused(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "mkstemp", refused)


def test_a_folder_that_is_read_only_takes_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_files(monkeypatch)
    with pytest.raises(DataError, match=r"cannot write .*run-1.parquet: Read-only file system"):
        store.create(tmp_path / "run-1.parquet", "{}")
    assert names(tmp_path) == []


def test_what_a_killed_run_left_is_read_in_a_read_only_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path / "run-1.parquet", RECORDS[:2])
    results = store.reopen(path, ["ok"])
    results.add(RECORDS[2:])
    del results
    refuse_files(monkeypatch)
    assert store.recover([path]) == []
    assert names(tmp_path) == ["run-1.journal", "run-1.parquet"]
    assert store.read([path]) == RECORDS
    assert len(store.columns([path], ["model"])) == 4
    with pytest.raises(DataError, match=r"cannot write .*Read-only file system"):
        store.reopen(path, ["ok"])
    monkeypatch.undo()
    assert store.reopen(path, ["ok"]).path == path
    assert store.read([path]) == RECORDS


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    store.create(tmp_path / "run-1.parquet", "{}").add(RECORDS)
    tmp_path.chmod(0o555)
    try:
        assert store.recover([tmp_path / "run-1.parquet"]) == []
        assert store.read([tmp_path / "run-1.parquet"]) == RECORDS
        with pytest.raises(DataError, match="cannot write"):
            store.create(tmp_path / "run-2.parquet", "{}")
    finally:
        tmp_path.chmod(0o755)


def test_a_journal_that_may_not_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(DataError, match=r"cannot read .*run-1.journal: Permission denied"):
        store.read([tmp_path / "run-1.parquet"])


# ------------------------------------------------------------------------------ what the user hears
def test_the_command_line_says_what_was_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.create(tmp_path / "run-1.parquet", "{}").add(RECORDS)
    left = tmp_path / "run-1.journal"
    left.write_bytes(left.read_bytes()[:-9])
    assert options.results([tmp_path]) == [tmp_path / "run-1.parquet"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cpufit: a torn last record was dropped: ")
    assert names(tmp_path) == ["run-1.parquet"]
    assert options.results([tmp_path]) == [tmp_path / "run-1.parquet"]
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------------------------- killed
def test_a_run_that_is_killed_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    """`scripts/kill-runs` does the same with 200 moments."""
    command = [sys.executable, str(ROOT / "scripts" / "kill-runs"), "12", "--seed", "1"]
    done = subprocess.run([*command, "--folder", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 kills" in done.stdout
