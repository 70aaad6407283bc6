"""An engine of another package: two files and an entry point, and all of cpufit knows it."""

from __future__ import annotations

import json
import sys
import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import cpufit as package
from tests.e2e.helpers import cpufit

if TYPE_CHECKING:
    import pytest

ENGINE = """
from cpufit.runtimes.engine import Build, Engine

ENGINE = Engine(
    name="made-up",
    title="an engine that was never heard of",
    packages=("made-up",),
    extra="made-up",
    builds=(Build(families=("llm",), precisions=("int4",), builder="timings"),),
    suffixes=(".made",),
)
"""
RUNTIME = "from cpufit.runtimes.fake.runtime import RUNTIME as RUNTIME\n"


def _interpreter(folder: Path) -> tuple[Path, Path]:
    """Return an environment's interpreter and its packages; it sees what this one sees."""
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    seen = (sysconfig.get_path("purelib"), Path(package.__file__).parents[1])
    (site / "seen.pth").write_text("\n".join(map(str, seen)), encoding="utf-8")
    return folder / "bin" / "python", site


def test_a_package_brings_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("run", "--model", "gpt2", "--runtime", "made-up", "--scenario", "latency", "memory",
             "--precision", "int4", "--budget", "rapid", "--cache", "cache")  # fmt: skip
    assert "unknown runtime 'made-up'" in cpufit(*words, cwd=tmp_path).mistake
    python, site = _interpreter(tmp_path / "environment")
    monkeypatch.setattr(sys, "executable", str(python))
    for name, text in {
        "made_up/__init__.py": ENGINE,
        "made_up/runtime.py": RUNTIME,
        "made_up-2.5.dist-info/METADATA": "Metadata-Version: 2.1\nName: made-up\nVersion: 2.5\n",
        "made_up-2.5.dist-info/entry_points.txt": "[cpufit.engines]\nany = made_up\n",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    known = json.loads(cpufit("list", "runtimes", "--json", cwd=tmp_path).out)
    assert {"name": "made-up", "version": "2.5", "reads": [".made"]}.items() <= known[-1].items()
    said = cpufit(*words, cwd=tmp_path)
    assert said.code == 0, said
    assert "gpt2/int4/made-up/latency/" in said.out
    assert "most people run" not in said.out  # the engine was named, not chosen
    table = cpufit("table", "cpufit-results", "--metric", "ttft", cwd=tmp_path)
    assert "| made-up |" in table.out
    (tmp_path / "model.unmade").write_bytes(b"x")
    assert ".made" in cpufit("run", "model.unmade", cwd=tmp_path).mistake
