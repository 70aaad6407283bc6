"""Ours beside llama.cpp's own `llama-bench`: same file, same threads, fresh processes in turn.

`llama-bench` is built from the sources of the installed llama-cpp-python, with the same defaults of
CMake that its wheel is built with, once, into the user's cache folder: minutes on two cores.
Nothing here asserts a time. It wants a quiet machine: both spin while they wait for their threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cpufit.artifacts import cache
from cpufit.catalog import pick
from cpufit.paths import cache_root

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from cpufit.schema import Precision

    Samples = Mapping[str, list[int]]  # nanoseconds of whole prompts, and of whole generations

pytestmark = pytest.mark.llama_cpp

MODEL = "tinyllama-1.1b"
PRECISION: Precision = "int4"
PROMPT, GENERATE = 128, 32  # tokens
ROUNDS, REPETITIONS = 8, 3
THREADS = len(os.sched_getaffinity(0))
# What llama-cpp-python's own CMakeLists.txt sets, and scikit-build's default type of build.
FLAGS = ("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DLLAMA_CURL=OFF")
# As llama-bench does it: a warm-up of each kind, then every repetition from an empty cache.
OURS = """
import json, sys, time
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
print(json.dumps({kind: values[1:] for kind, values in found.items()}))
"""


@pytest.fixture(scope="module")
def bench() -> Path:
    """Return the program, built where it is missing."""
    installed = version("llama-cpp-python")
    folder = cache_root() / "llama-bench" / installed
    program = folder / "build" / "bin" / "llama-bench"
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _build(folder, installed)
    return program


def _build(folder: Path, installed: str) -> None:
    wanted = f"llama-cpp-python=={installed}"
    source = ("--no-deps", "--no-binary", "llama-cpp-python", "--dest", str(folder))
    _run(sys.executable, "-m", "pip", "download", "--quiet", *source, wanted)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    archive.unlink()
    (found,) = folder.glob("*/vendor/llama.cpp")
    _run("cmake", "-S", str(found), "-B", str(folder / "build"), *FLAGS)
    _run("cmake", "--build", str(folder / "build"), "--target", "llama-bench", "-j2")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module")
def file() -> str:
    root = cache_root()
    request, module = cache.request_of(pick(MODEL), PRECISION, "llama.cpp", "synthetic", root)
    return cache.make(request, module, root).path


def _theirs(program: Path, path: str) -> Samples:
    sizes = {"-m": path, "-t": THREADS, "-p": PROMPT, "-n": GENERATE, "-r": REPETITIONS}
    options = [str(part) for pair in sizes.items() for part in pair]
    tests: list[dict[str, Any]] = json.loads(_run(str(program), *options, "-o", "json"))
    return {"prefill" if test["n_prompt"] else "decode": test["samples_ns"] for test in tests}


def _ours(path: str) -> Samples:
    sizes = (THREADS, PROMPT, GENERATE, REPETITIONS)
    found: Samples = json.loads(_run(sys.executable, "-c", OURS, path, *map(str, sizes)))
    return found


def test_beside_llama_bench(bench: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Print ours over theirs, of the medians, with the interval that 95 % of resamplings give."""
    rounds = [(_ours(file), _theirs(bench, file)) for _ in range(ROUNDS)]
    for kind, tokens in (("prefill", PROMPT), ("decode", GENERATE)):
        ours, theirs = (np.array([pair[side][kind] for pair in rounds]) for side in (0, 1))
        assert ours.shape == theirs.shape == (ROUNDS, REPETITIONS)
        low, high = _interval(ours, theirs)
        rates = [tokens / np.median(values) * 1e9 for values in (ours, theirs)]
        with capsys.disabled():
            print(
                f"\n{MODEL} {PRECISION} {kind}: {np.median(ours) / np.median(theirs):.3f} "
                f"of llama-bench's time ({low:.3f} to {high:.3f}), "
                f"{rates[0]:.1f} and {rates[1]:.1f} tokens/s"
            )


def _interval(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Resample whole rounds, as neighbours share the machine's mood."""
    draw = np.random.default_rng(0)
    ratios = []
    for _ in range(2000):
        rows = draw.integers(len(ours), size=len(ours))
        ratios.append(np.median(ours[rows]) / np.median(theirs[rows]))
    return np.percentile(ratios, [2.5, 97.5])
