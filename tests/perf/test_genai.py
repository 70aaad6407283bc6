"""Ours beside onnxruntime-genai: same folder, same threads, fresh processes in turn.

The model is tinyllama-1.1b/int4, or what CPUFIT_PERF_MODEL names. Nothing here asserts a time:
`pytest tests/perf/test_genai.py -s`, on a quiet machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.perf.pairs import in_turns, quote

from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import pick
from cpufit.paths import cache_root
from cpufit.precisions import PRECISIONS

if TYPE_CHECKING:
    from tests.perf.pairs import Figures

pytestmark = pytest.mark.onnxruntime

MODEL, _, PRECISION = os.environ.get("CPUFIT_PERF_MODEL", "tinyllama-1.1b/int4").partition("/")
PROMPT, GENERATE = 128, 32  # tokens
ROUNDS, REQUESTS = 8, 4  # pairs of processes, and what each does, the first to warm up
THREADS = len(os.sched_getaffinity(0))
# Both start with the prompt in an empty cache and end with logits of one more token. Theirs picks
# the likeliest token each time, a search of one vector, as nobody uses it otherwise.
OURS = """
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step
from cpufit.schema import Artifact

file = Artifact(key="", path=path, size_bytes=0, parameters=0, format="", recipe="")
options = LoadOptions(threads=threads, context_tokens=prompt + generate)
session = load_runtime("onnxruntime").load(file, options)

def start():
    return session.prepare(Step(kind="prefill", tokens=prompt)).run

def go_on():
    return session.prepare(Step(kind="decode")).run
"""
THEIRS = """
import pathlib
import numpy as np
import onnxruntime_genai as genai

config = genai.Config(str(pathlib.Path(path).parent))
session = {"intra_op_num_threads": threads}
config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
model = genai.Model(config)
params = genai.GeneratorParams(model)
params.set_search_options(max_length=prompt + generate + 1)
draw = np.random.default_rng(0)

def start():
    global generator
    generator = genai.Generator(model, params)
    ids = draw.integers(vocab, size=prompt).astype(np.int32)
    return lambda: generator.append_tokens(ids)

def go_on():
    generator.generate_next_token()  # chooses from the prompt's logits and computes nothing
    return generator.generate_next_token
"""
MEASURE = """
found = {"prefill": [], "decode": []}
for _ in range(requests):
    for kind, ready, count in (("prefill", start, 1), ("decode", go_on, generate)):
        run, samples = ready(), []
        for _ in range(count):
            began = time.perf_counter_ns()
            run()
            samples.append(time.perf_counter_ns() - began)
        found[kind].append(statistics.median(samples))
print(json.dumps({kind: statistics.median(values[1:]) for kind, values in found.items()}))
"""


@pytest.fixture(scope="module")
def file() -> Path:
    pytest.importorskip("onnxruntime_genai")
    assert PRECISION in PRECISIONS
    root = cache_root()
    request = order_of(pick(MODEL), PRECISION, "onnxruntime", "synthetic", root)
    return Path(cache.make(request, root).path)


def _measure(file: Path, how: str) -> Figures:
    """Return nanoseconds of a prompt and of a token, each the median of a fresh process."""
    decoder = pick(MODEL).decoder
    assert decoder
    facts = {"path": str(file), "threads": THREADS, "vocab": decoder.vocab}
    facts |= {"prompt": PROMPT, "generate": GENERATE, "requests": REQUESTS}
    given = f"import json, statistics, time\nglobals().update({facts!r})\n"
    command = [sys.executable, "-c", given + how + MEASURE]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: Figures = json.loads(done.stdout)
    return found


def test_beside_onnxruntime_genai(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Print our time over theirs, for a prompt and for a token."""
    ratios = in_turns(lambda: _measure(file, OURS), lambda: _measure(file, THEIRS), ROUNDS)
    assert {kind: len(values) for kind, values in ratios.items()} == {
        "prefill": ROUNDS,
        "decode": ROUNDS,
    }
    for kind, values in ratios.items():
        with capsys.disabled():
            print(f"\n{MODEL} {PRECISION} {kind}: {quote(values)} of onnxruntime-genai's time")
