"""Standard output may be closed, full, narrow or ASCII; HOME may be no folder; nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cpufit import store
from cpufit.cli import gate
from cpufit.report.gate_words import Verdict
from tests.e2e.helpers import FAST, cpufit, timings
from tests.samples import RECORD, stored

ON_FAKE = ("--runtime", "fake", "--scenario", "memory", "--threads", "1", "--budget", "rapid")
COMMAND = [sys.executable, "-m", "cpufit"]


def _run(*words: str | Path, cwd: Path, **how: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **how.pop("env", {})}
    command = [*COMMAND, *map(str, words)]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120, **how}
    return subprocess.run(command, cwd=cwd, text=True, env=environment, check=False, **how)


def _close_output() -> None:
    os.close(1)


def test_measuring_goes_on_without_output(tmp_path: Path) -> None:
    model = timings(tmp_path, "m", **FAST)
    words = ("run", model, *ON_FAKE, "--cache", "cache", "-o")
    with Path("/dev/full").open("w") as full:
        said = _run(*words, "full", cwd=tmp_path, stdout=full)
    assert said.returncode == 0, said
    assert said.stderr == "cpufit: standard output is lost: No space left on device\n"
    read, write = os.pipe()
    os.close(read)
    said = _run(*words, "pipe", cwd=tmp_path, stdout=write)
    os.close(write)
    assert said.returncode == 0, said
    assert said.stderr == ""
    for folder in ("full", "pipe"):
        assert len(store.read([store.newest(tmp_path / folder)])) > 0
        assert (tmp_path / folder / "report.html").stat().st_size > 0


def test_a_list_that_is_lost_is_no_success(tmp_path: Path) -> None:
    said = _run("list", "suites", cwd=tmp_path, preexec_fn=_close_output)
    assert (said.returncode, said.stderr) == (2, "cpufit: standard output is lost: it is closed\n")
    with Path("/dev/full").open("w") as full:
        said = _run("list", "suites", cwd=tmp_path, stdout=full)
    assert said.returncode == 2
    assert said.stderr == "cpufit: standard output is lost: No space left on device\n"


def test_a_bug_is_never_a_regression(tmp_path: Path) -> None:
    script = (
        "import sys, cpufit.cli.list as one; from cpufit.cli.main import main; "
        "one.json = None; sys.argv = ['cpufit', 'list', 'suites', '--json']; main()"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert said.returncode == 70
    assert b"Traceback" in said.stderr


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("ascii", r"+-3% mod\u00e8le-> \xe9 -"),
        ("latin-1", r"±3% modèle-> \xe9 -"),
        ("utf-8", r"±3% modèle→ \xe9 ⠋"),
    ],
)
def test_letters_that_a_stream_has_not(tmp_path: Path, encoding: str, text: str) -> None:
    script = (
        "from cpufit.cli.streams import Streams; Streams(); "
        r"print('\xb13% mod\xe8le\u2192 \udce9 \u280b')"
    )
    said = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert said.stdout.decode(encoding) == f"{text}\n"


def test_a_path_that_is_no_text(tmp_path: Path) -> None:
    name = b"mod\xe9le.timings"
    (Path(os.fsdecode(bytes(tmp_path) + b"/" + name))).write_bytes(b"{}")
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/\xe9"))
    folder.mkdir()
    for words, where, env in (
        (("run", os.fsdecode(name)), tmp_path, {}),
        (("report", "-o", os.fsdecode(name)), tmp_path, {}),
        (("list", "suites"), folder, {}),
        (("cache",), tmp_path, {"XDG_CACHE_HOME": str(folder)}),
    ):
        said = _run(*words, cwd=where, env=env)
        assert said.returncode == 2, said
        assert "\\xe9" in said.stderr
        assert said.stderr.endswith("is not text in UTF-8; rename it, or name a link to it\n")
        assert said.stderr.count("\n") == 1


def test_targets_are_tried_before_anything_is_measured(tmp_path: Path) -> None:
    old = timings(tmp_path, "old", **FAST)
    words = ("gate", "--against-model", old, old, "--runtime", "fake", "--scenario", "memory")
    for option in ("--json", "--junit", "--markdown"):
        said = cpufit(*words, option, tmp_path, cwd=tmp_path)
        assert said.mistake == f"cpufit: cannot write {tmp_path}: it is a folder; name another path"
    env = {"GITHUB_STEP_SUMMARY": str(tmp_path)}
    done = _run(*words, "--github", cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert done.stderr == f"cpufit: cannot write {tmp_path}: Is a directory; name another path\n"


def test_what_can_be_written_is(tmp_path: Path) -> None:
    told = Verdict(before="a", after="b", differences={}, host="h", found=(), repeat={})
    texts = {tmp_path / "none" / "a": "1", tmp_path / "b": "2", None: "3"}
    refused = gate._write(told, texts, tmp_path / "c")
    assert [words.split(":")[0] for words in refused] == [f"cannot write {tmp_path}/none/a"]
    assert (tmp_path / "b").read_text() == "2"
    assert "cpufit gate" in (tmp_path / "c").read_text()


def test_brackets_and_colons_are_text(tmp_path: Path) -> None:
    model = timings(tmp_path, "net[beta]:smile:", **FAST)
    words = (*ON_FAKE, "--cache", "cache", "-o", "o[red]x[/b] :smile:")
    said = cpufit("run", model.name, *words, cwd=tmp_path)
    assert said.code == 0, said
    assert "net[beta]:smile::real/fp32/fake/memory/t1" in said.out
    assert "\nreport   o[red]x[/b] :smile:/report.html\n" in said.out


def test_a_home_that_is_no_folder(tmp_path: Path) -> None:
    model = timings(tmp_path, "m", **FAST)
    home = tmp_path / "file"
    home.write_text("")
    env = {"HOME": str(home), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "MPLCONFIGDIR": ""}
    said = _run("run", model, *ON_FAKE, cwd=tmp_path, env=env)
    assert said.returncode == 2
    cause = f"cannot write to the cache {home}/.cache/cpufit: Not a directory"
    assert said.stderr == f"cpufit: {cause}; name another folder with --cache\n"
    said = _run("run", model, *ON_FAKE, "--cache", "cache", cwd=tmp_path, env=env)
    assert (said.returncode, said.stderr) == (0, ""), said
    said = _run("cache", cwd=tmp_path, env=env)
    assert f"cannot write to {home}/.cache/cpufit: Not a directory\n" in said.stdout


def test_a_report_goes_into_standard_output(tmp_path: Path) -> None:
    stored(tmp_path / "run-1.parquet", [RECORD])
    with (tmp_path / "out").open("w") as out:
        said = _run("report", "run-1.parquet", "-o", "/dev/stdout", cwd=tmp_path, stdout=out)
    assert said.returncode == 0, said
    text = (tmp_path / "out").read_text()
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("report of 1 cell: /dev/stdout")
