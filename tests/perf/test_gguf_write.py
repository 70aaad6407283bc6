"""How fast GGUF files are written, beside plain writes of the same size.

Nothing here asserts a time: the figures are for reading, `pytest tests/perf --benchmark-only`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cpufit.artifacts import gguf
from cpufit.artifacts.base import Request
from cpufit.catalog import pick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

MODEL = "tinyllama-1.1b"
TENSOR_BYTES = 667_078_656
REQUEST = Request(model=pick(MODEL), precision="int4", runtime="llama.cpp", weights="synthetic")
PIECE = b"\1" * (8 << 20)


@pytest.fixture(params=["/dev/shm", "disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path
        return
    if not Path(request.param).is_dir():
        pytest.skip("no tmpfs")
    with tempfile.TemporaryDirectory(dir=request.param) as made:
        yield Path(made)


def measure(benchmark: BenchmarkFixture, file: Path, write: Callable[[], object]) -> int:
    """Time `write` three times on a missing file and return the file's size."""
    benchmark.pedantic(write, setup=lambda: file.unlink(missing_ok=True), rounds=3)
    size = file.stat().st_size
    if benchmark.stats is not None:
        benchmark.extra_info["gigabytes_per_s"] = size / benchmark.stats.stats.min / 1e9
    return size


def test_write_gguf(benchmark: BenchmarkFixture, folder: Path) -> None:
    file = folder / f"{MODEL}.gguf"
    assert measure(benchmark, file, lambda: gguf.build(REQUEST, folder)) > TENSOR_BYTES


def test_write_plainly(benchmark: BenchmarkFixture, folder: Path) -> None:
    file = folder / "plain"

    def write() -> None:
        with file.open("wb", buffering=0) as opened:
            while opened.tell() < TENSOR_BYTES:
                opened.write(PIECE)

    assert measure(benchmark, file, write) > TENSOR_BYTES
