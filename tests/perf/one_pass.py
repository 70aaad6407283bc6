"""A one-pass model timed by our session in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from cpufit.artifacts import cache
from cpufit.catalog import pick
from cpufit.paths import cache_root

if TYPE_CHECKING:
    from tests.perf.pairs import Figures

    from cpufit.schema import Artifact, Precision, Weights

SECONDS = 4
THREADS = len(os.sched_getaffinity(0))
_CHILD = """
import json, statistics, sys, time
from pydantic import TypeAdapter
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Artifact

runtime, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
artifact = TypeAdapter(Artifact).validate_json(sys.stdin.read())
session = load_runtime(runtime).load(artifact, LoadOptions(threads=threads))
run = session.prepare(Step(kind="infer")).run
run()
found, end = [], time.perf_counter_ns() + seconds * 1e9
while time.perf_counter_ns() < end:
    start = time.perf_counter_ns()
    run()
    found.append(time.perf_counter_ns() - start)
print(json.dumps({"p50": statistics.median(found)}))
"""


def made(name: str, precision: Precision, runtime: str, weights: Weights = "synthetic") -> Artifact:
    """Return a catalog model's artifact from the user's cache, built where it is missing."""
    root = cache_root()
    request, module = cache.request_of(pick(name), precision, runtime, weights, root)
    return cache.make(request, module, root)


def medians(artifact: Artifact, runtime: str) -> Figures:
    """Return the p50 of a few seconds of passes, one after another, in nanoseconds."""
    command = [sys.executable, "-c", _CHILD, runtime, str(THREADS), str(SECONDS)]
    given = json.dumps(asdict(artifact))
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, input=given)
    found: Figures = json.loads(done.stdout)
    return found
