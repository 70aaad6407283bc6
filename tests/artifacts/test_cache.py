"""The cache: an artifact appears whole or not at all, and is made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cpufit.artifacts import cache, timings
from cpufit.artifacts.base import Request
from cpufit.catalog import pick
from cpufit.errors import DataError

if TYPE_CHECKING:
    from cpufit.artifacts.base import Built

REQUEST = Request(model=pick("mistral-7b"), precision="int4", runtime="fake", weights="synthetic")


def test_made_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.find(REQUEST, timings, tmp_path) is None
    made = cache.make(REQUEST, timings, tmp_path)
    assert cache.find(REQUEST, timings, tmp_path) == made
    monkeypatch.setattr(timings, "build", None)  # a second build would now raise
    assert cache.make(REQUEST, timings, tmp_path) == made
    assert [p.name for p in (tmp_path / "artifacts").iterdir()] == [made.key]


def test_whatever_changes_the_bytes_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {cache.make(REQUEST, timings, tmp_path).key}
    keys.add(cache.make(replace(REQUEST, precision="int8"), timings, tmp_path).key)
    other = replace(REQUEST.model, macs=1)
    keys.add(cache.make(replace(REQUEST, model=other), timings, tmp_path).key)
    monkeypatch.setattr(timings, "VERSION", timings.VERSION + 1)
    keys.add(cache.make(REQUEST, timings, tmp_path).key)
    assert len(keys) == 4


def test_a_damaged_artifact_is_made_again(tmp_path: Path) -> None:
    made = cache.make(REQUEST, timings, tmp_path)
    Path(made.path).write_bytes(b"short")
    assert cache.find(REQUEST, timings, tmp_path) is None
    assert cache.make(REQUEST, timings, tmp_path) == made
    assert Path(made.path).stat().st_size == made.size_bytes


def test_a_builder_that_dies_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(request: Request, folder: Path) -> Built:
        (folder / "half").write_bytes(b"x")
        raise KeyboardInterrupt

    monkeypatch.setattr(timings, "build", die)
    with pytest.raises(KeyboardInterrupt):
        cache.make(REQUEST, timings, tmp_path)
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_a_full_disk_is_said_with_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(request: Request, folder: Path) -> Built:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(timings, "build", full)
    with pytest.raises(DataError, match=r"disk is full: mistral-7b needs .*--cache"):
        cache.make(REQUEST, timings, tmp_path)


def test_weights_beside_the_file_count(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_bytes(b"12")
    (tmp_path / "m.bin").write_bytes(b"345")
    (tmp_path / "n.onnx").write_bytes(b"12")
    (tmp_path / "n.onnx.data").write_bytes(b"3456")
    assert cache._tree_bytes(tmp_path / "m.xml") == 5
    assert cache._tree_bytes(tmp_path / "n.onnx") == 6
