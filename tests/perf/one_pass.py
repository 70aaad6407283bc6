"""A one-pass model timed by our session in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import pick
from cpufit.paths import cache_root

if TYPE_CHECKING:
    from tests.perf.pairs import Figures

    from cpufit.precisions import Precision
    from cpufit.schema import Artifact, Weights

SECONDS = 4
THREADS = len(os.sched_getaffinity(0))
_SLICES, _SLICE_S = 8, 0.2
# The first line is the artifact; each further one is how many seconds to run, answered when done.
_CHILD = """
import json, statistics, sys, time
from pydantic import TypeAdapter
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Artifact

artifact = TypeAdapter(Artifact).validate_json(sys.stdin.readline())
session = load_runtime(sys.argv[1]).load(artifact, LoadOptions(threads=int(sys.argv[2])))
run = session.prepare(Step(kind="infer")).run
found = []
for line in sys.stdin:
    taken, end = [], time.perf_counter_ns() + float(line) * 1e9
    run(), run()  # the other one's data are in the caches
    while not taken or time.perf_counter_ns() < end:
        start = time.perf_counter_ns()
        run()
        taken.append(time.perf_counter_ns() - start)
    found += taken
    print(json.dumps({"p50": statistics.median(found)}), flush=True)
"""


def made(name: str, precision: Precision, runtime: str, weights: Weights = "synthetic") -> Artifact:
    """Return a catalog model's artifact from the user's cache, built where it is missing."""
    root = cache_root()
    request = order_of(pick(name), precision, runtime, weights, root)
    return cache.make(request, root)


def medians(artifact: Artifact, runtime: str) -> Figures:
    """Return the p50 of a few seconds of passes, one after another, in nanoseconds."""
    with _Pass(artifact, runtime) as one:
        return one.run(SECONDS)


def side_by_side(first: Artifact, second: Artifact, runtime: str) -> tuple[Figures, Figures]:
    """Return the p50 of two processes that take turns in short slices, so that both see the same
    disturbances: half the noise of one process after the other.
    """
    with _Pass(first, runtime) as one, _Pass(second, runtime) as two:
        for index in range(_SLICES):
            for each in (one, two) if index % 2 else (two, one):
                each.run(_SLICE_S)
        return one.p50, two.p50


class _Pass:
    """A fresh process with one session, which runs when told to and is blocked otherwise."""

    def __init__(self, artifact: Artifact, runtime: str) -> None:
        command = [sys.executable, "-c", _CHILD, runtime, str(THREADS)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.p50: Figures = {}
        self._tell(json.dumps(asdict(artifact)))

    def __enter__(self) -> _Pass:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()

    def run(self, seconds: float) -> Figures:
        """Return the p50 of all passes so far, after a few seconds more."""
        self._tell(str(seconds))
        assert self._process.stdout
        self.p50 = json.loads(self._process.stdout.readline())
        return self.p50

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        print(line, file=self._process.stdin, flush=True)
