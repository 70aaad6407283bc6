"""Ours beside MLPerf LoadGen's SingleStream around the same ONNX Runtime session.

Fresh processes in turn. Nothing here asserts a time. Wants `pip install mlcommons-loadgen`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.perf.one_pass import SECONDS, THREADS, made, medians
from tests.perf.pairs import in_turns, quote

if TYPE_CHECKING:
    from pathlib import Path

    from tests.perf.pairs import Figures

    from cpufit.schema import Artifact, Precision

pytest.importorskip("mlperf_loadgen")
pytestmark = pytest.mark.onnxruntime

CASES: tuple[tuple[str, Precision], ...] = (("resnet-50", "fp32"), ("mobilenet-v2", "int8"))
ROUNDS = 20
# One sample, issued again as soon as it is answered, by LoadGen's own clock and log.
_CHILD = """
import array, os, sys
import mlperf_loadgen as lg
import numpy as np
import onnxruntime as ort

path, threads, seconds, folder, *shape = sys.argv[1:]
options = ort.SessionOptions()
options.log_severity_level = 3
options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
options.add_free_dimension_override_by_name("batch", 1)
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
feeds = {"images": np.random.default_rng(0).standard_normal(tuple(map(int, shape)), np.float32)}
answer = array.array("B", b"0000")
where, length = answer.buffer_info()

def issue(queries):
    for query in queries:
        session.run(None, feeds)
        lg.QuerySamplesComplete([lg.QuerySampleResponse(query.id, where, length)])

settings = lg.TestSettings()
settings.scenario = lg.TestScenario.SingleStream
settings.mode = lg.TestMode.PerformanceOnly
settings.single_stream_expected_latency_ns = 1_000_000
settings.min_duration_ms = settings.max_duration_ms = int(float(seconds) * 1000)
settings.min_query_count = 1
logs = lg.LogSettings()
logs.log_output.outdir = folder
logs.log_output.copy_summary_to_stdout = False
sut = lg.ConstructSUT(issue, lambda: None)
library = lg.ConstructQSL(1, 1, lambda _: None, lambda _: None)
lg.StartTestWithLogSettings(sut, library, settings, logs)
"""


def _theirs(artifact: Artifact, folder: Path) -> Figures:
    (images,) = artifact.inputs
    shape = [str(axis) for axis in (1, *images.shape[1:])]
    sizes = (artifact.path, str(THREADS), str(SECONDS), str(folder), *shape)
    subprocess.run([sys.executable, "-c", _CHILD, *sizes], check=True, stdout=subprocess.DEVNULL)
    lines = (folder / "mlperf_log_detail.txt").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line.removeprefix(":::MLLOG ")) for line in lines if "MLLOG" in line]
    found = {event["key"]: event["value"] for event in events}
    return {"p50": float(found["result_50.00_percentile_latency_ns"])}


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_beside_loadgen(
    name: str, precision: Precision, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Print our time over theirs."""
    artifact = made(name, precision, "onnxruntime")
    ratios = in_turns(
        lambda: medians(artifact, "onnxruntime"), lambda: _theirs(artifact, tmp_path), ROUNDS
    )
    assert set(ratios) == {"p50"}
    with capsys.disabled():
        print(f"\n{name} {precision} p50: {quote(ratios['p50'])} of LoadGen's time")
