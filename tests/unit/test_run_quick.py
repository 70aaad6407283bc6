"""`scripts/run-quick`: what it does in which order, with programs that only say their names."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from cpufit.paths import data_root

if TYPE_CHECKING:
    from pathlib import Path

SAID = """#!/bin/sh
echo "$(basename "$0") $*"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a checkout without llama.cpp."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(data_root() / "scripts" / "run-quick", tmp_path / "scripts")
    _program(tmp_path / ".venv" / "bin" / "cpufit", SAID)
    _program(tmp_path / "make", SAID + 'case "$*" in *--question*) exit 1 ;; esac\n')
    return tmp_path


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _said(home: Path, compiler: str = "sh") -> list[str]:
    ended = subprocess.run(
        [home / "scripts" / "run-quick"],
        env={**os.environ, "MAKE": str(home / "make"), "CXX": compiler},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in ended.stdout.splitlines() if line.startswith(("cpufit", "make", "no"))]


FIRST, LATER = "cpufit run --suite quick", "cpufit run --resume"
BUILD = "make --no-print-directory .venv/llama"


def test_what_comes_as_wheels_is_measured_before_a_compiler_takes_the_cores(home: Path) -> None:
    asked, *said = _said(home)
    assert "--question" in asked
    assert said == [FIRST, BUILD, "cpufit fetch", LATER]


def test_without_a_compiler_it_goes_on_and_says_what_is_missing(home: Path) -> None:
    _, *said = _said(home, compiler="no-such-compiler")
    assert said == [
        FIRST,
        "no C++ compiler: going on without llama.cpp (apt install g++, then make run)",
        "cpufit fetch",
        LATER,
    ]


def test_with_llama_cpp_it_is_one_run(home: Path) -> None:
    _program(home / "make", SAID)
    assert _said(home)[1:] == ["cpufit fetch", FIRST]


def test_nothing_measured_at_first_is_no_end(home: Path) -> None:
    _program(home / ".venv" / "bin" / "cpufit", SAID + '[ "$2" != --suite ]\n')
    assert _said(home)[-1] == LATER


@pytest.mark.parametrize("code", [2, 130])
def test_a_mistake_or_ctrl_c_is_an_end(home: Path, code: int) -> None:
    _program(home / ".venv" / "bin" / "cpufit", f"#!/bin/sh\nexit {code}\n")
    with pytest.raises(subprocess.CalledProcessError) as error:
        _said(home)
    assert error.value.returncode == code
