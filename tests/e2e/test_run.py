"""The whole line with the fake runtime: words in, Parquet and report out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from cpufit import store
from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import pick
from cpufit.measuring.procedures import procedure
from cpufit.plan.scenarios import load_scenarios
from cpufit.run import fit
from cpufit.schema import Artifact, Cell, Input
from tests.e2e.helpers import FAST, cells, cpufit, timings
from tests.samples import CARDS, stored

if TYPE_CHECKING:
    from pathlib import Path

SHORT: dict[str, Any] = {
    "half_width": 1, "processes": (1, 1), "process_s": (0, 1), "cell_s": 1,
    "warmup_s": 0, "timeout_s": 2,
}  # fmt: skip
RAPID = ("--cache", "cache", "--budget", "rapid")


def test_a_fake_run_measures_stores_and_reports(tmp_path: Path) -> None:
    said = cpufit(
        "run", "--model", "mistral-7b", "--runtime", "fake", "--precision", "int4",
        "--scenario", "latency", "memory", "-o", "out", *RAPID, cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said
    assert said.err == ""
    assert "[2/2] mistral-7b/int4/fake/" in said.out
    assert "No tier can be recommended yet: the low tier is not all measured" in said.out
    assert "times the 500 ms threshold" in said.out
    records = store.read([store.newest(tmp_path / "out")])
    assert {r.cell.scenario for r in records} == {"latency", "memory"}
    assert {r.outcome.status for r in records} == {"ok"}
    assert "<html" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_fake_run_gives_the_same_samples_every_time(tmp_path: Path) -> None:
    words = ("run", "--model", "yolov8n", "--runtime", "fake", "--precision", "int8",
             "--scenario", "latency", *RAPID)  # fmt: skip
    series = []
    for folder in ("a", "b"):
        assert cpufit(*words, "-o", folder, cwd=tmp_path).code == 0
        (row,) = cells(tmp_path / folder)
        outcomes = [record.outcome for record in row.records]
        series.append([(o.series, o.load_ns, o.first_ns) for o in outcomes])
        assert row.metrics[0].n >= 3 * 18  # what fits into two seconds, thrice
    assert series[0] == series[1]
    assert len({str(process) for process in series[0]}) == len(series[0]) >= 3


def test_a_model_of_the_users_own(tmp_path: Path) -> None:
    path = timings(tmp_path, "mine", **FAST)
    said = cpufit("run", path.name, "--scenario", "latency", "-o", "out", *RAPID, cwd=tmp_path)
    assert said.code == 0, said
    ((record, *_),) = (row.records for row in cells(tmp_path / "out"))
    assert (record.cell.model, record.cell.weights) == ("mine", "real")
    assert record.outcome.load_ns == 5_000_000
    assert record.outcome.first_ns > 10_000_000


def test_a_variant_is_measured_beside_its_model(tmp_path: Path) -> None:
    said = cpufit(
        "run", "--model", "gpt2", "gpt2@ffn60", "--runtime", "fake", "--precision", "int4",
        "--scenario", "latency", "-o", "out", *RAPID, cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said
    whole, pruned = (row.record for row in cells(tmp_path / "out"))
    assert [r.cell.card for r in (whole, pruned)] == ["gpt2", "gpt2@ffn60"]
    assert (pruned.cell.model, pruned.cell.variant) == ("gpt2", "ffn60")
    assert (whole.parent, pruned.parent) == ("", "gpt2")
    assert pruned.parameters < whole.parameters
    assert pruned.title == "GPT-2 small, FFN 1,792 of 3,072"


def test_cards_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(CARDS, encoding="utf-8")
    own = timings(tmp_path, "own", **FAST)
    said = cpufit(
        "run", "mine.toml", own.name, "--runtime", "fake", "--scenario", "latency",
        "-o", "out", *RAPID, cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said
    llm, encoder, file = (row.record for row in cells(tmp_path / "out"))
    assert [r.cell.id.rsplit("/", 1)[0] for r in (llm, encoder, file)] == [
        "tiny/int4/fake/latency",
        "small/int8/fake/latency",
        "own:real/fp32/fake/latency",
    ]
    assert (llm.title, llm.parameters, llm.macs) == ("Tiny", 74_560, 67_840)
    said = cpufit("run", "--resume", "-o", "out", "--cache", "cache", cwd=tmp_path)
    assert said.code == 0, said
    kept = sum(len(row.records) for row in cells(tmp_path / "out"))
    assert f"{kept} processes kept from before; about 0:00" in said.out


def test_the_cache_stays_as_small_as_asked(tmp_path: Path) -> None:
    said = cpufit(
        "run", "--model", "gpt2", "gpt2@ffn60", "--runtime", "fake", "--precision", "int4",
        "--scenario", "memory", "-o", "out", "--cache-max", "0.6 kB", *RAPID, cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said
    assert {r.outcome.status for r in store.read([store.newest(tmp_path / "out")])} == {"ok"}
    shown = json.loads(cpufit("cache", "--cache", "cache", "--json", cwd=tmp_path).out)
    assert [a["model"] for a in shown["artifacts"]] == ["gpt2@ffn60"]
    assert shown["total_bytes"] < 600


def test_the_cache_is_shown_and_cleared(tmp_path: Path) -> None:
    words = ("run", "--model", "gpt2", "gpt2@depth75", "--runtime", "fake",
             "--precision", "int8", "--scenario", "memory", "-o", "out", *RAPID)  # fmt: skip
    assert cpufit(*words, cwd=tmp_path).code == 0
    shown = cpufit("cache", "--cache", "cache", cwd=tmp_path)
    assert shown.code == 0
    names = [line.split()[0] for line in shown.out.splitlines() if " int8 " in line]
    assert names == ["gpt2@depth75", "gpt2"]
    assert "2 artifacts, " in shown.out
    assert str(tmp_path / "cache") in shown.out
    said = cpufit("cache", "clear", "gpt2", "--cache", "cache", cwd=tmp_path)
    assert "removed gpt2 int8" in said.out
    assert "1 artifact removed" in said.out
    said = cpufit("cache", "clear", "--cache", "cache", cwd=tmp_path)
    assert "removed gpt2@depth75 int8" in said.out
    assert "1 artifact removed" in said.out
    assert list((tmp_path / "cache" / "artifacts").iterdir()) == []


def test_what_is_measured_stays_when_the_cache_is_cleared(tmp_path: Path) -> None:
    from cpufit.artifacts import storage
    from cpufit.catalog import pick
    from cpufit.schema import Order

    root = tmp_path / "cache"
    request = Order(
        builder="timings", model=pick("gpt2"), precision="int4", runtime="fake", weights="synthetic"
    )
    with storage.held(cache.make(request, root), root):
        said = cpufit("cache", "clear", "--cache", "cache", cwd=tmp_path)
    assert "kept gpt2 int4 (int4): a running process uses it" in said.out
    assert "0 artifacts removed" in said.out
    assert cache.find(request, root)


@pytest.mark.parametrize(
    ("fail", "status", "reason"),
    [
        ("error", "failed", "ended with code 1 while warming up"),
        ("crash", "crashed", "died of SIG"),
        ("oom", "oom", "ran out of memory"),
    ],
)
def test_a_cell_that_fails_is_a_record_with_a_reason(
    tmp_path: Path, fail: str, status: str, reason: str
) -> None:
    bad = timings(tmp_path, "bad", fail=fail, **FAST)
    good = timings(tmp_path, "good", **FAST)
    said = cpufit(
        "run", bad.name, good.name, "--scenario", "latency", "-o", "out", *RAPID, cwd=tmp_path
    )
    assert said.code == 0, said
    first, second = (row.record for row in cells(tmp_path / "out"))
    assert first.outcome.status == status
    assert reason in first.outcome.reason
    assert second.outcome.status == "ok"
    assert f"{status}: {first.outcome.reason}" in " ".join(said.out.split())


def test_a_bug_keeps_its_traceback_beside_the_results(tmp_path: Path) -> None:
    path = timings(tmp_path, "bad", fail="error", **FAST)
    said = cpufit("run", path.name, "--scenario", "latency", "-o", "out", *RAPID, cwd=tmp_path)
    assert said.code == 2
    (log,) = (tmp_path / "out").glob("*.log")
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert log.name in " ".join(said.out.split())


def test_a_hang_is_killed_after_the_budgets_time(tmp_path: Path) -> None:
    """The time-out itself is tested on the parent, with a second instead of minutes."""
    from cpufit.run import child
    from cpufit.schema import Artifact, Budget, Cell, Measure, Model

    path = timings(tmp_path, "hang", fail="hang", **FAST)
    cell = Cell(model="m", precision="fp32", runtime="fake", scenario="latency", threads=1)
    job = Measure(
        cell=cell,
        model=Model(
            name="m", title="", family="vision", parameters=0, macs=0, source="", file=str(path)
        ),
        scenario={"name": "latency", "title": "", "procedure": "latency"},
        budget=Budget(name="b", title="", samples=1, **SHORT),
        cache=str(tmp_path),
        artifact=Artifact(key="", path=str(path), size_bytes=1, parameters=0, format="", recipe=""),
    )
    stages: list[str] = []
    reply = child.ask(job, 3, stages.append)
    assert reply.outcome is not None
    assert reply.outcome.status == "timeout"
    assert "killed after 3 s while warming up" in reply.outcome.reason
    assert stages[-1] == "warming up"


def test_ctrl_c_keeps_what_is_measured_and_resume_goes_on(tmp_path: Path) -> None:
    files = [timings(tmp_path, f"m{i}", **FAST) for i in range(3)]
    files.insert(1, timings(tmp_path, "stuck", fail="hang", **FAST))
    words = ["run", *(p.name for p in files), "--scenario", "latency", "-o", "out", *RAPID]
    with subprocess.Popen(
        [sys.executable, "-m", "cpufit", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore SIGINT, and so us.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        _wait_for_records(tmp_path / "out", 1)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert err == ""
    assert re.search(r"`cpufit run --resume -o out --cache \S+`\s+goes on", out)
    assert len(store.read([store.newest(tmp_path / "out")])) == 1
    timings(tmp_path, "stuck", **FAST)  # mended
    said = cpufit("run", "--resume", "-o", "out", "--cache", "cache", cwd=tmp_path)
    assert said.code == 0, said
    assert "1 process kept from before" in said.out
    found = cells(tmp_path / "out")
    assert [row.record.cell.model for row in found] == ["m0", "stuck", "m1", "m2"]
    assert all(row.ok and row.records[-1].settled for row in found)
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 1


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    path = timings(tmp_path, "stuck", fail="hang", **FAST)
    running = subprocess.Popen(
        [sys.executable, "-m", "cpufit", "run", path.name, "-o", "out", *RAPID],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    child = _wait_for_child(running.pid)
    running.kill()
    running.wait()
    _wait_until(lambda: not _alive(child))


def test_the_child_sees_only_the_environment_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    from cpufit.run import child

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert {"OMP_NUM_THREADS", "PYTHONPATH"}.isdisjoint(child.environment())
    assert child.environment()["PATH"] == os.environ["PATH"]


def test_processes_of_cells_take_turns_until_each_is_settled(tmp_path: Path) -> None:
    steady = timings(tmp_path, "steady", **FAST)
    lucky = timings(tmp_path, "lucky", luck=0.3, **FAST)
    said = cpufit(
        "run", steady.name, lucky.name, "--scenario", "latency", "-o", "out", *RAPID, cwd=tmp_path
    )
    assert said.code == 0, said
    one, other = cells(tmp_path / "out")
    assert [record.repeat for record in other.records] == list(range(4))
    assert one.records[-1].settled == f"within 10% and clear after {len(one.records)} processes"
    assert other.records[-1].settled == "the most processes of the budget, 4"
    first = [r.cell.model for r in store.read([store.newest(tmp_path / "out")])[:4]]
    assert sorted(first[:2]) == sorted(first[2:]) == ["lucky", "steady"]
    assert one.metrics[0].estimate.half_width < 0.1 < other.metrics[0].estimate.half_width
    lines = [line for line in said.out.splitlines() if line.startswith("[2/2] ")]
    assert "4 processes [under]" in " ".join(lines)


def test_the_method_is_held_against_recorded_processes(tmp_path: Path) -> None:
    said = cpufit("selftest", "--recorded", cwd=tmp_path)
    assert said.code == 0, said
    assert "coverage of the 95 % interval, budget quick, processes left out: " in said.out
    assert said.out.splitlines()[-1] == "all as asked"
    assert "give 12 or more" in cpufit("selftest", "--processes", "3", cwd=tmp_path).mistake


def _too_large(cell: Cell, tmp_path: Path, artifact: Artifact | None = None) -> str:
    """Return why the cell does not fit into 4 GB."""
    scenario = load_scenarios()[cell.scenario]
    model, runtime = pick(cell.model), cell.runtime
    options = procedure(scenario.procedure).options(cell, scenario, model.task)
    order = order_of(model, cell.precision, runtime, "synthetic", tmp_path)
    found = fit.too_large_to_run(options, artifact, order)
    assert found is not None
    assert found.status == "skipped"
    assert "4.00 GB are available" in found.reason
    return found.reason


def test_a_cell_that_cannot_fit_is_skipped_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fit, "host_available_bytes", lambda: 4_000_000_000)
    cell = Cell(
        model="mistral-7b", precision="int4", runtime="llama.cpp", scenario="latency", threads=2
    )
    reason = _too_large(cell, tmp_path)
    assert "needs at least 4.58 GB of memory (4.37 GB weights, 75.5 MB KV cache)" in reason


def test_a_batch_that_cannot_fit_is_skipped_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fit, "host_available_bytes", lambda: 4_000_000_000)
    cell = Cell(
        model="yolov8n",
        precision="fp32",
        runtime="onnxruntime",
        scenario="throughput",
        threads=2,
        batch=4096,
    )
    images = Input(name="images", dtype="float32", shape=("batch", 3, 640, 640), fill="normal")
    artifact = Artifact(
        key="k", path="m", size_bytes=10**7, parameters=1, format="f", recipe="r", inputs=(images,)
    )
    reason = _too_large(cell, tmp_path, artifact)
    assert "(10.0 MB weights, 20.1 GB inputs)" in reason


def test_list_and_doctor_speak_json(tmp_path: Path) -> None:
    for what in ("models", "runtimes", "scenarios", "suites", "tiers"):
        entries = json.loads(cpufit("list", what, "--json", cwd=tmp_path).out)
        names = [entry["name"] for entry in entries]
        assert names
        table = cpufit("list", what, cwd=tmp_path)
        assert table.code == 0
        assert all(name in table.out for name in names)
    variants = json.loads(cpufit("list", "models", "--variants", "--json", cwd=tmp_path).out)
    found = {entry["name"]: entry for entry in variants}
    assert found["gpt2@ffn60"]["parent"] == "gpt2"
    assert "llama.cpp" in found["gpt2@ffn60"]["runs_on"]
    assert "llama.cpp" not in found["gpt2@lowrank4"]["runs_on"]
    assert "bert-base@lowrank4" in cpufit("list", "models", "--variants", cwd=tmp_path).out
    checks = json.loads(cpufit("doctor", "--json", cwd=tmp_path).out)
    assert {"name", "level", "value", "remedy"} == set(checks[0])


def test_runs_are_listed_with_how_far_they_are(tmp_path: Path) -> None:
    none = cpufit("list", "runs", cwd=tmp_path)
    assert none.code == 2
    assert "no results in cpufit-results; run `cpufit run` first" in none.mistake
    words = ("run", "--model", "gpt2", "gpt2@depth75", "--runtime", "fake",
             "--precision", "int8", "--scenario", "memory", "-o", "out", *RAPID)  # fmt: skip
    assert cpufit(*words, cwd=tmp_path).code == 0
    path = store.newest(tmp_path / "out")
    request, records = store.request_of(path), store.read([path])
    stored(path.with_stem("run-20000101T000000Z"), records[:1], request)
    shown = cpufit("list", "runs", "-o", "out", cwd=tmp_path).out
    assert ["1", "of", "2"] in [line.split()[-4:-1] for line in shown.splitlines()]
    broken, whole = json.loads(cpufit("list", "runs", "-o", "out", "--json", cwd=tmp_path).out)
    assert (broken["done"], broken["cells"]) == (1, 2)
    assert (whole["done"], whole["cells"], whole["suites"]) == (2, 2, ["quick"])
    assert whole["name"] == path.name
    (tmp_path / "out" / "run-1.parquet").write_bytes(path.read_bytes()[:5000])
    (tmp_path / "out" / "run-2.journal").mkdir()
    assert path.name in cpufit("list", "runs", "-o", "out", cwd=tmp_path).out
    listed = json.loads(cpufit("list", "runs", "-o", "out", "--json", cwd=tmp_path).out)
    cut, folder = [run["problem"] for run in listed if run["problem"]]
    assert "not a readable Parquet file" in cut
    assert "cannot read" in folder


def _wait_for_records(folder: Path, count: int) -> None:
    def enough() -> bool:
        found = store.runs(folder)
        return bool(found) and len(store.read(found)) >= count

    _wait_until(enough)


def _wait_for_child(pid: int) -> int:
    children: list[int] = []

    def born() -> bool:
        import psutil

        children[:] = [
            c.pid
            for c in psutil.Process(pid).children()
            if "cpufit.measuring.worker" in c.cmdline()
        ]
        return bool(children)

    _wait_until(born)
    return children[0]


def _alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _wait_until(condition: object) -> None:
    end = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "nothing came of it in a minute"
        time.sleep(0.05)
