"""`cpufit gate` as a user calls it, on invented timings."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from zipfile import ZipFile

import pytest

from cpufit import store
from tests.e2e.helpers import cpufit, timings
from tests.samples import stored

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.helpers import Said

STEADY = {"load_ms": 5, "first_ms": 9, "jitter": 0.02, "luck": 0.02}
ON_FAKE = ("--runtime", "fake", "--scenario", "latency", "--threads", "1")


def test_a_slower_file_fails_in_every_format(tmp_path: Path) -> None:
    old = timings(tmp_path, "old", infer_ms=4.0, **STEADY)
    new = timings(tmp_path, "new", infer_ms=4.4, **STEADY)
    files = ("--json", "g.json", "--junit", "g.xml", "--markdown", "g.md", "--github")
    said = cpufit("gate", "--against-model", old, new, *ON_FAKE, *files, cwd=tmp_path)
    assert said.code == 1, said
    assert "before: old.timings; after: new.timings" in said.out
    assert "regression: of 1 cell 1 worse" in said.out
    assert "::error title=cpufit gate::new:real/fp32/fake/latency/t1: latency +" in said.out
    assert "%0Abefore: old.timings%0Aafter: new.timings%0Ahost: " in said.out
    assert "\nagain: cpufit gate --against-model" in said.out
    found = json.loads((tmp_path / "g.json").read_text())
    assert (found["verdict"], found["exit_code"]) == ("regression", 1)
    latency = found["cells"][0]["quantities"]["latency"]
    assert latency["interval"][0] < 1.1 < latency["interval"][1]
    assert [p["stage"] for p in found["cells"][0]["pairs"]].count("confirm") == 20
    (failure,) = ET.parse(tmp_path / "g.xml").iter("failure")
    assert failure.text is not None
    assert "again: cpufit gate --against-model" in failure.text
    summary = (tmp_path / "g.md").read_text()
    assert "| `new:real/fp32/fake/latency/t1` | latency | +" in summary
    assert "**regression**" in summary


def test_two_equal_files_pass(tmp_path: Path) -> None:
    old = timings(tmp_path, "old", infer_ms=4.0, **STEADY)
    new = timings(tmp_path, "new", infer_ms=4.0, **STEADY)
    wide = ("--margin", "load=100%", "memory=10%")
    said = cpufit("gate", "--against-model", old, new, *ON_FAKE, *wide, cwd=tmp_path)
    assert said.code == 0, said
    assert "same: of 1 cell 1 the same" in said.out


def test_a_model_that_dies_is_missing(tmp_path: Path) -> None:
    old = timings(tmp_path, "old", infer_ms=4.0)
    new = timings(tmp_path, "new", infer_ms=4.0, fail="error")
    said = cpufit("gate", "--against-model", old, new, *ON_FAKE, cwd=tmp_path)
    assert said.code == 4, said
    assert "the timings file asks for an error" in " ".join(said.out.split())


def _suite(folder: Path, margin: str) -> None:
    """Write s.toml: one cell on invented timings."""
    text = f"""
title = "mine"
budget = "rapid"
[[cells]]
models = ["mobilenet-v2"]
runtimes = ["fake"]
precisions = ["int8"]
scenarios = ["latency"]
margin = {{ {margin} }}
"""
    (folder / "s.toml").write_text(text, encoding="utf-8")


def _wheel(folder: Path) -> Path:
    """Return a wheel that needs no index."""
    facts = "tinything-1.0.dist-info"
    files = {
        "tinything.py": "",
        f"{facts}/METADATA": "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n",
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{facts}/RECORD"))
    path = folder / "tinything-1.0-py3-none-any.whl"
    with ZipFile(path, "w") as file:
        for name, text in {**files, f"{facts}/RECORD": record}.items():
            file.writestr(name, text)
    return path


def test_a_wheel_becomes_the_other_arm(tmp_path: Path) -> None:
    _suite(tmp_path, "memory = 0.2, load = 1.0")
    words = ("--against", str(_wheel(tmp_path)), "--suite", "s.toml", "--cache", "cache")
    said = cpufit("gate", *words, "--json", "g.json", cwd=tmp_path)
    assert said.code == 0, said
    assert "after: installed here (tinything 1.0 -> none)" in said.out
    found = json.loads((tmp_path / "g.json").read_text())
    assert len(found["cells"][0]["pairs"]) >= 10


def test_time_that_is_over_leaves_it_open(tmp_path: Path) -> None:
    old = timings(tmp_path, "old", infer_ms=4.0)
    words = ("--against-model", old, old, *ON_FAKE, "--max-minutes", "0.0001")
    said = cpufit("gate", *words, cwd=tmp_path)
    assert said.code == 3, said
    assert cpufit(*_again(said), cwd=tmp_path).code == 3
    assert "the time was over before the first pair" in " ".join(said.out.split())


def _again(said: Said) -> list[str]:
    """Return the words of the command that repeats, as a shell reads what was printed."""
    (line,) = [line for line in said.out.splitlines() if line.startswith("again: ")]
    program, *words = shlex.split(line.removeprefix("again: "))
    assert program == "cpufit"
    return words


def test_a_baseline_of_this_host(tmp_path: Path) -> None:
    model = timings(tmp_path, "it's m", infer_ms=4.0, **STEADY)
    assert cpufit("run", model, *ON_FAKE, "-o", "my base", cwd=tmp_path).code == 0
    said = cpufit("gate", "--baseline", "my base", "--json", "g.json", cwd=tmp_path)
    assert said.code == 3, said
    assert "1 earlier run: 10 tell their luck from a change" in " ".join(said.out.split())
    words = _again(said)
    assert words[:3] == ["gate", "--baseline", "my base"]
    assert cpufit(*words, cwd=tmp_path).code == 3


def test_margins_of_a_suite_and_those_that_are_typed(tmp_path: Path) -> None:
    _suite(tmp_path, "time = 0.2, memory = 0.05")
    assert cpufit("run", "--suite", "s.toml", "-o", "base", cwd=tmp_path).code == 0
    words = ("--baseline", "base", "--margin", "memory=30%", "--json", "g.json")
    assert cpufit("gate", *words, cwd=tmp_path).code == 3
    (cell,) = json.loads((tmp_path / "g.json").read_text())["cells"]
    shares = {kind: cell["margins"][kind] for kind in ("time", "memory", "energy")}
    assert shares == {"time": 0.2, "memory": 0.3, "energy": 0.03}


def test_a_baseline_of_another_host_is_not_comparable(tmp_path: Path) -> None:
    model = timings(tmp_path, "m", infer_ms=4.0)
    assert cpufit("run", model, *ON_FAKE, "-o", "base", cwd=tmp_path).code == 0
    path = store.newest(tmp_path / "base")
    from dataclasses import replace

    request, records = store.request_of(path), store.read([path])
    moved = [replace(r, host=replace(r.host, fingerprint="elsewhere")) for r in records]
    stored(path, moved, request)
    said = cpufit("gate", "--baseline", path, cwd=tmp_path)
    assert said.code == 3, said
    assert "not comparable: " in said.out
    assert "(elsewhere)" in said.out


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ((), "give one of --against, --against-model and --baseline"),
        (("--against", "x==1", "--baseline", "b.parquet"), "give one of --against"),
        (
            ("--baseline", ".", "--max-minutes", "5"),
            "--max-minutes cannot be combined with --baseline",
        ),
        (("--against", "no-such-package-of-cpufit==9"), "cannot be installed: "),
        (("--against", "no/such/python"), "there is no no/such/python"),
        (("--baseline", "nothing.parquet"), "no file nothing.parquet"),
        (("--baseline", "broken.parquet"), "broken.parquet is not a readable Parquet file"),
        (("--baseline", "."), "no results in ."),
        (("--against", "x", "--margin", "time=0%"), "--margin time=0% cannot be judged by"),
        (("--against", "x", "--margin", "time=200%"), "--margin time=200% cannot be judged by"),
        (("--against", "x", "--margin", "tiem=3%"), "unknown margin 'tiem'; did you mean 'time'?"),
        (("--against", "x", "--margin", "time=soon"), "'soon' is no share"),
        (("--against", "x", "--max-minutes", "0"), "--max-minutes 0 leaves no time"),
        (("--against", "x", "--json", "no/folder/g.json"), "cannot write no/folder/g.json"),
        (("--against-model", "a.gguf", "b.onnx"), "a.gguf is empty; copy or download it again"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, words: tuple[str, ...], mistake: str) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    for name in ("a.gguf", "b.onnx"):
        (tmp_path / name).write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    said = cpufit("gate", *words, "--cache", "cache", cwd=tmp_path)
    assert mistake in said.mistake
    assert [p for p in sorted(tmp_path.iterdir()) if p.name != "cache"] == before


def test_an_arm_that_lacks_what_is_needed_says_so(tmp_path: Path) -> None:
    import venv

    venv.create(tmp_path / "other")
    said = cpufit("gate", "--against", "./other", "--cache", "cache", cwd=tmp_path)
    assert "cpufit's worker does not run in" in said.mistake
    assert "No module named" in said.mistake


def test_an_arm_of_the_same_packages_is_no_comparison(tmp_path: Path) -> None:
    import sys

    said = cpufit("gate", "--against", sys.executable, "--cache", "cache", cwd=tmp_path)
    assert "has what is installed here" in said.mistake


def test_a_baseline_of_somebody_else_opens_nothing_that_it_names(tmp_path: Path) -> None:
    """Its own files are opened where this user measured them, or names them."""
    model = timings(tmp_path, "m", infer_ms=4.0, **STEADY)
    assert cpufit("run", model, *ON_FAKE, "-o", "base", cwd=tmp_path).code == 0
    (mine,) = (tmp_path / "base").glob("*.parquet")
    assert str(tmp_path).encode() not in mine.read_bytes()
    mine.rename(tmp_path / "foreign.parquet")
    said = cpufit("gate", "--baseline", "foreign.parquet", cwd=tmp_path)
    assert "does not say where m.timings lies" in said.mistake
    named = cpufit("gate", "m.timings", "--baseline", "foreign.parquet", cwd=tmp_path)
    assert named.code == 3, named
