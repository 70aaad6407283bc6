"""Suites given to pytest: cells as tests and as entries of pytest-benchmark."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest

from cpufit import analysis, config, store
from cpufit.pytest_plugin import marked, suite  # loaded once: numpy bears no second time
from cpufit.run import child
from cpufit.schema import Outcome
from tests.e2e.helpers import set_apart

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cpufit.run.child import Reply
    from cpufit.schema import Job

pytest_plugins = ["pytester"]
assert marked
assert suite

SUITE = """
title = "two models on invented timings"
budget = "rapid"
[[cells]]
models = ["gpt2", "yolov8n"]
runtimes = ["fake"]
precisions = ["int8"]
scenarios = ["latency"]
[[cells]]
models = ["gpt2"]
runtimes = ["fake"]
precisions = ["int8"]
scenarios = ["memory"]
[[cells]]
models = ["gpt2"]
runtimes = ["openvino"]
precisions = ["q4_0"]
scenarios = ["latency"]
"""
# An environment where cpufit is installed without its entry point gets the plugin by name.
PLUGIN = [] if entry_points(group="pytest11", name="cpufit") else ["-p", "cpufit.pytest_plugin"]
WORDS = (*PLUGIN, "-p", "no:hypothesispytest", "-p", "no:randomly", "-rs", "--strict-markers")


@pytest.fixture
def run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pytest.RunResult]:
    """Run pytest in a folder that holds a suite and other TOML files."""
    set_apart(pytester.path, monkeypatch)
    pytester.path.joinpath("s.toml").write_text(SUITE, encoding="utf-8")
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\naddopts = '-W error'\n")

    def start(*words: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess(*WORDS, *words)

    return start


def ids(threads: int) -> list[str]:
    return [
        f"s.toml::gpt2/int8/fake/latency/t{threads}",
        f"s.toml::gpt2/int8/fake/memory/t{threads}",
        f"s.toml::gpt2/q4_0/openvino/latency/t{threads}",
        f"s.toml::yolov8n/int8/fake/latency/t{threads}",
    ]


def benchmarks(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    return {bench["name"].rsplit("/", 1)[0]: bench for bench in found}


def test_each_cell_is_a_test_and_an_entry(
    run: Callable[..., pytest.RunResult], tmp_path: Path, pytester: pytest.Pytester
) -> None:
    out = pytester.path / "out.json"
    result = run("s.toml", f"--benchmark-json={out}", "--cpufit-output", "kept")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "cpufit measures 4 cells, budget rapid",
            "cpufit: results in *kept*run-*.parquet",
            "*unsupported: no q4_0 of gpt2 with synthetic weights on openvino; available: *",
        ]
    )
    rows = rows_of(pytester.path / "kept")
    found = benchmarks(out)
    assert set(found) == {
        "gpt2/int8/fake/latency",
        "gpt2/int8/fake/memory",
        "yolov8n/int8/fake/latency",
    }
    row, bench = rows["yolov8n/int8/fake/latency"], found["yolov8n/int8/fake/latency"]
    (metric,) = row.metrics
    stats, info = bench["stats"], bench["extra_info"]["cpufit"]
    # One round for each process: its median, in seconds.
    assert stats["rounds"] == len(row.used) == info["processes"] >= 3
    assert stats["data"] == pytest.approx(medians_s(row))
    assert stats["median"] == pytest.approx(metric.p50 / 1e9, rel=0.02)
    assert info["value"] == pytest.approx(metric.p50 / 1e9)
    low, high = info["interval"]
    assert low < stats["median"] < high
    assert (info["n"], info["verdict"], info["weights"]) == (metric.n, "under", "synthetic")
    assert (info["disturbed"], bench["group"]) == (False, "latency")
    assert set(found["gpt2/int8/fake/latency"]["extra_info"]["cpufit"]["metrics"]) == {
        "TTFT at 128 tokens",
        "TTFT at 512 tokens",
        "TPOT",
    }
    memory = found["gpt2/int8/fake/memory"]
    assert memory["group"] == "peak memory in GB, not seconds"
    peak = memory["extra_info"]["cpufit"]["memory"]["peak_bytes"]
    assert memory["stats"]["data"] == [peak / 1e9]
    facts = json.loads(out.read_text(encoding="utf-8"))["machine_info"]["cpufit"]
    assert facts["fingerprint"] == row.record.host.fingerprint
    assert facts["cpu_model"] == row.record.host.cpu_model


def rows_of(folder: Path) -> dict[str, analysis.Row]:
    records = store.read([store.newest(folder)])
    rows = analysis.rows(records, config.load_settings().levels)
    return {row.record.cell.id.rsplit("/", 1)[0]: row for row in rows}


def medians_s(row: analysis.Row) -> list[float]:
    from statistics import median

    return [median(record.outcome.series[0].values) / 1e9 for record in row.used]


def test_cells_are_only_of_suites_that_are_named(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytester.path.joinpath("sub").mkdir()
    pytester.path.joinpath("sub", "t.toml").write_text(SUITE, encoding="utf-8")
    assert run(".").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result = run("s.toml", "--collect-only", "-q", "--cpufit-output", "kept")
    threads = int(result.outlines[0].rsplit("t", 1)[1])
    assert result.outlines[:4] == ids(threads)
    assert not pytester.path.joinpath("kept").exists()
    assert not pytester.path.joinpath("cache", "cpufit").exists()
    run("s.toml", "--collect-only", "-k", "yolov8n").stdout.fnmatch_lines(["*3 deselected*"])
    run("pyproject.toml").stderr.fnmatch_lines(["ERROR: not found: *pyproject.toml"])


def test_saved_runs_are_compared_on_the_same_host_only(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    words = ("s.toml", "-k", "yolov8n or memory", "--benchmark-autosave")
    run(*words).assert_outcomes(passed=2, deselected=2)
    # The fake runtime gives every process the same times again.
    compared = run(*words, "--benchmark-compare", "--benchmark-compare-fail=median:1%")
    compared.assert_outcomes(passed=2, deselected=2)
    compared.stdout.fnmatch_lines(
        [
            "*benchmark 'latency': 2 tests*",
            "yolov8n/int8/fake/latency/t* (NOW)*",
            "*benchmark 'peak memory in GB, not seconds': 2 tests*",
            "Name (time in GB, not s)*",
        ]
    )
    (saved, _) = sorted(pytester.path.glob(".benchmarks/*/*.json"))
    data = json.loads(saved.read_text(encoding="utf-8"))
    data["machine_info"]["cpufit"] |= {"fingerprint": "other", "kernel": "1.0"}
    saved.write_text(json.dumps(data), encoding="utf-8")
    refused = run("s.toml", "--benchmark-compare=0001")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(
        ["ERROR: cpufit: the saved run was measured on another host (kernel '1.0', here *"]
    )
    # Who runs no suite is not spoken to.
    pytester.makepyfile("def test_own(benchmark): benchmark.pedantic(len, ((),))")
    run("--benchmark-compare=0001", "-W", "ignore").assert_outcomes(passed=1)


def test_one_process_is_enough_where_benchmarks_are_disabled(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    words = ("s.toml", "-k", "yolov8n", "--cpufit-output")
    run(*words, "a", "--benchmark-disable").assert_outcomes(passed=1, deselected=3)
    (row,) = rows_of(pytester.path / "a").values()
    assert len(row.records) == 1
    run(*words, "b", "-p", "no:benchmark").assert_outcomes(passed=1, deselected=3)
    (row,) = rows_of(pytester.path / "b").values()
    assert len(row.records) >= 3
    run(*words, "c", "--benchmark-skip").assert_outcomes(skipped=1, deselected=3)
    assert not pytester.path.joinpath("c").exists()


def test_beside_other_workers_nothing_is_measured(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.cpufit("yolov8n", runtime="fake", max_latency_ms=500)
        def test_marked(): raise AssertionError("not held against its limit")
        """
    )
    file = "test_beside_other_workers_nothing_is_measured.py"
    result = run("s.toml", file, "-n1", "-W", "ignore", "--cpufit-output", "kept")
    result.assert_outcomes(skipped=5)
    result.stdout.fnmatch_lines(["*cpufit does not measure beside other workers of pytest-xdist*"])
    assert not pytester.path.joinpath("kept").exists()


def test_a_broken_cell_fails_with_its_traceback_and_stops_for_x(
    run: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = child.ask

    def dying(job: Job, timeout_s: float, on_stage: Callable[[str], None]) -> Reply:
        if job.task == "measure" and job.cell.model == "yolov8n":
            outcome = Outcome(status="crashed", reason="died of SIGSEGV while loading")
            return child.Reply(outcome=outcome, log="Traceback of a bug")
        return ask(job, timeout_s, on_stage)

    monkeypatch.setattr(child, "ask", dying)
    result = run("s.toml", "-k", "yolov8n or memory", "--benchmark-json=out.json")
    result.assert_outcomes(passed=1, failed=1, deselected=2)
    result.stdout.fnmatch_lines(
        [
            "yolov8n/int8/fake/latency/t* crashed: died of SIGSEGV while loading",
            "Traceback of a bug",
        ]
    )
    result.stdout.no_fnmatch_line("*suite.py*Error*")
    stopped = run("s.toml", "-x", "-k", "not openvino")
    stopped.assert_outcomes(passed=1, failed=1, skipped=1, deselected=1)
    stopped.stdout.fnmatch_lines(["*not measured to its end: the run stopped at a failure (-x)*"])


def test_ctrl_c_keeps_what_was_measured(
    run: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    ask, seen = child.ask, []

    def interrupted(job: Job, timeout_s: float, on_stage: Callable[[str], None]) -> Reply:
        seen.append(job)
        if len(seen) > 3:
            raise KeyboardInterrupt
        return ask(job, timeout_s, on_stage)

    monkeypatch.setattr(child, "ask", interrupted)
    result = pytester.runpytest_inprocess(
        *WORDS, "s.toml", "-k", "yolov8n", "--cpufit-output", "kept", no_reraise_ctrlc=True
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    (row,) = rows_of(pytester.path / "kept").values()
    assert [record.outcome.status for record in row.records] == ["ok"] * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gpt2", "gpt3", "unknown model 'gpt3'; did you mean 'gpt2'?"),
        ("rapid", "rapide", "unknown budget 'rapide'; did you mean 'rapid'? *"),
        ("[[cells]]", "[[cell]]", "*cell: unknown key (did you mean 'cells'?)*"),
        ("title =", "title", "*s.toml is not valid TOML: *"),
    ],
)
def test_a_mistake_in_a_suite_is_one_line(
    run: Callable[..., pytest.RunResult],
    pytester: pytest.Pytester,
    old: str,
    new: str,
    message: str,
) -> None:
    text = SUITE.replace(old, new)
    pytester.path.joinpath("s.toml").write_text(text, encoding="utf-8")
    result = run("s.toml")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*ERROR collecting s.toml*", message])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.onnxruntime
def test_a_real_model(run: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    text = SUITE.partition("[[cells]]")[0] + (
        '[[cells]]\nmodels = ["mobilenet-v3-small"]\nruntimes = ["onnxruntime"]\n'
        'precisions = ["fp32"]\nscenarios = ["latency"]\n'
    )
    pytester.path.joinpath("s.toml").write_text(text, encoding="utf-8")
    run("s.toml", "--benchmark-json=out.json").assert_outcomes(passed=1)
    (bench,) = benchmarks(pytester.path / "out.json").values()
    info = bench["extra_info"]["cpufit"]
    assert "onnxruntime" in info["versions"]
    assert info["n"] >= 3 * bench["stats"]["rounds"] >= 9


def test_fixtures_of_a_modules_scope_are_no_hindrance(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        "import pytest\n@pytest.fixture(autouse=True, scope='module')\ndef mine(): pass\n"
    )
    result = run("s.toml", "--benchmark-disable", "-k", "gpt2 and memory")
    result.assert_outcomes(passed=1, deselected=3)
