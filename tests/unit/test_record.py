"""What a record tells of the user's machine, and what it keeps to itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cpufit.errors import DataError
from cpufit.plan.remembered import recall, remember
from cpufit.plan.request import Request, from_json
from cpufit.run.record import _beyond_cores, without_folders
from cpufit.schema import Cell, Outcome
from tests import samples

CELL = Cell(
    model="net", precision="fp32", runtime="fake", scenario="latency", threads=8, weights="real"
)


def test_reasons_name_files_not_folders(tmp_path: Path) -> None:
    folder = tmp_path / "clients (acme)" / "secret"
    file = folder / "net.gguf"
    outcome = Outcome(
        status="failed",
        reason=f"llama.cpp cannot load {file}: bad magic, see {folder}; {Path.home()}/x.log",
        remedy=f"look at '{file}'",
        notes=(f"read {file}.data", "1/2 of /proc/sys/kernel/perf_event_paranoid", f"{folder}-2"),
        settings={"model": str(file), "threads": "8"},
    )
    found = without_folders(outcome, [folder])
    assert found.reason == "llama.cpp cannot load net.gguf: bad magic, see secret; ~/x.log"
    assert found.remedy == "look at 'net.gguf'"
    assert found.notes[:2] == (
        "read net.gguf.data",
        "1/2 of /proc/sys/kernel/perf_event_paranoid",
    )
    assert found.notes[2] == f"{folder}-2"  # another folder
    assert found.settings == {"model": "net.gguf", "threads": "8"}


def test_a_model_behind_a_link_is_told_by_neither_path(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "hub").symlink_to(tmp_path / "blobs")
    outcome = Outcome(status="failed", reason=f"{tmp_path}/blobs/a and {tmp_path}/hub/b")
    assert without_folders(outcome, [tmp_path / "hub"]).reason == "a and b"


@pytest.mark.parametrize(
    ("threads", "cores", "notes"),
    [
        (8, 2.0, ("8 threads shared 2 usable cores",)),
        (1, 0.5, ("1 threads shared 0.5 usable cores",)),
        (2, 1.0, ("2 threads shared 1 usable core",)),
        (2, 2.0, ()),
    ],
)
def test_more_threads_than_cores_are_noted(
    threads: int, cores: float, notes: tuple[str, ...]
) -> None:
    host = replace(samples.HOST, usable_cores=cores)
    outcome = Outcome(status="ok", notes=("mine",))
    found = _beyond_cores(outcome, replace(CELL, threads=threads), host)
    assert found.notes == ("mine", *notes)
    assert _beyond_cores(Outcome(status="failed"), CELL, host).notes == ()


def test_results_say_names_and_this_user_keeps_the_paths(tmp_path: Path) -> None:
    request = Request(files=(str(tmp_path / "net.onnx"),), suite=("quick",))
    text = request.shared().to_json()
    assert str(tmp_path) not in text
    assert from_json(text, tmp_path).files == ("net.onnx",)
    remember(tmp_path / "run-1.parquet", request)
    assert recall(tmp_path / "run-1.parquet", text) == request
    state = Path(os.environ["XDG_STATE_HOME"]) / "cpufit" / "runs"
    assert {path.stat().st_mode & 0o077 for path in state.iterdir()} == {0}


@pytest.mark.parametrize(
    "request_", [Request(files=("/etc/shadow",)), Request(suite=("/home/ann/mine.toml",))]
)
def test_paths_that_a_results_file_names_are_not_opened(tmp_path: Path, request_: Request) -> None:
    with pytest.raises(DataError, match=r"does not say where (shadow|.*mine\.toml) lies"):
        recall(tmp_path / "foreign.parquet", request_.to_json())
    words = " ".join(request_.shared().files) or "--suite mine.toml"
    with pytest.raises(
        DataError, match=f"; `cpufit run {words}` measures anew, `cpufit gate {words}"
    ):
        recall(tmp_path / "foreign.parquet", request_.to_json())
    plain = Request(suite=("quick",), budget="rapid")
    assert recall(tmp_path / "foreign.parquet", plain.to_json()) == plain


def test_where_nothing_can_be_kept_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    remember(tmp_path / "run-1.parquet", Request(files=("/a/net.onnx",)))
