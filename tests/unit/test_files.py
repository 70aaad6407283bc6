"""Files appear whole or not at all; what is no regular file is written into and stays."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from cpufit.errors import DataError
from cpufit.files import append, check_file, clear, replacing, save, try_out, unwritable

NULL, FULL = os.makedev(1, 3), os.makedev(1, 7)


def _device(path: Path, number: int) -> Path:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, number)
    except PermissionError:
        pytest.skip("only root makes devices")
    return path


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    before = path.stat().st_ino
    save(b"new", path)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_of_a_link_the_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("real")
    (tmp_path / "to-come").symlink_to("made")
    save(b"new", link)
    save(b"new", tmp_path / "to-come")
    assert link.is_symlink()
    assert (tmp_path / "real").read_bytes() == (tmp_path / "made").read_bytes() == b"new"


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_device_stays_one(tmp_path: Path) -> None:
    null, full = _device(tmp_path / "null", NULL), _device(tmp_path / "full", FULL)
    link = tmp_path / "link"
    link.symlink_to(null)
    for path in (null, link):
        try_out(path)
        save(b"x", path)
    with pytest.raises(DataError, match=r"cannot write .*/full: No space left on device"):
        save(b"x", full)
    assert all(stat.S_ISCHR(path.stat().st_mode) for path in (null, full))


def test_a_fifo_stays_one(tmp_path: Path) -> None:
    path, read = tmp_path / "fifo", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    try_out(path)
    save(b"all of it", path)
    reader.join()
    assert read == [b"all of it"]
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
def test_a_descriptor_goes_on_where_it_is(tmp_path: Path, name: str) -> None:
    with (tmp_path / "a").open("wb", buffering=0) as file:
        file.write(b"before, ")
        (tmp_path / "link").symlink_to(f"/dev/fd/{file.fileno()}")
        path = tmp_path / name.format(file.fileno())
        try_out(path)
        save(b"here, ", path)
        file.write(b"after")
    assert (tmp_path / "a").read_bytes() == b"before, here, after"
    assert (tmp_path / "link").is_symlink()


def test_what_cannot_be_written_is_said_before(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "a").write_bytes(b"")
    with (tmp_path / "a").open("rb") as file:
        for path, why in (
            (tmp_path, "it is a folder"),
            (tmp_path / "none" / "a", "No such file or directory"),
            (tmp_path / "a" / "b", "Not a directory"),
            (tmp_path / "circle", "Too many levels of symbolic links"),
            (Path(f"/dev/fd/{file.fileno()}"), "it is open for reading only"),
            (Path("/dev/fd/999"), "Bad file descriptor"),
        ):
            with pytest.raises(DataError, match=f"cannot write {path}: {why}; name another path"):
                try_out(path)
            with pytest.raises(DataError, match=f"cannot write {path}: "):
                save(b"x", path)
    assert (tmp_path / "a").read_bytes() == b""


def test_a_long_name_has_room_for_its_scratch(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)
    save(b"x", path)
    clear(path)
    assert path.read_bytes() == b"x"


def test_appending(tmp_path: Path) -> None:
    append(b"a", tmp_path / "a")
    append(b"b", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"ab"
    with pytest.raises(DataError, match="Is a directory; name another path"):
        append(b"", tmp_path)


def test_a_folder_is_tried_and_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert unwritable(tmp_path / "new" / "folder") == ""
    assert "Not a directory" in unwritable(tmp_path / "file" / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_is_no_file_to_read_is_called_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "lost").symlink_to("gone")
    (tmp_path / "file").write_bytes(b"")
    check_file(tmp_path / "file", "a file")
    for name, words in (
        ("pipe", "is a pipe or a device, and no file; name a file"),
        ("self", "is a link that leads to no file; name a file"),
        ("lost", "is a link that leads to no file; name a file"),
        ("", "is a folder; name a file"),
        ("none", "no file .*; check the path"),
        ("file/x", "no file .*; check the path"),
    ):
        with pytest.raises(DataError, match=words):
            check_file(tmp_path / name, "a file")
