"""The two sides of a gate."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import cpufit
from cpufit.artifacts import storage
from cpufit.errors import DataError, UsageError
from cpufit.run.child import Interpreter
from cpufit.run.gate import arms


def test_every_library_of_an_arm_is_dropped_from_the_page_cache(tmp_path: Path) -> None:
    here = arms.here()
    facts = tmp_path / "net-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: net\nVersion: 1.0\n")
    (facts / "RECORD").write_text("net/core.so.1,,\nnet/gone.so,,\nnet/readme.txt,,\n")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "core.so.1").write_bytes(b"a library")
    more = replace(here, interpreter=Interpreter(sys.executable, str(tmp_path)))
    assert arms.evict(more) == arms.evict(here) + 1


def test_what_differs_is_named_by_package() -> None:
    before = arms.Arm(name="a", packages={"onnxruntime": "1", "numpy": "2"})
    after = arms.Arm(name="b", packages={"onnxruntime": "3", "numpy": "2", "new": "1"})
    assert before.differs(after) == {"onnxruntime": ("1", "3"), "new": ("", "1")}
    assert arms.uses(before, after, "onnxruntime")


@pytest.mark.parametrize(
    "against",
    ["-r secrets.txt", "--index-url=http://evil", "-e .", "x --pre", "onnxruntime\n-r x", ".venv"],
)
def test_what_is_no_requirement_never_reaches_pip(tmp_path: Path, against: str) -> None:
    with pytest.raises(UsageError, match="no requirement of pip's"):
        arms.other(against, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_file_named_like_a_requirement_is_no_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a path with a folder is: what lies in the current one may be anybody's."""
    monkeypatch.chdir(tmp_path)
    planted = tmp_path / "onnxruntime==1.30.0"
    planted.write_text("#!/bin/sh\ntouch hacked\n")
    planted.chmod(0o755)
    (tmp_path / "pip.py").write_text("open('hacked', 'w')")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing is to be found
    with pytest.raises(DataError, match="cannot be installed"):
        arms.other("onnxruntime==1.30.0", tmp_path / "cache")
    assert not (tmp_path / "hacked").exists()
    with pytest.raises(DataError, match="does not run"):
        arms.other(f"./{planted.name}", tmp_path / "cache")
    assert (tmp_path / "hacked").exists()


def test_every_python_that_is_started_shuns_the_current_folder() -> None:
    started = re.compile(r"(?:executable|\.python), (\"[^\"]*\")")
    source = Path(cpufit.__file__).parent
    found = {
        (path.name, word)
        for path in source.rglob("*.py")
        for word in started.findall(path.read_text(encoding="utf-8"))
    }
    assert len({name for name, _ in found}) >= 6
    assert {word for _, word in found} == {'"-P"'}


def test_an_environment_that_another_user_planted_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    (tmp_path / storage.ENVIRONMENTS).mkdir()
    with pytest.raises(DataError, match="belongs to another user"):
        arms.other("onnxruntime==1.30.0", tmp_path)
    (tmp_path / "links").mkdir()
    with pytest.raises(DataError, match="belongs to another user"):
        arms.other(sys.executable, tmp_path)


def test_what_leads_to_cpufit_leads_nowhere_else(tmp_path: Path) -> None:
    link = arms._path_for_others(tmp_path) / "cpufit"
    link.unlink()
    link.symlink_to(tmp_path)
    assert arms._path_for_others(tmp_path) == link.parent
    assert link.readlink() == Path(cpufit.__file__).parent
