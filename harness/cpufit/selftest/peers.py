"""The runtimes' own benchmark tools on the same file, where they are present.

OpenVINO's `benchmark_app` comes with it, MLPerf LoadGen with `pip install mlcommons-loadgen`,
`llama-bench` with llama.cpp: the first two are asked for one request at a time.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from cpufit.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpufit.precisions import Precision
    from cpufit.schema import Artifact

    Nanoseconds = dict[str, float]  # median by name of the series

PROMPT, GENERATE, REPETITIONS = 128, 32, 3  # tokens, and requests of llama-bench
# One sample, issued again as soon as it is answered, by LoadGen's own clock and log.
_LOADGEN = """
import array, json, sys, tempfile
import mlperf_loadgen as lg
import numpy as np
import onnxruntime as ort

path, threads, seconds, *shape = sys.argv[1:]
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
with tempfile.TemporaryDirectory() as folder:
    logs = lg.LogSettings()
    logs.log_output.outdir = folder
    logs.log_output.copy_summary_to_stdout = False
    sut = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    lg.StartTestWithLogSettings(sut, library, settings, logs)
    lines = open(folder + "/mlperf_log_detail.txt", encoding="utf-8").read().splitlines()
events = [json.loads(line.removeprefix(":::MLLOG ")) for line in lines if "MLLOG" in line]
print({event["key"]: event["value"] for event in events}["result_50.00_percentile_latency_ns"])
"""


class Peer(NamedTuple):
    """A tool, and what it is given: its threads, and seconds to sample."""

    name: str
    runtime: str
    model: str
    precision: Precision
    measure: Callable[[Artifact, int, float], Nanoseconds]


def benchmark_app(artifact: Artifact, threads: int, seconds: float) -> Nanoseconds:
    """Let OpenVINO's tool time the model; raise UnavailableError where it is missing."""
    program = _program("benchmark_app", "pip install openvino")
    (images,) = artifact.inputs
    shape = ",".join(str(axis) for axis in (1, *images.shape[1:]))
    options = {
        "-m": artifact.path,
        "-d": "CPU",
        "-hint": "none",  # it takes no number of threads beside "latency", which is one stream
        "-nstreams": 1,
        "-api": "sync",
        "-nthreads": threads,
        "-t": max(round(seconds), 1),
        "-shape": f"{images.name}[{shape}]",
    }
    said = _run(program, *(str(part) for pair in options.items() for part in pair))
    found = re.search(r"Median:\s+([0-9.]+) ms", said)
    assert found, said
    return {"latency": float(found[1]) * 1e6}


def loadgen(artifact: Artifact, threads: int, seconds: float) -> Nanoseconds:
    """Let MLPerf LoadGen time the model in an ONNX Runtime session (SingleStream)."""
    if find_spec("mlperf_loadgen") is None:
        raise UnavailableError("MLPerf LoadGen is not installed", "pip install mlcommons-loadgen")
    (images,) = artifact.inputs
    shape = [str(axis) for axis in (1, *images.shape[1:])]
    amounts = (str(threads), str(seconds))
    said = _run(sys.executable, "-P", "-c", _LOADGEN, artifact.path, *amounts, *shape)
    return {"latency": float(said.strip().splitlines()[-1])}


def llama_bench(artifact: Artifact, threads: int, seconds: float) -> Nanoseconds:  # noqa: ARG001
    """Let llama.cpp's tool time a prompt and tokens; it counts requests, not seconds.

    Our tokens follow the prompt, so its do too (-d): after 128 tokens one of a small model takes a
    sixth longer than the first.
    """
    program = _program("llama-bench", "build it from llama.cpp and put it on the PATH")
    sizes = {"-p": PROMPT, "-n": GENERATE, "-r": REPETITIONS, "-t": threads, "-m": artifact.path}
    options = [str(part) for pair in sizes.items() for part in pair]
    tests = json.loads(_run(program, *options, "-d", f"0,{PROMPT}", "-o", "json"))
    found = {(test["n_gen"], test["n_depth"]): median(test["samples_ns"]) for test in tests}
    return {"ttft": found[0, 0], "tpot": found[GENERATE, PROMPT] / GENERATE}


PEERS = (
    Peer("benchmark_app", "openvino", "resnet-50", "int8", benchmark_app),
    Peer("LoadGen", "onnxruntime", "mobilenet-v2", "int8", loadgen),
    Peer("llama-bench", "llama.cpp", "smollm2-135m", "int4", llama_bench),
)


def _program(name: str, remedy: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if not found:
        raise UnavailableError(f"{name} is not on the PATH", remedy)
    return found


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
