"""Limits for models in the tests of a user's own repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cpufit import store
from cpufit.pytest_plugin import marked, suite  # loaded once: numpy bears no second time
from tests.e2e.helpers import FAST, set_apart, timings
from tests.e2e.test_pytest_suite import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest_plugins = ["pytester"]
assert marked
assert suite


@pytest.fixture
def run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pytest.RunResult]:
    """Run pytest on a module beside a model on invented timings of 4 ms."""
    set_apart(pytester.path, monkeypatch)
    timings(pytester.path, "fast", **FAST)

    def start(source: str, *words: str) -> pytest.RunResult:
        pytester.makepyfile(test_models="import pytest\ncpufit = pytest.mark.cpufit\n" + source)
        return pytester.runpytest_inprocess(*WORDS, "-rfE", *words)

    return start


def test_over_fails_undecided_warns_under_passes(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    result = run(
        """
ran = []
@cpufit("fast.timings", max_latency_ms=8, max_load_ms=100, max_rss="2GB", max_size="1 kB")
def test_under(): ran.append("under")
@cpufit("fast.timings", max_latency_ms=4.2)
def test_undecided(): ran.append("undecided")
@cpufit("fast.timings", max_latency_ms=2, max_rss="1MB")
def test_over(): ran.append("over")
@cpufit(model="mistral-7b", runtime="fake", max_ttft_ms=500, prompt_tokens=64)
@cpufit(model="mistral-7b", runtime="fake", min_tokens_per_s=1)
def test_writing(): ran.append("writing")
@cpufit(model="mistral-7b", runtime="fake", min_tokens_per_s=20)
def test_slow(): ran.append("slow")
def test_bodies(): assert ran == ["under", "undecided"]
""",
        "--cpufit-output",
        "kept",
        "-W",
        "default",
    )
    result.assert_outcomes(passed=3, failed=3, warnings=1)
    # p90s of processes without luck of their own differ by next to nothing.
    interval = "(3.* ms to * ms at 99 % confidence, * processes)"
    result.stdout.fnmatch_lines(
        [
            f"fast:real/fp32/fake: latency (p90) 4.* ms {interval}, max_latency_ms asks for at "
            "most 2.00 ms: surely missed, 2.1 times the limit",
            "fast:real/fp32/fake: peak RSS * MB, max_rss asks for at most 1.00 MB: surely missed*",
            "mistral-7b/int4/fake: TTFT at 64 tokens (p90) 5.* s (* s to * s at 99 % *), "
            "max_ttft_ms asks for at most 500 ms: surely missed, 11 times the limit",
            "mistral-7b/int4/fake: decoding 2.* tokens/s (*), min_tokens_per_s asks for at least "
            "20.0 tokens/s: surely missed, 0.1* times the limit",
            "*UndecidedWarning: fast:real/fp32/fake: latency (p90) 4.* ms (*), max_latency_ms asks "
            "for at most 4.20 ms: undecided, a longer --cpufit-budget would tell more",
        ]
    )
    # All in one run, in turns, what several tests share only once.
    records = store.read([store.newest(pytester.path / "kept")])
    assert len(list(pytester.path.glob("kept/*.parquet"))) == 1
    names = {record.cell.id.rsplit("/", 1)[0] for record in records}
    assert names == {
        "fast:real/fp32/fake/latency",
        "fast:real/fp32/fake/memory",
        "mistral-7b/int4/fake/latency@64",
        "mistral-7b/int4/fake/latency@128",
    }
    assert [record.cell.model for record in records[:4]] != ["fast"] * 4


def test_undecided_fails_where_warnings_are_errors(run: Callable[..., pytest.RunResult]) -> None:
    result = run("@cpufit('fast.timings', max_latency_ms=4.2)\ndef test_it(): ...", "-W", "error")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["fast:real/fp32/fake: latency (p90) 4.* ms (*: undecided, *"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ('model="mistral-7", max_rss="1GB"', "unknown model 'mistral-7'; did you mean 'mistral-*"),
        (
            '"fast.timings", max_latency=5',
            "unknown keyword of cpufit 'max_latency'; did you mean *",
        ),
        ('"gpt2", runtime="onnx", max_ttft_ms=5', "unknown runtime 'onnx'; did you mean 'onnxr*"),
        ('"gpt2", precision="int3", max_ttft_ms=5', "unknown precision 'int3'; did you mean *"),
        (
            '"fast.timings", runtime="openvino", max_rss="1GB"',
            "openvino does not read fast.timings; *",
        ),
        (
            '"fast.timings", max_rss="2 elephants"',
            "max_rss '2 elephants' is not a size; give one *",
        ),
        (
            '"fast.timings", max_latency_ms="5"',
            "max_latency_ms='5' is not a limit; give a number above*",
        ),
        ('"fast.timings", max_latency_ms=float("nan")', "max_latency_ms=nan is not a limit; *"),
        ('"gpt2", max_latency_ms=5', "max_latency_ms: gpt2 writes token by token; give max_ttft*"),
        ('"yolov8n", max_ttft_ms=5', "max_ttft_ms: yolov8n writes no tokens; give max_latency_ms"),
        ('"gpt2", threads=0, max_ttft_ms=5', "threads=0 is out of range; give 1 to 1024"),
        ('"a/b.bin", max_latency_ms=5', "no runtime reads a/b.bin; give a file ending in *"),
        ('max_rss="1GB"', "cpufit needs a model; give a path or a name of `cpufit list models`"),
        ('"gpt2", input="n=9", max_rss="1GB"', "gpt2 is no file: its inputs are known; leave *"),
        ('"a.onnx", input="n", max_rss="1GB"', "*'n' names no input; write --input NAME=16000*"),
        ('"a.onnx", input=9, max_rss="1GB"', "input=9 says nothing; write input=*"),
        ('"a.onnx", "b.onnx", max_rss="1GB"', "cpufit takes one model; name all else: *"),
        ('"fast.timings"', "the marker cpufit has no limit; give max_latency_ms, *"),
    ],
)
def test_words_that_cannot_be_meant(
    run: Callable[..., pytest.RunResult], words: str, message: str
) -> None:
    result = run(f"@cpufit({words})\ndef test_it(): raise AssertionError('ran')")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of test_it*", message])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*During handling*")


def test_what_cannot_be_measured(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
@cpufit("none.timings", max_latency_ms=5)
def test_no_file(): ...
@cpufit("yolov8n", precision="int4", max_latency_ms=5)
def test_nobody_can(): ...
@pytest.mark.skip
@cpufit("fast.timings", max_latency_ms=5)
def test_skipped(): ...
@pytest.mark.skipif(True, reason="not today")
@cpufit("fast.timings", max_latency_ms=5)
def test_skipped_if(): ...
@cpufit("fast.timings", max_latency_ms=5)
@pytest.fixture
def unused(): ...
""".rpartition("@cpufit")[0],
        "-v",
    )
    result.assert_outcomes(failed=2, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "cpufit measures 1 cell, budget rapid",
            "no file *none.timings; check the path",
            "yolov8n/int4/onnxruntime/latency/t* unsupported: no int4 of yolov8n with synthetic *",
        ]
    )


def test_the_fixture_measures_what_a_test_builds(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
import json, os
def write(path, ms):
    path.write_text(json.dumps({"infer_ms": ms, "load_ms": 5, "jitter": 0.05}))

def test_own(tmp_path, cpufit_measure):
    write(tmp_path / "fast.timings", 10)
    measured = cpufit_measure(tmp_path / "fast.timings", threads=1, max_latency_ms=20)
    latency = measured.latency_ms
    assert latency.low < 10 < latency.value < 11 < latency.high
    assert (measured.ttft_ms, measured.load_ms.processes) == (None, 3)
    assert measured.rss_bytes.value > measured.size_bytes.value > 40

def test_over(cpufit_measure):
    cpufit_measure("fast.timings", max_latency_ms=1)
    raise AssertionError("went on")

@pytest.fixture
def rebuilt(pytestconfig):
    write(pytestconfig.rootpath / "fast.timings", 40)

@cpufit("fast.timings", max_latency_ms=8)
def test_before(): ...
@cpufit("fast.timings", max_latency_ms=20)
def test_after(rebuilt): ...
"""
    )
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "fast:real/fp32/fake: latency (p90) 4.* ms *max_latency_ms asks for at most 1.00 ms: *",
            "fast:real/fp32/fake: latency (p90) 4*.* ms *max_latency_ms asks for at most 20.0 *",
        ]
    )
    result.stdout.no_fnmatch_line("*went on*")


def test_files_of_one_name_are_told_apart(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytester.path.joinpath("v2").mkdir()
    timings(pytester.path / "v2", "fast", infer_ms=40)
    result = run(
        """
@cpufit("fast.timings", max_latency_ms=8)
def test_one(): ...
@cpufit("v2/fast.timings", max_latency_ms=8)
def test_two(): ...
"""
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["fast-2:real/fp32/fake: latency (p90) 40.0 ms *surely missed, *"])


@pytest.mark.onnxruntime
def test_a_real_model_in_a_repository_with_folders_named_like_ours(tmp_path: Path) -> None:
    for name in ("harness", "reports", "suites"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the wrong one')\n")
        (tmp_path / name / "quick.toml").write_text("[cells]\n")
    (tmp_path / "conftest.py").write_text("import sys; sys.path.insert(0, 'harness')\n")
    (tmp_path / "harness" / "schema.py").write_text("raise ImportError('the wrong one')\n")
    weights = np.zeros((64, 64), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "reports" / "net.onnx")
    (tmp_path / "test_net.py").write_text(
        """
import pytest

@pytest.mark.cpufit("reports/net.onnx", runtime="onnxruntime", max_latency_ms=5_000, max_rss="8GB")
def test_marked(): ...

@pytest.mark.cpufit("reports/net.onnx", runtime="onnxruntime", max_rss="1MB")
def test_over(): ...
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *WORDS, "--cpufit-output", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "net:real/fp32/onnxruntime: peak RSS " in done.stdout
    records = store.read([store.newest(tmp_path / "out")])
    assert {record.outcome.status for record in records} == {"ok"}
    assert records[0].outcome.versions["onnxruntime"]


def test_a_run_that_does_not_use_it_loads_nothing_of_it() -> None:
    code = (
        "import pytest, sys, json; before = set(sys.modules); import cpufit.pytest_plugin; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = ["cpufit", "cpufit.pytest_plugin", "cpufit.pytest_plugin.undecided"]
    assert json.loads(done.stdout) == own


def test_a_file_named_like_a_catalog_model_stays_the_users(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    timings(pytester.path, "gpt2", **FAST)
    result = run(
        """
@cpufit("gpt2.timings", max_latency_ms=8)
def test_mine(): pass
@cpufit("gpt2", runtime="fake", min_tokens_per_s=1)
def test_the_catalogs(): pass
"""
    )
    result.assert_outcomes(passed=2)
