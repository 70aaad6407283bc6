"""A GGUF file timed by our session in a fresh process, the way llama-bench times one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.perf.pairs import Figures

PROMPT, GENERATE = 128, 32  # tokens
REPETITIONS = 3
THREADS = len(os.sched_getaffinity(0))
# A warm-up of each kind, then every repetition from an empty cache.
_CHILD = """
import json, statistics, sys, time
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Artifact

path, threads, prompt, generate, repetitions = sys.argv[1], *map(int, sys.argv[2:])
file = Artifact(key="", path=path, size_bytes=0, parameters=0, format="", recipe="")
options = LoadOptions(threads=threads, context_tokens=prompt + generate)
session = load_runtime("llama.cpp").load(file, options)
found = {"prefill": [], "decode": []}
for _ in range(1 + repetitions):
    work = session.prepare(Step(kind="prefill", tokens=prompt))
    start = time.perf_counter_ns()
    work.run()
    found["prefill"].append(time.perf_counter_ns() - start)
for _ in range(1 + repetitions):
    session.prepare(Step(kind="prefill")).run()
    work = session.prepare(Step(kind="decode"))
    start = time.perf_counter_ns()
    for _ in range(generate):
        work.run()
    found["decode"].append(time.perf_counter_ns() - start)
print(json.dumps({kind: statistics.median(values[1:]) for kind, values in found.items()}))
"""


def medians(path: str) -> Figures:
    """Return nanoseconds of a whole prompt and of a whole generation, medians of the process."""
    sizes = map(str, (THREADS, PROMPT, GENERATE, REPETITIONS))
    command = [sys.executable, "-c", _CHILD, path, *sizes]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: Figures = json.loads(done.stdout)
    return found
