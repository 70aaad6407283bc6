"""Calling the command line as a user does: a process, its exit code and its words."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpufit import analysis, config, store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from cpufit.analysis import Row

SLOW = {"load_ms": 5, "prefill_ms_per_token": 6, "decode_ms": 40, "jitter": 0.05}
FAST = {"load_ms": 5, "first_ms": 9, "infer_ms": 4, "jitter": 0.05}


@dataclass(frozen=True)
class Said:
    """What came back."""

    code: int
    out: str
    err: str

    @property
    def mistake(self) -> str:
        """The one line of a user's mistake."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("cpufit: ")
        return lines[0]


def cpufit(*words: str | Path, cwd: Path) -> Said:
    """Run the command line in `cwd` and wait for it."""
    done = subprocess.run(
        [sys.executable, "-m", "cpufit", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def cells(folder: Path) -> list[Row]:
    """Return the newest run's cells, each with its processes."""
    return analysis.rows(store.read([store.newest(folder)]), config.load_settings().levels)


def set_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pytest run inside a test as if it ran alone, with a cache of its own in the folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # of the run these tests are in


def timings(folder: Path, name: str, **values: object) -> Path:
    """Write a file of timings for the fake runtime."""
    path = folder / f"{name}.timings"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path
