"""Temporary folders go with their process, or with the next one after it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from cpufit import temporary

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys, time
from cpufit import temporary
with temporary.folder() as path:
    (path / "model.onnx").write_bytes(b"large")
    print(path, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_empty_and_goes(system: Path) -> None:
    with temporary.folder() as path:
        (path / "file").touch()
        assert path.parent == system
    assert list(system.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_left_goes_with_the_next(system: Path, number: int) -> None:
    env = {**os.environ, "TMPDIR": str(system)}
    with subprocess.Popen([sys.executable, "-c", HOLD], env=env, stdout=subprocess.PIPE) as held:
        assert held.stdout
        held.stdout.readline()
        temporary.sweep()
        assert len(list(system.iterdir())) == 1  # in use
        held.send_signal(number)
    assert len(list(system.iterdir())) == 1
    with temporary.folder() as path:
        assert list(system.iterdir()) == [path]


def test_what_is_not_ours_stays(system: Path) -> None:
    (system / "cpufit-results").mkdir()
    (system / "cpufit-results" / "run.parquet").touch()
    (system / "elsewhere").mkdir()
    (system / "elsewhere" / ".cpufit-temporary").touch()
    (system / "cpufit-link").symlink_to(system / "elsewhere")
    temporary.sweep()
    assert len(list(system.iterdir())) == 3
    assert list((system / "elsewhere").iterdir())


def test_nothing_of_another_user_is_touched(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "cpufit-abc").mkdir()
    (system / "cpufit-abc" / ".cpufit-temporary").touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    temporary.sweep()
    assert list((system / "cpufit-abc").iterdir())
    monkeypatch.undo()
