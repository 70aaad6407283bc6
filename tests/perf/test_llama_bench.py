"""Ours beside llama.cpp's own `llama-bench`: same file, same threads, fresh processes in turn.

`llama-bench` is built from the sources of the installed llama-cpp-python, with the same defaults of
CMake that its wheel is built with, once, into the user's cache folder: minutes on two cores.
Nothing here asserts a time. It wants a quiet machine: both spin while they wait for their threads.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tarfile
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from tests.perf.llama import GENERATE, PROMPT, REPETITIONS, THREADS, medians
from tests.perf.pairs import in_turns, quote

from cpufit.artifacts import cache
from cpufit.artifacts.routes import order_of
from cpufit.catalog import pick
from cpufit.paths import cache_root

if TYPE_CHECKING:
    from pathlib import Path

    from tests.perf.pairs import Figures

    from cpufit.precisions import Precision

pytestmark = pytest.mark.llama_cpp

MODEL = "tinyllama-1.1b"
PRECISION: Precision = "int4"
ROUNDS = 16
# What llama-cpp-python's own CMakeLists.txt sets, and scikit-build's default type of build.
FLAGS = ("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DLLAMA_CURL=OFF")


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
    request = order_of(pick(MODEL), PRECISION, "llama.cpp", "synthetic", root)
    return cache.make(request, root).path


def _theirs(program: Path, path: str) -> Figures:
    sizes = {"-m": path, "-t": THREADS, "-p": PROMPT, "-n": GENERATE, "-r": REPETITIONS}
    options = [str(part) for pair in sizes.items() for part in pair]
    tests: list[dict[str, Any]] = json.loads(_run(str(program), *options, "-o", "json"))
    return {
        "prefill" if test["n_prompt"] else "decode": statistics.median(test["samples_ns"])
        for test in tests
    }


def test_beside_llama_bench(bench: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Print our time over theirs, for a prompt and for a generation."""
    ratios = in_turns(lambda: medians(file), lambda: _theirs(bench, file), ROUNDS)
    assert set(ratios) == {"prefill", "decode"}
    for kind, values in ratios.items():
        with capsys.disabled():
            print(f"\n{MODEL} {PRECISION} {kind}: {quote(values)} of llama-bench's time")
